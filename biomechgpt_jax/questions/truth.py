"""The true answers for a part of a trial, restricted to those that the part supports."""

import hashlib
import json
import math
from dataclasses import dataclass

import numpy as np

from biomechgpt_jax.biomechanics import gait
from biomechgpt_jax.biomechanics.skeleton import HORIZONTAL_ROOT, INDEX
from biomechgpt_jax.biomechanics.trajectory import Trial
from biomechgpt_jax.questions.registry import QUESTIONS

# Times are stored as f32; a trial lasts minutes at most.
_TOLERANCE_S = 1e-4


@dataclass(frozen=True)
class FallRiskCutOff:
    """Fall-risk bands of a timed test in seconds: low below `moderate_from`, high from (or above) `high_from`."""

    moderate_from: float
    high_from: float
    high_includes_limit: bool
    source: str

    def band(self, seconds: float) -> str:
        if seconds < self.moderate_from:
            return "low"
        high = seconds >= self.high_from if self.high_includes_limit else seconds > self.high_from
        return "high" if high else "moderate"


# Cut-offs differ between populations and authors; these are common for older adults.
FALL_RISK_CUT_OFFS: dict[str, FallRiskCutOff] = {
    "tug_time": FallRiskCutOff(12.0, 13.5, False, "fall cut-off 12 to 13.5 s [memory]"),
    "five_times_sit_to_stand_time": FallRiskCutOff(12.0, 15.0, True, "12 s and 15 s [memory]"),
    "four_square_step_time": FallRiskCutOff(15.0, 15.0, True, "fall cut-off 15 s, without a middle band (mobile-pt)"),
}

# Activities whose steps are not level walking: speed, step length and width have no clinical meaning there.
NO_GAIT = frozenset({"four square step", "stair ascent", "stair descent"})

# Questions that need the horizontal path of the pelvis.
NEEDS_HORIZONTAL_ROOT = frozenset(
    {
        "walking_speed",
        "step_length",
        "step_length_right",
        "step_length_left",
        "step_length_asymmetry",
        "stride_length",
        "stride_length_cv",
        "step_width",
        "step_width_sd",
        "ten_metre_walk_time",
    }
)


def unanswerable(observed: np.ndarray) -> frozenset[str]:
    """Questions that a movement cannot answer, given which coordinates are observed, bool[40]."""
    root = [INDEX[name] for name in HORIZONTAL_ROOT]
    return frozenset() if observed[root].all() else NEEDS_HORIZONTAL_ROOT


def labels(trial: Trial) -> dict[str, str | float]:
    """Answers given directly by the labels of a trial, by question name: its identity labels and its timed tests.

    Answers that follow from another label (impairment, the fall-risk band) are not included.
    """
    given = _identity(trial) | {name: score.value for name, score in trial.scores.items()}
    given.pop("impairment", None)
    return _keep_offered(given)


def truths(trial: Trial, start_s: float, end_s: float, slack_s: float = 0.0) -> dict[str, str | float]:
    """True answers by question name that the part of the trial between two times supports.

    Activity, diagnosis, impairment, device and past falls need one whole defining interval inside the part: without
    one, the part may be quiet standing that shows nothing. Where they were given for a whole file
    (`Trial.throughout`), every part supports them. A timed test needs its whole window. Gait parameters are measured
    on the strides inside the part, unless the steps are not level walking. An answer that is unknown, or that the
    question does not offer, is left out.

    Args:
        start_s, end_s: start and end time of the part.
        slack_s: how much of the window of a timed test, summed over both ends, the part may lack.
    """

    def inside(start: float, end: float, slack: float = 0.0) -> bool:
        return max(start_s - start, 0.0) + max(end - end_s, 0.0) <= slack + _TOLERANCE_S

    answers: dict[str, str | float] = {}
    if trial.throughout or any(inside(start, end) for start, end in trial.defining.tolist()):
        answers |= _identity(trial)
    timed = {name: score.value for name, score in trial.scores.items() if inside(score.start_s, score.end_s, slack_s)}
    answers |= timed
    bands = [cut.band(timed[name]) for name, cut in FALL_RISK_CUT_OFFS.items() if name in timed]
    if bands:
        answers["fall_risk"] = max(bands, key=QUESTIONS["fall_risk"].options.index)
    if len(trial.contacts.strike_time) and trial.trajectory.metadata.activity not in NO_GAIT:
        answers |= gait.parameters(trial.contacts, start_s, end_s)
    return _keep_offered(answers)


def digest() -> str:
    """SHA-256 over the rules of this module: when they change, packed rows and judged answers are out of date."""
    bands = [
        (name, cut.moderate_from, cut.high_from, cut.high_includes_limit)
        for name, cut in sorted(FALL_RISK_CUT_OFFS.items())
    ]
    rules = [bands, sorted(NO_GAIT), sorted(NEEDS_HORIZONTAL_ROOT)]
    return hashlib.sha256(json.dumps(rules).encode()).hexdigest()


def _identity(trial: Trial) -> dict[str, str | float]:
    """Labels of the person and the activity; an empty string or no entry where a label is unknown."""
    answers: dict[str, str | float] = {"activity": trial.trajectory.metadata.activity, "diagnosis": trial.diagnosis}
    if trial.diagnosis:
        answers["impairment"] = "no" if trial.diagnosis == "healthy" else "yes"
    answers["assistive_device"] = trial.device
    if math.isfinite(trial.falls):
        answers["falls_history"] = "yes" if trial.falls > 0 else "no"
    return answers


def _keep_offered(answers: dict[str, str | float]) -> dict[str, str | float]:
    """Keep the answers that their questions offer."""
    return {name: value for name, value in answers.items() if name in QUESTIONS and QUESTIONS[name].holds(value)}
