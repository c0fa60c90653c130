"""How an etiology, its severity and a device change movement.

A `Style` is everything that makes one participant's movement differ from the norm at the same speed. Angles
in degrees. Directions of change follow the literature named beside each recipe; where no source is named the
size is from memory. Everything scales with severity, so that at severity 0 nobody differs; only a prosthesis shows
whatever the severity.
"""

from dataclasses import dataclass, field, replace

import numpy as np

from biomechgpt_jax.cohort.participants import Participant


@dataclass(frozen=True)
class LegStyle:
    """Changes of one leg. Swing and stance are of this leg."""

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
    push_off: float = 1.0  # scale of the ankle's movement about its mean
    hike: float = 0.0  # pelvis up on this side in this leg's swing
    stance_share: float = 0.0  # added to the stance share of the cycle
    trunk_lean: float = 0.0  # trunk over this leg in its stance


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
    """Everything about how one participant moves."""

    right: LegStyle = field(default_factory=LegStyle)
    left: LegStyle = field(default_factory=LegStyle)
    arm_right: ArmStyle = field(default_factory=ArmStyle)
    arm_left: ArmStyle = field(default_factory=ArmStyle)
    cadence: float = 1.0
    amplitude: float = 1.0  # of the walking pattern: below 1 shortens the step at the same speed setting
    step_asymmetry: float = 0.0  # right step time longer (+) as a share of the step
    width_m: float = 0.0
    trunk_flexion: float = 0.0
    neck_flexion: float = 0.0
    trunk_bend: float = 0.0  # constant, to the right
    pelvis_tilt: float = 0.0  # anterior
    stride_time_cv: float = 0.018
    amplitude_cv: float = 0.02
    lateral_cv: float = 0.0  # foot placement, degrees of hip adduction per step
    sway: float = 1.0
    tremor_deg: float = 0.0
    tremor_hz: float = 5.0
    turn_steps: float = 4.0  # steps in a half turn
    rise_s: float = 1.0  # duration of one sit-to-stand
    squat_depth: float = 1.0
    offsets: dict[str, float] = field(default_factory=dict)  # the person's own posture, degrees


def _by_side(side: str, affected: object, other: object) -> tuple:
    return (affected, other) if side == "right" else (other, affected)


def _stroke(style: Style, s: float, side: str, rng: np.random.Generator) -> Style:
    drop = rng.uniform(0.3, 1.0)
    hyperextends = rng.random() < 0.2
    paretic = LegStyle(
        knee_swing=-rng.uniform(18, 36) * s,  # lower peak knee flexion (CIA 2017)
        knee_stance=(-10 if hyperextends else rng.uniform(-2, 5)) * s,
        hip_range=1 - 0.35 * s,
        ankle_swing=-(4 + 12 * drop) * s,
        push_off=1 - 0.5 * s,
        hip_abduction_swing=rng.uniform(4, 10) * s,
        hike=rng.uniform(2, 6) * s,
        stance_share=-0.04 * s,
        hip_rotation=-4 * s,
    )
    sound = LegStyle(stance_share=0.05 * s, hip_range=1 - 0.08 * s)
    arm = ArmStyle(
        swing=1 - 0.9 * s,
        elbow=rng.uniform(10, 55) * s,
        shoulder_adduction=rng.uniform(0, 8) * s,
        shoulder_rotation=20 * s,
    )
    right, left = _by_side(side, paretic, sound)
    arm_right, arm_left = _by_side(side, arm, ArmStyle(swing=1 - 0.25 * s))
    lean = (-1 if side == "right" else 1) * rng.uniform(0, 4) * s
    return replace(
        style,
        right=right,
        left=left,
        arm_right=arm_right,
        arm_left=arm_left,
        step_asymmetry=(1 if side == "right" else -1) * rng.uniform(0.08, 0.22) * s,
        width_m=0.05 * s,
        trunk_bend=lean,
        stride_time_cv=0.018 + 0.025 * s,
        sway=1 + 1.5 * s,
        turn_steps=4 + 4 * s,
        rise_s=style.rise_s * (1 + 1.3 * s),
        squat_depth=1 - 0.35 * s,
    )


