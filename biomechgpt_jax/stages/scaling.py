"""The verb `scaling`: fit a table, forecast, judge."""

import argparse
import math
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from biomechgpt_jax.errors import InputError
from biomechgpt_jax.files import to_json, write_json
from biomechgpt_jax.provenance import program
from biomechgpt_jax.scaling import analysis, forecast, law, ledger, table
from biomechgpt_jax.scaling.table import Runs

REPORT_FILE, FIT_FILE = "report.html", "fit.json"
_MOST_DRAWS = 20_000


def run(options: argparse.Namespace) -> int:
    """Do what was typed, and return the exit code.

    Raises:
        InputError: a table, an option or a stored forecast is wrong.
    """
    return {"fit": _fit, "forecast": _forecast, "judge": _judge}[options.part](options)


def _fit(options: argparse.Namespace) -> int:
    if not 0 <= options.draws <= _MOST_DRAWS:
        raise InputError(f"--draws {options.draws}: give 0 to {_MOST_DRAWS}")
    out, delta = Path(options.out), _positive(options.delta, "--delta")
    if out.exists() and not out.is_dir():
        raise InputError(f"--out {out} is a file; give a directory")
    given = _law(options.law) if options.law else None
    runs = _runs(options.runs, options)
    found = analysis.analyse(runs, delta, options.draws, options.seed, given, _tell) | {"program": program()}
    from biomechgpt_jax.reports.scaling import report

    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"--out {out}: {error.strerror}; give a directory that can be written") from error
    report.write(out / REPORT_FILE, found)
    write_json(out / FIT_FILE, found)
    print(to_json(found) if options.json else _summary(found, out))
    return 0


def _tell(words: str) -> None:
    print(words, file=sys.stderr, flush=True)


def _summary(found: Mapping[str, Any], out: Path) -> str:
    lines = [f"{found['source']}: {found['rows']} rows, {found['runs']} runs"]
    made = found["law"]
    if made is not None:
        lines.append(
            f"L = {made['E']:.4g} + {made['A']:.4g} / N^{made['a']:.4f} + {made['B']:.4g} / D^{made['b']:.4f}   "
            f"(RMS residual {100 * made['rms_residual']:.2g} %)"
        )
    if found["curve"] is not None:
        curve = found["curve"]["envelope"]
        lines.append(f"envelope {curve['E']:.4g} + {curve['K']:.4g} (C / {curve['C0']:.3g})^-{curve['g']:.4f}")
    ahead = found["ahead"]
    if ahead is not None:
        best = ahead["forecasters"][ahead["chosen"]]
        words = _with_interval(best["loss"], best["interval95"])
        lines.append(f"at {ahead['flops']:.3g} operations: {words} ({ahead['chosen']})")
    lines += [f"- {one['words']}" for one in found["findings"]]
    return "\n".join([*lines, f"report: {out / REPORT_FILE}"])


def _with_interval(loss: float, ends: Sequence[float | None]) -> str:
    low, high = ends
    return f"{loss:.4f}, " + ("no interval" if low is None or high is None else f"95 % {low:.4f} to {high:.4f}")


def _forecast(options: argparse.Namespace) -> int:
    runs = _runs(options.runs, options)
    made = forecast.make(runs, _target(options, runs), _positive(options.delta, "--delta"))
    content = ledger.record(made, runs)
    if options.out:
        ledger.store(Path(options.out), content)
    if options.json:
        print(to_json(content))
        return 0
    print(f"{_with_interval(content['loss'], content['interval95'])} ({content['chosen']})")
    for name, one in content["forecasters"].items():
        rms = one["backtest_rms"]
        tried = "no backtest" if rms is None else f"backtest {100 * rms:.2f} %"
        print(f"  {name:<9}{one['loss']:.4f}   {tried}")
    for note in content["notes"]:
        print(f"- {note}")
    if options.out:
        print(f"stored in {options.out}, sha256 {content['sha256']}, {content['made']}")
    return 0


def _target(options: argparse.Namespace, runs: Runs) -> forecast.Target:
    one_run = options.params is not None and options.tokens is not None
    if (options.params is None) != (options.tokens is None) or one_run == (options.flops is not None):
        raise InputError("scaling forecast: give either --flops or both --params and --tokens")
    if not one_run:
        return forecast.Target(_positive(options.flops, "--flops"))
    params, tokens = _positive(options.params, "--params"), _positive(options.tokens, "--tokens")
    operations = runs.operations if runs.has_sizes else table.OPERATIONS
    return forecast.Target(operations * params * tokens, params, tokens)


def _judge(options: argparse.Namespace) -> int:
    if (options.loss is None) == (options.runs is None):
        raise InputError("scaling judge: give either --loss or --runs")
    content = ledger.load(Path(options.forecast))
    loss = options.loss if options.runs is None else ledger.measured(content, _runs(options.runs, options))
    found = ledger.judge(content, loss)
    if options.out:
        write_json(ledger.check_place(Path(options.out)), found)
    if options.json:
        print(to_json(found))
        return 0
    print(f"measured {found['measured']:.4f}, forecast {found['loss']:.4f} on {found['made']} ({found['chosen']})")
    print(f"inside its 95 % interval: { {True: 'yes', False: 'NO', None: 'it has none'}[found['inside_interval']] }")
    for name, one in found["forecasters"].items():
        share = "" if one["share_of_gain"] is None else f"   {100 * one['share_of_gain']:.0f} % of the gain"
        print(f"  {name:<9}{100 * one['error']:+.2f} %{share}")
    return 0


def _runs(tables: Sequence[str], options: argparse.Namespace) -> Runs:
    columns, where = table.pairs(options.columns, "--columns"), table.pairs(options.where, "--where")

    def read(path: Path) -> Runs:
        if not path.is_dir():
            return table.read(path, columns, where)
        if where or set(columns) - {"loss"}:
            raise InputError(
                f"{path} is a directory of our own runs: of --columns it takes loss=FIELD alone, and no --where"
            )
        from biomechgpt_jax.scaling import own_runs  # needs jax, which tables do without

        return own_runs.read(path, columns.get("loss", own_runs.LOSS))

    return table.gather([Path(one) for one in tables], read)


def _positive(value: float, option: str) -> float:
    if not (math.isfinite(value) and value > 0):
        raise InputError(f"{option} {value:g}: give a positive number")
    return value


def _law(text: str) -> law.Law:
    try:
        E, A, B, a, b = (float(part) for part in text.split(","))
    except ValueError as error:
        raise InputError(f"--law {text}: give five numbers E,A,B,a,b with commas between") from error
    if not all(map(math.isfinite, (E, A, B, a, b))) or min(A, B, a, b) <= 0 or E < 0:
        raise InputError(f"--law {text}: A, B, a and b must be positive, E not negative")
    return law.Law(E, A, B, a, b)
