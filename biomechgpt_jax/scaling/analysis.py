"""Everything that is fitted to one table, as one JSON value: what `scaling fit` writes and the report shows."""

from collections.abc import Callable, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np

from biomechgpt_jax.errors import InputError
from biomechgpt_jax.files import clean
from biomechgpt_jax.scaling import checks, forecast, isoflop, law, repeats, series, uncertainty
from biomechgpt_jax.scaling.checks import Finding
from biomechgpt_jax.scaling.law import Fit, Law
from biomechgpt_jax.scaling.table import Runs
from biomechgpt_jax.scaling.uncertainty import Interval, Profile

AHEAD = 8.0  # times the largest budget: where the report looks
Tell = Callable[[str], None]
_QUANTITIES: dict[str, uncertainty.Quantity] = {
    "E": lambda one: max(one.E, 1e-12),
    "a": lambda one: one.a,
    "b": lambda one: one.b,
    "exponent": lambda one: one.exponent,
}
_FEWEST_UNREPEATED = 12


def analyse(
    runs: Runs, delta: float = law.DELTA, draws: int = 200, seed: int = 0, given: Law | None = None, tell: Tell = print
) -> dict[str, Any]:
    """Fit and check everything that the table allows.

    Args:
        runs: the table.
        delta: Huber's.
        draws: refits for each kind of bootstrap; 0 leaves them out.
        seed: of the draws.
        given: a law of data seen once, for repeated data; None fits one to the rows that repeat none.
        tell: is told what is being done.

    Returns:
        A value as `files.clean` makes it; `docs/scaling.md` says what its keys hold.

    Raises:
        InputError: nothing can be fitted.
    """
    findings = checks.count_of_operations(runs)
    once = runs.rows(~runs.repeats)
    minima, parabolas = ([of(once, rows) for rows in isoflop.budgets(once)] for of in (isoflop.akima, isoflop.parabola))
    findings += checks.edges(minima)
    ahead = _ahead(once, delta) if len(once) else None
    found: dict[str, Any] = {
        "source": runs.source,
        "sha256": runs.sha256,
        "rows": len(runs),
        "runs": len(np.unique(runs.run)),
        "notes": list(runs.notes),
        "law": None,
        "table": _table(runs, None),
        "isoflop": _isoflop(minima, parabolas, np.flatnonzero(~runs.repeats)),
        "curve": _curve(minima, once),
        "ahead": _told(ahead),
        "repeats": None,
    }
    if runs.has_sizes:
        try:
            law.check(once.params, once.tokens)
        except InputError as error:
            if not minima and ahead is None:
                raise
            found["notes"].append(f"No joint law: {error}.")
        else:
            tell("fitting the law")
            fit = law.fit(once.params, once.tokens, once.loss, delta)
            part, more = _law(fit, once, draws, seed, tell)
            found["law"], findings = part, findings + more
            found["table"] = _table(runs, fit)
            findings += checks.form(fit, once, minima, ahead)
            given = given or (fit.law if len(once) >= _FEWEST_UNREPEATED else None)
        if runs.repeats.sum() >= repeats.FEWEST_REPEATED:
            told, more = _repeats(runs, given, delta, min(draws, 100), seed)
            found["repeats"], findings = told, findings + more
    found["findings"] = [asdict(one) for one in _unique(findings)]
    return clean(found)


def _unique(findings: Sequence[Finding]) -> list[Finding]:
    return list({(one.name, one.words): one for one in findings}.values())


def _table(runs: Runs, fit: Fit | None) -> list[dict[str, Any]]:
    predicted = np.full(len(runs), np.nan) if fit is None else fit.law.loss(runs.params, runs.tokens)
    columns = {
        "run": runs.run,
        "params": runs.params,
        "tokens": runs.tokens,
        "flops": runs.flops,
        "loss": runs.loss,
        "predicted": predicted,
        "residual": np.log(predicted / runs.loss),
    }
    return [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]


def _ahead(runs: Runs, delta: float) -> forecast.Forecast | None:
    try:
        return forecast.make(runs, forecast.Target(AHEAD * float(runs.flops.max())), delta)
    except InputError:
        return None


def _told(made: forecast.Forecast | None) -> dict[str, Any] | None:
    if made is None:
        return None
    return {
        "flops": made.target.flops,
        "chosen": made.chosen,
        "forecasters": {
            name: {"loss": one.loss, "interval95": [one.interval.low, one.interval.high], "backtest_rms": one.rms}
            for name, one in made.forecasters.items()
        },
        "notes": list(made.notes),
    }


def _isoflop(
    minima: Sequence[isoflop.Minimum], parabolas: Sequence[isoflop.Minimum], rows: np.ndarray
) -> dict[str, Any] | None:
    """The budgets; `rows` are the places in the table of the rows that the minima count."""
    if not minima:
        return None

    def told(one: isoflop.Minimum) -> dict[str, Any]:
        return {"params": one.params, "loss": one.loss, "edge": one.edge}

    return {
        "budgets": [
            {"flops": one.flops, "rows": rows[one.rows], "akima": told(one), "parabola": told(other)}
            for one, other in zip(minima, parabolas, strict=True)
        ],
        "exponent": {
            name: _interval(isoflop.exponent(list(made))) for name, made in (("akima", minima), ("parabola", parabolas))
        },
    }


