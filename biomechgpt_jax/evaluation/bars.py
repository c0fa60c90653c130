"""The figures a run of the quickstart is expected to reach, checked against what it measured."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from biomechgpt_jax.answering.predictions import Prediction, by_question
from biomechgpt_jax.evaluation import metrics, naming

# The text-only control may differ from the prior of each question by this much ...
TEXT_ONLY_MARGIN = 0.03
# ... and its numbers may correlate with the truth this much.
TEXT_ONLY_R = 0.15
# A bar on numbers is not met by a model that answers few of the questions: this share must parse.
PARSED_SHARE = 0.95


@dataclass(frozen=True)
class Bar:
    """A bound on one metric of one question; `above` names a control that must stay below the value."""

    question: str
    metric: str
    sense: Literal["at least", "at most", "below"]
    bound: float
    above: str = ""
    source: str = "model"


BARS = (
    Bar("activity", "accuracy", "at least", 0.95),
    Bar("impairment", "auroc", "at least", 0.85, above="speed_only"),
    Bar("diagnosis", "macro_f1", "at least", 0.50),
    Bar("walking_speed", "r", "at least", 0.93),
    Bar("walking_speed", "mae", "at most", 0.10),
    Bar("cadence", "r", "at least", 0.90),
    Bar("cadence", "mae", "at most", 5.0),
    Bar("tug_time", "r", "at least", 0.85, above="length_only"),
    Bar("diagnosis", "macro_f1", "below", 0.50, source="mean_pose_tree"),
)


def _holds(value: float, bar: Bar) -> bool:
    if bar.sense == "at least":
        return value >= bar.bound
    return value <= bar.bound if bar.sense == "at most" else value < bar.bound


def _answered(summary: Mapping[str, Any]) -> bool:
    return summary.get("unparsed", 0) <= (1.0 - PARSED_SHARE) * summary.get("n", 0)


def _value(families: Mapping[str, Any], question: str, metric: str) -> float:
    value = metrics.find(dict(families), question).get(metric)
    return float("nan") if value is None else float(value)


def _of(predictions: Sequence[Prediction], question: str) -> list[Prediction]:
    return by_question(predictions).get(question, [])


def check(
    families: Mapping[str, Mapping[str, Any]],
    predictions: Mapping[str, Sequence[Prediction]],
    resamples: int,
    seed: int,
) -> list[dict[str, Any]]:
    """Each bar with the value reached.

    Args:
        families: `metrics.summarise` of each source, "model" and the controls.
        predictions: the same sources' predictions, for paired differences.

    Returns:
        One object per bar: question, metric, source, value, ci95, bar (in words), meets, and for a bar above
        a control the control's value with the paired difference and its interval. A question that was not
        asked, or whose numbers often could not be parsed, does not meet its bar.
    """
    found = []
    for bar in BARS:
        if bar.source not in families:
            continue
        summary = metrics.find(dict(families[bar.source]), bar.question)
        value = _value(families[bar.source], bar.question, bar.metric)
        digits = naming.decimals(bar.metric, summary.get("unit", ""))
        unit = f" {summary.get('unit', '')}".rstrip() if bar.metric == "mae" else ""
        row: dict[str, Any] = {
            "question": bar.question,
            "metric": bar.metric,
            "source": bar.source,
            "value": value,
            "ci95": summary.get(metrics.interval_key(bar.metric)),
            "bar": f"{bar.sense} {bar.bound:.{digits}f}{unit}",
            "meets": bool(np.isfinite(value) and _holds(value, bar) and _answered(summary)),
        }
        if bar.above:
            other = _value(families.get(bar.above, {}), bar.question, bar.metric)
            gap = metrics.compare(
                _of(predictions[bar.source], bar.question),
                _of(predictions.get(bar.above, []), bar.question),
                bar.metric,
                resamples,
                seed,
            )
            # A control whose metric is undefined (it answers one value to all) knows nothing.
            row["meets"] = row["meets"] and not (np.isfinite(other) and value <= other)
            row["bar"] += f", above {naming.SOURCES[bar.above].lower()}"
            row |= {
                "control": bar.above,
                "control_value": other,
                "difference": gap.value,
                "difference_ci95": gap.interval,
            }
        found.append(row)
    return found


def text_only(
    families: Mapping[str, Mapping[str, Any]],
    predictions: Mapping[str, Sequence[Prediction]],
    resamples: int,
    seed: int,
) -> list[dict[str, Any]]:
    """Whether the questions alone give answers away, question by question.

    Closed: accuracy (AUROC for yes/no) within 3 points of the constant control, which answers the prior's
    most likely label, or a paired 95 % interval that includes 0. Numbers: r at most 0.15 or an interval that
    includes 0; an r that is undefined, because the answer never varies, passes.
    """
    found = []
    asked = by_question(predictions.get("text_only", []))
    for question, rows in asked.items():
        summary = metrics.find(dict(families["text_only"]), question)
        metric = "r" if "mae" in summary else "auroc" if "auroc" in summary else "accuracy"
        value = float("nan") if summary[metric] is None else float(summary[metric])
        row = {
            "question": question,
            "metric": metric,
            "value": value,
            "ci95": summary[metrics.interval_key(metric)],
        }
        if metric == "r":
            interval = row["ci95"]
            includes = interval is not None and interval[0] <= 0 <= interval[1]
            row["meets"] = bool(not np.isfinite(value) or value <= TEXT_ONLY_R or includes)
        else:
            prior = _value(families["constant"], question, metric)
            gap = metrics.compare(rows, _of(predictions["constant"], question), metric, resamples, seed)
            includes = gap.interval is not None and gap.interval[0] <= 0 <= gap.interval[1]
            close = bool(np.isfinite(gap.value) and abs(gap.value) <= TEXT_ONLY_MARGIN)
            undefined = not np.isfinite(value) and not np.isfinite(prior)
            row |= {"prior": prior, "difference": gap.value, "difference_ci95": gap.interval}
            row["meets"] = close or includes or undefined
        found.append(row)
    return found
