"""What is wrong with a table or a fit, in words: each check gives findings for the report."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy import stats

from biomechgpt_jax.scaling import isoflop, law, series, uncertainty
from biomechgpt_jax.scaling.forecast import Forecast
from biomechgpt_jax.scaling.law import COUNT, Fit
from biomechgpt_jax.scaling.table import OPERATIONS, Runs
from biomechgpt_jax.scaling.uncertainty import Interval, Profile

_CHANCE = 1e-3  # of a false alarm, where a check is a test
_E_WIDEST = 0.25  # of the lowest loss: a wider interval of E says nothing
_EXPONENT_WIDEST = 3.0  # ratio of the ends of an exponent's interval beyond which it says nothing
_FLOPS_OFF, _FLOPS_DRIFT = 1.5, 1.1  # ratios of flops and 6 N D that count as off, and as drifting with size
_MOST_MISTUNED = 2  # with more sizes off, it is not the sizes
_LEAST_MISTUNED = 0.003  # excess of log loss that is worth a word
_FORM_RMS = 0.005  # of the law's residuals at the minima that are worth a word
_FORM_RATIO = 3.0  # of them and the envelope's


@dataclass(frozen=True)
class Finding:
    """One thing that a reader has to know.

    Attributes:
        name: stable, for programs: see `docs/scaling.md`.
        words: a sentence or two.
        figures: behind the words.
    """

    name: str
    words: str
    figures: Mapping[str, Any]


def count_of_operations(runs: Runs) -> list[Finding]:
    """flops against 6 params tokens: a factor for all rows, and one that changes with size."""
    if not runs.has_sizes:
        return []
    ratio = runs.flops / (OPERATIONS * runs.params * runs.tokens)
    middle = float(np.median(ratio))
    found = []
    if not 1 / _FLOPS_OFF < middle < _FLOPS_OFF:
        found.append(
            Finding(
                "flops_are_not_6nd",
                f"flops are {middle:.3g} times 6 params tokens: is the backward pass counted, and is it the same "
                f"params?",
                {"ratio": middle},
            )
        )
    sizes = np.log(runs.params)
    if len(np.unique(runs.params)) >= 3 and np.ptp(np.log(ratio)) > 1e-3:
        slope = float(stats.linregress(sizes, np.log(ratio)).slope)
        drift = float(np.exp(slope * np.ptp(sizes)))
        if max(drift, 1 / drift) > _FLOPS_DRIFT:
            found.append(
                Finding(
                    "flops_drift_with_size",
                    f"From the smallest to the largest size, flops / (6 params tokens) change by a factor of "
                    f"{drift:.2f}: "
                    "something, such as a softmax or attention, is counted in one and not in the other, and it bends "
                    "every law over compute.",
                    {"factor": drift},
                )
            )
    return found


def losses_follow(fit: Fit, runs: Runs) -> list[Finding]:
    """An F test of the law, by least squares, against one loss for all."""
    least = law.fit(runs.params, runs.tokens, runs.loss, 10.0, start=fit)
    about = float(np.sum((np.log(runs.loss) - np.log(runs.loss).mean()) ** 2))
    left, freedom = float(np.sum(least.residuals**2)), len(runs) - COUNT
    chance = float(stats.f.sf((about - left) / (COUNT - 1) / max(left / freedom, 1e-300), COUNT - 1, freedom))
    if chance <= _CHANCE:
        return []
    words = (
        f"The losses do not follow params and tokens (F test, p = {chance:.2g}; the law explains "
        f"{100 * (1 - left / about):.0f} % of their variance): are rows and losses matched, and is it one loss?"
    )
    return [Finding("losses_do_not_follow", words, {"p": chance})]


def _excess_of_size(fit: Fit, runs: Runs, kept: np.ndarray, size: float) -> tuple[float, float, int]:
    """Mean excess of a size's log loss over the law through the other kept rows, its t, and its degrees of freedom."""
    of_size = runs.params == size
    others, own = runs.rows(kept & ~of_size), runs.rows(of_size)
    without = law.fit(others.params, others.tokens, others.loss, fit.delta, start=fit)
    excess = np.log(own.loss) - np.log(without.law.loss(own.params, own.tokens))
    means = np.array([without.residuals[rows].mean() for rows in others.groups()])
    freedom = max(len(means) - COUNT, 1)
    wide = 3 * 1.4826 * np.median(np.abs(means))
    per_run = float(np.sum(np.minimum(np.abs(means), wide if wide > 0 else np.inf) ** 2)) / freedom
    gradient = without.jacobian(own.params, own.tokens).mean(axis=0)
    of_law = float(gradient @ uncertainty.covariance(without, others) @ gradient)
    error = np.sqrt(per_run / len(own.groups()) + of_law)
    return float(excess.mean()), float(excess.mean() / max(error, 1e-12)), freedom


