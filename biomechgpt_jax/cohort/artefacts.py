"""Errors of markerless motion capture: what a camera system adds to a clean movement."""

import numpy as np

from biomechgpt_jax.biomechanics.skeleton import COORDINATES, INDEX, limits
from biomechgpt_jax.cohort.postures import noise

# Joint-angle errors of markerless capture are 2.5-3.3 degrees in all: most of it a constant offset of the
# trial, some of it slow drift, little of it jitter [split from memory].
OFFSET_DEG = 2.0
DRIFT_DEG = 1.3
JITTER_DEG = 0.35
PELVIS_DRIFT_M = 0.010
PELVIS_JITTER_M = 0.0015
_LIMITS = limits()


def markerless(coordinates: np.ndarray, rate_hz: float, rng: np.random.Generator) -> np.ndarray:
    """Add measurement error to clean coordinates f32[T, 40]; returns a new array."""
    frames, count = coordinates.shape
    q = coordinates.copy()
    angles = slice(3, count)
    error = rng.normal(0, OFFSET_DEG, count - 3)
    drift = DRIFT_DEG * noise(frames, rate_hz, 0.1, 1.0, count - 3, rng)
    jitter = JITTER_DEG * noise(frames, rate_hz, 3.0, 12.0, count - 3, rng)
    scale = np.ones(count - 3)
    scale[:3] = 0.4  # the pelvis' orientation is found better than the joints
    q[:, angles] += np.radians(scale * (error + drift + jitter))
    q[:, :3] += PELVIS_DRIFT_M * noise(frames, rate_hz, 0.05, 0.3, 3, rng)
    q[:, :3] += PELVIS_JITTER_M * noise(frames, rate_hz, 3.0, 12.0, 3, rng)
    _hold_artefacts(q, rng)
    return np.clip(q, _LIMITS[:, 0], _LIMITS[:, 1]).astype(np.float32)


def _hold_artefacts(q: np.ndarray, rng: np.random.Generator) -> None:
    """Some systems hold forearm, toe or subtalar angles at a limit or at zero, in place."""
    for name, value in (("pro_sup", np.radians(120.0)), ("mtp_angle", 0.0)):
        if rng.random() < 0.35:
            q[:, [INDEX[f"{name}_r"], INDEX[f"{name}_l"]]] = value
    if rng.random() < 0.25:
        columns = [i for i, name in enumerate(COORDINATES) if name.startswith("subtalar")]
        q[:, columns] = np.clip(2.5 * q[:, columns], -np.radians(35), np.radians(35))
