"""Probabilities of a closed question that come true as often as they say: one temperature, and a bias of yes.

A trained model is too sure of itself. Dividing the logarithms of its probabilities by a temperature mends that without
changing which option is the likeliest (Guo et al. 2017, arXiv 1706.04599); a question with two options also has a bias
(Platt scaling; Platt 1999). Both are fitted on validation people, each of whom counts the same however many answers
they have, and drawn to 1 and 0 so that a question that is always right keeps a finite temperature.
"""

from collections.abc import Mapping, Sequence

import numpy as np

from biomechgpt_jax.answering.predictions import Prediction

YES, NO = "yes", "no"
# Normal priors: of the logarithm of the temperature, and of the bias in logits. The bias is held short: validation
# people are drawn like those of training, and the share of yes among fifty is off by 0.3 logits by chance alone.
_LOG_SD, _BIAS_SD = 0.5, 0.2
_LOG_BOUNDS = (-1.0, 1.5)
_SMALLEST = 1e-12


def fit(rows: Sequence[Prediction]) -> tuple[float, float]:
    """Temperature and bias of yes (0 where the options are others) of one question.

    Args:
        rows: answers about validation people, with the probability of each option.
    """
    from scipy.optimize import minimize  # slow to import, and never needed to answer

    rows = [row for row in rows if row["truth"] in row["options"]]
    options = list(rows[0]["options"])
    logs_NK = np.log([[max(row["options"][name], _SMALLEST) for name in options] for row in rows])
    truth_N = np.array([options.index(str(row["truth"])) for row in rows])
    weight_N = person_weights(rows)
    is_yes_K = np.array([name == YES for name in options], np.float64)
    has_bias = is_binary(options)

    def loss(free: np.ndarray) -> float:
        bias = free[1] if has_bias else 0.0
        scaled_NK = logs_NK / np.exp(free[0]) + bias * is_yes_K
        total_N = np.logaddexp.reduce(scaled_NK, axis=1)
        nll = float(weight_N @ (total_N - scaled_NK[np.arange(len(rows)), truth_N]))
        return nll + 0.5 * (free[0] / _LOG_SD) ** 2 + 0.5 * (bias / _BIAS_SD) ** 2

    bounds = [_LOG_BOUNDS, (-1.0, 1.0)][: 2 if has_bias else 1]
    found = minimize(loss, np.zeros(len(bounds)), bounds=bounds)
    return float(np.exp(found.x[0])), float(found.x[1]) if has_bias else 0.0


def scale(options: Mapping[str, float], temperature: float, yes_bias: float) -> dict[str, float]:
    """Probabilities at a temperature, with a bias of yes."""
    logs = np.log([max(value, _SMALLEST) for value in options.values()]) / temperature
    logs += yes_bias * np.array([name == YES for name in options])
    shares = np.exp(logs - np.logaddexp.reduce(logs))
    return {name: float(share) for name, share in zip(options, shares, strict=True)}


def is_binary(options: Sequence[str]) -> bool:
    """Whether a question is answered yes or no."""
    return set(options) == {YES, NO}


def person_weights(rows: Sequence[Prediction]) -> np.ndarray:
    """Weights f64[N] of answers that give each person a weight of 1."""
    _, person_N, count_P = np.unique([row["participant"] for row in rows], return_inverse=True, return_counts=True)
    return np.asarray(1.0 / count_P[person_N])
