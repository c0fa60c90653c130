"""Still postures and smooth random movement: standing, sitting, squatting, sway and tremor. Angles in degrees."""

from functools import lru_cache

import numpy as np
from scipy.signal import butter, sosfilt

from biomechgpt_jax.biomechanics.skeleton import COORDINATE_COUNT, INDEX
from biomechgpt_jax.cohort.activities.walking import add_posture
from biomechgpt_jax.cohort.people.styles import Style


def _pose(style: Style, values: dict[str, float]) -> np.ndarray:
    q = np.zeros((1, COORDINATE_COUNT))
    for name, value in values.items():
        for full in (name, f"{name}_r", f"{name}_l"):
            if full in INDEX:
                q[0, INDEX[full]] = value
    add_posture(q, style)
    return q[0]


def _add_resting_arms(q: np.ndarray, style: Style) -> np.ndarray:
    for side, arm in (("r", style.arm_right), ("l", style.arm_left)):
        q[INDEX[f"elbow_flex_{side}"]] += arm.elbow
        q[INDEX[f"arm_add_{side}"]] += arm.shoulder_adduction
        q[INDEX[f"arm_rot_{side}"]] += arm.shoulder_rotation
    return q


def _level_feet(q: np.ndarray) -> np.ndarray:
    """Rotate the ankles so that both soles are level, whatever the posture of the legs above them; in place."""
    for side in "rl":
        above = q[INDEX["pelvis_tilt"]] + q[INDEX[f"hip_flexion_{side}"]] - q[INDEX[f"knee_angle_{side}"]]
        q[INDEX[f"ankle_angle_{side}"]] = -above
    return q


def standing(style: Style) -> np.ndarray:
    """Quiet standing, [40] degrees; it keeps part of the style's stance-phase changes of the legs."""
    q = _pose(
        style,
        {
            "hip_flexion": 4.0,
            "knee_angle": 4.0,
            "ankle_angle": 3.0,
            "arm_add": -6.0,
            "arm_rot": 5.0,
            "elbow_flex": 18.0,
            "pro_sup": 45.0,
            "hip_adduction": -np.degrees(0.35 * style.width_m / 0.9),
            "lumbar_bending": style.trunk_bend,
        },
    )
    for side, leg in (("r", style.right), ("l", style.left)):
        q[INDEX[f"knee_angle_{side}"]] += 0.7 * leg.knee_stance
        q[INDEX[f"hip_flexion_{side}"]] += 0.7 * leg.hip_flexion
        q[INDEX[f"hip_rotation_{side}"]] += 0.7 * leg.hip_rotation
        q[INDEX[f"ankle_angle_{side}"]] += 0.5 * leg.ankle_offset
    return _add_resting_arms(_level_feet(q), style)


def sitting(style: Style, crossed_arms: bool) -> np.ndarray:
    """Seated on a chair, [40] degrees."""
    q = _pose(
        style,
        {
            "hip_flexion": 88.0,
            "knee_angle": 98.0,
            "ankle_angle": 12.0,
            "pelvis_tilt": 2.0,
            "lumbar_extension": -12.0,
            "arm_flex": 25.0,
            "arm_add": -4.0,
            "elbow_flex": 70.0,
            "pro_sup": 60.0,
            "hip_adduction": -4.0,
        },
    )
    q = _level_feet(q)
    return cross_arms(q) if crossed_arms else q


def cross_arms(q: np.ndarray) -> np.ndarray:
    """Fold the arms over the chest, as in the chair-rise test (elbows 110-130 degrees)."""
    q = q.copy()
    for side in "rl":
        q[INDEX[f"arm_flex_{side}"]] = 28.0
        q[INDEX[f"arm_add_{side}"]] = 12.0
        q[INDEX[f"arm_rot_{side}"]] = 45.0
        q[INDEX[f"elbow_flex_{side}"]] = 118.0
    return q


def squatting(style: Style) -> np.ndarray:
    """Lowest point of a squat (hip 110, knee 99, ankle 30, pelvis -36 degrees in a healthy adult), [40] degrees."""
    q = standing(style)
    depth = style.squat_depth
    change = {
        "hip_flexion": 104.0,
        "knee_angle": 94.0,
        "ankle_angle": 26.0,
        "pelvis_tilt": -32.0,
        "lumbar_extension": -8.0,
        "arm_flex": 70.0,
        "hip_adduction": -8.0,
    }
    for name, value in change.items():
        for full in (name, f"{name}_r", f"{name}_l"):
            if full in INDEX:
                q[INDEX[full]] += depth * value
    return q


def lean_of_rising() -> np.ndarray:
    """Change of posture half way through rising or sitting down: pelvis and trunk lean forward, [40] degrees."""
    q = np.zeros(COORDINATE_COUNT)
    q[INDEX["pelvis_tilt"]] = -38.0
    q[INDEX["lumbar_extension"]] = -11.0
    for side in "rl":
        q[INDEX[f"hip_flexion_{side}"]] = 34.0
        q[INDEX[f"ankle_angle_{side}"]] = 10.0
    return q


@lru_cache
def _band(low_hz: float, high_hz: float, rate_hz: float) -> np.ndarray:
    return butter(2, [low_hz, high_hz], btype="band", fs=rate_hz, output="sos")


def noise(
    frames: int, rate_hz: float, low_hz: float, high_hz: float, columns: int, rng: np.random.Generator
) -> np.ndarray:
    """Band-limited noise of unit variance, [frames, columns]."""
    settle = int(4 * rate_hz)
    white = rng.normal(size=(frames + settle, columns))
    filtered = sosfilt(_band(low_hz, high_hz, rate_hz), white, axis=0)[settle:]
    return filtered / (filtered.std(axis=0) + 1e-9)


_SWAY_DEG = {
    "ankle_angle_r": 0.35,
    "ankle_angle_l": 0.35,
    "hip_flexion_r": 0.3,
    "hip_flexion_l": 0.3,
    "hip_adduction_r": 0.25,
    "hip_adduction_l": 0.25,
    "pelvis_tilt": 0.25,
    "pelvis_list": 0.2,
    "pelvis_rotation": 0.3,
    "lumbar_extension": 0.4,
    "lumbar_bending": 0.35,
    "lumbar_rotation": 0.3,
    "neck_extension": 0.5,
    "neck_rotation": 0.5,
    "arm_flex_r": 0.5,
    "arm_flex_l": 0.5,
    "elbow_flex_r": 0.5,
    "elbow_flex_l": 0.5,
}


def add_sway(q: np.ndarray, style: Style, rate_hz: float, scale: float, rng: np.random.Generator) -> None:
    """Add postural sway between 0.2 and 1.5 Hz and, where the style has it, tremor of the arms; in place."""
    columns = [INDEX[name] for name in _SWAY_DEG]
    sway = noise(len(q), rate_hz, 0.2, 1.5, len(columns), rng)
    q[:, columns] += sway * np.array(list(_SWAY_DEG.values())) * style.sway * scale
    if style.tremor_deg > 0:
        tremor = round(style.tremor_hz, 1)
        joints = ("elbow_flex", "arm_flex", "wrist_flex", "pro_sup")
        arms = [INDEX[f"{name}_{side}"] for name in joints for side in "rl"]
        band = noise(len(q), rate_hz, tremor - 0.6, tremor + 0.6, len(arms), rng)
        q[:, arms] += style.tremor_deg * band
