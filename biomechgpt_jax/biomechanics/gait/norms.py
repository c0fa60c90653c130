"""Norms of walking: mean joint waveforms and their spread at five speeds, in the gait laboratory's sign convention.

Values: Schwartz, Rozumalski and Trost 2008 (J Biomech 41:1639), typically developing children; Fourier series of six
harmonics fitted to the published curves (within 0.6 degrees), and the mean over the cycle of the published
between-subject SD, all in degrees. y(p) = a0 + sum_h a_h cos(h p) + b_h sin(h p) with p = 2 pi x the fraction of the
gait cycle since ipsilateral foot strike; a row holds a0, a1, b1, ..., a6, b6 of one speed.

Positive values mean: pelvis anterior, up and forward on the side of the leg; hip flexed, adducted and internally
rotated; knee flexed; ankle dorsiflexed; foot turned in. Trunk curves are relative to the pelvis. Compare a walk only
with the norm at its own speed: much of what looks like impairment is slowness (van der Linden 2002, J Pediatr Orthop
22:800).
"""

import numpy as np

GRAVITY = 9.81
# Height of the hip above the floor as a share of body height (Drillis and Contini 1966) [memory].
LEG_SHARE = 0.53

# Middle of each of the five speed bins in v / sqrt(g leg length); their edges are 0.227, 0.363, 0.500 and 0.636
# [memory], and the first and last bins are assumed to be as wide as the others.
SPEED_CENTRES = np.array([0.16, 0.295, 0.43, 0.57, 0.70])
# Share of the cycle spent in stance, as the curves of each bin imply (peak plantarflexion is at toe off).
TOE_OFF_PHASE = np.array([0.68, 0.645, 0.615, 0.60, 0.59])

# The nine variables of the Gait Deviation Index and the Gait Profile Score.
KINEMATIC = (
    "pelvic_tilt",
    "pelvic_obliquity",
    "pelvic_rotation",
    "hip_flexion",
    "hip_adduction",
    "hip_rotation",
    "knee_flexion",
    "ankle_dorsiflexion",
    "foot_progression",
)

