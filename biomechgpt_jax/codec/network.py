"""Encoder and decoder of the motion codec: 1-D convolutions over time in NWC layout.

After T2M-GPT (Zhang et al. 2023, arXiv 2301.06052): strided convolutions with dilated residual blocks, mirrored by the
decoder. In parallel a linear map takes the frames of each token to its latent and back. It starts as the principal
components of the training movement, and the convolutions start at zero, so that training begins from a good code and
learns what a linear code cannot represent. Every layer is zeroed beyond a sequence's own end, where a convolution would
see its zero padding: a padded sequence gives the same result as the sequence alone. Shapes: B batch, T frames, C
features, D width, S tokens, K size of a latent.
"""

import math
from typing import Any

import flax.linen as nn
import flax.traverse_util
import jax
import jax.numpy as jnp
import numpy as np

from biomechgpt_jax import config
from biomechgpt_jax.biomechanics.skeleton import COORDINATE_COUNT
from biomechgpt_jax.codec import codes
from biomechgpt_jax.codec.quantizers import fsq_quantize
from biomechgpt_jax.parallel import sharding

_KERNEL = 3
_DILATION_GROWTH = 3  # of successive residual blocks
# Gain after the last maps of encoder and decoder. Adam moves every weight equally far in a step, so large weights in
# front of a small gain change their output slowly, as an initialisation that is already good requires.
GAIN = 0.1
_FSQ_DEVIATIONS = 1.6  # standard deviations of a component that are scaled to 1, where FSQ's tanh bends


def _zero_padding(x_BTD: jax.Array, lengths_B: jax.Array) -> jax.Array:
    """Set everything beyond the length of each sequence to zero."""
    live_BTD = jnp.where(jnp.arange(x_BTD.shape[1])[None, :, None] < lengths_B[:, None, None], x_BTD, 0.0)
    return sharding.constrain(live_BTD, ("batch", None, None))  # so that kernels are gathered, and movement is not


