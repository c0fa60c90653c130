"""`inspect` of checkpoints: what is there, what is whole."""

import json
import shutil

import jax.numpy as jnp
import pytest

from biomechgpt_jax import cli
from biomechgpt_jax.training import checkpoint, manifest

IDENTITY = {"model": {"layers": 2}, "vocabulary": {"digest": "abc", "size": 9}, "dataset": {"digest": "def"}}


@pytest.fixture
def directory(tmp_path):
    """Steps 1 to 5: 1 is good, 2 damaged, 3 good, 4 cut off, and 5 was found damaged by a run."""
    saved = tmp_path / "saved"
    checkpoints = checkpoint.Checkpoints(saved, IDENTITY, 5)
    checkpoints.save(1, {"params": {"w": jnp.ones((3, 4)), "b": jnp.float32(0)}, "step": jnp.int32(1)})
    checkpoints.close()
    for step in (2, 3, 4, 5):
        shutil.copytree(saved / "step_00000001", manifest.step_path(saved, step))
    (manifest.step_path(saved, 2) / "d").rename(manifest.step_path(saved, 2) / "e")
    (manifest.step_path(saved, 4) / manifest.MANIFEST).unlink()
    manifest.quarantine(manifest.step_path(saved, 5))
    return saved


def test_all_steps_and_the_newest_good_one(directory, capsys) -> None:
    assert cli.main(["inspect", str(directory), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    states = {step["name"]: step["state"].partition(":")[0] for step in found["steps"]}
    assert states == {
        "step_00000001": "good",
        "step_00000002": "damaged",
        "step_00000003": "good",
        "step_00000004": "uncommitted",
        "damaged-step_00000005": "quarantined",
    }
    assert found["parameters"] == 13 and found["state_bytes"] == 14 * 4
    assert found["arrays"]["params/w"] == "float32[3,4]"
    assert found["identity"] == IDENTITY
    sizes = [path.stat().st_size for path in directory.rglob("*") if path.is_file() and path.name != manifest.MANIFEST]
    assert found["bytes"] == sum(sizes)

    assert cli.main(["inspect", str(directory)]) == 0
    shown = capsys.readouterr().out
    assert "damaged: d/" in shown and "is missing" in shown and "digest                        abc" in shown
    assert "parameters                    13" in shown


def test_one_step_and_refusals(directory, capsys) -> None:
    assert cli.main(["inspect", str(directory / "step_00000001"), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert [step["state"] for step in found["steps"]] == ["good"] and found["step"] == 1
    assert cli.main(["inspect", str(directory / "step_00000004")]) == 0
    assert "uncommitted" in (shown := capsys.readouterr().out) and "nothing can be restored" in shown
    assert cli.main(["inspect", str(directory), "--plot", "x.png"]) == 2
    assert "is a checkpoint" in capsys.readouterr().err
