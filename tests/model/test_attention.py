"""The attention paths equal the plainest computation, gradients included."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from biomechgpt_jax.model import attention
from biomechgpt_jax.model.visibility import Rows, visible

HEADS, GROUPS, SIZE = 4, 2, 8


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
    got = attention.attention(q, k, v, Rows(*rows), window, path=path)
    np.testing.assert_allclose(got, by_hand(*map(np.asarray, (q, k, v)), *rows, window), atol=1e-5)


@pytest.mark.parametrize("length", [40, 200])  # one block, and several with a ragged last one
@pytest.mark.parametrize("window", [0, 16])
def test_blockwise_gradients_equal_the_reference(length, window):
    arrays = inputs(3, length)
    rows = packed_rows(3, length, seed=1)
    weight = jax.random.normal(jax.random.key(9), arrays[0].shape)

    def value_and_grads(path):
        def loss(arrays):
            return jnp.sum(weight * jnp.sin(attention.attention(*arrays, Rows(*rows), window, path=path)))

        return jax.jit(jax.value_and_grad(loss), compiler_options={"xla_backend_optimization_level": 0})(arrays)

    (value, grads), (expected, expected_grads) = value_and_grads("blockwise"), value_and_grads("reference")
    np.testing.assert_allclose(value, expected, rtol=1e-5, atol=1e-3)  # a sum whose terms cancel
    for got, want in zip(grads, expected_grads, strict=True):
        np.testing.assert_allclose(got, want, atol=1e-5)
        assert np.isfinite(got).all()


def test_padding_is_zero_and_gives_no_gradient():
    q, k, v = inputs(1, 80)
    segments = np.where(np.arange(80) < 50, 1, 0)[None]
    rows = (np.arange(80)[None], segments, np.zeros((1, 80), int))
    for path in ("reference", "blockwise"):
        run = jax.jit(lambda *arrays, path=path: attention.attention(*arrays, Rows(*rows), path=path))
        out, pull = jax.vjp(run, q, k, v)
        grads = pull(jnp.ones_like(out))
        assert not np.any(out[:, 50:])
        assert all(not np.any(g[:, 50:]) for g in grads)


def test_nothing_visible_stands_later_in_a_packed_row():
    rows = [jnp.asarray(x) for x in packed_rows(8, 150, seed=2)]
    seen = visible(Rows(*rows), Rows(*rows))
    assert not np.any(np.triu(seen, k=1))
