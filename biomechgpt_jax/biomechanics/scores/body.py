"""What every test reads of a trajectory: points of the body, the course of rising, intervals of frames."""

from dataclasses import dataclass

import numpy as np
from scipy.ndimage import gaussian_filter1d

from biomechgpt_jax.biomechanics import kinematics
from biomechgpt_jax.biomechanics.trajectory import Trajectory
from biomechgpt_jax.errors import InputError

# Positions are smoothed with a Gaussian of this width: below it lies the noise of a markerless recording.
SMOOTHING_S = 0.08
# A pelvis that rises less than this share of body height has not left a chair.
RISE_SHARE = 0.10
# Parts of the course from sitting (0) to standing (1): a person below is seated, above stands.
SEATED, STANDING = 0.25, 0.85


@dataclass(frozen=True)
class Phase:
    """A named part of a test, in seconds of the trajectory."""

    name: str
    start_s: float
    end_s: float


@dataclass(frozen=True)
class Result:
    """A test measured on a trajectory.

    Attributes:
        name: of its question where there is one.
        value: in `unit`.
        start_s, end_s: the part of the trajectory that shows it.
        phases: its parts, in order.
        flags: what a reader of the value must know, such as "cut short".
    """

    name: str
    value: float
    unit: str
    start_s: float
    end_s: float
    phases: tuple[Phase, ...] = ()
    flags: tuple[str, ...] = ()


@dataclass(frozen=True)
class Body:
    """Smoothed world points f32[T, P, 3] of a trajectory, its rate and the height of the person in metres."""

    points: np.ndarray
    rate_hz: float
    height_m: float

    def point(self, name: str) -> np.ndarray:
        return self.points[:, kinematics.POINT_INDEX[name]]

    def facing(self) -> np.ndarray:
        """Unwrapped heading of the pelvis, f64[T] radians: the direction of forward in the floor plane."""
        across = self.point("hip_r") - self.point("hip_l")
        return np.unwrap(np.arctan2(-across[:, 0], across[:, 2]))

    def seconds(self) -> np.ndarray:
        return np.arange(len(self.points)) / self.rate_hz


def body_of(trajectory: Trajectory) -> Body:
    """Points of a trajectory by the jitted forward kinematics; 1.70 m where the height is unknown."""
    if trajectory.frames < 3:
        raise InputError(f"a test cannot be measured on {trajectory.frames} frames; give the whole recording")
    height = trajectory.metadata.height_m
    height = height if np.isfinite(height) else kinematics.DEFAULT_HEIGHT_M
    # A few lengths only, so that few are compiled.
    short = -trajectory.frames % 256
    padded = np.pad(trajectory.coordinates, ((0, short), (0, 0)), mode="edge")
    points = np.asarray(kinematics.points_jit(padded, height))[: trajectory.frames]
    smooth = gaussian_filter1d(points, SMOOTHING_S * trajectory.rate_hz, axis=0, mode="nearest")
    return Body(smooth, trajectory.rate_hz, height)


def runs(mask: np.ndarray) -> list[tuple[int, int]]:
    """First frame and frame past the last of every run of True, in order."""
    edges = np.flatnonzero(np.diff(np.concatenate([[0], mask.astype(np.int8), [0]])))
    return [(int(a), int(b)) for a, b in zip(edges[::2], edges[1::2], strict=True)]


def risen(body: Body, test: str) -> np.ndarray:
    """Course from sitting (0) to standing (1), by the height of the hips over the ankles, f64[T].

    Raises:
        InputError: the person does not rise from a chair.
    """
    hips = 0.5 * (body.point("hip_r") + body.point("hip_l"))[:, 1]
    above = hips - 0.5 * (body.point("ankle_r") + body.point("ankle_l"))[:, 1]
    low, high = np.percentile(above, 2), np.percentile(above, 98)
    if high - low < RISE_SHARE * body.height_m:
        raise InputError(f"{test}: nobody rises from a chair here (hips move {high - low:.2f} m); give another file")
    return (above - low) / (high - low)


def crossing(values: np.ndarray, level: float, frame: int) -> float:
    """Sub-frame place at which `values` passes `level` between `frame` and the next."""
    a, b = float(values[frame]), float(values[frame + 1])
    return frame + (0.0 if a == b else float(np.clip((level - a) / (b - a), 0.0, 1.0)))


def onset_of_lean(body: Body, before: int) -> float:
    """Frame at which the trunk begins to lean for the rise whose hips leave the seat at frame `before`.

    The line through 10 % and 30 % of the lean, drawn back to none; the first frame if the lean is under way there.
    """
    trunk = body.point("neck") - body.point("lumbar")
    lean = np.arctan2(np.linalg.norm(trunk[:, [0, 2]], axis=1), trunk[:, 1])
    begin = max(0, before - round(2.5 * body.rate_hz))
    # The most upright moment of sitting that precedes this rise is where it began from.
    span = lean[begin : before + 1]
    peak = begin + int(np.argmax(span))
    rest = float(np.median(lean[begin : begin + max(1, (peak - begin) // 3)]))
    level = [rest + share * (lean[peak] - rest) for share in (0.1, 0.3)]
    found = []
    for one in level:
        below = np.flatnonzero(lean[begin:peak] < one)
        found.append(crossing(lean, one, begin + int(below[-1])) if len(below) else float(begin))
    return max(float(begin), found[0] - 0.5 * (found[1] - found[0]))
