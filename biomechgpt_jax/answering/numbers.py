"""What the model takes a number to be: a distribution over all numbers that a question can write.

Every statistic is one of those numbers, or a probability of some of them. The distribution is the model's own: how wide
it is was learned on the people it was trained on, and is a statement about people like them.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypedDict

import numpy as np

INTERVAL = (0.05, 0.95)  # the central 90 %
# The shares whose quantiles describe a distribution where it is written to disk.
QUANTILES = (0.01, *(round(0.05 * step, 2) for step in range(1, 20)), 0.99)
_ROUNDING = 1e-9  # what sums of probabilities may lack


@dataclass(frozen=True, eq=False)
class Distribution:
    """Numbers f64[n] in ascending order, and the probability of each, f64[n]; these sum to 1."""

    values: np.ndarray
    probabilities: np.ndarray


class Summary(TypedDict):
    """The keys that a distribution gives a prediction (see `predictions.Prediction`)."""

    answer: float
    probability: float
    text: str
    interval: list[float]
    quantiles: list[float]
    decimals: int
    distribution: Distribution


def quantile(distribution: Distribution, share: float) -> float:
    """The smallest number such that it and all smaller ones have at least this share of the probability."""
    index = np.searchsorted(np.cumsum(distribution.probabilities), share - _ROUNDING)
    return float(distribution.values[min(int(index), len(distribution.values) - 1)])


def probability_between(distribution: Distribution, low: float, high: float) -> float:
    """The probability of low <= number < high; either end may be infinite.

    A number stands for what is written with its decimals: 0.80 m/s is not below 0.8 m/s.
    """
    within = (distribution.values >= low) & (distribution.values < high)
    return float(min(distribution.probabilities[within].sum(), 1.0))


def mixture(parts: Sequence[Distribution]) -> Distribution:
    """The mean of distributions over the same numbers."""
    return Distribution(parts[0].values, np.mean([part.probabilities for part in parts], axis=0))


def summarise(distribution: Distribution, decimals: int, unit: str) -> Summary:
    """The median as the answer, the probability of exactly this number, the central 90 % interval, and quantiles."""
    answer = quantile(distribution, 0.5)
    return Summary(
        answer=answer,
        probability=float(distribution.probabilities[np.searchsorted(distribution.values, answer)]),
        text=f"{answer:.{decimals}f} {unit}",
        interval=[quantile(distribution, share) for share in INTERVAL],
        quantiles=[quantile(distribution, share) for share in QUANTILES],
        decimals=decimals,
        distribution=distribution,
    )
