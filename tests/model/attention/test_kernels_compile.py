"""The library's kernel compiles for a TPU that is not there, inside the decoder, forward and backward."""

import jax
import jax.numpy as jnp
import pytest

from biomechgpt_jax import config
from biomechgpt_jax.model import decoder
from biomechgpt_jax.parallel import mesh, sharding

pytest.importorskip("libtpu")
pytestmark = [pytest.mark.tpu_aot, pytest.mark.slow]

ABSENT = {  # settings that keep libtpu from looking for a TPU
    "TPU_SKIP_MDS_QUERY": "1",
    "TPU_ACCELERATOR_TYPE": "v5litepod-4",
    "TPU_WORKER_HOSTNAMES": "localhost",
    "TPU_WORKER_ID": "0",
}
BASE = {"layers": 4, "model_size": 256, "heads": 4, "kv_heads": 2, "hidden_size": 256}


@pytest.mark.parametrize(
    ("model", "layout", "calls"),
    [
        # Two forward calls, and of each the two kernels of its backward pass.
        (config.Model(**BASE, head_size=64), config.Mesh(data=2, fsdp=2), 6),
        # The same for each of two kinds of layers.
        (config.Model(**BASE, head_size=128, window=256, global_every=2), config.Mesh(data=2, tensor=2), 12),
        # A divided row falls back to blocks.
        (config.Model(**BASE, head_size=64), config.Mesh(data=2, sequence=2), 0),
    ],
    ids=["plain", "windows", "divided"],
)
def test_the_decoder_compiles_with_the_kernel(model, layout, calls, monkeypatch):
    from jax.experimental import topologies

    for name, value in ABSENT.items():
        monkeypatch.setenv(name, value)
    grid = mesh.make(layout, topologies.get_topology_desc("v5e:2x2", platform="tpu").devices)
    shape, vocabulary = (4, 512), 512
    with jax.set_mesh(grid):
        layouts = decoder.param_shardings(grid, model, vocabulary)
        params = jax.tree.map(
            lambda leaf, place: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=place),
            decoder.abstract(model, vocabulary),
            layouts,
        )
        row = jax.ShapeDtypeStruct(shape, jnp.int32, sharding=sharding.batch_sharding(grid, shape))
        batch = dict.fromkeys(("tokens", *decoder.ROW_KEYS), row)
        loss = lambda params, batch: jnp.sum(decoder.hidden(params, batch, model).astype(jnp.float32) ** 2)  # noqa: E731
        made = jax.jit(jax.grad(loss)).lower(params, batch).compile()
    assert made.as_text().count("tpu_custom_call") == calls
