"""How people's posture and gait patterns differ, at any speed and whatever the etiology; angles in degrees.

The standard deviations are those of the norm waveforms (Schwartz 2008), so that a person's joints differ from the mean
as much as children's do there. Their correlations follow from the body: feet are flat on the floor in every person,
which ties the ankle to the knee and thigh; a thigh follows the pelvis; a hip takes up the obliquity of the pelvis; and
the trunk balances it. How a spread divides into a constant part and a part that follows the gait cycle is an assumption
of this cohort.
"""

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

from biomechgpt_jax.cohort.people.waveforms import SUBJECT_SD

# SDs of constants for which the norms have no waveform [memory].
_OTHER_SD = {
    "lumbar_extension": 5.0,
    "neck_extension": 4.0,
    "neck_bending": 1.5,
}
_OTHER_LIMB_SD = {
    "subtalar_angle": 2.5,
    "mtp_angle": 3.0,
    "arm_flex": 5.0,
    "arm_add": 4.0,
    "arm_rot": 5.0,
    "elbow_flex": 8.0,
    "pro_sup": 8.0,
    "wrist_flex": 4.0,
}
# Share of a limb's variance that the two sides share.
_COMMON = 0.8
# Correlations implied by flat feet and an upright trunk: hip with pelvic tilt, knee with the thigh's inclination.
_HIP_WITH_TILT, _KNEE_WITH_THIGH = 0.75, 0.55
# Constant part of the spread of the pelvis' obliquity and yaw and of the trunk; the rest follows the gait cycle.
_OBLIQUITY, _YAW, _BEND, _TWIST = 1.8, 2.4, 2.0, 2.6
# SD of the cosine and sine parts over each side's cycle, mostly shared by the sides: range and timing of the swing.
_SWING = {"hip_flexion": 1.8, "hip_rotation": 3.0, "knee_angle": 3.0, "ankle_angle": 2.5, "elbow_flex": 3.0}
# Share of the frontal-plane constants that remains in quiet standing: much of the obliquity is a habit of walking.
_STANDING_SHARE = 0.4
# A knee that would be straighter than the mean by more than this is limited.
_STRAIGHT_DEG = -6.0
# Nobody differs from the mean by more than this many SD.
_WIDEST = 2.5


@dataclass(frozen=True)
class Person:
    """Differences of one person from the mean, in degrees.

    Attributes:
        posture: constant that is always present, by coordinate.
        gait: constant that is present only in walking, by coordinate.
        cycle: cosine and sine parts over the gait cycle, by coordinate; coordinates without a side follow the cycle of
            the right leg.
        yaw: heading of the pelvis to the left of the direction of walking; the legs turn back by as much.
    """

    posture: dict[str, float] = field(default_factory=dict)
    gait: dict[str, float] = field(default_factory=dict)
    cycle: dict[str, tuple[float, float]] = field(default_factory=dict)
    yaw: float = 0.0


def draw(rng: np.random.Generator) -> Person:
    """Draw one person's posture and gait pattern."""

    def normal() -> float:
        return float(np.clip(rng.normal(), -_WIDEST, _WIDEST))

    def sides() -> dict[str, float]:
        common = normal()
        return {side: np.sqrt(_COMMON) * common + np.sqrt(1 - _COMMON) * normal() for side in "rl"}

    sd = SUBJECT_SD
    tilt = sd["pelvic_tilt"] * normal()
    posture = {name: value * normal() for name, value in _OTHER_SD.items()}
    posture |= {"pelvis_tilt": -tilt}
    posture["lumbar_extension"] += 0.5 * tilt
    hip_own, knee_own, rotation = sides(), sides(), sides()
    thigh_sd = np.sqrt(
        sd["hip_flexion"] ** 2 + sd["pelvic_tilt"] ** 2 - 2 * _HIP_WITH_TILT * sd["hip_flexion"] * sd["pelvic_tilt"]
    )
    for side in "rl":
        hip = sd["hip_flexion"] * (
            _HIP_WITH_TILT * tilt / sd["pelvic_tilt"] + np.sqrt(1 - _HIP_WITH_TILT**2) * hip_own[side]
        )
        thigh = hip - tilt
        knee = np.sqrt(sd["knee_flexion"] ** 2 - _SWING["knee_angle"] ** 2) * (
            _KNEE_WITH_THIGH * thigh / thigh_sd + np.sqrt(1 - _KNEE_WITH_THIGH**2) * knee_own[side]
        )
        # Ligaments limit a knee that would hyperextend.
        knee = max(knee, _STRAIGHT_DEG + 0.3 * (knee - _STRAIGHT_DEG))
        posture[f"hip_flexion_{side}"], posture[f"knee_angle_{side}"] = hip, knee
        posture[f"ankle_angle_{side}"] = knee - thigh
        posture[f"hip_rotation_{side}"] = sd["hip_rotation"] * rotation[side]
    for name, value in _OTHER_LIMB_SD.items():
        posture |= {f"{name}_{side}": value * individual for side, individual in sides().items()}
    gait, cycle = _frontal(posture, normal)
    return Person(posture, gait, cycle, _YAW * normal())


def _frontal(
    posture: dict[str, float], normal: Callable[[], float]
) -> tuple[dict[str, float], dict[str, tuple[float, float]]]:
    """Draw obliquity, step width and trunk: constants in walking, part of which joins `posture`, and cycles."""
    sd = SUBJECT_SD

    def cycle_of(name: str, constant: float) -> tuple[float, float]:
        size = np.sqrt(max(0.0, sd[name] ** 2 - constant**2))
        return size * normal(), size * normal()

    up_right = _OBLIQUITY * normal()
    bend = up_right + _BEND * normal()
    # Raising the right side is a negative list; it adducts the right hip and abducts the left.
    constants = {"pelvis_list": -up_right, "lumbar_bending": bend}
    narrow, shift = 1.2 * normal(), 1.0 * normal()
    constants |= {"hip_adduction_r": up_right + narrow + shift, "hip_adduction_l": -up_right + narrow - shift}
    for name, value in constants.items():
        posture[name] = posture.get(name, 0.0) + _STANDING_SHARE * value
    gait = {name: (1 - _STANDING_SHARE) * value for name, value in constants.items()}
    gait["lumbar_rotation"] = _TWIST * normal()
    lift = cycle_of("pelvic_obliquity", _OBLIQUITY)
    twist = cycle_of("pelvic_rotation", _YAW)
    individual = cycle_of("trunk_obliquity", float(np.hypot(_OBLIQUITY, _BEND)))
    cycle = {
        "pelvis_list": (-lift[0], -lift[1]),
        "pelvis_rotation": twist,
        "lumbar_bending": (lift[0] + individual[0], lift[1] + individual[1]),
        "lumbar_rotation": cycle_of("trunk_rotation", _TWIST),
    }
    for side in "rl":
        # Obliquity changes sign between the sides, and so does the cycle half a period later: both hips see the same.
        cycle[f"hip_adduction_{side}"] = (lift[0] + normal(), lift[1] + normal())
    for name, size in _SWING.items():
        cosine, sine = normal(), normal()
        for side in "rl":
            cycle[f"{name}_{side}"] = tuple(  # type: ignore[assignment]
                size * (np.sqrt(_COMMON) * common + np.sqrt(1 - _COMMON) * normal()) for common in (cosine, sine)
            )
    return gait, cycle
