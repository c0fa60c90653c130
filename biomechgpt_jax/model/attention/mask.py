"""Who sees whom in a trunk-and-branches row: the rule (see packed.py), and which blocks it leaves empty.

Shapes: B batch, T queries, S keys, Q blocks of queries.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from biomechgpt_jax.parallel.sharding import platform

HIDDEN = -1e30  # the score of an invisible key
# Rows of a block. On a CPU the fastest of 32..256 at T = 512, forward and backward; matrix units want larger ones.
BLOCK, ACCELERATOR_BLOCK = 64, 512


class Rows(NamedTuple):
    """Where each token of a row belongs, i32[B, T]."""

    positions: jax.Array
    segments: jax.Array
    branches: jax.Array


def visible(queries: Rows, keys: Rows, window: int | jax.Array = 0) -> jax.Array:
    """bool[B, T, S]: whether query t sees key s.

    Args:
        queries, keys: i32[B, T] and i32[B, S].
        window: how many positions a query looks back, itself included; 0: all. It may be traced.
    """
    positions, segments, branches = (x[:, :, None] for x in queries)
    key_positions, key_segments, key_branches = (x[:, None, :] for x in keys)
    back = positions - key_positions
    same = (segments == key_segments) & (segments != 0)
    seen = same & ((key_branches == 0) | (key_branches == branches)) & (back >= 0)
    if isinstance(window, int):
        return seen & (back < window) if window else seen
    return seen & ((back < window) | (window == 0))


def block_size(length: int) -> int:
    """Rows of a block in a row of so many tokens."""
    return min(BLOCK if platform() == "cpu" else ACCELERATOR_BLOCK, length)


def cut(rows: Rows) -> Rows:
    """The rows in blocks i32[B, Q, block], with padding after the end."""
    length = rows.positions.shape[1]
    block = block_size(length)
    padded = (jnp.pad(x, ((0, 0), (0, -length % block))) for x in rows)
    return Rows(*(x.reshape(x.shape[0], -1, block) for x in padded))


def block_visible(queries: Rows, keys: Rows, window: int = 0) -> jax.Array:
    """bool[B, Q, S blocks]: whether a block of queries sees anything of a block of keys.

    One block of queries is looked at after another, so that nothing of T x S exists.
    """
    rows = queries.positions.shape[0]
    keys_cut = cut(keys)
    spread = Rows(*(x.reshape(rows, -1) for x in keys_cut))
    _, blocks, size = keys_cut.positions.shape

    def one(block: Rows) -> jax.Array:
        seen_BTS = visible(block, spread, window)
        return jnp.any(seen_BTS.reshape(rows, -1, blocks, size), axis=(1, 3))

    by_block = jax.tree.map(lambda x: jnp.moveaxis(x, 1, 0), cut(queries))
    return jnp.moveaxis(jax.lax.map(one, by_block), 0, 1)
