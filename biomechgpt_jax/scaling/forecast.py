"""Forecasts of the loss of a run that nobody has made yet, by whichever forecaster a backtest prefers.

Rolling origin: each forecaster is shown the budgets up to one of the last four and forecasts those after it, as far
ahead as the target is. Its errors grow about in proportion to the distance in log compute (measured on public sets of
isoFLOP runs), so that an error at a shorter distance counts stretched to the target's. The forecaster with the smallest
root mean square is chosen, and the interval is that times Student's t of as many degrees of freedom as there are
origins; that of the joint law is its own, widened where the backtest shows it too narrow.
Forecasts are of the OBSERVED loss: errors of the backtest hold the noise of a run, and the joint law's own interval has
it added.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from scipy import stats

from biomechgpt_jax.errors import InputError
from biomechgpt_jax.scaling import isoflop, law, series, uncertainty
from biomechgpt_jax.scaling.table import Runs
from biomechgpt_jax.scaling.uncertainty import LEVEL, Interval

ORIGINS = 4  # most recent origins of the backtest: earlier budgets are far from where the curve is now
NEAR = 0.10  # the joint law is fitted to runs within so much of their budget's lowest loss: it is asked for the optimum
_REACH = 1.1  # of the target's distance: as far ahead as the backtest looks
_REFUTED = 2.0  # root mean square of backtest errors, in standard errors, beyond which the law's form does not hold
_APART = 1.5  # factor between neighbouring points where the table has no budgets
_SAME_RATIO = 0.2  # runs whose tokens per parameter differ by less are one ladder


@dataclass(frozen=True)
class Target:
    """What is forecast: the lowest loss of a budget or, with params and tokens, the loss of one run."""

    flops: float
    params: float | None = None
    tokens: float | None = None


@dataclass(frozen=True)
class Forecaster:
    """One forecaster's word.

    Attributes:
        loss: forecast.
        half_width: of the 95 % interval, in logarithms.
        rms: of its backtest errors, in logarithms, stretched to the distance of the target; NaN without a backtest.
        errors: (flops of the origin, flops forecast, log forecast - log measured).
    """

    loss: float
    half_width: float
    rms: float
    errors: tuple[tuple[float, float, float], ...]

    @property
    def interval(self) -> Interval:
        spread = np.exp(self.half_width)
        return Interval(self.loss, float(self.loss / spread), float(self.loss * spread))


@dataclass(frozen=True)
class Forecast:
    """All forecasters, and the one that is bet on.

    Attributes:
        target: what is forecast.
        chosen: name of the forecaster.
        forecasters: by name; "same" and "line" are the trivial ones.
        last_loss, last_flops: the best of the largest budget that is known, from which the gain is counted.
        notes: what a reader has to know.
    """

    target: Target
    chosen: str
    forecasters: dict[str, Forecaster]
    last_loss: float
    last_flops: float
    notes: tuple[str, ...]

    @property
    def interval(self) -> Interval:
        return self.forecasters[self.chosen].interval


@dataclass(frozen=True)
class _Point:
    """One point of the curve that is continued, and the rows that were known when it was."""

    flops: float
    loss: float
    params: float
    tokens: float
    known: np.ndarray  # rows of the joint law


def make(runs: Runs, target: Target, delta: float = law.DELTA) -> Forecast:
    """Forecast the target from the runs.

    Raises:
        InputError: too few budgets or runs, or a target that is not larger than all of them.
    """
    points, notes = _curve(runs, target)
    largest = float(runs.flops.max())
    if target.flops <= 1.01 * largest:
        raise InputError(
            f"a forecast of {target.flops:.3g} operations is none: the table has runs of {largest:.3g}; give more"
        )
    ahead = _Point(target.flops, np.nan, target.params or np.nan, target.tokens or np.nan, np.zeros(0, int))
    found: dict[str, Forecaster] = {}
    if len(points) >= 2:
        flops, loss = np.array([p.flops for p in points]), np.array([p.loss for p in points])
        for name, forecaster in {"same": series.same, **series.FORECASTERS}.items():
            least = series.FEWEST_POINTS if name in ("envelope", "mean") else 2
            if len(points) >= least:
                found[name] = _of_curve(forecaster, flops, loss, target.flops)
    law_word, refuted = _of_law(runs, delta, points, ahead) if runs.has_sizes else (None, False)
    if law_word is not None:
        found["joint"] = law_word
    if "same" not in found and found:
        found["same"] = Forecaster(float(runs.loss.min()), float("nan"), float("nan"), ())
    if not found:
        raise InputError(
            "nothing can be forecast: give a table with params, tokens and at least 6 runs of 3 sizes, or one with the "
            "lowest losses of at least 2 budgets"
        )
    if refuted:
        notes.append(
            "The joint law misses the backtest by more than its own interval allows: its form does not hold here, and "
            "it is no candidate."
        )
    chosen, why = _choose({name: one for name, one in found.items() if not (refuted and name == "joint")} or found)
    last = points[-1] if points else None
    lowest = int(np.argmin(runs.loss))
    return Forecast(
        target,
        chosen,
        found,
        float(runs.loss[lowest]) if last is None else last.loss,
        float(runs.flops[lowest]) if last is None else last.flops,
        (*notes, why),
    )


def _choose(found: dict[str, Forecaster]) -> tuple[str, str]:
    """The forecaster with the least error in the backtest, and why."""
    tried = {name: one for name, one in found.items() if np.isfinite(one.rms) and name != "same"}
    if tried:
        best = min(tried, key=lambda name: tried[name].rms)
        return best, f"{best} had the least error in the backtest: {100 * tried[best].rms:.2f} % at this distance."
    for name in ("joint", "mean", "line", "same"):
        if name in found:
            return (
                name,
                f"Too few budgets for a backtest: {name} was taken untested, and its interval may be too narrow.",
            )
    raise AssertionError("no forecaster")


def _curve(runs: Runs, target: Target) -> tuple[list[_Point], list[str]]:
    """The points that are continued to the target, from the smallest budget on, with remarks."""
    groups = isoflop.budgets(runs) if target.params is None else []
    if len(groups) >= isoflop.FEWEST_BUDGETS:
        minima = [isoflop.akima(runs, rows) for rows in groups]
        edges = sum(one.edge for one in minima)
        notes = [f"{edges} budgets whose minimum lies at the edge of the grid were left out."] * (edges > 0)
        return [
            _Point(one.flops, one.loss, one.params, np.nan, _near(runs, one)) for one in minima if not one.edge
        ], notes
    if target.params is not None and target.tokens is not None:
        if not runs.has_sizes:
            raise InputError("the table has no params and tokens: forecast a budget with --flops instead")
        ratio = np.log(runs.tokens / runs.params) - np.log(target.tokens / target.params)
        rows = np.flatnonzero(np.abs(ratio) < _SAME_RATIO)
        notes = [f"The curve is that of {len(rows)} runs with the tokens per parameter of the target."]
    else:
        # Without budgets of several sizes: every run that is better than all smaller ones.
        order = np.argsort(runs.flops, kind="stable")
        best = np.minimum.accumulate(runs.loss[order])
        rows = order[np.concatenate([[True], best[1:] < best[:-1]])]
        notes = ["The runs form no budgets of three sizes each: the curve is the lowest loss so far."]
    rows = rows[np.argsort(runs.flops[rows], kind="stable")]
    known = np.argsort(runs.flops, kind="stable")
    points = [
        _Point(
            float(runs.flops[row]),
            float(runs.loss[row]),
            float(runs.params[row]),
            float(runs.tokens[row]),
            known[runs.flops[known] <= runs.flops[row]],
        )
        for row in rows
    ]
    return _distinct(points), notes


def _distinct(points: list[_Point]) -> list[_Point]:
    """Points from the last one back, each at least a factor apart: a line through neighbours would follow noise."""
    kept: list[_Point] = []
    for point in reversed(points):
        if not kept or point.flops * _APART < kept[-1].flops:
            kept.append(point)
    return kept[::-1]


def _near(runs: Runs, minimum: isoflop.Minimum) -> np.ndarray:
    return minimum.rows[runs.loss[minimum.rows] <= (1 + NEAR) * minimum.loss]


def _pairs(flops: np.ndarray, target: float, least: int) -> list[tuple[int, int]]:
    """(number of points known, index of the point forecast) of the backtest."""
    distance = np.log(target / flops[-1]) * _REACH
    count = len(flops)
    return [
        (known, ahead)
        for known in range(max(least, count - ORIGINS), count)
        for ahead in range(known, count)
        if ahead == known or np.log(flops[ahead] / flops[known - 1]) <= distance
    ]


def _summary(errors: list[tuple[float, float, float]], target: float, last: float) -> tuple[float, float]:
    """Root mean square of errors stretched to the target's distance, and Student's t; NaN without errors."""
    if not errors:
        return float("nan"), float("nan")
    distance = np.log(target / last)
    stretched = [error * max(distance / np.log(ahead / origin), 1.0) for origin, ahead, error in errors]
    origins = len({origin for origin, _, _ in errors})
    return float(np.sqrt(np.mean(np.square(stretched)))), float(stats.t.ppf(0.5 + LEVEL / 2, origins))


def _of_curve(
    forecaster: Callable[[np.ndarray, np.ndarray, float], float], flops: np.ndarray, loss: np.ndarray, target: float
) -> Forecaster:
    errors = []
    for known, ahead in _pairs(flops, target, series.FEWEST_POINTS):
        said = forecaster(flops[:known], loss[:known], float(flops[ahead]))
        errors.append((float(flops[known - 1]), float(flops[ahead]), float(np.log(said / loss[ahead]))))
    rms, t = _summary(errors, target, float(flops[-1]))
    return Forecaster(forecaster(flops, loss, target), rms * t, rms, tuple(errors))


class _Law:
    """The joint law fitted to the rows that belong to the first points; each number of points is fitted once."""

    def __init__(self, runs: Runs, delta: float, points: list[_Point]) -> None:
        self._runs, self._delta, self._points = runs, delta, points
        self._fits: dict[int, tuple[law.Fit, Runs]] = {}

    def say(self, known: int, ahead: _Point) -> tuple[float, float, float]:
        """Loss of a point as the first `known` points forecast it, its standard error (of the log), and Student's t.

        Raises:
            InputError: too few runs for a law.
        """
        if known not in self._fits:
            rows = [point.known for point in self._points[:known]]
            part = self._runs.rows(np.unique(np.concatenate(rows))) if rows else self._runs
            self._fits[known] = law.fit(part.params, part.tokens, part.loss, self._delta), part
        fit, part = self._fits[known]

        def quantity(one: law.Law) -> float:
            if np.isfinite(ahead.tokens):
                return float(one.loss(ahead.params, ahead.tokens))
            return float(one.loss(*one.optimum(ahead.flops, part.operations)))

        said, t = uncertainty.delta_method(fit, part, quantity, observed=True), uncertainty.noise(fit, part).t
        return said.value, float(np.log(said.high / said.value)) / t, t


def _of_law(runs: Runs, delta: float, points: list[_Point], ahead: _Point) -> tuple[Forecaster | None, bool]:
    """The joint law's word, and whether its backtest refutes it.

    Its interval is its own, widened by as much as the backtest shows it too narrow. No word with too few runs.
    """
    joint = _Law(runs, delta, points)
    try:
        loss, error, own_t = joint.say(len(points), ahead)
    except InputError:
        return None, False
    errors, standard = [], []
    flops = np.array([point.flops for point in points])
    for known, index in _pairs(flops, ahead.flops, 1) if len(points) > 1 else []:
        try:
            said, its, _ = joint.say(known, points[index])
        except InputError:  # this origin has too few runs for a law
            continue
        miss = float(np.log(said / points[index].loss))
        errors.append((points[known - 1].flops, points[index].flops, miss))
        standard.append(miss / max(its, 1e-12))
    if not errors:
        return Forecaster(loss, error * own_t, float("nan"), ()), False
    rms, t = _summary(errors, ahead.flops, points[-1].flops)
    widened = float(np.sqrt(np.mean(np.square(standard))))
    return Forecaster(loss, error * max(own_t, widened * t), rms, tuple(errors)), widened > _REFUTED
