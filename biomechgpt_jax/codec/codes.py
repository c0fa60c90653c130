"""Latents to codes and back, for either quantizer and any number of codes per token.

With several layers, each layer of VQ codes what the layers before it left over (residual quantization, Zeghidour et al.
2021, arXiv 2107.03312), while FSQ gives each layer dimensions of its own, with levels as fine as they deserve. In
training the last layers of some windows may be dropped, so that the first ones hold what matters most.

Shapes: ... any leading axes, K size of a latent, Q layers, N codes of a layer, B batch, S tokens.
"""

from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from biomechgpt_jax import config
from biomechgpt_jax.codec import quantizers
from biomechgpt_jax.codec.quantizers import Codebook
from biomechgpt_jax.errors import InputError

Vectors = jax.Array | np.ndarray | None
_LLOYD_ITERATIONS = 8  # of k-means, for the first codebook; training updates it from there


class Quantized(NamedTuple):
    """Latents as the decoder gets them in training.

    Attributes:
        values: f32[B, S, K] of the kept layers; the gradient passes straight through to the latents.
        commitment: f32[] mean squared distance between the latents and their codes; 0 for FSQ.
        inputs: f32[Q, B, S, K] the vectors that each layer of VQ coded; None for FSQ.
        chosen: i32[Q, B, S] the codes; None for FSQ.
    """

    values: jax.Array
    commitment: jax.Array
    inputs: jax.Array | None
    chosen: jax.Array | None


def check(tokens: Sequence[np.ndarray], codes: int, layers: int) -> None:
    """Refuse tokens i32[n_i, Q] that a codec with this many codes and layers does not have.

    Raises:
        InputError: naming the movement.
    """
    for number, own in enumerate(tokens):
        if len(own) and not 0 <= np.min(own) <= np.max(own) < codes:
            raise InputError(f"decode: movement {number} has codes outside 0..{codes - 1}; use its own codec")
        if np.ndim(own) != 2 or np.shape(own)[1] != layers:
            raise InputError(f"decode: movement {number} does not have {layers} codes a token; use its own codec")


def size(cfg: config.Tokenizer) -> int:
    """Size K of a latent."""
    return sum(map(len, cfg.grid)) if cfg.quantizer == "fsq" else cfg.code_size


def index(cfg: config.Tokenizer, z: jax.Array, vectors: Vectors) -> jax.Array:
    """Codes i32[..., Q] of latents f32[..., K]; vectors f32[Q, N, K] for VQ."""
    if vectors is None:
        return jnp.stack([quantizers.fsq_index(own, levels) for own, levels in _split_layers(cfg, z)], axis=-1)
    nearest = []
    for layer in jnp.asarray(vectors):
        nearest.append(quantizers.vq_index(z, layer))
        z = z - layer[nearest[-1]]
    return jnp.stack(nearest, axis=-1)


def values(cfg: config.Tokenizer, codes: jax.Array | np.ndarray, vectors: Vectors) -> jax.Array:
    """The decoder's input f32[..., K] for codes i32[..., Q]."""
    if vectors is None:
        return jnp.concatenate([quantizers.fsq_value(codes[..., q], one) for q, one in enumerate(cfg.grid)], axis=-1)
    return sum((layer[codes[..., q]] for q, layer in enumerate(jnp.asarray(vectors))), jnp.zeros(()))


def quantize(
    cfg: config.Tokenizer, z_BSK: jax.Array, codebook: Codebook | None, kept_B: jax.Array, whole_BS: jax.Array
) -> Quantized:
    """Quantize the latents of a batch for training.

    Args:
        kept_B: i32[B] number of layers that the decoder gets, at least 1.
        whole_BS: bool[B, S] whether a token is movement and not padding.
    """
    if codebook is None:
        layer_K = np.repeat(np.arange(cfg.layers), [len(levels) for levels in cfg.grid])
        values_BSK = quantizers.fsq_quantize(z_BSK, sum(cfg.grid, ()))
        return Quantized(values_BSK * (layer_K < kept_B[:, None, None]), jnp.zeros(()), None, None)
    rest_BSK, total_BSK, commitment = z_BSK, jnp.zeros_like(z_BSK), jnp.zeros(())
    inputs, chosen = [], []
    for layer, vectors in enumerate(codebook.vectors):
        weight_BS1 = (whole_BS & (layer < kept_B[:, None]))[..., None]
        inputs.append(jax.lax.stop_gradient(rest_BSK))
        chosen.append(quantizers.vq_index(inputs[-1], vectors))
        nearest_BSK = jax.lax.stop_gradient(vectors[chosen[-1]])
        square = ((rest_BSK - nearest_BSK) ** 2 * weight_BS1).sum()
        commitment += square / (jnp.maximum(weight_BS1.sum(), 1) * z_BSK.shape[-1] * cfg.layers)
        total_BSK += nearest_BSK * weight_BS1
        rest_BSK = rest_BSK - nearest_BSK
    through_BSK = z_BSK + jax.lax.stop_gradient(total_BSK - z_BSK)
    return Quantized(through_BSK, commitment, jnp.stack(inputs), jnp.stack(chosen))


