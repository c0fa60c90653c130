"""Readers of .mot files: what they understand, what they flag, and each refusal."""

import os
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest

from biomechgpt_jax import formats
from biomechgpt_jax.biomechanics.flags import cautions
from biomechgpt_jax.biomechanics.skeleton import COORDINATES, INDEX, NECK_AND_WRISTS, observed_without
from biomechgpt_jax.biomechanics.trajectory import Trajectory
from biomechgpt_jax.errors import InputError
from biomechgpt_jax.formats import opensim

SHARED = Path(__file__).parents[3] / "shared" / "data"
NAMES = (
    "pelvis_tilt",
    "pelvis_tx",
    "pelvis_ty",
    "pelvis_tz",
    "hip_flexion_r",
    "knee_angle_r",
    "knee_angle_l",
)
HIP, KNEES = NAMES.index("hip_flexion_r"), slice(5, 7)
RATE_HZ = 50.0

Change = Callable[[np.ndarray], None]


def _movement(rows: int = 50) -> tuple[np.ndarray, np.ndarray]:
    """Times, and values in degrees: a hip moving by 20 degrees, knees from 0 to 60, the pelvis 1 m above the floor."""
    time = np.arange(rows) / RATE_HZ
    values = np.zeros((rows, len(NAMES)))
    values[:, 2] = 1.0
    values[:, HIP] = 20 * np.cos(2 * np.pi * time)
    values[:, KNEES] = 30 + 30 * np.sin(2 * np.pi * time)[:, None]
    return time, values


def _write(
    path: Path,
    header: str = "inDegrees=yes",
    names: Sequence[str] = NAMES,
    change: Change | None = None,
    time: np.ndarray | None = None,
    separator: str = "\t",
) -> Path:
    even, values = _movement()
    time = even if time is None else time
    if change:
        change(values)
    lines = [
        "Coordinates",
        "version=1",
        f"nRows={len(time)}",
        f"nColumns={len(names) + 1}",
        header,
        "",
        "endheader",
    ]
    lines.append(separator.join(["time", *names]))
    rows = np.column_stack([time, values[:, : len(names)]])
    lines += [separator.join(f"{value:.10g}" for value in row) for row in rows]
    path.write_text("\n".join(lines) + "\n")
    return path


def _knee(trajectory: Trajectory) -> np.ndarray:
    return np.degrees(trajectory.coordinates[:, INDEX["knee_angle_r"]])


def test_degrees_become_radians_and_missing_coordinates_are_masked(tmp_path: Path) -> None:
    trajectory = formats.read(_write(tmp_path / "a.mot"))
    assert trajectory.rate_hz == 50
    assert trajectory.frames == 50
    np.testing.assert_allclose(_knee(trajectory), _movement()[1][:, 5], atol=1e-4)
    assert [COORDINATES[i] for i in np.flatnonzero(trajectory.observed)] == sorted(NAMES, key=COORDINATES.index)
    assert trajectory.metadata.source == "a.mot"
    assert trajectory.metadata.flags == ("frozen:pelvis_tilt",)


def test_radians_are_kept(tmp_path: Path) -> None:
    def radians(values: np.ndarray) -> None:
        values[:, HIP:] = np.radians(values[:, HIP:])

    plain = formats.read(_write(tmp_path / "a.mot"))
    for header in ("inDegrees=no", ""):
        trajectory = formats.read(_write(tmp_path / "b.mot", header, change=radians))
        np.testing.assert_allclose(trajectory.coordinates, plain.coordinates, atol=1e-6)


def _in_radians(values: np.ndarray) -> None:
    values[:, HIP:] = np.radians(values[:, HIP:])