def mistuned_sizes(fit: Fit, runs: Runs) -> list[Finding]:
    """Sizes whose losses lie off the law through all other sizes, the worst first, each taken out before the next."""
    sizes = np.unique(runs.params)
    kept = np.ones(len(runs), bool)
    found: list[tuple[float, float]] = []
    while len(found) <= _MOST_MISTUNED:
        left = [size for size in sizes if size not in [one for one, _ in found]]
        if len(left) < 5 or len(np.unique(runs.run[kept])) < COUNT + 3:
            break
        tried = []
        for size in left:
            others = kept & (runs.params != size)
            if len(np.unique(runs.tokens[others])) >= 3 and others.sum() > COUNT:
                tried.append((size, *_excess_of_size(fit, runs, kept, size)))
        if not tried:
            break
        size, excess, t, freedom = max(tried, key=lambda one: abs(one[2]))
        if abs(t) < stats.t.ppf(1 - _CHANCE / (2 * len(left)), freedom) or abs(excess) < _LEAST_MISTUNED:
            break
        found.append((float(size), excess))
        kept &= runs.params != size
    if len(found) > _MOST_MISTUNED:
        words = "Several sizes lie off the law through the others: its form does not hold, or most are tuned unequally."
        return [Finding("form_does_not_hold", words, {"sizes": [size for size, _ in found]})]
    return [
        Finding(
            "size_off_the_law",
            f"The runs of {size:.4g} params lie {100 * np.expm1(excess):+.1f} % off the law through all other sizes: "
            + ("was this size tuned like the others?" if excess > 0 else "were the others tuned like this size?"),
            {"params": size, "excess": excess},
        )
        for size, excess in found
    ]


def identified(fit: Fit, runs: Runs, profiles: Sequence[Profile]) -> list[Finding]:
    """Constants that other values fit about as well."""
    found = []
    for one in profiles:
        if one.name == "E":
            open_ends = one.low <= 0.0
            wide = min(one.high, float(runs.loss.min())) - max(one.low, 0.0) > _E_WIDEST * float(runs.loss.min())
            unclear = open_ends or wide
        else:
            low, high = max(one.low, float(one.values[0])), min(one.high, float(one.values[-1]))
            unclear = high > _EXPONENT_WIDEST * low
        if unclear:
            inside = one.excess <= 1.0
            low, high = max(one.low, float(one.values[0])), min(one.high, float(one.values[-1]))
            words = f"{one.name} is not identified: every value from {low:.3g} to {high:.3g} fits about as well"
            if inside.any():
                words += f" (RMS residual {100 * one.rms[inside].min():.3g} to {100 * one.rms[inside].max():.3g} %)"
            figures = {"low": low, "high": high, "estimate": float(fit.vector[law.NAMES.index(one.name)])}
            found.append(Finding(f"{one.name}_not_identified", words + ".", figures))
    return found


