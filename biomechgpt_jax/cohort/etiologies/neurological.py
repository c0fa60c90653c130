"""Etiologies of brain, cord, nerves and balance: how severity changes movement.

Sizes without a named source are from [memory].
"""

from dataclasses import replace

import numpy as np

from biomechgpt_jax.cohort.people.styles import ArmStyle, LegStyle, Style, by_side


def stroke(style: Style, s: float, side: str, rng: np.random.Generator) -> Style:
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
    right, left = by_side(side, paretic, sound)
    arm_right, arm_left = by_side(side, arm, ArmStyle(swing=1 - 0.25 * s))
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


def parkinson(style: Style, s: float, side: str, rng: np.random.Generator) -> Style:
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
    arm_right, arm_left = by_side(side, worse, better)
    return replace(
        style,
        right=leg,
        left=leg,
        arm_right=arm_right,
        arm_left=arm_left,
        cadence=style.cadence * (1 + 0.22 * s),
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


def ataxia(style: Style, s: float, side: str, rng: np.random.Generator) -> Style:
    # Wide base, slow and highly variable steps, nearly normal range (Buckley meta-analysis); tandem gait fails
    # (Stolze 2002).
    leg = LegStyle(stance_share=0.025 * s, hip_rotation=-6 * s, knee_stance=2 * s)
    arm = ArmStyle(swing=1 - 0.2 * s, shoulder_adduction=-12 * s, elbow=8 * s)
    return replace(
        style,
        right=leg,
        left=leg,
        arm_right=arm,
        arm_left=arm,
        cadence=style.cadence * (1 - 0.06 * s),
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
        dysmetria_deg=6.0 * s,
    )


def cerebral_palsy(style: Style, s: float, side: str, rng: np.random.Generator) -> Style:
    # Crouch gait: stance knee at 25-70 degrees; hip flexed, internally rotated and adducted (crouch gait files).
    crouch = rng.uniform(20, 40) * s
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


def traumatic_brain_injury(style: Style, s: float, side: str, rng: np.random.Generator) -> Style:
    # More knee flexion at initial contact (most frequent), more trunk movement, anterior pelvic tilt, less knee flexion
    # at toe-off, wider base (Williams 2009).
    worse = rng.uniform(0.6, 1.0)
    leg = LegStyle(
        knee_stance=rng.uniform(4, 12) * s,
        knee_swing=-rng.uniform(6, 14) * s,
        hip_range=1 - 0.18 * s,
        push_off=1 - 0.3 * s,
        stance_share=0.02 * s,
    )
    other = replace(leg, knee_stance=worse * leg.knee_stance, knee_swing=worse * leg.knee_swing)
    right, left = by_side(str(rng.choice(["right", "left"])), leg, other)
    arm = ArmStyle(swing=1 - 0.4 * s, elbow=rng.uniform(0, 25) * s)
    return replace(
        style,
        right=right,
        left=left,
        arm_right=arm,
        arm_left=arm,
        cadence=style.cadence * (1 - 0.05 * s),
        width_m=rng.uniform(0.02, 0.06) * s,
        pelvis_tilt=rng.uniform(2, 8) * s,
        trunk_flexion=style.trunk_flexion + rng.uniform(0, 6) * s,
        step_asymmetry=rng.normal(0, 0.06) * s,
        stride_time_cv=0.018 + 0.03 * s,
        amplitude_cv=0.02 + 0.05 * s,
        lateral_cv=1.4 * s,
        sway=1 + 2.2 * s,
        closed_eyes=1 + 0.6 * s,
        dysmetria_deg=3.0 * s,
        turn_steps=4 + 3 * s,
        rise_s=style.rise_s * (1 + 0.8 * s),
        squat_depth=1 - 0.2 * s,
    )


def multiple_sclerosis(style: Style, s: float, side: str, rng: np.random.Generator) -> Style:
    # Shorter and slower strides, more double support, slightly lower cadence, variable steps (Comber 2017); a mix of
    # spastic, ataxic and foot-drop components that differs from person to person [memory].
    spastic, ataxic, drop = rng.dirichlet([1.0, 1.0, 1.0])
    weak = LegStyle(
        knee_swing=-(6 + 18 * spastic) * s,
        hip_range=1 - (0.1 + 0.2 * spastic) * s,
        hip_adduction=5 * spastic * s,
        ankle_swing=-(2 + 14 * drop) * s,
        hip_abduction_swing=5 * drop * s,
        push_off=1 - 0.4 * s,
        stance_share=0.02 * s,
    )
    other = LegStyle(knee_swing=-6 * s, hip_range=1 - 0.1 * s, push_off=1 - 0.2 * s, stance_share=0.03 * s)
    right, left = by_side(side, weak, other)
    return replace(
        style,
        right=right,
        left=left,
        cadence=style.cadence * (1 - 0.05 * s),
        amplitude=1 - 0.12 * s,
        arm_right=ArmStyle(swing=1 - 0.3 * s),
        arm_left=ArmStyle(swing=1 - 0.3 * s),
        width_m=(0.02 + 0.06 * ataxic) * s,
        step_asymmetry=(1 if side == "right" else -1) * rng.uniform(0.0, 0.12) * s,
        stride_time_cv=0.018 + (0.02 + 0.05 * ataxic) * s,
        amplitude_cv=0.02 + 0.08 * ataxic * s,
        lateral_cv=2.0 * ataxic * s,
        sway=1 + (1.2 + 2.5 * ataxic) * s,
        closed_eyes=1 + 0.8 * s,
        dysmetria_deg=6 * ataxic * s,
        turn_steps=4 + 3 * s,
        rise_s=style.rise_s * (1 + 1.0 * s),
        squat_depth=1 - 0.3 * s,
    )


def incomplete_spinal_cord_injury(style: Style, s: float, side: str, rng: np.random.Generator) -> Style:
    # Both knees stiff, less hip extension, low clearance, step width 0.13-0.29 m (12 people of a public table).
    leg = LegStyle(
        knee_swing=-rng.uniform(12, 26) * s,
        knee_stance=rng.uniform(0, 10) * s,
        hip_range=1 - 0.28 * s,
        hip_flexion=rng.uniform(0, 8) * s,
        ankle_swing=-rng.uniform(3, 12) * s,
        push_off=1 - 0.5 * s,
        stance_share=0.03 * s,
    )
    arm = ArmStyle(swing=1 - 0.4 * s, shoulder_adduction=-8 * s)
    return replace(
        style,
        right=leg,
        left=replace(leg, knee_swing=leg.knee_swing * rng.uniform(0.6, 1.1)),
        arm_right=arm,
        arm_left=arm,
        cadence=style.cadence * (1 - 0.08 * s),
        width_m=rng.uniform(0.03, 0.12) * s,
        trunk_flexion=style.trunk_flexion + rng.uniform(0, 10) * s,
        stride_time_cv=0.018 + 0.035 * s,
        sway=1 + 1.8 * s,
        closed_eyes=1 + 0.9 * s,
        turn_steps=4 + 4 * s,
        rise_s=style.rise_s * (1 + 1.3 * s),
        squat_depth=1 - 0.45 * s,
    )


def peripheral_neuropathy(style: Style, s: float, side: str, rng: np.random.Generator) -> Style:
    # Steppage gait: hip and knee lift the dropped foot; both sides affected, wide base, shorter steps [memory].
    drop = rng.uniform(0.4, 1.0)
    leg = LegStyle(
        hip_swing=12 * drop * s,
        knee_swing=12 * drop * s,
        ankle_swing=-18 * drop * s,
        push_off=1 - 0.35 * s,
        stance_share=0.02 * s,
    )
    return replace(
        style,
        right=leg,
        left=replace(leg, ankle_swing=leg.ankle_swing * rng.uniform(0.7, 1.1)),
        amplitude=1 - 0.12 * s,
        width_m=rng.uniform(0.02, 0.06) * s,
        stride_time_cv=0.018 + 0.022 * s,
        lateral_cv=1.2 * s,
        sway=1 + 1.6 * s,
        closed_eyes=1 + 1.6 * s,
        turn_steps=4 + 2 * s,
        rise_s=style.rise_s * (1 + 0.5 * s),
        squat_depth=1 - 0.15 * s,
    )


def vestibular_disorder(style: Style, s: float, side: str, rng: np.random.Generator) -> Style:
    # Slow, wide gait with head and trunk locked together, veering; balance fails with closed eyes [memory].
    arm = ArmStyle(swing=1 - 0.3 * s, shoulder_adduction=-6 * s)
    leg = LegStyle(stance_share=0.02 * s)
    return replace(
        style,
        right=leg,
        left=leg,
        arm_right=arm,
        arm_left=arm,
        cadence=style.cadence * (1 - 0.05 * s),
        amplitude=1 - 0.10 * s,
        width_m=rng.uniform(0.03, 0.08) * s,
        stride_time_cv=0.018 + 0.025 * s,
        amplitude_cv=0.02 + 0.03 * s,
        lateral_cv=2.2 * s,
        sway=1 + 2.0 * s,
        closed_eyes=1 + 2.5 * s,
        turn_steps=4 + 5 * s,
        rise_s=style.rise_s * (1 + 0.4 * s),
        squat_depth=1 - 0.1 * s,
    )
