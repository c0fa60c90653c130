"""Accuracy, macro-F1, AUROC, mean absolute error, correlation and limits of agreement, with intervals.

Every metric here is a function of how often each participant is counted (see `bootstrap`). Sums within participants are
computed once, so 1000 resamples cost one matrix product.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np

from biomechgpt_jax.answering.predictions import NESTED, Prediction, by_question, key
from biomechgpt_jax.evaluation import bootstrap
from biomechgpt_jax.evaluation.bootstrap import Estimate, Metric

POSITIVE = "yes"
# Sensitivity where one in ten of the healthy is called impaired.
SENSITIVITY = "sensitivity_at_90_specificity"
_BINARY = frozenset({"yes", "no"})


def _ratio(numerator: np.ndarray, denominator: np.ndarray) -> np.ndarray:
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(denominator > 0, numerator / denominator, np.nan)


def accuracy(correct_N: np.ndarray, group_N: np.ndarray, participants: int) -> Metric:
    """Share of correct answers, from bool[N]."""
    table = np.stack([correct_N.astype(np.float64), np.ones(len(correct_N))], axis=1)
    sums_P2 = bootstrap.sums(group_N, table, participants)

    def metric(counts: np.ndarray) -> np.ndarray:
        total = counts @ sums_P2
        return _ratio(total[..., 0], total[..., 1])

    return metric


def macro_f1(truth_N: np.ndarray, answer_N: np.ndarray, group_N: np.ndarray, participants: int) -> Metric:
    """Mean F1 over the labels that occur as a truth or an answer; an answer of None only misses its true label.

    Takes arrays of strings (or None). A label that is neither a truth nor an answer in a resample is not in its mean.
    """
    labels = sorted({label for label in (*truth_N, *answer_N) if label is not None})
    true_NK = np.array([[value == label for label in labels] for value in truth_N], np.float64)
    answered_NK = np.array([[value == label for label in labels] for value in answer_N], np.float64)
    table = np.stack([true_NK * answered_NK, true_NK + answered_NK], axis=1)
    sums_P2K = bootstrap.sums(group_N, table, participants)

    def metric(counts: np.ndarray) -> np.ndarray:
        total = np.tensordot(counts, sums_P2K, axes=1)
        f1 = _ratio(2.0 * total[..., 0, :], total[..., 1, :])
        defined = np.isfinite(f1)
        return _ratio(np.where(defined, f1, 0.0).sum(-1), defined.sum(-1))

    return metric


def auroc(positive_N: np.ndarray, score_N: np.ndarray, group_N: np.ndarray, participants: int) -> Metric:
    """Area under the ROC curve: the share of (positive, negative) pairs that are ranked correctly; ties count half.

    Takes bool[N] and f64[N]. Pairs are counted per pair of participants, so a resample is a quadratic form: this is as
    exact as recomputing the curve and needs no sorting.
    """
    positive, negative = np.flatnonzero(positive_N), np.flatnonzero(~positive_N)
    margin = score_N[positive][:, None] - score_N[negative][None, :]
    wins = (margin > 0) + 0.5 * (margin == 0)
    wins_PN = bootstrap.sums(group_N[positive], wins, participants)
    wins_PP = bootstrap.sums(group_N[negative], wins_PN.T, participants).T
    counts_P2 = bootstrap.sums(group_N, np.stack([positive_N, ~positive_N], 1).astype(np.float64), participants)

    def metric(counts: np.ndarray) -> np.ndarray:
        correct_pairs = np.einsum("...p,pq,...q->...", counts, wins_PP, counts, optimize=True)
        total = counts @ counts_P2
        return _ratio(correct_pairs, total[..., 0] * total[..., 1])

    return metric


def sensitivity(
    positive_N: np.ndarray, score_N: np.ndarray, group_N: np.ndarray, participants: int, specificity: float = 0.9
) -> Metric:
    """Share of the positives above the lowest threshold that no more than 1 - `specificity` of the negatives exceed.

    Takes bool[N] and f64[N]. Every resample has a threshold of its own; equal scores lie on the same side of it.
    """
    order = np.argsort(-score_N, kind="stable")
    ordered, is_positive = score_N[order], positive_N[order]
    last_of_equal = np.append(ordered[1:] != ordered[:-1], True)

    def metric(counts: np.ndarray) -> np.ndarray:
        weight = counts[..., group_N[order]]
        caught = np.cumsum(weight * is_positive, axis=-1)
        alarms = np.cumsum(weight * ~is_positive, axis=-1)
        allowed = last_of_equal & (alarms <= (1.0 - specificity) * alarms[..., -1:] + 1e-9)
        both = (caught[..., -1] > 0) & (alarms[..., -1] > 0)
        return np.where(both, _ratio(np.where(allowed, caught, 0.0).max(-1), caught[..., -1]), np.nan)

    return metric


def mean_absolute_error(truth_N: np.ndarray, answer_N: np.ndarray, group_N: np.ndarray, participants: int) -> Metric:
    """Mean of |answer - truth|, from f64[N]."""
    table = np.stack([np.abs(answer_N - truth_N), np.ones(len(truth_N))], axis=1)
    sums_P2 = bootstrap.sums(group_N, table, participants)

    def metric(counts: np.ndarray) -> np.ndarray:
        total = counts @ sums_P2
        return _ratio(total[..., 0], total[..., 1])

    return metric


def pearson(truth_N: np.ndarray, answer_N: np.ndarray, group_N: np.ndarray, participants: int) -> Metric:
    """Pearson's correlation, from f64[N]; NaN if either variable is constant."""
    x = (truth_N - truth_N.mean()) / max(float(truth_N.std()), 1e-12)
    y = (answer_N - answer_N.mean()) / max(float(answer_N.std()), 1e-12)
    table = np.stack([np.ones(len(x)), x, y, x * x, y * y, x * y], axis=1)
    sums_P6 = bootstrap.sums(group_N, table, participants)

    def metric(counts: np.ndarray) -> np.ndarray:
        n, sx, sy, sxx, syy, sxy = np.moveaxis(counts @ sums_P6, -1, 0)
        variance_x, variance_y = n * sxx - sx * sx, n * syy - sy * sy
        # Both variables have unit variance over all rows: a variance far below that is rounding error.
        varies = (n > 1) & (variance_x > 1e-9 * n * n) & (variance_y > 1e-9 * n * n)
        spread = np.sqrt(np.where(varies, variance_x * variance_y, 0.0))
        return np.where(varies, _ratio(n * sxy - sx * sy, spread), np.nan)

    return metric


