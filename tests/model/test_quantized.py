"""Matrices that are held in less than f32: codes, values, sizes, products, and bitsandbytes as the judge."""

import hashlib
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from biomechgpt_jax.model import quantized
from biomechgpt_jax.parallel import sharding

KINDS = [("bfloat16", False), ("int8", False), ("nf4", False), ("nf4", True)]
SHAPES = [((64,), (3, 32)), ((3, 64), (24,))]  # one axis of inputs, and two, of which the last is packed
# Of `bitsandbytes.functional.create_dynamic_map()`, version 0.50.2, as f32.
DYNAMIC_MAP = "e732639a65f497b4ad684bb166a4467708255edd5207757de8b8f0c7e1fda89c"


def kernel_of(shape: tuple[int, ...], seed: int = 0) -> np.ndarray:
    random = np.random.default_rng(seed)
    return (random.standard_normal(shape) * np.exp(random.standard_normal(shape[-1]))).astype(np.float32)


def values_of(held: dict, contracted: int) -> np.ndarray:
    """What NF4 stands for, by its definition, in NumPy and in f32."""
    axis = contracted - 1
    codes = np.stack([held["nf4"] >> 4, held["nf4"] & 15], axis + 1)
    shape = list(held["nf4"].shape)
    shape[axis] *= 2
    absmax = held.get("absmax")
    if absmax is None:
        scale = np.repeat(held["absmax_scale"], 256)[: held["absmax_codes"].size].reshape(held["absmax_codes"].shape)
        absmax = quantized.dynamic_map()[held["absmax_codes"]] * scale + held["absmax_offset"]
        absmax = np.moveaxis(absmax, range(-contracted, 0), range(contracted))
    return quantized.NF4[codes].reshape(shape) * np.repeat(absmax, 64, axis)


@pytest.mark.parametrize(("inputs", "outputs"), SHAPES)
@pytest.mark.parametrize(("kind", "double"), KINDS)
def test_a_product_and_its_gradient_are_those_of_the_widened_matrix(kind, double, inputs, outputs) -> None:
    contracted = len(inputs)
    held = quantized.quantize(kernel_of((*inputs, *outputs)), kind, contracted, double)
    x = jax.random.normal(jax.random.key(0), (2, 5, *inputs))
    weight = jax.random.normal(jax.random.key(1), (2, 5, *outputs))
    kernel = jax.jit(lambda held: quantized.dequantize(held, jnp.float32, contracted))(held)
    assert kernel.shape == (*inputs, *outputs)

    def ours(x, held):
        return jnp.sum(weight * quantized.product(x, held, contracted))

    value, gradient = jax.jit(jax.value_and_grad(ours))(x, held)
    want, wanted = jax.value_and_grad(lambda x: jnp.sum(weight * jnp.tensordot(x, kernel, contracted)))(x)
    np.testing.assert_allclose(value, want, rtol=1e-5)
    np.testing.assert_allclose(gradient, wanted, rtol=1e-5, atol=1e-6 * np.abs(wanted).max())


@pytest.mark.parametrize(("inputs", "outputs"), SHAPES)
@pytest.mark.parametrize("double", [False, True])
def test_nf4_is_widened_bit_for_bit_from_a_table_and_by_choosing(double, inputs, outputs, monkeypatch) -> None:
    contracted = len(inputs)
    held = quantized.quantize(kernel_of((*inputs, *outputs), 3), "nf4", contracted, double)
    want = values_of(held, contracted)
    for platform in ("cpu", "tpu"):
        monkeypatch.setattr(sharding, "platform", lambda name=platform: name)
        got = jax.jit(lambda held, name=platform: quantized.dequantize(held, jnp.float32, contracted))(held)
        np.testing.assert_array_equal(got, want)


def test_nf4_keeps_its_own_values_and_takes_the_nearest() -> None:
    random = np.random.default_rng(0)
    codes = random.integers(0, 16, (64, 5))
    codes[0], codes[1] = 15, 0  # every block reaches both ends
    absmax = np.float32(2.0) ** random.integers(-20, 20, 5)
    held = quantized.quantize(quantized.NF4[codes] * absmax, "nf4")
    np.testing.assert_array_equal(held["absmax"], absmax[None])
    np.testing.assert_array_equal(held["nf4"], (codes[0::2] << 4) | codes[1::2])  # the first in the high half
    kernel = kernel_of((64, 200), 1)
    held = quantized.quantize(kernel, "nf4")
    scaled = kernel / held["absmax"]
    nearest = np.abs(scaled[..., None] - quantized.NF4).min(axis=-1)
    np.testing.assert_allclose(np.abs(values_of(held, 1) / held["absmax"] - scaled), nearest, atol=1e-6)


