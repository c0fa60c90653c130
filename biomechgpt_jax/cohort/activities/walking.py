"""Joint angles of stepping: norm waveforms at the participant's speed, changed by the participant's style."""

from dataclasses import dataclass

import numpy as np

from biomechgpt_jax.biomechanics.kinematics import FRACTIONS
from biomechgpt_jax.biomechanics.skeleton import COORDINATE_COUNT, INDEX
from biomechgpt_jax.biomechanics.trajectory import LEFT, RIGHT
from biomechgpt_jax.cohort.footing.schedule import Bout
from biomechgpt_jax.cohort.people import waveforms
from biomechgpt_jax.cohort.people.participants import Participant
from biomechgpt_jax.cohort.people.personal import Person
from biomechgpt_jax.cohort.people.styles import ArmStyle, LegStyle, Style

# Offset in degrees between the pelvic plane of the norm curves and the OpenSim pelvis (one subject).
PELVIC_PLANE_DEG = 7.5
# Added to the norm: with the hips of this body model, the norm alone would make steps 3 cm too wide for an adult.
HIP_ADDUCTION_DEG = 0.8

# Forward lean of the trunk on the pelvis while walking, degrees (OpenCap walking1: 6).
LEANING_DEG = 5.0
# Anchoring smooths the pelvis' path, which lowers its peaks by some millimetres; the legs are straightened to match.
SETTLING_DEG = 2.5


@dataclass(frozen=True)
class Pace:
    """Intended pace of a bout; the measured speed follows from the joint angles."""

    normalised: float
    amplitude: float
    stride_s: float
    stance_share: tuple[float, float]


def _stance_share(speed: float) -> float:
    """Stance as a share of the cycle at a speed in m/s: 60 % at 1.3, 65 at 0.7, 71 at 0.4 [memory]."""
    return float(np.interp(speed, [0.2, 0.4, 0.7, 1.0, 1.3, 1.9], [0.74, 0.71, 0.655, 0.625, 0.60, 0.575]))


def pace(person: Participant, style: Style, speed: float) -> Pace:
    """The pace for walking at a speed in m/s: cadence from a constant walk ratio, modified by the style.

    The walk ratio is 0.0064 m per step/min, scaled to leg length. A style that shortens the step at a given speed
    setting gets a higher setting and cadence, so that the intended speed is reached with shorter, quicker steps.
    """
    ratio = 0.0064 * person.height_m / 1.70
    plain = np.sqrt(60.0 * speed / ratio)
    usual = float(plain * style.cadence)
    setting, cadence = speed, float(np.clip(usual, 42, 160))
    # Speed of a body without a style, which anchoring makes 3 % faster than intended.
    aim = 0.97 * step_length(person, Style(), speed) * plain
    for _ in range(2):
        missing = aim / (step_length(person, style, setting) * cadence)
        # Make up half by quicker and half by longer steps, within what a person can change.
        setting = float(np.clip(setting * missing, 0.7 * speed, 1.8 * speed))
        cadence = float(np.clip(cadence * np.sqrt(missing), 42, min(160, 1.25 * usual)))
    share = _stance_share(speed) + style.stance_share
    shares = tuple(float(np.clip(share + leg.stance_share, 0.54, 0.80)) for leg in (style.right, style.left))
    return Pace(person.normalised(setting), style.amplitude, 120.0 / cadence, (shares[0], shares[1]))


def _bump(phase: np.ndarray, centre: float, width: float) -> np.ndarray:
    """A smooth periodic bump of height 1 at `centre` of the cycle."""
    return np.exp((np.cos(2 * np.pi * (phase - centre)) - 1) / (2 * np.pi * width) ** 2)


