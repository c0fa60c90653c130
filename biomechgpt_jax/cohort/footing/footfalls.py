"""Stepping planned from footfalls: where each foot goes, and a body that follows.

Where the position of a step matters (treads of a staircase, squares on the floor), joint angles cannot lead. Instead
the paths of heel and ball are planned, the pelvis follows the supporting feet, and each leg is first posed as two rigid
bars in the sagittal plane; anchoring then brings heel and ball exactly to their paths.

World: x forward, y up, z right, metres. Shapes: T frames.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.ndimage import gaussian_filter1d

from biomechgpt_jax.biomechanics.kinematics import FRACTIONS
from biomechgpt_jax.biomechanics.skeleton import INDEX
from biomechgpt_jax.biomechanics.trajectory import LEFT, RIGHT
from biomechgpt_jax.cohort.footing.anchoring import Movement
from biomechgpt_jax.cohort.footing.performance import RATE_HZ
from biomechgpt_jax.cohort.footing.schedule import BALL, HEEL, Bout, FootContact
from biomechgpt_jax.cohort.people.participants import Participant

# The pelvis arrives over the supporting feet about this long after the load.
_SETTLING_S = 0.16
# Share of the sideways distance from midway between the feet to the supporting foot that the pelvis travels.
_SIDEWAYS = 0.5
# Greatest extension of a leg as a share of its length: knees are never quite straight in stepping.
_STRAIGHTEST = 0.995
_RAMP_S = 0.05


@dataclass(frozen=True)
class Step:
    """One step: a foot leaves the floor at `lift` and its heel arrives at `place` (x, y, z) at `strike`, in seconds."""

    foot: int
    lift: float
    strike: float
    place: tuple[float, float, float]


@dataclass(frozen=True)
class Swing:
    """How a foot travels through the air.

    Attributes:
        clearance_m: height that is added to the path from place to place at mid swing.
        pitch_deg: pitch of the foot at mid swing, positive with the toes up.
        early: share of the swing after which a rising foot has reached its new height; a descending foot starts to sink
            after 1 - early.
    """

    clearance_m: float
    pitch_deg: float = -8.0
    early: float = 0.6


def movement(
    person: Participant,
    time: np.ndarray,
    pose_deg: np.ndarray,
    start: tuple[tuple[float, float, float], tuple[float, float, float]],
    steps: Sequence[Step],
    swing: Swing,
) -> tuple[Movement, Bout]:
    """Plan a movement along footfalls, ready to be anchored, and its contact schedule.

    Args:
        pose_deg: [T, 40] or [40] angles in degrees of everything but the legs; the pelvis does not turn.
        start: places of the right and left heel before the first step.
        steps: steps in the order of their strikes; the steps of one foot do not overlap.
    """
    q = np.radians(np.broadcast_to(pose_deg, (len(time), len(INDEX))).copy())
    heel, pitch, down, stance = _feet(time, start, steps, swing)
    ball_reach = (FRACTIONS.heel_back + FRACTIONS.ball_forward) * person.height_m
    ball = heel + ball_reach * np.stack([np.cos(pitch), np.sin(pitch), np.zeros_like(pitch)], axis=-1)
    load = _load(down)
    q[:, [INDEX["pelvis_tx"], INDEX["pelvis_ty"], INDEX["pelvis_tz"]]] = _root(heel, load, person.height_m)
    for foot in (RIGHT, LEFT):
        _set_leg_angles(q, foot, heel[:, foot], pitch[:, foot], person.height_m)
    weight = gaussian_filter1d(down.astype(float), _RAMP_S * RATE_HZ, axis=0, mode="nearest")
    weight = np.minimum(weight, down)[..., None].repeat(2, axis=2)
    foot_of = np.array([step.foot for step in steps], np.int32)
    own_index = np.array([np.sum(foot_of[: k + 1] == foot_of[k]) for k in range(len(steps))], np.int32)
    contact = FootContact(weight.astype(np.float32), load.astype(np.float32), stance, own_index)
    bout = Bout(
        np.array([step.strike for step in steps]), foot_of, np.array([step.lift for step in steps]), True, True, 0.6
    )
    targets = np.stack([heel, ball], axis=2)
    assert targets.shape[2:] == (2, 3) and (HEEL, BALL) == (0, 1)
    return Movement(q.astype(np.float32), contact, person.height_m, RATE_HZ, feet=targets.astype(np.float32)), bout


def _feet(
    time: np.ndarray,
    start: tuple[tuple[float, float, float], tuple[float, float, float]],
    steps: Sequence[Step],
    swing: Swing,
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Heels [T, 2, 3], pitch of the feet [T, 2] in radians, foot down bool[T, 2], index of the stance i32[T, 2]."""
    heel = np.tile(np.array(start, float), (len(time), 1, 1))
    pitch = np.zeros((len(time), 2))
    down = np.ones((len(time), 2), bool)
    stance = np.zeros((len(time), 2), np.int32)
    place = [np.array(start[RIGHT], float), np.array(start[LEFT], float)]
    for step in steps:
        foot, old, new = step.foot, place[step.foot], np.array(step.place, float)
        u = np.clip((time - step.lift) / (step.strike - step.lift), 0.0, 1.0)
        along = u**3 * (10 - 15 * u + 6 * u**2)  # minimum jerk (Flash and Hogan 1985)
        rising = new[1] > old[1]
        share = u / swing.early if rising else (u - (1 - swing.early)) / swing.early
        share = np.clip(share, 0.0, 1.0)
        moving, after = u > 0, u >= 1
        heel[moving, foot] = old + along[moving, None] * (new - old)
        up = share * share * (3 - 2 * share)
        heel[moving, foot, 1] = old[1] + (up * (new[1] - old[1]) + swing.clearance_m * np.sin(np.pi * u) ** 2)[moving]
        pitch[:, foot] += np.radians(swing.pitch_deg) * np.sin(np.pi * u) ** 2
        down[moving & ~after, foot] = False
        stance[time >= 0.5 * (step.lift + step.strike), foot] += 1
        place[foot] = new
    return heel, pitch, down, stance


