"""One layer of the decoder as a function of its weights: training, prefill and cached decoding all run this code.

The three differ only in the keys and values that queries attend to, so `block` takes that step as a function
(`attention.packed` has the one of whole rows, `attention.cached` that of decoding). Weights are a nested dict, named as
in a checkpoint (`parameters.Block`), and every product with one of them goes through `project`.

Shapes: B batch, T time, D model, H query heads, G key-value heads, K head size, F hidden.
"""

import functools
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
from jax.ad_checkpoint import checkpoint_name

from biomechgpt_jax import config
from biomechgpt_jax.model import adapters, quantized
from biomechgpt_jax.model.rope import Rotation, rotate
from biomechgpt_jax.parallel.sharding import constrain

PROJECTION = "projection"  # checkpoint name of the result of every product with a weight

Weights = Mapping[str, Any]
# (q_BTHK, k_BTGK, v_BTGK) -> o_BTHK, and whatever is to be kept of the keys and values
Attend = Callable[[jax.Array, jax.Array, jax.Array], tuple[jax.Array, Any]]


def block(
    x_BTD: jax.Array,
    weights: Weights,
    cfg: config.Model,
    rotation: Rotation,
    attend: Attend,
    key: jax.Array | None = None,
) -> tuple[jax.Array, Any]:
    """One pre-norm layer: x + attention, then + MLP.

    Args:
        x_BTD: the residual stream, in the dtype to compute in.
        weights: of this layer.
        cfg: the model.
        rotation: rotary angles of the T positions.
        attend: from rotated queries and keys, and values, to the attention's output.
        key: of the dropout of adapters, in training alone.

    Returns:
        The residual stream after the layer, and what `attend` keeps.
    """
    y_BTD, kept = attention(
        rms_norm(x_BTD, weights["attention_norm"], cfg), weights["attention"], cfg, rotation, attend, key
    )
    if cfg.post_norms:
        y_BTD = rms_norm(y_BTD, weights["attention_post_norm"], cfg)
    x_BTD = constrain(x_BTD + y_BTD, ("batch", "length", None))
    y_BTD = gated_mlp(rms_norm(x_BTD, weights["mlp_norm"], cfg), weights["mlp"], cfg, key)
    if cfg.post_norms:
        y_BTD = rms_norm(y_BTD, weights["mlp_post_norm"], cfg)
    return constrain(x_BTD + y_BTD, ("batch", "length", None)), kept


def attention(
    x_BTD: jax.Array,
    weights: Weights,
    cfg: config.Model,
    rotation: Rotation,
    attend: Attend,
    key: jax.Array | None = None,
) -> tuple[jax.Array, Any]:
    """Grouped-query attention (Ainslie et al., 2023) with rotary positions and optional QK-norm."""
    linear = functools.partial(project, adapter=cfg.adapter, key=key)
    q_BTHK = constrain(linear(x_BTD, weights, "query"), ("batch", "length", "heads", None))
    k_BTGK = constrain(linear(x_BTD, weights, "key"), ("batch", "length", "kv_heads", None))
    v_BTGK = constrain(linear(x_BTD, weights, "value"), ("batch", "length", "kv_heads", None))
    if cfg.qk_norm:
        q_BTHK = rms_norm(q_BTHK, weights["query_norm"], cfg)
        k_BTGK = rms_norm(k_BTGK, weights["key_norm"], cfg)
    o_BTHK, kept = attend(rotate(q_BTHK, rotation), rotate(k_BTGK, rotation), v_BTGK)
    o_BTHK = constrain(o_BTHK, ("batch", "length", "heads", None))
    return linear(o_BTHK, weights, "output", quantized.CONTRACTED["output"]), kept


def gated_mlp(x_BTD: jax.Array, weights: Weights, cfg: config.Model, key: jax.Array | None = None) -> jax.Array:
    """SwiGLU or GeGLU (Shazeer, 2020)."""
    linear = functools.partial(project, adapter=cfg.adapter, key=key)
    activation = jax.nn.silu if cfg.activation == "silu" else jax.nn.gelu  # Gemma uses the tanh approximation
    gate_BTF, up_BTF = linear(x_BTD, weights, "gate"), linear(x_BTD, weights, "up")
    h_BTF = constrain(activation(gate_BTF) * up_BTF, ("batch", "length", "hidden"))
    return linear(h_BTF, weights, "down")


def rms_norm(x: jax.Array, weights: Weights, cfg: config.Model) -> jax.Array:
    """Root-mean-square norm over the last axis, in float32 (Zhang and Sennrich, 2019)."""
    scale = weights["scale"]
    wide = x.astype(jnp.float32)
    mean_square = jnp.mean(jnp.square(wide), axis=-1, keepdims=True)
    factor = 1.0 + scale if cfg.unit_norms else scale
    return (wide * jax.lax.rsqrt(mean_square + cfg.norm_epsilon) * factor).astype(x.dtype)


def project(
    x: jax.Array,
    weights: Weights,
    name: str,
    contracted: int = 1,
    adapter: config.Adapter | None = None,
    key: jax.Array | None = None,
) -> jax.Array:
    """The product without bias of the last `contracted` axes of x with the weight of this name, in x's dtype.

    Args:
        x: the input.
        weights: the weight, however it is held (`quantized`), and its adapter if it has one.
        name: its name.
        contracted: number of axes that are inputs.
        adapter: scale and dropout of adapters.
        key: of the layer's dropout; None: without.
    """
    own = weights[name]
    y = quantized.product(x, own, contracted)
    if "a" in own and adapter is not None:
        y = y + adapters.apply(x, own, contracted, adapter, adapters.key_of(key, name))
    return checkpoint_name(y, PROJECTION)