def form(fit: Fit, runs: Runs, minima: Sequence[isoflop.Minimum], ahead: Forecast | None) -> list[Finding]:
    """The joint law against the lowest losses of the budgets, where those are known and where they are continued."""
    inside = [one for one in minima if not one.edge]
    reasons: list[str] = []
    figures: dict[str, float] = {}
    if len(inside) > series.FEWEST_POINTS + 1:
        flops, loss = np.array([one.flops for one in inside]), np.array([one.loss for one in inside])
        of_law = np.log(fit.law.loss(*fit.law.optimum(flops, runs.operations)) / loss)
        of_envelope = np.log(series.envelope(flops, loss).loss(flops) / loss)
        rms = float(np.sqrt(np.mean(of_law**2)))
        own = float(np.sqrt(np.sum(of_envelope**2) / (len(inside) - 3)))
        figures |= {"rms_of_law": rms, "rms_of_envelope": own}
        if rms > max(_FORM_RMS, _FORM_RATIO * own):
            reasons.append(
                f"it misses the lowest losses of the budgets by {100 * rms:.2g} %, the envelope by {100 * own:.2g} %"
            )
    if ahead is not None and {"joint", "envelope"} <= ahead.forecasters.keys():
        joint, floor = ahead.forecasters["joint"], ahead.forecasters["envelope"]
        gap = float(np.log(joint.loss / floor.loss))
        figures["gap_ahead"] = gap
        if abs(gap) > np.hypot(joint.half_width, floor.half_width):
            reasons.append(
                f"at {ahead.target.flops:.3g} operations it and the envelope differ by {100 * abs(gap):.2g} %, more "
                f"than their intervals"
            )
    if not reasons:
        return []
    words = f"The form does not hold here: {'; '.join(reasons)}. Sizes that are tuned unequally look like this."
    return [Finding("form_does_not_hold", words, figures)]


def edges(minima: Sequence[isoflop.Minimum]) -> list[Finding]:
    """Budgets whose lowest loss is that of the smallest or the largest size."""
    at = [one.flops for one in minima if one.edge]
    if not at:
        return []
    listed = ", ".join(f"{flops:.3g}" for flops in at)
    words = (
        f"The minimum lies at the edge of the grid for {len(at)} of {len(minima)} budgets ({listed}): they count "
        f"neither for the exponent nor for the envelope; add sizes beyond."
    )
    return [Finding("minimum_at_edge", words, {"flops": at})]


@dataclass(frozen=True)
class Variant:
    """The fit made another way: `name` says how."""

    name: str
    law: law.Law
    rows: int


def variants(fit: Fit, runs: Runs) -> list[Variant]:
    """Fits with other deltas of Huber's, and without outliers (residuals beyond five robust standard deviations)."""
    made = [
        Variant(
            f"Huber's delta {delta:g}", law.fit(runs.params, runs.tokens, runs.loss, delta, start=fit).law, len(runs)
        )
        for delta in (1e-1, 1e-2, 1e-3, 1e-4)
        if delta != fit.delta
    ]
    size = np.abs(fit.residuals)
    kept = size <= max(5 * 1.4826 * float(np.median(size)), 1e-9)
    if not kept.all() and min(len(np.unique(values[kept])) for values in (runs.params, runs.tokens)) >= 3:
        part = runs.rows(kept)
        without = law.fit(part.params, part.tokens, part.loss, fit.delta, start=fit).law
        made.append(Variant(f"without {int((~kept).sum())} outliers", without, len(part)))
    return made


def sensitivity(made: Sequence[Variant], intervals: Mapping[str, Interval]) -> list[Finding]:
    """Variants whose a, b or exponent lie outside the intervals of the fit."""
    found = []
    for one in made:
        values = {"a": one.law.a, "b": one.law.b, "exponent": one.law.exponent}
        out = {
            name: value for name, value in values.items() if not intervals[name].low <= value <= intervals[name].high
        }
        if out:
            listed = ", ".join(f"{name} {intervals[name].value:.3f} to {value:.3f}" for name, value in out.items())
            words = f"With {one.name} the fit moves by more than its interval: {listed}. Report both."
            found.append(Finding("fit_moves", words.replace("With without", "Without"), {"variant": one.name, **out}))
    return found
