"""Attention over packed trunk-and-branches rows, as in training and prefill (the mask: `mask`).

Only the reference builds an array of T x T. A `Plan`, made once per batch, lists the blocks of keys that each block of
queries attends to, and the mask is applied inside a block.

Under a mesh every device computes its own rows, queries and heads (shard_map). If the sequence is sharded, a device
keeps its queries and gathers keys and values.

Shapes: B batch, T queries, S keys, H query heads, G key-value heads, R = H / G, K head size, N kinds of layers.
"""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from einops import rearrange
from jax.sharding import PartitionSpec

from biomechgpt_jax.model.attention import blockwise, cudnn, merged
from biomechgpt_jax.model.attention.mask import HIDDEN, Rows, visible, visible_blocks
from biomechgpt_jax.model.attention.paths import Path, choose
from biomechgpt_jax.parallel.sharding import active_mesh, partition_spec, platform


class Scoring(NamedTuple):
    """Static settings: the window of each kind of layer (0: unlimited), and how scores are computed."""

    windows: tuple[int, ...] = (0,)
    scale: float = 1.0  # multiplies the products of queries and keys
    soft_cap: float = 0.0  # scores become cap * tanh(scores / cap); 0: off


class Plan(NamedTuple):
    """Rows; and per kind of layer, row and block of queries: blocks of keys, visible ones first, and their number."""

    rows: Rows
    order_NBQS: jax.Array
    count_NBQ: jax.Array


def plan(rows: Rows, windows: tuple[int, ...] = (0,)) -> Plan:
    """The plan of a batch, which serves all layers.

    Args:
        rows: i32[B, T].
        windows: per kind of layer, how many positions a query looks back, itself included; 0: unlimited.
    """

    def local(rows: Rows) -> tuple[jax.Array, jax.Array]:
        keys = _gather_sequence(rows)
        visible_NBQS = jnp.stack([visible_blocks(rows, keys, window) for window in windows])
        order_NBQS = jnp.argsort(~visible_NBQS, axis=-1, stable=True).astype(jnp.int32)
        return order_NBQS, jnp.sum(visible_NBQS, axis=-1, dtype=jnp.int32)

    mesh = active_mesh()
    if mesh is None or mesh.size == 1:
        return Plan(rows, *local(rows))
    batch, length = partition_spec(mesh, ("batch", "length"), rows.positions.shape, "the batch")
    out = PartitionSpec(None, batch, length, None), PartitionSpec(None, batch, length)
    return Plan(rows, *_per_device(local, (PartitionSpec(batch, length),), out)(rows))


def attention(
    q_BTHK: jax.Array,
    k_BTGK: jax.Array,
    v_BTGK: jax.Array,
    rows: Rows,
    window: int = 0,
    soft_cap: float = 0.0,
    path: Path = "auto",
) -> jax.Array:
    """Scaled dot-product attention under the trunk-and-branches mask.

    Args:
        q_BTHK: queries; k_BTGK, v_BTGK: keys and values, G divides H.
        rows: i32[B, T].
        window: how many positions a query looks back, itself included; 0: unlimited.
        soft_cap: bound of the scores; 0: none.
        path: as `attend`.

    Returns:
        BTHK in the dtype of the queries; zero for padding.
    """
    scoring = Scoring((window,), q_BTHK.shape[-1] ** -0.5, soft_cap)
    return attend(q_BTHK, k_BTGK, v_BTGK, plan(rows, scoring.windows), scoring, path=path)


