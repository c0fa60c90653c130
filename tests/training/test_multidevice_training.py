"""Loss, loader and checkpoints on 8 forced host devices against one (in a fresh process)."""

import os
import subprocess
import sys

import pytest

pytestmark = pytest.mark.multidevice

PROGRAM = """
import sys
import jax, jax.numpy as jnp, numpy as np, optax
from biomechgpt_jax.config import Experiment, Mesh, Model
from biomechgpt_jax.data import loader
from biomechgpt_jax.parallel import mesh, sharding
from biomechgpt_jax.training import checkpoint, language, loss

B, L, D, V = 8, 12, 16, 40
random = np.random.default_rng(0)
hidden, head = random.normal(size=(B, L, D)).astype("f"), random.normal(size=(D, V)).astype("f")
targets = random.integers(0, V, (B, L)).astype(np.int32)
weights = (random.random((B, L)) < 0.3).astype("f")
weights[2:5] = 0  # devices whose rows ask nothing

def reference(hidden, head):
    ce = optax.softmax_cross_entropy_with_integer_labels(hidden @ head, targets)
    return jnp.sum(ce * weights) / jnp.sum(weights)

want, want_gradients = jax.value_and_grad(reference, (0, 1))(hidden, head)

class Rows:
    def __len__(self): return 21
    def __getitems__(self, keys): return [{k: i * 100 + np.arange(L) for k in loader.KEYS} for i in keys]

plain = loader.Loader([loader.Part(Rows(), "rows")], B, 0).batch(4)
meshes = [dict(data=8), dict(data=2, fsdp=2, sequence=2), dict(fsdp=2, sequence=2, tensor=2)]
for sizes in meshes:
    grid = mesh.make(Mesh(**{"data": 1} | sizes))
    rows = sharding.batch_sharding(grid, (B, L))

    def ours(hidden, head, targets, weights):
        return loss.mean(*loss.cross_entropy(hidden, head, targets, weights, 4, grid))

    arguments = [
        jax.device_put(hidden, rows),
        jax.device_put(head, sharding.named_sharding(grid, ("embed", "vocabulary"), head.shape)),
        jax.device_put(targets, rows),
        jax.device_put(weights, rows),
    ]
    with jax.set_mesh(grid):
        got, gradients = jax.jit(jax.value_and_grad(ours, (0, 1)))(*arguments)
    np.testing.assert_allclose(got, want, rtol=1e-6)
    for a, b in zip(gradients, want_gradients):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-7)

    batch = loader.Loader([loader.Part(Rows(), "rows")], B, 0, rows).device_batch(4)
    assert batch["tokens"].sharding == rows and np.array_equal(batch["tokens"], plain["tokens"])

# What one mesh saved, another restores.
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

state = language.init_state(jax.random.key(0), toy, 128, grid_of(2, 2))
checkpoints = checkpoint.Checkpoints(sys.argv[1] + "/whole", {}, 1)
checkpoints.save(7, state)
checkpoints.close()
for sizes in ((4, 1), (1, 4), (1, 1)):
    grid = grid_of(*sizes)
    asked = language.abstract_state(toy, 128, grid)
    step, restored = checkpoint.restore(sys.argv[1] + "/whole", asked, {})
    assert step == 7 and all(np.array_equal(a, b) for a, b in zip(numbers(restored), numbers(state), strict=True))
    assert all(leaf.sharding == want.sharding for leaf, want in zip(jax.tree.leaves(restored), jax.tree.leaves(asked)))
print("agreed")
"""


def test_eight_devices_agree_with_one(tmp_path) -> None:
    environment = os.environ | {
        "JAX_PLATFORMS": "cpu",
        "XLA_FLAGS": "--xla_force_host_platform_device_count=8",
    }
    command = [sys.executable, "-c", PROGRAM, str(tmp_path)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0 and "agreed" in done.stdout, done.stderr[-3000:]
