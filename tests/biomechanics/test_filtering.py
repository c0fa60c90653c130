"""Filter and resampling against SciPy and closed forms."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.signal import butter, filtfilt, sosfiltfilt

from biomechgpt_jax.biomechanics import filtering


def _sample(values_TC: np.ndarray, rate_hz: float, wanted_hz: float, filtered: bool) -> np.ndarray:
    """One recording alone, in the shapes that preprocessing gives it."""
    count, frames = len(values_TC), filtering.new_frames(len(values_TC), rate_hz, wanted_hz)
    padded = np.zeros((filtering.bucket(count), values_TC.shape[1]), np.float32)
    padded[:count] = values_TC
    fastest = filtering.rate_class(rate_hz)
    static = {"size": filtering.bucket(frames), "fastest": fastest, "steps": int(np.ceil(fastest / wanted_hz))}
    sample = jax.jit(filtering.sample, static_argnames=tuple(static))
    kernel = filtering.kernel(rate_hz, filtering.kernel_reach(fastest))
    found = sample(padded, jnp.int32(0), count, rate_hz, wanted_hz, filtered, kernel, **static)
    return np.asarray(found)[:frames]


@pytest.mark.parametrize(("rate_hz", "frames"), [(60.0, 79), (100.0, 131), (99.3, 1399), (1000.0, 1500), (120.0, 48)])
def test_low_pass_is_scipys(rate_hz: float, frames: int) -> None:
    noise = np.random.default_rng(0).normal(0, 0.05, (frames, 40))
    path = 5 + np.cumsum(noise, axis=0)
    pad = min(frames - 1, int(rate_hz / 2))
    found = _sample(path, rate_hz, rate_hz, True)
    wanted = sosfiltfilt(butter(4, 10.0, fs=rate_hz, output="sos"), path, axis=0, padlen=pad)
    np.testing.assert_allclose(found, wanted, atol=1e-4)
    transfer = filtfilt(*butter(4, 10.0, fs=rate_hz), path, axis=0, padlen=pad)
    np.testing.assert_allclose(found, transfer, atol=1e-4)


@pytest.mark.parametrize("rate_hz", [60.0, 100.0, 250.0])
def test_movement_of_3_hz_passes_and_of_29_hz_does_not(rate_hz: float) -> None:
    time = np.arange(int(4 * rate_hz)) / rate_hz
    both = np.stack([np.sin(2 * np.pi * 3 * time), np.sin(2 * np.pi * 29 * time)], axis=1)
    inside = slice(int(rate_hz), int(3 * rate_hz))
    found = _sample(both, rate_hz, rate_hz, True)[inside]
    np.testing.assert_allclose(found[:, 0], both[inside, 0], atol=2e-4)
    assert np.abs(found[:, 1]).max() < 1e-3


def test_resampling_is_exact_for_polynomials_and_close_for_movement() -> None:
    time, wanted = np.arange(131) / 100, np.arange(40) / 30
    quintic = np.polynomial.Polynomial([1.0, -2.0, 0.5, 3.0, -1.0, 0.7])
    found = _sample(np.stack([quintic(time), np.sin(2 * np.pi * 5 * time)], axis=1), 100.0, 30.0, False)
    assert found.shape == (40, 2)
    np.testing.assert_allclose(found[:, 0], quintic(wanted), atol=1e-5)
    np.testing.assert_allclose(found[:, 1], np.sin(2 * np.pi * 5 * wanted), atol=1e-4)


def test_ten_minutes_at_99_hz_do_not_drift() -> None:
    rate, seconds = 99.0, 600
    time = np.arange(int(rate * seconds)) / rate
    found = _sample(np.sin(2 * np.pi * time)[:, None], rate, 30.0, False)[:, 0]
    np.testing.assert_allclose(found, np.sin(2 * np.pi * np.arange(len(found)) / 30), atol=1e-3)
