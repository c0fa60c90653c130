"""No step is lost when a run is killed at any moment, damaged on disk, or continued with other process counts."""

import hashlib
import json
import random
import shutil
from pathlib import Path

import jax
import numpy as np
import pytest
from ground import Fault, Ground

from biomechgpt_jax.training import checkpoint, manifest, metrics

pytestmark = pytest.mark.multiprocess
STEPS = 10  # checkpoints at 4, 8 and 10


def losses(workdir: Path) -> list[tuple[int, float]]:
    """The loss of every step, exactly as JSON holds it, and the validation losses."""
    return [
        (entry["step"], entry.get("loss", entry.get("validation_loss")))
        for entry in metrics.read(workdir / "metrics.jsonl")
        if "loss" in entry or "validation_loss" in entry
    ]


def run(ground: Ground, workdir: Path, processes: int = 1, steps: int = STEPS, **others) -> list[int]:
    started = ground.start(workdir, processes=processes, steps=steps, **others)
    codes = started.wait(300)
    assert set(codes) <= {0, -9, -6}, started.log(0)[-3000:]
    return codes


def parameters(checkpoints: Path) -> list[np.ndarray]:
    """The parameters of the newest good step, read by this one process."""
    newest = next(path for path in manifest.steps(checkpoints) if manifest.committed(path))
    arrays = json.loads((newest / manifest.METADATA).read_text())["arrays"]
    here = jax.sharding.SingleDeviceSharding(jax.devices()[0])
    abstract: dict = {}
    for name, text in arrays.items():
        if name.startswith("params/"):
            kind, _, extent = text.rstrip("]").partition("[")
            inner = abstract
            *parents, last = name.split("/")
            for part in parents:
                inner = inner.setdefault(part, {})
            inner[last] = jax.ShapeDtypeStruct(tuple(map(int, extent.split(","))), kind, sharding=here)
    restored = checkpoint.restore(checkpoints, abstract, {})
    assert restored is not None
    return [np.asarray(leaf) for leaf in jax.tree.leaves(restored[1])]


def digest(arrays: list[np.ndarray]) -> str:
    """The digest of parameters that the worker reports."""
    return hashlib.sha256(b"".join(np.ascontiguousarray(leaf).tobytes() for leaf in arrays)).hexdigest()


@pytest.fixture(scope="module")
def undisturbed(ground: Ground, tmp_path_factory) -> Path:
    workdir = tmp_path_factory.mktemp("undisturbed")
    assert run(ground, workdir) == [0]
    return workdir


def same(a: Path, b: Path) -> bool:
    return Ground.result(a)["params"] == Ground.result(b)["params"] and losses(a) == losses(b)


def test_a_run_killed_at_a_step_and_in_a_save_ends_as_if_undisturbed(
    ground: Ground, undisturbed: Path, tmp_path
) -> None:
    faults = [Fault(0, 6, "kill in save"), Fault(0, 9, "kill")]
    assert run(ground, tmp_path, faults=faults) == [-9]
    assert not manifest.committed(tmp_path / "checkpoints" / "step_00000008")  # the save was interrupted
    assert run(ground, tmp_path, faults=faults) == [-9]
    assert run(ground, tmp_path, faults=faults) == [0]
    assert [step for step, _ in losses(tmp_path)] == [1, 2, 3, 4, 4, 5, 6, 7, 8, 8, 9, 10, 10]
    assert same(tmp_path, undisturbed)


def test_processes_agree_on_damage_and_another_number_of_processes_resumes(ground: Ground, undisturbed, tmp_path):
    """1 -> 2: unchanged, then with the newest step damaged in a file that process 1 hashes."""
    whole, damaged = tmp_path / "whole", tmp_path / "damaged"
    for workdir in (whole, damaged):
        workdir.mkdir()
        shutil.copytree(undisturbed / "checkpoints", workdir / "checkpoints")
        shutil.copy(undisturbed / "metrics.jsonl", workdir)
    assert run(ground, whole, processes=2) == [0, 0]
    assert Ground.result(whole)["params"] == Ground.result(undisturbed)["params"]
    assert digest(parameters(undisturbed / "checkpoints")) == Ground.result(undisturbed)["params"]

    newest = damaged / "checkpoints" / "step_00000010"
    target = newest / manifest.share(manifest.sizes(newest), 1, 2)[0]
    flipped = bytearray(target.read_bytes())
    flipped[len(flipped) // 2] ^= 4
    target.write_bytes(flipped)
    started = ground.start(damaged, processes=2, steps=STEPS)
    assert started.wait() == [0, 0], started.log(1)[-3000:]
    assert "is damaged" in started.log(0) and "step 9\n" in started.log(0) and "step 8\n" not in started.log(0)
    names = sorted(path.name for path in (damaged / "checkpoints").iterdir())
    assert names == ["damaged-step_00000010", "step_00000008", "step_00000010"]
    # 2 -> 1: one process reads what two have saved.
    assert digest(parameters(damaged / "checkpoints")) == Ground.result(damaged)["params"]
    written = json.loads((damaged / "checkpoints" / "step_00000010" / manifest.METADATA).read_text())
    assert written["written_by"]["processes"] == 2


@pytest.mark.slow
@pytest.mark.parametrize("processes", [1, 2])
def test_twenty_kills(ground: Ground, tmp_path, processes: int) -> None:
    """SIGKILL of one process at 20 random steps, half of them inside a save; the others end with SIGABRT."""
    steps, draw = 60, random.Random(7)
    calm = tmp_path / "calm"
    assert run(ground, calm, processes, steps) == [0] * processes
    workdir, cut_off = tmp_path / "killed", 0
    faults = [
        Fault(draw.randrange(processes), step, draw.choice(["kill", "kill in save"]), draw.random() * 0.1)
        for step in sorted(draw.sample(range(1, steps - 4), 20))
    ]
    for _ in range(len(faults) + 1):
        codes = run(ground, workdir, processes, steps, faults=faults)
        cut_off += any(not manifest.committed(path) for path in manifest.steps(workdir / "checkpoints"))
        if codes == [0] * processes:
            break
    assert len(list(workdir.glob("fault-*.done"))) == 20
    assert cut_off >= 3
    assert same(workdir, calm)


@pytest.mark.slow
def test_four_processes_and_one(ground: Ground, tmp_path) -> None:
    """Saved by 4 and restored by 1, saved by 1 and restored by 4: parameters bit for bit."""
    four, one = tmp_path / "four", tmp_path / "one"
    assert run(ground, four, processes=4, mesh={"data": 2, "fsdp": 2}) == [0] * 4
    assert digest(parameters(four / "checkpoints")) == Ground.result(four)["params"]
    assert run(ground, one) == [0]
    shutil.copytree(four / "checkpoints", tmp_path / "4-1" / "checkpoints")
    shutil.copytree(one / "checkpoints", tmp_path / "1-4" / "checkpoints")
    assert run(ground, tmp_path / "4-1") == [0]
    assert run(ground, tmp_path / "1-4", processes=4, mesh={"data": 1, "fsdp": 4}) == [0] * 4
    assert Ground.result(tmp_path / "4-1")["params"] == Ground.result(four)["params"]
    assert Ground.result(tmp_path / "1-4")["params"] == Ground.result(one)["params"]
