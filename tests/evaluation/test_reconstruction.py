"""What a codec loses, against losses that are known."""

import numpy as np
import pytest

from biomechgpt_jax.biomechanics.features import start_pose
from biomechgpt_jax.biomechanics.skeleton import COORDINATE_COUNT, INDEX
from biomechgpt_jax.evaluation.codec import matching, reconstruction

ALL = np.ones(COORDINATE_COUNT, bool)
KNEE, ARM = INDEX["knee_angle_r"], INDEX["arm_flex_l"]


class Lossy:
    """Codes of four frames that repeat 0, 1, 2, 3; 2 degrees are added to every coordinate."""

    codes = 16

    def encode(self, coordinates, observed):
        self.given = coordinates
        return [np.arange(len(movement) // 4)[:, None] % 4 for movement in coordinates]

    def decode(self, tokens, starts=None):
        for movement, start in zip(self.given, starts, strict=True):
            np.testing.assert_allclose(start, start_pose(movement) if len(movement) else np.zeros(3), atol=1e-6)
        return [movement[: 4 * len(own)] + np.radians(2.0) for movement, own in zip(self.given, tokens, strict=True)]


def swinging(frames: int = 82) -> np.ndarray:
    movement = np.zeros((frames, COORDINATE_COUNT), np.float32)
    movement[:, [KNEE, ARM]] = np.sin(np.arange(frames))[:, None]
    return movement


def test_a_known_loss_is_measured_by_joint_and_health():
    movements = [swinging(), swinging(), np.zeros((3, COORDINATE_COUNT), np.float32)]
    found = reconstruction.measure(Lossy(), movements, [ALL] * 3, [True, None, False])
    for name in ("median_deg", "p95_deg", "healthy_median_deg"):
        assert found[name] == pytest.approx(2.0, abs=1e-4)
    assert np.isnan(found["impaired_median_deg"]), "too short for a token"
    assert found["by_group_deg"] == {"knee": pytest.approx(2.0, abs=1e-4), "shoulder": pytest.approx(2.0, abs=1e-4)}
    assert (found["codes"], found["codes_used"], found["code_usage"]) == (16, 4, 0.25)
    assert found["perplexity"] == pytest.approx(4.0) and found["tokens"] == 40
    assert found["tokens_per_second"] == pytest.approx(30 / 4)
    assert found["speed_error"] < 1e-4
    assert reconstruction.measure(Lossy(), movements[2:], [ALL], [True]) == {}


def test_only_coordinates_that_were_seen_and_moved_are_counted():
    hidden = ALL.copy()
    hidden[ARM] = False
    error = reconstruction.angles(swinging(), swinging() + np.radians(2.0), hidden)
    assert np.flatnonzero(np.isfinite(error.median)).tolist() == [KNEE]


def test_rates_of_a_jitter_are_those_of_its_derivative():
    true, back = swinging(300), swinging(300)
    time = np.arange(300) / 30.0
    # A slow error of 3 degrees at 1 Hz: the mean of |2 pi 3 cos| is 4 * 3, that of the second derivative (2 pi) 4 * 3.
    back[:, KNEE] += np.radians(3.0 * np.sin(2 * np.pi * time))
    found = reconstruction.rates(true, back, ALL)
    assert found.velocity[KNEE] == pytest.approx(12.0, rel=0.01)
    assert found.acceleration[KNEE] == pytest.approx(12.0 * 2 * np.pi, rel=0.01)
    assert found.velocity[ARM] == pytest.approx(0.0, abs=1e-3)
    assert found.own_velocity[ARM] == pytest.approx(
        np.degrees(np.abs(np.diff(np.sin(np.arange(300)))).mean()) * 30, rel=1e-4
    )


def test_a_drift_is_forgotten_in_windows_and_kept_over_the_trial():
    true = np.zeros((240, COORDINATE_COUNT), np.float32)
    back = true.copy()
    back[:, INDEX["pelvis_tx"]] = 0.01 * np.arange(240) / 30  # a centimetre a second
    windows = reconstruction.root_cm(true, back)
    assert windows == pytest.approx([119 / 2 / 30] * 2, rel=1e-4)
    assert reconstruction.drift_cm(true, back) == pytest.approx(239 / 2 / 30, rel=1e-4)


def test_the_matched_ratio_is_that_of_one_mix_of_activities():
    """Impaired people err twice as much in everything, but the healthy do mostly what is hard."""
    rows = [("walk", 1.0, 4.0)] * 8 + [("sit", 0.0, 1.0)] * 2  # healthy: activity, speed, error
    ill = [("walk", 1.1, 8.0)] * 2 + [("sit", 0.0, 2.0)] * 8 + [("stairs", 0.4, 50.0)] * 3
    activities, speeds, errors = zip(*rows, *ill, strict=True)
    impaired = np.array([False] * len(rows) + [True] * len(ill))
    stratum = matching.strata(activities, np.array(speeds))
    assert len(np.unique(stratum)) == 3
    group = np.arange(len(impaired))
    for place, expected in ((stratum, 2.0), (np.zeros(len(group), int), np.mean(errors[10:]) / np.mean(errors[:10]))):
        metric = matching.ratio(np.array(errors), np.ones(len(group)), impaired, place, group, len(group))
        assert float(metric(np.ones(len(group)))) == pytest.approx(expected)
        assert metric(np.ones((5, len(group)))).shape == (5,)
    without = np.where(impaired, 0.0, 1.0)
    assert np.isnan(metric(without))
    # A participant drawn three times counts three times.
    counts = np.ones(len(group))
    counts[0], errors = 3.0, (6.0, *errors[1:])
    metric = matching.ratio(np.array(errors), np.ones(len(group)), impaired, stratum, group, len(group))
    walk, sit = 10 * 2 / 12, 2 * 8 / 10
    healthy = walk * (3 * 6.0 + 7 * 4.0) / 10 + sit * 1.0
    assert float(metric(counts)) == pytest.approx((walk * 8.0 + sit * 2.0) / healthy)


def test_speeds_share_a_class_within_a_quarter_metre_a_second():
    found = matching.strata(["walk"] * 5 + ["sit"], np.array([0.30, 0.49, 0.51, np.nan, np.nan, 0.3]))
    assert found[0] == found[1] != found[2] and found[3] == found[4] and len(set(found.tolist())) == 4
