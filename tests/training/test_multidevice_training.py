"""The training step, loader and checkpoints on 8 forced host devices against one (in a fresh process)."""

import os
import subprocess
import sys

import pytest

pytestmark = pytest.mark.multidevice

PROGRAM = """
import sys
from dataclasses import replace
import jax, jax.numpy as jnp, numpy as np
from biomechgpt_jax import config
from biomechgpt_jax.config import Experiment, Mesh, Model
from biomechgpt_jax.data import loader
from biomechgpt_jax.packing.rows import Branch, Item, lay_out_row
from biomechgpt_jax.parallel import mesh, sharding
from biomechgpt_jax.tasks import language
from biomechgpt_jax.tasks.id_space import IdSpace
from biomechgpt_jax.tasks.parameters import NOTHING, Parameters
from biomechgpt_jax.training import checkpoint

B, L, D, V, OFFSET, CODES = 8, 32, 32, 128, 64, 32
random = np.random.default_rng(0)

# The whole step on six meshes: every modality, families, two codes a token, z-loss.
def row():
    trunk = random.integers(0, CODES, (random.integers(6, 12), 2)) + np.array([OFFSET, OFFSET + CODES])
    asked = [Branch(random.integers(0, OFFSET, 5).astype(np.int32), 3) for _ in range(random.integers(1, 4))]
    laid = lay_out_row([Item(trunk.astype(np.int32), tuple(asked))], L, 0, layers=2)
    return laid | {"families": np.where(laid["branches"] > 0, 1 + laid["branches"] % 2, 0).astype(np.int32)}

rows_BL = [row() for _ in range(B)]
batch = {name: np.stack([one[name] for one in rows_BL]) for name in rows_BL[0]}
experiment = config.Experiment(
    model=config.Model(layers=2, model_size=D, heads=4, kv_heads=4, head_size=8, hidden_size=64, motion_statistics=16),
    optimizer=config.Optimizer(clip_norm=1e9),
    train=config.Train(batch_size=B, loss_chunk=8, question_weight=0.5, motion_weight=0.25, z_loss=1e-3),
)

ids = IdSpace(V, OFFSET, CODES)
frozen = NOTHING.with_code_vectors(random.normal(size=(2, CODES, 6)))

def stepped(grid, parts=1):
    cfg = replace(experiment, train=replace(experiment.train, accumulation=parts))
    with jax.set_mesh(grid):
        parameters = Parameters(cfg.model, ids, frozen)
        state, held = language.init_state(jax.random.key(0), cfg, parameters, grid), parameters.load_frozen(grid)
        placed = {name: jax.device_put(x, sharding.batch_sharding(grid, x.shape)) for name, x in batch.items()}
        step = language.make_step(cfg, ids, grid, 10, ("balance", "gait"), frozen)
        state, metrics = step(state, held, placed)
    first_moment = state["opt_state"][1].mu  # of Adam after one step: the gradient times 1 - b1
    return jax.device_get(first_moment), jax.device_get(metrics)

want, told = stepped(mesh.make(Mesh(), jax.devices()[:1]))
grids = [
    (dict(data=8), 1),
    (dict(fsdp=8), 1),
    (dict(data=2, tensor=4), 1),
    (dict(fsdp=2, sequence=4), 1),
    (dict(replica=2, data=2, fsdp=2), 1),
    (dict(fsdp=2, sequence=2, tensor=2), 4),
]
for sizes, parts in grids:
    got, metrics = stepped(mesh.make(Mesh(**{"data": 1} | sizes)), parts)
    for name, value in told.items():
        assert abs(metrics[name] - value) <= 1e-5 * max(abs(value), 1e-6), (sizes, name, metrics[name], value)
    for path, leaf in jax.tree_util.tree_leaves_with_path(want):
        other = dict(jax.tree_util.tree_leaves_with_path(got))[path]
        ratio = np.linalg.norm(other - leaf) / np.linalg.norm(leaf)
        assert ratio <= 1e-5, (sizes, jax.tree_util.keystr(path), ratio)

class Rows:
    def __len__(self): return 21
    def __getitems__(self, keys): return [{k: i * 100 + np.arange(L) for k in loader.KEYS} for i in keys]

plain = loader.Loader([loader.Part(Rows(), "rows")], B, 0).batch(4)
meshes = [dict(data=8), dict(data=2, fsdp=2, sequence=2), dict(fsdp=2, sequence=2, tensor=2)]
for sizes in meshes:
    grid = mesh.make(Mesh(**{"data": 1} | sizes))
    rows = sharding.batch_sharding(grid, (B, L))

    batch = loader.Loader([loader.Part(Rows(), "rows")], B, 0, rows).device_batch(4)
    assert batch["tokens"].sharding == rows and np.array_equal(batch["tokens"], plain["tokens"])

# What one mesh saved, another restores.
head = random.normal(size=(D, V)).astype("f")

def tree(sizes):
    grid = mesh.make(Mesh(**{"data": 1} | sizes))
    return {"w": jax.device_put(head, sharding.named_sharding(grid, ("embed", "vocabulary"), head.shape))}

saved, other = tree(meshes[1]), tree(meshes[2])
checkpoints = checkpoint.Checkpoints(sys.argv[1], {}, 1)
checkpoints.save(1, saved)
checkpoints.close()
asked = jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=x.sharding), other)
step, restored = checkpoint.restore(sys.argv[1], asked, {})
assert step == 1 and restored["w"].sharding == other["w"].sharding != saved["w"].sharding
assert np.array_equal(restored["w"], head)

# A whole training state: 2 x 2 devices, then 4 x 1, 1 x 4 and one.
toy = Experiment(model=Model(layers=2, model_size=32, heads=4, kv_heads=4, head_size=8, hidden_size=64))
def grid_of(data, fsdp):
    return mesh.make(Mesh(data=data, fsdp=fsdp), jax.devices()[:data * fsdp])

def numbers(state):
    return [np.asarray(leaf) for leaf in jax.tree.leaves(state)]

parameters = Parameters(toy.model, IdSpace(128, 128))
state = language.init_state(jax.random.key(0), toy, parameters, grid_of(2, 2))
checkpoints = checkpoint.Checkpoints(sys.argv[1] + "/whole", {}, 1)
checkpoints.save(7, state)
checkpoints.close()
for sizes in ((4, 1), (1, 4), (1, 1)):
    grid = grid_of(*sizes)
    asked = language.abstract_state(toy, parameters, grid)
    step, restored = checkpoint.restore(sys.argv[1] + "/whole", asked, {})
    assert step == 7 and all(np.array_equal(a, b) for a, b in zip(numbers(restored), numbers(state), strict=True))
    assert all(leaf.sharding == want.sharding for leaf, want in zip(jax.tree.leaves(restored), jax.tree.leaves(asked)))
print("agreed")
"""


def test_eight_devices_agree_with_one(tmp_path) -> None:
    environment = os.environ | {
        "JAX_PLATFORMS": "cpu",
        # Optimisation level 0 compiles faster; the arithmetic is the same.
        "XLA_FLAGS": "--xla_force_host_platform_device_count=8 --xla_backend_optimization_level=0",
    }
    command = [sys.executable, "-c", PROGRAM, str(tmp_path)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0 and "agreed" in done.stdout, done.stderr[-3000:]
