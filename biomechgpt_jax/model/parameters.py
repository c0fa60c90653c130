"""The decoder's parameters: names, shapes, logical axes and initial values, declared as Linen modules.

Nothing is computed here: `block` and `decoder` take the nested dict of these parameters. All are float32, but for a
frozen base that is held in less (`quantized`). Layers are stacked: the parameters of `layers/block` have a leading axis
for them.
"""

import math
from collections.abc import Callable, Mapping
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from biomechgpt_jax import config
from biomechgpt_jax.config.model import BLOCK
from biomechgpt_jax.model import adapters, quantized

Axes = tuple[str | None, ...]


class Named(nn.Partitioned[Any]):
    """A parameter with its logical axis names; unlike Flax's box it constrains no layout (`sharding` does)."""

    def unbox(self, apply_constraint: bool = True) -> Any:
        """The parameter itself."""
        return self.value


def with_axes(init: nn.initializers.Initializer, axes: Axes) -> Callable[..., Any]:
    """An initialiser whose result carries logical axis names."""
    return lambda *args: Named(init(*args), axes)


def scaled_normal(fan_in: int, gain: float = 1.0) -> nn.initializers.Initializer:
    """Normal initialiser with standard deviation gain / sqrt(fan_in)."""
    return nn.initializers.normal(gain * fan_in**-0.5)


class Norm(nn.Module):
    """The scale of an RMSNorm."""

    cfg: config.Model
    size: int

    @nn.compact
    def __call__(self) -> jax.Array:
        start = nn.initializers.zeros_init() if self.cfg.unit_norms else nn.initializers.ones_init()
        return self.param("scale", with_axes(start, ("norm",)), (self.size,), jnp.float32)


class Projection(nn.Module):
    """The kernel [*inputs, *outputs] of a product without bias."""

    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    axes: tuple[str, ...]
    gain: float = 1.0

    @nn.compact
    def __call__(self) -> jax.Array:
        init = with_axes(scaled_normal(math.prod(self.inputs), self.gain), self.axes)
        return self.param("kernel", init, (*self.inputs, *self.outputs), jnp.float32)


