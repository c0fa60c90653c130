"""Answers as calibrated: probabilities that come true, sets and intervals of 90 %, and when not to answer."""

import math

from biomechgpt_jax.answering.predictions import Prediction
from biomechgpt_jax.calibration import conformal, temperature
from biomechgpt_jax.calibration.stored import Calibration, Fitted

# A closed answer that is likelier wrong than right is not given as one.
RISK = 0.5


def apply(calibration: Calibration, one: Prediction) -> Prediction:
    """A prediction with what was fitted for its question; as it is where nothing was.

    Its own probabilities and interval stay beside as `options_raw`, `probability_raw` and `interval_raw`.
    """
    fitted = calibration.questions.get(one["question"])
    if fitted is None:
        return one
    if "options" in one:
        return _closed(fitted, one)
    return _number(fitted, one) if "distribution" in one and math.isfinite(fitted.reach) else one


def _closed(fitted: Fitted, one: Prediction) -> Prediction:
    options = temperature.scale(one["options"], fitted.temperature, fitted.yes_bias)
    best = max(options, key=lambda option: options[option])
    made: Prediction = {
        **one,
        "answer": best,
        "probability": options[best],
        "options": options,
        "options_raw": one["options"],
        "probability_raw": one["probability"],
    }
    if math.isfinite(fitted.reach):
        made["set"] = conformal.option_set(options, fitted.reach)
    return made


def _number(fitted: Fitted, one: Prediction) -> Prediction:
    made: Prediction = {**one, "interval": conformal.interval(one["distribution"], fitted.reach)}
    made["interval_raw"] = one["interval"]
    return made


def doubt(calibration: Calibration, one: Prediction, risk: float = RISK) -> str:
    """Why a calibrated answer should not be relied on, in words; empty where it may be.

    A closed answer is doubtful if it is wrong more often than `risk`; a number if its interval is no narrower than that
    of people in general, so that the movement has told nothing.
    """
    fitted = calibration.questions.get(one["question"])
    if fitted is None or one["answer"] is None:
        return ""
    if "options" in one:
        wrong = 1.0 - float(one["probability"] or 0.0)
        return f"such an answer is wrong in {100 * wrong:.0f} of 100 people" if wrong > risk else ""
    low, high = one.get("interval", [0.0, 0.0])
    told_nothing = 0.0 < fitted.spread <= high - low
    return "its interval is as wide as that of people in general" if told_nothing else ""
