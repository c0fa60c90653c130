"""The filters of the gait code against SciPy's."""

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter1d, percentile_filter

from biomechgpt_jax.biomechanics.gait import smoothing


@pytest.mark.parametrize("shape", [(1,), (2, 3), (57, 2, 3), (400,)])
@pytest.mark.parametrize("sigma", [0.0, 0.3, 5.0, 35.0])
def test_gaussian_is_that_of_scipy(shape: tuple[int, ...], sigma: float) -> None:
    values = np.random.default_rng(0).normal(size=shape)
    expected = gaussian_filter1d(values, sigma, axis=0, mode="nearest") if sigma else values
    np.testing.assert_allclose(smoothing.gaussian(values, sigma), expected, atol=1e-12)


@pytest.mark.parametrize(("frames", "window"), [(1, 1), (3, 3), (40, 40), (300, 60), (300, 61), (5000, 1000)])
@pytest.mark.parametrize("percent", [0, 15, 99])
def test_percentile_is_that_of_scipy(frames: int, window: int, percent: float) -> None:
    values = np.random.default_rng(1).normal(size=frames)
    expected = percentile_filter(values, percent, window, mode="nearest")
    np.testing.assert_allclose(smoothing.percentile(values, percent, window), expected, atol=1e-12)