def test_a_header_that_contradicts_the_movement_is_told_and_not_believed(tmp_path: Path) -> None:
    def walk(values: np.ndarray) -> None:
        _in_radians(values)
        values[:, 1] = np.linspace(0, 1, len(values))

    def squat(values: np.ndarray) -> None:
        _in_radians(values)
        values[:, 2] -= 0.4 * values[:, HIP + 1]

    plain = formats.read(_write(tmp_path / "a.mot"))
    for change in (walk, squat):
        found = formats.read(_write(tmp_path / "b.mot", change=change))
        np.testing.assert_allclose(_knee(found), _knee(plain), atol=1e-4)
        (said,) = cautions(found.metadata.flags)
        assert "says degrees" in said and "read as radians" in said
    found = formats.read(_write(tmp_path / "c.mot", "inDegrees=no"))
    np.testing.assert_allclose(found.coordinates, plain.coordinates, atol=1e-6)
    assert "units-implausible" in found.metadata.flags and "says radians" in cautions(found.metadata.flags)[0]


def test_a_person_who_stands_straight_in_degrees_stays_in_degrees(tmp_path: Path) -> None:
    def stand(values: np.ndarray) -> None:
        values[:, HIP:] *= 0.05  # at most 3 degrees, swaying by 2

    found = formats.read(_write(tmp_path / "a.mot", change=stand))
    assert np.abs(_knee(found)).max() == pytest.approx(3, abs=0.1) and not cautions(found.metadata.flags)
    arms = (*NAMES[:4], "elbow_flex_r", "knee_angle_r", "knee_angle_l")
    found = formats.read(_write(tmp_path / "b.mot", names=arms, change=stand))
    assert np.abs(_knee(found)).max() == pytest.approx(3, abs=0.1)
    assert "may be radians" in cautions(found.metadata.flags)[0]


def test_a_short_gap_of_rows_is_filled_and_told(tmp_path: Path) -> None:
    _edit(tmp_path / "a.mot", lambda text: _delete_rows(text, 20, 3).replace("nRows=50", ""))
    found, plain = formats.read(tmp_path / "a.mot"), formats.read(_write(tmp_path / "b.mot"))
    assert found.rate_hz == 50 and found.frames == 50 and "filled-time" in found.metadata.flags
    np.testing.assert_allclose(_knee(found), _knee(plain), atol=1.0)


def test_without_a_header_entry_the_legs_decide_about_degrees_and_the_heading_does_not(tmp_path: Path) -> None:
    trajectory = formats.read(_write(tmp_path / "a.mot", header=""))
    assert _knee(trajectory).max() == pytest.approx(60, abs=0.2)
    assert "units-guessed" in trajectory.metadata.flags

    def turning(values: np.ndarray) -> None:
        values[:, HIP:] = np.radians(values[:, HIP:])
        values[:, 0] = np.linspace(0, 20, len(values))  # three turns, in radians

    names = ("pelvis_rotation", *NAMES[1:])
    rotated = formats.read(_write(tmp_path / "b.mot", header="", names=names, change=turning))
    assert _knee(rotated).max() == pytest.approx(60, abs=0.2)
    assert rotated.coordinates[-1, INDEX["pelvis_rotation"]] == pytest.approx(20, abs=1e-4)


def test_negative_knees_are_flipped_and_small_ones_flagged(tmp_path: Path) -> None:
    def negate(values: np.ndarray) -> None:
        values[:, KNEES] *= -1

    def shrink(values: np.ndarray) -> None:
        values[:, KNEES] *= 0.1

    plain = formats.read(_write(tmp_path / "a.mot"))
    flipped = formats.read(_write(tmp_path / "b.mot", change=negate))
    np.testing.assert_allclose(flipped.coordinates, plain.coordinates, atol=1e-6)
    assert "knee-sign-flipped" in flipped.metadata.flags
    assert "knee-sign-ambiguous" in formats.read(_write(tmp_path / "c.mot", change=shrink)).metadata.flags


