"""The attention mask of trunk-and-branches rows: which keys a query may attend to, and which blocks are empty.

A row packs several segments (movements); segment 0 is padding. A segment has a trunk, branch 0, and branches 1, 2 ...
(questions), whose positions continue from the trunk's end. A query attends to a key iff both lie in the same segment,
the key is in the trunk or in the query's own branch, the key's position is at most the query's, and, with a window,
less than the window behind it. Padding attends to nothing.

Shapes: B batch, T queries, S keys, Q blocks of queries.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from biomechgpt_jax.parallel.sharding import platform

HIDDEN = -1e30  # the score of a masked key
# Tokens of a block. On a CPU the fastest of 32..256 at T = 512, forward and backward; matrix units want larger ones.
BLOCK, ACCELERATOR_BLOCK = 64, 512


class Rows(NamedTuple):
    """Position, segment and branch of each token, i32[B, T] each."""

    positions: jax.Array
    segments: jax.Array
    branches: jax.Array


def visible(queries: Rows, keys: Rows, window: int | jax.Array = 0) -> jax.Array:
    """bool[B, T, S]: whether query t attends to key s.

    Args:
        queries, keys: i32[B, T] and i32[B, S].
        window: how many positions a query looks back, itself included; 0: unlimited. It may be traced.
    """
    positions, segments, branches = (x[:, :, None] for x in queries)
    key_positions, key_segments, key_branches = (x[:, None, :] for x in keys)
    back = positions - key_positions
    same = (segments == key_segments) & (segments != 0)
    attends = same & ((key_branches == 0) | (key_branches == branches)) & (back >= 0)
    if isinstance(window, int):
        return attends & (back < window) if window else attends
    return attends & ((back < window) | (window == 0))


def block_size(length: int) -> int:
    """Tokens of a block in rows of this length."""
    return min(BLOCK if platform() == "cpu" else ACCELERATOR_BLOCK, length)


def into_blocks(rows: Rows) -> Rows:
    """The rows cut into blocks, i32[B, Q, block], with padding after the end."""
    length = rows.positions.shape[1]
    block = block_size(length)
    padded = (jnp.pad(x, ((0, 0), (0, -length % block))) for x in rows)
    return Rows(*(x.reshape(x.shape[0], -1, block) for x in padded))


def visible_blocks(queries: Rows, keys: Rows, window: int = 0) -> jax.Array:
    """bool[B, Q, S blocks]: whether any query of a block attends to any key of a block.

    Blocks of queries are processed one after another, so that no array of T x S exists.
    """
    rows = queries.positions.shape[0]
    key_blocks = into_blocks(keys)
    padded_keys = Rows(*(x.reshape(rows, -1) for x in key_blocks))
    _, blocks, size = key_blocks.positions.shape

    def of_block(block: Rows) -> jax.Array:
        visible_BTS = visible(block, padded_keys, window)
        return jnp.any(visible_BTS.reshape(rows, -1, blocks, size), axis=(1, 3))

    by_block = jax.tree.map(lambda x: jnp.moveaxis(x, 1, 0), into_blocks(queries))
    return jnp.moveaxis(jax.lax.map(of_block, by_block), 0, 1)
