"""What is counted of a step, and pairs against the mask; the compiler's count is in compiling/test_model_flops."""

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from biomechgpt_jax import config
from biomechgpt_jax.model import decoder, flops
from biomechgpt_jax.model.attention import packed
from biomechgpt_jax.packing.rows import Branch, Item, lay_out_row

MODEL = config.Model(layers=1, model_size=64, heads=4, kv_heads=2, head_size=16, hidden_size=96, remat="none")


def rows(length: int = 64) -> dict[str, jax.Array]:
    branch = Branch(np.arange(7, dtype=np.int32), 4)
    items = [Item(np.zeros((size, 1), np.int32), (branch,) * count) for size, count in ((9, 2), (5, 1), (0, 2))]
    return {name: jnp.asarray(value)[None] for name, value in lay_out_row(items, length, 0).items()}


@pytest.mark.parametrize(("window", "global_every", "kinds"), [(0, 0, [0]), (6, 0, [6]), (6, 3, [6, 6, 0, 6])])
def test_pairs_are_those_of_the_mask_in_every_layer(window: int, global_every: int, kinds: list[int]) -> None:
    batch = rows()
    seen = packed.Rows(*(batch[name] for name in ("positions", "segments", "branches")))
    model = replace(MODEL, layers=len(kinds), window=window, global_every=global_every)
    pairs = [int(np.count_nonzero(packed.visible(seen, seen, kind))) for kind in kinds]
    assert flops.visible_pairs(batch, model) == sum(pairs) > 100


def test_parameters_are_those_of_the_layers() -> None:
    shapes = decoder.abstract(MODEL, 128)["layers"]
    kernels = [leaf for leaf in jax.tree.leaves(shapes) if leaf.ndim > 2]
    assert flops.matrices(MODEL) == sum(leaf.size for leaf in kernels)


def test_padding_and_what_is_not_asked_do_not_count() -> None:
    batch = rows()
    tokens = int(jnp.count_nonzero(batch["segments"]))
    work = flops.of_batch(MODEL, batch, [(10.0, 100)])
    assert work.needed == flops.training(MODEL, tokens, [(10, 100)], flops.visible_pairs(batch, MODEL))
    np.testing.assert_allclose(work.padded - work.needed, 6 * flops.matrices(MODEL) * (64 - tokens), rtol=1e-5)
    frozen = flops.training(MODEL, tokens, [(10, 100)], 0, flops.Weights(0, flops.matrices(MODEL), False))
    np.testing.assert_allclose(frozen / flops.training(MODEL, tokens, [(10, 100)], 0), 4 / 6)


def test_billions_of_parameters_are_counted_on_the_device() -> None:
    """More than fit a whole number of 32 bits."""
    model = config.Model(layers=32, model_size=4096, heads=32, kv_heads=8, head_size=128, hidden_size=14336)
    assert flops.matrices(model) > 2**31
    counted = jax.jit(lambda tokens: flops.training(model, tokens, [(tokens, 6528)], 0.0))(jnp.float32(1000.0))
    assert float(counted) == pytest.approx(6 * 1000.0 * (flops.matrices(model) + 4096 * 6528), rel=1e-6)