@pytest.mark.parametrize("separator", ["\t", ",", " ", "   \t "])
@pytest.mark.parametrize("path", ["{}", "/jointset/a_joint/{}/value", "{}".upper()])
def test_paths_and_separators(tmp_path: Path, separator: str, path: str) -> None:
    plain = formats.read(_write(tmp_path / "a.mot"))
    names = [path.format(name) for name in NAMES]
    trajectory = formats.read(_write(tmp_path / "b.sto", names=names, separator=separator))
    np.testing.assert_array_equal(trajectory.coordinates, plain.coordinates)
    np.testing.assert_array_equal(trajectory.observed, plain.observed)


def test_a_file_that_went_through_a_spreadsheet(tmp_path: Path) -> None:
    path = _write(tmp_path / "a.mot", separator=",")
    plain = formats.read(path)
    lines = path.read_text().splitlines()
    path.write_bytes(("\ufeff" + "\r\n".join(line + ",," for line in lines) + "\r\n").encode())
    np.testing.assert_array_equal(formats.read(path).coordinates, plain.coordinates)


def test_patella_and_speed_columns_are_ignored(tmp_path: Path) -> None:
    names = [*NAMES[:5], "knee_angle_r_beta", "/jointset/hip_r/hip_flexion_r/speed"]
    assert formats.read(_write(tmp_path / "a.mot", names=names)).observed.sum() == 5


def test_an_empty_column_is_masked_and_a_short_gap_is_filled(tmp_path: Path) -> None:
    def spoil(values: np.ndarray) -> None:
        values[:, 0] = np.nan
        values[10:13, HIP] = [np.nan, np.inf, np.nan]

    trajectory = formats.read(_write(tmp_path / "a.mot", change=spoil))
    assert not trajectory.observed[INDEX["pelvis_tilt"]]
    assert {"empty:pelvis_tilt", "filled:hip_flexion_r"} <= set(trajectory.metadata.flags)
    expected = np.radians(_movement()[1][:, HIP])
    np.testing.assert_allclose(trajectory.coordinates[:, INDEX["hip_flexion_r"]], expected, atol=np.radians(1.0))


def test_nan_in_the_notation_of_windows_is_read(tmp_path: Path) -> None:
    def spoil(values: np.ndarray) -> None:
        values[10:13, HIP] = np.nan

    path = _write(tmp_path / "a.mot", change=spoil)
    path.write_text(path.read_text().replace("nan", "-1.#IND", 1).replace("nan", "-nan(ind)", 1))
    assert "filled:hip_flexion_r" in formats.read(path).metadata.flags


def test_rounded_times_are_even_and_jittered_times_are_resampled(tmp_path: Path) -> None:
    even, _ = _movement()
    rounded = formats.read(_write(tmp_path / "a.mot", time=np.round(np.arange(50) / 60, 3)))
    assert rounded.rate_hz == pytest.approx(60, rel=1e-3)
    assert "uneven-time" not in rounded.metadata.flags

    jittered = even + np.random.default_rng(0).uniform(-0.006, 0.006, len(even))

    def at_those_times(table: np.ndarray) -> None:
        table[:, HIP] = 20 * np.cos(2 * np.pi * jittered)

    trajectory = formats.read(_write(tmp_path / "b.mot", time=jittered, change=at_those_times))
    assert "uneven-time" in trajectory.metadata.flags
    grid = jittered[0] + np.arange(trajectory.frames) / trajectory.rate_hz
    hip = np.degrees(trajectory.coordinates[:, INDEX["hip_flexion_r"]])
    np.testing.assert_allclose(hip, 20 * np.cos(2 * np.pi * grid), atol=0.2)


def test_quality_flags(tmp_path: Path) -> None:
    def spoil(values: np.ndarray) -> None:
        values[25:, HIP] = 170.0
        values[:, 0] = 5.0

    flags = formats.read(_write(tmp_path / "a.mot", change=spoil)).metadata.flags
    assert {"jump:hip_flexion_r", "out-of-range:hip_flexion_r", "frozen:pelvis_tilt"} <= set(flags)


