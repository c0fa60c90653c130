"""Budgets of equal operations and their minima (isoFLOP; Hoffmann et al., 2203.15556, approach 2)."""

from dataclasses import dataclass

import numpy as np
from scipy import stats
from scipy.interpolate import Akima1DInterpolator

from biomechgpt_jax.scaling.table import Runs
from biomechgpt_jax.scaling.uncertainty import LEVEL, Interval

FEWEST_SIZES, FEWEST_BUDGETS = 3, 3
_SAME = 0.03  # the rows of a budget differ by no more than this share
_MOST = 0.7  # of the rows have to belong to budgets; otherwise rows that happen to be close look like some
_GRID = 2001
_AROUND = 2  # runs on each side of the lowest that the parabola goes through


@dataclass(frozen=True)
class Minimum:
    """The lowest loss of one budget.

    Attributes:
        flops: the budget.
        params: where the loss is lowest.
        loss: the lowest.
        edge: whether the lowest run is the smallest or largest of the budget, so that the minimum may lie beyond.
        rows: indices of the runs.
    """

    flops: float
    params: float
    loss: float
    edge: bool
    rows: np.ndarray


def budgets(runs: Runs) -> list[np.ndarray]:
    """Rows of each budget that has at least three sizes, from the smallest budget on.

    Empty where sizes are unknown, and where most rows belong to no budget.
    """
    if not runs.has_sizes:
        return []
    order = np.argsort(runs.flops, kind="stable")
    groups: list[list[int]] = []
    for row in order:
        if not groups or runs.flops[row] > (1 + _SAME) * runs.flops[groups[-1][0]]:
            groups.append([])
        groups[-1].append(int(row))
    found = [np.array(rows) for rows in groups if len(np.unique(runs.params[rows])) >= FEWEST_SIZES]
    return found if sum(map(len, found)) >= _MOST * len(runs) else []


def akima(runs: Runs, rows: np.ndarray) -> Minimum:
    """The minimum of Akima's interpolation of log loss over log params (Porian et al., 2406.19146).

    Runs of the same size, such as seeds, are averaged. Akima's curve does not swing where a run is far off, and assumes
    no symmetry.
    """
    sizes, log_loss = _curve(runs, rows)
    lowest = int(np.argmin(log_loss))
    grid = np.linspace(sizes[0], sizes[-1], _GRID)
    curve = Akima1DInterpolator(sizes, log_loss)(grid)
    at = int(np.argmin(curve))
    edge = lowest in (0, len(sizes) - 1)
    return Minimum(_flops(runs, rows), float(np.exp(grid[at])), float(np.exp(curve[at])), edge, rows)


def parabola(runs: Runs, rows: np.ndarray) -> Minimum:
    """The vertex of a parabola through log loss over log params around the lowest run.

    It is biased where a and b differ much or the grid is off centre; the report shows it beside Akima's minimum.
    """
    sizes, log_loss = _curve(runs, rows)
    lowest = int(np.argmin(log_loss))
    near = slice(max(lowest - _AROUND, 0), lowest + _AROUND + 1)
    middle = sizes[lowest]
    curvature, slope, level = np.polyfit(sizes[near] - middle, log_loss[near], 2)
    inside = curvature > 0 and sizes[0] <= middle - slope / (2 * curvature) <= sizes[-1]
    at, height = (middle - slope / (2 * curvature), level - slope**2 / (4 * curvature)) if inside else (middle, level)
    edge = lowest in (0, len(sizes) - 1) or not inside
    return Minimum(_flops(runs, rows), float(np.exp(at)), float(np.exp(height)), edge, rows)


def _curve(runs: Runs, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Increasing log params and the mean log loss of each."""
    sizes, inverse = np.unique(np.log(runs.params[rows]), return_inverse=True)
    return sizes, np.bincount(inverse, np.log(runs.loss[rows])) / np.bincount(inverse)


def _flops(runs: Runs, rows: np.ndarray) -> float:
    return float(np.exp(np.log(runs.flops[rows]).mean()))


def exponent(minima: list[Minimum]) -> Interval:
    """The exponent of N* ~ C^exponent by least squares through minima inside their grids, with its t interval.

    All values are NaN with fewer than three such minima.
    """
    inside = [one for one in minima if not one.edge]
    if len(inside) < FEWEST_BUDGETS:
        return Interval(np.nan, np.nan, np.nan)
    line = stats.linregress(np.log([one.flops for one in inside]), np.log([one.params for one in inside]))
    reach = stats.t.ppf(0.5 + LEVEL / 2, len(inside) - 2) * line.stderr
    return Interval(float(line.slope), float(line.slope - reach), float(line.slope + reach))
