"""Reading .mot files: what is understood, and each refusal."""

from pathlib import Path

import numpy as np
import pytest

from biomechgpt_jax import formats
from biomechgpt_jax.biomechanics import preprocess
from biomechgpt_jax.biomechanics.skeleton import COORDINATES, INDEX, NECK_AND_WRISTS, observed_without
from biomechgpt_jax.biomechanics.trajectory import Trajectory
from biomechgpt_jax.errors import InputError
from biomechgpt_jax.formats import opensim

SHARED = Path(__file__).parents[3] / "shared" / "data"
NAMES = ("pelvis_tilt", "pelvis_tx", "pelvis_ty", "pelvis_tz", "hip_flexion_r", "knee_angle_r", "knee_angle_l")


def _write(path: Path, degrees: str | None = "yes", names=NAMES, rows: int = 50, change=None, head: str = "") -> Path:
    time = np.arange(rows) / 50
    values = np.zeros((rows, len(names)))
    for column, name in enumerate(names):
        if name.startswith("knee"):
            values[:, column] = 30 + 30 * np.sin(2 * np.pi * time)
        if name == "hip_flexion_r":
            values[:, column] = 20 * np.cos(2 * np.pi * time)
    if change:
        change(values)
    lines = ["Coordinates", "version=1", f"nRows={rows}", f"nColumns={len(names) + 1}"]
    lines += [f"inDegrees={degrees}"] if degrees else []
    lines += ["endheader", "\t".join(["time", *names])]
    lines += ["\t".join(f"{v:.8g}" for v in (t, *row)) for t, row in zip(time, values, strict=True)]
    path.write_text("\n".join(lines) + "\n")
    return path


def test_degrees_become_radians_and_missing_is_masked(tmp_path: Path) -> None:
    found = formats.read(_write(tmp_path / "a.mot"))
    assert found.rate_hz == pytest.approx(50)
    assert np.degrees(found.coordinates[:, INDEX["knee_angle_r"]]).max() == pytest.approx(60, abs=0.5)
    assert found.observed.sum() == len(NAMES)
    assert not found.observed[INDEX["neck_extension"]]


def test_without_header_line_the_limbs_tell_degrees(tmp_path: Path) -> None:
    found = formats.read(_write(tmp_path / "a.mot", degrees=None))
    assert found.coordinates[:, INDEX["knee_angle_r"]].max() < 1.2


def test_negative_knees_are_flipped_and_small_ones_flagged(tmp_path: Path) -> None:
    def negate(values: np.ndarray) -> None:
        values[:, 5:] *= -1

    def shrink(values: np.ndarray) -> None:
        values[:, 5:] *= 0.1

    flipped = formats.read(_write(tmp_path / "a.mot", change=negate))
    assert flipped.coordinates[:, INDEX["knee_angle_r"]].max() > 0.9
    assert "knee-sign-flipped" in flipped.metadata.flags
    assert "knee-sign-ambiguous" in formats.read(_write(tmp_path / "b.mot", change=shrink)).metadata.flags


def test_opensim4_paths_and_commas(tmp_path: Path) -> None:
    names = tuple(f"/jointset/some_joint/{name}/value" for name in NAMES)
    path = _write(tmp_path / "a.sto", names=names)
    plain = formats.read(_write(tmp_path / "b.mot"))
    path.write_text(path.read_text().replace("\t", ","))
    # The generator above knows plain names only: the columns are zero, but all are found.
    assert formats.read(path).observed.tolist() == plain.observed.tolist()


def test_empty_column_is_masked_and_short_gap_filled(tmp_path: Path) -> None:
    def spoil(values: np.ndarray) -> None:
        values[:, 0] = np.nan
        values[10:13, 4] = np.nan

    found = formats.read(_write(tmp_path / "a.mot", change=spoil))
    assert not found.observed[INDEX["pelvis_tilt"]]
    assert {"empty:pelvis_tilt", "filled:hip_flexion_r"} <= set(found.metadata.flags)
    assert np.isfinite(found.coordinates).all()


def _long_gap(values: np.ndarray) -> None:
    values[10:40, 4] = np.nan


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda p: None, "no such file"),
        (lambda p: p.mkdir(), "is a directory"),
        (lambda p: p.write_text(""), "is empty"),
        (lambda p: p.write_text("hello\nworld\n"), "not a .mot file"),
        (lambda p: p.write_bytes(b"\x00\x01\x02" * 50), "not a text file"),
        (lambda p: _write(p, names=("ground_force_vx", "ground_force_vy", "ground_force_px")), "ground-reaction"),
        (lambda p: _write(p, change=_long_gap), "hip_flexion_r has no number for"),
        (lambda p: p.write_text("\n".join(_write(p).read_text().splitlines()[:-20])), "truncated"),
        (lambda p: p.write_text(_write(p).read_text()[:-12]), "truncated"),
        (lambda p: p.write_text(_write(p).read_text().replace("0.1\t", "0.5\t", 1)), "time does not increase"),
    ],
)
def test_refusals_are_one_line(tmp_path: Path, make, words: str) -> None:
    path = tmp_path / "bad.mot"
    make(path)
    with pytest.raises(InputError, match=words) as refused:
        formats.read(path)
    assert "\n" not in str(refused.value)


def test_unknown_ending(tmp_path: Path) -> None:
    path = tmp_path / "a.docx"
    path.write_text("x")
    with pytest.raises(InputError, match="docx"):
        formats.read(path)


def test_written_file_reads_back(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    q = np.cumsum(rng.normal(0, 0.01, (80, len(COORDINATES))), axis=0).astype(np.float32)
    q[:, [INDEX["knee_angle_r"], INDEX["knee_angle_l"]]] += 1.0
    observed = observed_without(NECK_AND_WRISTS)
    q[:, ~observed] = 0
    opensim.write(tmp_path / "a.mot", Trajectory(q, observed, 30.0))
    back = formats.read(tmp_path / "a.mot")
    np.testing.assert_allclose(back.coordinates, q, atol=1e-6)
    np.testing.assert_array_equal(back.observed, observed)


def test_canonical_rate_keeps_a_slow_sine() -> None:
    time = np.arange(400) / 100
    q = np.zeros((400, len(COORDINATES)), np.float32)
    q[:, INDEX["knee_angle_r"]] = np.sin(2 * np.pi * time)
    found = preprocess.canonical(Trajectory(q, np.ones(40, bool), 100.0))
    wanted = np.sin(2 * np.pi * np.arange(found.frames) / 30)
    assert found.rate_hz == 30
    np.testing.assert_allclose(found.coordinates[5:-5, INDEX["knee_angle_r"]], wanted[5:-5], atol=2e-3)


@pytest.mark.skipif(not SHARED.is_dir(), reason="the folder of real files is not beside the checkout")
def test_opencap_walking_has_its_known_speed() -> None:
    found = preprocess.canonical(formats.read(SHARED / "opencap_subject4" / "walking1_ik.mot"))
    assert found.observed.sum() == 33
    assert formats.describe(found)["net_speed_m_s"] == pytest.approx(1.29, abs=0.02)
