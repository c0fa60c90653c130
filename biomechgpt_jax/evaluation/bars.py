"""The metrics that a run of the quickstart is expected to reach, checked against its results."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from biomechgpt_jax.answering.predictions import Prediction, by_question
from biomechgpt_jax.evaluation import metrics, naming

# The questions give answers away if the text-only control beats the prior of a question by more than this ...
TEXT_ONLY_MARGIN = 0.03
# ... or if its numbers correlate with the truth by more than this, and the 95 % interval lies above 0.
TEXT_ONLY_R = 0.15
# The control passes only if the upper end of that interval is at most this: few people prove nothing. With the 46
# held-out people of the quickstart, the upper ends for a control that knows nothing are about 0.05 and 0.30.
TEXT_ONLY_HIGHEST = 0.10
TEXT_ONLY_HIGHEST_R = 0.40
# With fewer people, the intervals of the bootstrap are too narrow to be informative.
TEXT_ONLY_FEWEST_PEOPLE = 10
# A model that answers few of the questions does not meet a bar: this share of its numbers must parse.
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
    Bar("activity", "accuracy", "at least", 0.99),
    Bar("impairment", "auroc", "at least", 0.91, above="speed_only"),
    Bar("diagnosis", "macro_f1", "at least", 0.58),
    Bar("assistive_device", "macro_f1", "at least", 0.52),
    Bar("walking_speed", "r", "at least", 0.985),
    Bar("walking_speed", "mae", "at most", 0.055),
    Bar("cadence", "r", "at least", 0.98),
    Bar("cadence", "mae", "at most", 3.5),
    Bar("tug_time", "r", "at least", 0.965, above="length_only"),
    Bar("five_times_sit_to_stand_time", "r", "at least", 0.975),
    Bar("step_time_asymmetry", "r", "at least", 0.58),
    Bar("step_width", "r", "at least", 0.82),
    Bar("diagnosis", "macro_f1", "below", 0.50, source="mean_pose_tree"),
)


def _is_within(value: float, bar: Bar) -> bool:
    if bar.sense == "at least":
        return value >= bar.bound
    return value <= bar.bound if bar.sense == "at most" else value < bar.bound


def _parses_enough(summary: Mapping[str, Any]) -> bool:
    return summary.get("unparsed", 0) <= (1.0 - PARSED_SHARE) * summary.get("n", 0)


def _value(families: Mapping[str, Any], question: str, metric: str) -> float:
    value = metrics.find(dict(families), question).get(metric)
    return float("nan") if value is None else float(value)


def _select(predictions: Sequence[Prediction], question: str) -> list[Prediction]:
    return by_question(predictions).get(question, [])


def check(
    families: Mapping[str, Mapping[str, Any]],
    predictions: Mapping[str, Sequence[Prediction]],
    resamples: int,
    seed: int,
) -> list[dict[str, Any]]:
    """Check each bar against the value reached.

    Args:
        families: `metrics.summarise` of each source, "model" and the controls.
        predictions: the predictions of the same sources, for paired differences.

    Returns:
        One object per bar: question, metric, source, value, ci95, bar (in words), meets, and, for a bar that must also
        be above a control, the value of the control with the paired difference and its interval. A question that was
        not asked, or many of whose numbers could not be parsed, does not meet its bar.
    """
    rows = []
    for bar in BARS:
        if bar.source not in families:
            continue
        summary = metrics.find(dict(families[bar.source]), bar.question)
        value = _value(families[bar.source], bar.question, bar.metric)
        unit = f" {summary.get('unit', '')}".rstrip() if bar.metric == "mae" else ""
        row: dict[str, Any] = {
            "question": bar.question,
            "metric": bar.metric,
            "source": bar.source,
            "value": value,
            "ci95": summary.get(metrics.interval_key(bar.metric)),
            "bar": f"{bar.sense} {bar.bound:g}{unit}",
            "meets": bool(np.isfinite(value) and _is_within(value, bar) and _parses_enough(summary)),
        }
        if bar.above:
            other = _value(families.get(bar.above, {}), bar.question, bar.metric)
            gap = metrics.compare(
                _select(predictions[bar.source], bar.question),
                _select(predictions.get(bar.above, []), bar.question),
                bar.metric,
                resamples,
                seed,
            )
            # A control whose metric is undefined (it gives the same answer to all) knows nothing.
            row["meets"] = row["meets"] and not (np.isfinite(other) and value <= other)
            row["bar"] += f", above {naming.SOURCES[bar.above].lower()}"
            row |= {
                "control": bar.above,
                "control_value": other,
                "difference": gap.value,
                "difference_ci95": gap.interval,
            }
        rows.append(row)
    return rows


def check_text_only(
    families: Mapping[str, Mapping[str, Any]],
    predictions: Mapping[str, Sequence[Prediction]],
    resamples: int,
    seed: int,
) -> list[dict[str, Any]]:
    """Check, question by question, whether the questions alone give answers away.

    The criterion is the paired difference in accuracy (AUROC for yes/no) from the constant control, which always gives
    the most likely label. For numbers it is r itself, because the constant has none. Numbers that are all the same give
    nothing away.

    Returns:
        One object per question: question, metric, value, ci95; for a closed question, prior, difference and
        difference_ci95; highest (the bound on the upper end of the interval), verdict ("passes", "gives away", or
        "undecided" if there are too few people to tell) and meets (whether it passes).
    """
    checked = []
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
            all_equal = len({item["answer"] for item in metrics.parsed(rows)}) < 2
            row["verdict"] = _verdict(value, row["ci95"], TEXT_ONLY_R, TEXT_ONLY_HIGHEST_R, summary["participants"])
            row["verdict"] = "passes" if all_equal else row["verdict"]
        else:
            prior = _value(families["constant"], question, metric)
            gap = metrics.compare(rows, _select(predictions["constant"], question), metric, resamples, seed)
            row |= {"prior": prior, "difference": gap.value, "difference_ci95": gap.interval}
            row["highest"] = TEXT_ONLY_HIGHEST
            people = summary["participants"]
            row["verdict"] = _verdict(gap.value, gap.interval, TEXT_ONLY_MARGIN, TEXT_ONLY_HIGHEST, people)
        row["meets"] = row["verdict"] == "passes"
        checked.append(row)
    return checked


def _verdict(value: float, interval: Sequence[float] | None, margin: float, highest: float, people: int) -> str:
    """The verdict on a control that should not be better than 0, from its value and 95 % interval over people."""
    if interval is None or people < TEXT_ONLY_FEWEST_PEOPLE:
        return "undecided"
    if value > margin and interval[0] > 0:
        return "gives away"
    return "passes" if interval[1] <= highest else "undecided"
