"""Damaged files are read or refused with a reason, whatever the damage; `benchmarks/formats.py` tests many more."""

import importlib.util
import random
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from biomechgpt_jax import formats
from biomechgpt_jax.biomechanics.trajectory import Trajectory
from biomechgpt_jax.errors import InputError
from biomechgpt_jax.formats import npz, opensim

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"
WAVES = (0.3 * np.sin(np.arange(30)[:, None] / 9 + np.arange(40))).astype(np.float32)


@pytest.fixture(scope="module")
def attack() -> ModuleType:
    sys.path.insert(0, str(BENCHMARKS))
    try:
        spec = importlib.util.spec_from_file_location("formats_benchmark", BENCHMARKS / "formats.py")
        assert spec is not None and spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        sys.modules[spec.name] = module
        spec.loader.exec_module(module)
        return module
    finally:
        sys.path.remove(str(BENCHMARKS))


def _sample(ending: str, folder: Path) -> bytes:
    trajectory = Trajectory(WAVES, np.ones(40, bool), 100.0)
    path = folder / f"sample{ending}"
    if ending == ".npz":
        npz.write(path, trajectory)
    elif ending == ".mot":
        opensim.write_mot(path, trajectory)
    else:
        rows = "".join(
            f"{i + 1}\t{i / 100}\t" + "\t".join(f"{1 + v:.4f}" for v in WAVES[i, :9]) + "\n" for i in range(30)
        )
        path.write_text(
            "PathFileType\t4\t(X/Y/Z)\ta.trc\nDataRate\tCameraRate\tNumFrames\tNumMarkers\tUnits\n100\t100\t30\t3\tm\n"
            "Frame#\tTime\tA\t\t\tB\t\t\tC\t\t\n\t\tX1\tY1\tZ1\tX2\tY2\tZ2\tX3\tY3\tZ3\n" + rows
        )
    return path.read_bytes()


@pytest.mark.parametrize("ending", [".mot", ".trc", ".npz"])
def test_every_mutant_is_read_or_refused(attack: ModuleType, tmp_path: Path, ending: str) -> None:
    raw, outcomes, reasons = _sample(ending, tmp_path), [], []
    for number in range(150):
        path = tmp_path / f"mutant{ending}"
        path.write_bytes(attack.damage(ending, [raw], random.Random(number)))
        try:
            if ending == ".trc":
                assert np.isfinite(formats.read_markers(path).positions).any()
            else:
                assert np.isfinite(formats.read(path).coordinates).all()
            outcomes.append("read")
        except InputError as error:
            reasons.append(str(error))
            outcomes.append("refused")
    assert outcomes.count("refused") > 20 and all(reason and "\n" not in reason for reason in reasons)
    assert outcomes.count("read") > 10


def test_archives_that_hold_objects_are_damaged_as_well(attack: ModuleType, tmp_path: Path) -> None:
    """As those of AMASS do, beside what is read."""
    np.savez(tmp_path / "a.npz", allow_pickle=True, labels=np.array([{}], dtype=object), trans=np.zeros((5, 3)))
    damaged = [attack.damage(".npz", [(tmp_path / "a.npz").read_bytes()], random.Random(number)) for number in range(8)]
    assert len(set(damaged)) == 8


@pytest.mark.parametrize(
    "arrays",
    [
        {"qpos": np.full((5, 40), 1e300)},
        {"coordinates": np.full((5, 40), 1e39)},
        {"poses": np.full((5, 72), np.nan), "trans": np.zeros((5, 3))},
        {"poses": np.full((5, 72), 1e300), "trans": np.zeros((5, 3))},
        {"poses": np.zeros((0, 72)), "trans": np.zeros((0, 3))},
        {"a\nb": np.zeros(3)},
    ],
)
def test_impossible_numbers_are_refused_in_one_line(tmp_path: Path, arrays: dict[str, np.ndarray]) -> None:
    np.savez(tmp_path / "a.npz", allow_pickle=False, fps=np.float64(30), **arrays)
    with pytest.raises(InputError) as refusal:
        formats.read(tmp_path / "a.npz")
    assert "\n" not in str(refusal.value)


def test_additional_columns_are_ignored(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", poses=np.zeros((5, 156)), trans=np.zeros((5, 4)), fps=np.float64(30))
    assert formats.read(tmp_path / "a.npz").frames == 5


def test_a_small_archive_with_large_contents_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(npz, "LARGEST_BYTES", 2**20)
    np.savez_compressed(tmp_path / "a.npz", coordinates=np.zeros((10_000, 40)), rate_hz=np.float64(30))
    with pytest.raises(InputError, match="unpacks to"):
        formats.read(tmp_path / "a.npz")
