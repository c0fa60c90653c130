"""A measurement system shifts and scales joint angles whatever the heading; its table is what it is drawn from."""

import dataclasses

import numpy as np
import pytest

from biomechgpt_jax.biomechanics import systems
from biomechgpt_jax.biomechanics.features import FEATURES, TILT, features
from biomechgpt_jax.biomechanics.skeleton import (
    COORDINATE_COUNT,
    COORDINATES,
    HORIZONTAL_ROOT,
    INDEX,
    mirror,
    without_side,
)
from biomechgpt_jax.biomechanics.systems import System
from biomechgpt_jax.cohort.footing.headings import rotate_heading

ALL = np.ones(COORDINATE_COUNT, bool)
ROOT = [INDEX[name] for name in HORIZONTAL_ROOT]


def movement(seed: int = 0, frames: int = 60) -> np.ndarray:
    """Smooth angles well inside the limits, upright."""
    rng = np.random.default_rng(seed)
    time = np.arange(frames)[:, None] / 30
    q = 0.15 * np.sin(2 * np.pi * time * rng.uniform(0.3, 1.0, COORDINATE_COUNT) + rng.uniform(0, 6, COORDINATE_COUNT))
    q[:, [INDEX[f"knee_angle_{side}"] for side in "rl"]] += 0.4
    return q.astype(np.float32)


@pytest.mark.parametrize("degrees", [0, 90, 180, -135])
def test_an_offset_turns_with_the_body(degrees) -> None:
    """Ten degrees of lean are ten degrees in the heading frame, whichever way the person faces."""
    heading = np.radians(degrees)
    before = rotate_heading(movement(), heading).astype(np.float32)
    offset = np.zeros(COORDINATE_COUNT, np.float32)
    offset[INDEX["pelvis_tilt"]], offset[INDEX["hip_flexion_r"]] = np.radians([-10.0, 10.0])
    after = System(offset).apply(before, ALL)
    change = np.degrees(np.asarray(features(after)) - np.asarray(features(before)))
    expected = np.zeros(COORDINATE_COUNT)
    expected[TILT], expected[FEATURES.index("hip_flexion_r")] = -10.0, 10.0
    # The path stays as it was, and with it the velocities.
    np.testing.assert_allclose(change, np.tile(expected, (len(before), 1)), atol=2e-3)
    np.testing.assert_array_equal(after[:, ROOT], before[:, ROOT])
    # The recorded turn is neither wrapped nor jumps.
    assert np.abs(np.diff(after[:, INDEX["pelvis_rotation"]])).max() < 0.2


def test_no_system_changes_nothing() -> None:
    before = rotate_heading(movement(), 2.0).astype(np.float32)
    np.testing.assert_allclose(System().apply(before, ALL), before, atol=1e-5)


def test_a_gain_keeps_the_mean_and_scales_the_range() -> None:
    before = movement()
    gain = np.ones(COORDINATE_COUNT, np.float32)
    knee = INDEX["knee_angle_r"]
    gain[knee] = 1.2
    after = System(gain=gain).apply(before, ALL)
    assert after[:, knee].mean() == pytest.approx(before[:, knee].mean(), abs=1e-5)
    assert np.ptp(after[:, knee]) == pytest.approx(1.2 * np.ptp(before[:, knee]), rel=1e-4)


def test_what_is_not_observed_stays_as_it_is() -> None:
    drawn = systems.draw(np.random.default_rng(0))
    observed = ALL.copy()
    observed[[INDEX["pelvis_list"], INDEX["knee_angle_l"]]] = False
    before = movement()
    before[:, ~observed] = 0.0
    after = drawn.apply(before, observed)
    np.testing.assert_array_equal(after[:, ~observed], before[:, ~observed])
    # Without one of its angles the orientation of the pelvis is unknown.
    np.testing.assert_array_equal(after[:, INDEX["pelvis_tilt"]], before[:, INDEX["pelvis_tilt"]])
    assert (after[:, INDEX["knee_angle_r"]] != before[:, INDEX["knee_angle_r"]]).all()


def test_an_angle_beyond_its_limits_is_moved_like_any_other() -> None:
    """A recording may hold angles that are yet to be unwrapped, or to be flagged as impossible."""
    offset = np.zeros(COORDINATE_COUNT, np.float32)
    offset[INDEX["knee_angle_r"]] = 0.1
    before = movement()
    before[:, INDEX["knee_angle_r"]] -= 3.0
    after = dataclasses.replace(System(), offset=offset).apply(before, ALL)
    np.testing.assert_allclose(after[:, 6:], before[:, 6:] + offset[6:], atol=1e-6)


