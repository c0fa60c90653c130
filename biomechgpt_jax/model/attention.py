"""Attention over trunk-and-branches rows.

Row index i may see row index j iff they lie in the same segment (0 is padding and sees nothing),
positions[j] <= positions[i], branches[j] is 0 (the trunk) or branches[i], and, with a window,
positions[i] - positions[j] < window. The mask is an additive bias that is built once per batch.

Shapes: B batch, T queries, S keys, H query heads, G key-value heads, R = H / G, K head size.
"""

import functools
from typing import Literal

import jax
import jax.numpy as jnp
from einops import rearrange
from jax.ad_checkpoint import checkpoint_name

from biomechgpt_jax.parallel.sharding import active_mesh, constrain

HIDDEN = -1e30  # the bias of an invisible key
FLOOR = -1e20  # a row maximum below this means that the row sees nothing
TINY = 1e-30  # stands for the denominator of a row that sees nothing
BLOCK = 64  # queries per block: the fastest of 32..384 on a 2-core CPU at T = 384
MAX_BLOCKS = 16  # blocks are unrolled: longer rows get larger ones
SAVED = "attention"  # checkpoint name of what the backward pass needs besides q, k and v

Path = Literal["auto", "reference", "blockwise"]


def visible(
    positions_BT: jax.Array,
    segments_BT: jax.Array,
    branches_BT: jax.Array,
    positions_BS: jax.Array,
    segments_BS: jax.Array,
    branches_BS: jax.Array,
    window: int = 0,
) -> jax.Array:
    """bool[B, T, S]: whether query t sees key s (the rule in the module's docstring).

    Args:
        window: how many positions a query looks back, itself included; 0: all.
    """
    back_BTS = positions_BT[:, :, None] - positions_BS[:, None, :]
    same = (segments_BT[:, :, None] == segments_BS[:, None, :]) & (segments_BT[:, :, None] != 0)
    branch = (branches_BS[:, None, :] == 0) | (branches_BS[:, None, :] == branches_BT[:, :, None])
    seen = same & branch & (back_BTS >= 0)
    return seen & (back_BTS < window) if window else seen


def bias(positions_BT: jax.Array, segments_BT: jax.Array, branches_BT: jax.Array, window: int = 0) -> jax.Array:
    """f32[B, T, T]: 0 where query t sees key s of the same row, HIDDEN elsewhere."""
    rows = (positions_BT, segments_BT, branches_BT)
    return jnp.where(visible(*rows, *rows, window=window), 0.0, HIDDEN).astype(jnp.float32)


def attention(
    q_BTHK: jax.Array,
    k_BTGK: jax.Array,
    v_BTGK: jax.Array,
    positions_BT: jax.Array,
    segments_BT: jax.Array,
    branches_BT: jax.Array,
    window: int = 0,
    path: Path = "auto",
) -> jax.Array:
    """Scaled dot-product attention under the trunk-and-branches mask.

    Row order must agree with the mask, as it does in packed rows: nothing visible stands later in the row.

    Args:
        q_BTHK: queries; k_BTGK, v_BTGK: keys and values, G divides H.
        positions_BT, segments_BT, branches_BT: i32, as in the module's docstring.
        window: how many positions a query looks back, itself included; 0: all.
        path: "reference" builds all T x T scores; "blockwise" only those up to each block's last row;
            "auto" takes blockwise unless the active mesh divides the sequence.

    Returns:
        BTHK in the dtype of the queries; zero for padding.
    """
    return attend(q_BTHK, k_BTGK, v_BTGK, bias(positions_BT, segments_BT, branches_BT, window), path)


