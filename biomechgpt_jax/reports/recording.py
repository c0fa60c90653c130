"""Describe one motion file without a trained model: its contents, quality, gait, and scores of a named activity.

Whatever is missing comes with its reason.
"""

from typing import Any

from biomechgpt_jax import formats
from biomechgpt_jax.biomechanics import preprocess
from biomechgpt_jax.biomechanics.gait import indices, measured, scope
from biomechgpt_jax.biomechanics.gait.file_says import file_says
from biomechgpt_jax.biomechanics.gait.measured import Measured
from biomechgpt_jax.biomechanics.scores.assess import assess, in_words
from biomechgpt_jax.biomechanics.skeleton import COORDINATES, INDEX
from biomechgpt_jax.biomechanics.trajectory import Trajectory, replace
from biomechgpt_jax.errors import InputError
from biomechgpt_jax.formats.recording import Recording
from biomechgpt_jax.questions.labels import ACTIVITIES


def describe(recorded: Recording | Trajectory, activity: str = "") -> dict[str, Any]:
    """Facts about a recording by name, as `biomechgpt inspect` prints them.

    "gait" holds what a walk shows, or "none: " and why it shows nothing; "missing_because" the reason for each
    coordinate that is missing; "file_says" the events and parameters that the file itself holds, beside ours. Scores
    are included if an activity is named, because what a person was asked to do is not guessed from how they move.

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
    facts = formats.describe(recorded)
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
    found = measured.measure(recorded, prepared)
    facts["gait"] = _gait(found)
    said = file_says(recording.contacts, recording.parameters, found, prepared.used.start)
    if said:
        facts["file_says"] = said
    if activity:
        facts["scores"] = in_words(assess(found.native, activity))
    return facts


def _gait(found: Measured) -> dict[str, Any] | str:
    """Parameters of a walk by name, or "none: " and the reason."""
    if found.walk is None:
        return f"none: {found.why}"
    facts: dict[str, Any] = {name: round(float(value), 3) for name, value in found.parameters.items()}
    facts["strides"] = len(found.walk.strides.foot)
    if found.kind != scope.WALKING:
        facts["kind"] = found.kind
    try:
        profile = indices.profile(found.native, found.walk.contacts)
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
    otherwise = "no markers show it" if recording.markers_used else "the file does not hold it"
    return {name: said.get(name, otherwise) for name in COORDINATES if not kept.observed[INDEX[name]]}
