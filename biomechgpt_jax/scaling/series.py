"""Forecasters of one curve: lowest losses over budgets, continued. Points are flops f64[m], increasing, and loss "
"f64[m]."""

from typing import NamedTuple

import numpy as np
from scipy import optimize

FEWEST_POINTS = 3  # of an envelope
_LAST = 6  # points that an envelope is continued from: the law bends over more
_SLOPES = np.geomspace(5e-3, 2.0, 60)


class Envelope(NamedTuple):
    """E + K (C / C0)^-g, with C0 the largest budget."""

    E: float
    K: float
    g: float
    C0: float

    def loss(self, flops: float | np.ndarray) -> np.ndarray:
        return np.asarray(self.E + self.K * (np.asarray(flops, float) / self.C0) ** -self.g)


def envelope(flops: np.ndarray, loss: np.ndarray) -> Envelope:
    """Fit the envelope by variable projection: least squares of relative residuals, E and K not negative."""
    logs = np.log(flops / flops[-1])

    def solve(log_g: float) -> tuple[np.ndarray, float]:
        columns = np.stack([np.ones_like(logs), np.exp(-np.exp(log_g) * logs)], axis=1)
        return optimize.nnls(columns / loss[:, None], np.ones_like(loss))

    grid = np.log(_SLOPES)
    at = int(np.argmin([solve(one)[1] for one in grid]))
    around = grid[max(at - 1, 0)], grid[min(at + 1, len(grid) - 1)]
    found = optimize.minimize_scalar(
        lambda one: solve(one)[1] ** 2, bounds=around, method="bounded", options={"xatol": 1e-10}
    )
    (E, K), _ = solve(found.x)
    return Envelope(float(E), float(K), float(np.exp(found.x)), float(flops[-1]))


def same(flops: np.ndarray, loss: np.ndarray, target: float) -> float:
    """The last loss again: what a larger budget is worth if it brings nothing."""
    del flops, target
    return float(loss[-1])


def line(flops: np.ndarray, loss: np.ndarray, target: float) -> float:
    """The straight line through the last two points in logarithms: too low far ahead if there is an irreducible "
    "loss."""
    slope = np.log(loss[-1] / loss[-2]) / np.log(flops[-1] / flops[-2])
    return float(loss[-1] * (target / flops[-1]) ** slope)


def floor(flops: np.ndarray, loss: np.ndarray, target: float) -> float:
    """The envelope through the last six points: too high far ahead if it takes for irreducible what is not."""
    return float(envelope(flops[-_LAST:], loss[-_LAST:]).loss(target))


def mean(flops: np.ndarray, loss: np.ndarray, target: float) -> float:
    """The geometric mean of line and envelope, which err to opposite sides."""
    return float(np.sqrt(line(flops, loss, target) * floor(flops, loss, target)))


FORECASTERS = {"line": line, "envelope": floor, "mean": mean}
