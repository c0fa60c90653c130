"""What a recording is asked for by `ask --all` is what recordings of that activity are known to show."""

import pytest

from biomechgpt_jax import config
from biomechgpt_jax.cohort.simulate import simulate
from biomechgpt_jax.questions import scope
from biomechgpt_jax.questions.labels import ACTIVITIES
from biomechgpt_jax.questions.registry import QUESTIONS
from biomechgpt_jax.questions.truth import truths


@pytest.fixture(scope="module")
def shown() -> dict[str, set[str]]:
    """Activity -> the questions that whole recordings of one simulated person have true answers to."""
    found: dict[str, set[str]] = {}
    for trial in simulate(config.Cohort(participants=1, hours=1e-4, noise="none")):
        names = set(truths(trial, 0.0, trial.trajectory.seconds))
        found.setdefault(trial.trajectory.metadata.activity, set()).update(names)
    return found


def test_nothing_is_left_out_that_an_activity_shows(shown) -> None:
    wrong = [(activity, name) for activity, names in shown.items() for name in names if not scope.shows(activity, name)]
    assert wrong == []


def test_what_no_recording_of_an_activity_shows_is_left_out(shown) -> None:
    kept = {(activity, name) for activity in shown for name in QUESTIONS if scope.shows(activity, name)}
    # A person without a device or a walk of six metres among their trials still has recordings that may show one.
    rare = {
        ("walking", "ten_metre_walk_time"),
        ("walking", "assistive_device"),
        ("timed up and go", "assistive_device"),
    }
    assert kept - rare - {(activity, name) for activity, names in shown.items() for name in names} == set()


def test_activities_and_tests_have_the_names_of_the_catalogue() -> None:
    assert {activity for activities in scope._SHOWN_IN.values() for activity in activities} <= set(ACTIVITIES)
    assert set(scope._SHOWN_IN) <= set(QUESTIONS)
    assert {"tug_time", "functional_reach", "fall_risk"} <= scope.NEEDS_WHOLE_TEST
    assert not {"falls_history", "diagnosis", "walking_speed"} & scope.NEEDS_WHOLE_TEST
