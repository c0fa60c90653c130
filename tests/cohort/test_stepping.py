"""Activities on foot beyond plain walking: what characterises each, and that feet stand where they are planted."""

import numpy as np
import pytest

from biomechgpt_jax import config
from biomechgpt_jax.biomechanics import gait
from biomechgpt_jax.biomechanics.features import FORWARD, TILT, features
from biomechgpt_jax.biomechanics.scores.squares import four_square_step
from biomechgpt_jax.biomechanics.skeleton import COORDINATE_COUNT, INDEX, limits
from biomechgpt_jax.biomechanics.trajectory import Trial
from biomechgpt_jax.cohort import physics
from biomechgpt_jax.cohort.activities.protocol import PROTOCOL
from biomechgpt_jax.cohort.footing.headings import rotate_heading
from biomechgpt_jax.cohort.simulate import simulate

KEYS = {
    "walk_free": "walking",
    "walk_dual_task": "walking",
    "walk_curved": "walking",
    "walk_treadmill": "walking",
    "backward": "backward walk",
    "stairs_up": "stair ascent",
    "stairs_down": "stair descent",
    "four_square": "four square step",
    "tug": "timed up and go",
}


@pytest.fixture(scope="module")
def trials() -> dict[str, list[Trial]]:
    cohort = config.Cohort(participants=10, hours=1e-4, noise="none", activities=tuple(KEYS), seed=4)
    by_key: dict[str, list[Trial]] = {key: [] for key in KEYS}
    for trial in simulate(cohort):
        by_key[trial.trial_id.partition("_")[2].rpartition("_")[0]].append(trial)
    return by_key


def _parameter(trials: list[Trial], name: str) -> np.ndarray:
    return np.array([gait.parameters(trial.contacts).get(name, np.nan) for trial in trials])


def test_there_are_more_than_eighteen_activities_and_each_has_its_label(trials: dict[str, list[Trial]]) -> None:
    assert len(PROTOCOL) >= 22
    for key, label in KEYS.items():
        assert {trial.trajectory.metadata.activity for trial in trials[key]} == {label}
        assert all(len(trial.defining) and 4 < trial.trajectory.seconds < 90 for trial in trials[key])


@pytest.mark.parametrize("key", [key for key in KEYS if key != "tug"])
def test_feet_stand_still_on_the_floor_and_joints_stay_within_limits(trials: dict[str, list[Trial]], key: str) -> None:
    speeds, low, high = [], *limits().T
    for trial in trials[key]:
        feet = physics.feet(trial.trajectory)
        down = physics.stance(trial.contacts, trial.trajectory.frames, 30.0)
        speeds.append(feet.speed.min(-1)[down])  # of the slower of heel and ball
        assert feet.points[..., 1].min() > -0.01, trial.trial_id
        q = trial.trajectory.coordinates
        assert (q >= low - 1e-4).all() and (q <= high + 1e-4).all()
    speed = np.concatenate(speeds)
    assert np.median(speed) < 0.05 and np.percentile(speed, 95) < 0.20


def test_a_second_task_slows_walking(trials: dict[str, list[Trial]]) -> None:
    ratio = _parameter(trials["walk_dual_task"], "walking_speed") / _parameter(trials["walk_free"], "walking_speed")
    assert 0.7 < np.nanmedian(ratio) < 0.95


def test_curved_walking_follows_a_circle(trials: dict[str, list[Trial]]) -> None:
    for trial in trials["walk_curved"]:
        turn = np.ptp(np.unwrap(trial.trajectory.coordinates[:, INDEX["pelvis_rotation"]]))
        x, z = (trial.trajectory.coordinates[:, INDEX[name]] for name in ("pelvis_tx", "pelvis_tz"))
        travelled = np.hypot(np.diff(x), np.diff(z)).sum()
        assert 1.3 < travelled / turn < 9.0  # the radius