def _parkinson(style: Style, s: float, side: str, rng: np.random.Generator) -> Style:
    # Arm swing: SMD -2.0 on the more affected side, -0.75 on the other (Espinoza-Araneda 2023); shorter
    # strides at higher cadence (Zanardi 2021).
    worse = ArmStyle(swing=1 - 0.9 * s, elbow=rng.uniform(0, 35) * s)
    better = ArmStyle(swing=1 - 0.5 * s, elbow=rng.uniform(0, 25) * s)
    leg = LegStyle(
        knee_stance=5 * s,
        knee_swing=-8 * s,
        hip_range=1 - 0.15 * s,
        push_off=1 - 0.35 * s,
        ankle_swing=-3 * s,
        stance_share=0.02 * s,
    )
    arm_right, arm_left = _by_side(side, worse, better)
    return replace(
        style,
        right=leg,
        left=leg,
        arm_right=arm_right,
        arm_left=arm_left,
        cadence=1 + 0.22 * s,
        amplitude=1 - 0.30 * s,
        trunk_flexion=rng.uniform(0, 18) * s,
        neck_flexion=rng.uniform(0, 15) * s,
        stride_time_cv=0.018 + 0.02 * s,
        sway=1 + 0.8 * s,
        tremor_deg=rng.uniform(0, 2.0) * s,
        tremor_hz=rng.uniform(4, 6),
        turn_steps=4 + 7 * s,
        rise_s=style.rise_s * (1 + 1.2 * s),
        squat_depth=1 - 0.2 * s,
        pelvis_tilt=-2 * s,
    )


def _ataxia(style: Style, s: float, side: str, rng: np.random.Generator) -> Style:
    # Wide base, slow and highly variable steps, nearly normal range (Buckley meta-analysis); tandem fails
    # (Stolze 2002).
    leg = LegStyle(stance_share=0.025 * s, hip_rotation=-6 * s, knee_stance=2 * s)
    arm = ArmStyle(swing=1 - 0.2 * s, shoulder_adduction=-12 * s, elbow=8 * s)
    return replace(
        style,
        right=leg,
        left=leg,
        arm_right=arm,
        arm_left=arm,
        cadence=1 - 0.06 * s,
        width_m=(0.05 + 0.08 * rng.random()) * s,
        stride_time_cv=0.02 + 0.06 * s,
        amplitude_cv=0.02 + 0.10 * s,
        lateral_cv=3.0 * s,
        sway=1 + 4.5 * s,
        tremor_deg=1.0 * s,
        tremor_hz=3.0,
        turn_steps=4 + 3 * s,
        rise_s=style.rise_s * (1 + 0.9 * s),
        squat_depth=1 - 0.15 * s,
    )


def _cerebral_palsy(style: Style, s: float, side: str, rng: np.random.Generator) -> Style:
    # Crouch: stance knee 25-70 degrees, hip flexed, internally rotated and adducted (crouch gait files).
    crouch = rng.uniform(10, 30) * s
    leg = LegStyle(
        knee_stance=crouch,
        knee_swing=-6 * s,
        hip_flexion=0.5 * crouch,
        hip_rotation=rng.uniform(5, 16) * s,
        hip_adduction=rng.uniform(1, 4) * s,
        ankle_offset=0.4 * crouch,
        push_off=1 - 0.3 * s,
        hip_range=1 - 0.1 * s,
        stance_share=0.015 * s,
    )
    arm = ArmStyle(swing=1 - 0.3 * s, elbow=rng.uniform(5, 30) * s, shoulder_adduction=-8 * s)
    return replace(
        style,
        right=leg,
        left=replace(leg, knee_stance=crouch + rng.normal(0, 4) * s),
        arm_right=arm,
        arm_left=arm,
        pelvis_tilt=rng.uniform(0, 8) * s,
        trunk_flexion=rng.uniform(-2, 6) * s,
        stride_time_cv=0.018 + 0.02 * s,
        lateral_cv=0.8 * s,
        sway=1 + 1.8 * s,
        turn_steps=4 + 3 * s,
        rise_s=style.rise_s * (1 + 0.9 * s),
        squat_depth=1 - 0.25 * s,
    )


def _amputation(style: Style, s: float, side: str, rng: np.random.Generator) -> Style:
    # Longer stance on the intact side (Curtze); stance time and push-off discriminate best (Schmid-Zalaudek 2022).
    prosthetic = LegStyle(
        knee_loading=1 - 0.95 * min(1.0, 0.4 + s),
        knee_stance=-5 * min(1.0, 0.4 + s),
        push_off=1 - 0.75 * min(1.0, 0.4 + s),
        hip_abduction_swing=rng.uniform(1, 6) * s,
        hike=rng.uniform(1, 5) * s,
        stance_share=-0.035 * s,
        hip_range=1 - 0.08 * s,
        trunk_lean=rng.uniform(2, 7) * s,
    )
    intact = LegStyle(stance_share=0.035 * s, push_off=1 + 0.15 * s)
    right, left = _by_side(side, prosthetic, intact)
    return replace(
        style,
        right=right,
        left=left,
        step_asymmetry=(1 if side == "right" else -1) * rng.uniform(0.04, 0.14) * s,
        width_m=rng.uniform(0.02, 0.08) * s,
        stride_time_cv=0.018 + 0.012 * s,
        sway=1 + 0.9 * s,
        turn_steps=4 + 3 * s,
        rise_s=style.rise_s * (1 + 0.8 * s),
        squat_depth=1 - 0.45 * s,
        arm_right=ArmStyle(swing=1 - 0.2 * s),
        arm_left=ArmStyle(swing=1 - 0.2 * s),
    )


