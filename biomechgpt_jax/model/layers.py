"""Building blocks of the decoder: RMSNorm, rotary positions, projections, attention and gated MLP.

Shapes: B batch, T time, D model, H query heads, G key-value heads, K head size, F hidden.
Every module keeps its parameters in float32 and computes in `dtype`.
"""

import functools
import math
from collections.abc import Callable
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax.ad_checkpoint import checkpoint_name

from biomechgpt_jax import config
from biomechgpt_jax.model.attention import packed
from biomechgpt_jax.model.attention.blockwise import SAVED
from biomechgpt_jax.parallel.sharding import constrain

REMAT_POLICIES = {  # what a layer keeps for its backward pass; the rest is computed again
    "dots": jax.checkpoint_policies.save_only_these_names("projection", SAVED),
    "full": jax.checkpoint_policies.nothing_saveable,
}


Kind = int | jax.Array  # of a layer: an index into what differs between layers


class Cache(NamedTuple):
    """Keys and values of earlier tokens: BSGK, already rotated."""

    keys: jax.Array
    values: jax.Array


class Shared(NamedTuple):
    """What the layers use, computed once per batch and outside the scan; N kinds of layers (`config.Model.kinds`)."""

    sin_NBTK: jax.Array  # K/2 angles
    cos_NBTK: jax.Array
    plan: packed.Plan


def rope_frequencies(cfg: config.Model, kind: int = 0) -> jax.Array:
    """Radians per position of a kind of layer, f32[K/2] (Su et al., RoFormer, 2021).

    Kind 0 is slowed down as configured: linearly (Chen et al., 2023), or by Llama 3's rule, which leaves what turns
    often within the original length, divides what hardly turns, and goes over smoothly between the two.
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


def rope_tables(positions_BT: jax.Array, cfg: config.Model) -> tuple[jax.Array, jax.Array]:
    """Sine and cosine of the rotary angles of every kind of layer: two f32[N, B, T, K/2]."""
    frequencies_NK = jnp.stack([rope_frequencies(cfg, kind) for kind in range(len(cfg.windows))])
    angles_NBTK = positions_BT[..., None].astype(jnp.float32) * frequencies_NK[:, None, None]
    return jnp.sin(angles_NBTK), jnp.cos(angles_NBTK)


def rotate(x_BTHK: jax.Array, sin_BTK: jax.Array, cos_BTK: jax.Array) -> jax.Array:
    """Apply rotary positions; the halves of K are the pairs (the layout of Llama, Qwen and Gemma weights)."""
    first, second = jnp.split(x_BTHK.astype(jnp.float32), 2, axis=-1)
    sin, cos = sin_BTK[:, :, None], cos_BTK[:, :, None]
    return jnp.concatenate([first * cos - second * sin, second * cos + first * sin], axis=-1).astype(x_BTHK.dtype)


def scaled_normal(fan_in: int, gain: float = 1.0) -> nn.initializers.Initializer:
    """Normal initialiser with standard deviation gain / sqrt(fan_in)."""
    return nn.initializers.normal(gain * fan_in**-0.5)


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


class Named(nn.Partitioned[Any]):
    """A parameter with its logical axis names; unlike Flax's box it lays nothing out (`sharding` does)."""

    def unbox(self, apply_constraint: bool = True) -> Any:
        """The parameter itself."""
        return self.value


def named(init: nn.initializers.Initializer, axes: tuple[str, ...]) -> Callable[..., Any]:
    """An initialiser whose result carries logical axis names."""
    return lambda *args: Named(init(*args), axes)


class RMSNorm(nn.Module):
    """Root-mean-square norm over the last axis, in float32 (Zhang and Sennrich, 2019)."""

    cfg: config.Model

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        start = nn.initializers.zeros_init() if self.cfg.unit_norms else nn.initializers.ones_init()
        scale = self.param("scale", named(start, ("norm",)), (x.shape[-1],), jnp.float32)
        wide = x.astype(jnp.float32)
        mean_square = jnp.mean(jnp.square(wide), axis=-1, keepdims=True)
        factor = 1.0 + scale if self.cfg.unit_norms else scale
        return (wide * jax.lax.rsqrt(mean_square + self.cfg.norm_epsilon) * factor).astype(x.dtype)


