"""One layer of the decoder as a function of its weights: training, prefill and cached decoding all run this code.

The three differ only in the keys and values that queries attend to, so `block` takes that step as a function
(`attention.packed` has the one of whole rows, `attention.cached` that of decoding). Weights are a nested dict, named as
in a checkpoint (`parameters.Block`), and every product with one of them goes through `project`.

Shapes: B batch, T time, D model, H query heads, G key-value heads, K head size, F hidden.
"""

import functools
import math
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
from jax.ad_checkpoint import checkpoint_name

from biomechgpt_jax import config
from biomechgpt_jax.model.rope import Rotation, rotate
from biomechgpt_jax.parallel.sharding import constrain

PROJECTION = "projection"  # checkpoint name of the result of every product with a weight

Weights = Mapping[str, Any]
# (q_BTHK, k_BTGK, v_BTGK) -> o_BTHK, and whatever is to be kept of the keys and values
Attend = Callable[[jax.Array, jax.Array, jax.Array], tuple[jax.Array, Any]]


def block(
    x_BTD: jax.Array, weights: Weights, cfg: config.Model, rotation: Rotation, attend: Attend
) -> tuple[jax.Array, Any]:
    """One pre-norm layer: x + attention, then + MLP.

    Args:
        x_BTD: the residual stream, in the dtype to compute in.
        weights: of this layer.
        cfg: the model.
        rotation: rotary angles of the T positions.
        attend: from rotated queries and keys, and values, to the attention's output.

    Returns:
        The residual stream after the layer, and what `attend` keeps.
    """
    y_BTD, kept = attention(
        rms_norm(x_BTD, weights["attention_norm"], cfg), weights["attention"], cfg, rotation, attend
    )
    if cfg.post_norms:
        y_BTD = rms_norm(y_BTD, weights["attention_post_norm"], cfg)
    x_BTD = constrain(x_BTD + y_BTD, ("batch", "length", None))
    y_BTD = gated_mlp(rms_norm(x_BTD, weights["mlp_norm"], cfg), weights["mlp"], cfg)
    if cfg.post_norms:
        y_BTD = rms_norm(y_BTD, weights["mlp_post_norm"], cfg)
    return constrain(x_BTD + y_BTD, ("batch", "length", None)), kept


def attention(
    x_BTD: jax.Array, weights: Weights, cfg: config.Model, rotation: Rotation, attend: Attend
) -> tuple[jax.Array, Any]:
    """Grouped-query attention (Ainslie et al., 2023) with rotary positions and optional QK-norm."""
    q_BTHK = constrain(project(x_BTD, weights, "query"), ("batch", "length", "heads", None))
    k_BTGK = constrain(project(x_BTD, weights, "key"), ("batch", "length", "kv_heads", None))
    v_BTGK = constrain(project(x_BTD, weights, "value"), ("batch", "length", "kv_heads", None))
    if cfg.qk_norm:
        q_BTHK = rms_norm(q_BTHK, weights["query_norm"], cfg)
        k_BTGK = rms_norm(k_BTGK, weights["key_norm"], cfg)
    o_BTHK, kept = attend(rotate(q_BTHK, rotation), rotate(k_BTGK, rotation), v_BTGK)
    o_BTHK = constrain(o_BTHK, ("batch", "length", "heads", None))
    return project(o_BTHK, weights, "output", contracted=2), kept


def gated_mlp(x_BTD: jax.Array, weights: Weights, cfg: config.Model) -> jax.Array:
    """SwiGLU or GeGLU (Shazeer, 2020)."""
    activation = jax.nn.silu if cfg.activation == "silu" else jax.nn.gelu  # Gemma uses the tanh approximation
    gate_BTF, up_BTF = project(x_BTD, weights, "gate"), project(x_BTD, weights, "up")
    h_BTF = constrain(activation(gate_BTF) * up_BTF, ("batch", "length", "hidden"))
    return project(h_BTF, weights, "down")


def rms_norm(x: jax.Array, weights: Weights, cfg: config.Model) -> jax.Array:
    """Root-mean-square norm over the last axis, in float32 (Zhang and Sennrich, 2019)."""
    scale = weights["scale"]
    wide = x.astype(jnp.float32)
    mean_square = jnp.mean(jnp.square(wide), axis=-1, keepdims=True)
    factor = 1.0 + scale if cfg.unit_norms else scale
    return (wide * jax.lax.rsqrt(mean_square + cfg.norm_epsilon) * factor).astype(x.dtype)


def project(x: jax.Array, weights: Weights, name: str, contracted: int = 1) -> jax.Array:
    """The product without bias of the last `contracted` axes of x with the weight of this name, in x's dtype."""
    return checkpoint_name(product(x, weights[name]["kernel"], contracted), PROJECTION)


@functools.partial(jax.custom_vjp, nondiff_argnums=(2,))
def product(x: jax.Array, kernel: jax.Array, contracted: int) -> jax.Array:
    """Contract the last axes of x with the first axes of an f32 kernel, in x's dtype.

    Its own gradient does two things that the automatic one does not: the kernel's gradient accumulates and
    stays in float32, and its product is ordered so that only the narrower operand is ever transposed (on CPU
    the automatic order transposes the wide one, strided, at twice the cost of the product itself).
    """
    return jnp.tensordot(x, kernel.astype(x.dtype), axes=contracted)


def _product_forward(x: jax.Array, kernel: jax.Array, contracted: int) -> tuple[jax.Array, tuple[jax.Array, jax.Array]]:
    return product(x, kernel, contracted), (x, kernel)


def _product_backward(
    contracted: int, saved: tuple[jax.Array, jax.Array], d_y: jax.Array
) -> tuple[jax.Array, jax.Array]:
    x, kernel = saved
    inputs, outputs = kernel.shape[:contracted], kernel.shape[contracted:]
    rows = tuple(range(x.ndim - contracted))
    wide_output = math.prod(outputs) >= math.prod(inputs)
    left, right = (x, d_y) if wide_output else (d_y, x)
    d_kernel = jax.lax.dot_general(left, right, ((rows, rows), ((), ())), preferred_element_type=jnp.float32)
    if not wide_output:
        order = (*range(len(outputs), kernel.ndim), *range(len(outputs)))
        d_kernel = d_kernel.transpose(order)
    from_outputs = tuple(range(len(rows), d_y.ndim)), tuple(range(contracted, kernel.ndim))
    d_x = jax.lax.dot_general(d_y, kernel.astype(d_y.dtype), (from_outputs, ((), ())))
    return d_x, d_kernel


product.defvjp(_product_forward, _product_backward)
