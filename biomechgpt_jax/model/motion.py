"""Embeddings of motion tokens.

The embedding of a motion code is a learned linear map of the vector that the codec gives it, so that similar codes are
similar tokens, those that training never showed included; a token is the sum of its codes. Where movement is generated,
the same embeddings are the columns of the head.

How fast, how even, how regular: such questions are about what follows what within a second. A causal convolution over
the last few tokens (`model.motion_context`) sees it before the first layer does. Only tokens of a movement's trunk have
such a context, so that it changes nothing in how text is decoded.

Shapes: B batch, L length, D model, Q layers of motion codes, N codes of a layer, C size of a code's vector, W tokens of
the context, F its hidden size (D).
"""

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp

from biomechgpt_jax import config
from biomechgpt_jax.model import block
from biomechgpt_jax.model.attention.packed import Rows
from biomechgpt_jax.parallel import sharding

Params = Mapping[str, Any]


def embed(motion: Params, codes_BLQ: jax.Array, dtype: Any) -> jax.Array:
    """Embeddings [B, L, D] of tokens by their codes, numbered on from layer to layer; below 0 there is none."""
    vectors_QNC = motion["vectors"]
    layers, codes, _ = vectors_QNC.shape
    if codes_BLQ.shape[-1] == layers:  # the usual case: the q-th code of a token is of the q-th layer
        own_BLQ = codes_BLQ - codes * jnp.arange(layers)
        present_BLQ = (own_BLQ >= 0) & (own_BLQ < codes)
        vectors_BLQC = vectors_QNC[jnp.arange(layers), jnp.where(present_BLQ, own_BLQ, 0)]
        vectors_BLQC = jnp.where(present_BLQ[..., None], vectors_BLQC, 0.0).astype(dtype)
        kernel_QCD = sharding.constrain(motion["kernel"], (None, None, None))
        return jnp.einsum("blqc,qcd->bld", vectors_BLQC, kernel_QCD.astype(dtype))
    table_MD = embeddings(motion).astype(dtype)
    return jnp.where((codes_BLQ >= 0)[..., None], table_MD[jnp.maximum(codes_BLQ, 0)], 0.0).sum(axis=2)


def embeddings(motion: Params) -> jax.Array:
    """The embedding of every motion code, f32[Q N, D], layer by layer."""
    kernel_QCD = sharding.constrain(motion["kernel"], (None, None, None))
    each_QND = jnp.einsum("qnc,qcd->qnd", motion["vectors"], kernel_QCD)
    return each_QND.reshape(-1, each_QND.shape[-1])


def add_context(x_BLD: jax.Array, context: Params, rows: Rows, cfg: config.Model) -> jax.Array:
    """The residual stream with what a causal convolution over each trunk adds to the trunk's tokens.

    Args:
        x_BLD: embeddings.
        context: weights `into` [W, D, F] and `out` [F, D].
        rows: positions, segments and branches of the tokens; those of a trunk follow one another.
        cfg: the model.
    """
    size = x_BLD.shape[-1]
    in_trunk_BL = (rows.branches == 0) & (rows.segments != 0)
    plain = {"scale": jnp.full(size, 0.0 if cfg.unit_norms else 1.0)}
    normed_BLD = block.rms_norm(x_BLD, plain, cfg)

    def before(tokens: int) -> jax.Array:
        present_BL = in_trunk_BL & (rows.positions >= tokens)
        return jnp.where(present_BL[..., None], jnp.roll(normed_BLD, tokens, axis=1), 0.0)

    seen_BLWD = jnp.stack([before(tokens) for tokens in range(cfg.motion_context)], axis=2)
    h_BLF = jax.nn.gelu(block.project(seen_BLWD, context, "into", contracted=2))
    y_BLD = block.project(sharding.constrain(h_BLF, ("batch", "length", "hidden")), context, "out")
    return x_BLD + jnp.where(in_trunk_BL[..., None], y_BLD, 0.0)
