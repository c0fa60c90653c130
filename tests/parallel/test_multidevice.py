"""Loss and gradients on meshes of 8 forced host devices equal those of one device (in a fresh process)."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.multidevice

PROGRAM = """
import json, re, jax, jax.numpy as jnp, numpy as np
from biomechgpt_jax import config
from biomechgpt_jax.model import decoder
from biomechgpt_jax.model.attention import packed
from biomechgpt_jax.parallel import mesh, sharding

cfg = config.Model(layers=2, model_size=64, heads=8, kv_heads=4, head_size=8, hidden_size=64,
                   compute_dtype="float32")
V, B, L = 96, 8, 128
random = np.random.default_rng(0)
column = np.arange(L)[None].repeat(B, 0).astype(np.int32)
batch = {
    "tokens": random.integers(0, V, (B, L)).astype(np.int32),
    "positions": np.where(column < 70, column, 70 + (column - 70) % 20).astype(np.int32),
    "segments": np.where(column < 120, 1, 0).astype(np.int32),
    "branches": np.where(column < 70, 0, 1 + (column - 70) // 20).astype(np.int32),
}

def loss(params, batch):
    logits = decoder.apply(params, batch, cfg)[:, :-1]
    targets = batch["tokens"][:, 1:]
    ce = jax.nn.logsumexp(logits, -1) - jnp.take_along_axis(logits, targets[..., None], -1)[..., 0]
    weights = (batch["segments"][:, 1:] != 0).astype(jnp.float32)
    return jnp.sum(weights * ce) / jnp.sum(weights)

def born(grid):
    with jax.set_mesh(grid):
        return decoder.init(jax.random.key(0), cfg, V, grid)

def run(grid):
    with jax.set_mesh(grid):
        params = jax.device_put(host, decoder.param_shardings(grid, cfg, V))
        placed = jax.device_put(batch, jax.tree.map(lambda x: sharding.batch_sharding(grid, x.shape), batch))
        layout = decoder.param_shardings(grid, cfg, V)
        step = jax.jit(jax.value_and_grad(loss), out_shardings=(None, layout)).lower(params, placed).compile()
        value, grads = step(params, placed)
        split = sum(not x.sharding.is_fully_replicated for x in jax.tree.leaves(params))
        flops = step.cost_analysis()["flops"]
        # Scores of a device's queries by all keys, by the last two sizes; they have rows or heads before them.
        square = re.findall(rf"f32\\[(?:[0-9]+,)+(?:{L}|{L // grid.shape['sequence']}),{L}\\]", step.as_text())
        rows = packed.Rows(*(placed[name] for name in decoder.ROW_KEYS))
        plan = jax.jit(packed.plan)(rows)
        # Pairs of tokens in the blocks that each device visits.
        queries = rows.positions.sharding.shard_shape((B, L))[1]
        pairs = [int(np.asarray(shard.data).sum()) * (queries // shard.data.shape[2])
                 for shard in plan.count_NBQ.addressable_shards]
    return float(value), jax.device_get(grads), split, flops, square, pairs

meshes = {
    "data": dict(data=8),
    "fsdp": dict(data=1, fsdp=8),
    "tensor": dict(data=2, tensor=4),
    "sequence": dict(data=1, fsdp=2, sequence=4),
    "replica": dict(replica=2, data=2, fsdp=2),
    "all": dict(data=1, fsdp=2, sequence=2, tensor=2),
}
one = mesh.make(config.Mesh(), jax.devices()[:1])
grids = {name: mesh.make(config.Mesh(**sizes)) for name, sizes in meshes.items()}
largest = lambda tree: max(jax.tree.leaves(tree))
host = jax.device_get(born(one))
other = born(grids["all"])
out = {"devices": len(jax.devices()), "meshes": {}}
out["init"] = largest(jax.tree.map(lambda a, b: float(np.abs(a - b).max()), host, jax.device_get(other)))
out["born_split"] = not other["layers"]["block"]["mlp"]["up"]["kernel"].is_fully_replicated
value, grads, _, flops, _, pairs = run(one)
for name, grid in grids.items():
    v, g, split, f, square, share = run(grid)
    ratio = jax.tree.map(lambda a, b: float(np.linalg.norm(a - b) / np.linalg.norm(b)), g, grads)
    out["meshes"][name] = dict(loss=abs(v - value) / value, grad=largest(ratio), split=split, flops=f / flops,
                                square=square, visits=max(share) / sum(pairs))
print(json.dumps(out))
"""


@pytest.fixture(scope="module")
def result():
    # Optimisation level 0: seven programs compile in a third of the time; the arithmetic is the same.
    flags = "--xla_force_host_platform_device_count=8 --xla_backend_optimization_level=0"
    env = {**os.environ, "XLA_FLAGS": flags, "JAX_PLATFORMS": "cpu"}
    root = Path(__file__).parents[2]
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM],
        env=env,
        cwd=root,
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(done.stdout.splitlines()[-1])


@pytest.mark.parametrize("name", ["data", "fsdp", "tensor", "sequence", "replica", "all"])
def test_a_mesh_changes_neither_loss_nor_gradients(result, name):
    assert result["devices"] == 8
    got = result["meshes"][name]
    assert got["loss"] <= 1e-5
    assert got["grad"] <= 1e-5
    assert (got["split"] > 0) is (name != "data")


@pytest.mark.parametrize("name", ["data", "fsdp", "tensor", "sequence", "replica", "all"])
def test_every_axis_divides_the_work(result, name):
    # One device of eight does about an eighth of the work (the compiler's count, per device).
    assert result["meshes"][name]["flops"] < 0.25


def test_a_divided_row_divides_the_work_of_attention(result):
    # Two axes of 2 and 4 divide rows and queries over 8 devices. Later queries see more keys, so the shares differ.
    assert result["meshes"]["data"]["visits"] <= 1 / 8 + 1e-6
    assert result["meshes"]["sequence"]["visits"] <= 0.25
    assert result["meshes"]["all"]["visits"] <= 0.4  # two axes of 2 divide; the third divides the heads


@pytest.mark.parametrize("name", ["data", "fsdp", "tensor", "sequence", "replica", "all"])
def test_no_device_holds_a_full_array_of_queries_by_keys(result, name):
    assert result["meshes"][name]["square"] == []


def test_parameters_are_initialised_sharded_and_equal(result):
    assert result["born_split"]
    assert result["init"] <= 1e-6
