"""Five figures that sum up what a reader answers, and the paired differences between two readers.

Accuracy of the activity, AUROC of the impairment, macro-F1 of the diagnosis, and the mean correlations of the clinical
scores and of the gait parameters with their truths. Each is a function of how often a participant is counted (see
`bootstrap`), so that differences are paired by participant.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from biomechgpt_jax.answering.predictions import Prediction, by_question
from biomechgpt_jax.evaluation import bootstrap, metrics
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