@pytest.mark.parametrize(
    "values", [np.zeros(64), -np.zeros(64), np.full(64, 0.3), np.eye(64)[7] * -1e-30, np.full(64, 3e38)]
)
@pytest.mark.parametrize(("kind", "double"), KINDS)
def test_odd_blocks_stay_finite_and_close(kind: str, double: bool, values: np.ndarray) -> None:
    kernel = np.stack([values, np.linspace(-1, 1, 64)], axis=1).astype(np.float32)
    held = quantized.quantize(kernel, kind, 1, double)
    got = np.asarray(quantized.dequantize(held, jnp.float32))
    assert np.isfinite(got).all()
    if not double:  # whose scales are rounded by the largest of them
        np.testing.assert_allclose(got[:, 0], values, atol=1e-2 * np.abs(values).max())


def test_int8_is_off_by_half_a_step_at_most_and_has_a_scale_for_each_column() -> None:
    kernel = kernel_of((3, 64, 24))
    kernel[..., 5] = 0
    held = quantized.quantize(kernel, "int8", 2)
    assert held["int8"].dtype == np.int8 and held["scale"].shape == (24,)
    assert np.abs(held["int8"]).max(axis=(0, 1)).tolist() == [0 if column == 5 else 127 for column in range(24)]
    off = np.abs(quantized.dequantize(held, jnp.float32, 2) - kernel)
    assert np.all(off <= 0.501 * held["scale"]) and np.all(off[..., 5] == 0)


def test_bf16_is_rounded_to_even_and_widened_without_loss() -> None:
    values = np.array([1.0, 1 + 2**-8, 1 + 3 * 2**-8, -3e38, 1e-40, 0.1], np.float32)
    bits = quantized.quantize(values[:, None], "bfloat16")["kernel"]
    assert bits.dtype == np.uint16
    want = values.astype(jnp.bfloat16)
    np.testing.assert_array_equal(quantized.widen(bits[:, 0], jnp.float32), want.astype(np.float32))
    narrow = quantized.widen(jnp.asarray(bits[:, 0]), jnp.bfloat16)
    assert narrow.dtype == jnp.bfloat16 and np.array_equal(narrow, want)


def test_bytes_of_a_parameter() -> None:
    kernel = kernel_of((2048, 2048))
    sizes = {
        (kind, double): sum(np.asarray(part).nbytes for part in quantized.quantize(kernel, kind, 1, double).values())
        / kernel.size
        for kind, double in KINDS
    }
    assert sizes["bfloat16", False] == 2 and sizes["int8", False] == pytest.approx(1.002, abs=1e-3)
    assert sizes["nf4", False] == 0.5625 and sizes["nf4", True] == pytest.approx(0.51587, abs=1e-5)


def test_a_part_of_a_matrix_has_the_codes_that_it_has_in_the_whole() -> None:
    kernel = kernel_of((2, 128, 24), 5)
    codes, absmax = quantized.nf4_codes(kernel, 2)
    part, its = quantized.nf4_codes(kernel[1:, 64:, 3:9], 2)
    np.testing.assert_array_equal(part, codes[1:, 32:, 3:9])
    np.testing.assert_array_equal(its, absmax[1:, 1:, 3:9])


def test_the_map_of_scales() -> None:
    values = quantized.dynamic_map()
    assert values.shape == (256,) and np.all(np.diff(values) > 0) and 0 in values and values[-1] == 1
    assert hashlib.sha256(values.tobytes()).hexdigest() == DYNAMIC_MAP


@pytest.mark.parity
@pytest.mark.parametrize("double", [False, True])
def test_codes_and_values_are_those_of_bitsandbytes(double: bool) -> None:
    torch = pytest.importorskip("torch")
    peer = pytest.importorskip("bitsandbytes.functional")
    kernel = kernel_of((1536, 320), 2) * np.float32(0.05)
    theirs, state = peer.quantize_4bit(
        torch.tensor(kernel.T.copy()), blocksize=64, compress_statistics=double, quant_type="nf4"
    )
    held = quantized.quantize(kernel, "nf4", 1, double)
    np.testing.assert_array_equal(held["nf4"].T.reshape(-1), theirs.numpy().reshape(-1))
    if double:
        given = float(state.offset)
        # The mean in f32 depends on the order of the sum: ours is that of f64.
        assert abs(held["absmax_offset"] - given) <= 2 * math.ulp(given) * 2**29
        _, absmax = quantized.nf4_codes(kernel)
        held |= quantized.double(absmax, 1, state.offset.numpy())
        np.testing.assert_array_equal(held["absmax_codes"].reshape(-1), state.absmax.numpy().reshape(-1))
        np.testing.assert_array_equal(held["absmax_scale"], state.state2.absmax.numpy())
        np.testing.assert_array_equal(quantized.dynamic_map(), state.state2.code.numpy())
    else:
        np.testing.assert_array_equal(held["absmax"].T.reshape(-1), state.absmax.numpy())
    np.testing.assert_array_equal(
        jax.jit(lambda held: quantized.dequantize(held, jnp.float32))(held).T,
        peer.dequantize_4bit(theirs, state).numpy(),
    )