def _knee_osteoarthritis(style: Style, s: float, side: str, rng: np.random.Generator) -> Style:
    # Longer stride time (Mills 2013), ipsilateral trunk lean SMD 1.18 (Iijima 2019), wider base (Wiik 2017).
    sore = LegStyle(
        knee_loading=1 - 0.6 * s,
        knee_swing=-10 * s,
        knee_stance=rng.uniform(-1, 6) * s,
        stance_share=-0.03 * s,
        trunk_lean=rng.uniform(3, 10) * s,
        hip_range=1 - 0.1 * s,
    )
    other = LegStyle(stance_share=0.02 * s, knee_loading=1 - 0.2 * s)
    right, left = _by_side(side, sore, other)
    return replace(
        style,
        right=right,
        left=left,
        cadence=1 - 0.06 * s,
        step_asymmetry=(1 if side == "right" else -1) * rng.uniform(-0.12, -0.03) * s,
        width_m=0.03 * s,
        stride_time_cv=0.018 + 0.008 * s,
        sway=1 + 0.5 * s,
        turn_steps=4 + 2 * s,
        rise_s=style.rise_s * (1 + 1.1 * s),
        squat_depth=1 - 0.5 * s,
    )


_RECIPES = {
    "stroke": _stroke,
    "Parkinson disease": _parkinson,
    "cerebellar ataxia": _ataxia,
    "cerebral palsy": _cerebral_palsy,
    "transfemoral amputation": _amputation,
    "knee osteoarthritis": _knee_osteoarthritis,
}

# Between-person posture, SD in degrees: below the Schwartz SDs, whose larger part is marker placement.
_POSTURE_SD = {
    "pelvis_tilt": 4.0,
    "pelvis_list": 0.8,
    "hip_flexion": 4.0,
    "hip_adduction": 1.2,
    "hip_rotation": 5.0,
    "knee": 3.0,
    "ankle": 3.0,
    "subtalar": 2.5,
    "mtp": 3.0,
    "lumbar_extension": 5.0,
    "lumbar_bending": 1.0,
    "neck_extension": 4.0,
    "neck_bending": 1.5,
    "shoulder": 5.0,
    "shoulder_adduction": 4.0,
    "shoulder_rotation": 5.0,
    "elbow": 6.0,
    "pro_sup": 8.0,
    "wrist": 4.0,
}


def _with_device(style: Style, device: str, side: str) -> Style:
    if device == "cane":
        # Held opposite the affected leg, planted with it.
        cane = ArmStyle(swing=0.35, shoulder_flexion=6, elbow=0, in_phase_with_other_leg=True)
        if side == "right":
            return replace(style, arm_left=cane, trunk_bend=style.trunk_bend - 2)
        return replace(style, arm_right=cane, trunk_bend=style.trunk_bend + 2)
    if device == "walker":
        holding = ArmStyle(swing=0.08, shoulder_flexion=32, elbow=10)
        return replace(
            style,
            arm_right=holding,
            arm_left=holding,
            trunk_flexion=style.trunk_flexion + 10,
            amplitude=style.amplitude * 0.88,
        )
    return style


def style_of(person: Participant, rng: np.random.Generator) -> tuple[Style, Style]:
    """The participant's style without and with the device (used while walking)."""
    old = max(0.0, (person.age - 65) / 25)
    # Healthy sit-to-stand about 1.6 s a cycle; slower with age and lower fitness (timed tests in 51 people).
    rise = 0.72 * float(np.exp(-0.14 * person.fitness + 0.10 * rng.normal())) * (1 + 0.35 * old)
    style = Style(
        trunk_flexion=6 * old * rng.random(),
        sway=1 + 0.8 * old,
        stride_time_cv=0.018 + 0.006 * old,
        rise_s=rise,
        offsets={name: float(rng.normal(0, sd)) for name, sd in _POSTURE_SD.items()},
        arm_right=ArmStyle(swing=float(np.clip(rng.normal(1, 0.2), 0.4, 1.6))),
        arm_left=ArmStyle(swing=float(np.clip(rng.normal(1, 0.2), 0.4, 1.6))),
        cadence=float(np.exp(0.04 * rng.normal())),
        step_asymmetry=0.012 * float(rng.normal()),
    )
    if person.etiology in _RECIPES:
        style = _RECIPES[person.etiology](style, person.severity, person.side, rng)
    return style, _with_device(style, person.device, person.side)
