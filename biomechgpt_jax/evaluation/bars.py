"""The figures a run of the quickstart is expected to reach, checked against what it measured."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from biomechgpt_jax.answering.predictions import Prediction, by_question
from biomechgpt_jax.evaluation import metrics, naming

# The text-only control gives answers away where it is better than the prior of a question by more than this ...
TEXT_ONLY_MARGIN = 0.03
# ... or its numbers correlate with the truth more than this, and the 95 % interval lies above 0.
TEXT_ONLY_R = 0.15
# It passes only where the upper end of that interval is at most this: few people prove nothing. The ends that the
# quickstart's 46 held-out people allow, for a control that knows nothing, are some 0.05 and 0.30.
TEXT_ONLY_HIGHEST = 0.10
TEXT_ONLY_HIGHEST_R = 0.40
# Of fewer people the bootstrap's intervals are too narrow to tell anything.
TEXT_ONLY_FEWEST_PEOPLE = 10
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

    Judged is the paired difference to the constant control, which answers the prior's most likely label, in accuracy
    (AUROC for yes/no); of numbers, r, as the constant has none. Numbers that are all the same give nothing away.

    Returns:
        One object per question: question, metric, value, ci95; prior, difference and difference_ci95 of a closed one;
        highest (the bound on the upper end of the interval), verdict ("passes", "gives away" or "undecided", where
        the people are too few to tell) and meets (whether it passes).
    """
    found = []
    asked = by_question(predictions.get("text_only", []))
    for question, rows in asked.items():
        summary = metrics.find(dict(families["text_only"]), question)
        metric = "r" if "mae" in summary else "auroc" if "auroc" in summary else "accuracy"
        value = float("nan") if summary[metric] is None else float(summary[metric])
        row: dict[str, Any] = {
            "question": question,
            "metric": metric,
            "value": value,
            "ci95": summary[metrics.interval_key(metric)],
        }
        if metric == "r":
            row["highest"] = TEXT_ONLY_HIGHEST_R
            alike = len({item["answer"] for item in metrics.parsed(rows)}) < 2
            row["verdict"] = _verdict(value, row["ci95"], TEXT_ONLY_R, TEXT_ONLY_HIGHEST_R, summary["participants"])
            row["verdict"] = "passes" if alike else row["verdict"]
        else:
            prior = _value(families["constant"], question, metric)
            gap = metrics.compare(rows, _of(predictions["constant"], question), metric, resamples, seed)
            row |= {"prior": prior, "difference": gap.value, "difference_ci95": gap.interval}
            row["highest"] = TEXT_ONLY_HIGHEST
            people = summary["participants"]
            row["verdict"] = _verdict(gap.value, gap.interval, TEXT_ONLY_MARGIN, TEXT_ONLY_HIGHEST, people)
        row["meets"] = row["verdict"] == "passes"
        found.append(row)
    return found


def _verdict(value: float, interval: Sequence[float] | None, margin: float, highest: float, people: int) -> str:
    """What a value with its 95 % interval over people says of a control that should not be better than 0."""
    if interval is None or people < TEXT_ONLY_FEWEST_PEOPLE:
        return "undecided"
    if value > margin and interval[0] > 0:
        return "gives away"
    return "passes" if interval[1] <= highest else "undecided"