def _leg_angles(style: LegStyle, speed: float, phase: np.ndarray) -> dict[str, np.ndarray]:
    hip = waveforms.curve("hip_flexion", speed, phase) - PELVIC_PLANE_DEG
    hip = hip.mean() + style.hip_range * (hip - hip.mean()) if np.ndim(hip) else hip
    swing, middle = _bump(phase, 0.73, 0.10), _bump(phase, 0.82, 0.12)
    stance = 1 - 0.6 * swing
    knee = waveforms.curve("knee_flexion", speed, phase)
    knee = knee + style.knee_swing * swing + style.knee_stance * stance
    knee = knee + (style.knee_loading - 1) * 10.0 * _bump(phase, 0.14, 0.07)
    ankle = waveforms.curve("ankle_dorsiflexion", speed, phase)
    ankle = style.push_off * ankle + style.ankle_offset + style.ankle_swing * _bump(phase, 0.86, 0.12)
    settled = SETTLING_DEG * _bump(phase, 0.22, 0.13)
    knee, ankle = knee - settled, ankle - settled
    toe = 25.0 * _bump(phase, 0.58, 0.06) * style.push_off
    return {
        "hip_flexion": hip + style.hip_flexion + style.hip_swing * middle,
        "hip_adduction": waveforms.curve("hip_adduction", speed, phase)
        + HIP_ADDUCTION_DEG
        + style.hip_adduction
        - style.hip_abduction_swing * _bump(phase, 0.78, 0.10),
        "hip_rotation": waveforms.curve("hip_rotation", speed, phase) + style.hip_rotation,
        "knee_angle": knee,
        "ankle_angle": ankle,
        "subtalar_angle": 3.0 * _bump(phase, 0.65, 0.1) - 2.0 * _bump(phase, 0.2, 0.15),
        "mtp_angle": toe,
    }


def _arm_angles(style: ArmStyle, speed: float, phase: np.ndarray) -> dict[str, np.ndarray]:
    phase = phase + (0.5 if style.in_phase_with_other_leg else 0.0)
    swing = style.swing * (6.0 + 24.0 * min(speed, 0.6))
    forward = -np.cos(2 * np.pi * phase)  # the arm is behind at ipsilateral foot strike
    return {
        "arm_flex": swing * forward + style.shoulder_flexion - 2.0,
        "arm_add": np.full_like(phase, -6.0) + style.shoulder_adduction,
        "arm_rot": np.full_like(phase, 5.0) + style.shoulder_rotation,
        "elbow_flex": 24.0 + style.elbow + 0.7 * swing * (1 + forward),
        "pro_sup": np.full_like(phase, 45.0),
        "wrist_flex": np.zeros_like(phase),
        "wrist_dev": np.zeros_like(phase),
    }


def angles(style: Style, speed: float, phase: tuple[np.ndarray, np.ndarray]) -> np.ndarray:
    """Angles of steady walking in degrees, [T, 40]; root translation and heading are zero.

    Args:
        speed: normalised speed.
        phase: gait phase of the right and left leg, each [T].
    """
    q = np.zeros((len(phase[RIGHT]), COORDINATE_COUNT))
    sides = (("r", RIGHT, 1.0), ("l", LEFT, -1.0))
    bend = np.full(len(q), style.trunk_bend)
    for name, foot, sign in sides:
        leg, arm = ((style.right, style.arm_right), (style.left, style.arm_left))[foot]
        for joint, value in _leg_angles(leg, speed, phase[foot]).items():
            q[:, INDEX[f"{joint}_{name}"]] = value
        for joint, value in _arm_angles(arm, speed, phase[foot]).items():
            q[:, INDEX[f"{joint}_{name}"]] = value
        obliquity = 0.5 * waveforms.curve("pelvic_obliquity", speed, phase[foot])
        swing = _bump(phase[foot], 0.78, 0.10)
        q[:, INDEX["pelvis_list"]] -= sign * (obliquity + leg.hike * swing)
        q[:, INDEX["pelvis_rotation"]] += sign * 0.5 * waveforms.curve("pelvic_rotation", speed, phase[foot])
        q[:, INDEX["pelvis_tilt"]] -= 0.5 * (waveforms.curve("pelvic_tilt", speed, phase[foot]) - PELVIC_PLANE_DEG)
        bend -= sign * 0.5 * waveforms.curve("trunk_obliquity", speed, phase[foot])
        bend += sign * (leg.trunk_lean * _bump(phase[foot], 0.28, 0.14) + leg.hike * swing)
        q[:, INDEX["lumbar_rotation"]] += sign * 0.5 * waveforms.curve("trunk_rotation", speed, phase[foot])
    q[:, INDEX["lumbar_bending"]] = bend
    q[:, INDEX["lumbar_extension"]] -= LEANING_DEG
    q[:, INDEX["neck_bending"]] = -0.4 * (bend - bend.mean())
    q[:, INDEX["neck_rotation"]] = -0.6 * q[:, INDEX["lumbar_rotation"]]
    add_posture(q, style)
    _add_pattern(q, style, phase)
    # Step width: each hip abducts by the angle of half the width over the leg's length.
    abduction = np.degrees(0.5 * style.width_m / 0.9)
    q[:, [INDEX["hip_adduction_r"], INDEX["hip_adduction_l"]]] -= abduction
    return q


