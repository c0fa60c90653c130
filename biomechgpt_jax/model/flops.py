"""Floating-point operations of a training step, counted analytically.

A product of a weight takes two operations per token forward and four backward (one gradient each for input and
weight): 6 N T (Kaplan et al., Scaling laws for neural language models, 2020, appendix B); frozen weights need no
gradient of their own: 4 N T. N holds the matrices of the layers; the lookup of embeddings is no product. The output
head counts on the tokens that are asked and over the ids of their softmax: it is not computed for others. Attention
takes 12 H K operations per layer for each pair of a query and a key that it sees, forward and backward. Norms and
activations do not count, nor does what rematerialisation computes again. Utilisation (MFU) is by Chowdhery et al.,
PaLM, 2022, appendix B.

Shapes: B batch, L length.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from biomechgpt_jax import config


class Work(NamedTuple):
    """Operations of one training step."""

    needed: Any  # f32[]: on tokens that are not padding
    padded: Any  # f32[]: padding counted as tokens


def matrices(model: config.Model) -> int:
    """Parameters in the products of all layers: projections of attention and MLP."""
    attention = model.model_size * model.head_size * 2 * (model.heads + model.kv_heads)
    return model.layers * (attention + 3 * model.model_size * model.hidden_size)


def training(model: config.Model, tokens: Any, asked: Any, ids: int, pairs: Any, frozen: bool = False) -> Any:
    """Operations of forward and backward pass.

    Args:
        model: the decoder.
        tokens: that go through the layers.
        asked: tokens whose loss is computed.
        ids: that the softmax runs over.
        pairs: of queries and visible keys, over all layers (`visible_pairs`).
        frozen: whether the weights are: their gradients are not computed.
    """
    per_weight = 4.0 if frozen else 6.0
    # A count of billions does not fit the 32 bits that a whole number has beside an array.
    products = per_weight * (float(matrices(model)) * tokens + float(model.model_size * ids) * asked)
    return products + 12.0 * model.heads * model.head_size * pairs


def visible_pairs(batch: Mapping[str, jax.Array], model: config.Model) -> jax.Array:
    """f32[]: pairs of a query and a key that it sees, over the batch and all layers.

    A branch goes on from the end of its trunk, so that the token at position p sees p + 1 tokens whatever it is, or
    as many as the layer's window holds.
    """

    def of_kind(kind: int, window: int) -> jax.Array:
        seen_BL = batch["positions"] + 1
        seen_BL = jnp.minimum(seen_BL, window) if window else seen_BL
        per_row_B = jnp.sum(jnp.where(batch["segments"] != 0, seen_BL, 0), axis=1)  # i32 holds rows of 65,000 tokens
        return model.kinds.count(kind) * jnp.sum(per_row_B.astype(jnp.float32))

    return sum((of_kind(kind, window) for kind, window in enumerate(model.windows)), start=jnp.float32(0))


def of_batch(model: config.Model, batch: Mapping[str, jax.Array], asked: jax.Array, ids: int) -> Work:
    """Operations of a step on a batch of packed rows; `asked` and `ids` as in `training`."""
    pairs = visible_pairs(batch, model)
    tokens = jnp.count_nonzero(batch["segments"]).astype(jnp.float32)
    asked = asked.astype(jnp.float32)
    needed = training(model, tokens, asked, ids, pairs)
    return Work(needed, training(model, float(batch["tokens"].size), asked, ids, pairs))
