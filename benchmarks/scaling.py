"""The scaling-law lab against published fits, held-out budgets and planted laws.

Published runs and figures: tests/scaling/data/SOURCES.md. Forecasts see the budgets up to the last but one, or up to an
eighth of the last, and are held to the lowest loss of the last. Ten settings of two corpora are correlated.
`--only` names parts (`planted` takes ten minutes of CPU time, the others one each); `--full` draws refits for the
coverage of intervals as often as the delta method.
"""

import sys
import time
from pathlib import Path

import figures
import numpy as np
from figures import Figure

from biomechgpt_jax.scaling import analysis, checks, forecast, isoflop, law, repeats, table, uncertainty

sys.path.insert(0, str(Path(__file__).parents[1] / "tests" / "helpers"))
import published_runs as published

DRAWS, RESAMPLED, REFITS, NOISE = 200, 20, 100, 0.003
AHEAD = 8.0


def _fits() -> dict[str, Figure]:
    reached, seconds = [], []
    for (name, delta), printed in published.GEMSTONES.items():
        runs = published.gemstones(name)
        started = time.perf_counter()
        found = law.fit(runs.params, runs.tokens, runs.loss, delta)
        seconds.append((time.perf_counter() - started) * 250 / len(runs))
        reached.append(round(found.objective, len(printed) - 2) <= float(printed))
    exponents = []
    for key, (_, (low, high)) in published.PORIAN.items():
        runs = published.porian(*key)
        found_exponent = isoflop.exponent([isoflop.akima(runs, rows) for rows in isoflop.budgets(runs)])
        exponents.append(low <= found_exponent.value <= high)
    runs = published.olmo()
    fit = law.fit(runs.params, runs.tokens, runs.loss)
    said = float(fit.law.loss(*published.OLMO_TARGET))
    unclear = checks.identified(fit, runs, [uncertainty.profile_of_E(fit, runs)])
    repeated = repeats.fit(published.repeats(), published.REPEATS_LAW)
    return {
        "Gemstones: objectives not above the published": Figure(sum(reached), "of 8", 8, "above"),
        "Porian: exponents inside the published 95 %": Figure(sum(exponents), "of 10", 10, "above"),
        "OLMo: 13B-5T forecast less the published": Figure(
            abs(said - 2.3444), "", 0.001, note=f"{said:.4f}; measured {published.OLMO_ACTUAL:.4f}"
        ),
        "OLMo: E is said not to be identified": Figure(len(unclear), "", 1, "above", "".join(f.words for f in unclear)),
        "data repeat: objective": Figure(
            repeated.objective, "", 0.0158048, note=f"R_D* {repeated.data:.1f}, R_N* {repeated.params:.2f}"
        ),
        "data repeat: R_D* is said not to be identified": Figure(
            float(not repeated.data_identified),
            "",
            1,
            "above",
            "95 %: {:.2g} to {:.2g}".format(*repeated.data_interval),
        ),
        "a point fit of 250 runs": Figure(float(np.median(seconds)), "s", 2.0, note=f"largest {max(seconds):.2f} s"),
    }


def _held_out(runs: table.Runs, most: float) -> tuple[forecast.Forecast, float]:
    """A forecast of the largest budget from budgets up to `most`, and its lowest loss."""
    minima = [isoflop.akima(runs, rows) for rows in isoflop.budgets(runs)]
    made = forecast.make(runs.rows(runs.flops <= 1.01 * most), forecast.Target(minima[-1].flops))
    return made, minima[-1].loss


