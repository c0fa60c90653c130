"""Adapters and added rows under the optimizers: Muon's sides, decay, and rates of their own."""

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import toy_base

from biomechgpt_jax import config
from biomechgpt_jax.model import decoder
from biomechgpt_jax.training import frozen, optimizer

CFG = config.Optimizer(weight_decay=0.0, clip_norm=1e9)
SHAPES = toy_base.trained(replace(toy_base.MODEL, tied_embeddings=False))
AXES = frozen.split(
    decoder.logical_axes(replace(toy_base.MODEL, tied_embeddings=False), toy_base.ROWS),
    toy_base.base(replace(toy_base.MODEL, tied_embeddings=False)),
).trained
GRADIENTS = toy_base.draw(SHAPES, 3)


def updates_of(cfg: config.Optimizer) -> dict:
    transform = optimizer.make(cfg, AXES)
    return jax.jit(lambda g, p: transform.update(g, transform.init(p), p)[0])(GRADIENTS, SHAPES)


def test_muon_makes_both_matrices_of_an_adapter_orthogonal_and_leaves_rows_to_adam() -> None:
    updates = updates_of(replace(CFG, kind="muon"))
    plain, _ = optax.scale_by_adam(CFG.b1, CFG.b2).update(
        GRADIENTS, optax.scale_by_adam(CFG.b1, CFG.b2).init(GRADIENTS)
    )
    for name in ("rows", "head_rows"):
        np.testing.assert_allclose(updates[name], plain[name], rtol=1e-5)
    inside = updates["layers"]["block"]
    for part, name, inputs, outputs in (("attention", "query", 64, 128), ("attention", "output", 128, 64)):
        for matrix, size in (("a", (inputs, 2)), ("b", (2, outputs))):
            for layer in inside[part][name][matrix]:
                got = np.asarray(layer).reshape(size) / (0.2 * max(size) ** 0.5)
                np.testing.assert_allclose(np.linalg.svd(got)[1], 1.0, atol=0.4)  # five steps of the iteration


@pytest.mark.parametrize("kind", ["adamw", "muon"])
def test_adapters_and_rows_have_rates_of_their_own(kind: str) -> None:
    plain = updates_of(replace(CFG, kind=kind))
    rated = updates_of(replace(CFG, kind=kind, adapter_rate=0.5, row_rate=3.0))
    rates = {"a": 0.5, "b": 0.5, "rows": 3.0, "head_rows": 3.0}
    for (name, got), (_, want) in zip(frozen.leaves(rated), frozen.leaves(plain), strict=True):
        np.testing.assert_allclose(got, want * rates[name.split("/")[-1]], rtol=1e-6, err_msg=name)


def test_adapters_are_decayed_and_rows_are_not() -> None:
    flags = dict(frozen.leaves(optimizer.decayed(SHAPES)))
    assert {name for name, flag in flags.items() if not flag} == {"rows", "head_rows"}
    assert len(flags) == 2 + 2 * 7


def test_the_state_of_runs_without_rates_is_laid_out_as_before() -> None:
    """Three transforms: checkpoints of earlier versions hold these."""
    assert len(optimizer.make(CFG, AXES).init({"x": jnp.zeros(2)})) == 3
    assert len(optimizer.make(replace(CFG, row_rate=2.0), AXES).init({"x": jnp.zeros(2)})) == 4