# fmt: off
_COEFFICIENTS: dict[str, tuple[tuple[float, ...], ...]] = {
    "pelvic_tilt": (
        (11.98, -0.03, 0, -0.08, 0.35, 0.01, 0, -0.01, -0.01, 0.01, 0, 0, 0.03),
        (11.04, 0, -0.01, 0.39, -0.24, 0.01, 0, 0.06, -0.04, 0, 0.01, 0, 0.06),
        (11.59, 0.02, 0.08, 0.41, -0.72, 0, 0.02, 0.15, -0.03, 0.01, 0.01, -0.05, 0.06),
        (13.26, -0.02, 0.14, 0.12, -1.09, 0.01, 0, 0.25, 0.03, 0.01, 0.03, -0.05, 0.06),
        (16.59, -0.07, 0.08, -0.12, -1.59, -0.01, 0.01, 0.29, 0.1, -0.01, 0.02, 0, 0.07),
    ),
    "pelvic_obliquity": (
        (-0.03, 1.92, 0.6, 0.02, 0.02, -0.54, -0.01, -0.03, -0.01, -0.07, 0.02, -0.01, -0.01),
        (0, 1.64, 1.36, 0, 0.02, -0.94, 0.16, -0.01, 0.01, -0.03, -0.05, -0.01, 0.01),
        (-0.01, 1.86, 2.12, 0.02, 0.04, -1.2, 0.22, 0.01, 0.02, 0, -0.1, 0, 0.01),
        (0.08, 2.54, 3.25, -0.04, 0, -1.27, 0.05, -0.01, 0, 0.04, -0.12, 0.01, 0),
        (-0.01, 2.72, 4.34, -0.04, -0.06, -1.1, -0.4, 0.01, -0.02, 0.12, -0.12, 0, -0.01),
    ),
    "pelvic_rotation": (
        (-0.03, 2.03, 4.09, 0.01, 0.04, 0.32, 0.27, 0.01, 0.02, 0.15, 0.08, 0.03, 0.02),
        (-0.1, 2.52, 2.56, 0.02, 0.02, 0.28, -0.05, 0.02, 0.01, 0.24, 0, 0.01, 0),
        (-0.04, 3.74, 2.11, 0.02, 0.01, 0.33, -0.39, 0.01, 0.02, 0.26, -0.05, 0, 0.01),
        (-0.02, 5.49, 2.09, 0.04, -0.02, 0.69, -0.58, -0.01, 0, 0.19, -0.11, 0, 0),
        (-0.2, 6.96, 0.99, -0.02, -0.08, 0.86, -0.55, -0.02, 0, 0.12, -0.03, -0.02, 0),
    ),
    "hip_flexion": (
        (16.77, 14.2, -1.14, -0.09, -3.08, -0.49, 0.45, 0.02, -0.07, -0.14, 0.03, -0.01, 0.04),
        (17.7, 17.41, -3.32, -2.16, -2.44, -0.07, 1.49, 0.09, -0.17, -0.25, 0.2, 0.06, 0.1),
        (18.44, 20.88, -3.2, -3.15, -1.54, -0.09, 1.62, -0.1, -0.09, -0.27, 0.26, -0.01, 0.09),
        (20.01, 24.02, -3.32, -3.9, -0.89, -0.08, 1.7, -0.11, -0.05, -0.23, 0.24, -0.05, 0.04),
        (22.44, 25.71, -4.97, -4.28, -1.22, -0.3, 1.48, -0.19, 0.02, -0.15, 0.15, -0.02, 0.04),
    ),
    "hip_adduction": (
        (-0.12, -0.33, 3.23, 0.58, -0.38, -0.86, -0.38, -0.15, 0.06, -0.08, -0.01, -0.04, -0.03),
        (-0.01, 0.21, 4.31, 0.46, -0.53, -1.48, 0.09, -0.01, 0.17, -0.1, -0.12, -0.08, 0.02),
        (-0.33, 0.48, 4.94, -0.05, -0.5, -1.59, 0.46, 0.04, 0.1, -0.17, -0.16, -0.07, 0.04),
        (-0.77, 0.63, 5.86, -0.82, -0.63, -1.77, 0.46, 0, 0.08, -0.1, -0.19, -0.07, 0.01),
        (-0.95, -0.06, 6.93, -1.24, -0.32, -1.61, 0.07, -0.03, 0.12, 0.05, -0.21, -0.08, -0.01),
    ),
    "hip_rotation": (
        (-2.28, 0.91, -0.2, 0.14, -0.3, -0.76, 0.11, -0.12, 0.4, 0.06, 0.14, -0.03, 0.01),
        (-2.74, 1.19, 0.07, -0.62, -0.39, -1.16, 0.88, -0.05, 0.6, 0.1, 0.02, -0.13, -0.07),
        (-1.87, 1.18, 0.72, -1.06, -0.67, -1.17, 1.02, -0.09, 0.49, 0.01, 0, 0.02, -0.09),
        (-2.64, 0.98, 0.99, -1.36, -1.21, -0.94, 0.74, -0.19, 0.29, 0.06, 0.15, 0.14, -0.02),
        (-3.36, 0.19, 0.56, -1.59, -1.63, -0.16, 0.55, -0.19, -0.22, -0.08, 0.09, 0.1, 0),
    ),
    "knee_flexion": (
        (16.13, -0.35, -15.45, -9.38, -0.36, -1.69, 3.64, 0.19, 0.71, -0.24, 0.32, 0.01, 0.23),
        (20.02, -2.94, -18.27, -12.2, 4.51, -0.03, 4.59, -0.18, 0.3, -0.49, 0.61, 0.14, 0.26),
        (22.87, -1.9, -18.75, -13.63, 7.01, -0.71, 4.31, -0.87, 0.63, -0.54, 0.74, 0.07, 0.2),
        (24.01, -0.39, -18.98, -14.02, 9.07, -0.74, 4.2, -1.11, 0.52, -0.49, 0.69, 0.02, 0.07),
        (23.42, 1.12, -21.48, -13.82, 9.23, -0.81, 3.68, -1.28, 0.39, -0.32, 0.51, 0.01, -0.07),
    ),
    "ankle_dorsiflexion": (
        (3.15, -6.09, 1.22, 1.84, -3.29, -2.74, -1.72, -0.14, 0.94, 0.53, -0.25, 0.04, -0.1),
        (2, -4.97, 4.14, 1.82, -5.89, -4.29, -0.2, 1.6, 1.26, 0.36, -1.44, -0.2, 0.26),
        (0.75, -2.05, 7.08, 0.82, -7.21, -4.6, 0.85, 2.2, 0.24, -0.53, -1.37, 0.27, 0.55),
        (-0.63, 0.16, 7.49, -1.14, -7.47, -4.15, 1.71, 2.09, -0.76, -0.93, -0.86, 0.61, 0.34),
        (-1.3, 2.52, 6.8, -3.35, -7.58, -2.97, 2.03, 1.38, -1.27, -0.7, -0.29, 0.59, 0),
    ),
    "foot_progression": (
        (-7.52, -0.92, 2.95, 0.78, 2.16, 1.31, -0.31, -0.21, -0.6, -0.24, 0.1, -0.01, 0.04),
        (-8.03, -0.94, 2.65, 1, 2.59, 1.14, -1.01, -0.82, -0.39, -0.13, 0.26, -0.07, -0.16),
        (-7.33, -1.69, 2.35, 0.84, 3.34, 0.93, -1.04, -0.65, 0.17, 0.11, 0.09, -0.21, -0.24),
        (-7, -1.49, 2.22, 0.97, 3.47, 0.82, -1.31, -0.48, 0.42, 0.14, -0.07, -0.27, -0.16),
        (-7.58, -1.13, 3.21, 1.22, 2.78, 0.89, -1.01, -0.1, 0.2, 0, -0.23, -0.25, -0.07),
    ),
    "trunk_obliquity": (
        (-0.01, -1.69, -2.54, 0.01, -0.01, 0.61, -0.04, 0.05, 0.01, 0.06, 0.01, 0.01, 0.01),
        (-0.02, -3.01, -2.59, 0, -0.01, 1.09, -0.27, 0.01, 0.02, -0.02, 0.14, -0.01, 0.01),
        (0.05, -4.34, -3.29, -0.02, -0.03, 1.44, -0.23, -0.01, -0.03, -0.07, 0.15, -0.01, -0.02),
        (-0.12, -5.76, -4.35, 0.01, -0.01, 1.44, 0.07, -0.01, -0.03, -0.09, 0.14, 0, -0.01),
        (0.16, -6.44, -5.15, 0.03, 0.07, 1.27, 0.62, -0.02, 0.01, -0.16, 0.16, 0, 0),
    ),
    "trunk_rotation": (
        (0.01, -1.07, -0.66, 0.03, 0.02, -0.13, -0.04, 0.01, 0, -0.12, 0.08, -0.01, 0.01),
        (0.05, -2.39, 0.13, 0, -0.02, -0.28, -0.02, -0.01, 0.02, -0.15, 0.1, -0.01, 0),
        (0.04, -3.97, 0.49, -0.01, -0.04, -0.52, 0.18, -0.01, -0.02, -0.14, 0.1, -0.01, -0.01),
        (0, -5.61, 0.84, -0.06, -0.02, -0.87, 0.36, -0.01, -0.02, -0.03, 0.06, 0.01, -0.01),
        (-0.04, -7.62, 1.86, 0.02, -0.02, -1.11, 0.42, 0.01, -0.02, 0.01, -0.03, 0, -0.01),
    ),
}
# fmt: on

