"""Repeated data (Muennighoff et al., 2305.16264): tokens seen again count less and less, and so do surplus parameters.

    L = E + A / N'^a + B / D'^b,   D' = U + U R_D* (1 - exp(-R_D / R_D*)),   R_D = D / U - 1,

with U unique tokens, and N' likewise from U_N, the parameters that would be best for U tokens, and R_N*. The five
constants of the law are given; R_D* and R_N* are fitted with the same sum of Huber's loss of log residuals.
"""

from dataclasses import dataclass

import numpy as np
from scipy import optimize

from biomechgpt_jax.errors import InputError
from biomechgpt_jax.scaling.law import DELTA, Law, huber
from biomechgpt_jax.scaling.table import Runs
from biomechgpt_jax.scaling.uncertainty import LEVEL

_LARGEST = 1e10  # R* that are as good as infinite: repeats are then worth fresh data
_GRID = np.linspace(np.log(1e-2), np.log(_LARGEST), 56)
_WIDEST = 10.0  # ratio of the ends of an interval beyond which a constant is not identified
FEWEST_REPEATED = 6


@dataclass(frozen=True)
class Repeats:
    """The fitted constants.

    Attributes:
        data, params: R_D* and R_N*.
        objective: sum of Huber's loss.
        data_interval, params_interval: 95 % percentiles of refits to resampled runs.
    """

    data: float
    params: float
    objective: float
    data_interval: tuple[float, float]
    params_interval: tuple[float, float]

    @property
    def data_identified(self) -> bool:
        return _identified(self.data_interval)

    @property
    def params_identified(self) -> bool:
        return _identified(self.params_interval)


def _identified(interval: tuple[float, float]) -> bool:
    low, high = interval
    return high < _WIDEST * low


class _Terms:
    """What of the law does not depend on the two constants."""

    def __init__(self, runs: Runs, law: Law) -> None:
        unique = np.minimum(np.where(np.isfinite(runs.unique_tokens), runs.unique_tokens, runs.tokens), runs.tokens)
        best = (law.a * law.A * unique**law.b / (law.b * law.B)) ** (1 / law.a)  # of U tokens, at equal marginal gain
        self.base = np.minimum(runs.params, best)
        self.unique, self.law, self.log_loss = unique, law, np.log(runs.loss)
        self.repeats_D, self.repeats_N = runs.tokens / unique - 1, runs.params / self.base - 1

    def residuals(self, logs: np.ndarray) -> np.ndarray:
        """Log predicted - log measured of log R_D* and log R_N*."""
        data, params = np.exp(logs)
        tokens = self.unique * (1 - data * np.expm1(-self.repeats_D / data))
        sizes = self.base * (1 - params * np.expm1(-self.repeats_N / params))
        return np.log(self.law.loss(sizes, tokens)) - self.log_loss


def objective(runs: Runs, law: Law, data: float, params: float, delta: float = DELTA) -> float:
    """The objective of given R_D* and R_N*."""
    return huber(_Terms(runs, law).residuals(np.log([data, params])), delta)


def _best(runs: Runs, law: Law, delta: float, starts: int) -> tuple[float, np.ndarray]:
    """Objective and log constants: a grid over both, then Nelder and Mead's method, which needs no smooth objective."""
    terms = _Terms(runs, law)

    def value(logs: np.ndarray) -> float:
        inside = np.clip(logs, _GRID[0], _GRID[-1])
        return huber(terms.residuals(inside) / delta, 1.0) + float(np.abs(logs - inside).sum())

    grid = sorted((value(np.array([x, y])), x, y) for x in _GRID[::2] for y in _GRID[::2])
    options = {"xatol": 1e-7, "fatol": 1e-10, "maxiter": 2000}
    found = [
        optimize.minimize(value, np.array([x, y]), method="Nelder-Mead", options=options) for _, x, y in grid[:starts]
    ]
    best = min(found, key=lambda one: one.fun)
    logs = np.clip(best.x, _GRID[0], _GRID[-1])
    return huber(terms.residuals(logs), delta), logs


def fit(runs: Runs, law: Law, delta: float = DELTA, draws: int = 100, seed: int = 0) -> Repeats:
    """Fit R_D* and R_N*, and refit them to resampled runs.

    Args:
        runs: with unique tokens.
        law: of data seen once.
        delta: Huber's.
        draws: resamples for the intervals.
        seed: of the resampling.

    Raises:
        InputError: too few runs repeat data.
    """
    if runs.repeats.sum() < FEWEST_REPEATED:
        raise InputError(
            f"{int(runs.repeats.sum())} runs have more tokens than unique_tokens; R_D* needs at least {FEWEST_REPEATED}"
        )
    lowest, logs = _best(runs, law, delta, 6)
    rng, groups = np.random.default_rng([seed, 3]), runs.groups()
    sampled = []
    for _ in range(draws):
        rows = np.concatenate([groups[i] for i in rng.integers(len(groups), size=len(groups))])
        sampled.append(np.exp(_best(runs.rows(rows), law, delta, 1)[1]))
    ends = np.quantile(np.array(sampled), [0.5 - LEVEL / 2, 0.5 + LEVEL / 2], axis=0)
    data, params = np.exp(logs)
    (data_low, params_low), (data_high, params_high) = ends.tolist()
    return Repeats(float(data), float(params), lowest, (data_low, data_high), (params_low, params_high))