def test_a_header_that_is_one_row_off_is_flagged(tmp_path: Path) -> None:
    path = _write(tmp_path / "a.mot")
    path.write_text(path.read_text().replace("nRows=50", "nRows=51"))
    assert "rows-not-as-in-header" in formats.read(path).metadata.flags


def _long_gap(values: np.ndarray) -> None:
    values[10:40, HIP] = np.nan


def _millimetres(values: np.ndarray) -> None:
    values[:, 1:4] *= 1000


def _nothing(values: np.ndarray) -> None:
    values[:] = np.nan


def _edit(path: Path, edit: Callable[[str], str]) -> None:
    path.write_text(edit(_write(path).read_text()))


def _delete_rows(text: str, first: int, count: int) -> str:
    lines = text.splitlines()
    return "\n".join(lines[:first] + lines[first + count :]) + "\n"


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda p: None, "no such file"),
        (lambda p: p.mkdir(), "is a directory"),
        (lambda p: os.mkfifo(p), "not a regular file"),
        (lambda p: p.write_text(""), "is empty"),
        (lambda p: p.write_text(" \n\n"), "is empty"),
        (lambda p: p.write_text("hello\nworld\n"), "not a .mot file"),
        (lambda p: p.write_bytes(bytes(range(1, 256)) * 50), "not a .mot file"),
        (lambda p: p.write_bytes(b"\x00\x01\x02" * 50), "not a plain text file"),
        (lambda p: p.write_text("Coordinates\nendheader\n"), "ends after its header"),
        (
            lambda p: _write(p, names=("ground_force_vx", "ground_force_vy", "ground_force_px")),
            "ground-reaction",
        ),
        (lambda p: _write(p, names=("hip_flexion_r_moment", "pelvis_tx_force")), "forces or moments"),
        (lambda p: _write(p, names=("total_squared_error", "marker_error_RMS")), "no known coordinates"),
        (lambda p: _write(p, names=("knee_angle_r", "knee_angle_r")), "two columns for knee_angle_r"),
        (lambda p: _edit(p, lambda t: t.replace("Coordinates", "Speeds")), "holds Speeds, not coordinates"),
        (lambda p: _write(p, header="DataType=Quaternion"), "quaternion values"),
        (lambda p: _edit(p, lambda t: t.replace("time\t", "frame\t")), "first column is 'frame'"),
        (
            lambda p: _write(p, change=_long_gap),
            r"hip_flexion_r has no number in data rows 11 to 40 \(0.60 s\)",
        ),
        (lambda p: _write(p, change=_nothing), "holds no numbers"),
        (lambda p: _write(p, change=_millimetres), "millimetres"),
        (lambda p: _edit(p, lambda t: _delete_rows(t, 38, 20)), "truncated: 30 of 50 rows"),
        (lambda p: _edit(p, lambda t: t[:-30]), "truncated: its last row ends early"),
        (lambda p: _edit(p, lambda t: _delete_rows(t, 20, 15).replace("nRows=50", "")), "0.32 s are missing"),
        (lambda p: _edit(p, lambda t: _delete_rows(t, 9, 49).replace("nRows=50", "")), "1 rows of data"),
        (lambda p: _edit(p, lambda t: t.replace("\n0.1\t", "\n0.1\t1\t")), "row 6"),
        (lambda p: _edit(p, lambda t: t.replace("\n0.1\t", "\n0.1\tabc")), "abc.* at row 5"),
        (
            lambda p: _edit(p, lambda t: t.replace("\n0.1\t", "\n0.08\t")),
            "time does not increase at data row 6",
        ),
        (lambda p: _write(p, time=np.arange(50) * 1000.0), "is time in seconds"),
    ],
)
def test_refusals_are_one_line_and_name_the_file(tmp_path: Path, make: Callable[[Path], object], words: str) -> None:
    path = tmp_path / "bad.mot"
    make(path)
    with pytest.raises(InputError, match=words) as refused:
        formats.read(path)
    assert "\n" not in str(refused.value)
    assert str(path) in str(refused.value)


