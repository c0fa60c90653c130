"""cuDNN's flash attention (`jax.nn.dot_product_attention`) under the trunk-and-branches mask.

cuDNN takes the mask as an array. Queries are processed in chunks, each with all keys and the mask of its own rows, so
that no array of T x T exists; a chunk contains whole softmaxes, so that the library's own gradient is right. Empty
blocks are not skipped: the work is that of all pairs.

Shapes: B batch, T queries, S keys, H query heads, G key-value heads, K head size.
"""

from typing import Literal

import jax
import jax.numpy as jnp

from biomechgpt_jax.model.attention.mask import Rows, visible

CHUNK = 512  # queries processed at a time


def attend(
    q_BTHK: jax.Array,
    k_BSGK: jax.Array,
    v_BSGK: jax.Array,
    queries: Rows,
    keys: Rows,
    window: int | jax.Array = 0,
    implementation: Literal["cudnn", "xla"] = "cudnn",
) -> jax.Array:
    """Attention of one device's queries.

    Args:
        q_BTHK: scaled queries; k_BSGK, v_BSGK: keys and values, G divides H.
        queries, keys: i32[B, T] and i32[B, S].
        window: how many positions a query looks back, itself included; 0: unlimited. It may be traced.
        implementation: of `jax.nn.dot_product_attention`.

    Returns:
        BTHK; zero for padding.
    """
    rows, length, heads, size = q_BTHK.shape
    chunk = min(CHUNK, length)

    def chunks(x: jax.Array) -> jax.Array:
        padded = jnp.pad(x, ((0, 0), (0, -length % chunk), *((0, 0),) * (x.ndim - 2)))
        return jnp.moveaxis(padded.reshape(rows, -1, chunk, *x.shape[2:]), 1, 0)

    @jax.checkpoint
    def of_chunk(chunk: tuple[jax.Array, Rows]) -> jax.Array:
        q_BCHK, part = chunk
        mask_B1CS = visible(part, keys, window)[:, None]
        out_BCHK = jax.nn.dot_product_attention(
            q_BCHK, k_BSGK, v_BSGK, mask=mask_B1CS, scale=1.0, implementation=implementation
        )
        return jnp.where(part.segments[..., None, None] > 0, out_BCHK, 0)

    out = jax.lax.map(of_chunk, (chunks(q_BTHK), Rows(*map(chunks, queries))))
    return jnp.moveaxis(out, 0, 1).reshape(rows, -1, heads, size)[:, :length]
