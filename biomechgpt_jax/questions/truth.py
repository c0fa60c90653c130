"""What is true of a crop of a trial, and whether the crop supports saying it."""

import math
from dataclasses import dataclass

from biomechgpt_jax.biomechanics import gait
from biomechgpt_jax.biomechanics.trajectory import Trial
from biomechgpt_jax.questions.registry import QUESTIONS

# Times are stored as f32; a trial lasts minutes at most.
_TOLERANCE_S = 1e-4


@dataclass(frozen=True)
class FallRiskCutOff:
    """Bands of a timed test in seconds: low below `moderate_from`, high from (or above) `high_from`."""

    moderate_from: float
    high_from: float
    high_includes_limit: bool
    source: str

    def band(self, seconds: float) -> str:
        if seconds < self.moderate_from:
            return "low"
        high = seconds >= self.high_from if self.high_includes_limit else seconds > self.high_from
        return "high" if high else "moderate"


# Cut-offs differ between populations and authors; these are the common ones for older adults.
FALL_RISK_CUT_OFFS: dict[str, FallRiskCutOff] = {
    "tug_time": FallRiskCutOff(12.0, 13.5, False, "fall cut-off 12 to 13.5 s [memory]"),
    "five_times_sit_to_stand_time": FallRiskCutOff(12.0, 15.0, True, "12 s and 15 s [memory]"),
    "four_square_step_time": FallRiskCutOff(15.0, 15.0, True, "fall cut-off 15 s, without a middle band (mobile-pt)"),
}

# Steps that are no level walking: their speed, length and width are not what these words mean in a clinic.
NO_GAIT = frozenset({"four square step", "stair ascent", "stair descent"})

# What cannot be told where the horizontal path of the pelvis is hidden.
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


def truths(trial: Trial, start_s: float, end_s: float) -> dict[str, str | float]:
    """True answers by question name, only for what the part of the trial between two times supports.

    Activity, diagnosis, impairment, device and past falls need one defining interval whole inside the crop:
    without one it may be quiet standing that shows nothing. A timed test needs its whole window. Gait parameters are
    measured on the strides inside the crop, save where the steps are no level walking. An answer that is unknown, or
    that the question does not offer, is left out.
    """

    def inside(start: float, end: float) -> bool:
        return start >= start_s - _TOLERANCE_S and end <= end_s + _TOLERANCE_S

    found: dict[str, str | float] = {}
    if any(inside(start, end) for start, end in trial.defining.tolist()):
        found["activity"] = trial.trajectory.metadata.activity
        found["diagnosis"] = trial.diagnosis
        if trial.diagnosis:
            found["impairment"] = "no" if trial.diagnosis == "healthy" else "yes"
        found["assistive_device"] = trial.device
        if math.isfinite(trial.falls):
            found["falls_history"] = "yes" if trial.falls > 0 else "no"
    timed = {name: score.value for name, score in trial.scores.items() if inside(score.start_s, score.end_s)}
    found |= timed
    bands = [cut.band(timed[name]) for name, cut in FALL_RISK_CUT_OFFS.items() if name in timed]
    if bands:
        found["fall_risk"] = max(bands, key=QUESTIONS["fall_risk"].options.index)
    if len(trial.contacts.strike_time) and trial.trajectory.metadata.activity not in NO_GAIT:
        found |= gait.parameters(trial.contacts, start_s, end_s)
    return {name: value for name, value in found.items() if name in QUESTIONS and QUESTIONS[name].holds(value)}
