"""Activities in place: angles agree with the literature, and scores agree with what the body does."""

import numpy as np
import pytest

from biomechgpt_jax import config
from biomechgpt_jax.biomechanics import kinematics
from biomechgpt_jax.biomechanics.kinematics import POINT_INDEX
from biomechgpt_jax.biomechanics.skeleton import INDEX, limits
from biomechgpt_jax.biomechanics.trajectory import Trial
from biomechgpt_jax.cohort.simulate import simulate

ACTIVITIES = {
    "chair_rise": "five times sit to stand",
    "balance_open": "standing balance",
    "balance_closed": "standing balance",
    "squat": "squat",
    "sit_to_stand": "sit to stand",
    "heel_raise": "heel raise",
    "tandem_stance": "tandem stance",
    "single_leg_stance": "single-leg stance",
    "functional_reach": "functional reach",
    "finger_to_nose": "finger to nose",
    "box_and_block": "box and block",
}


@pytest.fixture(scope="module")
def trials() -> list[Trial]:
    cohort = config.Cohort(participants=16, hours=0.01, noise="none", activities=tuple(ACTIVITIES))
    return list(simulate(cohort))


def _of(trials: list[Trial], key: str) -> list[Trial]:
    return [trial for trial in trials if trial.trial_id.endswith(f"_{key}_0")]


def _points(trial: Trial, *names: str) -> np.ndarray:
    # Padding avoids a compilation for every length.
    q = trial.trajectory.coordinates
    padded = np.concatenate([q, np.repeat(q[-1:], -len(q) % 1200, axis=0)])
    body = np.asarray(kinematics.points_jit(padded, trial.trajectory.metadata.height_m))[: len(q)]
    return body[:, [POINT_INDEX[name] for name in names]]


def _degrees(trial: Trial, name: str) -> np.ndarray:
    return np.degrees(trial.trajectory.coordinates[:, INDEX[name]])


def test_every_activity_has_its_label_and_an_interval_that_identifies_it(trials: list[Trial]) -> None:
    for key, label in ACTIVITIES.items():
        assert len(_of(trials, key)) == 16
        for trial in _of(trials, key):
            assert trial.trajectory.metadata.activity == label
            assert len(trial.defining), trial.trial_id
            assert (trial.defining[:, 0] < trial.defining[:, 1]).all()
            assert trial.defining.min() >= 0
            assert trial.defining.max() <= trial.trajectory.seconds, trial.trial_id


def test_coordinates_stay_inside_the_limits(trials: list[Trial]) -> None:
    bounds = limits()
    for trial in trials:
        q = trial.trajectory.coordinates
        assert np.isfinite(q).all()
        assert (q >= bounds[:, 0] - 1e-5).all() and (q <= bounds[:, 1] + 1e-5).all(), trial.trial_id


def test_feet_neither_sink_nor_float(trials: list[Trial]) -> None:
    for trial in trials:
        feet = _points(trial, "heel_r", "ball_r", "heel_l", "ball_l")[..., 1]
        assert feet.min() > -0.01, trial.trial_id
        assert feet.min(axis=1).max() < 0.03, trial.trial_id


def test_heel_raise_lifts_heels_and_keeps_balls_on_the_floor(trials: list[Trial]) -> None:
    for trial in _of(trials, "heel_raise"):
        points = _points(trial, "heel_r", "ball_r")
        assert points[:, 0, 1].max() > 0.03, trial.trial_id
        assert np.percentile(points[:, 1, 1], 95) < 0.02
        ball = points[:, 1, [0, 2]]
        assert np.percentile(np.linalg.norm(np.diff(ball, axis=0), axis=1) * 30, 95) < 0.10
        if trial.diagnosis == "healthy":
            ankle = _degrees(trial, "ankle_angle_r")  # from the person's own standing posture
            assert -40 < ankle.min() - ankle[0] < -14
            assert 24 < _degrees(trial, "mtp_angle_r").max() <= 60


