"""The norms against the features that their source describes, and against the fitted file if it is present."""

import json
from pathlib import Path

import numpy as np
import pytest

from biomechgpt_jax.biomechanics.gait import norms
from biomechgpt_jax.cohort.people import waveforms

DATA = Path(__file__).parents[2].parent / "shared" / "data"
PHASE = np.linspace(0.0, 1.0, 101)
FREE = 2


@pytest.mark.parametrize(
    ("name", "lowest", "at", "highest", "when"),
    [
        ("knee_flexion", 4.0, 98, 59.1, 72),
        ("hip_flexion", -5.8, 52, 36.7, 90),
        ("hip_adduction", -7.1, 66, 5.2, 16),
        ("ankle_dorsiflexion", -19.8, 64, 11.8, 44),
        ("pelvic_obliquity", -4.1, 64, 4.1, 14),
        ("foot_progression", -14.2, 82, -1.5, 60),
    ],
)
def test_curves_have_the_published_peaks(name: str, lowest: float, at: int, highest: float, when: int) -> None:
    curve = norms.curve(name, norms.SPEED_CENTRES[FREE], PHASE)
    assert curve.min() == pytest.approx(lowest, abs=1.0) and curve.max() == pytest.approx(highest, abs=1.0)
    assert np.argmin(curve) == pytest.approx(at, abs=4) and np.argmax(curve) == pytest.approx(when, abs=4)


def test_speed_widens_the_movement() -> None:
    peaks = [norms.curve("knee_flexion", speed, PHASE).max() for speed in (0.08, 0.16, 0.3, 0.43, 0.7)]
    assert peaks == sorted(peaks)
    between = norms.curve("hip_flexion", np.mean(norms.SPEED_CENTRES[1:3]), PHASE)
    ends = [norms.curve("hip_flexion", speed, PHASE) for speed in norms.SPEED_CENTRES[1:3]]
    np.testing.assert_allclose(between, np.mean(ends, axis=0), atol=1e-9)
    np.testing.assert_array_equal(norms.curve("hip_flexion", 5.0, PHASE), norms.curve("hip_flexion", 0.7, PHASE))
    assert norms.spread("knee_flexion", 0.16) == 8.95 and norms.FREE_SPREAD["knee_flexion"] == 6.33


def test_nine_variables_in_order_and_periodic() -> None:
    curves = norms.curves(0.5, PHASE)
    assert curves.shape == (101, 9) and norms.spreads(0.5).shape == (9,)
    np.testing.assert_allclose(curves[0], curves[-1], atol=1e-9)
    np.testing.assert_array_equal(curves[:, 6], norms.curve("knee_flexion", 0.5, PHASE))
    np.testing.assert_allclose(norms.curves(0.5, PHASE + 3.0), curves, atol=1e-9)


def test_normalised_speed_of_an_adult() -> None:
    """1.3 m/s on a leg of 0.9 m: 1.3 / sqrt(9.81 * 0.9) = 0.437, the middle of the free speeds."""
    assert norms.normalised_speed(1.3, 1.70) == pytest.approx(0.437, abs=1e-3)


def test_the_cohort_walks_by_these_curves() -> None:
    assert waveforms.curve is norms.curve and waveforms.toe_off_phase is norms.toe_off_phase
    assert set(waveforms.SUBJECT_SD) == set(norms.FREE_SPREAD) - {"foot_progression"}


def test_tables_are_those_of_the_fitted_file() -> None:
    path = DATA / "schwartz2008" / "schwartz2008_fourier6.json"
    if not path.exists():
        pytest.skip(f"no {path}")
    fitted = json.loads(path.read_text())
    ours = {"AKnee_FlexExt": "knee_flexion", "AFootProgress_IntExt": "foot_progression", "AHip_AddAbd": "hip_adduction"}
    for theirs, name in ours.items():
        for speed, label in zip(norms.SPEED_CENTRES, ("v_slow", "slow", "free", "fast", "v_fast"), strict=True):
            row = np.array(fitted[theirs][label]["coef"])
            angle = 2 * np.pi * PHASE[:, None] * np.arange(1, 7)
            expected = row[0] + np.cos(angle) @ row[1::2] + np.sin(angle) @ row[2::2]
            np.testing.assert_allclose(norms.curve(name, speed, PHASE), expected, atol=1e-9)
            assert norms.spread(name, speed) == pytest.approx(fitted[theirs][label]["sd"])
