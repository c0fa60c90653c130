"""Many trials at once give what each gives alone."""

import numpy as np
import pytest

from biomechgpt_jax.biomechanics import batches, preprocess
from biomechgpt_jax.biomechanics.features import features
from biomechgpt_jax.biomechanics.skeleton import COORDINATE_COUNT
from biomechgpt_jax.biomechanics.trajectory import Trajectory


def _trial(frames: int, rate_hz: float, seed: int) -> Trajectory:
    rng = np.random.default_rng(seed)
    time = np.arange(frames) / rate_hz
    hertz, phase = rng.uniform(0.2, 4, COORDINATE_COUNT), rng.uniform(0, 6, COORDINATE_COUNT)
    waves = np.sin(2 * np.pi * hertz * time[:, None] + phase)
    values = (0.5 * waves + 0.01 * rng.normal(size=waves.shape)).astype(np.float32)
    return Trajectory(values, np.ones(COORDINATE_COUNT, bool), rate_hz)


def test_a_batch_of_mixed_lengths_and_rates_equals_its_trials_one_by_one() -> None:
    rates = [30.0, 60.0, 100.0, 120.0, 250.0, 25.0, 99.3]
    trials = [_trial(40 + 37 * i, rates[i % len(rates)], i) for i in range(20)] + [_trial(9, 100.0, 99)]
    found = batches.canonical_batch(trials)
    for trial, (canonical, described) in zip(trials, found, strict=True):
        alone = preprocess.canonical(trial)
        assert canonical.rate_hz == 30.0
        assert canonical.coordinates.shape == alone.coordinates.shape
        np.testing.assert_allclose(canonical.coordinates, alone.coordinates, atol=1e-5)
        assert np.asarray(described) == pytest.approx(np.asarray(features(alone.coordinates)), abs=2e-3)