def limits_of_agreement(truth_N: np.ndarray, answer_N: np.ndarray) -> tuple[float, float, float]:
    """Bias and 95 % limits of agreement of answer - truth (Bland and Altman, 1986): (bias, low, high)."""
    error = answer_N - truth_N
    bias = float(error.mean())
    spread = 1.96 * float(error.std(ddof=1)) if len(error) > 1 else float("nan")
    return bias, bias - spread, bias + spread


def _participants(rows: Sequence[Prediction]) -> tuple[np.ndarray, int]:
    return bootstrap.groups([row["participant"] for row in rows])


def numbers(rows: Sequence[Prediction]) -> tuple[np.ndarray, np.ndarray]:
    """True and answered values, f64[N] each, of rows whose answers are all finite numbers."""
    return (
        np.array([float(row["truth"]) for row in rows], np.float64),
        np.array([float(row["answer"]) for row in rows], np.float64),  # type: ignore[arg-type]
    )


def parsed(rows: Sequence[Prediction]) -> list[Prediction]:
    """The rows of a number question whose answers are finite numbers."""
    return [row for row in rows if isinstance(row["answer"], (int, float)) and np.isfinite(row["answer"])]


def covered(rows: Sequence[Prediction]) -> np.ndarray:
    """Whether the interval of each answer holds the true value, written with the question's decimals: bool[N]."""
    written = [float(f"{float(row['truth']):.{row['decimals']}f}") for row in rows]
    return np.array(
        [row["interval"][0] <= truth <= row["interval"][1] for row, truth in zip(rows, written, strict=True)], bool
    )


def is_binary(rows: Sequence[Prediction]) -> bool:
    """Whether a closed question is answered yes or no."""
    return all(row["truth"] in _BINARY for row in rows)


def build(rows: Sequence[Prediction], name: str) -> tuple[Metric, int]:
    """Build a metric of the predictions of one question: (the metric, its number of participants).

    `name` is accuracy, macro_f1, auroc or `SENSITIVITY` (closed), mae, r or coverage90 (numbers, over the parsed
    answers).
    """
    if rows[0]["kind"] == "number":
        rows = parsed(rows)
    group, participants = _participants(rows)
    if not rows:
        return (lambda counts: np.full(counts.shape[:-1], np.nan)), 0
    if name in ("mae", "r"):
        make = mean_absolute_error if name == "mae" else pearson
        return make(*numbers(rows), group, participants), participants
    if name == "coverage90":
        return accuracy(covered(rows), group, participants), participants
    truth = np.array([row["truth"] for row in rows], object)
    answer = np.array([row["answer"] for row in rows], object)
    if name == "accuracy":
        return accuracy(truth == answer, group, participants), participants
    if name == "macro_f1":
        return macro_f1(truth, answer, group, participants), participants
    if name in ("auroc", SENSITIVITY):
        score = np.array([row.get("options", {}).get(POSITIVE, np.nan) for row in rows], np.float64)
        score = np.where(np.isfinite(score), score, (answer == POSITIVE).astype(np.float64))
        make_ranked = auroc if name == "auroc" else sensitivity
        return make_ranked(truth == POSITIVE, score, group, participants), participants
    raise ValueError(f"no metric is called {name}")


def measure(rows: Sequence[Prediction], name: str, resamples: int, seed: int) -> Estimate:
    """Compute one metric of one question with its 95 % interval."""
    return bootstrap.estimate(*build(rows, name), resamples, seed)