class Projection(nn.Module):
    """A product without bias: the last `len(inputs)` axes of x with a kernel [*inputs, *outputs]."""

    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    axes: tuple[str, ...]
    dtype: Any
    gain: float = 1.0

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        init = named(scaled_normal(math.prod(self.inputs), self.gain), self.axes)
        kernel = self.param("kernel", init, (*self.inputs, *self.outputs), jnp.float32)
        return checkpoint_name(product(x.astype(self.dtype), kernel, len(self.inputs)), "projection")


class Attention(nn.Module):
    """Grouped-query attention (Ainslie et al., 2023) with rotary positions and optional QK-norm."""

    cfg: config.Model
    dtype: Any

    @nn.compact
    def __call__(self, x_BTD: jax.Array, shared: Shared, kind: Kind = 0) -> tuple[jax.Array, Cache]:
        cfg = self.cfg
        d, h, g, k = cfg.model_size, cfg.heads, cfg.kv_heads, cfg.head_size
        q_BTHK = Projection((d,), (h, k), ("embed", "heads", "head_size"), self.dtype, name="query")(x_BTD)
        k_BTGK = Projection((d,), (g, k), ("embed", "kv_heads", "head_size"), self.dtype, name="key")(x_BTD)
        v_BTGK = Projection((d,), (g, k), ("embed", "kv_heads", "head_size"), self.dtype, name="value")(x_BTD)
        q_BTHK = constrain(q_BTHK, ("batch", "length", "heads", None))
        k_BTGK = constrain(k_BTGK, ("batch", "length", "kv_heads", None))
        v_BTGK = constrain(v_BTGK, ("batch", "length", "kv_heads", None))
        if cfg.qk_norm:
            q_BTHK = RMSNorm(cfg, name="query_norm")(q_BTHK)
            k_BTGK = RMSNorm(cfg, name="key_norm")(k_BTGK)
        q_BTHK = rotate(q_BTHK, shared.sin_NBTK[kind], shared.cos_NBTK[kind])
        k_BTGK = rotate(k_BTGK, shared.sin_NBTK[kind], shared.cos_NBTK[kind])
        form = packed.Form(cfg.windows, cfg.score_scale, cfg.attention_soft_cap)
        o_BTHK = packed.attend(q_BTHK, k_BTGK, v_BTGK, shared.plan, form, kind, cfg.attention)
        o_BTHK = constrain(o_BTHK, ("batch", "length", "heads", None))
        gain = (2 * cfg.layers) ** -0.5  # keeps the residual stream's size independent of depth (GPT-2)
        axes = ("heads", "head_size", "embed")
        y_BTD = Projection((h, k), (d,), axes, self.dtype, gain, name="output")(o_BTHK)
        return y_BTD, Cache(k_BTGK, v_BTGK)


class GatedMLP(nn.Module):
    """SwiGLU or GeGLU (Shazeer, 2020)."""

    cfg: config.Model
    dtype: Any

    @nn.compact
    def __call__(self, x_BTD: jax.Array) -> jax.Array:
        cfg = self.cfg
        d, f = cfg.model_size, cfg.hidden_size
        gate_BTF = Projection((d,), (f,), ("embed", "hidden"), self.dtype, name="gate")(x_BTD)
        up_BTF = Projection((d,), (f,), ("embed", "hidden"), self.dtype, name="up")(x_BTD)
        act = jax.nn.silu if cfg.activation == "silu" else jax.nn.gelu  # Gemma uses the tanh approximation
        h_BTF = constrain(act(gate_BTF) * up_BTF, ("batch", "length", "hidden"))
        gain = (2 * cfg.layers) ** -0.5
        return Projection((f,), (d,), ("hidden", "embed"), self.dtype, gain, name="down")(h_BTF)