def attend(
    q_BTHK: jax.Array, k_BTGK: jax.Array, v_BTGK: jax.Array, bias_BTS: jax.Array, path: Path = "auto"
) -> jax.Array:
    """`attention` with the mask given as an additive bias (from `bias`)."""
    mesh = active_mesh()
    divided = mesh is not None and mesh.shape["sequence"] > 1
    if path == "auto":
        # Blocks are slices of the row, which a divided row would have to move between devices.
        path = "reference" if divided else "blockwise"
    if path == "reference":
        if divided:  # each device keeps its queries and gathers all keys
            k_BTGK = constrain(k_BTGK, ("batch", None, "kv_heads", None))
            v_BTGK = constrain(v_BTGK, ("batch", None, "kv_heads", None))
        return reference(q_BTHK, k_BTGK, v_BTGK, bias_BTS)
    groups = k_BTGK.shape[2]
    scale = q_BTHK.shape[-1] ** -0.5
    q_BGRTK = rearrange(q_BTHK * jnp.asarray(scale, q_BTHK.dtype), "b t (g r) k -> b g r t k", g=groups)
    k_BGSK, v_BGSK = (rearrange(x, "b s g k -> b g s k") for x in (k_BTGK, v_BTGK))
    return rearrange(blockwise(q_BGRTK, k_BGSK, v_BGSK, bias_BTS), "b g r t k -> b t (g r) k")


def reference(q_BTHK: jax.Array, k_BTGK: jax.Array, v_BTGK: jax.Array, bias_BTS: jax.Array) -> jax.Array:
    """Attention in the plainest form: all scores, a softmax, a weighted sum. Other paths must equal it."""
    q_BTGRK = rearrange(q_BTHK, "b t (g r) k -> b t g r k", g=k_BTGK.shape[2])
    scores = jnp.einsum("btgrk,bsgk->bgrts", q_BTGRK, k_BTGK, preferred_element_type=jnp.float32)
    scores = scores * q_BTHK.shape[-1] ** -0.5 + bias_BTS[:, None, None]
    weights = jax.nn.softmax(scores, axis=-1)
    weights = jnp.where(bias_BTS[:, None, None] > FLOOR, weights, 0.0).astype(v_BTGK.dtype)
    return rearrange(jnp.einsum("bgrts,bsgk->btgrk", weights, v_BTGK), "b t g r k -> b t (g r) k")


def attend_cached(
    q_BTHK: jax.Array,
    keys_BSGK: jax.Array,
    values_BSGK: jax.Array,
    k_BTGK: jax.Array,
    v_BTGK: jax.Array,
    bias_BTN: jax.Array,
) -> jax.Array:
    """Attention of new tokens over a cache and over themselves, without copying the cache.

    Args:
        q_BTHK, k_BTGK, v_BTGK: the new tokens.
        keys_BSGK, values_BSGK: the cache.
        bias_BTN: additive mask over the N = S + T keys, cache first.

    Returns:
        BTHK.
    """
    size = keys_BSGK.shape[1]
    q_BTGRK = rearrange(q_BTHK, "b t (g r) k -> b t g r k", g=k_BTGK.shape[2])
    scores = [
        jnp.einsum("btgrk,bsgk->bgrts", q_BTGRK, keys, preferred_element_type=jnp.float32)
        for keys in (keys_BSGK, k_BTGK)
    ]
    joined = jnp.concatenate(scores, axis=-1) * q_BTHK.shape[-1] ** -0.5 + bias_BTN[:, None, None]
    weights = jax.nn.softmax(joined, axis=-1).astype(v_BTGK.dtype)
    out = jnp.einsum("bgrts,bsgk->btgrk", weights[..., :size], values_BSGK)
    out = out + jnp.einsum("bgrts,bsgk->btgrk", weights[..., size:], v_BTGK)
    return rearrange(out, "b t g r k -> b t (g r) k")