def attend(
    q_BTHK: jax.Array,
    k_BTGK: jax.Array,
    v_BTGK: jax.Array,
    plan: Plan,
    scoring: Scoring,
    kind: int | jax.Array = 0,
    path: Path = "auto",
) -> jax.Array:
    """`attention` of one layer.

    Args:
        q_BTHK: queries; k_BTGK, v_BTGK: keys and values, G divides H.
        plan: of these rows and `scoring.windows`.
        scoring: the windows of all kinds of layers, and how scores are computed.
        kind: of this layer, an index into the windows; it may be traced.
        path: "reference" builds all scores; "blockwise" those of visible blocks; "splash" and "cudnn" are kernels for
            TPU and GPU; "auto" takes what suits the device (`paths.choose`).

    Returns:
        BTHK in the dtype of the queries; zero for padding.

    Raises:
        InputError: a path chosen by name does not support these inputs.
    """
    device = platform()
    q_BTHK = q_BTHK * jnp.asarray(scoring.scale, q_BTHK.dtype)

    def local(
        q: jax.Array, k: jax.Array, v: jax.Array, rows: Rows, order: jax.Array, count: jax.Array, kind: jax.Array
    ) -> jax.Array:
        part = q.shape[1]
        k, v, keys = _gather_sequence((k, v, rows))
        chosen = choose(path, device, q, k, scoring.soft_cap, sharded_sequence=k.shape[1] > part)
        if chosen == "splash":
            from biomechgpt_jax.model.attention.splash import Splash  # Pallas is slow to import, and for TPU alone

            interpret = device == "cpu"
            kernels = [Splash(window, scoring.soft_cap, interpret) for window in scoring.windows]
            branches = [functools.partial(merged.attend, rows=rows, kernel=kernel) for kernel in kernels]
            return jax.lax.switch(kind, branches, q, k, v)
        window = scoring.windows[0] if len(scoring.windows) == 1 else jnp.asarray(scoring.windows)[kind]
        if chosen == "cudnn":
            return cudnn.attend(q, k, v, rows, keys, window)
        if chosen == "reference":
            return reference(q, k, v, visible(rows, keys, window), scoring.soft_cap)
        return blockwise.attend(q, k, v, rows, keys, order[kind], count[kind], window, scoring.soft_cap)

    arrays = q_BTHK, k_BTGK, v_BTGK, *plan, jnp.asarray(kind)
    mesh = active_mesh()
    if mesh is None or mesh.size == 1:
        return local(*arrays)
    queries = partition_spec(mesh, ("batch", "length", "heads", None), q_BTHK.shape, "queries")
    keys = partition_spec(mesh, ("batch", "length", "kv_heads", None), k_BTGK.shape, "keys")
    row, blocks = PartitionSpec(*queries[:2]), PartitionSpec(None, *queries[:2])
    return _per_device(local, (queries, keys, keys, row, blocks, blocks, PartitionSpec()), queries)(*arrays)


def _per_device(local: Callable[..., Any], in_specs: Any, out_specs: Any) -> Callable[..., Any]:
    """Turn a function of the arrays that one device holds into a function of the whole arrays."""
    return jax.shard_map(local, in_specs=in_specs, out_specs=out_specs, check_vma=False)


def _gather_sequence(arrays: Any) -> Any:
    """Arrays [B, T, ...] of one device, gathered over the devices that share its rows if the sequence is sharded."""
    mesh = active_mesh()
    if mesh is None or mesh.shape["sequence"] == 1:
        return arrays
    return jax.tree.map(lambda x: jax.lax.all_gather(x, "sequence", axis=1, tiled=True), arrays)


def reference(
    q_BTHK: jax.Array, k_BSGK: jax.Array, v_BSGK: jax.Array, visible_BTS: jax.Array, soft_cap: float = 0.0
) -> jax.Array:
    """Attention in its plainest form: all scores, a softmax, a weighted sum. The other paths must equal it.

    Queries are already scaled.
    """
    q_BTGRK = rearrange(q_BTHK, "b t (g r) k -> b t g r k", g=k_BSGK.shape[2])
    scores = apply_soft_cap(
        jnp.einsum("btgrk,bsgk->bgrts", q_BTGRK, k_BSGK, preferred_element_type=jnp.float32), soft_cap
    )
    mask = visible_BTS[:, None, None]
    weights = jnp.where(mask, jax.nn.softmax(jnp.where(mask, scores, HIDDEN), axis=-1), 0.0).astype(v_BSGK.dtype)
    return rearrange(jnp.einsum("bgrts,bsgk->btgrk", weights, v_BSGK), "b t g r k -> b t (g r) k")


def apply_soft_cap(scores: jax.Array, soft_cap: float) -> jax.Array:
    """Scores squashed into -soft_cap..soft_cap (Gemma 2, arXiv 2408.00118); unchanged if it is 0."""
    return soft_cap * jnp.tanh(scores / soft_cap) if soft_cap else scores
