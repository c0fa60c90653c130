"""How matrices are held, and products with them: f32, bf16 as its bits, 8 bits, or 4 bits.

A matrix is a dict of arrays; `parameters` declares them. Frozen ones may be held in less than f32 and are widened
inside the layer that needs them, so that no stack of all layers exists in another type:

    kernel          f32[*inputs, *outputs], or u16 of the same shape: the bits of bf16 (a CPU has no bf16 slices and
                    would convert the whole stack of layers)
    int8, scale     i8[*inputs, *outputs] and f32[*outputs]: the largest of each column is 127
    nf4, absmax     u8[..., K / 2, *outputs] and f32[..., K / 64, *outputs]: NormalFloat codes (Dettmers et al. 2023,
                    arXiv 2305.14314) of blocks of 64 inputs, with the largest of each. Two inputs share a byte, the
                    first in its high half; K is the last axis of inputs
    nf4, absmax_codes, absmax_scale, absmax_offset
                    the same with scales in 8 bits, u8[*outputs, ..., K / 64], by the dynamic map of Dettmers et al.
                    2022 (arXiv 2110.02861) in blocks of 256, f32[ceil(n / 256)], after their mean f32[] was taken away

Codes and values are those of bitsandbytes, which the tests compare with bit for bit. `quantize` runs on the host, in
NumPy: its result depends on no device.
"""

import functools
import math
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from biomechgpt_jax.config.model import BLOCK
from biomechgpt_jax.parallel import sharding

# Appendix E of Dettmers et al. 2023.
NF4 = np.array(
    [
        -1.0,
        -0.6961928009986877,
        -0.5250730514526367,
        -0.39491748809814453,
        -0.28444138169288635,
        -0.18477343022823334,
        -0.09105003625154495,
        0.0,
        0.07958029955625534,
        0.16093020141124725,
        0.24611230194568634,
        0.33791524171829224,
        0.44070982933044434,
        0.5626170039176941,
        0.7229568362236023,
        1.0,
    ],
    np.float32,
)
SCALE_BLOCK = 256  # scales of NF4 that share a scale
_STEPS = 65_535  # of the table by which scales are rounded
_SMALLEST = np.float32(1e-38)
ARRAYS = ("kernel", "int8", "scale", "nf4", "absmax", "absmax_codes", "absmax_scale", "absmax_offset")
CONTRACTED = {"output": 2}  # leading axes of a layer's matrix that are inputs, where they are not one

Held = Mapping[str, Any]


