"""Describe one motion file without a trained model: its contents, quality, gait, and scores of a named activity.

Whatever is missing comes with its reason.
"""

from typing import Any

from biomechgpt_jax import formats
from biomechgpt_jax.biomechanics import flags, gait, preprocess
from biomechgpt_jax.biomechanics.fitting import keypoints
from biomechgpt_jax.biomechanics.gait import indices
from biomechgpt_jax.biomechanics.scores.assess import assess, in_words
from biomechgpt_jax.biomechanics.skeleton import COORDINATES, HORIZONTAL_ROOT, INDEX
from biomechgpt_jax.biomechanics.trajectory import Trajectory, replace
from biomechgpt_jax.errors import InputError
from biomechgpt_jax.formats.recording import Recording
from biomechgpt_jax.questions.labels import ACTIVITIES

_STEPPING = tuple(f"{joint}_{side}" for joint in ("hip_flexion", "knee_angle", "ankle_angle") for side in "rl")


def describe(recorded: Recording | Trajectory, activity: str = "") -> dict[str, Any]:
    """Facts about a recording by name, as `biomechgpt inspect` prints them.

    "gait" holds what a walk shows, or "none: " and why it shows nothing; "missing_because" the reason for each
    coordinate that is missing. Scores are included if an activity is named, because what a person was asked to do is
    not guessed from how they move.

    Args:
        recorded: the recording as read from its file.
        activity: one of `questions.labels.ACTIVITIES`, or "".

    Raises:
        InputError: the activity is unknown.
    """
    if activity and activity not in ACTIVITIES:
        raise InputError(f"--activity {activity!r} is not known; known are {', '.join(ACTIVITIES)}")
    recording = recorded if isinstance(recorded, Recording) else Recording(recorded)
    recorded = recording.trajectory
    facts = formats.describe(recorded) | recording.marker_facts()
    try:
        prepared = preprocess.prepare([recorded])[0]
    except InputError as error:
        facts["missing_because"] = _why_missing(recording, recorded)
        return facts | {"usable": f"no: {error}", "gait": "none: the recording cannot be used"}
    kept = prepared.trajectory
    facts["present"] = [name for name in COORDINATES if kept.observed[INDEX[name]]]
    facts["missing"] = [name for name in COORDINATES if not kept.observed[INDEX[name]]]
    facts["missing_because"] = _why_missing(recording, kept)
    facts["flags"] = list(kept.metadata.flags)
    speed = formats.net_speed(replace(recorded, coordinates=recorded.coordinates[prepared.used]))
    if speed is not None:
        facts["net_speed_m_s"] = speed
    if prepared.belt_m_s.any():
        facts["belt_m_s"] = [round(float(value), 3) for value in prepared.belt_m_s]
    native = preprocess.at_own_rate(recorded, prepared)
    facts["gait"] = _gait(native)
    if activity:
        facts["scores"] = in_words(assess(native, activity))
    return facts


def _gait(native: Trajectory) -> dict[str, Any] | str:
    """Parameters of a walk by name, or "none: " and the reason."""
    impossible = flags.impossible(native.metadata.flags)
    if impossible:
        return f"none: {impossible[0]}"
    if not native.observed[[INDEX[name] for name in HORIZONTAL_ROOT]].all():
        return "none: the path of the pelvis is not recorded"
    unseen = [name for name in _STEPPING if not native.observed[INDEX[name]]]
    if unseen:
        return f"none: {', '.join(unseen)} {'is' if len(unseen) == 1 else 'are'} not seen"
    try:
        walk = gait.analyse(native)
    except InputError as error:
        return f"none: {str(error).removeprefix(f'{native.metadata.source}: ')}"
    if not len(walk.strides.foot):
        return "none: no foot strikes the floor twice"
    facts = {name: round(float(value), 3) for name, value in walk.parameters.items()}
    facts["strides"] = len(walk.strides.foot)
    try:
        profile = indices.profile(native, walk.contacts)
    except InputError:
        return facts
    for side in ("right", "left"):
        scores = getattr(profile, side)
        if scores is not None:
            facts[f"gait_profile_score_{side}_deg"] = round(float(scores.gps), 1)
    return facts


def _why_missing(recording: Recording, kept: Trajectory) -> dict[str, str]:
    """The reason for each coordinate that is missing, by its name."""
    said: dict[str, str] = {}
    for flag in kept.metadata.flags:
        kind, _, name = flag.rpartition(":")
        if kind == "empty":
            said[name] = "its column is empty"
        elif kind == "lost":
            said.setdefault(name, "it is unknown for too much of the time")
        elif kind.startswith("unseen-"):
            percent = kind.removeprefix("unseen-").partition("%")[0]
            said[name] = (
                "its markers are never seen" if percent == "100" else f"its markers are unseen {percent} % of the time"
            )
    if recording.marker_set in keypoints.KEYPOINT_SETS:
        said |= dict.fromkeys(keypoints.UNTOLD, "joint centres do not tell it")
    otherwise = "no markers show it" if recording.markers_used else "the file does not hold it"
    return {name: said.get(name, otherwise) for name in COORDINATES if not kept.observed[INDEX[name]]}