def _conv(width: int, kernel: int = _KERNEL, stride: int = 1, dilation: int = 1, name: str | None = None) -> nn.Conv:
    """A convolution padded such that T frames become T / stride."""
    reach = dilation * (kernel - 1) + 1 - stride
    padding = (reach // 2, reach - reach // 2)
    return nn.Conv(width, (kernel,), strides=(stride,), kernel_dilation=(dilation,), padding=[padding], name=name)


def networks(cfg: config.Tokenizer) -> "tuple[Encoder, Decoder]":
    """The two halves of the network of a configuration."""
    return (
        Encoder(cfg.width, cfg.depth, cfg.stride, codes.size(cfg)),
        Decoder(cfg.width, cfg.depth, cfg.stride, COORDINATE_COUNT),
    )


def reach(cfg: config.Tokenizer) -> int:
    """Frames on either side that can influence a token or a decoded frame; a multiple of the stride.

    At each resolution the residual blocks reach as far as the sum of their dilations, and the other convolutions one or
    two steps; over all resolutions this adds up to less than twice the reach at the coarsest.
    """
    blocks = sum(_DILATION_GROWTH**block for block in range(cfg.depth))
    return 2 * cfg.stride * (blocks + 2)


def initial_parameters(cfg: config.Tokenizer, seed: int) -> dict[str, Any]:
    """Parameters {"encoder", "decoder"} f32: kernels normal with variance 1 / fan-in (LeCun), biases zero.

    Where there is movement to learn from, `from_components` turns them into a better initialisation. They are drawn in
    NumPy because the network is small: compiling its random initialisation would take longer than running it.
    """
    encoder, decoder = networks(cfg)
    key = jax.random.key(0)  # only shapes are evaluated
    x_BTC, lengths_B = jnp.zeros((1, cfg.stride, COORDINATE_COUNT)), jnp.full(1, cfg.stride)
    shapes = {
        "encoder": jax.eval_shape(encoder.init, key, x_BTC, x_BTC, lengths_B)["params"],
        "decoder": jax.eval_shape(decoder.init, key, jnp.zeros((1, 1, codes.size(cfg))), lengths_B)["params"],
    }
    rng = np.random.default_rng(seed)
    drawn = {}
    for path, leaf in sorted(flax.traverse_util.flatten_dict(shapes).items()):
        deviation = math.prod(leaf.shape[:-1]) ** -0.5 if path[-1] == "kernel" else 0.0
        drawn[path] = (deviation * rng.normal(size=leaf.shape)).astype(np.float32)
    return flax.traverse_util.unflatten_dict(drawn)


def from_components(
    cfg: config.Tokenizer, params: dict[str, Any], patches_NTC: np.ndarray, weights_C: np.ndarray
) -> dict[str, Any]:
    """Parameters whose linear maps are the principal components of patches, and whose convolutions still give zero.

    With FSQ the largest components get the finest levels, and the map back is the least-squares fit to the patches from
    the quantized components.

    Args:
        patches_NTC: f32[N, stride, 40] scaled features of the frames of tokens.
        weights_C: f32[40] weight of each feature.
    """
    root_P = np.sqrt(np.tile(weights_C, cfg.stride)).astype(np.float64)
    flat_NP = patches_NTC.reshape(len(patches_NTC), -1) * root_P
    mean_P = flat_NP.mean(axis=0)
    variance_K, axes_PK = np.linalg.eigh(np.cov((flat_NP - mean_P).T))
    size = min(codes.size(cfg), len(variance_K))
    axes_PK = axes_PK[:, ::-1][:, :size]
    deviation_K = np.sqrt(np.maximum(variance_K[::-1][:size], 1e-8))
    if cfg.quantizer == "fsq":
        levels_K = sum(cfg.grid, ())[:size]
        order_K = np.argsort(np.argsort(-np.array(levels_K), kind="stable"), kind="stable")
        axes_PK, deviation_K = axes_PK[:, order_K], deviation_K[order_K]
        into_PK = axes_PK / (_FSQ_DEVIATIONS * deviation_K)
        values_NK = np.asarray(fsq_quantize((flat_NP - mean_P) @ into_PK, levels_K))
        square_KK = values_NK.T @ values_NK + 1e-6 * len(values_NK) * np.eye(size)
        back_KP = np.linalg.solve(square_KK, values_NK.T @ (flat_NP - mean_P))
    else:  # one unit for all components, so that the quantizer sees which of them matter
        unit = np.sqrt(np.mean(deviation_K**2))
        into_PK, back_KP = axes_PK / unit, axes_PK.T * unit
    offset_K = -mean_P @ into_PK
    into_PK, back_KP = root_P[:, None] * into_PK, back_KP / root_P
    flat = dict(flax.traverse_util.flatten_dict(params))
    for path, leaf in flat.items():
        half, name, kind = path[0], path[1], path[-1]
        if name == "linear":
            value = np.zeros_like(leaf)
            if half == "encoder" and kind == "kernel":
                value[..., :size] = into_PK.reshape(cfg.stride, COORDINATE_COUNT, size)
            elif half == "encoder":
                value[:size] = offset_K
            elif kind == "kernel":
                value[:size] = back_KP
            else:
                value[:] = mean_P / root_P
            flat[path] = (value / GAIN).astype(np.float32)
        elif name == "out":
            flat[path] = np.zeros_like(leaf)
    return flax.traverse_util.unflatten_dict(flat)


def linear_latents(params: dict[str, Any], patches_NTC: jax.Array | np.ndarray) -> jax.Array:
    """Latents f32[N, K] that the encoder's linear map alone gives for the frames of tokens f32[N, stride, 40]."""
    linear = params["encoder"]["linear"]
    return GAIN * (jnp.einsum("ntc,tck->nk", patches_NTC, linear["kernel"]) + linear["bias"])


class ResidualBlock(nn.Module):
    """x + conv1(relu(conv3(relu(x)))), the first convolution dilated."""

    dilation: int

    @nn.compact
    def __call__(self, x_BTD: jax.Array, lengths_B: jax.Array) -> jax.Array:
        width = x_BTD.shape[-1]
        h_BTD = _zero_padding(_conv(width, dilation=self.dilation)(nn.relu(x_BTD)), lengths_B)
        return _zero_padding(x_BTD + _conv(width, kernel=1)(nn.relu(h_BTD)), lengths_B)


class Encoder(nn.Module):
    """Scaled features and mask to latents, one per `stride` frames."""

    width: int
    depth: int
    stride: int
    code_size: int

    @nn.compact
    def __call__(self, x_BTC: jax.Array, mask_BTC: jax.Array, lengths_B: jax.Array) -> jax.Array:
        """Latents f32[B, S, K], zero beyond lengths / stride.

        Args:
            x_BTC: f32[B, T, C] scaled features, zero where masked.
            mask_BTC: f32[B, T, C] 1 where a feature is shown.
            lengths_B: i32[B] frames, multiples of the stride.
        """
        linear_BSK = nn.Conv(self.code_size, (self.stride,), (self.stride,), padding="VALID", name="linear")(x_BTC)
        x_BTD = _zero_padding(jnp.concatenate([x_BTC, mask_BTC], axis=-1), lengths_B)
        x_BTD = _zero_padding(_conv(self.width)(x_BTD), lengths_B)
        for _ in range(int(math.log2(self.stride))):
            lengths_B = lengths_B // 2
            x_BTD = _zero_padding(_conv(self.width, kernel=4, stride=2)(nn.relu(x_BTD)), lengths_B)
            for block in reversed(range(self.depth)):
                x_BTD = ResidualBlock(_DILATION_GROWTH**block)(x_BTD, lengths_B)
        return _zero_padding(GAIN * (linear_BSK + _conv(self.code_size, name="out")(nn.relu(x_BTD))), lengths_B)


class Decoder(nn.Module):
    """Quantized latents to scaled features."""

    width: int
    depth: int
    stride: int
    features: int

    @nn.compact
    def __call__(self, z_BSK: jax.Array, lengths_B: jax.Array) -> jax.Array:
        """Scaled features f32[B, T, C], zero beyond the lengths, of latents f32[B, S, K]; lengths i32[B] in FRAMES."""
        linear_BST = nn.Dense(self.stride * self.features, name="linear")(z_BSK)
        linear_BTC = linear_BST.reshape(z_BSK.shape[0], -1, self.features)
        doublings = int(math.log2(self.stride))
        frames_B = lengths_B // self.stride
        x_BTD = _zero_padding(_conv(self.width)(_zero_padding(z_BSK, frames_B)), frames_B)
        for _ in range(doublings):
            for block in reversed(range(self.depth)):
                x_BTD = ResidualBlock(_DILATION_GROWTH**block)(x_BTD, frames_B)
            frames_B = frames_B * 2
            x_BTD = _zero_padding(_conv(self.width)(jnp.repeat(x_BTD, 2, axis=1)), frames_B)
        x_BTD = _zero_padding(_conv(self.width)(nn.relu(x_BTD)), frames_B)
        return _zero_padding(GAIN * (linear_BTC + _conv(self.features, name="out")(nn.relu(x_BTD))), frames_B)