def first_codebook(cfg: config.Tokenizer, z_MK: jax.Array, key: jax.Array) -> Codebook:
    """A codebook for latents f32[M, K]: in each layer, k-means of the residuals that the layers before leave."""
    cluster = jax.jit(_k_means, static_argnums=1)
    layers = []
    for key_layer in jax.random.split(key, cfg.layers):
        vectors, share = cluster(z_MK, cfg.codes, key_layer)
        layers.append(quantizers.codebook_from(vectors, share * cfg.batch_size * cfg.window_frames / cfg.stride))
        z_MK = z_MK - vectors[quantizers.vq_index(z_MK, vectors)]
    return jax.tree.map(lambda *leaves: jnp.stack(leaves), *layers)


def _k_means(z_MK: jax.Array, size: int, key: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Centres f32[size, K] by Lloyd's iterations, and the share f32[size] of the points that belong to each."""
    key_start, key_empty = jax.random.split(key)
    start_NK = z_MK[jax.random.choice(key_start, len(z_MK), (size,), replace=size > len(z_MK))]

    def iterate(number: jax.Array, centres_NK: jax.Array) -> jax.Array:
        index_M = quantizers.vq_index(z_MK, centres_NK)
        counts_N = jnp.zeros(size).at[index_M].add(1.0)
        sums_NK = jnp.zeros_like(centres_NK).at[index_M].add(z_MK)
        spare_NK = z_MK[jax.random.randint(jax.random.fold_in(key_empty, number), (size,), 0, len(z_MK))]
        return jnp.where(counts_N[:, None] > 0, sums_NK / jnp.maximum(counts_N, 1.0)[:, None], spare_NK)

    centres_NK = jax.lax.fori_loop(0, _LLOYD_ITERATIONS, iterate, start_NK)
    return centres_NK, jnp.zeros(size).at[quantizers.vq_index(z_MK, centres_NK)].add(1.0) / len(z_MK)


def update_codebooks(
    cfg: config.Tokenizer,
    codebook: Codebook,
    seen: Quantized,
    kept_B: jax.Array,
    whole_BS: jax.Array,
    key: jax.Array,
) -> Codebook:
    """The codebooks of all layers after a batch; sums run over the global batch.

    Args:
        codebook: of all layers, stacked.
        seen: the latents of the batch, from `quantize`.
        kept_B, whole_BS: as given to `quantize`.
        key: chooses the latents that unused codes are reset to.
    """
    assert seen.inputs is not None and seen.chosen is not None
    layers = []
    for layer, key_layer in enumerate(jax.random.split(key, cfg.layers)):
        # A layer counts the tokens of windows that kept it; where none did, `vq_update` resets no code.
        counted_BS = whole_BS & (layer < kept_B[:, None])
        layers.append(
            quantizers.vq_update(
                jax.tree.map(lambda leaf, layer=layer: leaf[layer], codebook),
                seen.inputs[layer].reshape(-1, seen.inputs.shape[-1]),
                seen.chosen[layer].reshape(-1),
                counted_BS.reshape(-1),
                cfg.ema_decay,
                cfg.reset_below,
                key_layer,
            )
        )
    return jax.tree.map(lambda *leaves: jnp.stack(leaves), *layers)


def draw_kept_layers(cfg: config.Tokenizer, batch_size: int, key: jax.Array) -> jax.Array:
    """Draw how many layers each window keeps, i32[B]: all, or with probability `layer_dropout` any number from 1."""
    key_which, key_count = jax.random.split(key)
    dropped_B = jax.random.bernoulli(key_which, cfg.layer_dropout, (batch_size,))
    count_B = jax.random.randint(key_count, (batch_size,), 1, cfg.layers + 1)
    return jnp.where(dropped_B, count_B, cfg.layers)


def describe(cfg: config.Tokenizer, vectors: np.ndarray | None) -> np.ndarray:
    """A vector f32[Q, N, D] of each code; similar codes of a layer are near each other. Embeddings are a map of it."""
    if vectors is not None:
        return np.asarray(vectors)
    described = np.zeros((cfg.layers, cfg.codes, vector_size(cfg)), np.float32)
    for layer, levels in enumerate(cfg.grid):
        own = quantizers.fsq_description(levels)
        described[layer, :, : own.shape[1]] = own
    return described


def vector_size(cfg: config.Tokenizer) -> int:
    """Size D of the vectors of `describe`."""
    return max(sum(levels) - len(levels) for levels in cfg.grid) if cfg.quantizer == "fsq" else cfg.code_size


def _split_layers(cfg: config.Tokenizer, z: jax.Array) -> list[tuple[jax.Array, tuple[int, ...]]]:
    """The dimensions f32[..., k] of each layer of FSQ, with their levels."""
    ends = np.cumsum([len(levels) for levels in cfg.grid])
    return [(z[..., end - len(levels) : end], levels) for end, levels in zip(ends, cfg.grid, strict=True)]