# Between-subject standard deviation at each speed, degrees.
_SD: dict[str, tuple[float, ...]] = {
    "pelvic_tilt": (5.19, 4.67, 4.88, 5.35, 6.18),
    "pelvic_obliquity": (2.46, 2.02, 2.06, 2.34, 2.83),
    "pelvic_rotation": (4.7, 4.02, 3.66, 4.36, 4.94),
    "hip_flexion": (7.51, 6.1, 6.09, 6.73, 8.33),
    "hip_adduction": (3.58, 3.19, 3.14, 3.51, 4.04),
    "hip_rotation": (9.79, 9.62, 9.53, 9.64, 9.68),
    "knee_flexion": (8.95, 6.92, 6.33, 7.02, 8.65),
    "ankle_dorsiflexion": (6.22, 5.17, 5.31, 6.27, 6.48),
    "foot_progression": (9.46, 8.0, 7.23, 7.1, 8.04),
    "trunk_obliquity": (4.13, 3.34, 3.75, 3.98, 5.12),
    "trunk_rotation": (3.74, 3.77, 4.03, 4.49, 5.04),
}

_TABLE = {name: np.array(rows) for name, rows in _COEFFICIENTS.items()}
_SD_TABLE = {name: np.array(row) for name, row in _SD.items()}
_HARMONICS = np.arange(1, 7)

