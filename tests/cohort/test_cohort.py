"""The cohort: determinism, stance feet that do not slide, and truth that agrees with the anchored movement."""

from dataclasses import replace

import numpy as np
import pytest
from sklearn.metrics import f1_score
from sklearn.tree import DecisionTreeClassifier

from biomechgpt_jax import config
from biomechgpt_jax.biomechanics import gait
from biomechgpt_jax.biomechanics.skeleton import INDEX, limits
from biomechgpt_jax.biomechanics.trajectory import Trial
from biomechgpt_jax.cohort import physics
from biomechgpt_jax.cohort.activities import postures
from biomechgpt_jax.cohort.etiologies.impairments import style_of
from biomechgpt_jax.cohort.people import participants
from biomechgpt_jax.cohort.simulate import simulate, timed_tests


@pytest.fixture(scope="module")
def clean() -> list[Trial]:
    return list(simulate(config.Cohort(participants=7, hours=0.01, noise="none")))


def _stance_speeds(trial: Trial) -> np.ndarray:
    """Horizontal speed of the ball of the foot in the middle of each stance, timed by the schedule alone."""
    feet, contacts = physics.feet(trial.trajectory).points, trial.contacts
    speeds = []
    for foot in (0, 1):
        strikes = contacts.strike_time[contacts.strike_foot == foot]
        offs = contacts.off_time[contacts.off_foot == foot]
        for strike in strikes:
            later = offs[offs > strike]
            if len(later):
                first, last = (int(30 * (strike + share * (later[0] - strike))) for share in (0.25, 0.9))
                ball = feet[first : last + 1, foot, 1][:, [0, 2]]
                speeds.append(np.linalg.norm(np.diff(ball, axis=0), axis=1) * 30)
    return np.concatenate(speeds)


def test_every_etiology_and_activity_occurs(clean: list[Trial]) -> None:
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


def test_the_seed_determines_everything(clean: list[Trial]) -> None:
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


def test_true_speed_is_the_speed_of_the_pelvis(clean: list[Trial]) -> None:
    for trial in clean:
        # Straight walks over ground: the net displacement of a curved one is shorter than its path.
        if not any(f"_walk_{pace}_" in trial.trial_id for pace in ("free", "slow", "fast", "dual_task")):
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
            detected = gait.parameters(gait.detect_contacts(trial.trajectory))
            errors.append(abs(detected["cadence"] - true["cadence"]))
    assert np.median(errors) < 3.0


def test_timed_up_and_go_turns_around_and_comes_back(clean: list[Trial]) -> None:
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


def test_noise_has_the_size_of_markerless_systems() -> None:
    quiet = list(simulate(config.Cohort(participants=4, hours=0.01, noise="none")))
    noisy = list(simulate(config.Cohort(participants=4, hours=0.01, noise="markerless")))
    joints = [INDEX[name] for name in ("hip_flexion_r", "knee_angle_l", "ankle_angle_r", "lumbar_extension")]
    error = np.concatenate(
        [(a.trajectory.coordinates - b.trajectory.coordinates)[:, joints] for a, b in zip(quiet, noisy, strict=True)]
    )
    assert 1.5 < np.degrees(np.sqrt(np.mean(error**2))) < 3.5


# Number of visits, means, SDs in seconds and correlations of timed up and go, five chair rises and ten-metre walk, from
# a public table of 162 visits (scovitz/CS-230-NMD-OpenCap-Classification).
TESTS = ("tug_time", "five_times_sit_to_stand_time", "ten_metre_walk_time")
TABLE = {
    "healthy": (51, (5.81, 7.89, 7.72), (0.91, 2.08, 0.98), (0.42, -0.13, 0.04)),
    "facioscapulohumeral dystrophy": (35, (8.03, 14.47, 9.59), (2.59, 7.11, 3.00), (0.81, 0.85, 0.78)),
    "myotonic dystrophy": (76, (7.97, 12.94, 9.57), (2.02, 5.40, 2.14), (0.66, 0.69, 0.46)),
}


def test_timed_tests_correlate_within_groups_as_in_people() -> None:
    cohort = config.Cohort(participants=1, hours=0.01, etiologies=tuple(TABLE)[1:])
    times: dict[str, list[list[float]]] = {name: [] for name in TABLE}
    for index in range(240):
        person = participants.draw(index, cohort.seed, cohort.etiologies)
        if person.etiology != "healthy" or person.age < 70:
            scores = timed_tests(cohort, index)
            times[person.etiology].append([scores[name] for name in TESTS])
    for name, (visits, mean, sd, correlations) in TABLE.items():
        seconds = np.array(times[name])
        assert np.abs((seconds.mean(axis=0) - mean) / sd).max() < 0.5, name
        assert (seconds.std(axis=0) / sd > 0.5).all() and (seconds.std(axis=0) / sd < 1.6).all(), name
        error = np.sqrt(1 / (visits - 3) + 1 / (len(seconds) - 3))
        for (a, b), expected in zip(((0, 1), (0, 2), (1, 2)), correlations, strict=True):
            r = np.corrcoef(seconds[:, a], seconds[:, b])[0, 1]
            assert abs(np.arctanh(r) - np.arctanh(expected)) < 3 * error, (name, TESTS[a], TESTS[b], r)


def test_timed_tests_without_movement_are_those_of_the_trials(clean: list[Trial]) -> None:
    cohort = config.Cohort(participants=7, hours=0.01, noise="none")
    planned = timed_tests(cohort, 2)
    for trial in clean:
        if trial.participant.endswith("p0002"):
            for name in ("tug_time", "five_times_sit_to_stand_time"):
                if name in trial.scores:
                    assert trial.scores[name].value == planned[name]


def test_a_participant_knows_its_number_and_its_id_holds_seed_and_number() -> None:
    for index, seed, name in ((0, 0, "s0p0000"), (7, 3, "s3p0007"), (12_345, 1, "s1p12345")):
        person = participants.draw(index, seed)
        assert (person.index, person.participant) == (index, name)


def test_no_foot_is_below_a_level_floor(clean: list[Trial]) -> None:
    for trial in clean:
        if "stair" not in trial.trajectory.metadata.activity:
            assert physics.penetration(trial.trajectory).max() < 0.01, trial.trial_id


def _poses(severity: float) -> tuple[np.ndarray, np.ndarray]:
    """Standing poses of people of every etiology at one severity, and the number of each person's etiology."""
    poses, labels = [], []
    for index in range(700):
        person = participants.draw(index, 5)
        if person.etiology != "healthy":
            person = replace(person, severity=severity, device="none")
            style = style_of(person, np.random.default_rng([5, index, 1]))[0]
            poses.append(postures.standing(style))
            labels.append(list(participants.ETIOLOGIES).index(person.etiology))
    return np.array(poses), np.array(labels)


@pytest.mark.parametrize(("severity", "highest"), [(0.0, 0.12), (1.0, 0.5)])
def test_posture_does_not_give_the_etiology_away(severity: float, highest: float) -> None:
    poses, labels = _poses(severity)
    half = np.arange(len(labels)) % 2 == 0
    tree = DecisionTreeClassifier(max_depth=2, random_state=0).fit(poses[half], labels[half])
    assert f1_score(labels[~half], tree.predict(poses[~half]), average="macro") < highest
