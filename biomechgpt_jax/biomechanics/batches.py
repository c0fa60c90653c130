"""Preprocessing of many trials at once: one fused function per bucket of lengths.

Unwrapping and the reflection of the ends are cheap and stay in NumPy; filter, resampling and features run in one
jitted function, vectorised over trials whose lengths and rates differ. It gives what `preprocess.canonical` gives.
"""

from collections import defaultdict
from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np
from scipy.signal import butter, sosfilt_zi

from biomechgpt_jax.biomechanics import preprocess
from biomechgpt_jax.biomechanics.features import features
from biomechgpt_jax.biomechanics.preprocess import CUT_OFF_HZ, ORDER
from biomechgpt_jax.biomechanics.skeleton import COORDINATE_COUNT, INDEX
from biomechgpt_jax.biomechanics.trajectory import Trajectory, replace
from biomechgpt_jax.config import CANONICAL_RATE_HZ

# Trials of a bucket are taken this many at a time; a smaller group is filled up, so that it compiles once.
GROUP = 64


def canonical_batch(trajectories: Sequence[Trajectory]) -> list[tuple[Trajectory, np.ndarray]]:
    """Trials at 30 Hz with their heading-invariant features f32[T, 40], in the order given.

    Args:
        trajectories: free of gaps, at least 2 frames each; any lengths and rates.
    """
    buckets: dict[int, list[int]] = defaultdict(list)
    extended = [_extended(trajectory) for trajectory in trajectories]
    for index, (values, _) in enumerate(extended):
        buckets[preprocess.bucket(len(values))].append(index)
    results: dict[int, tuple[Trajectory, np.ndarray]] = {}
    for size, members in sorted(buckets.items()):
        for begin in range(0, len(members), GROUP):
            part = members[begin : begin + GROUP]
            coordinates, described, frames = _bucket(size, [extended[i] for i in part], [trajectories[i] for i in part])
            for row, index in enumerate(part):
                kept = np.array(coordinates[row, : frames[row]])
                moved = replace(trajectories[index], coordinates=kept, rate_hz=CANONICAL_RATE_HZ)
                results[index] = moved, np.array(described[row, : frames[row]])
    return [results[index] for index in range(len(trajectories))]


def _extended(trajectory: Trajectory) -> tuple[np.ndarray, int]:
    """Unwrapped values with both ends reflected where they will be filtered, f64[T', 40], and the frames in front."""
    q = np.array(trajectory.coordinates, np.float64)
    heading = INDEX["pelvis_rotation"]
    q[:, heading] = np.unwrap(q[:, heading])
    if not _filtered(trajectory):
        return q, 0
    pad = min(len(q) - 1, int(trajectory.rate_hz / 2))
    return np.concatenate([2 * q[0] - q[pad:0:-1], q, 2 * q[-1] - q[-2 : -pad - 2 : -1]]), pad


def _filtered(trajectory: Trajectory) -> bool:
    pad = min(trajectory.frames - 1, int(trajectory.rate_hz / 2))
    return trajectory.rate_hz > CANONICAL_RATE_HZ + 0.01 and pad > 3 * ORDER


def _bucket(
    size: int, extended: Sequence[tuple[np.ndarray, int]], trajectories: Sequence[Trajectory]
) -> tuple[np.ndarray, np.ndarray, list[int]]:
    """Coordinates and features of one group, each f32[GROUP, M, 40], and the frames that count."""
    values_BTC = np.zeros((GROUP, size, COORDINATE_COUNT))
    sections_BS6 = np.tile(np.array([1.0, 0, 0, 1, 0, 0]), (GROUP, ORDER // 2, 1))  # lets everything through
    rest_BS2 = np.zeros((GROUP, ORDER // 2, 2))
    first_B, count_B = np.zeros(GROUP, np.int64), np.full(GROUP, preprocess.STENCIL)
    step_B, wanted = np.ones(GROUP), []
    for row, ((values, pad), trajectory) in enumerate(zip(extended, trajectories, strict=True)):
        # A constant in front: a filter at rest on its first value stays at rest.
        values_BTC[row, : size - len(values)] = values[0]
        values_BTC[row, size - len(values) :] = values
        if _filtered(trajectory):
            sections_BS6[row] = butter(ORDER, CUT_OFF_HZ, fs=trajectory.rate_hz, output="sos")
            rest_BS2[row] = sosfilt_zi(sections_BS6[row])
        first_B[row], count_B[row] = size - len(values) + pad, trajectory.frames
        step_B[row] = trajectory.rate_hz / CANONICAL_RATE_HZ if preprocess.resampled(trajectory.rate_hz) else 1.0
        wanted.append(preprocess.resampled_frames(trajectory.frames, step_B[row]))
    most = preprocess.bucket(max(wanted))
    lengths_B = np.array(wanted + [1] * (GROUP - len(wanted)))
    stencil = min(preprocess.STENCIL, *(trajectory.frames for trajectory in trajectories), preprocess.STENCIL)
    with preprocess.double_on_cpu():
        found = _fused(values_BTC, sections_BS6, rest_BS2, first_B, count_B, step_B, lengths_B, most, stencil)
        coordinates, described = (np.asarray(x, np.float32) for x in found)
    return coordinates, described, wanted


@jax.jit(static_argnums=(7, 8))
def _fused(values_BTC, sections_BS6, rest_BS2, first_B, count_B, step_B, lengths_B, most, stencil):  # type: ignore[no-untyped-def]
    """Filter, resample and describe: f64[B, most, 40] coordinates and features."""

    def trial(values_TC, sections_S6, rest_S2, first, count, step):  # type: ignore[no-untyped-def]
        smooth_TC = preprocess.forward_backward(sections_S6, rest_S2, values_TC)
        positions_M = first + jnp.minimum(jnp.arange(most) * step, count - 1)
        return preprocess.lagrange(smooth_TC, positions_M, first, count, stencil)

    coordinates_BMC = jax.vmap(trial)(values_BTC, sections_BS6, rest_BS2, first_B, count_B, step_B)
    return coordinates_BMC, features(coordinates_BMC, CANONICAL_RATE_HZ, lengths_B)
