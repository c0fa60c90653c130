"""Whether answers come true as often as they say: calibration, sets, and what is gained by not answering."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from biomechgpt_jax.answering.predictions import Prediction, by_question
from biomechgpt_jax.evaluation.bootstrap import groups

_BINS = 10
_DRAWS = 200
# Shares of the answers, the surest first, whose accuracy is told.
_ANSWERED = (1.0, 0.8, 0.5)


def curve(rows: Sequence[Prediction]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Calibration curve: mean probability, share of correct answers and count in each non-empty bin, f64[b] each."""
    probability, correct = _known(rows)
    index = _bin(probability)
    count = np.bincount(index, minlength=_BINS).astype(np.float64)
    used = count > 0
    mean = np.bincount(index, probability, _BINS)[used] / count[used]
    return mean, np.bincount(index, correct, _BINS)[used] / count[used], count[used]


def error(rows: Sequence[Prediction]) -> float:
    """Expected calibration error (Guo et al. 2017): mean over answers of |share correct - probability|."""
    probability, correct, count = curve(rows)
    return float(np.sum(np.abs(correct - probability) * count) / count.sum()) if len(count) else float("nan")


def expected_error(rows: Sequence[Prediction], seed: int) -> float:
    """The calibration error that these probabilities would have on average if they came true exactly.

    It is above 0, because few answers lie in a bin. Whether answers are right is drawn from their probabilities; where
    all answers about a person have one truth, such as a diagnosis, by one draw for the person.
    """
    usable = [row for row in rows if row["probability"] is not None]
    if not usable:
        return float("nan")
    probability, _ = _known(usable)
    person, people = groups([row["participant"] for row in usable])
    rng = np.random.default_rng(seed)
    whole = len({(row["participant"], row["truth"]) for row in usable}) == people < len(usable)
    drawn = rng.random((_DRAWS, people))[:, person] if whole else rng.random((_DRAWS, len(usable)))
    inside = np.eye(_BINS)[_bin(probability)]
    gaps = np.abs((drawn < probability) @ inside - probability @ inside).sum(axis=1)
    return float(gaps.mean() / len(usable))


def before(rows: Sequence[Prediction]) -> list[Prediction]:
    """The rows as they were before calibration; none where nothing was calibrated."""
    raw: list[Prediction] = []
    for row in rows:
        if "options_raw" not in row or "probability_raw" not in row:
            return []
        options = row["options_raw"]
        answer = max(options, key=lambda name: options[name])
        raw.append({**row, "answer": answer, "probability": row["probability_raw"], "options": options})
    return raw


def summarise(predictions: Sequence[Prediction], seed: int) -> dict[str, dict[str, Any]]:
    """The `calibration` object of metrics.json, by question.

    A closed question has n, error, expected_error (see above), excess (their difference), error_before (null without
    calibration), accuracy_answered (of the surest answers, by their share) and, where sets were fitted, set_coverage
    (the share of sets that hold the truth) and set_size (their mean number of options). A number with a calibrated
    interval has coverage_before and width_before.
    """
    found: dict[str, dict[str, Any]] = {}
    for name, rows in by_question(predictions).items():
        summary = _closed(rows, seed) if rows[0]["kind"] == "closed" else _number(rows)
        if summary:
            found[name] = summary
    return found


def _closed(rows: Sequence[Prediction], seed: int) -> dict[str, Any]:
    now, chance, raw = error(rows), expected_error(rows, seed), before(rows)
    summary: dict[str, Any] = {
        "n": len(rows),
        "error": now,
        "expected_error": chance,
        "excess": now - chance,
        "error_before": error(raw) if raw else float("nan"),
        "accuracy_answered": accuracy_answered(rows),
    }
    sets = [row["set"] for row in rows if "set" in row]
    if len(sets) == len(rows):
        summary["set_coverage"] = float(np.mean([row["truth"] in one for row, one in zip(rows, sets, strict=True)]))
        summary["set_size"] = float(np.mean([len(one) for one in sets]))
    return summary


def accuracy_answered(rows: Sequence[Prediction]) -> Mapping[str, float]:
    """Accuracy of the surest answers, by the share of all that they are: the risk-coverage curve in three points."""
    probability, correct = _known(rows)
    order = np.argsort(-probability, kind="stable")
    return {
        f"{share:g}": float(correct[order][: max(1, round(share * len(order)))].mean()) if len(order) else float("nan")
        for share in _ANSWERED
    }


def _number(rows: Sequence[Prediction]) -> dict[str, Any]:
    if not all("interval_raw" in row for row in rows):
        return {}
    truths = [float(f"{float(row['truth']):.{row['decimals']}f}") for row in rows]
    raw = [row["interval_raw"] for row in rows]
    inside = [low <= truth <= high for truth, (low, high) in zip(truths, raw, strict=True)]
    width = float(np.mean([high - low for low, high in raw]))
    return {"n": len(rows), "coverage_before": float(np.mean(inside)), "width_before": width}


def _known(rows: Sequence[Prediction]) -> tuple[np.ndarray, np.ndarray]:
    """Probabilities, and whether the answers are right, f64[N] each, of the answers that have a probability."""
    usable = [row for row in rows if row["probability"] is not None]
    probability = np.array([float(row["probability"] or 0.0) for row in usable])
    return probability, np.array([row["truth"] == row["answer"] for row in usable], np.float64)


def _bin(probability: np.ndarray) -> np.ndarray:
    return np.minimum((probability * _BINS).astype(int), _BINS - 1)
