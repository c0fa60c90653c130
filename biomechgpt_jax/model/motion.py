"""Embeddings of motion tokens.

The embedding of a motion code is a learned linear map of the vector that the codec gives it, so that similar codes are
similar tokens, those that training never showed included; a token is the sum of its codes. Where movement is generated,
the same embeddings are the columns of the head.

How fast, how even, how regular: such questions are about what follows what within a second. A causal convolution over
the last few tokens (`model.motion_context`) sees it before the first layer does. Only tokens of a movement's trunk have
such a context, so that it changes nothing in how text is decoded.

How somebody holds a joint, and how far it moves: such questions are about all tokens at once. The mean and the standard
deviation of the codes' vectors from the beginning of the trunk (`model.motion_statistics`) are a token's third input. A
linear reader finds more devices and step widths in them than attention learned to collect (docs/training.md).

Shapes: B batch, L length, D model, Q layers of motion codes, N codes of a layer, C size of a code's vector, V = Q C,
W tokens of the context, F its hidden size (D), E hidden size of the statistics.
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
    if codes_BLQ.shape[-1] == len(motion["vectors"]):  # the usual case: the q-th code of a token is of the q-th layer
        vectors_BLQC = look_up(motion["vectors"], codes_BLQ).astype(dtype)
        kernel_QCD = sharding.constrain(motion["kernel"], (None, None, None))
        return jnp.einsum("blqc,qcd->bld", vectors_BLQC, kernel_QCD.astype(dtype))
    table_MD = embeddings(motion).astype(dtype)
    return jnp.where((codes_BLQ >= 0)[..., None], table_MD[jnp.maximum(codes_BLQ, 0)], 0.0).sum(axis=2)


def look_up(vectors_QNC: jax.Array, codes_BLQ: jax.Array) -> jax.Array:
    """The vectors f32[B, L, Q, C] of a token's codes; 0 where it has none of a layer."""
    layers, codes, _ = vectors_QNC.shape
    own_BLQ = codes_BLQ - codes * jnp.arange(layers)
    present_BLQ = (own_BLQ >= 0) & (own_BLQ < codes)
    vectors_BLQC = vectors_QNC[jnp.arange(layers), jnp.where(present_BLQ, own_BLQ, 0)]
    return jnp.where(present_BLQ[..., None], vectors_BLQC, 0.0)


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
    in_trunk_BL = _in_trunk(rows)
    normed_BLD = _norm(x_BLD, cfg)

    def before(tokens: int) -> jax.Array:
        present_BL = in_trunk_BL & (rows.positions >= tokens)
        return jnp.where(present_BL[..., None], jnp.roll(normed_BLD, tokens, axis=1), 0.0)

    seen_BLWD = jnp.stack([before(tokens) for tokens in range(cfg.motion_context)], axis=2)
    h_BLF = jax.nn.gelu(block.project(seen_BLWD, context, "into", contracted=2))
    y_BLD = block.project(sharding.constrain(h_BLF, ("batch", "length", "hidden")), context, "out")
    return x_BLD + jnp.where(in_trunk_BL[..., None], y_BLD, 0.0)


def add_statistics(x_BLD: jax.Array, motion: Params, codes_BLQ: jax.Array, rows: Rows, cfg: config.Model) -> jax.Array:
    """The residual stream with what the statistics of each trunk, up to a token, add to the trunk's tokens.

    Args:
        x_BLD: embeddings.
        motion: `vectors` of the codes, and the weights `statistics`: `bias` [2 V], `into` [2 V, E], `out` [E, D] and
            `direct` [2 V, D].
        codes_BLQ: as in `embed`; a token has a code of every layer, or none.
        rows: positions, segments and branches of the tokens. A trunk begins with a token without codes.
        cfg: the model.
    """
    weights = motion["statistics"]
    vectors_BLQC = look_up(motion["vectors"], codes_BLQ)
    vectors_BLV = vectors_BLQC.reshape(*codes_BLQ.shape[:2], -1)
    vectors_BLV *= vectors_BLV.shape[-1] ** 0.5  # of a variance near 1, as those of a token have a length of 1 together
    found = jnp.concatenate(running_statistics(vectors_BLV, rows), axis=-1) + weights["bias"]
    found = _norm(found, cfg).astype(x_BLD.dtype)
    h_BLE = jax.nn.gelu(block.project(found, weights, "into"))
    h_BLE = sharding.constrain(h_BLE, ("batch", "length", "hidden"))
    y_BLD = block.project(h_BLE, weights, "out") + block.project(found, weights, "direct")
    known_BL = _in_trunk(rows) & (rows.positions > 0)
    return x_BLD + jnp.where(known_BL[..., None], y_BLD, 0.0)


def running_statistics(values_BLV: jax.Array, rows: Rows) -> tuple[jax.Array, jax.Array]:
    """Mean and standard deviation f32[B, L, V] over a trunk up to each of its tokens, without the one that begins it.

    Elsewhere they mean nothing.
    """
    values_BLV = jnp.where(_in_trunk(rows)[..., None], values_BLV.astype(jnp.float32), 0.0)
    sums = jnp.cumsum(jnp.concatenate([values_BLV, jnp.square(values_BLV)], axis=-1), axis=1)
    start_BL = jnp.arange(values_BLV.shape[1]) - rows.positions  # where the trunk begins; nothing is known of it there
    before = jnp.take_along_axis(sums, jnp.maximum(start_BL, 0)[..., None], axis=1)
    count_BL1 = jnp.maximum(rows.positions, 1)[..., None].astype(jnp.float32)
    mean_BLV, square_BLV = jnp.split((sums - before) / count_BL1, 2, axis=-1)
    variance_BLV = jnp.maximum(square_BLV - jnp.square(mean_BLV), 0.0)
    return mean_BLV, jnp.sqrt(variance_BLV + 0.01)  # so that what rounding leaves of a variance of 0 does not count


def _in_trunk(rows: Rows) -> jax.Array:
    return (rows.branches == 0) & (rows.segments != 0)


def _norm(x: jax.Array, cfg: config.Model) -> jax.Array:
    """A norm without a scale of its own."""
    return block.rms_norm(x, {"scale": jnp.full(x.shape[-1], 0.0 if cfg.unit_norms else 1.0)}, cfg)
