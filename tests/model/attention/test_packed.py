"""The attention paths equal the plainest computation, gradients included."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from biomechgpt_jax.errors import InputError
from biomechgpt_jax.model.attention import cudnn, mask, merged, packed, paths
from biomechgpt_jax.model.attention.mask import Rows, visible

HEADS, GROUPS, SIZE = 4, 2, 8
FAST = {"xla_backend_optimization_level": 0}  # compile quickly; the arithmetic is the same


def packed_rows(rows: int, length: int, seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Random trunk-and-branches rows with padding at the end: positions, segments, branches."""
    random = np.random.default_rng(seed)
    positions, segments, branches = (np.zeros((rows, length), np.int32) for _ in range(3))
    for row in range(rows):
        at, segment = 0, 0
        while at < length - 12:
            segment += 1
            trunk = int(random.integers(3, max(4, length // 3)))
            sizes = [trunk, *random.integers(2, 9, size=int(random.integers(1, 4)))]
            for branch, size in enumerate(sizes):
                size = min(int(size), length - 8 - at)
                if size <= 0:
                    break
                where = slice(at, at + size)
                positions[row, where] = (trunk if branch else 0) + np.arange(size)
                segments[row, where], branches[row, where] = segment, branch
                at += size
    return positions, segments, branches


def by_hand(q, k, v, positions, segments, branches, window) -> np.ndarray:
    """One query at a time, in float64, from the words of the design."""
    out = np.zeros(q.shape)
    rows, length, heads, size = q.shape
    for b in range(rows):
        for i in range(length):
            seen = [
                j
                for j in range(length)
                if segments[b, i] == segments[b, j] != 0
                and positions[b, j] <= positions[b, i]
                and branches[b, j] in (0, branches[b, i])
                and (window == 0 or positions[b, i] - positions[b, j] < window)
            ]
            for h in range(heads if seen else 0):
                group = h // (heads // k.shape[2])
                scores = k[b, seen, group].astype(float) @ q[b, i, h].astype(float) / np.sqrt(size)
                weights = np.exp(scores - scores.max())
                out[b, i, h] = weights @ v[b, seen, group] / weights.sum()
    return out


def inputs(rows: int, length: int) -> tuple[jax.Array, jax.Array, jax.Array]:
    keys = jax.random.split(jax.random.key(3), 3)
    shapes = [(rows, length, n, SIZE) for n in (HEADS, GROUPS, GROUPS)]
    return tuple(jax.random.normal(key, shape) for key, shape in zip(keys, shapes, strict=True))


@pytest.mark.parametrize("path", ["reference", "blockwise"])
@pytest.mark.parametrize("window", [0, 7])
def test_equals_a_loop_over_queries(path, window):
    q, k, v = inputs(2, 72)
    rows = packed_rows(2, 72, seed=0)
    got = packed.attention(q, k, v, Rows(*rows), window, path=path)
    np.testing.assert_allclose(got, by_hand(*map(np.asarray, (q, k, v)), *rows, window), atol=1e-5)


def value_and_grads(run, arrays):
    """Output and gradients of a function of queries, keys and values, with a loss that is not linear."""
    weight = jax.random.normal(jax.random.key(9), arrays[0].shape)

    def loss(arrays):
        out = run(*arrays)
        return jnp.sum(weight * jnp.sin(out)), out

    (_, out), grads = jax.jit(jax.value_and_grad(loss, has_aux=True), compiler_options=FAST)(arrays)
    return out, *grads


def assert_equals_reference(run, length, window=0, soft_cap=0.0, rows=2, seed=1):
    """Output and every gradient of a path equal the reference's."""
    arrays = inputs(rows, length)
    laid = Rows(*packed_rows(rows, length, seed))
    plain = functools.partial(packed.attention, rows=laid, window=window, soft_cap=soft_cap, path="reference")
    want = value_and_grads(plain, arrays)
    for got, expected in zip(value_and_grads(functools.partial(run, rows=laid), arrays), want, strict=True):
        np.testing.assert_allclose(got, expected, atol=1e-5)
        assert np.isfinite(got).all()


# One block, and several with a ragged last one.
@pytest.mark.parametrize(("length", "window", "soft_cap"), [(40, 0, 0.0), (200, 0, 0.0), (200, 16, 1.5)])
def test_blockwise_equals_the_reference_gradients_included(length, window, soft_cap):
    run = functools.partial(packed.attention, window=window, soft_cap=soft_cap, path="blockwise")
    assert_equals_reference(run, length, window, soft_cap, rows=3)


@pytest.mark.parametrize(("window", "soft_cap"), [(0, 0.0), (20, 1.5)])
def test_two_segment_masked_calls_of_splash_equal_the_reference_gradients_included(window, soft_cap):
    run = functools.partial(packed.attention, window=window, soft_cap=soft_cap, path="splash")
    assert_equals_reference(run, 256, window, soft_cap)


def test_chunks_of_queries_for_cudnn_equal_the_reference_gradients_included(monkeypatch):
    monkeypatch.setattr(cudnn, "CHUNK", 48)

    def run(q, k, v, rows):
        return cudnn.attend(q * SIZE**-0.5, k, v, rows, rows, window=16, implementation="xla")

    assert_equals_reference(run, 120, window=16)


def test_rows_that_are_not_laid_out_give_no_number_from_two_calls():
    positions, segments, branches = packed_rows(1, 128, seed=4)
    good = Rows(positions, segments, branches)
    shuffled = np.random.default_rng(0).permutation(128)
    restarted = np.where(branches == 2, positions + 1, positions)  # a branch that does not follow its trunk
    padding_inside = np.where(np.arange(128) == 5, 0, segments)
    bad = [Rows(*(x[:, shuffled] for x in good)), Rows(restarted, segments, branches)]
    bad += [Rows(positions, padding_inside, branches)]
    assert merged.has_packed_layout(good).all()
    for rows in bad:
        assert not merged.has_packed_layout(rows).any()
    q, k, v = inputs(1, 128)
    assert np.isnan(packed.attention(q, k, v, bad[1], path="splash")).all()


def test_questions_without_a_trunk_share_a_row_on_every_path():
    """As in the text-only control: one has a trunk, three have none."""
    segments = np.repeat([[1, 2, 3, 4, 0]], [32, 40, 24, 20, 12], axis=1)
    positions = np.concatenate([np.arange(n) for n in (32, 40, 24, 20)] + [np.zeros(12, int)])[None]
    branches = np.where((segments > 0) & ((segments != 3) | (positions > 10)), 1, 0)
    rows = Rows(*(jnp.asarray(x, jnp.int32) for x in (positions, segments, branches)))
    assert merged.has_packed_layout(rows).all()
    q, k, v = inputs(1, 128)
    want, splash = (packed.attention(q, k, v, rows, path=path) for path in ("reference", "splash"))
    np.testing.assert_allclose(splash[:, :116], want[:, :116], atol=1e-5)


def test_any_order_of_the_row_will_do_for_blockwise():
    q, k, v = inputs(2, 150)
    rows = Rows(*packed_rows(2, 150, seed=6))
    order = np.random.default_rng(1).permutation(150)
    want = packed.attention(q, k, v, rows, window=9, path="blockwise")
    moved = [x[:, order] for x in (q, k, v)]
    got = packed.attention(*moved, Rows(*(x[:, order] for x in rows)), window=9, path="blockwise")
    np.testing.assert_allclose(got, want[:, order], atol=1e-5)


@pytest.mark.parametrize("window", [0, 30])
def test_the_plan_lists_the_blocks_that_are_seen_and_no_other(window):
    rows = Rows(*map(jnp.asarray, packed_rows(3, 300, seed=8)))
    plan = packed.plan(rows, (0, window))
    size, blocks = mask.block_size(300), -(-300 // mask.block_size(300))
    seen = np.pad(visible(rows, rows, window), ((0, 0), *((0, blocks * size - 300),) * 2))
    want = seen.reshape(3, blocks, size, blocks, size).any((2, 4))
    assert want.sum() < 0.75 * 3 * blocks * (blocks + 1) / 2, "something of the causal half is left out"
    for row in range(3):
        for block in range(blocks):
            listed = plan.order_NBQS[1, row, block, : plan.count_NBQ[1, row, block]]
            assert sorted(listed.tolist()) == np.flatnonzero(want[row, block]).tolist()


def test_long_rows_need_no_memory_of_their_length_squared():
    length = 8192
    arrays = [jax.ShapeDtypeStruct((1, length, n, SIZE), jnp.float32) for n in (HEADS, GROUPS, GROUPS)]
    rows = Rows(*(jax.ShapeDtypeStruct((1, length), jnp.int32),) * 3)

    def grads(q, k, v, rows):
        out, pull = jax.vjp(lambda *qkv: packed.attention(*qkv, rows, path="blockwise"), q, k, v)
        return pull(out)

    made = jax.jit(grads).lower(*arrays, rows).compile(compiler_options=FAST)
    assert made.memory_analysis().temp_size_in_bytes < length**2 / 4


def test_auto_takes_what_the_device_has_and_says_why_not(caplog, monkeypatch):
    monkeypatch.setattr(paths, "_has_cudnn", lambda: True)
    q, k = jnp.zeros((1, 128, HEADS, 64), jnp.bfloat16), jnp.zeros((1, 128, GROUPS, 64), jnp.bfloat16)
    paths._log.cache_clear()
    assert paths.choose("auto", "cpu", q, k, 0.0, sharded_sequence=False) == "blockwise"
    assert paths.choose("auto", "tpu", q, k, 0.0, sharded_sequence=False) == "splash"
    assert paths.choose("auto", "gpu", q, k, 0.0, sharded_sequence=True) == "cudnn"
    assert not caplog.records
    for _ in range(2):
        assert paths.choose("auto", "tpu", q, k, 0.0, sharded_sequence=True) == "blockwise"
        assert paths.choose("auto", "gpu", q, k, 2.0, sharded_sequence=False) == "blockwise"
    assert [r.message.split(": ")[2] for r in caplog.records] == [
        "it needs whole rows, and mesh.sequence divides them",
        "cuDNN cannot soft-cap the scores",
    ]
    with pytest.raises(InputError, match=r"model.attention is splash: it takes rows of a multiple of 128 tokens"):
        paths.choose("splash", "tpu", q[:, :100], k, 0.0, sharded_sequence=False)
    monkeypatch.setattr(paths, "_has_cudnn", lambda: False)
    assert paths.choose("auto", "gpu", q, k, 0.0, sharded_sequence=False) == "blockwise"
    assert "has no cuDNN" in caplog.records[-1].message


def test_padding_is_zero_and_gives_no_gradient():
    q, k, v = inputs(1, 80)
    segments = np.where(np.arange(80) < 50, 1, 0)[None]
    rows = (np.arange(80)[None], segments, np.zeros((1, 80), int))
    for path in ("reference", "blockwise"):
        run = jax.jit(lambda *arrays, path=path: packed.attention(*arrays, Rows(*rows), path=path))
        out, pull = jax.vjp(run, q, k, v)
        grads = pull(jnp.ones_like(out))
        assert not np.any(out[:, 50:])
        assert all(not np.any(g[:, 50:]) for g in grads)


def test_nothing_visible_stands_later_in_a_packed_row():
    rows = [jnp.asarray(x) for x in packed_rows(8, 150, seed=2)]
    seen = visible(Rows(*rows), Rows(*rows))
    assert not np.any(np.triu(seen, k=1))