def _interval(one: Interval) -> dict[str, Any]:
    return {"value": one.value, "interval95": [one.low, one.high]}


def _curve(minima: Sequence[isoflop.Minimum], runs: Runs) -> dict[str, Any] | None:
    """Envelope and line through the lowest losses of the budgets; of every row where the table has no sizes."""
    points = [(one.flops, one.loss) for one in minima if not one.edge]
    if not runs.has_sizes:
        points = sorted(zip(runs.flops, runs.loss, strict=True))
    if len(points) < series.FEWEST_POINTS:
        return None
    flops, loss = np.array(points).T
    made = series.envelope(flops, loss)
    slope = float(np.log(loss[-1] / loss[-2]) / np.log(flops[-1] / flops[-2]))
    return {
        "points": points,
        "envelope": made._asdict(),
        "line": {"slope": slope, "flops": flops[-1], "loss": loss[-1]},
    }


def _law(fit: Fit, runs: Runs, draws: int, seed: int, tell: Tell) -> tuple[dict[str, Any], list[Finding]]:
    quantities = dict(_QUANTITIES)
    largest = float(runs.flops.max())
    quantities["loss_ahead"] = lambda one: float(one.loss(*one.optimum(AHEAD * largest, runs.operations)))
    linear = {name: uncertainty.delta_method(fit, runs, one, name == "loss_ahead") for name, one in quantities.items()}
    intervals = {"delta": linear}
    independent = len(np.unique(runs.run)) == len(runs)
    for kind, refit, used in (
        ("noise", uncertainty.refits_to_noise, independent),
        ("resampled", uncertainty.refits_to_resampled, True),
    ):
        if draws and used:
            tell(f"{draws} refits ({kind})")
            laws = refit(fit, runs, draws, seed)
            intervals[kind] = {
                name: uncertainty.resampled(fit, runs, laws, one, name == "loss_ahead")
                for name, one in quantities.items()
            }
    tell("profiles and checks")
    profiles = [uncertainty.profile_of_E(fit, runs)]
    profiles += [uncertainty.profile(fit, runs, name, _around(fit, linear[name], name)) for name in ("a", "b")]
    made = checks.variants(fit, runs)
    findings = checks.losses_follow(fit, runs)
    findings += checks.identified(fit, runs, profiles)
    findings += checks.mistuned_sizes(fit, runs)
    findings += checks.sensitivity(made, intervals.get("resampled", linear))
    noise = uncertainty.noise(fit, runs)
    told = {
        **fit.law._asdict(),
        "exponent": fit.law.exponent,
        "huber_delta": fit.delta,
        "objective": fit.objective,
        "rms_residual": float(np.sqrt(np.mean(fit.residuals**2))),
        "noise": noise.sigma,
        "degrees_of_freedom": noise.freedom,
        "operations_per_param_and_token": runs.operations,
        "intervals95": {
            kind: {name: [one.low, one.high] for name, one in these.items()} for kind, these in intervals.items()
        },
        "loss_ahead": linear["loss_ahead"].value,
        "profiles": {one.name: _profile(one) for one in profiles},
        "variants": [{"name": one.name, "rows": one.rows, **one.law._asdict()} for one in made],
    }
    return told, findings


def _around(fit: Fit, interval: Interval, name: str) -> np.ndarray:
    """Values of an exponent to profile: several times as far as its interval reaches, inside what the fit may take."""
    value = float(fit.vector[law.NAMES.index(name)])
    reach = min(max(3 * np.log(interval.high / max(interval.value, 1e-12)), 0.05), 2.0)
    return np.unique(np.clip(value * np.exp(np.linspace(-reach, reach, 17)), 2e-3, 2.9))


def _profile(one: Profile) -> dict[str, Any]:
    return {"values": one.values, "excess": one.excess, "rms": one.rms, "interval95": [one.low, one.high]}


def _repeats(
    runs: Runs, given: Law | None, delta: float, draws: int, seed: int
) -> tuple[dict[str, Any] | None, list[Finding]]:
    if given is None:
        words = (
            f"Data repeat, but fewer than {_FEWEST_UNREPEATED} runs see theirs once: give the law of fresh data with "
            "--law E,A,B,a,b to fit what repeats are worth."
        )
        return None, [Finding("repeats_not_fitted", words, {})]
    made = repeats.fit(runs, given, delta, max(draws, 20), seed)
    findings = []
    for name, interval, known in (
        ("R_D*", made.data_interval, made.data_identified),
        ("R_N*", made.params_interval, made.params_identified),
    ):
        if not known:
            low, high = interval
            words = f"{name} is not identified: refits to resampled runs give {low:.3g} to {high:.3g}."
            findings.append(Finding(f"{name}_not_identified", words, {"low": low, "high": high}))
    told = {
        "R_D*": made.data,
        "R_N*": made.params,
        "objective": made.objective,
        "law": given._asdict(),
        "intervals95": {"R_D*": made.data_interval, "R_N*": made.params_interval},
    }
    return told, findings
