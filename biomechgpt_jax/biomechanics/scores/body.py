"""What every test reads from a trajectory: points of the body, the course of rising, intervals of frames."""

from dataclasses import dataclass

import numpy as np
from scipy.ndimage import gaussian_filter1d

from biomechgpt_jax.biomechanics import kinematics
from biomechgpt_jax.biomechanics.skeleton import INDEX
from biomechgpt_jax.biomechanics.trajectory import Trajectory
from biomechgpt_jax.errors import InputError

# Positions are smoothed with a Gaussian of this width, which removes the noise of a markerless recording.
SMOOTHING_S = 0.08
# A pelvis that rises less than this share of body height has not left a chair.
RISE_SHARE = 0.10
# On the course from sitting (0) to standing (1), a person is seated below the first level and stands above the second.
SEATED, STANDING = 0.25, 0.85
# A movement starts and ends where its speed passes this share of its greatest speed.
STILL_SHARE = 0.15
# When rising the trunk comes to rest at most this long after the knees, when sitting down at most twice as long after.
LINGER_S = 0.6


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
        name: name of the corresponding question, if there is one.
        value: the value in `unit`.
        start_s, end_s: the part of the trajectory that shows the test.
        phases: parts of the test, in order.
        flags: what a reader of the value must know, such as "cut short by the recording".
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
    """What the tests read from a trajectory.

    Attributes:
        points: f32[T, P, 3] smoothed world points.
        rate_hz: frames per second.
        height_m: height of the person.
        knee: f32[T] smoothed mean flexion of both knees, radians.
    """

    points: np.ndarray
    rate_hz: float
    height_m: float
    knee: np.ndarray

    def point(self, name: str) -> np.ndarray:
        return self.points[:, kinematics.POINT_INDEX[name]]

    def facing(self) -> np.ndarray:
        """Unwrapped heading of the pelvis, f64[T] radians: the direction of forward in the floor plane."""
        across = self.point("hip_r") - self.point("hip_l")
        return np.unwrap(np.arctan2(-across[:, 0], across[:, 2]))

    def lean(self) -> np.ndarray:
        """Angle of the trunk from the vertical, f64[T] radians."""
        trunk = self.point("neck") - self.point("lumbar")
        return np.arctan2(np.linalg.norm(trunk[:, [0, 2]], axis=1), trunk[:, 1])

    def seconds(self) -> np.ndarray:
        return np.arange(len(self.points)) / self.rate_hz


# Coordinates that tests read; the toes, the subtalar joint and the forearm may be missing.
LEGS = ("pelvis_ty", *(f"{name}_{side}" for name in ("hip_flexion", "knee_angle", "ankle_angle") for side in "rl"))
PATH = ("pelvis_tx", "pelvis_tz")
ARMS = tuple(f"{name}_{side}" for name in ("arm_flex", "elbow_flex") for side in "rl")


def body_of(trajectory: Trajectory, test: str, needs: tuple[str, ...] = LEGS) -> Body:
    """Points of a trajectory by jitted forward kinematics; an unknown body height is taken to be 1.70 m.

    Args:
        test: name of the test, for error messages.
        needs: coordinates that the test requires.

    Raises:
        InputError: a required coordinate is not in the recording, or the recording lasts less than half a second.
    """
    missing = [name for name in needs if not trajectory.observed[INDEX[name]]]
    if missing:
        raise InputError(f"{test}: the recording lacks {', '.join(missing)}; give one that has them")
    if trajectory.frames < max(3, 0.5 * trajectory.rate_hz):
        raise InputError(f"{test}: {trajectory.seconds:.2f} s is too short for any test; give the whole recording")
    height = trajectory.metadata.height_m
    height = height if np.isfinite(height) else kinematics.DEFAULT_HEIGHT_M
    # Padding keeps the number of compiled lengths small.
    padding = -trajectory.frames % 256
    padded = np.pad(trajectory.coordinates, ((0, padding), (0, 0)), mode="edge")
    points = np.asarray(kinematics.points_jit(padded, height))[: trajectory.frames]
    smooth = gaussian_filter1d(points, SMOOTHING_S * trajectory.rate_hz, axis=0, mode="nearest")
    knees = trajectory.coordinates[:, [INDEX["knee_angle_r"], INDEX["knee_angle_l"]]].mean(axis=1)
    knee = gaussian_filter1d(knees, SMOOTHING_S * trajectory.rate_hz, mode="nearest")
    return Body(smooth, trajectory.rate_hz, height, knee)