def test_single_leg_time_is_how_long_the_foot_is_up(trials: list[Trial]) -> None:
    for trial in _of(trials, "single_leg_stance"):
        score = trial.scores["single_leg_stance_time"]
        assert 0.3 < score.value <= 30
        height = _points(trial, "heel_r", "ball_r", "heel_l", "ball_l")[..., 1]
        up = np.maximum(height[:, :2].min(axis=1), height[:, 2:].min(axis=1))
        inside = up[int(np.ceil(score.start_s * 30)) : int(score.end_s * 30) + 1]
        assert inside.min() > 0.019, trial.trial_id


def test_tandem_stance_is_heel_to_toe(trials: list[Trial]) -> None:
    for trial in _of(trials, "tandem_stance"):
        score = trial.scores["tandem_stance_time"]
        assert 0.3 < score.value <= 30
        middle = int(30 * (score.start_s + score.end_s) / 2)
        ankle = _points(trial, "ankle_r", "ankle_l")[middle][:, [0, 2]]
        toe = _points(trial, "toe_r", "toe_l")[middle][:, [0, 2]]
        forward = (toe - ankle).sum(axis=0)
        forward /= np.linalg.norm(forward)
        apart = ankle[0] - ankle[1]
        along, across = abs(apart @ forward), abs(apart[0] * forward[1] - apart[1] * forward[0])
        height = trial.trajectory.metadata.height_m
        assert 0.10 < along / height < 0.21, trial.trial_id
        assert across < 0.10, trial.trial_id


def test_reach_is_the_distance_the_hand_travels(trials: list[Trial]) -> None:
    healthy = []
    for trial in _of(trials, "functional_reach"):
        score = trial.scores["functional_reach"]
        first, last = int(score.start_s * 30), int(score.end_s * 30)
        far = 0.0
        for side in "rl":
            hand = _points(trial, f"hand_{side}")[first : last + 1, 0][:, [0, 2]]
            far = max(far, 100 * np.linalg.norm(hand - hand[:12].mean(axis=0), axis=1).max())
        assert score.value <= far + 0.1, trial.trial_id
        assert score.value > 0.6 * far, trial.trial_id
        if trial.diagnosis == "healthy":
            healthy.append(score.value)
    assert 20 < np.mean(healthy) < 40


def test_people_sway_more_with_closed_eyes(trials: list[Trial]) -> None:
    def sway(key: str) -> float:
        columns = [INDEX[name] for name in ("lumbar_extension", "lumbar_bending", "neck_rotation")]
        return float(np.median([t.trajectory.coordinates[:, columns].std(axis=0).mean() for t in _of(trials, key)]))

    assert 1.3 < sway("balance_closed") / sway("balance_open") < 2.3


def test_the_finger_reaches_the_nose(trials: list[Trial]) -> None:
    for trial in _of(trials, "finger_to_nose"):
        if trial.diagnosis != "healthy":
            continue
        nearest = []
        for side in "rl":
            points = _points(trial, "head", f"hand_{side}")
            nearest.append(np.linalg.norm(points[:, 0] - points[:, 1], axis=1).min())
        assert min(nearest) < 0.22, trial.trial_id


def test_blocks_per_minute_fall_with_severity(trials: list[Trial]) -> None:
    values = np.array([[t.severity, t.scores["box_and_block"].value] for t in _of(trials, "box_and_block")])
    healthy = values[values[:, 0] == 0, 1]
    assert 50 < healthy.mean() < 85
    assert np.corrcoef(values.T)[0, 1] < -0.5


def test_chair_rise_has_the_angles_of_recorded_ones(trials: list[Trial]) -> None:
    healthy = [trial for trial in _of(trials, "chair_rise") if trial.diagnosis == "healthy"]
    hip = np.mean([_degrees(t, "hip_flexion_r").max() for t in healthy])
    knee = np.mean([_degrees(t, "knee_angle_r").max() for t in healthy])
    assert 97 < hip < 115
    assert 92 < knee < 104
