"""Errors of markerless motion capture: what a camera system adds to a clean movement."""

from dataclasses import dataclass

import numpy as np
from scipy.signal import butter, sosfiltfilt

from biomechgpt_jax.biomechanics.skeleton import (
    COORDINATE_COUNT,
    COORDINATES,
    INDEX,
    OFTEN_ARTEFACTS,
    limits,
    observed_without,
)
from biomechgpt_jax.cohort.activities.postures import noise

# Shares of the squared joint-angle error of a markerless system: a constant offset per trial, slow drift with posture,
# and jitter [memory].
OFFSET_SHARE, DRIFT_SHARE, JITTER_SHARE = 0.65, 0.32, 0.03
# Video is smoothed before joint angles are estimated from it, so little power is left above 6 Hz.
DRIFT_HZ, JITTER_HZ = (0.1, 1.0), (2.0, 6.0)
# Cut-off of the zero-phase low-pass filter that systems apply to markers or joint angles of walking: 6 Hz is usual.
FILTER_HZ = (6.0, 8.0)
# Noise that inverse kinematics leaves because it solves each frame alone, and the cut-off up to which a model sees it
# (OpenCap STS1).
FRAME_NOISE_DEG, FRAME_NOISE_HZ = 0.13, 9.5
# The orientation of the pelvis is estimated more accurately than the joint angles [memory].
PELVIS_SHARE = 0.4
PELVIS_DRIFT_HZ = (0.05, 0.3)
PELVIS_JITTER_M = 0.0015
# A person or limb is lost for this long; the system holds the last pose or interpolates linearly [memory].
GAP_S = (0.10, 0.50)
# Smoothing filters lack neighbours at the ends of a file, which leaves a transient that decays over this time [memory].
GLITCH_S, GLITCH_DEG = 0.10, 6.0
_LIMITS = limits()
_ANGLES = slice(3, COORDINATE_COUNT)
# Limbs that are lost and masked together.
_LIMBS = tuple(
    [i for i, name in enumerate(COORDINATES) if i > 5 and name.startswith(parts) and name.endswith(end)]
    for parts, end in (
        (("hip", "knee", "ankle", "subtalar", "mtp"), "_r"),
        (("hip", "knee", "ankle", "subtalar", "mtp"), "_l"),
        (("arm", "elbow", "pro_sup", "wrist"), "_r"),
        (("arm", "elbow", "pro_sup", "wrist"), "_l"),
    )
)
_EVERYTHING = list(range(COORDINATE_COUNT))


@dataclass(frozen=True)
class Artefacts:
    """Sizes of a measurement system's errors.

    Attributes:
        joint_error_deg: root-mean-square error of a joint angle; offset, drift and jitter combined.
        pelvis_drift_m: standard deviation of the slow drift of the pelvis' position.
        dropouts_per_minute: mean number of short gaps, each held at the last pose or interpolated linearly.
        edge_glitches: share of trial ends with a filter transient.
        masked: probability that a system does not report one of `skeleton.OFTEN_ARTEFACTS`.
    """

    joint_error_deg: float = 2.9
    pelvis_drift_m: float = 0.010
    dropouts_per_minute: float = 1.0
    edge_glitches: float = 0.05
    masked: float = 0.10


def add_markerless_error(
    coordinates: np.ndarray, rate_hz: float, rng: np.random.Generator, sizes: Artefacts = Artefacts()
) -> np.ndarray:
    """Add measurement error to clean coordinates.

    Args:
        coordinates: f32[T, 40] radians and metres.

    Returns:
        f32[T, 40], a new array, inside the joint limits.
    """
    frames = len(coordinates)
    q = coordinates.astype(np.float64)
    _blur(q, rate_hz, sizes, rng)
    q = _low_pass(q, rate_hz, rng.uniform(*FILTER_HZ))
    frame_noise = _low_pass(rng.normal(size=(frames, COORDINATE_COUNT - 3)), rate_hz, FRAME_NOISE_HZ, 4)
    q[:, _ANGLES] += np.radians(FRAME_NOISE_DEG * sizes.joint_error_deg / 2.9) * frame_noise
    _hold_artefacts(q, rng)
    for _ in range(rng.poisson(sizes.dropouts_per_minute * frames / rate_hz / 60)):
        _drop_out(q, rate_hz, rng)
    for end in (0, 1):
        if rng.random() < sizes.edge_glitches:
            _glitch(q if end == 0 else q[::-1], rate_hz, rng)
    return np.clip(q, _LIMITS[:, 0], _LIMITS[:, 1]).astype(np.float32)


