"""The cohort: determinism, feet that stand still, and truth that agrees with the anchored movement."""

import numpy as np
import pytest

from biomechgpt_jax import config
from biomechgpt_jax.biomechanics import gait, kinematics
from biomechgpt_jax.biomechanics.skeleton import INDEX, limits
from biomechgpt_jax.biomechanics.trajectory import Trial
from biomechgpt_jax.cohort import participants
from biomechgpt_jax.cohort.simulate import simulate


@pytest.fixture(scope="module")
def clean() -> list[Trial]:
    return list(simulate(config.Cohort(participants=7, hours=0.01, noise="none")))


def _feet(trial: Trial) -> np.ndarray:
    body = np.asarray(kinematics.points_jit(trial.trajectory.coordinates, trial.trajectory.metadata.height_m))
    names = ("heel_r", "ball_r", "heel_l", "ball_l")
    return body[:, [kinematics.POINT_INDEX[name] for name in names]]


def _stance_speeds(trial: Trial) -> np.ndarray:
    """Horizontal speed of the ball in the middle of each stance, from the schedule alone."""
    feet, contacts = _feet(trial), trial.contacts
    speeds = []
    for foot in (0, 1):
        strikes = contacts.strike_time[contacts.strike_foot == foot]
        offs = contacts.off_time[contacts.off_foot == foot]
        for strike in strikes:
            later = offs[offs > strike]
            if len(later):
                first, last = (int(30 * (strike + share * (later[0] - strike))) for share in (0.25, 0.9))
                ball = feet[first : last + 1, 2 * foot + 1][:, [0, 2]]
                speeds.append(np.linalg.norm(np.diff(ball, axis=0), axis=1) * 30)
    return np.concatenate(speeds)


def test_every_etiology_and_activity_is_there(clean: list[Trial]) -> None:
    drawn = {participants.draw(i, 0).etiology for i in range(40)}
    assert drawn == {"healthy", *participants.ETIOLOGIES}
    assert {trial.trajectory.metadata.activity for trial in clean} >= {
        "walking",
        "timed up and go",
        "five times sit to stand",
        "standing balance",
        "squat",
        "tandem walk",
    }


def test_seed_decides_everything(clean: list[Trial]) -> None:
    again = next(iter(simulate(config.Cohort(participants=3, hours=0.01, noise="none"))))
    np.testing.assert_array_equal(again.trajectory.coordinates, clean[0].trajectory.coordinates)
    other = next(iter(simulate(config.Cohort(participants=3, hours=0.01, seed=1, noise="none"))))
    assert other.trajectory.coordinates.shape != clean[0].trajectory.coordinates.shape or not np.array_equal(
        other.trajectory.coordinates, clean[0].trajectory.coordinates
    )


def test_stance_foot_does_not_slide(clean: list[Trial]) -> None:
    speeds = np.concatenate([_stance_speeds(t) for t in clean if "_walk_" in t.trial_id])
    assert np.median(speeds) < 0.05
    assert np.percentile(speeds, 95) < 0.20


def test_coordinates_stay_inside_the_limits(clean: list[Trial]) -> None:
    bounds = limits()
    for trial in clean:
        q = trial.trajectory.coordinates[:, 6:]
        assert (q >= bounds[6:, 0] - 1e-4).all(), trial.trial_id
        assert (q <= bounds[6:, 1] + 1e-4).all(), trial.trial_id


def test_truth_of_speed_is_the_speed_of_the_pelvis(clean: list[Trial]) -> None:
    for trial in clean:
        if "_walk_" not in trial.trial_id:
            continue
        q = trial.trajectory.coordinates
        path = q[:, [INDEX["pelvis_tx"], INDEX["pelvis_tz"]]]
        net = np.linalg.norm(path[-1] - path[0]) / ((len(q) - 1) / 30)
        assert gait.parameters(trial.contacts)["walking_speed"] == pytest.approx(net, abs=0.08)


def test_detected_events_agree_with_the_schedule(clean: list[Trial]) -> None:
    errors = []
    for trial in clean:
        if "_walk_free" in trial.trial_id:
            true = gait.parameters(trial.contacts)
            found = gait.parameters(gait.detect_contacts(trial.trajectory))
            errors.append(abs(found["cadence"] - true["cadence"]))
    assert np.median(errors) < 3.0


def test_timed_up_and_go_turns_round_and_comes_back(clean: list[Trial]) -> None:
    trial = next(t for t in clean if "_tug_" in t.trial_id)
    q = trial.trajectory.coordinates
    score = trial.scores["tug_time"]
    assert 3.0 < score.value < 60.0
    path = q[:, [INDEX["pelvis_tx"], INDEX["pelvis_tz"]]]
    away = np.linalg.norm(path - path[0], axis=1)
    assert 2.0 < away.max() < 4.5
    assert away[-1] < 0.5 * away.max()
    height = q[:, INDEX["pelvis_ty"]]
    assert height[0] < 0.8 * height.max()
    assert height[-1] < 0.85 * height.max()


def test_noise_is_of_markerless_size() -> None:
    quiet = list(simulate(config.Cohort(participants=4, hours=0.01, noise="none")))
    noisy = list(simulate(config.Cohort(participants=4, hours=0.01, noise="markerless")))
    joints = [INDEX[name] for name in ("hip_flexion_r", "knee_angle_l", "ankle_angle_r", "lumbar_extension")]
    error = np.concatenate(
        [
            (a.trajectory.coordinates - b.trajectory.coordinates)[:, joints]
            for a, b in zip(quiet, noisy, strict=True)
        ]
    )
    assert 1.5 < np.degrees(np.sqrt(np.mean(error**2))) < 3.5
