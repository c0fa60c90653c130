"""The toy language model with a part of its parameters frozen: what a run changes, saves, resumes and refuses.

The last test runs the others on four devices.
"""

import json
import os
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import jax
import numpy as np
import pytest
from toy_rows import Killed, Toy, equal, lines

from biomechgpt_jax import config
from biomechgpt_jax.errors import InputError
from biomechgpt_jax.model import decoder
from biomechgpt_jax.parallel import mesh as meshes
from biomechgpt_jax.tasks import language, trained
from biomechgpt_jax.tasks.parameters import Frozen
from biomechgpt_jax.training import frozen as frozen_lib
from biomechgpt_jax.training import manifest
from biomechgpt_jax.training.loop import Places

STEPS = 11
FSDP = 2 if len(jax.devices()) > 1 else 1


@pytest.fixture(scope="module")
def experiment(toy: Toy) -> config.Experiment:
    return replace(toy.experiment, mesh=config.Mesh(fsdp=FSDP))


@pytest.fixture(scope="module")
def base(toy: Toy) -> dict:
    """The embedding, which is the head too, and the attention of all layers."""
    params = decoder.init(jax.random.key(7), toy.experiment.model, toy.ids.size)
    attention = params["layers"]["block"]["attention"]
    return jax.device_get({"embedding": params["embedding"], "layers": {"block": {"attention": attention}}})


def run(toy, experiment, base, workdir: Path, progress=lambda step, logged: None, steps=STEPS):
    places = Places(workdir / "checkpoints", workdir / "metrics.jsonl")
    frozen = Frozen.of(base)
    return language.train(experiment, toy.sequences, steps, places, progress, toy.ids, frozen=frozen)


@pytest.fixture(scope="module")
def undisturbed(toy, experiment, base, tmp_path_factory):
    workdir = tmp_path_factory.mktemp("undisturbed")
    return workdir, run(toy, experiment, base, workdir)


def saved(workdir: Path) -> dict:
    return json.loads((workdir / "checkpoints" / f"step_{STEPS:08d}" / manifest.METADATA).read_text())


def test_frozen_parameters_stay_bit_for_bit_and_the_others_learn(toy, experiment, base, undisturbed) -> None:
    workdir, params = undisturbed
    after = frozen_lib.split(jax.device_get(params), base)
    assert equal(after.frozen, base)
    mesh = meshes.make(experiment.mesh)
    task = language.Language(experiment, toy.sequences, toy.ids, frozen=Frozen.of(base))
    before = task.fresh_state(mesh, task.frozen(mesh))
    pairs = zip(jax.tree.leaves(before["params"]), jax.tree.leaves(after.trained), strict=True)
    assert not any(np.array_equal(old, new) for old, new in pairs)
    losses = [entry["loss"] for entry in lines(workdir) if "loss" in entry]
    assert len(losses) == STEPS and losses[-1] < losses[0]
    assert all(entry["validation_loss"] > 0 for entry in lines(workdir) if "validation_loss" in entry)


def test_a_checkpoint_holds_the_trained_part_and_the_digest_of_the_other(base, undisturbed) -> None:
    found = saved(undisturbed[0])
    params = {name.removeprefix("params/") for name in found["arrays"] if name.startswith("params/")}
    assert params and not params & {name for name, _ in frozen_lib.leaves(base)}
    assert not any("embedding" in name or "attention/" in name for name in found["arrays"])  # nor do moments of it
    assert found["identity"]["frozen"] == {"digest": frozen_lib.digest(base)}


def test_a_resumed_run_equals_an_undisturbed_one_bit_for_bit(toy, experiment, base, undisturbed, tmp_path) -> None:
    def progress(step, logged):
        if step == 7:
            raise Killed

    with pytest.raises(Killed):
        run(toy, experiment, base, tmp_path, progress)
    assert equal(run(toy, experiment, base, tmp_path), undisturbed[1])
    assert lines(tmp_path) == lines(undisturbed[0])


def test_a_checkpoint_of_another_base_is_refused_with_both_digests(toy, experiment, base, undisturbed) -> None:
    other = jax.tree.map(np.copy, base)
    other["embedding"][5, 3] += 1e-6
    digests = [re.escape(frozen_lib.digest(tree)) for tree in (base, other)]
    refusal = rf"frozen.digest: {digests[0]} in the checkpoint, {digests[1]} now"
    with pytest.raises(InputError, match=refusal):
        run(toy, experiment, other, undisturbed[0])
    checkpoints = undisturbed[0] / "checkpoints"
    with pytest.raises(InputError, match=refusal):
        trained.load_params(checkpoints, experiment.model, toy.ids, frozen=Frozen.of(other))
    with pytest.raises(InputError, match="trained with different settings"):  # by a run that trains everything
        language.train(experiment, toy.sequences, STEPS, Places(checkpoints), ids=toy.ids)
    assert equal(trained.load_params(checkpoints, experiment.model, toy.ids, frozen=Frozen.of(base)), undisturbed[1])


def test_a_run_goes_on_over_the_same_base_laid_out_in_another_way(toy, experiment, base, undisturbed, tmp_path) -> None:
    def progress(step, logged):
        if step == 6:
            raise Killed

    with pytest.raises(Killed):
        run(toy, experiment, base, tmp_path, progress)
    reached: list[int] = []
    moved = replace(experiment, mesh=config.Mesh(data=1, fsdp=-1))
    run(toy, moved, base, tmp_path, lambda step, logged: reached.append(step))
    assert reached[0] == 5 and reached[-1] == STEPS
    np.testing.assert_allclose(
        lines(tmp_path)[-1]["validation_loss"], lines(undisturbed[0])[-1]["validation_loss"], 1e-4
    )


@pytest.mark.multidevice
@pytest.mark.skipif(len(jax.devices()) > 1, reason="this is the run on several devices")
def test_all_of_this_on_four_devices() -> None:
    flags = {"JAX_PLATFORMS": "cpu", "XLA_FLAGS": "--xla_force_host_platform_device_count=4"}
    words = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", __file__]
    done = subprocess.run(words, env=os.environ | flags, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-3000:]
    assert "5 passed, 1 skipped" in done.stdout
