"""Bringing recordings to 30 Hz, against SciPy and against movements known in closed form."""

from pathlib import Path

import numpy as np
import pytest
from scipy.signal import butter, filtfilt, sosfiltfilt

from biomechgpt_jax import formats
from biomechgpt_jax.biomechanics import preprocess
from biomechgpt_jax.biomechanics.skeleton import INDEX
from biomechgpt_jax.biomechanics.trajectory import Trajectory

SHARED = Path(__file__).parents[3] / "shared" / "data"


def _of(frames: int, rate_hz: float, **columns: np.ndarray) -> Trajectory:
    q = np.zeros((frames, 40), np.float32)
    for name, values in columns.items():
        q[:, INDEX[name]] = values
    return Trajectory(q, np.ones(40, bool), rate_hz)


@pytest.mark.parametrize(
    ("rate_hz", "frames"), [(60.0, 79), (100.0, 131), (100.0, 1399), (1000.0, 1500), (120.0, 20)]
)
def test_low_pass_is_scipys(rate_hz: float, frames: int) -> None:
    noise = np.random.default_rng(0).normal(0, 0.05, (frames, 40))
    path = 50 + np.cumsum(noise, axis=0)
    pad = min(frames - 1, int(rate_hz / 2))
    found = preprocess.low_pass(path, rate_hz)
    wanted = sosfiltfilt(butter(4, 10.0, fs=rate_hz, output="sos"), path, axis=0, padlen=pad)
    np.testing.assert_allclose(found, wanted, atol=1e-8)
    transfer = filtfilt(*butter(4, 10.0, fs=rate_hz), path, axis=0, padlen=pad)
    np.testing.assert_allclose(found, transfer, atol=1e-4)


def test_resampling_is_exact_for_polynomials_and_close_for_movement() -> None:
    time = np.arange(131) / 100
    wanted = np.arange(40) / 30
    quintic = np.polynomial.Polynomial([1.0, -2.0, 0.5, 3.0, -1.0, 0.7])
    found = preprocess.resample(np.stack([quintic(time), np.sin(2 * np.pi * 5 * time)], axis=1), 100.0, 30.0)
    assert found.shape == (40, 2)
    np.testing.assert_allclose(found[:, 0], quintic(wanted), atol=1e-9)
    np.testing.assert_allclose(found[:, 1], np.sin(2 * np.pi * 5 * wanted), atol=1e-4)


@pytest.mark.parametrize("frames", [2, 3, 5, 14])
def test_very_short_recordings(frames: int) -> None:
    line = np.linspace(0, 1, frames)
    found = preprocess.canonical(_of(frames, 10.0, knee_angle_r=line))
    wanted = np.arange(found.frames) / 30 * 10 / (frames - 1)
    assert found.frames == (frames - 1) * 3 + 1
    np.testing.assert_allclose(found.coordinates[:, INDEX["knee_angle_r"]], wanted, atol=1e-6)


def test_slow_movement_passes_and_what_30_hz_cannot_hold_does_not() -> None:
    time = np.arange(400) / 100
    slow, fast = np.sin(2 * np.pi * time), np.sin(2 * np.pi * 29 * time)
    found = preprocess.canonical(_of(400, 100.0, knee_angle_r=slow, knee_angle_l=fast)).coordinates
    wanted = np.sin(2 * np.pi * np.arange(len(found)) / 30)
    np.testing.assert_allclose(found[10:-10, INDEX["knee_angle_r"]], wanted[10:-10], atol=1e-4)
    assert np.abs(found[10:-10, INDEX["knee_angle_l"]]).max() < 1e-3  # would alias to 1 Hz


def test_a_turn_through_half_a_circle_stays_smooth() -> None:
    turn = np.linspace(2.5, 4.5, 300)
    wrapped = np.angle(np.exp(1j * turn))
    found = preprocess.canonical(_of(300, 100.0, pelvis_rotation=wrapped)).coordinates
    steps = np.diff(found[:, INDEX["pelvis_rotation"]])
    np.testing.assert_allclose(steps, 2.0 / 2.99 / 30, atol=1e-3)


def test_30_hz_stays_as_it_is() -> None:
    values = np.random.default_rng(0).normal(size=50).astype(np.float32)
    found = preprocess.canonical(_of(50, 30.0, hip_flexion_l=values)).coordinates
    np.testing.assert_array_equal(found[:, INDEX["hip_flexion_l"]], values)


@pytest.mark.skipif(not SHARED.is_dir(), reason="the folder of real files is not beside the checkout")
def test_opencap_walking_has_its_known_speed() -> None:
    found = preprocess.canonical(formats.read(SHARED / "opencap_subject4" / "walking1_ik.mot"))
    assert found.rate_hz == 30
    assert formats.describe(found)["net_speed_m_s"] == pytest.approx(1.29, abs=0.02)
