"""Attention block by block, over the visible blocks alone (Dao et al., FlashAttention, 2022, in plain XLA).

The outer loop runs over the blocks of queries of all rows, the inner loop over the blocks of keys that such a block
attends to, as the plan lists them. Their number is dynamic, so that empty blocks of the mask cost nothing. The backward
pass recomputes the weights from the log-sum-exp. R query heads share a key-value head, and one matrix product of
R x block rows serves them all.

Shapes: B batch, T queries, S keys, H query heads, G key-value heads, R = H / G, K head size; X and Y are the blocks of
queries and of keys of the whole batch, M = R x rows of a block of queries, C rows of a block of keys.
"""

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
from einops import rearrange
from jax.ad_checkpoint import checkpoint_name

from biomechgpt_jax.model.attention.mask import HIDDEN, Rows, block_size, into_blocks, visible

FLOOR = -1e20  # initial row maximum: what remains of it belongs to a query that attends to nothing
TINY = 1e-30  # the denominator of a query that attends to nothing
SAVED = "attention"  # checkpoint name of the residuals of the backward pass other than q, k and v


class _Schedule(NamedTuple):
    """Rows in blocks, i32[X, block] and i32[Y, C]; for each block of queries, the blocks of keys to visit."""

    queries: Rows
    keys: Rows
    visits_XS: jax.Array  # indices of the Y blocks; the first count_X of them are visible
    count_X: jax.Array
    window: jax.Array


