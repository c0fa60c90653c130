"""Zero-phase low-pass filter and resampling as one banded matrix per recording, without a loop over frames.

SciPy's `sosfiltfilt` runs a recursive filter forward and backward. Away from the ends that is a convolution with a
symmetric kernel, the autocorrelation of the filter's impulse response: a sum of decaying exponentials, computed here
from the poles. At 10 Hz the kernel has decayed after half a second (6e-6 of it remains), and the ends are extended by
as much, so that the sum over half a second on either side equals SciPy's result up to rounding. Nothing is recursive,
so single precision suffices at any rate, and only the requested values are computed: a row of the matrix holds the
kernel spread over the frames around one new sampling time.

The matrix is built and applied in blocks of new frames. Shapes: T frames, M new frames, C columns, Q new frames of a
block, W frames that they depend on, P frames of the interpolating polynomial.
"""

from functools import lru_cache
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

# A zero-phase fourth-order Butterworth filter at 6 Hz is usual for gait (Winter 2009); the cut-off is 10 Hz here, to
# remove only what cannot be represented at 30 Hz.
CUT_OFF_HZ = 10.0
ORDER = 4
# Half-width of the kernel, by which the ends are extended as well.
REACH_S = 0.5
# Number of nearest frames that the interpolating polynomial passes through.
STENCIL = 6
# Rates this close to each other count as equal.
SAME_HZ = 0.01
_BLOCK = 32


def bucket(length: int, shortest: int = 64) -> int:
    """The smallest power of two that is at least `length` and at least `shortest`."""
    return max(shortest, 1 << (length - 1).bit_length())


def rate_class(rate_hz: float) -> int:
    """The smallest power of two at or above a rate, at least 16: rates of one class share a compilation."""
    return max(16, 1 << int(np.ceil(np.log2(rate_hz))))


def kernel_reach(fastest: int) -> int:
    """Half-width in frames of the kernel at any rate up to `fastest`."""
    return int(fastest * REACH_S)