def _closed(rows: Sequence[Prediction], resamples: int, seed: int) -> dict[str, Any]:
    correct = measure(rows, "accuracy", resamples, seed)
    balanced = measure(rows, "macro_f1", resamples, seed)
    summary = {
        "n": len(rows),
        "participants": _participants(rows)[1],
        "accuracy": correct.value,
        "macro_f1": balanced.value,
        "ci95": correct.interval,
        "macro_f1_ci95": balanced.interval,
    }
    if is_binary(rows):
        ranked = measure(rows, "auroc", resamples, seed)
        caught = measure(rows, SENSITIVITY, resamples, seed)
        summary |= {"auroc": ranked.value, "auroc_ci95": ranked.interval}
        summary |= {SENSITIVITY: caught.value, interval_key(SENSITIVITY): caught.interval}
    return summary


def _number(rows: Sequence[Prediction], resamples: int, seed: int) -> dict[str, Any]:
    usable = parsed(rows)
    error = measure(rows, "mae", resamples, seed)
    correlation = measure(rows, "r", resamples, seed)
    bias, low, high = limits_of_agreement(*numbers(usable)) if usable else (np.nan, np.nan, np.nan)
    summary = {
        "n": len(rows),
        "participants": _participants(rows)[1],
        "mae": error.value,
        "r": correlation.value,
        "unit": rows[0]["unit"],
        "ci95": error.interval,
        "r_ci95": correlation.interval,
        "bias": bias,
        "limits_of_agreement": [low, high],
        "unparsed": len(rows) - len(usable),
    }
    if usable and all("interval" in row for row in usable):
        coverage = measure(rows, "coverage90", resamples, seed)
        width = float(np.mean([row["interval"][1] - row["interval"][0] for row in usable]))
        summary |= {"coverage90": coverage.value, "coverage90_ci95": coverage.interval, "width90": width}
    return summary


def summarise(predictions: Sequence[Prediction], resamples: int, seed: int) -> dict[str, Any]:
    """Compute the `families` object of metrics.json: every question with its metrics and 95 % intervals.

    A closed question has n, participants, accuracy, macro_f1, ci95 (of the accuracy), macro_f1_ci95, and for yes/no
    auroc and sensitivity_at_90_specificity, each with its interval. A number has n, participants, mae, r, unit, ci95
    (of the mae), r_ci95, bias, limits_of_agreement and unparsed (the count of answers that are not numbers; they enter
    no other metric). Where the answers have 90 % intervals it also has coverage90 (the share of intervals that hold the
    true value), coverage90_ci95 and width90 (their mean width). An answer to a closed question that is not one of its
    options counts as wrong. Undefined values are NaN here and null on disk.
    """
    families: dict[str, Any] = {}
    for question, rows in by_question(predictions).items():
        summary = (_closed if rows[0]["kind"] == "closed" else _number)(rows, resamples, seed)
        family = rows[0]["family"]
        if family in NESTED:
            families.setdefault(family, {})[question] = summary
        else:
            families[question] = summary
    return families


def pair(first: Sequence[Prediction], second: Sequence[Prediction]) -> tuple[list[Prediction], list[Prediction]]:
    """The rows of one question that both answered, in the same order; an answer that is no number counts as none."""
    theirs = {key(row): row for row in second if row["kind"] == "closed" or parsed([row])}
    mine = [row for row in first if key(row) in theirs and (row["kind"] == "closed" or parsed([row]))]
    return mine, [theirs[key(row)] for row in mine]


def compare(
    first: Sequence[Prediction], second: Sequence[Prediction], name: str, resamples: int, seed: int
) -> Estimate:
    """Paired difference `first - second` of a metric of one question, over the rows that both answered."""
    mine, theirs = pair(first, second)
    if not mine:
        return Estimate(float("nan"), None)
    first_metric, participants = build(mine, name)
    second_metric, _ = build(theirs, name)
    return bootstrap.estimate(bootstrap.difference(first_metric, second_metric), participants, resamples, seed)


def find(families: dict[str, Any], question: str) -> dict[str, Any]:
    """The summary of a question in a `families` object; empty where it was not asked."""
    for family, entry in families.items():
        if family in NESTED and question in entry:
            return entry[question]
        if family == question:
            return entry
    return {}


def interval_key(name: str) -> str:
    """The key of a metric's interval in metrics.json."""
    return "ci95" if name in ("accuracy", "mae") else f"{name}_ci95"


def confusion(rows: Sequence[Prediction], order: Sequence[str] = ()) -> tuple[list[str], np.ndarray]:
    """Column labels and counts i64[true, answered]; answers of None are counted in a last column "no answer"."""
    seen = {str(row["truth"]) for row in rows} | {str(row["answer"]) for row in rows if row["answer"] is not None}
    labels = [label for label in order if label in seen] + sorted(seen - set(order))
    columns = labels + (["no answer"] if any(row["answer"] is None for row in rows) else [])
    table = np.zeros((len(labels), len(columns)), np.int64)
    for row in rows:
        answer = "no answer" if row["answer"] is None else str(row["answer"])
        table[labels.index(str(row["truth"])), columns.index(answer)] += 1
    return columns, table
