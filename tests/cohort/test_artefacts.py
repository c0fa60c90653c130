"""Markerless errors have the requested size and a realistic spectrum, and stay inside the joint limits."""

import numpy as np
import pytest
from scipy.signal import welch

from biomechgpt_jax.biomechanics.skeleton import COORDINATES, INDEX, OFTEN_ARTEFACTS, limits
from biomechgpt_jax.cohort.artefacts import Artefacts, add_markerless_error, draw_observed

PLAIN = Artefacts(dropouts_per_minute=0.0, edge_glitches=0.0)
JOINTS = [INDEX[name] for name in ("hip_flexion_r", "knee_angle_l", "ankle_angle_r", "lumbar_extension", "arm_flex_l")]


def _errors(sizes: Artefacts, count: int = 60, frames: int = 400) -> np.ndarray:
    clean = np.full((frames, 40), 0.3, np.float32)
    return np.stack([add_markerless_error(clean, 30.0, np.random.default_rng(i), sizes) - clean for i in range(count)])


@pytest.mark.parametrize("size", [2.5, 2.9, 3.3])
def test_total_error_has_the_requested_size(size: float) -> None:
    errors = np.degrees(_errors(Artefacts(size, dropouts_per_minute=0, edge_glitches=0)))[..., JOINTS]
    assert np.sqrt(np.mean(errors**2)) == pytest.approx(size, rel=0.12)


def test_error_is_mostly_slow() -> None:
    errors = _errors(PLAIN)[..., JOINTS]
    moving = errors - errors.mean(axis=1, keepdims=True)
    assert np.mean(moving**2) < 0.5 * np.mean(errors**2)
    frequency, density = welch(moving, 30.0, nperseg=256, axis=1)
    power = density.mean(axis=(0, 2))
    assert power[frequency > 2].sum() < 0.15 * power.sum()
    assert power[(frequency > 3) & (frequency < 12)].sum() > 0.02 * power.sum()


def test_dropouts_hold_or_interpolate_a_stretch() -> None:
    time = np.arange(900) / 30
    clean = np.tile((0.3 * np.sin(2 * np.pi * time))[:, None], (1, 40)).astype(np.float32)
    silent = Artefacts(0.0, 0.0, 0.0, 0.0, 0.0)
    lossy = Artefacts(0.0, 0.0, 20.0, 0.0, 0.0)
    knee = INDEX["knee_angle_r"]

    def straight_frames(sizes: Artefacts) -> int:
        q = add_markerless_error(clean, 30.0, np.random.default_rng(3), sizes)[:, knee]
        return int((np.abs(np.diff(q, 2)) < 1e-6).sum())

    assert straight_frames(lossy) > straight_frames(silent) + 10


def test_edge_glitches_are_at_the_edges() -> None:
    sizes = Artefacts(0.0, 0.0, 0.0, 1.0, 0.0)
    error = np.abs(_errors(sizes)[..., JOINTS]).mean(axis=(0, 2))
    assert error[0] > np.radians(1) and error[-1] > np.radians(1)
    assert error[60:-60].max() < np.radians(0.1)


def test_limits_hold_for_errors_of_any_size() -> None:
    bounds = limits()
    low = np.where(np.isfinite(bounds[:, 0]), bounds[:, 0], 0.0)
    q = add_markerless_error(np.tile(low, (200, 1)).astype(np.float32), 30.0, np.random.default_rng(0), Artefacts(20.0))
    assert (q >= bounds[:, 0]).all() and (q <= bounds[:, 1]).all()


def test_only_unreliable_coordinates_are_masked() -> None:
    masks = np.stack([draw_observed(np.random.default_rng(i), Artefacts(masked=0.3)) for i in range(300)])
    for index, name in enumerate(COORDINATES):
        share = 1 - masks[:, index].mean()
        assert 0.2 < share < 0.4 if name in OFTEN_ARTEFACTS else share == 0, name
    assert draw_observed(np.random.default_rng(0), Artefacts(masked=0.0)).all()