def _forecasts() -> dict[str, Figure]:
    found: dict[str, Figure] = {}
    for title, within, least, share in (("next budget", 0.01, 9, None), ("x8", 0.02, 8, AHEAD)):
        rows = []
        for key in published.PORIAN:
            runs = published.porian(*key)
            budgets = np.array([runs.flops[rows].mean() for rows in isoflop.budgets(runs)])
            rows.append(_held_out(runs, budgets[-2] if share is None else budgets[-1] / share))
        errors = {
            name: [np.log(made.forecasters[name].loss / actual) for made, actual in rows] for name in ("same", "line")
        }
        own = np.array([np.log(made.interval.value / actual) for made, actual in rows])
        gains = np.array([np.log(made.last_loss / actual) for made, actual in rows])
        holds = sum(made.interval.low <= actual <= made.interval.high for made, actual in rows)
        widths = [made.interval.half_width / made.interval.value for made, _ in rows]
        chosen = [made.chosen for made, _ in rows]
        note = ", ".join(f"{name} {chosen.count(name)}" for name in sorted(set(chosen)))
        found[f"{title}: within {100 * within:.0f} %"] = Figure(
            int((np.abs(own) <= within).sum()), "of 10", least, "above", f"chosen: {note}"
        )
        found[f"{title}: median error"] = Figure(100 * float(np.median(np.abs(own))), "%")
        found[f"{title}: largest error"] = Figure(100 * float(np.abs(own).max()), "%")
        found[f"{title}: median share of the gain"] = Figure(100 * float(np.median(np.abs(own / gains))), "%")
        for name, all_of in errors.items():
            found[f"{title}: median error of '{name}'"] = Figure(100 * float(np.median(np.abs(all_of))), "%")
        bar = None if share is None else 8
        found[f"{title}: 95 % interval holds"] = Figure(holds, "of 10", bar, "above")
        bar = None if share is None else 3.0
        found[f"{title}: median half-width"] = Figure(100 * float(np.median(widths)), "%", bar)
    return found


_QUANTITIES: dict[str, uncertainty.Quantity] = {
    "exponent": lambda one: one.exponent,
    "a": lambda one: one.a,
    "b": lambda one: one.b,
}


def _coverage(resampled: int) -> dict[str, Figure]:
    """Coverage of 95 % intervals on planted laws, 25 runs with noise: of the observed loss at x8 and of constants."""
    hits: dict[tuple[str, str], list[list[bool]]] = {}
    widths, errors = [], []
    for number, truth in enumerate(published.PLANTED.values()):
        rng = np.random.default_rng([number, 5])
        quantities = dict(_QUANTITIES)
        target = AHEAD * float(published.planted(truth).flops.max())
        quantities["observed loss at x8"] = lambda one, target=target: float(one.loss(*one.optimum(target)))
        for seed in range(DRAWS):
            runs = published.planted(truth, NOISE, seed + 1000 * number)
            fit = law.fit(runs.params, runs.tokens, runs.loss)
            ways = {"delta with t": None}
            if seed < resampled:
                ways["simulated noise"] = uncertainty.refits_to_noise(fit, runs, REFITS, seed)
                ways["resampled runs"] = uncertainty.refits_to_resampled(fit, runs, REFITS, seed)
            for name, quantity in quantities.items():
                seen = name.startswith("observed")
                actual = quantity(truth) * (np.exp(NOISE * rng.standard_normal()) if seen else 1.0)
                for way, laws in ways.items():
                    interval = (
                        uncertainty.delta_method(fit, runs, quantity, seen)
                        if laws is None
                        else uncertainty.resampled(fit, runs, laws, quantity, seen)
                    )
                    per_law = hits.setdefault((way, name), [])
                    per_law += [[]] * (number >= len(per_law))
                    per_law[number] = [*per_law[number], interval.low <= actual <= interval.high]
                    if seen and laws is None:
                        widths.append(interval.half_width / interval.value)
                        errors.append(abs(np.log(interval.value / actual)))
    found = {}
    for (way, name), per_law in hits.items():
        shares = [100 * float(np.mean(one)) for one in per_law]
        note = f"{len(per_law[0])} draws of each law; by law {min(shares):.0f} to {max(shares):.0f} %"
        title = f"planted, coverage of {name}, {way}"
        found[f"{title}: at least"] = Figure(float(np.mean(shares)), "%", 90, "above", note)
        found[f"{title}: at most"] = Figure(float(np.mean(shares)), "%", 98)
    found["planted, median error at x8 of the joint law"] = Figure(100 * float(np.median(errors)), "%")
    found["planted, median half-width at x8"] = Figure(100 * float(np.median(widths)), "%")
    return found