def runs(mask: np.ndarray) -> list[tuple[int, int]]:
    """First frame and the frame past the last of every run of True, in order."""
    edges = np.flatnonzero(np.diff(np.concatenate([[0], mask.astype(np.int8), [0]])))
    return [(int(a), int(b)) for a, b in zip(edges[::2], edges[1::2], strict=True)]


def rising_course(body: Body, test: str) -> np.ndarray:
    """Course from sitting (0) to standing (1), by the height of the hips over the ankles, f64[T].

    Raises:
        InputError: the person does not rise from a chair.
    """
    hips = 0.5 * (body.point("hip_r") + body.point("hip_l"))[:, 1]
    above = hips - 0.5 * (body.point("ankle_r") + body.point("ankle_l"))[:, 1]
    low, high = np.percentile(above, 2), np.percentile(above, 98)
    if high - low < RISE_SHARE * body.height_m:
        raise InputError(f"{test}: nobody rises from a chair (the hips move {high - low:.2f} m); give another file")
    return (above - low) / (high - low)


def crossing(values: np.ndarray, level: float, frame: int) -> float:
    """Sub-frame position at which `values` passes `level` between `frame` and the next frame."""
    a, b = float(values[frame]), float(values[frame + 1])
    return frame + (0.0 if a == b else float(np.clip((level - a) / (b - a), 0.0, 1.0)))


def start_of_movement(values: np.ndarray, fastest: int) -> float:
    """Frame at which the movement starts that is fastest at frame `fastest`; 0 if it is under way from the first."""
    speed = np.abs(np.gradient(values))
    level = STILL_SHARE * speed[fastest]
    slow = np.flatnonzero(speed[:fastest] < level)
    return crossing(speed, level, int(slow[-1])) if len(slow) else 0.0


def end_of_movement(values: np.ndarray, fastest: int) -> float:
    """Frame at which the movement ends that is fastest at frame `fastest`; the last if it continues to the end."""
    speed = np.abs(np.gradient(values))
    level = STILL_SHARE * speed[fastest]
    slow = np.flatnonzero(speed[fastest:] < level)
    return crossing(speed, level, fastest + int(slow[0]) - 1) if len(slow) and slow[0] else len(values) - 1.0


def _fastest(rate: np.ndarray, begin: float, end: float) -> int:
    """Frame of the greatest rate between two frames, both inside the recording."""
    low = int(np.clip(round(begin), 0, len(rate) - 1))
    high = int(np.clip(round(end), low, len(rate) - 1))
    return low + int(np.argmax(rate[low : high + 1]))


def start_of_rise(body: Body, left: int) -> float:
    """Frame at which the trunk starts to lean for the rise in which the hips leave the seat at frame `left`."""
    lean = body.lean()
    # The lean of a rise starts at most this long before the hips leave the seat.
    peak = _fastest(np.gradient(lean), left - 1.5 * body.rate_hz, left)
    return start_of_movement(lean, peak)


def end_of_rise(body: Body, left: int, up: int) -> float:
    """Frame at which knees and trunk are straight after a rise that leaves the seat at `left` and stands at `up`."""
    lean = body.lean()
    knees = end_of_movement(body.knee, _fastest(-np.gradient(body.knee), left, up))
    trunk = end_of_movement(lean, _fastest(-np.gradient(lean), left, up + 0.3 * body.rate_hz))
    # A trunk that still moves long afterwards is doing something else.
    return max(knees, trunk) if trunk - knees < LINGER_S * body.rate_hz else knees


def end_of_sitting_down(body: Body, down: int) -> float:
    """Frame at which a person whose hips reach the seat at frame `down` has come to rest, with the trunk upright."""
    lean = body.lean()
    knees = end_of_movement(body.knee, _fastest(np.gradient(body.knee), down - body.rate_hz, down))
    trunk = end_of_movement(lean, _fastest(-np.gradient(lean), down - 0.3 * body.rate_hz, down + body.rate_hz))
    return max(knees, trunk) if trunk - knees < 2 * LINGER_S * body.rate_hz else knees