def add_posture(q: np.ndarray, style: Style) -> None:
    """Add the person's own posture and the trunk changes of the style to angles in degrees, in place."""
    q[:, INDEX["lumbar_extension"]] -= style.trunk_flexion
    q[:, INDEX["neck_extension"]] += 0.6 * style.trunk_flexion - style.neck_flexion
    q[:, INDEX["pelvis_tilt"]] -= style.pelvis_tilt
    for name, value in style.person.posture.items():
        q[:, INDEX[name]] += value


def _add_pattern(q: np.ndarray, style: Style, phase: tuple[np.ndarray, np.ndarray]) -> None:
    """Add the person's own pattern that shows only in walking to angles in degrees, in place."""
    person: Person = style.person
    scale = {"ankle_angle_r": min(1.0, style.right.push_off), "ankle_angle_l": min(1.0, style.left.push_off)}
    for name, value in person.gait.items():
        q[:, INDEX[name]] += value
    for name, (cosine, sine) in person.cycle.items():
        angle = 2 * np.pi * phase[LEFT if name.endswith("_l") else RIGHT]
        q[:, INDEX[name]] += scale.get(name, 1.0) * (cosine * np.cos(angle) + sine * np.sin(angle))
    # The pelvis is turned relative to the direction of walking; each leg turns back as much about the vertical.
    q[:, INDEX["pelvis_rotation"]] += person.yaw
    for side, sign in (("r", 1.0), ("l", -1.0)):
        forward = np.sin(np.radians(q[:, INDEX[f"hip_flexion_{side}"]]))
        q[:, INDEX[f"hip_adduction_{side}"]] -= sign * person.yaw * forward
        q[:, INDEX[f"hip_rotation_{side}"]] -= sign * person.yaw


def step_length(person: Participant, style: Style, speed: float) -> float:
    """Step length in metres that the angles imply in the sagittal plane at foot strike."""
    n = person.normalised(speed)
    q = np.radians(angles(style, n, (np.array([0.0, 0.5]), np.array([0.5, 0.0]))))

    def ankle_x(row: int, side: str) -> float:
        tilt = q[row, INDEX["pelvis_tilt"]]
        hip = tilt + q[row, INDEX[f"hip_flexion_{side}"]]
        shank = hip - q[row, INDEX[f"knee_angle_{side}"]]
        return person.height_m * float(FRACTIONS.thigh * np.sin(hip) + FRACTIONS.shank * np.sin(shank))

    return max(0.1, style.amplitude * (ankle_x(0, "r") - ankle_x(0, "l")))


def modulate(
    q: np.ndarray, steps: Bout, time: np.ndarray, amplitude_cv: float, lateral_cv: float, rng: np.random.Generator
) -> np.ndarray:
    """Add step-to-step variability: smooth changes of amplitude and of hip adduction (foot placement)."""
    knots = np.concatenate([[time[0] - 5], steps.strike, [time[-1] + 5]])
    scale = np.interp(time, knots, np.exp(rng.normal(0, amplitude_cv, len(knots))))
    legs = [INDEX[f"{name}_{side}"] for name in ("hip_flexion", "knee_angle", "ankle_angle") for side in "rl"]
    mean = q[:, legs].mean(axis=0)
    q[:, legs] = mean + (q[:, legs] - mean) * scale[:, None]
    if lateral_cv > 0:
        for side in "rl":
            q[:, INDEX[f"hip_adduction_{side}"]] += np.interp(time, knots, rng.normal(0, lateral_cv, len(knots)))
    return q