@functools.cache
def dynamic_map() -> np.ndarray:
    """f32[256], ascending: 7 ranges of powers of ten with ever more values in each, both signs, 0 and 1."""
    first, last = np.float32(0.1), np.float32(1)
    values = [first * 0, last]
    for i in range(7):
        # From the nearer end on with one rounding, as the peer's library does: the last bit of many depends on it.
        index, step = np.arange(2**i + 1), float((last - first) / np.float32(2**i))
        edges = np.where(index < (2**i + 1) // 2, first + step * index, last - step * (2**i - index))
        edges = edges.astype(np.float32)
        means = (edges[:-1] + edges[1:]) / np.float32(2) * np.float32(10.0 ** (i - 6))
        values += [*means, *-means]
    return np.sort(np.array(values, np.float32))


def quantize(kernel: np.ndarray, kind: str, contracted: int = 1, double_scales: bool = False) -> dict[str, np.ndarray]:
    """Hold a matrix of one layer in less.

    Args:
        kernel: f32[*inputs, *outputs].
        kind: as `config.Model.base`.
        contracted: number of axes that are inputs.
        double_scales: for nf4; whether its scales are quantised as well.
    """
    kernel = np.asarray(kernel, np.float32)
    if kind == "float32":
        return {"kernel": kernel}
    if kind == "bfloat16":
        return {"kernel": to_bits(kernel)}
    if kind == "int8":
        scale = int8_scale(np.abs(kernel).max(axis=tuple(range(contracted))))
        return {"int8": int8_codes(kernel, scale), "scale": scale}
    codes, absmax = nf4_codes(kernel, contracted)
    return {"nf4": codes} | (double(absmax, contracted) if double_scales else {"absmax": absmax})


def int8_scale(largest: np.ndarray) -> np.ndarray:
    """Scales f32[*outputs] of columns from their largest absolute values; 1 for a column of zeros."""
    return np.where(largest > 0, largest / np.float32(127), np.float32(1)).astype(np.float32)


def int8_codes(kernel: np.ndarray, scale: np.ndarray) -> np.ndarray:
    """i8 like the kernel; any part of a matrix has the codes that it has in the whole, with the whole's scales."""
    return np.clip(np.rint(kernel / scale), -127, 127).astype(np.int8)


def to_bits(values: np.ndarray) -> np.ndarray:
    """The bits u16 of f32 values rounded to bf16, to the nearest and to even ones between two."""
    return np.asarray(values, np.float32).astype(jnp.bfloat16).view(np.uint16)


def nf4_codes(kernel: np.ndarray, contracted: int = 1) -> tuple[np.ndarray, np.ndarray]:
    """(u8[..., K / 2, *outputs], f32[..., K / 64, *outputs]): codes and the largest absolute value of each block.

    Any part of a matrix that ends with blocks has the codes that it has in the whole.
    """
    axis = contracted - 1
    blocks = _split(kernel, axis, BLOCK)
    absmax = np.abs(blocks).max(axis=axis + 1)
    # Multiplied by the inverse, as bitsandbytes does: dividing gives another code now and then.
    inverse = np.float32(1) / np.maximum(absmax, _SMALLEST)
    scaled = np.clip(blocks * np.expand_dims(inverse, axis + 1), -1, 1)
    codes = np.searchsorted(_midpoints(NF4), scaled).astype(np.uint8)
    pairs = _split(codes.reshape(kernel.shape), axis, 2)
    high, low = np.take(pairs, 0, axis + 1), np.take(pairs, 1, axis + 1)
    return (high << 4) | low, absmax


def double(absmax: np.ndarray, contracted: int = 1, offset: np.float32 | None = None) -> dict[str, np.ndarray]:
    """Quantise the scales f32[..., K / 64, *outputs] of a whole matrix; `offset` instead of their mean."""
    outputs_first = np.moveaxis(absmax, range(contracted), range(-contracted, 0))
    flat = outputs_first.reshape(-1)
    offset = np.float32(flat.mean(dtype=np.float64)) if offset is None else np.float32(offset)
    padded = np.pad(flat - offset, (0, -len(flat) % SCALE_BLOCK)).reshape(-1, SCALE_BLOCK)
    scale = np.abs(padded).max(axis=1)
    scaled = np.clip(padded / np.maximum(scale, _SMALLEST)[:, None], -1, 1)
    # bitsandbytes on CPU rounds to one of 65,536 values first, and takes the nearest of the map to that one.
    one, half = np.float32(1), np.float32(0.5)
    step = (((scaled + one) * half) * np.float32(_STEPS) + half).astype(np.int64)
    values = np.float32(2) * np.arange(_STEPS + 1, dtype=np.float32) / np.float32(_STEPS) - one
    codes = np.searchsorted(_midpoints(dynamic_map()), values).astype(np.uint8)[step].reshape(-1)[: len(flat)]
    return {"absmax_codes": codes.reshape(outputs_first.shape), "absmax_scale": scale, "absmax_offset": offset}


def widen(array: jax.Array, dtype: Any) -> jax.Array:
    """An array in this dtype, whether it is held as numbers or as the bits u16 of bf16."""
    if array.dtype != jnp.uint16:
        return array.astype(dtype)
    if dtype == jnp.bfloat16:
        return jax.lax.bitcast_convert_type(array, jnp.bfloat16)
    return jax.lax.bitcast_convert_type(array.astype(jnp.uint32) << 16, jnp.float32).astype(dtype)


def dequantize(held: Held, dtype: Any, contracted: int = 1) -> jax.Array:
    """The matrix [*inputs, *outputs] of one layer."""
    if "kernel" in held:
        return widen(held["kernel"], dtype)
    if "int8" in held:
        return (held["int8"].astype(jnp.float32) * held["scale"]).astype(dtype)
    axis = contracted - 1
    absmax = held["absmax"] if "absmax" in held else _single(held, contracted)
    packed = held["nf4"]
    both = jnp.stack([_look_up(packed >> 4), _look_up(packed & 15)], axis + 1)
    values = both.reshape(*packed.shape[:axis], 2 * packed.shape[axis], *packed.shape[axis + 1 :])
    return (values * jnp.repeat(absmax, BLOCK, axis, total_repeat_length=values.shape[axis])).astype(dtype)


def _single(held: Held, contracted: int) -> jax.Array:
    """Scales f32[..., K / 64, *outputs] of double ones."""
    codes = held["absmax_codes"]
    strides = [math.prod(codes.shape[axis + 1 :]) for axis in range(codes.ndim)]
    index = [jax.lax.broadcasted_iota(jnp.int32, codes.shape, axis) * stride for axis, stride in enumerate(strides)]
    scale = held["absmax_scale"][sum(index) // SCALE_BLOCK]
    product = jax.lax.bitcast_convert_type(jnp.asarray(dynamic_map())[codes] * scale, jnp.uint32)
    # Rounded before the sum, as the peer does. Compilers make one instruction of the two, which rounds once, unless
    # something stands between them: here the sign of the scale, which is always 0.
    sign = jax.lax.bitcast_convert_type(scale, jnp.uint32) >> 31
    product = jax.lax.bitcast_convert_type(product | sign, jnp.float32)
    return jnp.moveaxis(product + held["absmax_offset"], range(-contracted, 0), range(contracted))


def _look_up(codes: jax.Array) -> jax.Array:
    """Values of NF4 codes. On a CPU from a table; elsewhere, where a gather is slow, chosen by each bit in turn."""
    if sharding.platform() == "cpu":
        return jnp.asarray(NF4)[codes]
    values = [jnp.float32(value) for value in NF4]
    for bit in range(4):
        is_set = (codes >> bit) & 1 == 1
        values = [jnp.where(is_set, values[i + 1], values[i]) for i in range(0, len(values), 2)]
    return values[0]


def product(x: jax.Array, held: Held, contracted: int = 1) -> jax.Array:
    """Contract the last axes of x with the inputs of a matrix, in x's dtype; only an f32 kernel has a gradient."""
    if "kernel" in held and held["kernel"].dtype == jnp.float32:
        return dense(x, held["kernel"], contracted)
    return _with_frozen(x, {name: array for name, array in held.items() if name in ARRAYS}, contracted)


@functools.partial(jax.custom_vjp, nondiff_argnums=(2,))
def _with_frozen(x: jax.Array, held: Held, contracted: int) -> jax.Array:
    """The backward pass widens the matrix again: it is never kept."""
    return jnp.tensordot(x, dequantize(held, x.dtype, contracted), axes=contracted)


def _with_frozen_forward(x: jax.Array, held: Held, contracted: int) -> tuple[jax.Array, Held]:
    return _with_frozen(x, held, contracted), held


def _with_frozen_backward(contracted: int, held: Held, d_y: jax.Array) -> tuple[jax.Array, None]:
    return _to_inputs(d_y, dequantize(held, d_y.dtype, contracted), contracted), None


_with_frozen.defvjp(_with_frozen_forward, _with_frozen_backward)


@functools.partial(jax.custom_vjp, nondiff_argnums=(2,))
def dense(x: jax.Array, kernel: jax.Array, contracted: int) -> jax.Array:
    """Contract the last axes of x with the first axes of an f32 kernel, in x's dtype.

    Its own gradient does two things that the automatic one does not: the kernel's gradient accumulates and
    stays in float32, and its product is ordered so that only the narrower operand is ever transposed (on CPU
    the automatic order transposes the wide one, strided, at twice the cost of the product itself).
    """
    return jnp.tensordot(x, kernel.astype(x.dtype), axes=contracted)


def _dense_forward(x: jax.Array, kernel: jax.Array, contracted: int) -> tuple[jax.Array, tuple[jax.Array, jax.Array]]:
    return dense(x, kernel, contracted), (x, kernel)


def _dense_backward(contracted: int, saved: tuple[jax.Array, jax.Array], d_y: jax.Array) -> tuple[jax.Array, jax.Array]:
    x, kernel = saved
    inputs, outputs = kernel.shape[:contracted], kernel.shape[contracted:]
    rows = tuple(range(x.ndim - contracted))
    wide_output = math.prod(outputs) >= math.prod(inputs)
    left, right = (x, d_y) if wide_output else (d_y, x)
    d_kernel = jax.lax.dot_general(left, right, ((rows, rows), ((), ())), preferred_element_type=jnp.float32)
    if not wide_output:
        order = (*range(len(outputs), kernel.ndim), *range(len(outputs)))
        d_kernel = d_kernel.transpose(order)
    return _to_inputs(d_y, kernel.astype(d_y.dtype), contracted), d_kernel


dense.defvjp(_dense_forward, _dense_backward)


def _to_inputs(d_y: jax.Array, kernel: jax.Array, contracted: int) -> jax.Array:
    """The gradient of a product's x from that of its result."""
    rows = d_y.ndim - (kernel.ndim - contracted)
    from_outputs = tuple(range(rows, d_y.ndim)), tuple(range(contracted, kernel.ndim))
    return jax.lax.dot_general(d_y, kernel, (from_outputs, ((), ())))


def laid_out(held: Mapping[str, Any], convert: Callable[[Held, int], Any], name: str = "") -> Any:
    """A tree of one layer's weights in which `convert(held, contracted)` stands for every matrix."""
    if any(kind in held for kind in ("kernel", "int8", "nf4")):
        return convert(held, CONTRACTED.get(name, 1))
    return {
        inner: laid_out(value, convert, inner) if isinstance(value, Mapping) else value for inner, value in held.items()
    }


def _split(array: np.ndarray, axis: int, size: int) -> np.ndarray:
    shape = array.shape
    return array.reshape(*shape[:axis], shape[axis] // size, size, *shape[axis + 1 :])


def _midpoints(values: np.ndarray) -> np.ndarray:
    return (values[:-1] + values[1:]) / np.float32(2)
