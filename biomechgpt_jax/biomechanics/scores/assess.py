"""All scores that one recording of a known activity supports, and refusals with the reason for those it does not."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import NamedTuple

import numpy as np

from biomechgpt_jax.biomechanics import gait
from biomechgpt_jax.biomechanics.scores import scales
from biomechgpt_jax.biomechanics.scores.balance import CUT, held_stance, single_leg_stance, tandem_stance
from biomechgpt_jax.biomechanics.scores.body import ARMS, PATH, Result
from biomechgpt_jax.biomechanics.scores.reach import box_and_block, functional_reach
from biomechgpt_jax.biomechanics.scores.scales import Points
from biomechgpt_jax.biomechanics.scores.squares import four_square_step
from biomechgpt_jax.biomechanics.scores.timed import five_times_sit_to_stand, sit_to_stand, timed_up_and_go
from biomechgpt_jax.biomechanics.scores.walks import level_walk, tandem_steps, ten_metre_walk
from biomechgpt_jax.biomechanics.skeleton import INDEX
from biomechgpt_jax.biomechanics.trajectory import Contacts, Trajectory
from biomechgpt_jax.errors import InputError


class Refusal(NamedTuple):
    """A score that a recording does not support."""

    name: str
    reason: str


Outcome = Result | Points | Refusal

# The tests that are measured on a recording of each activity, with the name of their score.
TESTS: dict[str, tuple[tuple[str, Callable[[Trajectory], Result]], ...]] = {
    "walking": (("ten_metre_walk_time", ten_metre_walk),),
    "timed up and go": (("tug_time", timed_up_and_go),),
    "five times sit to stand": (("five_times_sit_to_stand_time", five_times_sit_to_stand),),
    "sit to stand": (("sit_to_stand_time", sit_to_stand),),
    "standing balance": (
        ("side_by_side_stance_time", lambda trajectory: held_stance(trajectory, "side by side")),
        ("semi_tandem_stance_time", lambda trajectory: held_stance(trajectory, "semi-tandem")),
    ),
    "tandem stance": (("tandem_stance_time", tandem_stance),),
    "single-leg stance": (("single_leg_stance_time", single_leg_stance),),
    "four square step": (("four_square_step_time", four_square_step),),
    "functional reach": (("functional_reach", functional_reach),),
    "box and block": (("box_and_block", box_and_block),),
    "tandem walk": (),
}


def assess(
    trajectory: Trajectory,
    activity: str = "",
    contacts: Contacts | None = None,
    device: bool | None = None,
    rater: np.random.Generator | None = None,
) -> dict[str, Outcome]:
    """Scores of one recording by name: each is a result, the points of an item, or a refusal with its reason.

    Args:
        activity: one of the labels of `questions.labels.ACTIVITIES`; by default that of the metadata.
        contacts: foot contacts; by default they are detected in the trajectory.
        device: whether an assistive device is used; None if unknown.
        rater: draws the noise of a human rater and a stopwatch; by default there is none.

    Raises:
        InputError: the activity is unknown (what a person was asked to do is not guessed from how they move), or a
            coordinate is missing in some frames.
    """
    activity = activity or trajectory.metadata.activity
    if not activity:
        raise InputError(f"the activity is unknown; give one of {', '.join(TESTS)}")
    trajectory.require_complete()
    outcomes: dict[str, Outcome] = {}
    for name, test in TESTS.get(activity, ()):
        try:
            outcomes[name] = test(trajectory)
        except InputError as error:
            outcomes[name] = Refusal(name, str(error))
    outcomes |= {item.name: item for item in _items(activity, outcomes, rater)}
    if activity == "walking":
        outcomes |= _walking(trajectory, contacts, device, rater)
    if activity == "tandem walk":
        outcomes |= _narrow_base(trajectory, contacts, rater)
    if rater is not None:
        outcomes = {
            name: scales.stopwatch(outcome, rater) if isinstance(outcome, Result) else outcome
            for name, outcome in outcomes.items()
        }
    return outcomes


# The scale item that depends on one test of an activity: the name of the test, and the item as a function of its value.
_ITEMS: dict[str, tuple[str, Callable[[float, np.random.Generator | None], Points]]] = {
    "five times sit to stand": ("five_times_sit_to_stand_time", lambda x, by: scales.sppb(chair_s=x, rater=by)[1]),
    "functional reach": ("functional_reach", lambda x, by: scales.berg_items(reach_cm=x, rater=by)[7]),
    "tandem stance": ("tandem_stance_time", lambda x, by: scales.berg_items(tandem_s=x, rater=by)[12]),
    "single-leg stance": ("single_leg_stance_time", lambda x, by: scales.berg_items(single_leg_s=x, rater=by)[13]),
}
# Scales of walking require the usual pace; whether a person was asked for it, the movement does not show.
_USUAL = "if this is the usual pace"


def _items(activity: str, outcomes: dict[str, Outcome], rater: np.random.Generator | None) -> Sequence[Points]:
    """Scale items that depend on one test; a test that is refused or cut short gives no points."""
    if activity == "sit to stand":
        return scales.berg_items()[:1]
    if activity not in _ITEMS:
        return ()
    test, item = _ITEMS[activity]
    outcome = outcomes[test]
    if isinstance(outcome, Result) and CUT not in outcome.flags:
        return (item(outcome.value, rater),)
    blank = item(0.0, None)
    return (Points(blank.name, None, blank.most, outcome.reason if isinstance(outcome, Refusal) else CUT),)


def _walking(
    trajectory: Trajectory, contacts: Contacts | None, device: bool | None, rater: np.random.Generator | None
) -> dict[str, Outcome]:
    """The walk of the SPPB, level walking of the FGA, and the proxy for the MDS-UPDRS gait item."""
    outcomes: dict[str, Outcome] = {}
    try:
        six_metre_s, deviation_cm = level_walk(trajectory)
        item = scales.fga_items(six_metre_s, deviation_cm, device, rater=rater)[0]
        outcomes[item.name] = _note_usual_pace(item)
    except InputError as error:
        outcomes["fga level walking"] = Refusal("fga level walking", str(error))
    needs = {"sppb walk": "needs a stride with the path of the pelvis"}
    needs["MDS-UPDRS 3.10 proxy"] = needs["sppb walk"]
    measured: dict[str, float] = {}
    if trajectory.observed[[INDEX[name] for name in PATH]].all():
        measured = gait.parameters(gait.detect_contacts(trajectory) if contacts is None else contacts)
    if not measured:
        return outcomes | {name: Refusal(name, reason) for name, reason in needs.items()}
    walk = scales.sppb(walk_m_s=measured["walking_speed"], rater=rater)[2]
    outcomes[walk.name] = _note_usual_pace(walk)
    height = trajectory.metadata.height_m
    if device is None or not np.isfinite(height):
        what = "whether a device is used" if device is None else "the height of the person"
        name = "MDS-UPDRS 3.10 proxy"
        return outcomes | {name: Refusal(name, f"needs {what}, which the recording does not show")}
    proxy = scales.updrs_gait_proxy(
        measured["walking_speed"], measured["step_length"], height, device, arm_swing(trajectory), rater
    )
    return outcomes | {proxy.name: _note_usual_pace(proxy)}


def _note_usual_pace(item: Points) -> Points:
    return item if item.points is None else replace(item, reason=_USUAL)


def arm_swing(trajectory: Trajectory) -> float | None:
    """Range of shoulder flexion in radians of the arm that swings less; None if the arms are not recorded."""
    columns = [INDEX[name] for name in ARMS if name.startswith("arm_flex")]
    if not trajectory.observed[columns].all():
        return None
    low, high = np.percentile(trajectory.coordinates[:, columns], [5, 95], axis=0)
    return float(np.min(high - low))


def _narrow_base(
    trajectory: Trajectory, contacts: Contacts | None, rater: np.random.Generator | None
) -> dict[str, Outcome]:
    name = "tandem_steps"
    try:
        steps = tandem_steps(trajectory, contacts)
    except InputError as error:
        return {name: Refusal(name, str(error))}
    complete = steps.value >= 10 or CUT not in steps.flags
    item = scales.fga_items(tandem_steps=int(steps.value) if complete else None, rater=rater)[6]
    return {name: steps, item.name: item}


def in_words(outcomes: dict[str, Outcome]) -> dict[str, str]:
    """The outcomes in words for people, by name: "9.8 s, from 0.9 to 10.7 s (rise 1.2 s, ...)"."""
    return {name: _words(outcome) for name, outcome in outcomes.items()}


def _words(outcome: Outcome) -> str:
    if isinstance(outcome, Refusal):
        return f"not supported by this recording: {outcome.reason}"
    if isinstance(outcome, Points):
        if outcome.points is None:
            return f"not supported by this recording: {outcome.reason}"
        return f"{outcome.points} of {outcome.most} points{f', {outcome.reason}' if outcome.reason else ''}"
    parts = ", ".join(f"{phase.name} {phase.end_s - phase.start_s:.1f} s" for phase in outcome.phases)
    flags = f" [{', '.join(outcome.flags)}]" if outcome.flags else ""
    text = f"{outcome.value:.1f} {outcome.unit}, from {outcome.start_s:.1f} to {outcome.end_s:.1f} s"
    return f"{text} ({parts}){flags}" if parts else f"{text}{flags}"
