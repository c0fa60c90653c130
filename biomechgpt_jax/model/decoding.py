"""Cached decoding: the layers of `block` over keys and values that were computed before.

Questions about one movement share the keys and values of its trunk and of their prompts, which do not change while
answers grow; the keys and values of new tokens are kept apart, one small cache per answer. Weights are laid out once,
in the compute dtype and layer by layer: a scan over layers would copy each of them out of the stack at every token.

Shapes: R trunks, P questions of a trunk, B = R x P answers, W tokens of all trunks and prompts, S columns of a trunk
with its prompts, T new tokens at a time, N columns for new tokens, D model, G key-value heads, K head size,
V vocabulary.
"""

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
from einops import rearrange

from biomechgpt_jax import config
from biomechgpt_jax.model import adapters, block, decoder, quantized, rope
from biomechgpt_jax.model.attention import cached, packed
from biomechgpt_jax.model.attention.cached import OwnCache, PrefixCache


class Weights(NamedTuple):
    """Weights of the decoder, laid out for decoding; the embedding is not converted, and holds what may follow."""

    layers: tuple[block.Weights, ...]
    final_norm: block.Weights
    embedding_VD: jax.Array
    head_DV: jax.Array


class Prefix(NamedTuple):
    """Trunks with their prompts."""

    layers: tuple[PrefixCache, ...]
    rows: packed.Rows  # i32[R, S]; segment 0 for empty columns, branch p + 1 for prompt p
    starts_RP: jax.Array  # position of each answer's first token


@functools.partial(jax.jit, static_argnames=("cfg", "ids"))
def prepare(params: decoder.Params, cfg: config.Model, ids: int | None = None) -> Weights:
    """Lay out the weights for decoding; `ids` as in `decoder.head`."""
    dtype = decoder.compute_dtype(cfg)

    def convert(held: quantized.Held, contracted: int) -> block.Weights:
        adapter = {name: held[name].astype(dtype) for name in adapters.NAMES if name in held}
        return {"kernel": quantized.dequantize(held, dtype, contracted)} | adapter

    def of_layer(index: int) -> block.Weights:
        return quantized.laid_out(jax.tree.map(lambda stacked: stacked[index], params["layers"]["block"]), convert)

    return Weights(
        tuple(of_layer(index) for index in range(cfg.layers)),
        params["final_norm"],
        decoder.embeddings(params, ids),
        decoder.head(params, ids).astype(dtype),
    )


@functools.partial(jax.jit, static_argnames="cfg")
def prefill(
    params: decoder.Params,
    batch: decoder.Batch,
    columns_RS: jax.Array,
    last_B: jax.Array,
    starts_RP: jax.Array,
    cfg: config.Model,
) -> tuple[Prefix, jax.Array]:
    """Keys and values of all trunks and prompts, and the hidden state [B, D] of the last token of every prompt.

    Args:
        params: from `decoder.init`.
        batch: tokens (and codes), positions, segments, branches i32[1, W], one trunk after another without gaps.
        columns_RS: the index in that row of each column of each trunk; -1 for none.
        last_B: the index in that row of each prompt's last token.
        starts_RP: position of each answer's first token.
        cfg: the model.
    """
    x_1WD, cache = decoder.hidden_and_cache(params, batch, cfg)
    occupied_RS, columns_RS = columns_RS >= 0, jnp.maximum(columns_RS, 0)
    layers = tuple(
        PrefixCache(
            rearrange(keys_WGK[columns_RS], "r s g k -> r g k s"),
            rearrange(values_WGK[columns_RS], "r s g k -> r g s k"),
        )
        for keys_WGK, values_WGK in zip(cache.keys[:, 0], cache.values[:, 0], strict=True)
    )
    positions_RS, branches_RS = (batch[name][0][columns_RS] for name in ("positions", "branches"))
    rows = packed.Rows(positions_RS, occupied_RS.astype(jnp.int32), branches_RS)
    return Prefix(layers, rows, starts_RP), x_1WD[0, last_B]


def empty(prefix: Prefix, answers: int, room: int) -> tuple[OwnCache, ...]:
    """Caches of every layer for so many new tokens of each of so many answers."""
    _, groups, _, size = prefix.layers[0].values.shape
    return tuple(
        OwnCache(
            jnp.zeros((answers, groups, size, room), layer.keys.dtype),
            jnp.zeros((answers, groups, room, size), layer.values.dtype),
        )
        for layer in prefix.layers
    )