def test_an_unknown_extension_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.docx"
    path.write_text("x")
    with pytest.raises(InputError, match="docx"):
        formats.read(path)


def test_a_huge_file_is_refused_before_it_is_read(tmp_path: Path) -> None:
    path = tmp_path / "a.mot"
    with path.open("wb") as file:
        file.truncate(opensim.LARGEST_BYTES + 1)
    with pytest.raises(InputError, match="cut it into parts"):
        formats.read(path)


@pytest.mark.parametrize("frames", [2, 80, 40_000])
def test_written_file_reads_back(tmp_path: Path, frames: int) -> None:
    rng = np.random.default_rng(0)
    q = np.cumsum(rng.normal(0, 0.01, (frames, len(COORDINATES))), axis=0).astype(np.float32)
    q[:, [INDEX["knee_angle_r"], INDEX["knee_angle_l"]]] = 1.0
    observed = observed_without(NECK_AND_WRISTS)
    q[:, ~observed] = 0
    opensim.write_mot(tmp_path / "a.mot", Trajectory(q, observed, 30.0))
    back = formats.read(tmp_path / "a.mot")
    np.testing.assert_allclose(back.coordinates, q, atol=1e-6)
    np.testing.assert_array_equal(back.observed, observed)
    assert back.rate_hz == pytest.approx(30.0, rel=1e-6)
    assert os.listdir(tmp_path) == ["a.mot"]


def test_writing_into_a_missing_folder_is_refused(tmp_path: Path) -> None:
    movement = Trajectory(np.zeros((3, 40), np.float32), np.ones(40, bool), 30.0)
    with pytest.raises(InputError, match="cannot be written"):
        opensim.write_mot(tmp_path / "no_folder" / "a.mot", movement)


def _real(name: str) -> Path:
    if not SHARED.is_dir():
        pytest.skip("the folder of real files is not beside the checkout")
    return SHARED / name


@pytest.mark.parametrize(
    ("name", "coordinates", "rate_hz", "to_degrees", "flags"),
    [
        ("opencap_subject4/walking1_ik.mot", 33, 100, 180 / np.pi, set()),
        ("opencap_subject4/squats1_ik.mot", 33, 100, 180 / np.pi, set()),
        ("opencap_subject4/static1_ik.mot", 33, 100, 180 / np.pi, {"knee-sign-ambiguous"}),
        ("opensim_core/normal_gait.mot", 17, 50, -1, {"knee-sign-flipped"}),
        ("opensim_core/crouch_gait.mot", 17, 118, -1, {"knee-sign-flipped", "rows-not-as-in-header"}),
        ("opensim_core/std_subject01_walk1_ik.mot", 23, 60, -1, {"knee-sign-flipped", "units-guessed"}),
        ("opensim_core/subject_walk_armless_coordinates.mot", 37, 100, 1, set()),
    ],
)
def test_real_files(name: str, coordinates: int, rate_hz: float, to_degrees: float, flags: set[str]) -> None:
    path = _real(name)
    lines = path.read_text().splitlines()
    start = next(number for number, line in enumerate(lines) if line.startswith("time\t"))
    column = lines[start].split("\t").index("knee_angle_r")
    knee = np.array([float(line.split()[column]) for line in lines[start + 1 :] if line.strip()])
    trajectory = formats.read(path)
    assert trajectory.observed.sum() == coordinates
    assert trajectory.rate_hz == pytest.approx(rate_hz, rel=1e-3)
    np.testing.assert_allclose(_knee(trajectory), knee * to_degrees, atol=1e-3)
    assert flags <= set(trajectory.metadata.flags)
    assert len(trajectory.metadata.sha256) == 64


def test_real_file_of_another_model_is_refused() -> None:
    with pytest.raises(InputError, match="no known coordinates"):
        formats.read(_real("pyomeca/inverse_kin.mot"))