def _load(down: np.ndarray) -> np.ndarray:
    """Share of the body weight on each foot [T, 2], smoothed over its lifts and strikes."""
    load = down / np.maximum(down.sum(axis=1, keepdims=True), 1)
    return gaussian_filter1d(load, 0.5 * _SETTLING_S * RATE_HZ, axis=0, mode="nearest")


def _root(heel: np.ndarray, load: np.ndarray, height_m: float) -> np.ndarray:
    """Pelvis [T, 3] as (x, y, z): above the middle of the supporting feet, low enough that both legs reach."""
    middle = heel.copy()
    middle[..., 0] += 0.45 * (FRACTIONS.heel_back + FRACTIONS.ball_forward) * height_m
    # Both feet count with their present place, the supporting foot most.
    even = 0.5 * middle.sum(axis=1)
    over = (middle * load[..., None]).sum(axis=1)
    path = even + np.array([0.55, 0.0, _SIDEWAYS]) * (over - even)
    path[:, 1] = (heel[..., 1] * load).sum(axis=1)
    path = gaussian_filter1d(path, _SETTLING_S * RATE_HZ, axis=0, mode="nearest")
    path[:, 0] += FRACTIONS.hip_back * height_m
    path[:, 1] += (FRACTIONS.hip_down + FRACTIONS.ankle_height) * height_m
    # Neither leg can reach higher than its length allows for its horizontal span.
    legs = _STRAIGHTEST * (FRACTIONS.thigh + FRACTIONS.shank) * height_m
    hip_x = path[:, None, 0] - FRACTIONS.hip_back * height_m
    hip_z = path[:, None, 2] + FRACTIONS.hip_side * height_m * np.array([1.0, -1.0])
    ankle = heel + np.array([FRACTIONS.heel_back * height_m, 0.0, 0.0])
    flat = np.hypot(ankle[..., 0] - hip_x, ankle[..., 2] - hip_z)
    room = np.sqrt(np.maximum(legs**2 - flat**2, (0.5 * legs) ** 2)) + ankle[..., 1]
    lowest = room.min(axis=1)
    # A sliding minimum, smoothed, stays below the limit and has no corners.
    width = round(_SETTLING_S * RATE_HZ)
    held = np.min([np.roll(lowest, shift) for shift in range(-width, width + 1)], axis=0)
    held[:width], held[len(held) - width :] = lowest[:width].min(), lowest[len(lowest) - width :].min()
    smooth = gaussian_filter1d(held, 0.6 * width, mode="nearest")
    path[:, 1] = (FRACTIONS.hip_down + FRACTIONS.ankle_height) * height_m + smooth
    return path


def _set_leg_angles(q: np.ndarray, foot: int, heel: np.ndarray, pitch: np.ndarray, height_m: float) -> None:
    """Set one leg's angles to those of two rigid bars in the sagittal plane from hip to ankle; in place, radians."""
    side = "rl"[foot]
    thigh, shank = FRACTIONS.thigh * height_m, FRACTIONS.shank * height_m
    hip_x = q[:, INDEX["pelvis_tx"]] - FRACTIONS.hip_back * height_m
    hip_y = q[:, INDEX["pelvis_ty"]] - FRACTIONS.hip_down * height_m
    hip_z = q[:, INDEX["pelvis_tz"]] + (1.0, -1.0)[foot] * FRACTIONS.hip_side * height_m
    ankle_x = heel[:, 0] + FRACTIONS.heel_back * height_m * np.cos(pitch)
    ankle_y = heel[:, 1] + FRACTIONS.ankle_height * height_m + FRACTIONS.heel_back * height_m * np.sin(pitch)
    forward, below, outward = ankle_x - hip_x, hip_y - ankle_y, (heel[:, 2] - hip_z) * (1.0, -1.0)[foot]
    deep = np.hypot(below, outward)
    distance = np.clip(np.hypot(forward, deep), 0.3 * thigh, 0.999 * (thigh + shank))
    knee = np.pi - np.arccos(np.clip((thigh**2 + shank**2 - distance**2) / (2 * thigh * shank), -1, 1))
    ahead = np.arccos(np.clip((thigh**2 + distance**2 - shank**2) / (2 * thigh * distance), -1, 1))
    lean = np.arctan2(forward, deep) + ahead
    tilt = q[:, INDEX["pelvis_tilt"]]
    q[:, INDEX[f"hip_flexion_{side}"]] = lean - tilt
    q[:, INDEX[f"hip_adduction_{side}"]] = -np.arctan2(outward, below)
    q[:, INDEX[f"hip_rotation_{side}"]] = 0.0
    q[:, INDEX[f"knee_angle_{side}"]] = knee
    q[:, INDEX[f"ankle_angle_{side}"]] = pitch - (lean - knee)
    q[:, INDEX[f"subtalar_angle_{side}"]] = 0.0
