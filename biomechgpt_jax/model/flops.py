"""Floating-point operations of a training step, counted analytically.

A weight takes two operations per token forward and four backward, two each for the gradients of its input and of
itself: 6 N T (Kaplan et al., Scaling laws for neural language models, 2020, appendix B). A frozen weight has no
gradient of its own: 4 N T. N are the matrices of the layers; looking up an embedding is no product, but the map from
the vectors of motion codes is: 4 N for each motion token, because the vectors need no gradient, and 6 N for their
context and statistics. Every softmax of the objective multiplies the hidden states of its tokens by as many columns of
D weights as it has ids; tokens without weight are not computed. Attention takes 12 H K operations for each visible pair
of a query and a key in each layer, forward and backward together. Norms and activations are not counted, nor is
recomputation by rematerialisation.
Utilisation (MFU) follows Chowdhery et al., PaLM, 2022, appendix B.

Shapes: B batch, L length.
"""

import math
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from biomechgpt_jax import config

TRAINED, FROZEN = 6.0, 4.0  # operations per weight and token
Softmaxes = Iterable[tuple[Any, int]]  # of each softmax, the tokens that it is computed for, and its number of ids


class Work(NamedTuple):
    """Operations of one training step."""

    needed: Any  # f32[]: on tokens that are not padding
    padded: Any  # f32[]: padding counted as tokens


class Weights(NamedTuple):
    """Weights that take part in products, by whether their own gradients are computed.

    Attributes:
        trained: number of trained weights in the matrices of the layers, those of adapters among them.
        frozen: number of frozen ones.
        head_trained: whether the head, or the embedding where the two are tied, is trained.
        motion: weights of the map that gives motion codes their embeddings, where it is trained.
        context: weights of the convolution over these, and of the maps of their statistics.
        fixed_ids: number of ids, from 0 on, whose columns of the head are frozen though the others are trained.
    """

    trained: int
    frozen: int = 0
    head_trained: bool = True
    motion: int = 0
    context: int = 0
    fixed_ids: int = 0


def matrices(model: config.Model) -> int:
    """Parameters in the products of all layers: projections of attention and MLP."""
    attention = model.model_size * model.head_size * 2 * (model.heads + model.kv_heads)
    return model.layers * (attention + 3 * model.model_size * model.hidden_size)


def weights(model: config.Model, trained: Mapping[str, Any]) -> Weights:
    """Count the weights of a model of which some parameters are frozen.

    Args:
        model: the decoder.
        trained: nested dict of its trained parameters, arrays or their shapes. A matrix of the layers that is not named
            "kernel" belongs to an adapter.
    """
    own = adapters = 0
    for path, leaf in jax.tree_util.tree_leaves_with_path(trained.get("layers", {})):
        if len(leaf.shape) > 2:  # an axis of layers, and a matrix
            size = math.prod(leaf.shape)
            own, adapters = (own + size, adapters) if path[-1].key == "kernel" else (own, adapters + size)
    fixed_ids = model.text_rows if model.table_is_frozen else 0
    names = ("embedding", "rows") if model.tied_embeddings else ("head", "head_rows")
    motion = {name: sum(map(math.prod, _shapes(part))) for name, part in trained.get("motion", {}).items()}
    around = motion.get("context", 0) + motion.get("statistics", 0)
    head_trained = any(name in trained for name in names)
    return Weights(own + adapters, matrices(model) - own, head_trained, motion.get("kernel", 0), around, fixed_ids)


def _shapes(tree: Any) -> list[tuple[int, ...]]:
    return [leaf.shape for leaf in jax.tree.leaves(tree)]


def training(
    model: config.Model,
    tokens: Any,
    softmaxes: Softmaxes,
    pairs: Any,
    weights: Weights | None = None,
    motion_tokens: Any = 0.0,
) -> Any:
    """Operations of the forward and the backward pass.

    Args:
        model: the decoder.
        tokens: number of tokens that go through the layers.
        softmaxes: see `Softmaxes`.
        pairs: number of pairs of a query and a visible key, over all layers (`visible_pairs`).
        weights: what is trained; None if everything is.
        motion_tokens: number of tokens whose embeddings are a map of vectors.
    """
    trained, frozen, head_trained, motion, context, fixed_ids = weights or Weights(matrices(model))
    # Counts in the billions are kept as floats: beside an array an integer would have 32 bits.
    products = (TRAINED * trained + FROZEN * frozen) * tokens
    products += (4.0 * motion + 6.0 * context) * motion_tokens
    for number, (count, ids) in enumerate(softmaxes):  # the first is the one over text
        products += (TRAINED if head_trained else FROZEN) * float(model.model_size * ids) * count
        if number == 0 and fixed_ids:
            products -= (TRAINED - FROZEN) * float(model.model_size * min(ids, fixed_ids)) * count
    return products + 12.0 * model.heads * model.head_size * pairs


def visible_pairs(batch: Mapping[str, jax.Array], model: config.Model) -> jax.Array:
    """f32[]: number of pairs of a query and a key that it sees, over the batch and all layers.

    The positions of a branch continue from the end of its trunk. A token at position p therefore sees p + 1 tokens,
    whether it is in a trunk or in a branch, or as many as the layer's window holds.
    """

    def of_kind(kind: int, window: int) -> jax.Array:
        seen_BL = batch["positions"] + 1
        seen_BL = jnp.minimum(seen_BL, window) if window else seen_BL
        per_row_B = jnp.sum(jnp.where(batch["segments"] != 0, seen_BL, 0), axis=1)  # i32 holds rows of 65,000 tokens
        return model.kinds.count(kind) * jnp.sum(per_row_B.astype(jnp.float32))

    return sum((of_kind(kind, window) for kind, window in enumerate(model.windows)), start=jnp.float32(0))


def of_batch(
    model: config.Model, batch: Mapping[str, jax.Array], softmaxes: Softmaxes, weights: Weights | None = None
) -> Work:
    """Operations of a step on a batch of packed rows; `softmaxes` and `weights` as in `training`."""
    pairs, softmaxes = visible_pairs(batch, model), list(softmaxes)
    tokens = jnp.count_nonzero(batch["segments"]).astype(jnp.float32)
    in_trunks = jnp.count_nonzero((batch["segments"] != 0) & (batch["branches"] == 0)).astype(jnp.float32)
    everything = float(batch["tokens"].size)
    return Work(
        training(model, tokens, softmaxes, pairs, weights, in_trunks),
        training(model, everything, softmaxes, pairs, weights, everything),
    )
