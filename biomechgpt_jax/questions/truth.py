"""What is true of a crop of a trial, and only what that crop can support."""

from biomechgpt_jax.biomechanics import gait
from biomechgpt_jax.biomechanics.trajectory import Trial
from biomechgpt_jax.questions.registry import QUESTIONS

# Seconds at which a timed test puts a person into the moderate and the high band of fall risk [memory]:
# timed up and go 12 to 13.5 s; five times sit to stand 12 s (screening) and 15 s (recurrent falls).
FALL_RISK_CUTS: dict[str, tuple[float, float]] = {
    "tug_time": (12.0, 13.5),
    "five_times_sit_to_stand_time": (12.0, 15.0),
}
_TOLERANCE_S = 1e-3


def fall_risk(test: str, seconds: float) -> str:
    """Band of fall risk by a timed test."""
    moderate, high = FALL_RISK_CUTS[test]
    return "low" if seconds < moderate else ("moderate" if seconds < high else "high")


def truths(trial: Trial, start_s: float, end_s: float) -> dict[str, str | float]:
    """Question name -> true answer for the part of a trial between two times.

    Who somebody is (diagnosis, impairment, device) and what they do is asked only where the crop holds one of
    the trial's defining intervals whole: quiet padding shows neither. Timed tests need their whole window,
    gait parameters whole strides; root speed and step length need the horizontal root to be observed.
    """
    found: dict[str, str | float] = {}
    low, high = start_s - _TOLERANCE_S, end_s + _TOLERANCE_S
    if any(low <= begin and end <= high for begin, end in trial.defining):
        activity = trial.trajectory.metadata.activity
        known = {"activity": activity, "diagnosis": trial.diagnosis, "assistive_device": trial.device}
        found |= {name: value for name, value in known.items() if value in QUESTIONS[name].options}
        if trial.diagnosis:
            found["impairment"] = "no" if trial.diagnosis == "healthy" else "yes"
    for name, score in trial.scores.items():
        if low <= score.start_s and score.end_s <= high:
            found[name] = score.value
            if name in FALL_RISK_CUTS:
                found["fall_risk"] = fall_risk(name, score.value)
    found |= gait.parameters(trial.contacts, start_s, end_s)
    return {name: value for name, value in found.items() if _plausible(name, value)}


def _plausible(name: str, value: str | float) -> bool:
    question = QUESTIONS[name]
    return question.kind == "closed" or question.low <= float(value) <= question.high
