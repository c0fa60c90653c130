"""The decoder over a cache: what generation runs again and again, in a form prepared for it.

Questions about one movement share the keys and values of its trunk and of their prompts, which nothing changes while
answers grow; the keys and values of new tokens stand apart, one small cache per answer. Weights are laid out once:
one product for queries, keys and values, one for gate and up, in the compute dtype, layer by layer, since layers that
are scanned would be copied out of their stack at every token. The arithmetic is that of `layers.Block`.

Shapes: R trunks, P questions of a trunk, B = R x P answers, S columns of a trunk with its prompts, T new tokens given
at once, N new tokens that there is room for, D model, H query heads, G key-value heads, K head size, F hidden,
M = P x T x H / G queries of one key-value head, C kinds of layers.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from einops import rearrange

from biomechgpt_jax import config
from biomechgpt_jax.model import decoder, layers
from biomechgpt_jax.model.attention import packed


class Layer(NamedTuple):
    """Weights of one layer; a norm that the configuration does not have is None."""

    attention_norm: jax.Array
    qkv_DE: jax.Array  # E: all heads of queries, then keys, then values
    query_norm: jax.Array | None
    key_norm: jax.Array | None
    output_ED: jax.Array
    attention_post_norm: jax.Array | None
    mlp_norm: jax.Array
    gate_up_DF: jax.Array  # gate, then up
    down_FD: jax.Array
    mlp_post_norm: jax.Array | None


class Weights(NamedTuple):
    """Of the whole decoder; `params["embedding"]` stays what it is."""

    layers: tuple[Layer, ...]
    final_norm: jax.Array
    embedding_VD: jax.Array
    head_DV: jax.Array


class Prefix(NamedTuple):
    """Trunks with their prompts."""

    keys: tuple[jax.Array, ...]  # of each layer RGKS, rotated: a few queries pass over them fastest in this order
    values: tuple[jax.Array, ...]  # of each layer RGSK
    rows: packed.Rows  # i32[R, S]; segment 0 for columns that hold nothing, branch p + 1 for prompt p
    starts_RP: jax.Array  # position of each answer's first token


class Own(NamedTuple):
    """New tokens."""

    keys: tuple[jax.Array, ...]  # of each layer BGKN
    values: tuple[jax.Array, ...]  # of each layer BGNK


def prepare(params: decoder.Params, cfg: config.Model, ids: int | None = None) -> Weights:
    """Weights in the form of this module; `ids` as in `decoder.head`."""
    dtype = decoder.compute_dtype(cfg)

    def norm(held: decoder.Params, name: str) -> Any:
        if name not in held:
            return None
        return 1.0 + held[name]["scale"] if cfg.unit_norms else held[name]["scale"]

    def layer(block: decoder.Params) -> Layer:
        heads, mlp = block["attention"], block["mlp"]
        qkv = [heads[name]["kernel"].reshape(cfg.model_size, -1) for name in ("query", "key", "value")]
        return Layer(
            norm(block, "attention_norm"),
            jnp.concatenate(qkv, axis=1).astype(dtype),
            norm(heads, "query_norm"),
            norm(heads, "key_norm"),
            heads["output"]["kernel"].reshape(-1, cfg.model_size).astype(dtype),
            norm(block, "attention_post_norm"),
            norm(block, "mlp_norm"),
            jnp.concatenate([mlp["gate"]["kernel"], mlp["up"]["kernel"]], axis=1).astype(dtype),
            mlp["down"]["kernel"].astype(dtype),
            norm(block, "mlp_post_norm"),
        )

    stacked = params["layers"]["block"]
    return Weights(
        tuple(layer(jax.tree.map(lambda leaf, i=i: leaf[i], stacked)) for i in range(cfg.layers)),
        norm(params, "final_norm"),
        params["embedding"],
        decoder.head(params, ids).astype(dtype),
    )


def empty(prefix: Prefix, room: int) -> Own:
    """Caches for so many new tokens of every answer."""
    trunks, groups, _, size = prefix.values[0].shape
    lead = trunks * prefix.starts_RP.shape[1], groups
    keys = tuple(jnp.zeros((*lead, size, room), x.dtype) for x in prefix.keys)
    return Own(keys, tuple(jnp.zeros((*lead, room, size), x.dtype) for x in prefix.values))


def advance(
    weights: Weights, cfg: config.Model, prefix: Prefix, own: Own, tokens_BT: jax.Array, column: jax.Array | int
) -> tuple[jax.Array, Own]:
    """Hidden states after the final norm [B, T, D] of the next T tokens of every answer, and their caches.

    Args:
        weights: from `prepare`.
        cfg: the model.
        prefix: trunks and prompts.
        own: `column` tokens of every answer so far.
        tokens_BT: their next ones.
        column: how many there are so far.
    """
    questions, length = prefix.starts_RP.shape[1], tokens_BT.shape[1]
    offsets_T = column + jnp.arange(length)
    positions_BT = prefix.starts_RP.reshape(-1, 1) + offsets_T
    positions_RM = rearrange(positions_BT, "(r p) t -> r (p t)", p=questions)
    branches_M = jnp.repeat(jnp.arange(1, questions + 1), length)
    queries = packed.Rows(positions_RM, jnp.ones_like(positions_RM), jnp.broadcast_to(branches_M, positions_RM.shape))
    back_TN = offsets_T[:, None] - jnp.arange(own.keys[0].shape[3])
    shown = [
        (
            _bias(packed.visible(queries, prefix.rows, window)),
            _bias((back_TN >= 0) & (back_TN < window) if window else back_TN >= 0),
        )
        for window in cfg.windows
    ]
    sin_CBTK, cos_CBTK = layers.rope_tables(positions_BT, cfg)

    x_BTD = weights.embedding_VD[tokens_BT].astype(weights.head_DV.dtype)
    if cfg.scale_embeddings:
        x_BTD = x_BTD * jnp.asarray(cfg.model_size**0.5, x_BTD.dtype)
    sizes = (cfg.heads, cfg.kv_heads, cfg.kv_heads)
    edges = [cfg.heads, cfg.heads + cfg.kv_heads]
    keys, values = [], []
    for index, (layer, kind) in enumerate(zip(weights.layers, cfg.kinds, strict=True)):
        normed_BTD = _normed(x_BTD, layer.attention_norm, cfg)
        qkv_BTEK = (normed_BTD @ layer.qkv_DE).reshape(*tokens_BT.shape, sum(sizes), cfg.head_size)
        q_BTHK, k_BTGK, v_BTGK = jnp.split(qkv_BTEK, edges, axis=2)
        q_BTHK, k_BTGK = _normed(q_BTHK, layer.query_norm, cfg), _normed(k_BTGK, layer.key_norm, cfg)
        q_BTHK, k_BTGK = (layers.rotate(x, sin_CBTK[kind], cos_CBTK[kind]) for x in (q_BTHK, k_BTGK))
        k_BGKT, v_BGTK = rearrange(k_BTGK, "b t g k -> b g k t"), rearrange(v_BTGK, "b t g k -> b g t k")
        keys.append(jax.lax.dynamic_update_slice_in_dim(own.keys[index], k_BGKT, column, axis=3))
        values.append(jax.lax.dynamic_update_slice_in_dim(own.values[index], v_BGTK, column, axis=2))
        cached = prefix.keys[index], prefix.values[index], keys[-1], values[-1]
        o_BTE = _attend(q_BTHK, *cached, *shown[kind], cfg)
        x_BTD = x_BTD + _normed(o_BTE @ layer.output_ED, layer.attention_post_norm, cfg)
        gate_BTF, up_BTF = jnp.split(_normed(x_BTD, layer.mlp_norm, cfg) @ layer.gate_up_DF, 2, axis=-1)
        act = jax.nn.silu if cfg.activation == "silu" else jax.nn.gelu
        x_BTD = x_BTD + _normed((act(gate_BTF) * up_BTF) @ layer.down_FD, layer.mlp_post_norm, cfg)
    return _normed(x_BTD, weights.final_norm, cfg), Own(tuple(keys), tuple(values))


def _bias(visible: jax.Array) -> jax.Array:
    return jnp.where(visible, 0.0, packed.HIDDEN).astype(jnp.float32)


def _normed(x: jax.Array, factor: jax.Array | None, cfg: config.Model) -> jax.Array:
    """Root-mean-square norm over the last axis, as `layers.RMSNorm`; x itself where there is none."""
    if factor is None:
        return x
    wide = x.astype(jnp.float32)
    mean_square = jnp.mean(jnp.square(wide), axis=-1, keepdims=True)
    return (wide * jax.lax.rsqrt(mean_square + cfg.norm_epsilon) * factor).astype(x.dtype)


def _attend(
    q_BTHK: jax.Array,
    keys_RGKS: jax.Array,
    values_RGSK: jax.Array,
    keys_BGKN: jax.Array,
    values_BGNK: jax.Array,
    bias_RMS: jax.Array,
    bias_TN: jax.Array,
    cfg: config.Model,
) -> jax.Array:
    """Attention [B, T, H x K] over the prefix and over the new tokens, under one softmax.

    All questions of a trunk look at it in one product.
    """
    trunks, groups = keys_RGKS.shape[:2]
    questions, repeats = q_BTHK.shape[0] // trunks, q_BTHK.shape[2] // groups
    q_BTHK = q_BTHK * jnp.asarray(cfg.score_scale, q_BTHK.dtype)
    q_RGMK = rearrange(q_BTHK, "(r p) t (g e) k -> r g (e p t) k", r=trunks, g=groups)
    q_BGMK = rearrange(q_BTHK, "b t (g e) k -> b g (e t) k", g=groups)
    product = lambda rule, *x: jnp.einsum(rule, *x, preferred_element_type=jnp.float32)  # noqa: E731
    first = packed.capped(product("rgmk,rgks->rgms", q_RGMK, keys_RGKS), cfg.attention_soft_cap)
    first = first + jnp.tile(bias_RMS, (1, repeats, 1))[:, None]
    second = packed.capped(product("bgmk,bgkn->bgmn", q_BGMK, keys_BGKN), cfg.attention_soft_cap)
    second = second + jnp.tile(bias_TN, (repeats, 1))

    per_answer = lambda x: rearrange(x, "r g (e p t) s -> (r p) g (e t) s", e=repeats, p=questions)  # noqa: E731
    per_trunk = lambda x: rearrange(x, "(r p) g (e t) s -> r g (e p t) s", r=trunks, e=repeats)  # noqa: E731
    top = jnp.maximum(per_answer(jnp.max(first, -1, keepdims=True)), jnp.max(second, -1, keepdims=True))
    first, second = jnp.exp(first - per_trunk(top)), jnp.exp(second - top)
    total = per_answer(jnp.sum(first, -1, keepdims=True)) + jnp.sum(second, -1, keepdims=True)
    out = per_answer(product("rgms,rgsk->rgmk", first.astype(values_RGSK.dtype), values_RGSK))
    out = out + product("bgmn,bgnk->bgmk", second.astype(values_BGNK.dtype), values_BGNK)
    return rearrange((out / total).astype(q_BTHK.dtype), "b g (e t) k -> b t (g e k)", e=repeats)
