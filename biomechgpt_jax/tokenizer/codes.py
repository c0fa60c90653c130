"""Latents to codes and back, whatever the quantizer and however many codes a token has.

With several layers VQ codes in each what the layers before left over (residual quantization, Zeghidour et al. 2021,
arXiv 2107.03312), and FSQ gives each layer dimensions of its own. In training the last layers of some windows are left
out, so that the first ones hold what matters most.

Shapes: ... any leading axes, K size of a latent, Q layers, N codes of a layer, B batch, S tokens.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from biomechgpt_jax import config
from biomechgpt_jax.tokenizer import quantizers
from biomechgpt_jax.tokenizer.quantizers import Codebook

Vectors = jax.Array | np.ndarray | None


class Quantized(NamedTuple):
    """Latents as the decoder gets them in training.

    Attributes:
        values: f32[B, S, K] of the kept layers; the gradient passes straight through to the latents.
        commitment: f32[] mean square between the latents and their codes; 0 for FSQ.
        inputs: f32[Q, B, S, K] what each layer of VQ had to code; None for FSQ.
        chosen: i32[Q, B, S] the codes; None for FSQ.
    """

    values: jax.Array
    commitment: jax.Array
    inputs: jax.Array | None
    chosen: jax.Array | None


def size(cfg: config.Tokenizer) -> int:
    """Size K of a latent."""
    return cfg.layers * len(cfg.levels) if cfg.quantizer == "fsq" else cfg.code_size


def index(cfg: config.Tokenizer, z: jax.Array, vectors: Vectors) -> jax.Array:
    """Codes i32[..., Q] of latents f32[..., K]; vectors f32[Q, N, K] for VQ."""
    if vectors is None:
        return quantizers.fsq_index(_grouped(cfg, z), cfg.levels)
    found = []
    for layer in jnp.asarray(vectors):
        found.append(quantizers.vq_index(z, layer))
        z = z - layer[found[-1]]
    return jnp.stack(found, axis=-1)


def values(cfg: config.Tokenizer, codes: jax.Array | np.ndarray, vectors: Vectors) -> jax.Array:
    """What the decoder gets for codes i32[..., Q]: f32[..., K]."""
    if vectors is None:
        grouped = quantizers.fsq_value(codes, cfg.levels)
        return grouped.reshape(*grouped.shape[:-2], -1)
    return sum((layer[codes[..., q]] for q, layer in enumerate(jnp.asarray(vectors))), jnp.zeros(()))


def quantized(
    cfg: config.Tokenizer, z_BSK: jax.Array, codebook: Codebook | None, kept_B: jax.Array, whole_BS: jax.Array
) -> Quantized:
    """Quantize for training.

    Args:
        kept_B: i32[B] layers that the decoder gets, at least 1.
        whole_BS: bool[B, S] tokens that are movement and not padding.
    """
    if codebook is None:
        grouped = quantizers.fsq_quantize(_grouped(cfg, z_BSK), cfg.levels)
        kept = jnp.arange(cfg.layers)[:, None] < kept_B[:, None, None, None]
        return Quantized((grouped * kept).reshape(z_BSK.shape), jnp.zeros(()), None, None)
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
    """Codes that are latents of a first batch f32[M, K], and what they leave over of it."""
    found = []
    for key_layer in jax.random.split(key, cfg.layers):
        chosen = jax.random.choice(key_layer, len(z_MK), (cfg.codes,), replace=cfg.codes > len(z_MK))
        found.append(z_MK[chosen])
        z_MK = z_MK - found[-1][quantizers.vq_index(z_MK, found[-1])]
    return jax.vmap(quantizers.codebook_from)(jnp.stack(found))


def moved(
    cfg: config.Tokenizer,
    codebook: Codebook,
    seen: Quantized,
    kept_B: jax.Array,
    whole_BS: jax.Array,
    key: jax.Array,
) -> Codebook:
    """The codebook after a batch. Sums run over the whole batch, on however many devices it lies."""
    assert seen.inputs is not None and seen.chosen is not None
    found = []
    for layer, key_layer in enumerate(jax.random.split(key, cfg.layers)):
        # Where a layer was left out of every window, the first token keeps the draw of new codes defined.
        counted_BS = whole_BS & (layer < kept_B[:, None])
        found.append(
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
    return jax.tree.map(lambda *leaves: jnp.stack(leaves), *found)


def kept_layers(cfg: config.Tokenizer, batch_size: int, key: jax.Array) -> jax.Array:
    """How many layers each window keeps, i32[B]: all, or with `layer_dropout` any number from 1."""
    key_which, key_count = jax.random.split(key)
    dropped_B = jax.random.bernoulli(key_which, cfg.layer_dropout, (batch_size,))
    count_B = jax.random.randint(key_count, (batch_size,), 1, cfg.layers + 1)
    return jnp.where(dropped_B, count_B, cfg.layers)


def describe(cfg: config.Tokenizer, vectors: np.ndarray | None) -> np.ndarray:
    """A description f32[Q, N, D] of each code in which similar codes are near: to initialise embeddings from."""
    if vectors is not None:
        return np.asarray(vectors)
    one = quantizers.fsq_description(cfg.levels)
    apart = np.zeros((cfg.layers, *one.shape[:1], cfg.layers, one.shape[1]), np.float32)
    for layer in range(cfg.layers):
        apart[layer, :, layer] = one
    return apart.reshape(cfg.layers, len(one), -1)


def _grouped(cfg: config.Tokenizer, z: jax.Array) -> jax.Array:
    return z.reshape(*z.shape[:-1], cfg.layers, len(cfg.levels))