def draw_observed(rng: np.random.Generator, sizes: Artefacts = Artefacts()) -> np.ndarray:
    """Draw which coordinates a system reports, bool[40].

    Forearm, toe, subtalar and arm rotation are sometimes missing, always on both sides together.
    """
    kinds = np.array(sorted({name[:-2] for name in OFTEN_ARTEFACTS}))
    missing = kinds[rng.random(len(kinds)) < sizes.masked]
    return observed_without(tuple(f"{kind}_{side}" for kind in missing for side in "rl"))


def _blur(q: np.ndarray, rate_hz: float, sizes: Artefacts, rng: np.random.Generator) -> None:
    """Offset, drift and jitter of the angles and of the pelvis' position, in place."""
    frames, count = len(q), COORDINATE_COUNT - 3
    error = np.sqrt(OFFSET_SHARE) * rng.normal(size=count)
    error = error + np.sqrt(DRIFT_SHARE) * noise(frames, rate_hz, *DRIFT_HZ, count, rng)
    error = error + np.sqrt(JITTER_SHARE) * noise(frames, rate_hz, *JITTER_HZ, count, rng)
    error[:, :3] *= PELVIS_SHARE
    q[:, _ANGLES] += np.radians(sizes.joint_error_deg) * error
    q[:, :3] += sizes.pelvis_drift_m * noise(frames, rate_hz, *PELVIS_DRIFT_HZ, 3, rng)
    q[:, :3] += PELVIS_JITTER_M * noise(frames, rate_hz, *JITTER_HZ, 3, rng)


def _low_pass(q: np.ndarray, rate_hz: float, cutoff_hz: float, order: int = 2) -> np.ndarray:
    """Zero-phase low-pass filter every column: a Butterworth filter run forwards and backwards."""
    if cutoff_hz >= 0.5 * rate_hz:
        return q
    return sosfiltfilt(butter(order, cutoff_hz, fs=rate_hz, output="sos"), q, axis=0, padlen=min(15, len(q) - 1))


def _hold_artefacts(q: np.ndarray, rng: np.random.Generator) -> None:
    """Hold forearm or toe angles constant, or clip amplified subtalar angles, as some systems do; in place."""
    for name, value in (("pro_sup", np.radians(120.0)), ("mtp_angle", 0.0)):
        if rng.random() < 0.35:
            q[:, [INDEX[f"{name}_r"], INDEX[f"{name}_l"]]] = value
    if rng.random() < 0.25:
        columns = [i for i, name in enumerate(COORDINATES) if name.startswith("subtalar")]
        q[:, columns] = np.clip(2.5 * q[:, columns], -np.radians(35), np.radians(35))


def _drop_out(q: np.ndarray, rate_hz: float, rng: np.random.Generator) -> None:
    """Lose track of one limb, or of the whole body, for a short time; in place."""
    length = round(rng.uniform(*GAP_S) * rate_hz)
    begin = int(rng.integers(1, max(2, len(q) - length - 1)))
    end = min(begin + length, len(q) - 1)
    lost = _EVERYTHING if rng.random() < 0.25 else _LIMBS[int(rng.integers(len(_LIMBS)))]
    # A frozen limb catches up over a few frames where tracking resumes, because systems smooth their output.
    share = np.linspace(0, 1, end - begin + 1)
    if rng.random() < 0.5:
        share = np.clip((share - 1) * (len(share) - 1) / 3 + 1, 0, 1)
    low, high = q[begin, lost].copy(), q[end, lost].copy()
    q[begin : end + 1, lost] = low + share[:, None] * (high - low)


def _glitch(q: np.ndarray, rate_hz: float, rng: np.random.Generator) -> None:
    """Add a decaying transient to some joints at the first frames, in place."""
    decay = np.exp(-np.arange(len(q)) / (GLITCH_S * rate_hz))
    hit = rng.random(COORDINATE_COUNT - 6) < 0.4
    kick = np.radians(GLITCH_DEG) * rng.normal(size=COORDINATE_COUNT - 6) * hit
    q[:, 6:] += decay[:, None] * kick
