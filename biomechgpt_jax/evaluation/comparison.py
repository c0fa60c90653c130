"""Five figures that sum up what a reader answers, and the paired differences between two readers.

Accuracy of the activity, AUROC of the impairment, macro-F1 of the diagnosis, and the mean correlations of the clinical
scores and of the gait parameters with their truths. Each is a function of how often a participant is counted (see
`bootstrap`), so that differences are paired by participant.
"""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from biomechgpt_jax.answering.predictions import Prediction, by_question
from biomechgpt_jax.evaluation import bootstrap, metrics, naming
from biomechgpt_jax.evaluation.bootstrap import Estimate, Metric

# With fewer people a correlation says too little to enter a mean.
_FEWEST_PEOPLE = 10


class Figure(NamedTuple):
    """One summary figure: the metric, averaged over the questions of a family that have it."""

    family: str
    metric: str
    title: str


FIGURES = {
    "activity": Figure("activity", "accuracy", "activity accuracy"),
    "impairment": Figure("impairment", "auroc", "impairment AUROC"),
    "diagnosis": Figure("diagnosis", "macro_f1", "diagnosis macro-F1"),
    "scores": Figure("outcome_scores", "r", "mean r of clinical scores"),
    "gait": Figure("gait", "r", "mean r of gait parameters"),
}


def _questions(predictions: Sequence[Prediction], figure: Figure) -> dict[str, list[Prediction]]:
    """The predictions that enter a figure, by question."""
    kind = "number" if figure.metric == "r" else "closed"
    rows = [row for row in predictions if row["family"] == figure.family and row["kind"] == kind]
    asked = by_question(rows)
    if figure.metric != "r":
        return asked
    return {name: rows for name, rows in asked.items() if len({row["participant"] for row in rows}) >= _FEWEST_PEOPLE}


def _mean(questions: Sequence[Sequence[Prediction]], metric: str, people: Sequence[str]) -> Metric:
    """Mean of a metric over questions, each about some of the people; an undefined correlation counts as none."""
    number = {name: i for i, name in enumerate(people)}
    parts: list[tuple[Metric, list[int]]] = []
    for rows in questions:
        rows = metrics.parsed(rows) if rows[0]["kind"] == "number" else rows
        parts.append(
            (metrics.build(rows, metric)[0], [number[name] for name in sorted({r["participant"] for r in rows})])
        )

    def mean(counts: np.ndarray) -> np.ndarray:
        values = [part(counts[..., members]) for part, members in parts]
        return np.mean([np.nan_to_num(value) if metric == "r" else value for value in values], axis=0)

    return mean


def _people(questions: Sequence[Sequence[Prediction]]) -> list[str]:
    return sorted({row["participant"] for rows in questions for row in rows})


def measure(predictions: Sequence[Prediction], name: str, resamples: int, seed: int) -> Estimate:
    """One of `FIGURES` of a reader, with its 95 % interval over participants; NaN where it was not asked."""
    figure = FIGURES[name]
    questions = list(_questions(predictions, figure).values())
    if not questions:
        return Estimate(float("nan"), None)
    people = _people(questions)
    return bootstrap.estimate(_mean(questions, figure.metric, people), len(people), resamples, seed)


def compare(
    first: Sequence[Prediction], second: Sequence[Prediction], name: str, resamples: int, seed: int
) -> Estimate:
    """Paired difference `first - second` of one of `FIGURES`, over the questions that both answered."""
    figure = FIGURES[name]
    theirs = by_question(second)
    pairs = [metrics.pair(rows, theirs.get(q, [])) for q, rows in _questions(first, figure).items()]
    pairs = [pair for pair in pairs if pair[0]]
    if not pairs:
        return Estimate(float("nan"), None)
    mine, others = [pair[0] for pair in pairs], [pair[1] for pair in pairs]
    people = _people(mine)
    difference = bootstrap.difference(_mean(mine, figure.metric, people), _mean(others, figure.metric, people))
    return bootstrap.estimate(difference, len(people), resamples, seed)


def summarise(
    predictions: Mapping[str, Sequence[Prediction]], resamples: int, seed: int
) -> dict[str, dict[str, dict[str, Any]]]:
    """The `summary` object of metrics.json: of the model and each strong control every figure, as value and ci95."""
    described: dict[str, dict[str, dict[str, Any]]] = {}
    for source in ("model", *naming.STRONG):
        if source in predictions:
            made = {name: measure(predictions[source], name, resamples, seed) for name in FIGURES}
            described[source] = {
                name: {"value": estimate.value, "ci95": estimate.interval} for name, estimate in made.items()
            }
    return described


def compare_with_controls(
    predictions: Mapping[str, Sequence[Prediction]], resamples: int, seed: int
) -> list[dict[str, Any]]:
    """The `comparisons` of metrics.json: the model against each strong control, in every figure.

    Each has figure, title, control, difference (model minus control, over the questions that both answered), ci95, and
    verdict: "better" or "worse" where the 95 % interval of the difference excludes 0, else "level"; "unknown" where
    there is no interval.
    """
    compared = []
    for control in (name for name in naming.STRONG if name in predictions):
        for name, figure in FIGURES.items():
            gap = compare(predictions["model"], predictions[control], name, resamples, seed)
            if np.isfinite(gap.value):
                compared.append(
                    {
                        "figure": name,
                        "title": figure.title,
                        "control": control,
                        "difference": gap.value,
                        "ci95": gap.interval,
                        "verdict": _verdict(gap),
                    }
                )
    return compared


def _verdict(gap: Estimate) -> str:
    if gap.interval is None:
        return "unknown"
    return "better" if gap.interval[0] > 0 else "worse" if gap.interval[1] < 0 else "level"


def describe(comparisons: Sequence[Mapping[str, Any]]) -> list[str]:
    """One sentence for each control: in which figures the model is worse, level and better, with the differences."""
    sentences = []
    for control in dict.fromkeys(row["control"] for row in comparisons):
        rows = [row for row in comparisons if row["control"] == control]
        parts = [
            f"{words} in {naming.join([_difference(row) for row in rows if row['verdict'] == verdict])}"
            for verdict, words in (
                ("worse", "it loses"),
                ("level", "it is level"),
                ("better", "it wins"),
                ("unknown", "too few people tell"),
            )
            if any(row["verdict"] == verdict for row in rows)
        ]
        sentences.append(f"Against {naming.SOURCES[control].lower()}, {'; '.join(parts)}.")
    return sentences


def _difference(row: Mapping[str, Any]) -> str:
    interval = naming.interval_text(row["ci95"])
    value = naming.value_text(row["difference"], sign=True)
    return f"{row['title']} ({value}{f', {interval}' if interval else ''})"
