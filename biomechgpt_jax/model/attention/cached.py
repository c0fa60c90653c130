"""Attention of new tokens over cached keys and values: those of a shared prefix, and those of the new tokens so far.

The questions of a trunk share its prefix, so one product per trunk serves all of them; each answer has a small cache of
its own beside it. Both lie under one softmax.

Shapes: R trunks, P questions of a trunk, B = R x P answers, S columns of a prefix, T new tokens at a time, N columns of
an answer's own cache, H query heads, G key-value heads, E = H / G, K head size, M = E x T queries of one key-value head
of an answer, or E x P x T of a trunk.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from einops import rearrange

from biomechgpt_jax.model.attention.mask import HIDDEN
from biomechgpt_jax.model.attention.packed import apply_soft_cap


class PrefixCache(NamedTuple):
    """Rotated keys RGKS and values RGSK of one layer: the order in which a few queries pass over them fastest."""

    keys: jax.Array
    values: jax.Array


class OwnCache(NamedTuple):
    """Rotated keys BGKN and values BGNK of one layer."""

    keys: jax.Array
    values: jax.Array


class Bias(NamedTuple):
    """0 where a query attends to a key, hugely negative where not."""

    prefix: jax.Array  # f32[R, P x T, S]
    own: jax.Array  # f32[B, T, N], or f32[1, T, N] if it is the same for every answer


def bias(prefix_visible: jax.Array, own_visible: jax.Array) -> Bias:
    """From the two masks, bool[R, P x T, S] and bool[B, T, N] or bool[1, T, N]."""
    return Bias(*(jnp.where(x, 0.0, HIDDEN).astype(jnp.float32) for x in (prefix_visible, own_visible)))


def attend(
    q_BTHK: jax.Array,
    k_BTGK: jax.Array,
    v_BTGK: jax.Array,
    prefix: PrefixCache,
    own: OwnCache,
    column: jax.Array | int,
    bias: Bias,
    scale: float,
    soft_cap: float = 0.0,
) -> tuple[jax.Array, OwnCache]:
    """Attention of the next T tokens of every answer.

    Args:
        q_BTHK: rotated queries; k_BTGK, v_BTGK: their rotated keys and their values.
        prefix: of the trunks with their prompts.
        own: of the tokens so far; the new ones are written from `column` on.
        column: how many there are so far.
        bias: which keys are visible.
        scale: of products of queries and keys.
        soft_cap: bound of the scores; 0: none.

    Returns:
        Output BTHK, and the answers' caches with the new tokens.
    """
    trunks, groups = prefix.keys.shape[:2]
    questions, repeats = q_BTHK.shape[0] // trunks, q_BTHK.shape[2] // groups
    k_BGKT, v_BGTK = rearrange(k_BTGK, "b t g k -> b g k t"), rearrange(v_BTGK, "b t g k -> b g t k")
    own = OwnCache(
        jax.lax.dynamic_update_slice_in_dim(own.keys, k_BGKT, column, axis=3),
        jax.lax.dynamic_update_slice_in_dim(own.values, v_BGTK, column, axis=2),
    )
    q_BTHK = q_BTHK * jnp.asarray(scale, q_BTHK.dtype)
    q_RGMK = rearrange(q_BTHK, "(r p) t (g e) k -> r g (e p t) k", r=trunks, g=groups)
    q_BGMK = rearrange(q_BTHK, "b t (g e) k -> b g (e t) k", g=groups)
    product = lambda rule, *x: jnp.einsum(rule, *x, preferred_element_type=jnp.float32)  # noqa: E731
    first = apply_soft_cap(product("rgmk,rgks->rgms", q_RGMK, prefix.keys), soft_cap)
    first = first + jnp.tile(bias.prefix, (1, repeats, 1))[:, None]
    second = apply_soft_cap(product("bgmk,bgkn->bgmn", q_BGMK, own.keys), soft_cap)
    second = second + jnp.tile(bias.own, (1, repeats, 1))[:, None]

    per_answer = lambda x: rearrange(x, "r g (e p t) s -> (r p) g (e t) s", e=repeats, p=questions)  # noqa: E731
    per_trunk = lambda x: rearrange(x, "(r p) g (e t) s -> r g (e p t) s", r=trunks, e=repeats)  # noqa: E731
    top = jnp.maximum(per_answer(jnp.max(first, -1, keepdims=True)), jnp.max(second, -1, keepdims=True))
    first, second = jnp.exp(first - per_trunk(top)), jnp.exp(second - top)
    total = per_answer(jnp.sum(first, -1, keepdims=True)) + jnp.sum(second, -1, keepdims=True)
    out = per_answer(product("rgms,rgsk->rgmk", first.astype(prefix.values.dtype), prefix.values))
    out = out + product("bgmn,bgnk->bgmk", second.astype(own.values.dtype), own.values)
    return rearrange((out / total).astype(q_BTHK.dtype), "b g (e t) k -> b t (g e) k", e=repeats), own
