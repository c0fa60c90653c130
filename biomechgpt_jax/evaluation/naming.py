"""Display names of questions, controls and metrics, and the formatting of their values."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from biomechgpt_jax.answering.predictions import NESTED

# Every question, in display order.
TITLES = {
    "activity": "Activity",
    "impairment": "Impairment",
    "diagnosis": "Diagnosis",
    "assistive_device": "Assistive device",
    "tug_time": "Timed up and go",
    "five_times_sit_to_stand_time": "Five times sit to stand",
    "ten_metre_walk_time": "10-metre walk",
    "four_square_step_time": "Four square step",
    "single_leg_stance_time": "Single-leg stance",
    "tandem_stance_time": "Tandem stance",
    "functional_reach": "Functional reach",
    "box_and_block": "Box and block",
    "falls_history": "Falls in the past year",
    "fall_risk": "Fall-risk band",
    "walking_speed": "Walking speed",
    "cadence": "Cadence",
    "step_length": "Step length",
    "stride_length": "Stride length",
    "step_width": "Step width",
    "stride_time": "Stride time",
    "stance": "Stance phase",
    "double_support": "Double support",
    "step_time_asymmetry": "Step time asymmetry",
    "stride_time_cv": "Stride time variability",
}
_METRICS = {
    "accuracy": "accuracy",
    "macro_f1": "macro-F1",
    "auroc": "AUROC",
    "sensitivity_at_90_specificity": "sensitivity at 90 % specificity",
    "mae": "mean absolute error",
    "r": "Pearson r",
    "coverage90": "coverage of 90 % intervals",
}
SOURCES = {
    "model": "Model",
    "text_only": "Text only",
    "constant": "Constant",
    "label_prior": "Label prior",
    "speed_only": "Speed only",
    "length_only": "Length only",
    "mean_pose": "Mean pose",
    "mean_pose_tree": "Mean-pose tree",
    "features": "Plain features",
    "features_on_tokens": "Plain features of tokens",
    "encoder": "Encoder",
}
# Controls that read the movement as well as they can; the others are weak on purpose.
STRONG = ("features", "features_on_tokens", "encoder")
_MISSING = "–"


def question_title(name: str) -> str:
    """A question's name as a heading."""
    return TITLES.get(name, name.replace("_", " ").capitalize())


def metric_title(name: str, unit: str = "") -> str:
    """The display name of a metric, with the unit of an error."""
    return f"{_METRICS.get(name, name)}{f' ({unit})' if unit and name == 'mae' else ''}"


def short_metric_title(name: str, unit: str = "") -> str:
    """The short display name of a metric, for a narrow column."""
    short = {
        "mae": "MAE",
        "r": "r",
        "sensitivity_at_90_specificity": "sens. at 90 % spec.",
        "coverage90": "in 90 %",
    }.get(name, metric_title(name))
    return f"{short} ({unit})" if unit and name == "mae" else short


def headline(summary: dict[str, Any], name: str) -> tuple[str, ...]:
    """The metrics of a question that a table shows, the most informative first."""
    if "mae" in summary:
        return "r", "mae"
    if "auroc" in summary:
        return "auroc", "sensitivity_at_90_specificity", "accuracy"
    return (
        ("macro_f1", "accuracy") if name in ("diagnosis", "assistive_device", "fall_risk") else ("accuracy", "macro_f1")
    )


def questions(families: dict[str, Any]) -> list[tuple[str, dict[str, Any]]]:
    """Every question of a `families` object with its summary, in display order."""
    listed: list[tuple[str, dict[str, Any]]] = []
    for family, entry in families.items():
        listed += list(entry.items()) if family in NESTED else [(family, entry)]
    rank = {name: place for place, name in enumerate(TITLES)}
    return sorted(listed, key=lambda item: rank.get(item[0], len(rank)))


def decimals(metric: str, unit: str = "") -> int:
    """The number of decimals with which values of this metric are shown."""
    return 2 if metric != "mae" or unit in ("m/s", "m", "s") else 1


def value_text(value: float | None, digits: int = 2, sign: bool = False) -> str:
    """Format a number for a table; a dash if it is undefined."""
    if value is None or not np.isfinite(value):
        return _MISSING
    text = f"{value:{'+' if sign else ''}.{digits}f}"
    # Use a typographic minus, and none before a value that rounds to zero.
    return (text.lstrip("+-") if float(text) == 0 else text).replace("-", "\u2212")


def interval_text(interval: Sequence[float | None] | None, digits: int = 2) -> str:
    """Format an interval for a table; empty if it is undefined."""
    if interval is None or any(end is None or not np.isfinite(end) for end in interval):
        return ""
    return " to ".join(value_text(end, digits) for end in interval)


def join(words: Sequence[str]) -> str:
    """Words as an enumeration: "a, b and c"."""
    return " and ".join(part for part in (", ".join(words[:-1]), *words[-1:]) if part)


def coverage_in_words(families: dict[str, Any]) -> list[str]:
    """A paragraph on how often the 90 % intervals of numbers hold the true value; none where there are no intervals."""
    shares = {
        question_title(name).lower(): float(summary["coverage90"])
        for name, summary in questions(families)
        if summary.get("coverage90") is not None and np.isfinite(summary["coverage90"])
    }
    if not shares:
        return []
    ends = (min(shares, key=lambda name: shares[name]), max(shares, key=lambda name: shares[name]))
    held = " to ".join(dict.fromkeys(f"{100 * shares[name]:.0f} % ({name})" for name in ends))
    return [
        "The thin vertical lines are the model's 90 % intervals, learned from its training cohort; nine of ten should "
        f"reach the line of identity. By question, they hold {held} of the true values."
    ]
