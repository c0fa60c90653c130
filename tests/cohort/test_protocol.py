"""The protocol, and that a trial does not depend on what is simulated along with it."""

import numpy as np
import pytest

from biomechgpt_jax import config
from biomechgpt_jax.biomechanics.trajectory import Trial
from biomechgpt_jax.cohort.activities.protocol import PROTOCOL, WITH_DEVICE, select
from biomechgpt_jax.cohort.simulate import group_trials, participant_trials, simulate
from biomechgpt_jax.errors import InputError

KEYS = ("walk_free", "balance_open", "heel_raise")


def _assert_same(trials: list[Trial], expected: list[Trial]) -> None:
    assert [t.trial_id for t in trials] == [t.trial_id for t in expected]
    for a, b in zip(trials, expected, strict=True):
        np.testing.assert_array_equal(a.trajectory.coordinates, b.trajectory.coordinates, err_msg=a.trial_id)
        np.testing.assert_array_equal(a.trajectory.observed, b.trajectory.observed)
        assert dict(a.scores) == dict(b.scores)


@pytest.fixture(scope="module")
def trials() -> list[Trial]:
    return list(simulate(config.Cohort(participants=3, hours=1e-4, activities=KEYS)))


def test_keys_are_unique_and_device_activities_are_among_them() -> None:
    keys = [key for key, _ in PROTOCOL]
    assert len(set(keys)) == len(keys)
    assert set(keys) >= WITH_DEVICE
    assert select(()) == PROTOCOL
    assert [key for key, _ in select(("squat", "tug"))] == ["tug", "squat"]


def test_unknown_activity_is_refused_with_the_nearest_name() -> None:
    with pytest.raises(InputError, match="'sqat'; did you mean 'squat'"):
        next(simulate(config.Cohort(participants=1, activities=("sqat",))))


def test_a_subset_holds_the_same_trials(trials: list[Trial]) -> None:
    fewer = list(simulate(config.Cohort(participants=3, hours=1e-4, activities=("heel_raise",))))
    _assert_same(fewer, [t for t in trials if "heel_raise" in t.trial_id])


def test_a_group_and_a_participant_alone_equal_the_whole(trials: list[Trial]) -> None:
    cohort = config.Cohort(participants=3, hours=1e-4, activities=KEYS)
    _assert_same(group_trials(cohort, 0), trials)
    _assert_same(participant_trials(cohort, 2), [t for t in trials if t.participant == trials[-1].participant])


def test_a_longer_cohort_starts_with_the_shorter_one(trials: list[Trial]) -> None:
    once = sum(t.trajectory.seconds for t in trials) / 3600
    longer = list(simulate(config.Cohort(participants=3, hours=1.5 * once, activities=KEYS)))
    assert len(longer) > len(trials)
    _assert_same(longer[: len(trials)], trials)
    assert len({t.trial_id for t in longer}) == len(longer)


def test_people_may_perform_parts_of_the_protocol_that_are_trials_of_the_whole(trials: list[Trial]) -> None:
    cohort = config.Cohort(participants=3, hours=1e-4, activities=KEYS, activities_per_person=2)
    parts = list(simulate(cohort))
    assert [sum(t.participant == name for t in parts) for name in sorted({t.participant for t in trials})] == [2, 2, 2]
    assert len({t.trial_id.split("_", 1)[1] for t in parts}) == 3  # not the same part for everybody
    known = {t.trial_id: t for t in trials}
    _assert_same(parts, [known[t.trial_id] for t in parts])
    _assert_same(participant_trials(cohort, 1), [t for t in parts if t.participant == parts[2].participant])