class Linear(nn.Module):
    """A matrix of a layer as the base is held, with its adapter."""

    cfg: config.Model
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    axes: tuple[str, ...]
    gain: float = 1.0

    @nn.compact
    def __call__(self) -> None:
        cfg, size, (*before, last) = self.cfg, math.prod(self.inputs), self.inputs
        input_axes, output_axes = self.axes[: len(self.inputs)], self.axes[len(self.inputs) :]

        def hold(name: str, dtype: Any, shape: tuple[int, ...], axes: Axes) -> None:
            self.param(name, with_axes(nn.initializers.zeros_init(), axes), shape, dtype)

        if not cfg.has_base or cfg.base == "float32":
            init = with_axes(scaled_normal(size, self.gain), self.axes)
            self.param("kernel", init, (*self.inputs, *self.outputs), jnp.float32)
        elif cfg.base == "bfloat16":
            hold("kernel", jnp.uint16, (*self.inputs, *self.outputs), self.axes)
        elif cfg.base == "int8":
            hold("int8", jnp.int8, (*self.inputs, *self.outputs), self.axes)
            hold("scale", jnp.float32, self.outputs, output_axes)
        else:
            hold("nf4", jnp.uint8, (*before, last // 2, *self.outputs), self.axes)
            if cfg.double_scales:
                scales = size * math.prod(self.outputs) // BLOCK
                # In one piece along the blocks, so that blocks of scales may lie across any division of the inputs.
                rest = (*output_axes, *input_axes[:-1], None)
                hold("absmax_codes", jnp.uint8, (*self.outputs, *before, last // BLOCK), rest)
                hold("absmax_scale", jnp.float32, (-(-scales // quantized.SCALE_BLOCK),), (None,))
                hold("absmax_offset", jnp.float32, (), ())
            else:
                hold("absmax", jnp.float32, (*before, last // BLOCK, *self.outputs), self.axes)
        if cfg.adapter.rank and self.name in cfg.adapter.on:
            # The variance of peft's first values, which are uniform within 1 / sqrt(inputs).
            first = with_axes(scaled_normal(size, 3**-0.5), (*input_axes, "rank"))
            self.param("a", first, (*self.inputs, cfg.adapter.rank), jnp.float32)
            hold("b", jnp.float32, (cfg.adapter.rank, *self.outputs), ("rank", *output_axes))


class Attention(nn.Module):
    """Queries, keys, values, output, and the norms of queries and keys."""

    cfg: config.Model

    @nn.compact
    def __call__(self) -> None:
        cfg = self.cfg
        d, h, g, k = cfg.model_size, cfg.heads, cfg.kv_heads, cfg.head_size
        Linear(cfg, (d,), (h, k), ("embed", "heads", "head_size"), name="query")()
        Linear(cfg, (d,), (g, k), ("embed", "kv_heads", "head_size"), name="key")()
        Linear(cfg, (d,), (g, k), ("embed", "kv_heads", "head_size"), name="value")()
        Linear(cfg, (h, k), (d,), ("heads", "head_size", "embed"), _residual_gain(cfg), name="output")()
        if cfg.qk_norm:
            Norm(cfg, k, name="query_norm")()
            Norm(cfg, k, name="key_norm")()


class GatedMLP(nn.Module):
    """Gate, up and down."""

    cfg: config.Model

    @nn.compact
    def __call__(self) -> None:
        cfg, d, f = self.cfg, self.cfg.model_size, self.cfg.hidden_size
        Linear(cfg, (d,), (f,), ("embed", "hidden"), name="gate")()
        Linear(cfg, (d,), (f,), ("embed", "hidden"), name="up")()
        Linear(cfg, (f,), (d,), ("hidden", "embed"), _residual_gain(cfg), name="down")()


def _residual_gain(cfg: config.Model) -> float:
    """Keeps the size of the residual stream independent of depth (GPT-2)."""
    return (2 * cfg.layers) ** -0.5


class Block(nn.Module):
    """One layer; the scan that stacks layers hands nothing on from one to the next."""

    cfg: config.Model

    @nn.compact
    def __call__(self, carry: None) -> tuple[None, None]:
        cfg = self.cfg
        Norm(cfg, cfg.model_size, name="attention_norm")()
        Attention(cfg, name="attention")()
        Norm(cfg, cfg.model_size, name="mlp_norm")()
        GatedMLP(cfg, name="mlp")()
        if cfg.post_norms:
            Norm(cfg, cfg.model_size, name="attention_post_norm")()
            Norm(cfg, cfg.model_size, name="mlp_post_norm")()
        return None, None


class Stack(nn.Module):
    """All layers."""

    cfg: config.Model

    @nn.compact
    def __call__(self) -> None:
        stacked = nn.scan(
            Block,
            variable_axes={"params": 0},
            split_rngs={"params": True},
            length=self.cfg.layers,
            metadata_params={nn.PARTITION_NAME: "layers"},
        )
        stacked(self.cfg, name="block")(None)


class Motion(nn.Module):
    """Embeddings of motion codes: one linear map per layer of codes, from the codes' own vectors to the model.

    The vectors are the codec's. They are declared here with the other parameters, and are never trained.
    """

    cfg: config.Model
    vectors: tuple[int, int, int]  # layers of codes Q, codes of a layer N, size of a code's vector K

    @nn.compact
    def __call__(self) -> None:
        layers, _, size = self.vectors
        axes = ("code_layers", "codes", "code_size")
        self.param("vectors", with_axes(nn.initializers.zeros_init(), axes), self.vectors, jnp.float32)
        # The vectors of a token's codes have a length of 1 together: its embedding is as large as that of a text, and
        # the optimizer's steps are to its weights what they are to others.
        init = with_axes(scaled_normal(self.cfg.model_size), ("code_layers", "code_size", "embed"))
        self.param("kernel", init, (layers, size, self.cfg.model_size), jnp.float32)
        if self.cfg.motion_context:
            MotionContext(self.cfg, name="context")()
        if self.cfg.motion_statistics:
            MotionStatistics(self.cfg, layers * size, name="statistics")()


class MotionContext(nn.Module):
    """A causal convolution over the embeddings of motion tokens, and the map back (`motion.add_context`)."""

    cfg: config.Model

    @nn.compact
    def __call__(self) -> None:
        d, taps = self.cfg.model_size, self.cfg.motion_context
        Projection((taps, d), (d,), ("taps", "embed", "hidden"), name="into")()
        Projection((d,), (d,), ("hidden", "embed"), _residual_gain(self.cfg), name="out")()


class MotionStatistics(nn.Module):
    """Maps of the mean and the standard deviation of motion tokens' vectors (`motion.add_statistics`)."""

    cfg: config.Model
    size: int  # of the vectors of a token's codes together

    @nn.compact
    def __call__(self) -> None:
        d, e, both = self.cfg.model_size, self.cfg.motion_statistics, 2 * self.size
        gain = 0.25 * _residual_gain(self.cfg)  # no larger than the embedding that they are added to
        # The usual mean and standard deviation are taken away, or they would hide what differs.
        usual = lambda *_: -jnp.repeat(jnp.array([0.0, 1.0], jnp.float32), self.size)  # noqa: E731
        self.param("bias", with_axes(usual, ("statistics",)), (both,), jnp.float32)
        Projection((both,), (e,), ("statistics", "hidden"), name="into")()
        Projection((e,), (d,), ("hidden", "embed"), gain, name="out")()
        Projection((both,), (d,), ("statistics", "embed"), gain, name="direct")()


class Decoder(nn.Module):
    """Embedding, head (unless it is the embedding's transpose), layers and final norm.

    Without `motion` the embedding has a row for every id; with it for the ids below the motion codes alone. Of a
    pretrained model it has the model's own rows, and `rows` (and the columns `head_rows`) those that come after them.
    """

    cfg: config.Model
    rows: int
    motion: tuple[int, int, int] | None = None

    @nn.compact
    def __call__(self) -> None:
        cfg, d, init = self.cfg, self.cfg.model_size, scaled_normal(self.cfg.model_size)
        known = cfg.text_rows if cfg.has_base else self.rows
        added = self.rows - known
        as_bits = cfg.has_base and cfg.table == "bfloat16"
        table, dtype = (nn.initializers.zeros_init(), jnp.uint16) if as_bits else (init, jnp.float32)
        self.param("embedding", with_axes(table, ("vocabulary", "embed")), (known, d), dtype)
        if cfg.has_base:
            self.param("rows", with_axes(init, ("rows", "embed")), (added, d), jnp.float32)
        if not cfg.tied_embeddings:
            self.param("head", with_axes(table, ("embed", "vocabulary")), (d, known), dtype)
            if cfg.has_base:
                self.param("head_rows", with_axes(init, ("embed", "rows")), (d, added), jnp.float32)
        if self.motion is not None:
            Motion(cfg, self.motion, name="motion")()
        Stack(cfg, name="layers")()
        Norm(cfg, d, name="final_norm")()


def base_of(tree: Mapping[str, Any], cfg: config.Model) -> dict[str, Any]:
    """The leaves of a tree like the parameters that are the frozen base; those of motion codes are another matter."""
    if not cfg.has_base or cfg.freeze == "nothing":
        return {}
    names = ("layers", "final_norm", *(("embedding", "head") if cfg.table_is_frozen else ()))
    return {name: _without_adapters(tree[name]) for name in names if name in tree}


def _without_adapters(tree: Any) -> Any:
    if not isinstance(tree, Mapping):
        return tree
    return {name: _without_adapters(value) for name, value in tree.items() if name not in adapters.NAMES}