def test_drawn_systems_have_the_covariance_that_is_said_of_them() -> None:
    rng = np.random.default_rng(0)
    offsets = np.degrees([systems.draw(rng).offset for _ in range(4000)])
    expected = np.degrees(np.degrees(systems.covariance()))
    spread = np.sqrt(np.diag(expected))
    np.testing.assert_allclose(offsets.std(axis=0), spread, rtol=0.06, atol=1e-6)
    found = np.cov(offsets.T)
    scale = np.outer(spread, spread)
    known = scale > 0
    np.testing.assert_allclose((found[known] - expected[known]) / scale[known], 0.0, atol=0.07)
    assert not spread[ROOT].any()


def test_a_system_errs_mostly_alike_on_both_sides_and_the_trunk_follows_the_pelvis() -> None:
    covariance = systems.covariance()
    np.testing.assert_allclose(covariance, mirror(mirror(covariance).T).T, atol=1e-12)

    def correlation(one: str, other: str) -> float:
        i, j = INDEX[one], INDEX[other]
        return float(covariance[i, j] / np.sqrt(covariance[i, i] * covariance[j, j]))

    for name in {without_side(name) for name in COORDINATES if name.endswith("_r")}:
        assert correlation(f"{name}_r", f"{name}_l") >= 0.8 - 1e-9, name
    assert correlation("pelvis_tilt", "hip_flexion_r") < -0.8
    assert correlation("pelvis_tilt", "lumbar_extension") < -0.6


def test_offsets_are_within_what_is_published() -> None:
    """Of the leg, between 1.5 and 8 degrees: what laboratories and systems differ by."""
    spread = np.degrees(np.sqrt(np.diag(systems.covariance())))
    legs = [INDEX[name] for name in COORDINATES if name.startswith(("pelvis_", "hip", "knee", "ankle"))]
    legs = [index for index in legs if index >= INDEX["pelvis_tilt"]]
    assert (spread[legs] >= 1.5).all() and (spread[legs] <= 8.0).all()


def test_body_models_lack_joints_on_both_sides() -> None:
    rng = np.random.default_rng(0)
    lacking = np.array([systems.draw_lacking(rng) for _ in range(2000)])
    share = dict(zip(COORDINATES, lacking.mean(axis=0), strict=True))
    assert share["neck_rotation"] > 0.85 and 0.3 < share["elbow_flex_r"] < 0.5 and 0.1 < share["pelvis_tx"] < 0.2
    assert 0.1 < share["lumbar_extension"] < 0.2
    assert share["knee_angle_r"] == share["pelvis_tilt"] == 0.0
    for name in COORDINATES:
        if name.endswith("_r"):
            np.testing.assert_array_equal(lacking[:, INDEX[name]], lacking[:, INDEX[f"{without_side(name)}_l"]])


def test_the_sizes_of_words() -> None:
    offset = np.zeros(COORDINATE_COUNT)
    offset[INDEX["pelvis_tilt"]] = np.radians(-6.1)
    offset[[INDEX["ankle_angle_r"], INDEX["ankle_angle_l"]]] = np.radians([3.0, 5.0])
    assert systems.largest(offset, 2) == ["pelvis tilt -6.1", "ankle angle +4.0"]


def test_what_is_missing_in_a_frame_stays_missing() -> None:
    before = rotate_heading(movement(), 1.0).astype(np.float32)
    whole = systems.draw(np.random.default_rng(3))
    whole = System(whole.offset)
    gaps = before.copy()
    gaps[10:14, INDEX["pelvis_list"]] = np.nan
    gaps[20, INDEX["knee_angle_r"]] = np.nan
    after = whole.apply(gaps, ALL)
    missing = np.isnan(gaps)
    missing[10:14, [INDEX[name] for name in ("pelvis_tilt", "pelvis_rotation")]] = True  # unknown without list
    known = ~missing
    np.testing.assert_allclose(after[known], whole.apply(before, ALL)[known], atol=1e-5)
    assert np.isnan(after[missing]).all()


def test_a_posture_is_the_mean_in_the_heading_frame() -> None:
    before = rotate_heading(movement(), 2.0).astype(np.float32)
    expected = np.asarray(features(before)).mean(axis=0)
    found = systems.posture(before, ALL)
    angles = [TILT, INDEX["pelvis_list"], *range(6, COORDINATE_COUNT)]
    np.testing.assert_allclose(found[angles], expected[angles], atol=1e-5)
    assert np.isnan(found[[*ROOT, INDEX["pelvis_ty"], INDEX["pelvis_rotation"]]]).all()
