"""Describe one motion file without a trained model: its contents, quality, gait, and scores of a named activity."""

from typing import Any

from biomechgpt_jax import formats
from biomechgpt_jax.biomechanics import gait, preprocess
from biomechgpt_jax.biomechanics.gait import indices
from biomechgpt_jax.biomechanics.scores.assess import assess, in_words
from biomechgpt_jax.biomechanics.trajectory import Trajectory
from biomechgpt_jax.errors import InputError
from biomechgpt_jax.questions.labels import ACTIVITIES


def describe(recorded: Trajectory, activity: str = "") -> dict[str, Any]:
    """Facts about a recording by name, as `biomechgpt inspect` prints them.

    Gait is included if the path of the pelvis is recorded and a foot has a stride; scores are included if an activity
    is named, because what a person was asked to do is not guessed from how they move.

    Args:
        recorded: the recording as read from its file.
        activity: one of `questions.labels.ACTIVITIES`, or "".

    Raises:
        InputError: the activity is unknown.
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
    facts = {"gait": {name: round(float(value), 3) for name, value in walk.parameters.items()}}
    facts["gait"]["strides"] = len(walk.strides.foot)
    try:
        profile = indices.profile(native, walk.contacts)
    except InputError:
        return facts
    for side in ("right", "left"):
        scores = getattr(profile, side)
        if scores is not None:
            facts["gait"][f"gait_profile_score_{side}_deg"] = round(float(scores.gps), 1)
    return facts
