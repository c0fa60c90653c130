"""What may be typed after `biomechgpt scaling`. Imports nothing heavy: every start of the program reads it."""

import argparse
from typing import Any

_TABLES = (
    "CSV with a header (params, tokens, flops, loss, run, unique_tokens; loss and flops or both of params and tokens "
    "are needed), or a directory of our own runs"
)


def add(verbs: Any) -> None:
    """Add the verb with its sub-verbs to the parsers of the verbs."""
    scaling = verbs.add_parser(
        "scaling",
        help="scaling laws: fit a table of runs, forecast a larger one, judge the forecast",
        description="Fits scaling laws to runs of this program or of any other, and stores forecasts that are judged "
        "later.",
        allow_abbrev=False,
    )
    parts = scaling.add_subparsers(dest="part", metavar="part", required=True)
    _add_fit(parts)
    _add_forecast(parts)
    _add_judge(parts)


def _add_fit(parts: Any) -> None:
    fit = parts.add_parser(
        "fit",
        help="fit laws to a table of runs; writes report.html and fit.json",
        epilog="biomechgpt scaling fit runs.csv --columns loss=val_loss run=width+depth --out runs/scaling",
        allow_abbrev=False,
    )
    _add_tables(fit)
    fit.add_argument("--out", default="runs/scaling", metavar="DIR", help="where the report is written (%(default)s)")
    fit.add_argument("--draws", type=int, default=200, help="refits for each kind of interval (%(default)s); 0: none")
    fit.add_argument("--seed", type=int, default=0, help="of the draws (%(default)s)")
    fit.add_argument(
        "--law",
        metavar="E,A,B,a,b",
        help="the law of data seen once, for tables whose runs repeat data (unique_tokens)",
    )


def _add_forecast(parts: Any) -> None:
    forecast = parts.add_parser(
        "forecast",
        help="forecast the loss of a larger budget, or of one larger run, before it is made",
        epilog="biomechgpt scaling forecast runs.csv --flops 2.2e14 --out forecast.json",
        allow_abbrev=False,
    )
    _add_tables(forecast)
    forecast.add_argument("--flops", type=float, help="the budget whose lowest loss is forecast")
    forecast.add_argument("--params", type=float, help="with --tokens: the run whose loss is forecast")
    forecast.add_argument("--tokens", type=float)
    forecast.add_argument(
        "--out", metavar="FILE", help="store the forecast with its hash and the time; never overwritten"
    )


def _add_judge(parts: Any) -> None:
    judge = parts.add_parser(
        "judge",
        help="hold a stored forecast to what was measured, beside the trivial forecasters",
        epilog="biomechgpt scaling judge forecast.json --loss 2.431",
        allow_abbrev=False,
    )
    judge.add_argument("forecast", help="a file that `scaling forecast --out` wrote")
    judge.add_argument("--loss", type=float, help="the loss that was measured")
    judge.add_argument("--runs", nargs="+", metavar="TABLE", help=f"or tables that hold it: {_TABLES}")
    _add_columns(judge)
    judge.add_argument("--out", metavar="FILE", help="write the judgement as JSON")
    judge.add_argument("--json", action="store_true", help="print the judgement as JSON on standard output")


def _add_tables(part: argparse.ArgumentParser) -> None:
    part.add_argument("runs", nargs="+", metavar="TABLE", help=_TABLES)
    _add_columns(part)
    part.add_argument("--delta", type=float, default=1e-3, help="Huber's, in log loss (%(default)s)")
    part.add_argument("--json", action="store_true", help="print the outcome as JSON on standard output")


def _add_columns(part: argparse.ArgumentParser) -> None:
    part.add_argument(
        "--columns",
        nargs="+",
        default=[],
        metavar="OURS=THEIRS",
        help="columns with other names, such as loss=val_loss; run=width+depth tells runs apart by both; for our own "
        "runs loss=FIELD of metrics.jsonl",
    )
    part.add_argument("--where", nargs="+", default=[], metavar="COLUMN=VALUE", help="only rows with these values")
