"""A crop is asked only what it can answer, and the answer is measured on the crop."""

import dataclasses

import numpy as np
import pytest

from biomechgpt_jax.biomechanics.skeleton import COORDINATE_COUNT
from biomechgpt_jax.biomechanics.trajectory import Contacts, Metadata, Score, Trajectory, Trial
from biomechgpt_jax.questions.registry import QUESTIONS
from biomechgpt_jax.questions.truth import FALL_RISK_CUT_OFFS, truths

IDENTITY = {"activity", "diagnosis", "impairment", "assistive_device"}


def trial(**changes) -> Trial:
    metadata = Metadata(participant="p", activity="timed up and go")
    still = np.zeros((600, COORDINATE_COUNT), np.float32)
    made = Trial(
        "t",
        Trajectory(still, np.ones(COORDINATE_COUNT, bool), 30.0, metadata),
        diagnosis="stroke",
        device="cane",
        defining=np.array([[4.0, 6.0], [12.0, 15.0]], np.float32),
        scores={"tug_time": Score(12.5, 3.0, 15.5)},
    )
    return dataclasses.replace(made, **changes)


def walk(step_s=0.5, step_m=0.6, faster_after=99.0) -> Contacts:
    """Even steps from 0 to 20 s; after a time, each step is twice as long."""
    time = np.arange(0.0, 20.0, step_s)
    x = np.cumsum(np.where(time > faster_after, 2 * step_m, step_m))
    foot = np.arange(len(time)) % 2
    off = time + 0.2 * step_s
    return Contacts(
        time.astype(np.float32),
        foot.astype(np.int32),
        np.stack([x, np.zeros_like(x)], 1).astype(np.float32),
        off.astype(np.float32),
        (1 - foot).astype(np.int32),
    )


@pytest.mark.parametrize(
    ("start", "end", "supported"),
    [(3.0, 15.5, True), (0.0, 20.0, True), (3.1, 20.0, False), (0.0, 15.4, False), (16.0, 20.0, False)],
)
def test_a_timed_test_needs_its_whole_window(start, end, supported) -> None:
    found = truths(trial(), start, end)
    assert ("tug_time" in found) == ("fall_risk" in found) == supported
    if supported:
        assert found["tug_time"] == 12.5
        assert found["fall_risk"] == "moderate"


def test_who_and_what_need_a_defining_interval() -> None:
    expected = {
        "activity": "timed up and go",
        "diagnosis": "stroke",
        "impairment": "yes",
        "assistive_device": "cane",
    }
    assert truths(trial(), 3.9, 6.1) == expected
    assert truths(trial(), 12.0, 15.0) == expected
    # Parts of both intervals are not one whole interval.
    assert not IDENTITY & set(truths(trial(), 4.1, 14.9))


def test_what_is_unknown_or_no_option_is_not_asked() -> None:
    assert not {"diagnosis", "impairment"} & set(truths(trial(diagnosis=""), 3.9, 6.1))
    assert "assistive_device" not in truths(trial(device=""), 3.9, 6.1)
    other = truths(trial(diagnosis="gout"), 3.9, 6.1)
    assert "diagnosis" not in other and other["impairment"] == "yes"
    assert truths(trial(diagnosis="healthy"), 3.9, 6.1)["impairment"] == "no"
    assert "tug_time" not in truths(trial(scores={"tug_time": Score(0.1, 3.0, 15.5), "novel": Score(1, 3, 4)}), 0, 20)


def test_gait_is_measured_on_the_crop() -> None:
    """Steps of 0.6 m, then of 1.2 m, each 0.5 s: the two halves walk at 1.2 and 2.4 m/s."""
    walking = trial(contacts=walk(faster_after=10.0), scores={})
    slow, fast = truths(walking, 0.0, 9.0), truths(walking, 11.0, 19.0)
    assert slow["walking_speed"] == pytest.approx(1.2, rel=1e-5)
    assert fast["walking_speed"] == pytest.approx(2.4, rel=1e-5)
    assert slow["cadence"] == pytest.approx(120.0) and fast["stride_time"] == pytest.approx(1.0)
    assert slow["double_support"] == pytest.approx(20.0, abs=0.01)
    # Less than one stride supports nothing about the gait.
    assert not {name for name in truths(walking, 0.1, 1.0) if QUESTIONS[name].family == "gait"}