def advance(
    weights: Weights,
    cfg: config.Model,
    prefix: Prefix,
    own: tuple[OwnCache, ...],
    tokens_BT: jax.Array,
    column: jax.Array | int,
) -> tuple[jax.Array, tuple[OwnCache, ...]]:
    """Hidden states after the final norm [B, T, D] of the next T tokens of every answer, and their caches.

    Args:
        weights: from `prepare`.
        cfg: the model.
        prefix: from `prefill`.
        own: caches of every answer, which hold `column` tokens so far.
        tokens_BT: the next tokens.
        column: how many tokens there are so far.
    """
    questions, length = prefix.starts_RP.shape[1], tokens_BT.shape[1]
    offsets_T = column + jnp.arange(length)
    positions_BT = prefix.starts_RP.reshape(-1, 1) + offsets_T
    positions_RM = rearrange(positions_BT, "(r p) t -> r (p t)", p=questions)
    branches_M = jnp.repeat(jnp.arange(1, questions + 1), length)
    queries = packed.Rows(positions_RM, jnp.ones_like(positions_RM), jnp.broadcast_to(branches_M, positions_RM.shape))
    back_1TN = (offsets_T[:, None] - jnp.arange(own[0].keys.shape[3]))[None]
    return _run(weights, cfg, prefix, own, tokens_BT, positions_BT, queries, back_1TN, back_1TN >= 0, column)


class Nodes(NamedTuple):
    """New tokens of a trunk that are nodes of trees: each follows some of the earlier ones, not all of them."""

    tokens_RT: jax.Array
    rows: packed.Rows  # i32[R, T]; branch p + 1 for an answer to prompt p, segment 0 for padding
    positions_RN: jax.Array  # position of the token in each column, those of the new tokens included
    follows_RTN: jax.Array  # bool; the columns of the tokens that lead to each node, itself included


def advance_trees(
    weights: Weights,
    cfg: config.Model,
    prefix: Prefix,
    own: tuple[OwnCache, ...],
    nodes: Nodes,
    column: jax.Array | int,
) -> tuple[jax.Array, tuple[OwnCache, ...]]:
    """Hidden states after the final norm [R, T, D] of the next T nodes of every trunk, and the trunks' caches.

    Many continuations of many prompts grow at once (tree attention: Miao et al. 2023, arXiv 2305.09781). A token is
    computed once for all continuations that share it, and no keys or values are copied.

    Args:
        weights: from `prepare`.
        cfg: the model.
        prefix: from `prefill`.
        own: one cache for all nodes of a trunk, which holds `column` of them so far.
        nodes: the next ones.
        column: how many nodes there are so far.
    """
    rows, seen_RTN = nodes.rows, nodes.follows_RTN
    back_RTN = rows.positions[:, :, None] - nodes.positions_RN[:, None]
    return _run(weights, cfg, prefix, own, nodes.tokens_RT, rows.positions, rows, back_RTN, seen_RTN, column)


def _run(
    weights: Weights,
    cfg: config.Model,
    prefix: Prefix,
    own: tuple[OwnCache, ...],
    tokens_BT: jax.Array,
    positions_BT: jax.Array,
    queries: packed.Rows,
    back_BTN: jax.Array,
    seen_BTN: jax.Array,
    column: jax.Array | int,
) -> tuple[jax.Array, tuple[OwnCache, ...]]:
    """All layers over new tokens, which see the columns `seen_BTN` of their cache that lie `back_BTN` positions back.

    `queries` are the same tokens, by trunk.
    """
    biases = [
        cached.bias(packed.visible(queries, prefix.rows, window), seen_BTN & ((back_BTN < window) if window else True))
        for window in cfg.windows
    ]
    rotations = rope.tables(positions_BT, cfg)
    x_BTD = decoder.embed({"embedding": weights.embedding_VD}, tokens_BT, cfg)
    grown = []
    for layer, kind, before, so_far in zip(weights.layers, cfg.kinds, prefix.layers, own, strict=True):
        attend = functools.partial(
            cached.attend,
            prefix=before,
            own=so_far,
            column=column,
            bias=biases[kind],
            scale=cfg.score_scale,
            soft_cap=cfg.attention_soft_cap,
        )
        x_BTD, with_new = block.block(x_BTD, layer, cfg, rotations.of_kind(kind), attend)
        grown.append(with_new)
    return block.rms_norm(x_BTD, weights.final_norm, cfg), tuple(grown)
