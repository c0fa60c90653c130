"""Whether a movement respects the floor and the joints: contact speed, penetration, limits, smoothness.

The measures take trajectories and contact schedules, so they apply to synthetic and recorded movement alike.
"""

from dataclasses import dataclass

import numpy as np
from scipy.signal import welch

from biomechgpt_jax.biomechanics import kinematics
from biomechgpt_jax.biomechanics.skeleton import COORDINATES, limits
from biomechgpt_jax.biomechanics.trajectory import LEFT, RIGHT, Contacts, Trajectory

_FEET = ((RIGHT, "r"), (LEFT, "l"))
_HEEL_AND_BALL = np.array(
    [[kinematics.POINT_INDEX[f"{point}_{side}"] for point in ("heel", "ball")] for _, side in _FEET]
)
_ROUNDING_RAD = 1e-5
_BUCKET = 300
# Above this frequency, the power of a joint angle in human movement is noise or tremor.
HIGH_HZ = 8.0


@dataclass(frozen=True)
class Feet:
    """Heel and ball of both feet over time, f32[T, 2 feet, 2 points, 3] metres."""

    points: np.ndarray
    rate_hz: float

    @property
    def speed(self) -> np.ndarray:
        """Speed of each point in m/s by central differences, f32[T, 2, 2]."""
        return np.linalg.norm(np.gradient(self.points, axis=0) * self.rate_hz, axis=-1)


def foot_points(coordinates: np.ndarray, height_m: float) -> np.ndarray:
    """Heel and ball by forward kinematics of coordinates [T, 40], f32[T, 2 feet, 2 points, 3] metres."""
    q = coordinates.astype(np.float32)
    # Padding lets trials of many lengths share a few compilations.
    padded = np.concatenate([q, np.repeat(q[-1:], -len(q) % _BUCKET, axis=0)])
    return np.asarray(kinematics.points_jit(padded, height_m))[: len(q)][:, _HEEL_AND_BALL]


def feet(trajectory: Trajectory) -> Feet:
    """Heel and ball by forward kinematics; an unknown body height is taken to be 1.70 m."""
    height = trajectory.metadata.height_m
    height = height if np.isfinite(height) else kinematics.DEFAULT_HEIGHT_M
    return Feet(foot_points(trajectory.coordinates, height), trajectory.rate_hz)


def stance(contacts: Contacts, frames: int, rate_hz: float) -> np.ndarray:
    """Frames in which a foot is down, from foot strike to toe off, bool[T, 2].

    The frames just before and after each event are left out: a difference across them would mix stance and swing.
    Before its first event a foot is down if that event is a toe off.
    """
    time = np.arange(frames) / rate_hz
    margin = 1.0 / rate_hz
    down = np.zeros((frames, 2), bool)
    for foot, _ in _FEET:
        on = contacts.strike_time[contacts.strike_foot == foot]
        off = contacts.off_time[contacts.off_foot == foot]
        if len(off) and (not len(on) or off[0] < on[0]):
            on = np.concatenate([[-np.inf], on])
        for start in on:
            later = off[off > start]
            end = later[0] if len(later) else np.inf
            down[(time >= start + margin) & (time <= end - margin), foot] = True
    return down


def contact_speed(trajectory: Trajectory, contacts: Contacts) -> np.ndarray:
    """Speed in m/s of the point in contact (the lower of heel and ball) in every stance frame of both feet, f32[N]."""
    both = feet(trajectory)
    lower = both.points[..., 1].argmin(axis=2)
    speed = np.take_along_axis(both.speed, lower[..., None], axis=2)[..., 0]
    return speed[stance(contacts, trajectory.frames, trajectory.rate_hz)]


def penetration(trajectory: Trajectory, floor_m: np.ndarray | float = 0.0) -> np.ndarray:
    """Depth in metres of the lowest point of the feet below the floor, 0 where both feet are above it, f32[T].

    Args:
        floor_m: height of the floor, or of the support under each foot, f32[T, 2].
    """
    above = feet(trajectory).points[..., 1] - np.asarray(floor_m)[..., None]
    return np.maximum(0.0, -above.reshape(len(above), -1).min(axis=1))


def limit_violations(trajectory: Trajectory) -> dict[str, int]:
    """Number of frames beyond the program's joint limits, by coordinate; coordinates without any are absent."""
    bounds = limits()
    q = trajectory.coordinates
    beyond = ((q < bounds[:, 0] - _ROUNDING_RAD) | (q > bounds[:, 1] + _ROUNDING_RAD)).sum(axis=0)
    return {COORDINATES[i]: int(beyond[i]) for i in np.flatnonzero(beyond)}


def jerk(trajectory: Trajectory, names: tuple[str, ...]) -> float:
    """Root-mean-square jerk of the named angles, rad/s^3."""
    q = trajectory.coordinates[:, [COORDINATES.index(name) for name in names]].astype(np.float64)
    third = np.diff(q, 3, axis=0) * trajectory.rate_hz**3
    return float(np.sqrt(np.mean(third**2)))


def high_frequency_power(trajectory: Trajectory, names: tuple[str, ...]) -> float:
    """Mean power of the named angles above 8 Hz, rad^2 (Welch's method, linearly detrended)."""
    q = trajectory.coordinates[:, [COORDINATES.index(name) for name in names]].astype(np.float64)
    segment = min(len(q), round(2 * trajectory.rate_hz))
    frequency, density = welch(q, trajectory.rate_hz, nperseg=segment, detrend="linear", axis=0)
    high = frequency >= HIGH_HZ
    return float(density[high].sum(axis=0).mean() * (frequency[1] - frequency[0]))
