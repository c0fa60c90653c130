"""How closely a cohort resembles people: gait waveforms against norms, ranges of motion, a discriminator's features."""

from collections.abc import Sequence

import numpy as np
from scipy.spatial.transform import Rotation

from biomechgpt_jax.biomechanics.gait.indices import PELVIC_PLANE_DEG
from biomechgpt_jax.biomechanics.skeleton import HORIZONTAL_ROOT, INDEX, NECK_AND_WRISTS, OFTEN_ARTEFACTS
from biomechgpt_jax.biomechanics.trajectory import RIGHT, Contacts, Trajectory
from biomechgpt_jax.cohort.people import waveforms
from biomechgpt_jax.cohort.people.participants import GRAVITY

# Phases of the gait cycle at which waveforms are compared.
PHASE = np.linspace(0.0, 1.0, 51)
JOINTS = tuple(waveforms.SUBJECT_SD)
# Height of the hip above the floor as a share of body height (Drillis and Contini; sizes from memory).
LEG_SHARE = 0.53
_STRIDE_S = (0.4, 3.5)
_PELVIS = [INDEX[name] for name in ("pelvis_tilt", "pelvis_list", "pelvis_rotation")]


def normalised_speed(speed: float, height_m: float) -> float:
    """Speed in m/s divided by sqrt(g * leg length)."""
    return speed / float(np.sqrt(GRAVITY * LEG_SHARE * height_m))


def stride_curves(trajectory: Trajectory, contacts: Contacts, foot: int) -> np.ndarray:
    """Waveforms of one foot's complete strides in the norms' sign convention, degrees f64[S, 51, 10], columns `JOINTS`.

    The angles of the pelvis are expressed relative to the direction in which it travels during the stride.
    """
    times = contacts.strike_time[contacts.strike_foot == foot].astype(np.float64)
    clock = np.arange(trajectory.frames) / trajectory.rate_hz
    strides = []
    for start, end in zip(times[:-1], times[1:], strict=True):
        if _STRIDE_S[0] <= end - start <= _STRIDE_S[1] and start >= 0 and end <= clock[-1]:
            at = start + PHASE * (end - start)
            q = np.stack([np.interp(at, clock, column) for column in trajectory.coordinates.T], axis=1)
            strides.append(_to_norm_signs(_face_forward(q), foot))
    return np.array(strides).reshape(-1, len(PHASE), len(JOINTS))


def _face_forward(q: np.ndarray) -> np.ndarray:
    """The same stride rotated so that it travels along +x."""
    dx, dz = (q[-1, INDEX[name]] - q[0, INDEX[name]] for name in HORIZONTAL_ROOT)
    turned = Rotation.from_euler("Y", -np.arctan2(-dz, dx)) * Rotation.from_euler("ZXY", q[:, _PELVIS])
    q = q.copy()
    q[:, _PELVIS] = turned.as_euler("ZXY")
    return q


def _to_norm_signs(q: np.ndarray, foot: int) -> np.ndarray:
    side, sign = ("r", 1.0) if foot == RIGHT else ("l", -1.0)
    degrees = {name: np.degrees(q[:, index]) for name, index in INDEX.items()}
    by_name = {
        "pelvic_tilt": PELVIC_PLANE_DEG - degrees["pelvis_tilt"],
        "pelvic_obliquity": -sign * degrees["pelvis_list"],
        "pelvic_rotation": sign * degrees["pelvis_rotation"],
        "hip_flexion": degrees[f"hip_flexion_{side}"] + PELVIC_PLANE_DEG,
        "hip_adduction": degrees[f"hip_adduction_{side}"],
        "hip_rotation": degrees[f"hip_rotation_{side}"],
        "knee_flexion": degrees[f"knee_angle_{side}"],
        "ankle_dorsiflexion": degrees[f"ankle_angle_{side}"],
        "trunk_obliquity": -sign * degrees["lumbar_bending"],
        "trunk_rotation": sign * degrees["lumbar_rotation"],
    }
    return np.stack([by_name[name] for name in JOINTS], axis=1)


def person_curves(trajectory: Trajectory, contacts: Contacts, feet: Sequence[int] = (RIGHT,)) -> np.ndarray:
    """Mean waveform of a person's strides, f64[51, 10]; NaN without a stride.

    One foot by default, because the norms' between-subject SD is that of single limbs: over both feet, a person's
    pelvic list, pelvic rotation and trunk lean would cancel, as their signs are opposite for the two feet.
    """
    whole = np.concatenate([stride_curves(trajectory, contacts, foot) for foot in feet])
    return whole.mean(axis=0) if len(whole) else np.full((len(PHASE), len(JOINTS)), np.nan)