def blocks(length: int) -> list[tuple[int, int]]:
    """First and last (exclusive) row of each block of queries."""
    size = max(BLOCK, -(-length // MAX_BLOCKS))
    return [(start, min(start + size, length)) for start in range(0, length, size)]


def _block_scores(q_BGRTK: jax.Array, k_BGSK: jax.Array, bias_BTS: jax.Array, start: int, stop: int) -> jax.Array:
    """f32[B, G, R, t, stop]: scores of the queries start..stop with the keys that can be visible to them."""
    scores = _batched("tk,sk->ts", q_BGRTK[:, :, :, start:stop], k_BGSK[:, :, :stop])
    return scores + bias_BTS[:, None, None, start:stop, :stop]


def _batched(rule: str, left: jax.Array, right_BGSK: jax.Array) -> jax.Array:
    """A product of [B, G, R, t, .] with [B, G, s, .] that folds R into t: one matrix product per (b, g)."""
    repeats, rows = left.shape[2:4]
    folded = left.reshape(*left.shape[:2], repeats * rows, left.shape[-1])
    inputs, output = rule.split("->")
    first, second = inputs.split(",")
    out = jnp.einsum(f"bg{first},bg{second}->bg{output}", folded, right_BGSK, preferred_element_type=jnp.float32)
    return out.reshape(*left.shape[:2], repeats, rows, out.shape[-1])


def _forward(
    q_BGRTK: jax.Array, k_BGSK: jax.Array, v_BGSK: jax.Array, bias_BTS: jax.Array
) -> tuple[jax.Array, jax.Array]:
    """Output BGRTK and the log-sum-exp of the scores, f32[B, G, R, T, 1]."""
    outs, sums = [], []
    for start, stop in blocks(q_BGRTK.shape[3]):
        scores = _block_scores(q_BGRTK, k_BGSK, bias_BTS, start, stop)
        top = jnp.maximum(jnp.max(scores, axis=-1, keepdims=True), FLOOR)
        weights = jnp.exp(scores - top)
        total = jnp.maximum(jnp.sum(weights, axis=-1, keepdims=True), TINY)
        out = _batched("ts,sk->tk", weights.astype(v_BGSK.dtype), v_BGSK[:, :, :stop]) / total
        outs.append(out.astype(q_BGRTK.dtype))
        sums.append(top + jnp.log(total))
    return jnp.concatenate(outs, axis=3), jnp.concatenate(sums, axis=3)


@jax.custom_vjp
def blockwise(q_BGRTK: jax.Array, k_BGSK: jax.Array, v_BGSK: jax.Array, bias_BTS: jax.Array) -> jax.Array:
    """Attention block by block of queries, over only the keys up to the block's last row.

    The backward pass recomputes the weights from the log-sum-exp (Dao et al., FlashAttention, 2022), so that
    no T x T array outlives a block. Queries come already scaled. The bias has no gradient.
    """
    return _forward(q_BGRTK, k_BGSK, v_BGSK, bias_BTS)[0]


Residuals = tuple[jax.Array, ...]


def _blockwise_forward(*arrays: jax.Array) -> tuple[jax.Array, Residuals]:
    out, log_sums = (checkpoint_name(x, SAVED) for x in _forward(*arrays))
    return out, (*arrays, out, log_sums)


def _blockwise_backward(saved: Residuals, d_out_BGRTK: jax.Array) -> tuple[jax.Array, jax.Array, jax.Array, None]:
    q_BGRTK, k_BGSK, v_BGSK, bias_BTS, out_BGRTK, log_sums = saved
    fold = functools.partial(rearrange, pattern="b g r t s -> b g (r t) s")
    product = functools.partial(jnp.einsum, "bgts,bgtk->bgsk", preferred_element_type=jnp.float32)
    delta = jnp.sum(d_out_BGRTK.astype(jnp.float32) * out_BGRTK.astype(jnp.float32), axis=-1, keepdims=True)
    d_queries = []
    d_keys, d_values = (jnp.zeros(x.shape, jnp.float32) for x in (k_BGSK, v_BGSK))
    for start, stop in blocks(q_BGRTK.shape[3]):
        q, d_out = q_BGRTK[:, :, :, start:stop], d_out_BGRTK[:, :, :, start:stop]
        scores = _block_scores(q_BGRTK, k_BGSK, bias_BTS, start, stop)
        weights = jnp.exp(scores - log_sums[:, :, :, start:stop])
        d_weights = _batched("tk,sk->ts", d_out, v_BGSK[:, :, :stop])
        d_scores = (weights * (d_weights - delta[:, :, :, start:stop])).astype(q.dtype)
        d_values = d_values.at[:, :, :stop].add(product(fold(weights.astype(q.dtype)), fold(d_out)))
        d_keys = d_keys.at[:, :, :stop].add(product(fold(d_scores), fold(q)))
        d_queries.append(_batched("ts,sk->tk", d_scores, k_BGSK[:, :, :stop]).astype(q.dtype))
    return (
        jnp.concatenate(d_queries, axis=3),
        d_keys.astype(k_BGSK.dtype),
        d_values.astype(v_BGSK.dtype),
        None,
    )


blockwise.defvjp(_blockwise_forward, _blockwise_backward)