class Block(nn.Module):
    """One pre-norm layer: x + attention, then + MLP. Called by the scan with the residual stream as carry."""

    cfg: config.Model
    dtype: Any
    return_cache: bool = False

    @nn.compact
    def __call__(self, x_BTD: jax.Array, shared: Shared, kind: jax.Array | None) -> tuple[jax.Array, Cache | None]:
        cfg = self.cfg
        normed = RMSNorm(cfg, name="attention_norm")(x_BTD)
        attend = Attention(cfg, self.dtype, name="attention")
        y_BTD, new = attend(normed, shared, 0 if kind is None else kind)
        if cfg.post_norms:
            y_BTD = RMSNorm(cfg, name="attention_post_norm")(y_BTD)
        x_BTD = constrain(x_BTD + y_BTD, ("batch", "length", None))
        y_BTD = GatedMLP(cfg, self.dtype, name="mlp")(RMSNorm(cfg, name="mlp_norm")(x_BTD))
        if cfg.post_norms:
            y_BTD = RMSNorm(cfg, name="mlp_post_norm")(y_BTD)
        x_BTD = constrain(x_BTD + y_BTD, ("batch", "length", None))
        return x_BTD, new if self.return_cache else None


class Stack(nn.Module):
    """All layers, scanned: one compiled body whatever the depth; parameters have a leading layers axis."""

    cfg: config.Model
    dtype: Any
    return_cache: bool = False

    @nn.compact
    def __call__(self, x_BTD: jax.Array, shared: Shared) -> tuple[jax.Array, Cache | None]:
        block: Any = Block
        if self.cfg.remat != "none":
            block = nn.remat(Block, policy=REMAT_POLICIES[self.cfg.remat], prevent_cse=False)
        scanned = nn.scan(
            block,
            variable_axes={"params": 0},
            split_rngs={"params": True},
            in_axes=(nn.broadcast, 0),
            length=self.cfg.layers,
            metadata_params={nn.PARTITION_NAME: "layers"},
        )
        # Layers of several kinds share the one body, which is told its kind.
        kinds = jnp.asarray(self.cfg.kinds, jnp.int32) if len(self.cfg.windows) > 1 else None
        return scanned(self.cfg, self.dtype, self.return_cache, name="block")(x_BTD, shared, kinds)


class Decoder(nn.Module):
    """Embedding, layers and final norm; the head is applied by the caller so that it can be chunked."""

    cfg: config.Model
    vocabulary_size: int
    dtype: Any
    return_cache: bool = False

    @nn.compact
    def __call__(self, tokens_BT: jax.Array, shared: Shared) -> tuple[jax.Array, Cache | None]:
        cfg = self.cfg
        size = (self.vocabulary_size, cfg.model_size)
        init = named(scaled_normal(cfg.model_size), ("vocabulary", "embed"))
        embedding_VD = self.param("embedding", init, size, jnp.float32)
        if not cfg.tied_embeddings:
            head_init = named(scaled_normal(cfg.model_size), ("embed", "vocabulary"))
            self.param("head", head_init, size[::-1], jnp.float32)
        # Gathered over fsdp first, like any weight: looking up split rows would move the activations instead.
        table_VD = constrain(embedding_VD, ("vocabulary", None))
        if tokens_BT.ndim == 3:  # [B, T, Q]: a token is the sum of its codes, -1 for none
            found_BTQD = jnp.where((tokens_BT >= 0)[..., None], table_VD[jnp.maximum(tokens_BT, 0)], 0.0)
            x_BTD = found_BTQD.sum(axis=2).astype(self.dtype)
        else:
            x_BTD = table_VD[tokens_BT].astype(self.dtype)
        if cfg.scale_embeddings:
            x_BTD = x_BTD * jnp.asarray(cfg.model_size**0.5, self.dtype)
        x_BTD = constrain(x_BTD, ("batch", "length", None))
        x_BTD, new = Stack(cfg, self.dtype, self.return_cache, name="layers")(x_BTD, shared)
        return RMSNorm(cfg, name="final_norm")(x_BTD), new
