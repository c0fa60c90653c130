"""The codec trains to the same codes on 1 and on 8 forced host devices, and resumes (in a fresh process)."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.multidevice

PROGRAM = """
import dataclasses, json, os, signal, sys
from pathlib import Path
import jax, numpy as np
sys.path.insert(0, "tests/helpers")
from small_codecs import smooth
from biomechgpt_jax import config
from biomechgpt_jax.parallel import mesh as meshes
from biomechgpt_jax.tasks import codec as training
from biomechgpt_jax.training import loop

STEPS = 10
small = config.Tokenizer(width=16, depth=1, window_frames=32, batch_size=8, steps=STEPS, learning_rate=1e-2)
residual = dataclasses.replace(
    small, quantizer="vq", codebooks=2, codebook_size=24, code_size=8, ema_decay=0.5, reset_below=0.5)
everything = np.ones(40, bool)
trials = [(smooth(length, seed), everything) for seed, length in enumerate((90, 30, 120))]
POLICY = config.Loop(log_every=1, checkpoint_every=5, keep_last=1)
root = Path(sys.argv[1])

class Killed(Exception): ...

def host(state):
    return jax.device_get({name: state[name] for name in ("params", "codebook") if name in state})

def run(cfg, sizes, where=None, at=None):
    task = training.CodecTask(cfg, trials)
    def progress(step, values):
        if at and step == at[0]:
            at[1]()
    places = loop.Places(root / where / "checkpoints", root / where / "metrics.jsonl") if where else loop.NOWHERE
    return loop.train(task, POLICY, config.Mesh(**sizes), STEPS, places, progress).state

def one_device(cfg):
    task, grid = training.CodecTask(cfg, trials), meshes.make(config.Mesh(), jax.devices()[:1])
    state, step = task.fresh_state(grid, {}), task.make_step(grid, STEPS)
    before = host(state)
    with jax.set_mesh(grid), task.batches(grid, 0, STEPS) as batches:
        kept, resets = [], 0
        for batch in batches:
            kept.append(jax.device_get(batch))
            state, metrics = step(state, {}, batch)
            resets += int((state["codebook"].counts == 1).sum()) if "codebook" in state else 0
    return before, host(state), kept, resets

def batches_of(cfg, sizes):
    task, grid = training.CodecTask(cfg, trials), meshes.make(config.Mesh(**sizes))
    with task.batches(grid, 0, STEPS) as batches:
        return [jax.device_get(batch) for batch in batches]

def same(a, b):
    return all(np.array_equal(x, y) for x, y in zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True))

def flat(tree):
    return np.concatenate([np.ravel(leaf) for leaf in jax.tree.leaves(tree)])

def apart(a, b):
    # Of all parameters, and of each array of the codebook.
    parts = [(a["params"], b["params"]), *zip(a.get("codebook", ()), b.get("codebook", ()), strict=True)]
    return max(float(np.linalg.norm(flat(x) - flat(y)) / np.linalg.norm(flat(y))) for x, y in parts)

def stop():
    os.kill(os.getpid(), signal.SIGTERM)

def kill():
    raise Killed

grids = {"data": dict(data=8), "fsdp": dict(data=4, fsdp=2)}
out = {"devices": len(jax.devices())}
for name, cfg in {"fsq": small, "residual": residual}.items():
    before, want, kept, resets = one_device(cfg)
    found = out[name] = {"moved": apart({"params": want["params"]}, {"params": before["params"]}), "meshes": {}}
    if "codebook" in want:
        vectors = want["codebook"].vectors
        found["codes_moved"] = float((np.abs(vectors - before["codebook"].vectors).max(-1) > 1e-3).mean())
        found["resets"] = resets
    for label, sizes in grids.items():
        state = run(cfg, sizes)
        kernels = [x for x in jax.tree.leaves(state["params"]) if x.ndim > 1]
        moments = [x for x in jax.tree.leaves(state["opt_state"]) if x.ndim > 1]
        found["meshes"][label] = dict(
            apart=apart(host(state), want),
            batches=same(batches_of(cfg, sizes), kept),
            split=sum(not x.sharding.is_fully_replicated for x in kernels) / len(kernels),
            split_moments=sum(not x.sharding.is_fully_replicated for x in moments) / len(moments),
            codebook_whole="codebook" not in state or state["codebook"].vectors.sharding.is_fully_replicated,
        )
cfg, sizes = residual, grids["fsdp"]
undisturbed = host(run(cfg, sizes, "undisturbed"))
try:
    run(cfg, sizes, "killed", (8, kill))
except Killed:
    out["saved"] = sorted(path.name for path in (root / "killed/checkpoints").iterdir())
out["resumed"] = same(host(run(cfg, sizes, "killed")), undisturbed)
try:
    run(cfg, sizes, "stopped", (3, stop))
except SystemExit as stopped:
    out["code"] = stopped.code
    out["stopped"] = sorted(path.name for path in (root / "stopped/checkpoints").iterdir())
out["continued"] = same(host(run(cfg, sizes, "stopped")), undisturbed)
out["steps"] = [json.loads(line)["step"] for line in (root / "stopped/metrics.jsonl").read_text().splitlines()]
try:
    run(dataclasses.replace(cfg, learning_rate=1e-3), sizes, "stopped")
except Exception as error:
    out["refused"] = f"{type(error).__name__}: {error}"
print(json.dumps(out))
"""


@pytest.fixture(scope="module")
def result(tmp_path_factory: pytest.TempPathFactory):
    flags = "--xla_force_host_platform_device_count=8 --xla_backend_optimization_level=0"
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, str(tmp_path_factory.mktemp("codecs"))],
        env={**os.environ, "XLA_FLAGS": flags, "JAX_PLATFORMS": "cpu"},
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(done.stdout.splitlines()[-1])


@pytest.mark.parametrize("mesh", ["data", "fsdp"])
@pytest.mark.parametrize("kind", ["fsq", "residual"])
def test_a_mesh_changes_neither_parameters_nor_codes(result, kind, mesh) -> None:
    assert result["devices"] == 8
    found = result[kind]["meshes"][mesh]
    assert found["batches"]
    assert found["apart"] <= 1e-5
    assert result[kind]["moved"] > 1e-2  # far more than they may differ by
    assert found["codebook_whole"]
    for split in (found["split"], found["split_moments"]):
        assert split > 0.9 if mesh == "fsdp" else split == 0


def test_codes_move_by_averages_over_all_devices(result) -> None:
    assert result["residual"]["codes_moved"] > 0.5
    assert result["residual"]["resets"] > 0


def test_a_resume_is_an_undisturbed_run_bit_for_bit(result) -> None:
    assert result["saved"] == ["step_00000005"]
    assert result["resumed"]


def test_sigterm_saves_exits_with_75_and_the_run_continues(result) -> None:
    assert result["code"] == 75
    assert result["stopped"] == ["step_00000004"]  # metrics come one step late
    assert result["continued"]
    assert result["steps"] == list(range(1, 11))


def test_a_resume_with_other_settings_is_refused(result) -> None:
    assert result["refused"].startswith("InputError") and "tokenizer.learning_rate" in result["refused"]
