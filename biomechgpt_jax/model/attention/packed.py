"""Attention over trunk-and-branches rows.

Row index i may see row index j iff they lie in the same segment (0 is padding and sees nothing),
positions[j] <= positions[i], branches[j] is 0 (the trunk) or branches[i], and, with a window,
positions[i] - positions[j] < window. No array of T x T exists but in the reference: a `Plan`, made once per batch,
tells which blocks of keys each block of queries sees, and the rule is applied inside a block.

Under a mesh every device computes its own rows, queries and heads (shard_map). Where the sequence is divided, a
device keeps its queries and gathers keys and values.

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
from biomechgpt_jax.model.attention.mask import HIDDEN, Rows, block_visible, visible
from biomechgpt_jax.model.attention.paths import Path, choose
from biomechgpt_jax.model.attention.splash import Splash
from biomechgpt_jax.parallel.sharding import active_mesh, partition_spec, platform


class Form(NamedTuple):
    """What is fixed when the model is compiled: of each kind of layer its window (0: all), and how scores are made."""

    windows: tuple[int, ...] = (0,)
    scale: float = 1.0  # of products of queries and keys
    soft_cap: float = 0.0  # scores become cap * tanh(scores / cap); 0: they stay


class Plan(NamedTuple):
    """Rows, and per kind of layer, row and block of queries: the blocks of keys, seen ones first, and their number."""

    rows: Rows
    order_NBQS: jax.Array
    count_NBQ: jax.Array


def plan(rows: Rows, windows: tuple[int, ...] = (0,)) -> Plan:
    """What attention needs of a batch, once for all layers.

    Args:
        rows: i32[B, T], as in the module's docstring.
        windows: of each kind of layer, how many positions a query looks back, itself included; 0: all.
    """

    def local(rows: Rows) -> tuple[jax.Array, jax.Array]:
        keys = _gathered(rows)
        seen = jnp.stack([block_visible(rows, keys, window) for window in windows])
        return jnp.argsort(~seen, axis=-1, stable=True).astype(jnp.int32), jnp.sum(seen, axis=-1, dtype=jnp.int32)

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
        rows: i32[B, T], as in the module's docstring.
        window: how many positions a query looks back, itself included; 0: all.
        soft_cap: bound of the scores; 0: none.
        path: as `attend`.

    Returns:
        BTHK in the dtype of the queries; zero for padding.
    """
    form = Form((window,), q_BTHK.shape[-1] ** -0.5, soft_cap)
    return attend(q_BTHK, k_BTGK, v_BTGK, plan(rows, form.windows), form, path=path)


def attend(
    q_BTHK: jax.Array,
    k_BTGK: jax.Array,
    v_BTGK: jax.Array,
    plan: Plan,
    form: Form,
    kind: int | jax.Array = 0,
    path: Path = "auto",
) -> jax.Array:
    """`attention` of one layer.

    Args:
        q_BTHK: queries; k_BTGK, v_BTGK: keys and values, G divides H.
        plan: of these rows and `form.windows`.
        form: the windows of all kinds of layers, and how scores are made.
        kind: of this layer, an index into the windows; it may be traced.
        path: "reference" builds all scores; "blockwise" those of visible blocks; "splash" and "cudnn" are kernels of
            TPU and GPU; "auto" takes what suits the device (`paths.choose`).

    Returns:
        BTHK in the dtype of the queries; zero for padding.

    Raises:
        InputError: a path that is asked for by name cannot do this.
    """
    device = platform()
    q_BTHK = q_BTHK * jnp.asarray(form.scale, q_BTHK.dtype)

    def local(
        q: jax.Array, k: jax.Array, v: jax.Array, rows: Rows, order: jax.Array, count: jax.Array, kind: jax.Array
    ) -> jax.Array:
        part = q.shape[1]
        k, v, keys = _gathered((k, v, rows))
        taken = choose(path, device, q, k, form.soft_cap, divided=k.shape[1] > part)
        if taken == "splash":
            interpret = device == "cpu"
            kernels = [Splash(window, form.soft_cap, interpret) for window in form.windows]
            ways = [functools.partial(merged.attend, rows=rows, kernel=kernel) for kernel in kernels]
            return jax.lax.switch(kind, ways, q, k, v)
        window = form.windows[0] if len(form.windows) == 1 else jnp.asarray(form.windows)[kind]
        if taken == "cudnn":
            return cudnn.attend(q, k, v, rows, keys, window)
        if taken == "reference":
            return reference(q, k, v, visible(rows, keys, window), form.soft_cap)
        return blockwise.attend(q, k, v, rows, keys, order[kind], count[kind], window, form.soft_cap)

    arrays = q_BTHK, k_BTGK, v_BTGK, *plan, jnp.asarray(kind)
    mesh = active_mesh()
    if mesh is None or mesh.size == 1:
        return local(*arrays)
    queries = partition_spec(mesh, ("batch", "length", "heads", None), q_BTHK.shape, "queries")
    keys = partition_spec(mesh, ("batch", "length", "kv_heads", None), k_BTGK.shape, "keys")
    row, blocks = PartitionSpec(*queries[:2]), PartitionSpec(None, *queries[:2])
    return _per_device(local, (queries, keys, keys, row, blocks, blocks, PartitionSpec()), queries)(*arrays)


def _per_device(local: Callable[..., Any], given: Any, made: Any) -> Callable[..., Any]:
    """A function of the arrays that one device holds, as a function of the whole ones."""
    return jax.shard_map(local, in_specs=given, out_specs=made, check_vma=False)


def _gathered(arrays: Any) -> Any:
    """Arrays [B, T, ...] of one device with the parts of the other devices of its row, where the row is divided."""
    mesh = active_mesh()
    if mesh is None or mesh.shape["sequence"] == 1:
        return arrays
    return jax.tree.map(lambda x: jax.lax.all_gather(x, "sequence", axis=1, tiled=True), arrays)


def reference(
    q_BTHK: jax.Array, k_BSGK: jax.Array, v_BSGK: jax.Array, visible_BTS: jax.Array, soft_cap: float = 0.0
) -> jax.Array:
    """Attention in the plainest form: all scores, a softmax, a weighted sum. Other paths must equal it.

    Queries come already scaled.
    """
    q_BTGRK = rearrange(q_BTHK, "b t (g r) k -> b t g r k", g=k_BSGK.shape[2])
    scores = capped(jnp.einsum("btgrk,bsgk->bgrts", q_BTGRK, k_BSGK, preferred_element_type=jnp.float32), soft_cap)
    seen = visible_BTS[:, None, None]
    weights = jnp.where(seen, jax.nn.softmax(jnp.where(seen, scores, HIDDEN), axis=-1), 0.0).astype(v_BSGK.dtype)
    return rearrange(jnp.einsum("bgrts,bsgk->btgrk", weights, v_BSGK), "b t g r k -> b t (g r) k")


def capped(scores: jax.Array, soft_cap: float) -> jax.Array:
    """Scores bent into -soft_cap..soft_cap (Gemma 2, arXiv 2408.00118); 0: as they are."""
    return soft_cap * jnp.tanh(scores / soft_cap) if soft_cap else scores
