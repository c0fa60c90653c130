"""Low-rank adapters (LoRA, Hu et al. 2021, arXiv 2106.09685) of a layer's matrices.

An adapter is two matrices beside the one that it adapts: `a`, f32[*inputs, rank], and `b`, f32[rank, *outputs]. It
adds scale * (x a) b to the product, and b starts as 0. Adapters are never merged while a model trains or answers: both
compute the same sums.
"""

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp

from biomechgpt_jax import config
from biomechgpt_jax.config.adapter import LINEAR
from biomechgpt_jax.model import quantized

NAMES = ("a", "b")


def apply(
    x: jax.Array, weights: Mapping[str, Any], contracted: int, cfg: config.Adapter, key: jax.Array | None = None
) -> jax.Array:
    """What the adapter adds, in x's dtype.

    Args:
        x: the input of the product, whose last `contracted` axes are contracted.
        weights: `a` and `b`.
        contracted: number of axes that are inputs.
        cfg: scale and dropout.
        key: of this product's dropout; None: without.
    """
    if key is not None and cfg.dropout:
        kept = jax.random.bernoulli(key, 1 - cfg.dropout, x.shape)
        x = jnp.where(kept, x / (1 - cfg.dropout), 0).astype(x.dtype)
    inner = quantized.dense(x, weights["a"], contracted)
    return jnp.asarray(cfg.scale, x.dtype) * quantized.dense(inner, weights["b"], 1)


def key_of(key: jax.Array | None, name: str) -> jax.Array | None:
    """The key of one matrix of a layer, from the layer's."""
    return None if key is None else jax.random.fold_in(key, LINEAR.index(name))


def merged(kernel: jax.Array, a: jax.Array, b: jax.Array, cfg: config.Adapter) -> jax.Array:
    """The one matrix f32[*inputs, *outputs] that gives the same products as a matrix and its adapter."""
    return kernel + cfg.scale * jnp.tensordot(a, b, axes=1, precision=jax.lax.Precision.HIGHEST)
