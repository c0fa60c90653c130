"""Sets and intervals that hold the truth of nine people in ten, whatever the model believes of itself.

Split conformal prediction (Vovk et al. 2005, Algorithmic Learning in a Random World; Papadopoulos et al. 2002): a score
says how far the truth lies from the answer; its quantile over validation people is how far an answer must reach. Each
person has a weight of 1, shared among their answers, and one more person, of whom nothing is known, lies beyond all.

The score of an option is one minus its probability. That of a number is the share of an answer's distribution, about
its median, that just holds it (as in conformalised quantile regression, Romano et al. 2019, arXiv 1905.03222, on the
scale of probability): 0 for the median, 1 for an end. Numbers are written with few decimals, and an interval holds the
whole probability of its ends, so the score counts the nearer side of a number's own probability.
"""

from collections.abc import Mapping, Sequence

import numpy as np

from biomechgpt_jax.answering import numbers
from biomechgpt_jax.answering.numbers import Distribution
from biomechgpt_jax.answering.predictions import Prediction
from biomechgpt_jax.calibration.temperature import person_weights

COVERAGE = 0.9
# With fewer people the quantile is the largest score or beyond it.
FEWEST_PEOPLE = 19


def level(scores_N: Sequence[float], rows: Sequence[Prediction]) -> float:
    """The score that a share COVERAGE of people, one unseen person among them, do not exceed; 1 where none is known."""
    weight_N = person_weights(rows)
    order = np.argsort(scores_N)
    reached_N = np.cumsum(weight_N[order]) / (weight_N.sum() + 1.0)
    index = int(np.searchsorted(reached_N, COVERAGE - 1e-12))
    return float(np.asarray(scores_N)[order][index]) if index < len(order) else 1.0


def option_score(options: Mapping[str, float], truth: str) -> float:
    """How little the truth was expected: 0 to 1."""
    return 1.0 - options[truth]


def option_set(options: Mapping[str, float], reach: float) -> list[str]:
    """The options whose score is within `reach`, the likeliest first; never none."""
    ordered = sorted(options, key=lambda name: -options[name])
    return [name for name in ordered if 1.0 - options[name] <= reach + 1e-12] or ordered[:1]


def number_score(distribution: Distribution, truth: float) -> float:
    """The smallest reach whose `interval` holds a number, as the question writes it: 0 to 1."""
    near = np.isclose(distribution.values, truth)
    below = float(distribution.probabilities[(distribution.values < truth) & ~near].sum())
    through = below + float(distribution.probabilities[near].sum())
    return float(np.clip(max(1.0 - 2.0 * through, 2.0 * below - 1.0), 0.0, 1.0))


def interval(distribution: Distribution, reach: float) -> list[float]:
    """The first and the last number whose score may be within `reach`."""
    return [numbers.quantile(distribution, 0.5 * (1.0 - reach)), numbers.quantile(distribution, 0.5 * (1.0 + reach))]
