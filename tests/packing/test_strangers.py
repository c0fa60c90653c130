"""Crops of strangers: habits of posture beside the measurement system, and children's bodies in similar movement."""

import dataclasses

import numpy as np
import pytest
from packed_trials import timed, walking

from biomechgpt_jax import config
from biomechgpt_jax.biomechanics import gait
from biomechgpt_jax.biomechanics.skeleton import COORDINATE_COUNT, INDEX
from biomechgpt_jax.biomechanics.trajectory import Score
from biomechgpt_jax.cohort.simulate import participant_trials
from biomechgpt_jax.packing import crops, strangers


def spread(activity: str, names: tuple[str, ...]) -> np.ndarray:
    rng = np.random.default_rng(0)
    offsets = np.degrees([strangers.draw_system(activity, rng).offset for _ in range(400)])
    return offsets[:, [INDEX[name] for name in names]].std(axis=0)


def test_people_who_squat_keep_their_arms_as_they_like() -> None:
    names = ("elbow_flex_r", "arm_flex_l", "hip_adduction_r", "knee_angle_r")
    walkers, squatters = spread("walking", names), spread("squat", names)
    assert (squatters[:2] > 15).all() and (walkers[:2] < 8).all()
    assert squatters[2] > 5 and squatters[3] == pytest.approx(walkers[3], rel=0.2)


@pytest.fixture(scope="module")
def walk():
    cohort = config.Cohort(participants=1, activities=("walk_free",), noise="none")
    return participant_trials(cohort, 0)[0]


def test_a_child_walks_at_the_same_dimensionless_speed(walk) -> None:
    """Shorter steps at a higher cadence: the speed falls with the root of the size, as the gait code measures."""
    adult = gait.parameters(walk.contacts)
    for seed in range(5):
        child = strangers.as_a_child(walk, np.random.default_rng(seed))
        size = child.trajectory.metadata.height_m / walk.trajectory.metadata.height_m
        assert 0.55 <= size <= 0.9
        young = gait.parameters(child.contacts)
        assert young["step_length"] == pytest.approx(size * adult["step_length"], rel=1e-3)
        assert young["cadence"] == pytest.approx(adult["cadence"] / np.sqrt(size), rel=1e-3)
        assert young["walking_speed"] == pytest.approx(np.sqrt(size) * adult["walking_speed"], rel=1e-3)


def test_a_childs_truth_is_what_the_movement_shows(walk) -> None:
    """The gait code finds in the child's coordinates the steps that the truth tells."""
    child = strangers.as_a_child(walk, np.random.default_rng(1))
    found = gait.analyse(child.trajectory, child.trajectory.metadata.height_m).parameters
    true = gait.parameters(child.contacts)
    assert found["walking_speed"] == pytest.approx(true["walking_speed"], abs=0.03)
    assert found["cadence"] == pytest.approx(true["cadence"], abs=3.0)


def test_a_childs_joints_move_as_the_adults(walk) -> None:
    child = strangers.as_a_child(walk, np.random.default_rng(2))
    knee = INDEX["knee_angle_r"]
    adult_knee, young_knee = (one.trajectory.coordinates[:, knee] for one in (walk, child))
    assert young_knee.max() == pytest.approx(adult_knee.max(), abs=0.02)
    size = child.trajectory.metadata.height_m / walk.trajectory.metadata.height_m
    height = INDEX["pelvis_ty"]
    ratio = child.trajectory.coordinates[:, height].mean() / walk.trajectory.coordinates[:, height].mean()
    assert ratio == pytest.approx(size, rel=1e-3)
    seconds = child.trajectory.seconds / walk.trajectory.seconds
    assert seconds == pytest.approx(np.sqrt(size), abs=0.02)


def test_tests_with_a_course_or_a_chair_have_no_children() -> None:
    assert strangers.can_be_of_a_child(walking(0))
    assert not strangers.can_be_of_a_child(timed(0))
    recorded = dataclasses.replace(walking(0), throughout=True)
    assert not strangers.can_be_of_a_child(recorded)
    ten = dataclasses.replace(walking(0), scores={"ten_metre_walk_time": Score(8.0, 0.0, 5.0)})
    assert strangers.can_be_of_a_child(ten)
    assert not strangers.as_a_child(ten, np.random.default_rng(0)).scores


def test_a_crop_of_a_child_answers_with_the_childs_speed(walk) -> None:
    cfg = config.Experiment()
    child = strangers.as_a_child(walk, np.random.default_rng(3))
    whole = crops.evaluation(child, cfg)[0]
    answers = crops.answerable(child, whole, cfg)
    adult = crops.answerable(walk, crops.evaluation(walk, cfg)[0], cfg)
    assert answers["activity"] == adult["activity"] == "walking"
    assert answers["walking_speed"] < 0.97 * adult["walking_speed"]
    assert answers["cadence"] > 1.03 * adult["cadence"]
    assert whole.coordinates(child).shape[1] == COORDINATE_COUNT
