"""Adapters over a base in 4 bits: what a run changes, saves, resumes and refuses; dropout is on all the while.

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
import toy_base
from toy_rows import Killed, Toy, equal, lines

from biomechgpt_jax import config
from biomechgpt_jax.errors import InputError
from biomechgpt_jax.parallel import mesh as meshes
from biomechgpt_jax.tasks import language, trained
from biomechgpt_jax.tasks.parameters import Frozen
from biomechgpt_jax.training import frozen as frozen_lib
from biomechgpt_jax.training import manifest
from biomechgpt_jax.training.loop import NOWHERE, Places

STEPS = 11
SEVERAL = len(jax.devices()) > 1
MODEL = replace(
    toy_base.MODEL,
    kv_heads=2,
    base="nf4",
    double_scales=True,
    adapter=config.Adapter(rank=2, alpha=4.0, dropout=0.1),
)


@pytest.fixture(scope="module")
def experiment(toy: Toy) -> config.Experiment:
    """Rates of their own, and two parts of a batch that must not leave out the same."""
    return replace(
        toy.experiment,
        model=MODEL,
        optimizer=replace(toy.experiment.optimizer, adapter_rate=0.5, row_rate=2.0),
        train=replace(toy.experiment.train, accumulation=1 if SEVERAL else 2),
        mesh=config.Mesh(fsdp=2 if SEVERAL else 1),
    )


@pytest.fixture(scope="module")
def base() -> dict:
    return toy_base.base(MODEL)


def run(toy, experiment, base, workdir: Path | None, progress=lambda step, logged: None, steps=STEPS):
    places = NOWHERE if workdir is None else Places(workdir / "checkpoints", workdir / "metrics.jsonl")
    return language.train(
        experiment, toy.sequences, steps, places, progress, toy.ids, toy.code_vectors, Frozen.of(base)
    )


@pytest.fixture(scope="module")
def undisturbed(toy, experiment, base, tmp_path_factory):
    workdir = tmp_path_factory.mktemp("undisturbed")
    return workdir, run(toy, experiment, base, workdir)


def test_the_base_stays_bit_for_bit_over_100_steps_and_all_else_learns(toy, experiment, base) -> None:
    logs: list[dict[str, float]] = []
    after = run(toy, experiment, base, None, lambda _, logged: logs.append(logged), 100)
    held = frozen_lib.split(jax.device_get(after), base)
    assert equal(held.frozen, base) and frozen_lib.digest(held.frozen) == frozen_lib.digest(base)
    task = language.Language(experiment, toy.sequences, toy.ids, toy.code_vectors, Frozen.of(base))
    mesh = meshes.make(experiment.mesh)
    before = dict(frozen_lib.leaves(task.fresh_state(mesh, task.frozen(mesh))["params"]))
    changed = {name for name, leaf in before.items() if not np.array_equal(leaf, dict(frozen_lib.leaves(after))[name])}
    assert changed == set(before) and {"rows", "motion/kernel", "layers/block/mlp/up/a"} <= changed
    losses = [entry["loss"] for entry in logs if "loss" in entry]
    assert len(losses) == 100 and losses[-1] < losses[0] - 0.5


def test_a_checkpoint_holds_adapters_rows_and_the_digest_of_the_base(undisturbed) -> None:
    path = undisturbed[0] / "checkpoints" / f"step_{STEPS:08d}" / manifest.METADATA
    found = json.loads(path.read_text())
    params = {name.removeprefix("params/") for name in found["arrays"] if name.startswith("params/")}
    inside = {name for name in params if name.startswith("layers/")}
    assert inside and all(name.endswith(("/a", "/b")) for name in inside)
    assert {"rows", "motion/kernel"} <= params and "embedding" not in params
    assert not any("nf4" in name or "absmax" in name for name in found["arrays"])
    assert found["identity"]["model"]["adapter"]["rank"] == 2 and found["identity"]["model"]["base"] == "nf4"
    assert len(found["identity"]["frozen"]["digest"]) == 64


def test_a_resumed_run_equals_an_undisturbed_one_bit_for_bit(toy, experiment, base, undisturbed, tmp_path) -> None:
    def progress(step, logged):
        if step == 7:
            raise Killed

    with pytest.raises(Killed):
        run(toy, experiment, base, tmp_path, progress)
    assert equal(run(toy, experiment, base, tmp_path), undisturbed[1])
    assert lines(tmp_path) == lines(undisturbed[0])


def test_another_base_and_other_adapters_are_refused(toy, experiment, base, undisturbed) -> None:
    other = jax.tree.map(np.copy, base)
    other["layers"]["block"]["mlp"]["up"]["nf4"][0, 3, 5] ^= 1
    checkpoints = undisturbed[0] / "checkpoints"
    with pytest.raises(InputError, match=r"frozen.digest: \w{64} in the checkpoint, \w{64} now"):
        run(toy, experiment, other, undisturbed[0])
    for adapter, refusal in (
        (replace(MODEL.adapter, alpha=8.0), "model.adapter.alpha: 4.0 in the checkpoint, 8.0 now"),
        (replace(MODEL.adapter, dropout=0.0), "model.adapter.dropout: 0.1 in the checkpoint, 0.0 now"),
    ):
        changed = replace(experiment, model=replace(MODEL, adapter=adapter))
        with pytest.raises(InputError, match=re.escape(refusal)):
            run(toy, changed, base, undisturbed[0])
    slower = replace(experiment, optimizer=replace(experiment.optimizer, row_rate=1.0))
    with pytest.raises(InputError, match=r"optimizer.row_rate: 2.0 in the checkpoint, absent now"):
        run(toy, slower, base, undisturbed[0])
    frozen = Frozen.of(base).with_code_vectors(toy.code_vectors)
    assert equal(trained.load_params(checkpoints, MODEL, toy.ids, frozen=frozen), undisturbed[1])


def test_a_run_goes_on_over_the_same_base_laid_out_in_another_way(toy, experiment, base, undisturbed, tmp_path) -> None:
    def progress(step, logged):
        if step == 6:
            raise Killed

    with pytest.raises(Killed):
        run(toy, experiment, base, tmp_path, progress)
    reached: list[int] = []
    tensor = 2 if SEVERAL else 1
    moved = replace(experiment, mesh=config.Mesh(data=-1, tensor=tensor))
    run(toy, moved, base, tmp_path, lambda step, logged: reached.append(step))
    assert reached[0] == 5 and reached[-1] == STEPS
    np.testing.assert_allclose(
        lines(tmp_path)[-1]["validation_loss"], lines(undisturbed[0])[-1]["validation_loss"], 1e-4
    )


@pytest.mark.skipif(not SEVERAL, reason="one device has one mesh")
def test_every_mesh_trains_alike_and_leaves_out_the_same(toy, experiment, base) -> None:
    found = {}
    for name, mesh in {
        "data": config.Mesh(),
        "fsdp and tensor": config.Mesh(data=1, fsdp=2, tensor=2),
        "sequence": config.Mesh(data=2, sequence=2),
        "replica": config.Mesh(replica=2, data=1, fsdp=2),
    }.items():
        losses = found.setdefault(name, [])
        run(toy, replace(experiment, mesh=mesh), base, None, lambda _, log, to=losses: to.append(log.get("loss")), 3)
    for name, losses in found.items():
        # The third loss of the mesh with fsdp and tensor is off by 1.03e-5.
        np.testing.assert_allclose(losses[:3], found["data"][:3], rtol=2e-5, err_msg=name)


@pytest.mark.slow
@pytest.mark.multidevice
@pytest.mark.skipif(SEVERAL, reason="this is the run on several devices")
def test_all_of_this_on_four_devices() -> None:
    flags = {"JAX_PLATFORMS": "cpu", "XLA_FLAGS": "--xla_force_host_platform_device_count=4"}
    words = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", __file__]
    done = subprocess.run(words, env=os.environ | flags, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-3000:]
    assert "6 passed, 1 skipped" in done.stdout
