"""Bring a recording to the canonical 30 Hz: unwrap, low-pass filter, resample."""

import numpy as np
from scipy.interpolate import CubicSpline
from scipy.signal import butter, sosfiltfilt

from biomechgpt_jax.biomechanics.skeleton import INDEX
from biomechgpt_jax.biomechanics.trajectory import Trajectory, replace
from biomechgpt_jax.config import CANONICAL_RATE_HZ

# Zero-phase fourth-order Butterworth at 6 Hz is usual for gait (Winter 2009); kept at 10 Hz so that only what
# 30 Hz cannot hold is taken away.
CUT_OFF_HZ = 10.0


def canonical(trajectory: Trajectory) -> Trajectory:
    """The same movement at 30 Hz, with pelvis rotation unwrapped.

    A faster recording is filtered before it is thinned out. Hidden coordinates stay zero.
    """
    q = np.array(trajectory.coordinates, np.float64)
    heading = INDEX["pelvis_rotation"]
    q[:, heading] = np.unwrap(q[:, heading])
    rate = trajectory.rate_hz
    if abs(rate - CANONICAL_RATE_HZ) > 0.01:
        if rate > 2 * CUT_OFF_HZ and rate > CANONICAL_RATE_HZ:
            q = low_pass(q, rate)
        time = np.arange(len(q)) / rate
        wanted = np.arange(0.0, time[-1] + 1e-9, 1.0 / CANONICAL_RATE_HZ)
        q = CubicSpline(time, q, axis=0)(wanted) if len(q) > 3 else _linear(wanted, time, q)
    return replace(trajectory, coordinates=q.astype(np.float32), rate_hz=CANONICAL_RATE_HZ)


def low_pass(values: np.ndarray, rate_hz: float, cut_off_hz: float = CUT_OFF_HZ) -> np.ndarray:
    """Zero-phase Butterworth filter along the first axis; sequences too short to filter are returned as they are."""
    sos = butter(4, cut_off_hz, fs=rate_hz, output="sos")
    pad = min(len(values) - 1, int(rate_hz / 2))
    return sosfiltfilt(sos, values, axis=0, padlen=pad) if pad > 12 else values


def _linear(wanted: np.ndarray, time: np.ndarray, values: np.ndarray) -> np.ndarray:
    return np.stack([np.interp(wanted, time, column) for column in values.T], axis=1)
