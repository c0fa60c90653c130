"""Etiologies of joints and limbs: how severity changes movement. Sizes without a named source are from [memory]."""

from dataclasses import replace

import numpy as np

from biomechgpt_jax.cohort.people.styles import ArmStyle, LegStyle, Style, by_side


def transfemoral_amputation(style: Style, s: float, side: str, rng: np.random.Generator) -> Style:
    # Longer stance on the intact side (Curtze); stance time and push-off are most distinctive (Schmid-Zalaudek 2022).
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
    right, left = by_side(side, prosthetic, intact)
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


def knee_osteoarthritis(style: Style, s: float, side: str, rng: np.random.Generator) -> Style:
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
    right, left = by_side(side, sore, other)
    return replace(
        style,
        right=right,
        left=left,
        cadence=style.cadence * (1 - 0.06 * s),
        step_asymmetry=(1 if side == "right" else -1) * rng.uniform(-0.12, -0.03) * s,
        width_m=0.03 * s,
        stride_time_cv=0.018 + 0.008 * s,
        sway=1 + 0.5 * s,
        turn_steps=4 + 2 * s,
        rise_s=style.rise_s * (1 + 1.1 * s),
        squat_depth=1 - 0.5 * s,
    )


def transtibial_amputation(style: Style, s: float, side: str, rng: np.random.Generator) -> Style:
    # Little knee flexion in stance, ankle range of 10-15 degrees without push-off, longer stance on the intact side
    # (Schmid-Zalaudek 2022); the prosthesis steps more laterally (Curtze).
    worn = min(1.0, 0.6 + s)
    prosthetic = LegStyle(
        knee_loading=1 - 0.55 * worn,
        knee_swing=-6 * s,
        push_off=1 - 0.8 * worn,
        keel=0.35 * worn,
        hip_abduction_swing=rng.uniform(0, 4) * s,
        hike=rng.uniform(0, 3) * s,
        stance_share=-0.02 * s,
        hip_range=1 - 0.05 * s,
        trunk_lean=rng.uniform(0, 4) * s,
    )
    right, left = by_side(side, prosthetic, LegStyle(stance_share=0.02 * s, push_off=1 + 0.1 * s))
    return replace(
        style,
        right=right,
        left=left,
        step_asymmetry=(1 if side == "right" else -1) * rng.uniform(0.02, 0.09) * s,
        width_m=rng.uniform(0.0, 0.05) * s,
        stride_time_cv=0.018 + 0.01 * s,
        sway=1 + 0.7 * s,
        closed_eyes=1 + 0.5 * s,
        turn_steps=4 + 2 * s,
        rise_s=style.rise_s * (1 + 0.5 * s),
        squat_depth=1 - 0.3 * s,
        arm_right=ArmStyle(swing=1 - 0.1 * s),
        arm_left=ArmStyle(swing=1 - 0.1 * s),
    )


def hip_osteoarthritis(style: Style, s: float, side: str, rng: np.random.Generator) -> Style:
    # Clearly reduced hip range with less extension, trunk lean over the sore hip (Duchenne), short stance [memory].
    sore = LegStyle(
        hip_range=1 - 0.38 * s,
        hip_flexion=rng.uniform(2, 9) * s,
        hip_adduction=rng.uniform(0, 3) * s,
        knee_swing=-6 * s,
        stance_share=-0.03 * s,
        trunk_lean=rng.uniform(4, 10) * s,
    )
    right, left = by_side(side, sore, LegStyle(stance_share=0.02 * s))
    return replace(
        style,
        right=right,
        left=left,
        cadence=style.cadence * (1 - 0.04 * s),
        step_asymmetry=(1 if side == "right" else -1) * rng.uniform(-0.12, -0.02) * s,
        width_m=0.02 * s,
        pelvis_tilt=rng.uniform(1, 7) * s,
        stride_time_cv=0.018 + 0.008 * s,
        sway=1 + 0.5 * s,
        turn_steps=4 + 2 * s,
        rise_s=style.rise_s * (1 + 0.9 * s),
        squat_depth=1 - 0.5 * s,
    )
