"""Everything that one recording of a known activity supports, and what it does not, with the reason."""

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


Found = Result | Points | Refusal

# What is measured on a movement of each activity, by the name of the score.
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
) -> dict[str, Found]:
    """Scores of one recording by name: a result, the points of an item, or a refusal with its reason.

    Args:
        activity: one of the labels of `questions.labels.ACTIVITIES`; that of the metadata unless given.
        contacts: foot contacts; found in the trajectory unless given.
        device: whether an assistive device is used, where it is known.
        rater: draws the noise of a human rater and a stopwatch; none by default.

    Raises:
        InputError: the activity is unknown: what a person was asked to do is not guessed from how they move.
    """
    activity = activity or trajectory.metadata.activity
    if not activity:
        raise InputError(f"the activity is not known; say which it is: {', '.join(TESTS)}")
    found: dict[str, Found] = {}
    for name, test in TESTS.get(activity, ()):
        try:
            found[name] = test(trajectory)
        except InputError as error:
            found[name] = Refusal(name, str(error))
    found |= {item.name: item for item in _items(activity, found, rater)}
    if activity == "walking":
        found |= _walking(trajectory, contacts, device, rater)
    if activity == "tandem walk":
        found |= _narrow_base(trajectory, contacts, rater)
    if rater is not None:
        found = {name: scales.stopwatch(one, rater) if isinstance(one, Result) else one for name, one in found.items()}
    return found


# The item of a scale that hangs on one test of an activity: the test, and how its value is given to the scale.
_ITEMS: dict[str, tuple[str, Callable[[float, np.random.Generator | None], Points]]] = {
    "five times sit to stand": ("five_times_sit_to_stand_time", lambda x, by: scales.sppb(chair_s=x, rater=by)[1]),
    "functional reach": ("functional_reach", lambda x, by: scales.berg_items(reach_cm=x, rater=by)[7]),
    "tandem stance": ("tandem_stance_time", lambda x, by: scales.berg_items(tandem_s=x, rater=by)[12]),
    "single-leg stance": ("single_leg_stance_time", lambda x, by: scales.berg_items(single_leg_s=x, rater=by)[13]),
}
# Scales of walking ask for the usual pace; whether this is it, the person was told and the movement does not show.
_USUAL = "if this is the usual pace"


def _items(activity: str, found: dict[str, Found], rater: np.random.Generator | None) -> Sequence[Points]:
    """Items of the scales that hang on one test; a test that is refused, or cut short, gives no points."""
    if activity == "sit to stand":
        return scales.berg_items()[:1]
    if activity not in _ITEMS:
        return ()
    test, item = _ITEMS[activity]
    one = found[test]
    if isinstance(one, Result) and CUT not in one.flags:
        return (item(one.value, rater),)
    blank = item(0.0, None)
    return (Points(blank.name, None, blank.most, one.reason if isinstance(one, Refusal) else CUT),)


def _walking(
    trajectory: Trajectory, contacts: Contacts | None, device: bool | None, rater: np.random.Generator | None
) -> dict[str, Found]:
    """The walk of the SPPB, level walking of the FGA, and the proxy of the MDS-UPDRS gait item."""
    found: dict[str, Found] = {}
    try:
        six_metre_s, deviation_cm = level_walk(trajectory)
        item = scales.fga_items(six_metre_s, deviation_cm, device, rater=rater)[0]
        found[item.name] = _if_usual(item)
    except InputError as error:
        found["fga level walking"] = Refusal("fga level walking", str(error))
    needs = {"sppb walk": "needs a stride with the path of the pelvis"}
    needs["MDS-UPDRS 3.10 proxy"] = needs["sppb walk"]
    measured: dict[str, float] = {}
    if trajectory.observed[[INDEX[name] for name in PATH]].all():
        measured = gait.parameters(gait.detect_contacts(trajectory) if contacts is None else contacts)
    if not measured:
        return found | {name: Refusal(name, reason) for name, reason in needs.items()}
    walk = scales.sppb(walk_m_s=measured["walking_speed"], rater=rater)[2]
    found[walk.name] = _if_usual(walk)
    height = trajectory.metadata.height_m
    if device is None or not np.isfinite(height):
        what = "whether a device is used" if device is None else "the height of the person"
        name = "MDS-UPDRS 3.10 proxy"
        return found | {name: Refusal(name, f"needs {what}, which the recording does not tell")}
    proxy = scales.updrs_gait_proxy(
        measured["walking_speed"], measured["step_length"], height, device, arm_swing(trajectory), rater
    )
    return found | {proxy.name: _if_usual(proxy)}


def _if_usual(item: Points) -> Points:
    return item if item.points is None else replace(item, reason=_USUAL)


def arm_swing(trajectory: Trajectory) -> float | None:
    """Range of shoulder flexion in radians of the arm that swings less; None where the arms are not recorded."""
    columns = [INDEX[name] for name in ARMS if name.startswith("arm_flex")]
    if not trajectory.observed[columns].all():
        return None
    low, high = np.percentile(trajectory.coordinates[:, columns], [5, 95], axis=0)
    return float(np.min(high - low))


def _narrow_base(
    trajectory: Trajectory, contacts: Contacts | None, rater: np.random.Generator | None
) -> dict[str, Found]:
    name = "tandem_steps"
    try:
        steps = tandem_steps(trajectory, contacts)
    except InputError as error:
        return {name: Refusal(name, str(error))}
    whole = steps.value >= 10 or CUT not in steps.flags
    item = scales.fga_items(tandem_steps=int(steps.value) if whole else None, rater=rater)[6]
    return {name: steps, item.name: item}


def in_words(found: dict[str, Found]) -> dict[str, str]:
    """What was found, in words for people, by name: "9.8 s, from 0.9 to 10.7 s (rise 1.2 s, ...)"."""
    return {name: _words(one) for name, one in found.items()}


def _words(one: Found) -> str:
    if isinstance(one, Refusal):
        return f"not supported by this recording: {one.reason}"
    if isinstance(one, Points):
        if one.points is None:
            return f"not supported by this recording: {one.reason}"
        return f"{one.points} of {one.most} points{f', {one.reason}' if one.reason else ''}"
    parts = ", ".join(f"{phase.name} {phase.end_s - phase.start_s:.1f} s" for phase in one.phases)
    flags = f" [{', '.join(one.flags)}]" if one.flags else ""
    text = f"{one.value:.1f} {one.unit}, from {one.start_s:.1f} to {one.end_s:.1f} s"
    return f"{text} ({parts}){flags}" if parts else f"{text}{flags}"