def norm_curves(speed: float) -> np.ndarray:
    """Norm waveforms at a normalised speed, degrees f64[51, 10]."""
    return np.stack([waveforms.curve(name, speed, PHASE) for name in JOINTS], axis=1)


def compare_with_norms(curves: np.ndarray, speeds: Sequence[float]) -> tuple[np.ndarray, np.ndarray]:
    """Distance of a group's mean from the norms at each person's own speed, and relative spread of the group.

    Args:
        curves: mean waveforms of N people, f64[N, 51, 10].
        speeds: normalised speed of each person.

    Returns:
        Root-mean-square difference between the means in units of the norm's SD, f64[10], and the ratio of the group's
        SD about the norm to the norm's SD, f64[10].
    """
    deviation = curves - np.stack([norm_curves(speed) for speed in speeds])
    sd = np.array([waveforms.SUBJECT_SD[name] for name in JOINTS])
    apart = np.sqrt((deviation.mean(axis=0) ** 2).mean(axis=0)) / sd
    wide = np.sqrt(deviation.var(axis=0, ddof=1).mean(axis=0)) / sd
    return apart, wide


def ranges(strides: np.ndarray) -> dict[str, float]:
    """Ranges of motion and peaks in degrees of the mean of strides f64[S, 51, 10]; empty if there is no stride."""
    if not len(strides):
        return {}
    curve = strides.mean(axis=0)
    column = {name: curve[:, index] for index, name in enumerate(JOINTS)}
    stance, swing = (PHASE > 0.2) & (PHASE < 0.5), PHASE > 0.62
    return {
        "knee_swing_peak": float(column["knee_flexion"][swing].max()),
        "knee_stance_min": float(column["knee_flexion"][stance].min()),
        "knee_range": float(np.ptp(column["knee_flexion"])),
        "hip_range": float(np.ptp(column["hip_flexion"])),
        "hip_extension_peak": float(-column["hip_flexion"].min()),
        "ankle_range": float(np.ptp(column["ankle_dorsiflexion"])),
        "ankle_mid_swing": float(column["ankle_dorsiflexion"][(PHASE > 0.78) & (PHASE < 0.92)].mean()),
        "hip_swing_peak": float(column["hip_flexion"][swing].max()),
        "pelvic_obliquity_range": float(np.ptp(column["pelvic_obliquity"])),
    }


# Coordinates that every file format provides and that describe the movement, not the laboratory's axes.
COMPARED = tuple(
    name
    for name in INDEX
    if name not in (*NECK_AND_WRISTS, *OFTEN_ARTEFACTS, *HORIZONTAL_ROOT, "pelvis_rotation", "pelvis_ty")
)
FEATURE_KINDS = ("posture", "range", "velocity", "spectrum")


def window_features(trajectory: Trajectory, seconds: float = 1.2) -> np.ndarray:
    """What a discriminator sees of each half-overlapping window, f64[W, 4, 21], axes `FEATURE_KINDS` and `COMPARED`.

    Mean, range, root-mean-square velocity (degrees, degrees/s) and the logarithm of the share of the velocity's power
    above 5 Hz, for the joint angles and for the pelvis with its heading removed.
    """
    rate = trajectory.rate_hz
    length = round(seconds * rate)
    q = trajectory.coordinates.astype(np.float64)
    # R = Ry(heading) Rz(tilt) Rx(list): the heading depends on the laboratory and is not compared.
    heading_tilt_list = Rotation.from_euler("ZXY", q[:, _PELVIS]).as_euler("YZX")
    q[:, _PELVIS] = heading_tilt_list[:, [1, 2, 0]]
    angles = np.degrees(q[:, [INDEX[name] for name in COMPARED]])
    rows = []
    for begin in range(0, len(angles) - length + 1, length // 2):
        window = angles[begin : begin + length]
        velocity = np.diff(window, axis=0) * rate
        tapered = (velocity - velocity.mean(axis=0)) * np.hanning(len(velocity))[:, None]
        power = np.abs(np.fft.rfft(tapered, axis=0)) ** 2
        high = np.fft.rfftfreq(len(velocity), 1 / rate) > 5.0
        share = (power[high].sum(axis=0) + 1e-9) / (power.sum(axis=0) + 1e-6)
        rows.append([window.mean(axis=0), np.ptp(window, axis=0), np.sqrt((velocity**2).mean(axis=0)), np.log(share)])
    return np.array(rows).reshape(-1, len(FEATURE_KINDS), len(COMPARED))
