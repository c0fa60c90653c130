"""Training crops are short and long, whole where they must be, mirrored and masked; evaluation crops are fixed."""

import dataclasses

import numpy as np
import pytest
from packed_trials import RATE_HZ, timed, walking

from biomechgpt_jax import config
from biomechgpt_jax.biomechanics.skeleton import COORDINATE_COUNT, HORIZONTAL_ROOT, INDEX, NECK_AND_WRISTS
from biomechgpt_jax.packing import crops
from biomechgpt_jax.questions.truth import truths

CFG = config.Experiment()


def with_pack(**changes) -> config.Experiment:
    return dataclasses.replace(CFG, pack=dataclasses.replace(CFG.pack, **changes))


def drawn(trial, count=400, cfg=CFG, telling=False, seed=0):
    rng = np.random.default_rng(seed)
    return [crops.training(trial, cfg, rng, telling) for _ in range(count)]


def seconds(found) -> np.ndarray:
    return np.array([(crop.end_frame - crop.start_frame) / RATE_HZ for crop in found])


@pytest.mark.parametrize("telling", [False, True])
def test_crops_lie_in_the_trial_in_whole_tokens(telling) -> None:
    for trial in (walking(0), timed(1), walking(2, 1.0), walking(3, 60.0)):
        for crop in drawn(trial, 100, telling=telling):
            length = crop.end_frame - crop.start_frame
            assert 0 <= crop.start_frame < crop.end_frame <= trial.trajectory.frames
            assert length % CFG.tokenizer.stride == 0
            assert length <= crops.longest_frames(CFG, RATE_HZ)
            assert length >= min(36, trial.trajectory.frames // 4 * 4)


def test_lengths_are_log_uniform_with_some_whole_trials() -> None:
    found = seconds(drawn(walking(0), 2000))
    assert 0.1 < np.mean(found > 8.9) < 0.3
    free = found[found < 8.9]
    # As many below the geometric middle of 1.2 and 9 s as above it; real files last 1.2 to 2 s.
    assert np.mean(free < np.sqrt(1.2 * 9.0)) == pytest.approx(0.5, abs=0.08)
    assert np.mean(free <= 2.0) > 0.15


def test_a_timed_test_is_often_whole_with_quiet_at_both_ends() -> None:
    found = [crop for crop in drawn(timed(0), 600) if crop.start_frame <= 90 and crop.end_frame >= 510]
    assert len(found) > 300
    before = np.array([90 - crop.start_frame for crop in found]) / RATE_HZ
    after = np.array([crop.end_frame - 510 for crop in found]) / RATE_HZ
    for margin, most in ((before, 3.0), (after, 5.0)):
        assert margin.max() > 0.8 * most and margin.min() < 0.2 * most
        assert 0.25 < margin.mean() / most < 0.85
    # Length alone must not tell the time of the test.
    assert np.std(seconds(found)) > 1.0


def test_a_telling_crop_can_be_asked_about() -> None:
    for trial in (walking(0), timed(1)):
        for crop in drawn(trial, 200, telling=True):
            assert "activity" in truths(trial, crop.start_frame / RATE_HZ, (crop.end_frame - 1) / RATE_HZ)
    assert np.mean(seconds(drawn(walking(0), 600, telling=True)) <= 2.0) > 0.15


def test_a_mirrored_crop_swaps_the_sides() -> None:
    trial = walking(0)
    masked = np.ones(COORDINATE_COUNT, bool)
    masked[INDEX["knee_angle_l"]] = False
    trial = dataclasses.replace(trial, trajectory=dataclasses.replace(trial.trajectory, observed=masked))
    always, never = with_pack(mirror_probability=1.0, mask_probability=0.0), with_pack(mirror_probability=0.0)
    for crop in drawn(trial, 20, always):
        assert crop.mirrored
        seen = trial.trajectory.coordinates[crop.start_frame : crop.end_frame]
        shown = crop.coordinates(trial)
        np.testing.assert_array_equal(shown[:, INDEX["hip_flexion_l"]], seen[:, INDEX["hip_flexion_r"]])
        np.testing.assert_array_equal(shown[:, INDEX["pelvis_tz"]], -seen[:, INDEX["pelvis_tz"]])
        assert not crop.observed[INDEX["knee_angle_r"]] and crop.observed[INDEX["knee_angle_l"]]
    assert not any(crop.mirrored for crop in drawn(trial, 20, never))


def test_masks_hide_what_real_files_lack() -> None:
    hidden = np.array([~crop.observed for crop in drawn(walking(0), 1000)])
    share = dict(zip(INDEX, hidden.mean(axis=0), strict=True))
    assert all(0.4 < share[name] < 0.6 for name in NECK_AND_WRISTS)
    assert all(0.02 < share[name] < 0.15 for name in HORIZONTAL_ROOT)
    assert share["knee_angle_r"] == share["pelvis_ty"] == 0
    everything = np.ones(COORDINATE_COUNT, bool)
    assert crops.unanswerable(everything) == frozenset()
    rootless = everything.copy()
    rootless[INDEX["pelvis_tx"]] = False
    assert {"walking_speed", "step_length"} <= crops.unanswerable(rootless)


def test_an_evaluation_crop_is_the_whole_trial_or_holds_its_test() -> None:
    (crop,) = crops.evaluation(walking(0), CFG)
    assert (crop.start_frame, crop.end_frame, crop.mirrored) == (0, 268, False)  # 270 frames: 67 tokens
    assert crop.observed.all()
    (crop,) = crops.evaluation(timed(0, 60.0), CFG)
    assert crop.end_frame - crop.start_frame == crops.longest_frames(CFG, RATE_HZ) < 1800
    assert crop.start_frame <= 90 and crop.end_frame >= 510
    trial = timed(0, 60.0)
    assert "tug_time" in truths(trial, crop.start_frame / RATE_HZ, crop.end_frame / RATE_HZ)