def _planted(resampled: int) -> dict[str, Figure]:
    worst = 0.0
    for truth in published.PLANTED.values():
        runs = published.planted(truth)
        found = law.fit(runs.params, runs.tokens, runs.loss).law
        worst = max(worst, float(np.abs(np.array(found) / np.array(truth) - 1).max()))
    return {
        "planted, noise-free: largest relative error of a constant": Figure(worst, "", 1e-6),
        **_coverage(resampled),
    }


def _controls() -> dict[str, Figure]:
    """Each fault is put into all planted tables; healthy ones must not be flagged."""

    def flagged(spoil: str) -> int:
        count = 0
        for number, truth in enumerate(published.PLANTED.values()):
            runs = published.planted(truth, NOISE, number)
            names = {
                one["name"] for one in analysis.analyse(SPOILED[spoil](runs), draws=0, tell=lambda _: None)["findings"]
            }
            count += bool(names & EXPECTED[spoil])
        return count

    count = len(published.PLANTED)
    rows = {
        f"control, {name}: flagged": Figure(flagged(name), f"of {count}", count, "above") for name in SPOILED if name
    }
    return rows | {"control, healthy tables flagged": Figure(flagged(""), f"of {count}", 0)}


def _shuffled(runs: table.Runs) -> table.Runs:
    return table.of(runs.params, runs.tokens, np.random.default_rng(3).permutation(runs.loss), runs.flops)


def _forward_only(runs: table.Runs) -> table.Runs:
    return table.of(runs.params, runs.tokens, runs.loss, runs.flops / 3)


def _without_head(runs: table.Runs) -> table.Runs:
    """A share of the operations is missing that falls with size, as where a softmax is not counted."""
    missing = 0.31 * (runs.params / runs.params.min()) ** -0.5
    return table.of(runs.params, runs.tokens, runs.loss, runs.flops * (1 - missing))


def _mistuned(runs: table.Runs) -> table.Runs:
    """One size that was trained at every budget, 2 % worse than it should be."""
    sizes = np.geomspace(runs.params.min() * 2, runs.params.max() / 2, 6)
    budgets = np.unique(runs.flops)
    params, flops = np.tile(sizes, len(budgets)), np.repeat(budgets, 6)
    tokens = flops / (6 * params)
    truth = law.fit(runs.params, runs.tokens, runs.loss).law
    noise = NOISE * np.random.default_rng(4).standard_normal(len(flops))
    loss = truth.loss(params, tokens) * np.exp(noise + 0.02 * (params == sizes[2]))
    return table.of(params, tokens, loss, flops)


SPOILED = {
    "shuffled losses": _shuffled,
    "flops of the forward pass only": _forward_only,
    "flops without the head": _without_head,
    "one size mistuned by 2 %": _mistuned,
    "": lambda runs: runs,
}
EXPECTED = {
    "shuffled losses": {"losses_do_not_follow"},
    "flops of the forward pass only": {"flops_are_not_6nd"},
    "flops without the head": {"flops_drift_with_size"},
    "one size mistuned by 2 %": {"size_off_the_law"},
    "": {
        "losses_do_not_follow",
        "flops_are_not_6nd",
        "flops_drift_with_size",
        "size_off_the_law",
        "form_does_not_hold",
        "minimum_at_edge",
    },
}


def main() -> None:
    parser = figures.parser(__doc__)
    parser.add_argument("--only", nargs="*", choices=("fits", "forecasts", "planted", "controls"), help="parts to run")
    parser.add_argument(
        "--full", action="store_true", help=f"resample in {DRAWS} draws of each law instead of {RESAMPLED}"
    )
    options = parser.parse_args()
    parts = {
        "fits": _fits,
        "forecasts": _forecasts,
        "planted": lambda: _planted(DRAWS if options.full else RESAMPLED),
        "controls": _controls,
    }
    found: dict[str, Figure] = {}
    for name in options.only or parts:
        found |= parts[name]()
    figures.publish("scaling", found, options.json)


if __name__ == "__main__":
    main()
