"""Confidence intervals by bootstrap over participants.

Trials of one person are not independent, so people are resampled, not rows (the cluster bootstrap of Field and Welsh,
2007). A metric is a function of how often each participant is counted: with counts of one it gives the estimate, with
drawn counts a resample. All resamples are then one matrix product.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np

# counts f64[..., P] -> value f64[...]; NaN where the metric is undefined for those counts.
Metric = Callable[[np.ndarray], np.ndarray]

# If the metric is defined in a smaller share of resamples than this, an interval would describe only the exceptions.
_DEFINED_SHARE = 0.5


class Estimate(NamedTuple):
    """A metric with its 95 % interval; the interval is None where it is undefined."""

    value: float
    interval: tuple[float, float] | None


def groups(participants: Sequence[str]) -> tuple[np.ndarray, int]:
    """Number the participants of rows in sorted order: (i64[N], number of participants)."""
    names, index = np.unique(np.asarray(participants, dtype=str), return_inverse=True)
    return index.reshape(-1), len(names)


def sums(group: np.ndarray, values: np.ndarray, participants: int) -> np.ndarray:
    """Sum rows f64[N, ...] within each participant: f64[P, ...]."""
    total = np.zeros((participants, *values.shape[1:]), np.float64)
    np.add.at(total, group, values)
    return total


def draws(participants: int, resamples: int, seed: int) -> np.ndarray:
    """How often each participant is drawn in each resample, f64[R, P]; every row sums to P."""
    generator = np.random.default_rng(seed)
    return generator.multinomial(participants, np.full(participants, 1.0 / participants), resamples).astype(np.float64)


def estimate(metric: Metric, participants: int, resamples: int, seed: int) -> Estimate:
    """The metric with every participant counted once, and its 95 % percentile interval over resamples."""
    if participants == 0:
        return Estimate(float("nan"), None)
    value = float(metric(np.ones(participants)))
    if participants < 2 or resamples < 1:
        return Estimate(value, None)
    samples = metric(draws(participants, resamples, seed))
    defined = samples[np.isfinite(samples)]
    if len(defined) < max(1, _DEFINED_SHARE * resamples) or not np.isfinite(value):
        return Estimate(value, None)
    low, high = np.percentile(defined, [2.5, 97.5])
    return Estimate(value, (float(low), float(high)))


def difference(first: Metric, second: Metric) -> Metric:
    """The paired difference: both metrics see the same participants in every resample."""
    return lambda counts: first(counts) - second(counts)