def test_treadmill_walking_is_straight_at_the_speed_of_the_belt(trials: dict[str, list[Trial]]) -> None:
    for trial in trials["walk_treadmill"]:
        measured = gait.parameters(trial.contacts)["walking_speed"]
        path = trial.trajectory.coordinates[:, [INDEX["pelvis_tx"], INDEX["pelvis_tz"]]]
        net = np.linalg.norm(path[-1] - path[0]) / (trial.trajectory.seconds - 1 / 30)
        assert measured == pytest.approx(net, abs=0.06)


def test_backward_walking_goes_backward(trials: dict[str, list[Trial]]) -> None:
    for trial in trials["backward"]:
        forward = np.asarray(features(trial.trajectory.coordinates))[:, FORWARD]
        speed = gait.parameters(trial.contacts)["walking_speed"]
        assert forward.mean() == pytest.approx(-speed, abs=0.08)
    speeds = _parameter(trials["backward"], "walking_speed")
    assert 0.2 < np.median(speeds) < 0.95


@pytest.mark.parametrize(("key", "sign"), [("stairs_up", 1.0), ("stairs_down", -1.0)])
def test_stairs_lead_from_tread_to_tread(trials: dict[str, list[Trial]], key: str, sign: float) -> None:
    for trial in trials[key]:
        feet = physics.feet(trial.trajectory).points[:, :, 0]  # heels
        frames = np.minimum(np.ceil(trial.contacts.strike_time * 30).astype(int) + 1, len(feet) - 1)
        rises = feet[frames, trial.contacts.strike_foot, 1] / 0.17
        np.testing.assert_allclose(rises, np.round(rises), atol=0.08)
        assert sign * (rises[-1] - rises[0]) > 2.9
        assert (sign * np.diff(rises) > -0.1).all()
    knees = [np.degrees(t.trajectory.coordinates[:, INDEX["knee_angle_r"]].max()) for t in trials[key]]
    assert 75 < np.median(knees) < 115


def test_four_squares_are_visited_twice_and_timed(trials: dict[str, list[Trial]]) -> None:
    for trial in trials["four_square"]:
        score = trial.scores["four_square_step_time"]
        assert 4 < score.value < 45 and score.value == pytest.approx(score.end_s - score.start_s)
        turn = np.ptp(np.unwrap(trial.trajectory.coordinates[:, INDEX["pelvis_rotation"]]))
        assert np.degrees(turn) < 20
        measured = four_square_step(trial.trajectory)  # counts the cross-overs from the feet
        assert len(measured.phases) == 8 and measured.value == pytest.approx(score.value, abs=0.6)
    healthy = [t.scores["four_square_step_time"].value for t in trials["four_square"] if t.diagnosis == "healthy"]
    others = [t.scores["four_square_step_time"].value for t in trials["four_square"] if t.severity > 0.5]
    assert np.median(healthy) < 11.5 < np.median(others)


@pytest.mark.parametrize("heading", [0.0, 90.0, 180.0])
def test_a_lean_turns_with_the_body(heading: float) -> None:
    q = np.zeros((5, COORDINATE_COUNT))
    q[:, INDEX["pelvis_tilt"]] = np.radians(-30)
    rotated = np.asarray(features(rotate_heading(q, np.full(5, np.radians(heading)))))
    np.testing.assert_allclose(np.degrees(rotated[:, TILT]), -30, atol=1e-3)


def test_a_timed_up_and_go_leans_alike_on_the_way_out_and_back(trials: dict[str, list[Trial]]) -> None:
    for trial in trials["tug"]:
        coordinates = trial.trajectory.coordinates
        heading = np.unwrap(coordinates[:, INDEX["pelvis_rotation"]])
        strikes = trial.contacts.strike_time
        walking = (np.arange(len(coordinates)) / 30 > strikes[1]) & (np.arange(len(coordinates)) / 30 < strikes[-3])
        tilt = np.asarray(features(coordinates))[:, TILT]
        turned_by = np.abs(heading - heading[np.argmax(walking)])
        out, back = walking & (turned_by < 0.4), walking & (np.abs(turned_by - np.pi) < 0.4)
        assert np.degrees(abs(tilt[out].mean() - tilt[back].mean())) < 4.0