def attend(
    q_BTHK: jax.Array,
    k_BSGK: jax.Array,
    v_BSGK: jax.Array,
    queries: Rows,
    keys: Rows,
    order_BQS: jax.Array,
    count_BQ: jax.Array,
    window: int | jax.Array = 0,
    soft_cap: float = 0.0,
) -> jax.Array:
    """Attention of one device's queries.

    Args:
        q_BTHK: scaled queries; k_BSGK, v_BSGK: keys and values, G divides H.
        queries, keys: i32[B, T] and i32[B, S].
        order_BQS, count_BQ: for each block of queries, the blocks of keys, visible ones first, and their number.
        window: how many positions a query looks back, itself included; 0: unlimited. It may be traced.
        soft_cap: bound of the scores; 0: none.

    Returns:
        BTHK in the dtype of the queries; zero for padding.
    """
    rows, length, heads, _ = q_BTHK.shape
    groups = k_BSGK.shape[2]
    fold = lambda x: x.reshape(-1, x.shape[-1])  # noqa: E731
    first_B11 = jnp.arange(rows, dtype=jnp.int32)[:, None, None] * order_BQS.shape[2]
    schedule = _Schedule(
        Rows(*map(fold, into_blocks(queries))),
        Rows(*map(fold, into_blocks(keys))),
        fold(order_BQS + first_B11),
        count_BQ.reshape(-1),
        jnp.asarray(window, jnp.int32),
    )
    q_XGMK = _blocks(q_BTHK, groups)
    out_XGMK = _core(q_XGMK, _blocks(k_BSGK, groups), _blocks(v_BSGK, groups), schedule, soft_cap)
    out = rearrange(out_XGMK, "(b n) g (r m) k -> b (n m) (g r) k", b=rows, r=heads // groups)
    return out[:, :length]


def _blocks(x_BTHK: jax.Array, groups: int) -> jax.Array:
    """Rearrange into blocks that are contiguous per key-value head: [X, G, M, K]."""
    block = block_size(x_BTHK.shape[1])
    padded = jnp.pad(x_BTHK, ((0, 0), (0, -x_BTHK.shape[1] % block), (0, 0), (0, 0)))
    return rearrange(padded, "b (n m) (g r) k -> (b n) g (r m) k", m=block, g=groups)


def _dot(left: jax.Array, right: jax.Array, left_axis: int, right_axis: int) -> jax.Array:
    """A matrix product per group, contracted over one axis of each, in f32."""
    axes = (((left_axis,), (right_axis,)), ((0,), (0,)))
    return jax.lax.dot_general(left, right, axes, preferred_element_type=jnp.float32)


def _scores(
    q_GMK: jax.Array, k_GCK: jax.Array, schedule: _Schedule, x: jax.Array, y: jax.Array, soft_cap: float
) -> tuple[jax.Array, jax.Array | float]:
    """Masked scores f32[G, M, C] of one block with another, and the slope of the soft cap."""
    block = lambda rows, i: Rows(*(part[i][None] for part in rows))  # noqa: E731
    visible_1TC = visible(block(schedule.queries, x), block(schedule.keys, y), schedule.window)
    scores = _dot(q_GMK, k_GCK, 2, 2)
    slope: jax.Array | float = 1.0
    if soft_cap:
        squashed = jnp.tanh(scores / soft_cap)
        scores, slope = soft_cap * squashed, 1.0 - jnp.square(squashed)
    per_query = rearrange(scores, "g (r t) c -> g r t c", t=visible_1TC.shape[1])
    return jnp.where(visible_1TC, per_query, HIDDEN).reshape(scores.shape), slope


def _forward(
    q_XGMK: jax.Array, k_YGCK: jax.Array, v_YGCK: jax.Array, schedule: _Schedule, soft_cap: float
) -> tuple[jax.Array, jax.Array]:
    """Output XGMK and the log-sum-exp of the scores, f32[X, G, M, 1]."""
    blocks, groups, rows, size = q_XGMK.shape

    def over_queries(x: jax.Array, results: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, jax.Array]:
        q_GMK = q_XGMK[x]

        def over_keys(i: jax.Array, carry: tuple[jax.Array, jax.Array, jax.Array]) -> tuple[jax.Array, ...]:
            top, total, out_GMK = carry
            y = schedule.visits_XS[x, i]
            scores, _ = _scores(q_GMK, k_YGCK[y], schedule, x, y, soft_cap)
            higher = jnp.maximum(top, jnp.max(scores, axis=-1, keepdims=True))
            weights, fade = jnp.exp(scores - higher), jnp.exp(top - higher)
            total = total * fade + jnp.sum(weights, axis=-1, keepdims=True)
            return higher, total, out_GMK * fade + _dot(weights.astype(v_YGCK.dtype), v_YGCK[y], 2, 1)

        nothing = jnp.zeros((groups, rows, 1), jnp.float32)
        start = nothing + FLOOR, nothing, jnp.zeros((groups, rows, size), jnp.float32)
        top, total, out_GMK = jax.lax.fori_loop(0, schedule.count_X[x], over_keys, start)
        total = jnp.maximum(total, TINY)
        outs, sums = results
        return outs.at[x].set((out_GMK / total).astype(outs.dtype)), sums.at[x].set(top + jnp.log(total))

    results = jnp.zeros_like(q_XGMK), jnp.zeros((blocks, groups, rows, 1), jnp.float32)
    return jax.lax.fori_loop(0, blocks, over_queries, results)


@functools.partial(jax.custom_vjp, nondiff_argnums=(4,))
def _core(q_XGMK: jax.Array, k_YGCK: jax.Array, v_YGCK: jax.Array, schedule: _Schedule, soft_cap: float) -> jax.Array:
    return _forward(q_XGMK, k_YGCK, v_YGCK, schedule, soft_cap)[0]


_Residuals = tuple[jax.Array, jax.Array, jax.Array, _Schedule, jax.Array, jax.Array]


def _core_forward(
    q_XGMK: jax.Array, k_YGCK: jax.Array, v_YGCK: jax.Array, schedule: _Schedule, soft_cap: float
) -> tuple[jax.Array, _Residuals]:
    results = _forward(q_XGMK, k_YGCK, v_YGCK, schedule, soft_cap)
    out_XGMK, log_sums = (checkpoint_name(x, SAVED) for x in results)
    return out_XGMK, (q_XGMK, k_YGCK, v_YGCK, schedule, out_XGMK, log_sums)


def _core_backward(
    soft_cap: float, saved: _Residuals, d_out_XGMK: jax.Array
) -> tuple[jax.Array, jax.Array, jax.Array, None]:
    q_XGMK, k_YGCK, v_YGCK, schedule, out_XGMK, log_sums = saved
    dtype = q_XGMK.dtype
    delta = jnp.sum(d_out_XGMK.astype(jnp.float32) * out_XGMK.astype(jnp.float32), axis=-1, keepdims=True)

    def over_queries(x: jax.Array, results: tuple[jax.Array, jax.Array, jax.Array]) -> tuple[jax.Array, ...]:
        q_GMK, d_out_GMK = q_XGMK[x], d_out_XGMK[x]

        def over_keys(i: jax.Array, carry: tuple[jax.Array, jax.Array, jax.Array]) -> tuple[jax.Array, ...]:
            d_q_GMK, d_k_YGCK, d_v_YGCK = carry
            y = schedule.visits_XS[x, i]
            scores, slope = _scores(q_GMK, k_YGCK[y], schedule, x, y, soft_cap)
            weights = jnp.exp(scores - log_sums[x])
            d_weights = _dot(d_out_GMK, v_YGCK[y], 2, 2)
            d_scores = (weights * (d_weights - delta[x]) * slope).astype(dtype)
            d_v_YGCK = d_v_YGCK.at[y].add(_dot(weights.astype(dtype), d_out_GMK, 1, 1))
            d_k_YGCK = d_k_YGCK.at[y].add(_dot(d_scores, q_GMK, 1, 1))
            return d_q_GMK + _dot(d_scores, k_YGCK[y], 2, 1), d_k_YGCK, d_v_YGCK

        d_qs, d_ks, d_vs = results
        start = jnp.zeros(q_GMK.shape, jnp.float32), d_ks, d_vs
        d_q_GMK, d_ks, d_vs = jax.lax.fori_loop(0, schedule.count_X[x], over_keys, start)
        return d_qs.at[x].set(d_q_GMK.astype(dtype)), d_ks, d_vs

    results = jnp.zeros_like(q_XGMK), *(jnp.zeros(x.shape, jnp.float32) for x in (k_YGCK, v_YGCK))
    d_q_XGMK, d_k_YGCK, d_v_YGCK = jax.lax.fori_loop(0, q_XGMK.shape[0], over_queries, results)
    return d_q_XGMK, d_k_YGCK.astype(k_YGCK.dtype), d_v_YGCK.astype(v_YGCK.dtype), None


_core.defvjp(_core_forward, _core_backward)