# Between-subject standard deviation in degrees at free speed of every variable of this module.
FREE_SPREAD: dict[str, float] = {name: row[2] for name, row in _SD.items()}


def normalised_speed(speed: float, height_m: float) -> float:
    """Speed in m/s divided by sqrt(g * leg length), dimensionless; leg length follows from body height in metres."""
    return speed / float(np.sqrt(GRAVITY * LEG_SHARE * height_m))


def _interpolate(table: np.ndarray, speed: float) -> np.ndarray:
    """Interpolate the rows of a table [5, ...] between the bin centres; constant beyond the outer centres."""
    position = np.interp(speed, SPEED_CENTRES, np.arange(len(SPEED_CENTRES)))
    low = min(int(position), len(SPEED_CENTRES) - 2)
    share = position - low
    return (1 - share) * table[low] + share * table[low + 1]


def curve(name: str, speed: float, phase: np.ndarray) -> np.ndarray:
    """Mean waveform of one variable in degrees, in the shape of `phase`.

    Below the slowest bin the shape is kept and the modulation is scaled with speed.

    Args:
        name: one of `KINEMATIC`, or trunk_obliquity or trunk_rotation.
        speed: v / sqrt(g leg length), see `normalised_speed`.
        phase: [...] fraction of the gait cycle since ipsilateral foot strike; any real number.
    """
    row = _interpolate(_TABLE[name], speed)
    angle = 2 * np.pi * phase[..., None] * _HARMONICS
    modulation = np.cos(angle) @ row[1::2] + np.sin(angle) @ row[2::2]
    return row[0] + modulation * min(1.0, speed / SPEED_CENTRES[0])


def curves(speed: float, phase: np.ndarray) -> np.ndarray:
    """Mean waveforms in degrees at a normalised speed, f64[..., 9] in the order of `KINEMATIC`."""
    return np.stack([curve(name, speed, phase) for name in KINEMATIC], axis=-1)


def spread(name: str, speed: float) -> float:
    """Between-subject standard deviation of one variable at a normalised speed, degrees."""
    return float(_interpolate(_SD_TABLE[name], speed))


def spreads(speed: float) -> np.ndarray:
    """Between-subject standard deviations of the nine variables at a normalised speed, degrees f64[9]."""
    return np.array([spread(name, speed) for name in KINEMATIC])


def toe_off_phase(speed: float) -> float:
    """Phase of toe off in the curves at a normalised speed."""
    return float(_interpolate(TOE_OFF_PHASE, speed))