@pytest.mark.parametrize(
    ("test", "seconds", "band"),
    [
        ("tug_time", 11.9, "low"),
        ("tug_time", 12.0, "moderate"),
        ("tug_time", 13.5, "moderate"),
        ("tug_time", 13.6, "high"),
        ("five_times_sit_to_stand_time", 11.9, "low"),
        ("five_times_sit_to_stand_time", 14.9, "moderate"),
        ("five_times_sit_to_stand_time", 15.0, "high"),
        ("four_square_step_time", 14.9, "low"),
        ("four_square_step_time", 15.0, "high"),
    ],
)
def test_fall_risk_bands(test, seconds, band) -> None:
    assert truths(trial(scores={test: Score(seconds, 1.0, 2.0)}), 0.0, 3.0)["fall_risk"] == band
    assert FALL_RISK_CUT_OFFS[test].source


def test_every_truth_is_an_answer() -> None:
    found = truths(trial(contacts=walk()), 0.0, 20.0)
    assert len(found) >= 11
    for name, value in found.items():
        parsed = QUESTIONS[name].parse(QUESTIONS[name].answer_text(value))
        assert parsed == (value if isinstance(value, str) else round(value, QUESTIONS[name].decimals))


def test_every_question_has_a_truth_that_can_be_asked() -> None:
    """One movement that shows everything: every score of the catalogue, steps, labels and falls."""
    numbers = [q for q in QUESTIONS.values() if q.family == "outcome_scores" and q.kind == "number"]
    scores = {question.name: Score(0.5 * (question.low + question.high), 3.0, 15.5) for question in numbers}
    found = truths(trial(scores=scores, contacts=walk(), falls=2.0), 0.0, 20.0)
    assert set(found) == set(QUESTIONS)


@pytest.mark.parametrize("name", ["single_leg_stance_time", "tandem_stance_time", "functional_reach", "box_and_block"])
def test_a_score_is_asked_only_where_it_was_measured_and_is_shown_whole(name) -> None:
    value = 0.5 * (QUESTIONS[name].low + QUESTIONS[name].high)
    measured = trial(scores={name: Score(value, 5.0, 9.0)})
    assert truths(measured, 5.0, 9.0)[name] == value
    assert name not in truths(measured, 5.1, 20.0) and name not in truths(trial(), 0.0, 20.0)


def test_falls_are_asked_only_where_they_are_known() -> None:
    assert truths(trial(falls=0.0), 0.0, 20.0)["falls_history"] == "no"
    assert truths(trial(falls=3.0), 0.0, 20.0)["falls_history"] == "yes"
    assert "falls_history" not in truths(trial(), 0.0, 20.0)
    # The same defining interval is needed as for a diagnosis.
    assert "falls_history" not in truths(trial(falls=3.0), 6.5, 11.0)


def test_steps_that_are_no_walking_have_no_gait() -> None:
    for activity, asked in (("walking", True), ("four square step", False), ("stair ascent", False)):
        still = trial().trajectory
        labelled = dataclasses.replace(still, metadata=Metadata(participant="p", activity=activity))
        found = truths(trial(trajectory=labelled, contacts=walk(), scores={}), 0.0, 20.0)
        assert ("walking_speed" in found) == ("step_width" in found) == asked


def test_how_gait_varies_needs_three_strides_of_a_foot() -> None:
    walking = trial(contacts=walk(), scores={})
    one = truths(walking, 0.0, 1.2)
    assert {"walking_speed", "cadence"} <= set(one)
    assert not {"stride_time_cv", "step_time_asymmetry"} & set(one)
    assert "stride_time_cv" in truths(walking, 0.0, 4.0)
