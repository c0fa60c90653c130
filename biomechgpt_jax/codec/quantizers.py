"""Latents to codes and back: finite scalar quantization, and vector quantization with a moving-average codebook.

Shapes: ... any leading axes, K size of a latent, N codes.
"""

from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

_EDGE = 1e-3  # relative distance of FSQ's bound beyond the outermost level, so that tanh can reach that level
_SMALL = 1e-5  # Laplace smoothing of VQ's cluster sizes


def _strides(levels: Sequence[int]) -> np.ndarray:
    return np.cumprod([1, *levels[:-1]]).astype(np.int32)


def fsq_bound(z: jax.Array, levels: Sequence[int]) -> jax.Array:
    """Squash f32[..., K] so that rounding gives `levels[k]` integers, -(L // 2) .. (L - 1) // 2, in each dimension.

    Mentzer et al. 2023 (arXiv 2309.15505), section 3: tanh, shifted by half a level where the number is even.
    """
    size = np.asarray(levels, np.float32)
    half = (size - 1) * (1 + _EDGE) / 2
    offset = np.where(size % 2 == 0, 0.5, 0.0)
    return jnp.tanh(z + np.arctanh(offset / half)) * half - offset


def fsq_quantize(z: jax.Array, levels: Sequence[int]) -> jax.Array:
    """Values f32[..., K] in [-1, 1] of latents f32[..., K]; the gradient passes straight through the rounding."""
    bounded = fsq_bound(z, levels)
    rounded = bounded + jax.lax.stop_gradient(jnp.round(bounded) - bounded)
    return rounded / (np.asarray(levels) // 2)


def fsq_index(z: jax.Array, levels: Sequence[int]) -> jax.Array:
    """Code i32[...] of latents f32[..., K]: the levels as digits, least significant first."""
    digits = jnp.round(fsq_bound(z, levels)).astype(jnp.int32) + np.asarray(levels) // 2
    return (digits * _strides(levels)).sum(-1).astype(jnp.int32)


def fsq_digits(index: jax.Array | np.ndarray, levels: Sequence[int]) -> jax.Array:
    """Level number i32[..., K], 0 .. L - 1, of codes i32[...]."""
    return jnp.asarray(index)[..., None] // _strides(levels) % np.asarray(levels)


def fsq_value(index: jax.Array | np.ndarray, levels: Sequence[int]) -> jax.Array:
    """The values f32[..., K] that `fsq_quantize` gives for latents with codes i32[...]."""
    half = np.asarray(levels) // 2
    return (fsq_digits(index, levels) - half) / half


def fsq_description(levels: Sequence[int]) -> np.ndarray:
    """A smooth vector of every code, f32[N, sum(L - 1)]: for each dimension a cosine basis, low frequencies first.

    Codes that differ by one level are near each other. The k-th cosine is divided by k, so that they are nearer than
    codes that differ by two levels.
    """
    digits = np.asarray(fsq_digits(np.arange(np.prod(levels)), levels))
    parts = []
    for dimension, size in enumerate(levels):
        order = np.arange(1, size)
        position = (digits[:, dimension, None] + 0.5) / size
        parts.append(np.cos(np.pi * position * order) / order)
    return np.concatenate(parts, axis=1).astype(np.float32)


class Codebook(NamedTuple):
    """State of the vector quantizer.

    Attributes:
        vectors: f32[N, K] codes.
        counts: f32[N] moving average of the number of latents of a batch that each code takes.
        sums: f32[N, K] moving average of the sum of those latents.
    """

    vectors: jax.Array
    counts: jax.Array
    sums: jax.Array


def codebook_from(vectors: jax.Array, counts: jax.Array) -> Codebook:
    """A codebook with vectors f32[N, K] whose codes have taken counts f32[N] latents of a batch."""
    counts = jnp.maximum(counts, _SMALL)
    return Codebook(vectors, counts, vectors * counts[:, None])


def vq_index(z: jax.Array, vectors: jax.Array) -> jax.Array:
    """Nearest code i32[...] of latents f32[..., K] among f32[N, K]."""
    # |z - v|^2 without |z|^2, which is the same for all codes.
    distance = (vectors**2).sum(-1) - 2 * z @ vectors.T
    return jnp.argmin(distance, axis=-1).astype(jnp.int32)


def vq_update(
    codebook: Codebook,
    z: jax.Array,
    index: jax.Array,
    counted: jax.Array,
    decay: float,
    reset_below: float,
    key: jax.Array,
) -> Codebook:
    """Move each code towards the latents it took, and reset dead codes to random latents of the batch.

    Exponential moving averages after van den Oord et al. 2017 (arXiv 1711.00937), appendix A.1.

    Args:
        z: f32[M, K] latents.
        index: i32[M] their codes.
        counted: bool[M] whether a latent counts; if none does, no code is reset.
        decay: of the moving averages.
        reset_below: a code whose average count falls below this is reset.
        key: chooses the latents.
    """
    size = codebook.vectors.shape[0]
    taken = jax.nn.one_hot(index, size) * counted[:, None]
    counts = decay * codebook.counts + (1 - decay) * taken.sum(0)
    sums = decay * codebook.sums + (1 - decay) * taken.T @ z
    total = counts.sum()
    smoothed = (counts + _SMALL) / (total + size * _SMALL) * total
    vectors = sums / smoothed[:, None]

    # Drawn as integers, so that the choice does not depend on how devices round a sum.
    order_M = jnp.cumsum(counted)
    nth_N = jax.random.randint(key, (size,), 0, jnp.maximum(order_M[-1], 1))
    fresh = z[jnp.minimum(jnp.searchsorted(order_M, nth_N, side="right"), z.shape[0] - 1)]
    dead = (counts < reset_below) & counted.any()
    return Codebook(
        jnp.where(dead[:, None], fresh, vectors),
        jnp.where(dead, 1.0, counts),
        jnp.where(dead[:, None], fresh, sums),
    )
