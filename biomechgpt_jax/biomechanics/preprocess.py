"""Bring a recording to the canonical 30 Hz: unwrap, low-pass filter, resample.

The loops over frames are jitted; arrays are padded to powers of two so that files of many lengths share a few
compilations. They run in double precision on the CPU: a recursive filter far below the frame rate loses digits.
"""

from collections.abc import Iterator
from contextlib import contextmanager

import jax
import jax.numpy as jnp
import numpy as np
from scipy.signal import butter, sosfilt_zi

from biomechgpt_jax.biomechanics.skeleton import INDEX
from biomechgpt_jax.biomechanics.trajectory import Trajectory, replace
from biomechgpt_jax.config import CANONICAL_RATE_HZ

# Zero-phase fourth-order Butterworth at 6 Hz is usual for gait (Winter 2009); kept at 10 Hz so that only what
# 30 Hz cannot hold is taken away.
CUT_OFF_HZ = 10.0
ORDER = 4
# Frames taken into account for each resampled one.
STENCIL = 6
_SHORTEST_BUCKET = 64


def canonical(trajectory: Trajectory) -> Trajectory:
    """The same movement at 30 Hz, with pelvis rotation unwrapped.

    A faster recording is filtered before it is thinned out. Hidden coordinates stay zero.

    Args:
        trajectory: free of gaps, at least 2 frames.
    """
    q = np.array(trajectory.coordinates, np.float64)
    heading = INDEX["pelvis_rotation"]
    q[:, heading] = np.unwrap(q[:, heading])
    rate = trajectory.rate_hz
    if resampled(rate):
        if rate > CANONICAL_RATE_HZ:
            q = low_pass(q, rate)
        q = resample(q, rate, CANONICAL_RATE_HZ)
    return replace(trajectory, coordinates=q.astype(np.float32), rate_hz=CANONICAL_RATE_HZ)


def low_pass(values_TC: np.ndarray, rate_hz: float, cut_off_hz: float = CUT_OFF_HZ) -> np.ndarray:
    """Butterworth filter of fourth order run forward and backward, so that nothing is delayed.

    The ends are extended by point reflection for up to half a second, as SciPy's sosfiltfilt does; sequences of
    13 frames or fewer are returned as they are.

    Args:
        values_TC: f64[T, C].
        rate_hz: frames per second, more than twice `cut_off_hz`.

    Returns:
        f64[T, C].
    """
    pad = min(len(values_TC) - 1, int(rate_hz / 2))
    if pad <= 3 * ORDER:
        return values_TC
    sections = butter(ORDER, cut_off_hz, fs=rate_hz, output="sos")
    before = 2 * values_TC[0] - values_TC[pad:0:-1]
    after = 2 * values_TC[-1] - values_TC[-2 : -pad - 2 : -1]
    extended = np.concatenate([before, values_TC, after])
    # In front, a constant: a filter at rest on its first value stays at rest, so the padding changes nothing.
    rows = bucket(len(extended)) - len(extended)
    padded = np.concatenate([np.repeat(extended[:1], rows, axis=0), extended])
    with double_on_cpu():
        filtered = np.asarray(_forward_backward(sections, sosfilt_zi(sections), padded))
    return filtered[rows + pad : len(filtered) - pad]


def resample(values_TC: np.ndarray, rate_hz: float, wanted_hz: float) -> np.ndarray:
    """Values at another rate from the same start, by the polynomial through the six nearest frames.

    Args:
        values_TC: f64[T, C], T at least 2.

    Returns:
        f64[T', C]; the last frame is at or just before the last of `values_TC`.
    """
    frames = len(values_TC)
    wanted = resampled_frames(frames, rate_hz / wanted_hz)
    positions = np.arange(bucket(wanted)) * (rate_hz / wanted_hz)
    padded = np.zeros((bucket(frames), values_TC.shape[1]))
    padded[:frames] = values_TC
    with double_on_cpu():
        return np.asarray(_sample(padded, positions, frames, min(STENCIL, frames)))[:wanted]


def bucket(length: int) -> int:
    """The power of two that a length is padded to."""
    return max(_SHORTEST_BUCKET, 1 << (length - 1).bit_length())


def resampled(rate_hz: float) -> bool:
    """Whether a recording at this rate has to be resampled to the canonical one."""
    return abs(rate_hz - CANONICAL_RATE_HZ) > 0.01


def resampled_frames(frames: int, step: float) -> int:
    """Frames that are left when every `step`-th is taken, fractions included."""
    return int(np.floor((frames - 1) / step + 1e-6)) + 1


@contextmanager
def double_on_cpu() -> Iterator[None]:
    """Double precision on the CPU, for filters far below the frame rate."""
    with jax.enable_x64(True), jax.default_device(jax.local_devices(backend="cpu")[0]):
        yield


def forward_backward(sections_S6: jax.Array, rest_S2: jax.Array, values_TC: jax.Array) -> jax.Array:
    """A recursive filter run forward and backward; the ends are the caller's business."""
    forward_TC = _recursive(sections_S6, rest_S2, values_TC)
    return _recursive(sections_S6, rest_S2, forward_TC[::-1])[::-1]


_forward_backward = jax.jit(forward_backward)


def _recursive(sections_S6: jax.Array, rest_S2: jax.Array, values_TC: jax.Array) -> jax.Array:
    """Second-order sections, transposed direct form II, at rest on the first value."""

    def frame(state_S2C: jax.Array, x_C: jax.Array) -> tuple[jax.Array, jax.Array]:
        states = []
        for section in range(sections_S6.shape[0]):
            b0, b1, b2, _, a1, a2 = sections_S6[section]
            z0_C, z1_C = state_S2C[section]
            y_C = b0 * x_C + z0_C
            states.append(jnp.stack([b1 * x_C - a1 * y_C + z1_C, b2 * x_C - a2 * y_C]))
            x_C = y_C
        return jnp.stack(states), x_C

    start_S2C = rest_S2[:, :, None] * values_TC[0]
    return jax.lax.scan(frame, start_S2C, values_TC)[1]


def lagrange(
    values_TC: jax.Array, positions_M: jax.Array, first: jax.Array | int, frames: jax.Array | int, stencil: int
) -> jax.Array:
    """Polynomial interpolation at fractional frames, f[M, C].

    Args:
        positions_M: in frames of `values_TC`.
        first, frames: where the frames that count begin, and how many they are; at least `stencil`.
    """
    start_M = jnp.clip(jnp.floor(positions_M).astype(int) - (stencil - 1) // 2, first, first + frames - stencil)
    offset_M = positions_M - start_M
    nodes = jnp.arange(stencil)
    apart = nodes[:, None] != nodes  # every other node
    factors = (offset_M[:, None, None] - nodes) / jnp.where(apart, nodes[:, None] - nodes, 1)
    weights_MP = jnp.prod(jnp.where(apart, factors, 1.0), axis=2)
    return jnp.einsum("mp,mpc->mc", weights_MP, values_TC[start_M[:, None] + nodes])


@jax.jit(static_argnums=3)
def _sample(values_TC: jax.Array, positions_M: jax.Array, frames: int, stencil: int) -> jax.Array:
    return lagrange(values_TC, positions_M, 0, frames, stencil)
