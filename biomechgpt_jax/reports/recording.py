"""What one motion file shows without a trained model: its contents, quality, gait, and scores of a named activity."""

from typing import Any

from biomechgpt_jax import formats
from biomechgpt_jax.biomechanics import gait, preprocess
from biomechgpt_jax.biomechanics.gait import indices
from biomechgpt_jax.biomechanics.scores.assess import assess, in_words
from biomechgpt_jax.biomechanics.trajectory import Trajectory
from biomechgpt_jax.errors import InputError
from biomechgpt_jax.questions.labels import ACTIVITIES


def describe(recorded: Trajectory, activity: str = "") -> dict[str, Any]:
    """Facts of a recording by name, as `biomechgpt inspect` prints them.

    Gait is given where two events of a foot are found in sight of the pelvis' path; scores where an activity is named:
    what a person was asked to do is not guessed from how they move.

    Args:
        recorded: as read.
        activity: one of `questions.labels.ACTIVITIES`, or "".

    Raises:
        InputError: no such activity.
    """
    if activity and activity not in ACTIVITIES:
        raise InputError(f"--activity {activity!r} is not known; known are {', '.join(ACTIVITIES)}")
    facts = formats.describe(recorded)
    try:
        prepared = preprocess.prepare([recorded])[0]
    except InputError as error:
        return facts | {"usable": f"no: {error}"}
    facts["flags"] = list(prepared.trajectory.metadata.flags)
    if prepared.belt_m_s.any():
        facts["belt_m_s"] = [round(float(value), 3) for value in prepared.belt_m_s]
    native = preprocess.at_own_rate(recorded, prepared)
    facts |= _gait(native)
    if activity:
        facts["scores"] = in_words(assess(native, activity))
    return facts


def _gait(native: Trajectory) -> dict[str, Any]:
    try:
        walk = gait.analyse(native)
    except InputError:
        return {}
    if not len(walk.strides.foot):
        return {}
    found = {"gait": {name: round(float(value), 3) for name, value in walk.parameters.items()}}
    found["gait"]["strides"] = len(walk.strides.foot)
    try:
        profile = indices.profile(native, walk.contacts)
    except InputError:
        return found
    for side in ("right", "left"):
        scores = getattr(profile, side)
        if scores is not None:
            found["gait"][f"gait_profile_score_{side}_deg"] = round(float(scores.gps), 1)
    return found
