"""How one participant's movement differs from the norm at the same speed; angles in degrees."""

from dataclasses import dataclass, field
from typing import TypeVar

from biomechgpt_jax.cohort.people.personal import Person

_T = TypeVar("_T")


@dataclass(frozen=True)
class LegStyle:
    """Changes of one leg; swing and stance refer to this leg."""

    knee_swing: float = 0.0  # added to the swing peak
    knee_stance: float = 0.0  # added through stance (fading in swing)
    knee_loading: float = 1.0  # scale of the loading-response flexion
    hip_range: float = 1.0  # scale of the hip's flexion-extension about its mean
    hip_flexion: float = 0.0  # added throughout
    hip_swing: float = 0.0  # added flexion in mid swing
    hip_abduction_swing: float = 0.0  # circumduction
    hip_rotation: float = 0.0
    hip_adduction: float = 0.0
    ankle_offset: float = 0.0
    ankle_swing: float = 0.0  # negative: foot drop
    push_off: float = 1.0  # scale of the ankle's movement
    keel: float = 0.0  # bend of a prosthetic foot: the heel is released earlier by this share of the stance
    hike: float = 0.0  # raises the pelvis on this side during this leg's swing
    stance_share: float = 0.0  # added to the stance share of the cycle
    trunk_lean: float = 0.0  # leans the trunk over this leg during its stance


@dataclass(frozen=True)
class ArmStyle:
    """Changes of one arm."""

    swing: float = 1.0
    shoulder_flexion: float = 0.0
    shoulder_adduction: float = 0.0
    shoulder_rotation: float = 0.0
    elbow: float = 0.0
    in_phase_with_other_leg: bool = False  # a cane is planted with the opposite leg


@dataclass(frozen=True)
class Style:
    """How one participant moves."""

    right: LegStyle = field(default_factory=LegStyle)
    left: LegStyle = field(default_factory=LegStyle)
    arm_right: ArmStyle = field(default_factory=ArmStyle)
    arm_left: ArmStyle = field(default_factory=ArmStyle)
    cadence: float = 1.0
    stance_share: float = 0.0  # added to the stance share of both legs: people differ at the same speed
    amplitude: float = 1.0  # scale of the walking pattern: below 1 shortens the step at the same speed setting
    step_asymmetry: float = 0.0  # excess of the right step time over the left as a share of the step time
    width_m: float = 0.0
    trunk_flexion: float = 0.0
    neck_flexion: float = 0.0
    trunk_bend: float = 0.0  # constant, to the right
    pelvis_tilt: float = 0.0  # anterior
    stride_time_cv: float = 0.018
    amplitude_cv: float = 0.02
    lateral_cv: float = 0.0  # scatter of foot placement: SD of hip adduction per step in degrees
    sway: float = 1.0
    tremor_deg: float = 0.0
    tremor_hz: float = 5.0
    turn_steps: float = 4.0  # steps in a half turn
    rise_s: float = 1.0  # duration of one sit-to-stand
    squat_depth: float = 1.0
    closed_eyes: float = 1.0  # additional scale of the sway with closed eyes
    dysmetria_deg: float = 0.0  # scatter of a reach's end point
    person: Person = field(default_factory=Person)  # the individual's own posture and gait pattern


def by_side(side: str, affected: _T, other: _T) -> tuple[_T, _T]:
    """Order the values of the affected and the other side as (right, left)."""
    return (affected, other) if side == "right" else (other, affected)
