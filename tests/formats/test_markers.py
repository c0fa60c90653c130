"""Readers of marker files: small files written here, broken copies, and every real file."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from biomechgpt_jax import formats
from biomechgpt_jax.biomechanics.fitting.markers import Markers
from biomechgpt_jax.biomechanics.flags import cautions
from biomechgpt_jax.errors import InputError
from biomechgpt_jax.formats import c3d

DATA = Path(__file__).parents[2].parent / "shared" / "data"
_NAMES = ("C7", "HEEL", "TOE")


def _write_trc(
    path: Path, separator: str = "\t", units: str = "mm", scale: float = 1000.0, vertical_axis: int = 1
) -> np.ndarray:
    """Write a body 1.5 m tall that moves along x; returns its positions [T, 3, 3] in metres with y up."""
    time = np.arange(21) / 100
    truth = np.zeros((21, 3, 3))
    truth[..., 0] = time[:, None] + np.array([0.0, -0.05, 0.15])
    truth[..., 1] = [1.5, 0.03, 0.04]
    truth[..., 2] = [0.0, 0.1, 0.1]
    stored = truth if vertical_axis == 1 else truth[..., [0, 2, 1]] * [1, -1, 1]
    rows = [
        separator.join([str(i + 1), f"{t:.3f}", *(f"{scale * value:.4f}" for value in frame.ravel())])
        for i, (t, frame) in enumerate(zip(time, stored, strict=True))
    ]
    head = [
        separator.join(["PathFileType", "4", "(X/Y/Z)", "made.trc"]),
        separator.join(["DataRate", "CameraRate", "NumFrames", "NumMarkers", "Units"]),
        separator.join(["100", "100", "21", "3", units]),
        separator.join(["Frame#", "Time", *(cell for name in _NAMES for cell in (f"subject:{name}", "", ""))]),
        separator.join(["", "", *(f"{axis}{i}" for i in (1, 2, 3) for axis in "XYZ")]),
    ]
    path.write_text("\n".join([*head, *rows]) + "\n")
    return truth


@pytest.mark.parametrize(
    ("separator", "units", "scale", "vertical_axis"),
    [("\t", "mm", 1000.0, 1), (",", "m", 1.0, 1), ("\t", "cm", 100.0, 2)],
)
def test_every_variant_of_trc_gives_the_same_positions(
    tmp_path: Path, separator: str, units: str, scale: float, vertical_axis: int
) -> None:
    truth = _write_trc(tmp_path / "a.trc", separator, units, scale, vertical_axis)
    markers = formats.read_markers(tmp_path / "a.trc")
    assert markers.names == _NAMES
    assert markers.rate_hz == pytest.approx(100.0)
    np.testing.assert_allclose(markers.positions, truth, atol=1e-4)


def test_a_header_without_a_unit_is_in_millimetres(tmp_path: Path) -> None:
    truth = _write_trc(tmp_path / "a.trc", units="")
    lines = (tmp_path / "a.trc").read_text().splitlines()
    lines[1], lines[2] = f"{lines[1]}\tOrigDataRate", f"{lines[2]}\t100"
    (tmp_path / "a.trc").write_text("\n".join(lines) + "\n")
    np.testing.assert_allclose(formats.read_markers(tmp_path / "a.trc").positions, truth, atol=1e-4)


def test_blank_cells_are_unseen_markers(tmp_path: Path) -> None:
    _write_trc(tmp_path / "a.trc")
    lines = (tmp_path / "a.trc").read_text().splitlines()
    cells = lines[8].split("\t")
    cells[2:5] = ["", "", ""]
    lines[8] = "\t".join(cells)
    (tmp_path / "a.trc").write_text("\n".join(lines))
    markers = formats.read_markers(tmp_path / "a.trc").positions
    assert np.isnan(markers[3, 0]).all()
    assert np.isfinite(np.delete(markers.reshape(21, 9), [0, 1, 2], axis=1)).all()


def test_rows_with_too_few_cells_lack_what_is_not_there_and_that_is_told(tmp_path: Path) -> None:
    def short(lines: list[list[str]]) -> None:
        lines[9], lines[12] = lines[9][:-3], lines[12][:-5]

    markers = _edit(tmp_path / "a.trc", short)
    assert markers.metadata.flags == (
        "caution: 2 of 21 rows have fewer cells than there are columns: what they lack is unseen",
    )
    unseen = ~np.isfinite(markers.positions).all(axis=2)
    assert unseen.sum() == 3 and unseen[4, 2] and unseen[7, 1:].all()


@pytest.mark.parametrize("left", ["", "21", "21\t0.2", "21\t0.200\t200.0000\t15", "ALL BUT THE LAST-"])
def test_a_last_row_that_is_cut_off_is_left_out_and_that_is_told(tmp_path: Path, left: str) -> None:
    _write_trc(tmp_path / "a.trc")
    head, _, row = (tmp_path / "a.trc").read_text().rstrip().rpartition("\n")
    (tmp_path / "a.trc").write_text(f"{head}\n{left.replace('ALL BUT THE LAST', row[: row.rindex(chr(9)) + 1])}")
    found = formats.read_markers(tmp_path / "a.trc")
    assert found.frames == 20 and np.isfinite(found.positions).all()
    told = "caution: the last row is cut off, and is left out"
    assert found.metadata.flags == ((told,) if left else ()) + ("rows-not-as-in-header",)


def test_numbers_of_frames_that_jump_while_the_times_run_on_are_told(tmp_path: Path) -> None:
    def later(lines: list[list[str]]) -> None:
        for cells in lines[12:]:
            cells[0] = str(int(cells[0]) + 100)

    (said,) = cautions(_edit(tmp_path / "a.trc", later).metadata.flags)
    assert said == "the frame numbers go from 7 to 108 after data row 7, unlike the times: the times are followed"

    def every_second(lines: list[list[str]]) -> None:
        for number, cells in enumerate(lines[5:]):
            cells[0] = str(2 * number)

    assert not cautions(_edit(tmp_path / "a.trc", every_second).metadata.flags)


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("Frame#", "Row", "no line of marker names"),
        ("mm", "furlong", "units of 'furlong'"),
        ("0.050", "zero", "line 11: a cell is not a number"),
        ("\tsubject:HEEL", "", "2 names of markers over 3 columns"),
        ("\tsubject:HEEL\t\t", "", "numbers in 3 columns of x, y and z and names for 2"),
        ("\tsubject:HEEL", "\tsubject:HEEL\tMORE", "4 names of markers over 3 columns"),
    ],
)
def test_broken_trc_is_refused_with_the_reason(tmp_path: Path, old: str, new: str, words: str) -> None:
    _write_trc(tmp_path / "a.trc")
    (tmp_path / "a.trc").write_text((tmp_path / "a.trc").read_text().replace(old, new, 1))
    with pytest.raises(InputError, match=words):
        formats.read_markers(tmp_path / "a.trc")


def _edit(path: Path, edit: Callable[[list[list[str]]], object]) -> Markers:
    """Read a made file after a change of its cells, line by line."""
    _write_trc(path)
    lines = [line.split("\t") for line in path.read_text().splitlines()]
    edit(lines)
    path.write_text("\n".join("\t".join(cells) for cells in lines))
    return formats.read_markers(path)


def test_a_column_without_a_name_is_left_out_and_moves_no_other(tmp_path: Path) -> None:
    truth = _write_trc(tmp_path / "b.trc")
    found = _edit(tmp_path / "a.trc", lambda lines: lines[3].__setitem__(5, ""))
    assert found.names == ("C7", "TOE")
    np.testing.assert_allclose(found.positions, truth[:, [0, 2]], atol=1e-4)
    assert cautions(found.metadata.flags) == ("marker 2 has no name and is left out",)


@pytest.mark.parametrize("between", [0, 1])
def test_names_that_do_not_stand_over_their_columns_count_by_their_order(tmp_path: Path, between: int) -> None:
    truth = _write_trc(tmp_path / "b.trc")
    names = [cell for name in _NAMES for cell in (*[""] * between, name)]
    found = _edit(tmp_path / "a.trc", lambda lines: lines.__setitem__(3, ["Frame#", "Time", *names]))
    assert found.names == _NAMES and found.metadata.flags == ()
    np.testing.assert_allclose(found.positions, truth, atol=1e-4)


@pytest.mark.parametrize(("name", "flags"), [("C7", 1), ("V_Mid", 0)])
def test_of_a_name_that_stands_twice_the_first_that_is_seen_counts(tmp_path: Path, name: str, flags: int) -> None:
    truth = _write_trc(tmp_path / "b.trc")

    def twice(lines: list[list[str]]) -> None:
        lines[3][2] = lines[3][5] = name

    def first_unseen(lines: list[list[str]]) -> None:
        twice(lines)
        for cells in lines[5:]:
            cells[2:5] = [""] * 3

    found = _edit(tmp_path / "a.trc", twice)
    assert found.names == (name, "TOE") and len(cautions(found.metadata.flags)) == flags
    np.testing.assert_allclose(found.positions, truth[:, [0, 2]], atol=1e-4)
    found = _edit(tmp_path / "a.trc", first_unseen)
    assert found.names == (name, "TOE") and found.metadata.flags == ()
    np.testing.assert_allclose(found.positions, truth[:, [1, 2]], atol=1e-4)


def test_a_marker_at_the_origin_is_unseen(tmp_path: Path) -> None:
    found = _edit(tmp_path / "a.trc", lambda lines: lines[8].__setitem__(slice(2, 5), ["0", "0.0", "-0"]))
    assert np.isnan(found.positions[3, 0]).all() and np.isfinite(found.positions[3, 1:]).all()


def test_rows_that_are_missing_are_unseen_frames(tmp_path: Path) -> None:
    def later(lines: list[list[str]]) -> None:
        for cells in lines[15:]:
            cells[1] = f"{float(cells[1]) + 0.5:.3f}"

    found = _edit(tmp_path / "a.trc", later)
    assert found.rate_hz == 100 and found.frames == 71
    assert np.flatnonzero(np.isnan(found.positions).all(axis=(1, 2))).tolist() == list(range(10, 60))
    assert cautions(found.metadata.flags) == ("0.50 s are missing after data row 10",)


# Number of markers in every marker file of the shared folder, or words of its refusal.
_EXPECTED: dict[str, int | str] = {
    "addbiomechanics/JA1Gait35.c3d": 51,
    "addbiomechanics/cmu_02_05.c3d": 41,
    "addbiomechanics/markers_Squat2.trc": 61,
    "biomechzoo_children/HC031A06.c3d": 205,
    "btkdata/1123x01EMG.c3d": "no markers",
    "btkdata/561xxa01_anonym.C3D": 26,  # its frames hold analog samples that no group describes
    "btkdata/Gait.trc": 33,
    "btkdata/PlugInC3D.c3d": 54,
    "btkdata/bad_parameter_section.c3d": "parameter section cannot be followed",
    "btkdata/golfswing.c3d": 29,
    "btkdata/parameterOverflow.c3d": "one average gait cycle",
    "kineticstoolkit/walkingOptiTrack.c3d": 12,
    "omcs_gait/exampleOverground.c3d": 53,
    "opencap_subject4/walking1.trc": 51,
    "opensim_core/markers_walk.trc": 41,
    "opensim_core/walking2.c3d": 44,
    "pyomeca/markers.trc": 51,
}


@pytest.mark.parametrize("name", list(_EXPECTED))
def test_real_files_are_read_or_refused_with_a_reason(name: str) -> None:
    path = DATA / name
    if not path.is_file():
        pytest.skip(f"{path} is absent")
    if name.lower().endswith(".c3d"):
        pytest.importorskip("ezc3d")
        pytest.importorskip("c3d")
    expected = _EXPECTED[name]
    if isinstance(expected, str):
        with pytest.raises(InputError, match=expected):
            formats.read_markers(path)
        return
    markers = formats.read_markers(path)
    assert len(markers.names) == expected
    assert 20 <= markers.rate_hz <= 500
    height = np.nanmedian(np.nanmax(markers.positions[..., 1], axis=1) - np.nanmin(markers.positions[..., 1], axis=1))
    assert 0.2 < height < 2.2, "metres, y up"


def test_events_and_measured_parameters_of_a_real_file() -> None:
    path = DATA / "omcs_gait" / "exampleOverground.c3d"
    if not path.is_file():
        pytest.skip(f"{path} is absent")
    pytest.importorskip("ezc3d")
    markers = formats.read_markers(path)
    np.testing.assert_allclose(markers.events.strike_time, [1.1846, 1.70, 2.16], atol=0.012)
    assert list(markers.events.strike_foot) == [0, 1, 0]
    assert markers.parameters["walking_speed_r"] == pytest.approx(0.987, abs=0.001)
    assert markers.parameters["cadence_r"] == pytest.approx(123.0, abs=0.1)


def test_damaged_copies_of_a_real_file_are_read_or_refused(tmp_path: Path) -> None:
    path = DATA / "btkdata" / "PlugInC3D.c3d"
    if not path.is_file():
        pytest.skip(f"{path} is absent")
    pytest.importorskip("ezc3d")
    raw, rng, refused = path.read_bytes(), np.random.default_rng(5), 0
    for number in range(60):
        copy = bytearray(raw[: int(rng.integers(1, len(raw)))] if number % 3 == 0 else raw)
        for place in rng.integers(0, min(len(copy), 4096), 6):
            copy[place] = int(rng.integers(256))
        (tmp_path / "damaged.c3d").write_bytes(copy)
        try:
            formats.read_markers(tmp_path / "damaged.c3d")
        except InputError:
            refused += 1
    assert refused > 20


def _write_c3d(
    path: Path, events: list[tuple[str, str, float]], flat: bool, analysis: list[tuple[str, str, str, float]]
) -> None:
    """Write three markers over 300 frames at 100 Hz that begin at frame 101, with events (label, context, seconds)."""
    ezc3d = pytest.importorskip("ezc3d")
    made = ezc3d.c3d()
    made["parameters"]["POINT"]["RATE"]["value"] = [100.0]
    made["parameters"]["POINT"]["LABELS"]["value"] = list(_NAMES)
    made["parameters"]["POINT"]["UNITS"]["value"] = ["mm"]
    points = np.ones((4, 3, 300))
    points[:3] = np.array([[0.0, -50.0, 150.0], [1500.0, 30.0, 40.0], [0.0, 100.0, 100.0]])[..., None]
    made["data"]["points"] = points
    made["header"]["points"]["first_frame"] = 100
    times = np.array([[0.0, seconds] for _, _, seconds in events])
    made.add_parameter("EVENT", "LABELS", [label for label, _, _ in events])
    made.add_parameter("EVENT", "CONTEXTS", [context for _, context, _ in events])
    made.add_parameter("EVENT", "TIMES", times.ravel() if flat else times.T)
    for name, column in zip(("NAMES", "CONTEXTS", "UNITS", "VALUES"), zip(*analysis, strict=True), strict=True):
        made.add_parameter("ANALYSIS", name, list(column))
    made.write(str(path))


def _refuse(path: Path, with_analog: bool) -> None:
    raise ValueError("ezc3d refuses it")


_VICON = [
    ("Foot Strike", "Left", 1.5),
    ("Foot Off", "Right", 1.62),
    ("General", "General", 1.7),
    ("Foot Strike", "Right", 1.02),
]
_BY_LABEL = [("LHS", "", 1.5), ("Right Toe Off", "", 1.62), ("Clap", "", 1.7), ("Initial_Contact_R", "", 1.02)]


@pytest.mark.parametrize("library", ["ezc3d", "c3d"])
@pytest.mark.parametrize("flat", [False, True])
@pytest.mark.parametrize("events", [_VICON, _BY_LABEL])
def test_events_are_read_however_they_are_laid_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, events: list[tuple[str, str, float]], flat: bool, library: str
) -> None:
    """By the second library as well, which reads what ezc3d refuses."""
    pytest.importorskip(library)
    analysis = [
        ("Stride Time", "Left", "s", 1.0),
        ("Double Support", "Left", "s", 0.2),
        ("Foot Off", "Left", "%", 61.0),
        ("Double Support", "Right", "s", 0.2),
        ("1er double appui (%)", "General", "%", 10.5),
        ("2eme double appui (%)", "General", "%", 9.5),
        ("Stride Length", "Left", "cm", 120.0),
    ]
    _write_c3d(tmp_path / "a.c3d", events, flat, analysis)
    if library == "c3d":
        monkeypatch.setattr(c3d, "_load_with_ezc3d", _refuse)
    markers = formats.read_markers(tmp_path / "a.c3d")
    np.testing.assert_allclose(markers.events.strike_time, [0.02, 0.5], atol=1e-5)
    assert list(markers.events.strike_foot) == [0, 1]
    np.testing.assert_allclose(markers.events.off_time, [0.62], atol=1e-5)
    assert list(markers.events.off_foot) == [0]
    expected = {"stride_time_l": 1.0, "double_support_l": 20.0, "stance_l": 61.0, "double_support": 20.0}
    assert dict(markers.parameters) == pytest.approx(expected | {"stride_length_l": 1.2}), "right: no stride time"


@pytest.mark.parametrize(("name", "count"), [("btk_FunctionalWalk", 11), ("pig_full_with_bones", 12)])
def test_events_whose_times_have_no_rows_are_read(name: str, count: int) -> None:
    path = DATA / "field" / f"{name}.c3d"
    if not path.is_file():
        pytest.skip(f"{path} is absent")
    pytest.importorskip("ezc3d")
    events = formats.read_markers(path).events
    assert len(events.strike_time) + len(events.off_time) == count
    strikes = events.strike_time[np.diff(events.strike_foot, prepend=2) != 0]
    assert len(strikes) == len(events.strike_time), "feet alternate"
    assert 0.9 < np.diff(strikes).mean() * 2 < 1.2, "strides of about a second"
