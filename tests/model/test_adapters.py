"""Adapters and a frozen base in the decoder: what they compute, what is frozen, and that nothing is written twice."""

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import toy_base
from toy_base import CODES, MODEL, ROWS, TEXT_ROWS

from biomechgpt_jax import config
from biomechgpt_jax.errors import InputError
from biomechgpt_jax.model import adapters, block, decoder, generation, parameters
from biomechgpt_jax.model.requests import Request
from biomechgpt_jax.training import frozen, loss

KINDS = {
    "float32": MODEL,
    "bfloat16": replace(MODEL, base="bfloat16", table="bfloat16"),
    "int8": replace(MODEL, base="int8", tied_embeddings=False, table="bfloat16"),
    "nf4": replace(MODEL, base="nf4", adapter=config.Adapter(rank=4, rank_stabilised=True, on=("query", "down"))),
    "nf4 double": replace(MODEL, base="nf4", double_scales=True, tied_embeddings=False),
}
VECTORS = (2, CODES // 2, 6)
FAST = {"xla_backend_optimization_level": 0}  # compile quickly; the arithmetic is the same
apply = jax.jit(decoder.apply, static_argnames="cfg", compiler_options=FAST)
forward = jax.jit(decoder.hidden, static_argnames="cfg", compiler_options=FAST)


def batch_of(length: int = 24) -> dict[str, np.ndarray]:
    """Two rows of one movement each: tokens of two codes, then text old and new."""
    random, index = np.random.default_rng(0), np.arange(length)
    motion = np.broadcast_to(index < 10, (2, length))
    codes = ROWS + random.integers(0, CODES // 2, (2, 2, length)) + np.array([0, CODES // 2])[:, None, None]
    text = random.integers(0, ROWS, (2, length))
    text[:, -2:] = [[TEXT_ROWS - 1, TEXT_ROWS]]
    return {
        "tokens": np.where(motion, codes[0], text).astype(np.int32),
        "codes_1": np.where(motion, codes[1], -1).astype(np.int32),
        "positions": np.broadcast_to(index, (2, length)).astype(np.int32),
        "segments": np.ones((2, length), np.int32),
        "branches": (~motion).astype(np.int32),
    }


def whole(cfg: config.Model) -> dict:
    return frozen.merge(toy_base.trained(cfg, VECTORS), toy_base.base(cfg))


@pytest.mark.parametrize("kind", KINDS)
def test_a_base_with_adapters_computes_what_the_merged_model_does(kind: str) -> None:
    cfg = KINDS[kind]
    params = whole(cfg)
    assert jax.tree.map(np.shape, params) == jax.tree.map(lambda leaf: leaf.shape, decoder.abstract(cfg, ROWS, VECTORS))
    plain = toy_base.merged(params, cfg)
    got = apply(params, batch_of(), cfg=cfg)
    want = apply(plain, batch_of(), cfg=toy_base.plain_of(cfg))
    assert got.shape == (2, 24, ROWS + CODES) and decoder.vocabulary_size(params) == ROWS + CODES
    np.testing.assert_allclose(got, want, atol=2e-5 * np.abs(want).max())
    kernel = plain["layers"]["block"]["attention"]["query"]["kernel"][1]
    held = jax.tree.map(lambda stack: stack[1], params["layers"]["block"]["attention"]["query"])
    without = {name: array for name, array in held.items() if name not in adapters.NAMES}
    own = toy_base.quantized.dequantize(without, jnp.float32)
    np.testing.assert_allclose(adapters.merged(own, held["a"], held["b"], cfg.adapter), kernel, atol=1e-5)


def test_an_adapter_whose_b_is_0_is_the_base_bit_for_bit() -> None:
    params = whole(KINDS["nf4"])
    for name, part in (("query", "attention"), ("down", "mlp")):
        held = params["layers"]["block"][part][name]
        held["b"] = np.zeros_like(held["b"])
    without = toy_base.trained(KINDS["nf4"], VECTORS)
    del without["layers"]
    without = frozen.merge(without, toy_base.base(KINDS["nf4"]))
    bare = replace(KINDS["nf4"], adapter=config.Adapter())
    want = forward(without, batch_of(), cfg=bare)
    np.testing.assert_array_equal(forward(params, batch_of(), cfg=KINDS["nf4"]), want)
    made = decoder.init(jax.random.key(0), KINDS["nf4"], ROWS)["layers"]["block"]["attention"]["query"]
    assert not np.any(made["b"]) and np.std(made["a"]) == pytest.approx((3 * 64) ** -0.5, rel=0.2)


def test_answers_are_those_of_training() -> None:
    """Greedy answers from caches against those of the merged plain model."""
    cfg = KINDS["nf4 double"]
    random, params = np.random.default_rng(1), whole(cfg)
    del params["motion"]
    questions = tuple(random.integers(0, ROWS, size).astype(np.int32) for size in (5, 9))
    asked = [Request(random.integers(0, ROWS, (4, 1)).astype(np.int32), questions)]
    settings = generation.Settings(max_new=5, end_id=1, bucket=16, batch_size=4)
    (got,) = generation.generate(params, cfg, asked, settings)
    plain = {name: value for name, value in toy_base.merged(params, cfg).items() if name != "motion"}
    (want,) = generation.generate(plain, toy_base.plain_of(cfg), asked, settings)
    for ours, theirs in zip(got, want, strict=True):
        assert ours.tokens.tolist() == theirs.tokens.tolist()
        np.testing.assert_allclose(ours.logprobs, theirs.logprobs, atol=1e-3)


@pytest.mark.parametrize("kind", ["float32", "nf4 double"])
def test_the_loss_over_two_heads_is_that_over_one(kind: str) -> None:
    """Its value and its gradients, of softmaxes that begin in the frozen table, at the rows and beyond them."""
    cfg, random = KINDS[kind], np.random.default_rng(2)
    held, learned = toy_base.base(cfg), toy_base.trained(cfg, VECTORS)
    hidden = jnp.asarray(random.standard_normal((2, 24, 64)), jnp.float32)
    weights = jnp.asarray(random.random((2, 24)) < 0.6, jnp.float32)
    settings = loss.Settings(chunk=7, soft_cap=3.0, z_loss=1e-2)

    for first, size in ((0, ROWS + CODES), (ROWS + 3, 20)):
        targets = jnp.asarray(random.integers(0, size, (2, 24)), jnp.int32)

        def ours(hidden, learned, first=first, size=size, targets=targets):
            own = decoder.heads(frozen.merge(learned, held), cfg).columns(first, size)
            assert (own.fixed_DV is None) == (first >= TEXT_ROWS)
            return loss.cross_entropy(hidden, own.trained_DV, targets, weights, settings, fixed=own.fixed_DV).objective

        def reference(hidden, learned, first=first, size=size, targets=targets):
            head = decoder.head(frozen.merge(learned, held))[:, first : first + size]
            return loss.cross_entropy(hidden, head, targets, weights, settings).objective

        value, gradients = jax.jit(jax.value_and_grad(ours, (0, 1)), compiler_options=FAST)(hidden, learned)
        want, wanted = jax.jit(jax.value_and_grad(reference, (0, 1)), compiler_options=FAST)(hidden, learned)
        np.testing.assert_allclose(value, want, rtol=1e-5)
        assert any(np.any(leaf) for leaf in jax.tree.leaves(wanted[1]))
        for got, gradient in zip(jax.tree.leaves(gradients), jax.tree.leaves(wanted), strict=True):
            np.testing.assert_allclose(got, gradient, atol=1e-5 * (1 + np.abs(gradient).max()))


def test_dropout_leaves_out_a_share_of_an_adapters_inputs_and_keeps_the_mean() -> None:
    cfg = config.Adapter(rank=2, alpha=4.0, dropout=0.25)
    random = np.random.default_rng(0)
    weights = {
        "kernel": np.zeros((64, 3), np.float32),
        "a": random.standard_normal((64, 2)).astype(np.float32),
        "b": random.standard_normal((2, 3)).astype(np.float32),
    }
    x = jnp.ones((4096, 64))

    def project(key):
        return block.project(x, {"query": weights}, "query", adapter=cfg, key=key)

    plain, first, second = project(None), project(jax.random.key(0)), project(jax.random.key(1))
    np.testing.assert_array_equal(first, project(jax.random.key(0)))
    assert not np.allclose(first, second) and not np.allclose(first, plain)
    spread = np.std(np.asarray(first), axis=0)
    np.testing.assert_allclose(first.mean(axis=0), plain[0], atol=4 * spread.max() / 64)
    want = cfg.scale * np.sqrt(np.square(weights["a"] @ weights["b"]).sum(axis=0) * 0.25 / 0.75)
    np.testing.assert_allclose(spread, want, rtol=0.1)


def test_each_layer_and_each_matrix_leaves_out_others() -> None:
    cfg = replace(MODEL, adapter=replace(MODEL.adapter, dropout=0.5))
    params, plain = whole(cfg), whole(MODEL)
    np.testing.assert_array_equal(forward(params, batch_of(), cfg=cfg), forward(plain, batch_of(), cfg=MODEL))
    with_key = [np.asarray(forward(params, batch_of(), cfg=cfg, key=jax.random.key(seed))) for seed in (0, 0, 1)]
    assert np.array_equal(with_key[0], with_key[1]) and not np.allclose(with_key[0], with_key[2])
    keys = [adapters.key_of(key, name) for key in jax.random.split(jax.random.key(0), 2) for name in ("up", "gate")]
    assert len({tuple(np.asarray(jax.random.key_data(key))) for key in keys}) == 4


def test_what_is_frozen_follows_the_settings() -> None:
    def names(cfg: config.Model) -> set[str]:
        return {name for name, _ in frozen.leaves(parameters.base_of(decoder.abstract(cfg, ROWS, VECTORS), cfg))}

    nf4 = names(KINDS["nf4"])
    assert {"embedding", "final_norm/scale", "layers/block/mlp/gate/nf4", "layers/block/mlp/gate/absmax"} <= nf4
    assert not [name for name in nf4 if name.endswith(("/a", "/b", "rows")) or name.startswith("motion")]
    assert "head" in names(KINDS["int8"]) and "layers/block/attention/key_norm/scale" in names(KINDS["int8"])
    assert not {"embedding", "head"} & names(replace(MODEL, train_text_rows=True, tied_embeddings=False))
    assert names(replace(MODEL, freeze="nothing", adapter=config.Adapter())) == set()
    assert names(toy_base.plain_of(MODEL)) == set()


def test_a_mesh_that_does_not_divide_the_scales_is_refused_by_name_with_the_way_out() -> None:
    mesh = jax.sharding.AbstractMesh((1, 1, 2, 1, 1), ("replica", "data", "fsdp", "sequence", "tensor"))
    with pytest.raises(InputError, match=r"key/absmax: 'embed' has size 1.*give --model.double_scales True"):
        decoder.param_shardings(mesh, KINDS["nf4"], ROWS)
    laid = decoder.param_shardings(mesh, KINDS["nf4 double"], ROWS)
    assert laid["layers"]["block"]["attention"]["query"]["nf4"].spec[1] in ("fsdp", ("fsdp",))
