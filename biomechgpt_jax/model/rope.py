"""Rotary position embedding (Su et al., RoFormer, 2021), with the scalings of long-context checkpoints.

Shapes: B batch, T time, H heads, K head size, N kinds of layers (`config.Model.kinds`).
"""

import math
from typing import NamedTuple

import jax
import jax.numpy as jnp

from biomechgpt_jax import config


class Rotation(NamedTuple):
    """Sine and cosine of the rotary angles, f32[B, T, K/2]; with a leading axis N in `tables`."""

    sin: jax.Array
    cos: jax.Array

    def of_kind(self, kind: int | jax.Array) -> "Rotation":
        """The rotation of one kind of layer, out of the tables of all."""
        return Rotation(self.sin[kind], self.cos[kind])


def frequencies(cfg: config.Model, kind: int = 0) -> jax.Array:
    """Radians per position of a kind of layer, f32[K/2].

    Kind 0 is scaled as configured: linearly (Chen et al., 2023), or by Llama 3's rule, which keeps the frequencies
    that turn often within the original context length, divides those that hardly turn, and interpolates in between.
    """
    theta = cfg.local_rope_theta if kind and cfg.local_rope_theta else cfg.rope_theta
    plain_K = theta ** (-jnp.arange(0, cfg.head_size, 2, dtype=jnp.float32) / cfg.head_size)
    if kind or cfg.rope_scaling == "none":
        return plain_K
    slow_K = plain_K / cfg.rope_factor
    if cfg.rope_scaling == "linear":
        return slow_K
    turns_K = cfg.rope_length * plain_K / (2 * math.pi)
    kept_K = jnp.clip((turns_K - cfg.rope_low) / (cfg.rope_high - cfg.rope_low), 0.0, 1.0)
    return kept_K * plain_K + (1 - kept_K) * slow_K


def tables(positions_BT: jax.Array, cfg: config.Model) -> Rotation:
    """Rotations of all kinds of layers, f32[N, B, T, K/2] each."""
    frequencies_NK = jnp.stack([frequencies(cfg, kind) for kind in range(len(cfg.windows))])
    angles_NBTK = positions_BT[..., None].astype(jnp.float32) * frequencies_NK[:, None, None]
    return Rotation(jnp.sin(angles_NBTK), jnp.cos(angles_NBTK))


def rotate(x_BTHK: jax.Array, rotation: Rotation) -> jax.Array:
    """Apply rotary positions; the halves of K are the pairs (the layout of Llama, Qwen and Gemma weights)."""
    first, second = jnp.split(x_BTHK.astype(jnp.float32), 2, axis=-1)
    sin, cos = rotation.sin[:, :, None], rotation.cos[:, :, None]
    return jnp.concatenate([first * cos - second * sin, second * cos + first * sin], axis=-1).astype(x_BTHK.dtype)
