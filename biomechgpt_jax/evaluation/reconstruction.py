"""What a reconstructed movement keeps of the one it was made from, in the units of a clinician.

The error of a coordinate of a trial is the median over its frames (or the 95th percentile); means are over the
coordinates that were observed and moved, those with a standard deviation above 1 degree in the trial.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from biomechgpt_jax.biomechanics import gait
from biomechgpt_jax.biomechanics.features import start_pose
from biomechgpt_jax.biomechanics.skeleton import COORDINATE_COUNT, COORDINATES, HORIZONTAL_ROOT, INDEX
from biomechgpt_jax.biomechanics.trajectory import Trajectory, replace
from biomechgpt_jax.config import CANONICAL_RATE_HZ
from biomechgpt_jax.errors import InputError

_MOVING_DEG = 1.0
# The joint angles follow the pelvis, whose heading is integrated and not coded.
_ANGLES = np.arange(COORDINATE_COUNT) > INDEX["pelvis_rotation"]
_LOWER_LIMB = np.array([name.startswith(("hip_", "knee_", "ankle_")) for name in COORDINATES])
WINDOW_S = 4.0
# A walk is judged if each foot has so many strides.
_STRIDES = 3


@dataclass(frozen=True)
class AngleError:
    """Degrees of one trial's moving coordinates: medians, 95th percentiles, and medians of the lower limb alone."""

    median: np.ndarray
    p95: np.ndarray
    lower_limb: np.ndarray


def angles(true: np.ndarray, back: np.ndarray, observed: np.ndarray) -> AngleError:
    """Error of f32[T, 40] against f32[T', 40], over the frames that both have; observed bool[40]."""
    frames = min(len(true), len(back))
    counted = observed & _ANGLES & (np.degrees(np.where(observed, true, 0.0).std(axis=0)) > _MOVING_DEG)
    error = np.degrees(np.abs(back[:frames] - true[:frames]))
    return AngleError(
        np.median(error[:, counted], axis=0),
        np.percentile(error[:, counted], 95, axis=0) if frames else np.zeros(0),
        np.median(error[:, counted & _LOWER_LIMB], axis=0),
    )


def root_cm(true: np.ndarray, back: np.ndarray) -> list[float]:
    """Mean horizontal distance of the pelvis in windows of four seconds whose first pose is aligned, in cm."""
    length = round(WINDOW_S * CANONICAL_RATE_HZ)
    found = []
    for begin in range(0, min(len(true), len(back)) - length + 1, length):
        paths = [_from_start(movement[begin : begin + length]) for movement in (true, back)]
        found.append(100.0 * float(np.linalg.norm(paths[0] - paths[1], axis=1).mean()))
    return found


def _from_start(movement: np.ndarray) -> np.ndarray:
    """Path f64[T, 2] (forward, rightward) seen from the first pose."""
    x, z, heading = np.asarray(start_pose(movement), np.float64)
    path = movement[:, [INDEX[name] for name in HORIZONTAL_ROOT]].astype(np.float64) - [x, z]
    cos, sin = np.cos(heading), np.sin(heading)
    return np.stack([cos * path[:, 0] - sin * path[:, 1], sin * path[:, 0] + cos * path[:, 1]], axis=1)


@dataclass(frozen=True)
class GaitError:
    """Absolute errors of walks by parameter, and walks that the gait code no longer reads."""

    errors: dict[str, list[float]]
    failures: int
    walks: int


def walks(
    true: Sequence[Trajectory],
    back: Sequence[np.ndarray],
    names: Sequence[str] = ("cadence", "walking_speed", "step_time_asymmetry"),
) -> GaitError:
    """Gait code on the input against the gait code on its reconstruction, for trials with three strides a side."""
    errors: dict[str, list[float]] = {name: [] for name in names}
    failures = count = 0
    for trajectory, movement in zip(true, back, strict=True):
        try:
            before = gait.analyse(replace(trajectory, coordinates=trajectory.coordinates[: len(movement)]))
        except InputError:
            continue
        if min(np.sum(before.strides.foot == foot) for foot in (0, 1)) < _STRIDES:
            continue
        count += 1
        after = gait.analyse(replace(trajectory, coordinates=movement)).parameters
        if any(name in before.parameters and name not in after for name in names):
            failures += 1
        for name in names:
            if name in before.parameters and name in after:
                errors[name].append(abs(after[name] - before.parameters[name]))
    return GaitError(errors, failures, count)
