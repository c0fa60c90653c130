"""Etiologies of muscle and age: how severity changes movement. Sizes without a named source are from [memory]."""

from dataclasses import replace

import numpy as np

from biomechgpt_jax.cohort.people.styles import ArmStyle, LegStyle, Style


def frailty(style: Style, s: float, side: str, rng: np.random.Generator) -> Style:
    # Slower and shorter steps, more double support, a trunk flexed by 5-10 degrees [memory].
    leg = LegStyle(hip_range=1 - 0.12 * s, knee_swing=-6 * s, push_off=1 - 0.3 * s, stance_share=0.025 * s)
    arm = ArmStyle(swing=1 - 0.35 * s)
    return replace(
        style,
        right=leg,
        left=leg,
        arm_right=arm,
        arm_left=arm,
        amplitude=1 - 0.12 * s,
        width_m=rng.uniform(0.0, 0.04) * s,
        trunk_flexion=style.trunk_flexion + rng.uniform(3, 12) * s,
        neck_flexion=rng.uniform(0, 8) * s,
        stride_time_cv=0.02 + 0.018 * s,
        sway=1 + 1.2 * s,
        closed_eyes=1 + 0.3 * s,
        turn_steps=4 + 3 * s,
        rise_s=style.rise_s * (1 + 1.2 * s),
        squat_depth=1 - 0.4 * s,
    )


def facioscapulohumeral_dystrophy(style: Style, s: float, side: str, rng: np.random.Generator) -> Style:
    # Foot drop, weak hips and trunk, lumbar lordosis, slow rise from a chair (timed tests of 35 visits); hanging arms.
    drop = rng.uniform(0.3, 1.0)
    leg = LegStyle(
        ankle_swing=-14 * drop * s,
        hip_swing=7 * drop * s,
        knee_swing=6 * drop * s,
        trunk_lean=rng.uniform(0, 5) * s,
        push_off=1 - 0.25 * s,
        stance_share=0.015 * s,
    )
    arm = ArmStyle(swing=1 - 0.45 * s, shoulder_rotation=12 * s)
    return replace(
        style,
        right=leg,
        left=replace(leg, ankle_swing=leg.ankle_swing * rng.uniform(0.5, 1.2)),
        arm_right=arm,
        arm_left=arm,
        trunk_flexion=style.trunk_flexion - rng.uniform(4, 14) * s,
        pelvis_tilt=rng.uniform(2, 9) * s,
        stride_time_cv=0.018 + 0.015 * s,
        sway=1 + 0.9 * s,
        turn_steps=4 + 2 * s,
        rise_s=style.rise_s * (1 + 3.2 * s**3),
        squat_depth=1 - 0.5 * s,
    )


def myotonic_dystrophy(style: Style, s: float, side: str, rng: np.random.Generator) -> Style:
    # The ankles weaken first, then the neck; all movement is slow (timed tests of 76 visits).
    leg = LegStyle(
        ankle_swing=-rng.uniform(2, 10) * s,
        push_off=1 - 0.5 * s,
        knee_stance=-rng.uniform(0, 6) * s,
        knee_swing=-4 * s,
        stance_share=0.015 * s,
    )
    return replace(
        style,
        right=leg,
        left=leg,
        arm_right=ArmStyle(swing=1 - 0.2 * s),
        arm_left=ArmStyle(swing=1 - 0.2 * s),
        amplitude=1 - 0.06 * s,
        neck_flexion=rng.uniform(2, 12) * s,
        width_m=rng.uniform(0.0, 0.04) * s,
        stride_time_cv=0.018 + 0.02 * s,
        lateral_cv=0.8 * s,
        sway=1 + 1.1 * s,
        turn_steps=4 + 2 * s,
        rise_s=style.rise_s * (1 + 2.0 * s**2.5),
        squat_depth=1 - 0.25 * s,
    )
