"""Training crops are short and long, whole where they must be, mirrored and masked; evaluation crops are fixed."""

import dataclasses

import numpy as np
import pytest
from packed_trials import RATE_HZ, timed, walking

from biomechgpt_jax import config
from biomechgpt_jax.biomechanics.skeleton import COORDINATE_COUNT, HORIZONTAL_ROOT, INDEX, NECK_AND_WRISTS, limits
from biomechgpt_jax.biomechanics.systems import System
from biomechgpt_jax.biomechanics.trajectory import Contacts, Score, Trial
from biomechgpt_jax.data.label_use import LabelUse
from biomechgpt_jax.errors import InputError
from biomechgpt_jax.packing import crops

CFG = config.Experiment()


def with_pack(**changes) -> config.Experiment:
    return dataclasses.replace(CFG, pack=dataclasses.replace(CFG.pack, **changes))


def drawn(trial, count=400, cfg=CFG, informative=False, seed=0):
    rng = np.random.default_rng(seed)
    return [crops.training(trial, cfg, rng, informative) for _ in range(count)]


def seconds(found) -> np.ndarray:
    return np.array([(crop.end_frame - crop.start_frame) / RATE_HZ for crop in found])


@pytest.mark.parametrize("informative", [False, True])
def test_crops_lie_in_the_trial_in_whole_tokens(informative) -> None:
    for trial in (walking(0), timed(1), walking(2, 1.0), walking(3, 60.0)):
        for crop in drawn(trial, 100, informative=informative):
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


def test_an_informative_crop_answers_a_question() -> None:
    for trial in (walking(0), timed(1)):
        for crop in drawn(trial, 200, informative=True):
            assert "activity" in crops.answerable(trial, crop, CFG)
    assert np.mean(seconds(drawn(walking(0), 600, informative=True)) <= 2.0) > 0.15


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
    assert "tug_time" in crops.answerable(timed(0, 60.0), crop, CFG)


def recorded(frames: int, **labels) -> Trial:
    """A file as `import` leaves it: everything is said of the whole of it."""
    trial = walking(1, frames / RATE_HZ)
    last = (frames - 1) / RATE_HZ
    assert trial.trajectory.frames == frames
    return dataclasses.replace(
        trial,
        contacts=Contacts(),
        defining=np.array([[0.0, last]], np.float32),
        throughout=True,
        falls=2.0,
        scores={name: Score(value, 0.0, last) for name, value in labels.items()},
    )


WHO = {"activity", "diagnosis", "impairment", "assistive_device", "falls_history"}


@pytest.mark.parametrize("stride", [4, 8])
@pytest.mark.parametrize("frames", [31, 37, 41, 42, 43, 81, 155, 160, 1_201])
def test_labels_of_a_whole_file_hold_for_every_crop_of_it(frames, stride) -> None:
    cfg = dataclasses.replace(CFG, tokenizer=dataclasses.replace(CFG.tokenizer, stride=stride))
    trial = recorded(frames)
    for crop in [*drawn(trial, 50, cfg), *crops.evaluation(trial, cfg)]:
        assert set(crops.answerable(trial, crop, cfg)) == WHO


@pytest.mark.parametrize("stride", [4, 8])
@pytest.mark.parametrize("frames", [240, 241, 247, 900])
def test_a_test_of_a_whole_file_lacks_less_than_a_token(frames, stride) -> None:
    cfg = dataclasses.replace(CFG, tokenizer=dataclasses.replace(CFG.tokenizer, stride=stride))
    trial = recorded(frames, tug_time=8.0)
    (crop,) = crops.evaluation(trial, cfg)
    assert crops.answerable(trial, crop, cfg)["tug_time"] == 8.0
    found = drawn(trial, 300, cfg)
    whole = [frames - (crop.end_frame - crop.start_frame) < stride for crop in found]
    asked = ["tug_time" in crops.answerable(trial, crop, cfg) for crop in found]
    assert asked == whole and sum(asked) > 150


def test_a_test_longer_than_the_longest_crop_is_not_asked_and_says_why() -> None:
    trial = recorded(1_201, tug_time=40.0)
    found = [*drawn(trial, 100), *crops.evaluation(trial, CFG)]
    assert not any("tug_time" in crops.answerable(trial, crop, CFG) for crop in found)
    use = LabelUse()
    crops.count_labels(use, trial, {"activity", "diagnosis", "assistive_device", "falls_history"}, CFG)
    assert (use.given, use.asked) == (5, 4)
    (line,) = use.lines()
    assert "not every label became a question (tug_time): it lasts 40.0 s and the longest crop 32.0 s" in line


def test_a_file_shorter_than_a_token_answers_no_question() -> None:
    cfg = dataclasses.replace(CFG, tokenizer=dataclasses.replace(CFG.tokenizer, stride=32))
    trial = recorded(31)
    for crop in [*drawn(trial, 5, cfg), *crops.evaluation(trial, cfg)]:
        assert crops.answerable(trial, crop, cfg) == {}
    use = LabelUse()
    crops.count_labels(use, trial, (), cfg)
    (line,) = use.lines()
    assert line.startswith("t001: no label became a question (activity, ") and "less than one motion token" in line


def test_crops_are_seen_through_systems() -> None:
    """Half of the crops are another system's, of the true movement: what is asked and answered stays the same."""
    trial = walking(0)
    plain, half = drawn(trial, 300), drawn(trial, 300, with_pack(systems=0.5))
    assert all(crop.system is None for crop in plain)
    share = np.mean([crop.system is not None for crop in half])
    assert 0.4 < share < 0.6
    for crop in half[:40]:
        shown = crop.coordinates(trial)
        own = dataclasses.replace(crop, system=None)
        expected = own.coordinates(trial)
        assert crops.answerable(trial, crop, CFG) == crops.answerable(trial, own, CFG)
        if crop.system is None:
            np.testing.assert_array_equal(shown, expected)
            continue
        np.testing.assert_array_equal(shown[:, ~crop.observed], expected[:, ~crop.observed])
        seen = crop.observed.copy()
        seen[: INDEX["hip_flexion_r"]] = False
        assert seen.any() and (shown != expected)[:, seen].any(axis=0).all()


def test_training_shows_no_angle_beyond_its_limits() -> None:
    trial = walking(0)
    offset = np.full(COORDINATE_COUNT, 3.0, np.float32)
    offset[:6] = 0.0
    crop = dataclasses.replace(drawn(trial, 1)[0], system=System(offset=offset), observed=np.ones(40, bool))
    shown, (low, high) = crop.coordinates(trial), limits().T
    assert (shown[:, 6:] <= high[6:] + 1e-6).all() and (shown[:, 6:] >= low[6:] - 1e-6).all()


def test_crops_without_systems_are_those_of_before() -> None:
    """The first crop drawn with systems is cut, mirrored and masked as without: the system is drawn last."""
    for seed in range(20):
        (one,), (other,) = drawn(walking(0), 1, seed=seed), drawn(walking(0), 1, with_pack(systems=1.0), seed=seed)
        assert (one.start_frame, one.end_frame, one.mirrored) == (other.start_frame, other.end_frame, other.mirrored)
        assert not (other.observed & ~one.observed).any()


@pytest.mark.parametrize("share", [-0.1, 1.5])
def test_a_share_of_systems_is_a_share(share) -> None:
    with pytest.raises(InputError, match=r"pack\.systems"):
        with_pack(systems=share)