def old_frames(frames: int, fastest: int, wanted_hz: float) -> int:
    """Upper limit, a multiple of 32, on the frames at `fastest` that span this many frames at `wanted_hz`."""
    return -(-(int(np.ceil(frames * fastest / wanted_hz)) + 1) // 32) * 32


def new_frames(frames: int, rate_hz: float, wanted_hz: float) -> int:
    """Frames at `wanted_hz` within this many frames at `rate_hz`, both starting at the same time."""
    return int(np.floor(_last_frame(frames, rate_hz, wanted_hz))) + 1


def new_frames_on_device(frames: jax.Array, rate_hz: jax.Array, wanted_hz: float) -> jax.Array:
    """`new_frames` for traced values, i32."""
    return jnp.floor(_last_frame(frames, rate_hz, wanted_hz)).astype(int) + 1


def _last_frame(frames: Any, rate_hz: Any, wanted_hz: float) -> Any:
    """Fractional index of the last old frame among the new ones; the margin keeps rounding from losing a frame."""
    return (frames - 1) * (wanted_hz / rate_hz) + 1e-4


def sample(
    values_TC: jax.Array,
    first: jax.Array,
    count: jax.Array,
    rate_hz: jax.Array,
    wanted_hz: jax.Array | float,
    filtered: jax.Array,
    kernel_K: jax.Array,
    size: int,
    fastest: int,
    steps: int,
) -> jax.Array:
    """Low-pass filter and resample one padded recording; the shapes depend on `size`, `fastest` and `steps` alone.

    Args:
        values_TC: f32[T, C] free of gaps.
        first, count: i32[] first frame to use, which is also the time of the first new frame, and how many to use.
        rate_hz: f32[] frames per second, at most `fastest`.
        wanted_hz: f32[] new rate.
        filtered: bool[] whether to filter before resampling; 13 frames or fewer are never filtered. The ends are
            extended by point reflection over half a second: recordings of 0.4 s and more equal
            `scipy.signal.sosfiltfilt` with that `padlen` within 1e-4.
        kernel_K: f32[2 reach + 1] `kernel` of this rate, with `kernel_reach` of the fastest.
        size: number of new frames to return; those beyond the recording are meaningless.
        fastest: upper limit on `rate_hz`, an even number.
        steps: upper limit on the old frames from one new frame to the next.

    Returns:
        f32[size, C].
    """
    reach = kernel_reach(fastest)
    pad = jnp.minimum(count - 1, jnp.floor(rate_hz * REACH_S).astype(int))
    filtered = filtered & (pad > 3 * ORDER)
    # The kernel multiplies differences from the first frame, so that a large offset costs no digits; values that are
    # not filtered keep every bit.
    offset_C = jnp.where(filtered, values_TC[first], 0.0)

    block = min(_BLOCK, size)
    span = block * steps + STENCIL
    extended_TC = _extend(values_TC, first, count, pad, reach, reach + span) - offset_C
    width = span + 2 * reach
    tail = span + reach  # zeros of the kernel's table before and after its reach
    unit_K = np.eye(1, 2 * reach + 1, reach, dtype=np.float32)[0]
    table = jnp.pad(jnp.where(filtered, kernel_K, unit_K), (tail, tail))
    nearest_M, weights_MP = _stencils(size, rate_hz, wanted_hz, count)

    def one(start: jax.Array) -> jax.Array:
        nearest_Q = jax.lax.dynamic_slice_in_dim(nearest_M, start, block)
        weights_QP = jax.lax.dynamic_slice_in_dim(weights_MP, start, block)
        origin = nearest_Q[0]  # frame of the recording; row `origin` of the extended one is `reach` earlier
        values_WC = jax.lax.dynamic_slice_in_dim(extended_TC, origin, width)
        # Row q, column w of the matrix: the kernel at (origin - reach + w) - (nearest_q + p), summed over p by weight.
        shift_Q = tail - (nearest_Q - origin) - (STENCIL - 1)
        slices_QW = jax.vmap(lambda at: jax.lax.dynamic_slice_in_dim(table, at, width + STENCIL - 1))(shift_Q)
        matrix_QW = sum(
            weights_QP[:, p, None] * slices_QW[:, STENCIL - 1 - p : STENCIL - 1 - p + width] for p in range(STENCIL)
        )
        return jnp.matmul(matrix_QW, values_WC, precision=jax.lax.Precision.HIGHEST)

    blocks_NQC = jax.lax.map(one, jnp.arange(0, size, block))
    return blocks_NQC.reshape(size, -1) + offset_C


def _extend(
    values_TC: jax.Array, first: jax.Array, count: jax.Array, pad: jax.Array, before: int, after: int
) -> jax.Array:
    """The used frames extended at both ends, f32[T + before + after, C]: by point reflection, then constant."""
    last = count - 1
    frame_T = jnp.clip(jnp.arange(-before, values_TC.shape[0] + after), -pad, last + pad)
    inside_T = jnp.where(frame_T < 0, -frame_T, jnp.where(frame_T > last, 2 * last - frame_T, frame_T))
    inside_T = jnp.clip(inside_T, 0, last)
    mirrored_TC = values_TC[first + inside_T]
    edge_TC = jnp.where((frame_T < 0)[:, None], values_TC[first], values_TC[first + last])
    outside_T = (frame_T < 0) | (frame_T > last)
    return jnp.where(outside_T[:, None], 2 * edge_TC - mirrored_TC, mirrored_TC)


def _stencils(
    size: int, rate_hz: jax.Array, wanted_hz: jax.Array | float, count: jax.Array
) -> tuple[jax.Array, jax.Array]:
    """First of the frames around each new time i32[M], and their weights in the polynomial through them f32[M, P]."""
    wanted = jnp.asarray(wanted_hz, jnp.float32)
    # Whole frames are counted in integers: in a long recording a product of floats would lose the fraction.
    same = jnp.abs(rate_hz - wanted) <= SAME_HZ
    whole = jnp.where(same, 1, jnp.floor(rate_hz / wanted).astype(int))
    part = jnp.where(same, 0.0, (rate_hz - whole * wanted) / wanted)
    moment_M = jnp.arange(size)
    beyond_M = moment_M * part
    floor_M = moment_M * whole + jnp.floor(beyond_M).astype(int)
    used = jnp.minimum(STENCIL, count)
    nearest_M = jnp.clip(floor_M - (STENCIL - 1) // 2, 0, jnp.maximum(count - used, 0))
    offset_M = (floor_M - nearest_M) + (beyond_M - jnp.floor(beyond_M))
    node_P = jnp.arange(STENCIL)
    other_PP = (node_P[:, None] != node_P) & (node_P < used)
    factors = (offset_M[:, None, None] - node_P) / jnp.where(other_PP, node_P[:, None] - node_P, 1)
    weights_MP = jnp.prod(jnp.where(other_PP, factors, 1.0), axis=2)
    return nearest_M, jnp.where(node_P < used, weights_MP, 0.0)


@lru_cache(maxsize=64)
def kernel(rate_hz: float, reach: int) -> np.ndarray:
    """Impulse response f32[2 reach + 1] of the filter run forward and backward; its sum is 1.

    Residues of H(z) H(1/z) z^(n-1) at the poles of the bilinear transform, z = (1 + w) / (1 - w), in terms of w, in
    which differences between neighbouring poles do not cancel. The kernel depends on the rate alone: it is computed on
    the host in double precision, not compiled into every program that filters.

    Args:
        rate_hz: frames per second.
        reach: frames on either side.
    """
    # A rate below twice the cut-off is never filtered; it must only not give NaN.
    half_angle = np.pi * CUT_OFF_HZ / max(rate_hz, 2.5 * CUT_OFF_HZ)
    angles = np.pi * (2 * np.arange(ORDER) + 1 + ORDER) / (2 * ORDER)
    w_J = np.tan(half_angle) * np.exp(1j * angles)
    gain = np.prod(-w_J / (1 - w_J))
    lag_N = np.arange(reach + 1)
    response_N = np.zeros(reach + 1)
    response_N[0] = np.real(gain**2 / np.prod((1 + w_J) / (1 - w_J)))
    for i in range(ORDER // 2):  # the other poles are the conjugates of these
        w, below = w_J[i], (1 - w_J[i]) * (1 - w_J)
        apart = np.prod(np.where(np.arange(ORDER) == i, 1.0, 2 * (w - w_J) / below))
        across = np.prod(-2 * (w + w_J) / below)
        log_pole = np.log(1 + w) - np.log(1 - w)
        residue = (gain * (2 / (1 - w)) ** ORDER) ** 2 / (apart * across)
        response_N += 2 * np.real(residue * np.exp((lag_N - 1) * log_pole))
    response_N = np.where(lag_N <= np.ceil(rate_hz * REACH_S), response_N, 0.0)
    response_N /= response_N[0] + 2 * response_N[1:].sum()
    return np.concatenate([response_N[:0:-1], response_N]).astype(np.float32)
