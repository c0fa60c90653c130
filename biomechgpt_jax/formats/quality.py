"""Quality flags: what looks wrong in a movement, whatever file it comes from."""

import numpy as np

from biomechgpt_jax.biomechanics.skeleton import COORDINATES, OFTEN_ARTEFACTS, limits

# Changes between two frames that are faster than these are jumps, not movement; chosen well above human speeds.
JUMP_RAD_S = 40.0
JUMP_M_S = 15.0
FROZEN_RAD = 1e-6
# Overshoot of a limit that counts as measurement error rather than as a wrong file.
TOLERANCE_RAD = np.radians(1.0)
FEW_COORDINATES = 6


def flags(coordinates: np.ndarray, observed: np.ndarray, rate_hz: float) -> list[str]:
    """Flags such as "jump:hip_flexion_r", "out-of-range:knee_angle_l", "frozen:elbow_flex_r", "few-coordinates".

    Args:
        coordinates: f[T, 40], radians and metres, free of gaps; T at least 2.
        observed: bool[40]; coordinates that were not observed are not checked.
        rate_hz: frames per second.
    """
    raised = ["few-coordinates"] if observed.sum() < FEW_COORDINATES else []
    bounds = limits()
    for index, name in enumerate(COORDINATES):
        if not observed[index]:
            continue
        values = coordinates[:, index]
        if name.startswith("pelvis_t") and name != "pelvis_tilt":
            if np.abs(np.diff(values)).max() * rate_hz > JUMP_M_S:
                raised.append(f"jump:{name}")
            continue
        if np.abs(np.diff(np.unwrap(values))).max() * rate_hz > JUMP_RAD_S:
            raised.append(f"jump:{name}")
        low, high = bounds[index]
        if values.min() < low - TOLERANCE_RAD or values.max() > high + TOLERANCE_RAD:
            raised.append(f"out-of-range:{name}")
        # Many models weld the coordinates of `OFTEN_ARTEFACTS`, so constant values there mean nothing.
        if np.ptp(values) < FROZEN_RAD and name not in OFTEN_ARTEFACTS:
            raised.append(f"frozen:{name}")
    return raised
