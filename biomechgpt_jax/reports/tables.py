"""The closing output of a run: the table of results, and what to try next."""

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from biomechgpt_jax.data import store
from biomechgpt_jax.evaluation import comparison, metrics, naming
from biomechgpt_jax.reports.origin import from_facts

_COLUMNS = ("text_only", "speed_only", "features", "features_on_tokens", "encoder")


def _value(summary: Mapping[str, Any], metric: str, interval: bool) -> str:
    digits = naming.decimals(metric, summary.get("unit", ""))
    text = naming.value_text(summary.get(metric), digits)
    range_text = naming.interval_text(summary.get(metrics.interval_key(metric)), digits)
    return f"{text} [{range_text}]" if interval and range_text else text


def _verdict(results: Mapping[str, Any], question: str, metric: str) -> Text:
    for row in results.get("bars", ()):
        if (row["source"], row["question"], row["metric"]) == ("model", question, metric):
            mark, style = ("✓", "green") if row["meets"] else ("✗", "red")
            return Text(f"{mark} {row['bar']}", style=style)
    return Text("")


def results_table(results: Mapping[str, Any]) -> Table:
    """Build one row per question and metric: the model with its 95 % interval, some controls, and the bar, if any.

    Takes the content of metrics.json.
    """
    people = results["test_participants"]
    table = Table(title=f"{people} held-out participants, 95 % intervals over participants", title_justify="left")
    table.add_column("question")
    table.add_column("metric")
    table.add_column("model", justify="right", style="bold", no_wrap=True)
    for name in _COLUMNS:
        table.add_column(naming.SOURCES[name].lower(), justify="right")
    if results.get("bars"):
        table.add_column("bar")
    for question, summary in naming.questions(dict(results["families"])):
        shown = naming.headline(summary, question)
        for metric in shown:
            controls = [metrics.find(dict(results["controls"].get(name, {})), question) for name in _COLUMNS]
            left = f"{summary['unparsed']} of {summary['n']} not parsed" if summary.get("unparsed") else ""
            table.add_row(
                naming.question_title(question) if metric == shown[0] else Text(left, style="dim"),
                naming.short_metric_title(metric, summary.get("unit", "")),
                _value(summary, metric, interval=True),
                *(_value(control, metric, interval=False) for control in controls),
                *([_verdict(results, question, metric)] if results.get("bars") else []),
                end_section=metric == shown[-1],
            )
    return table


def print_closing(results: Mapping[str, Any], workdir: Path, directory: Path, dataset: Path) -> None:
    """Print the closing output of a run: the table, the kind of data, and what to try next.

    Args:
        results: content of metrics.json.
        workdir: working directory of the run.
        directory: where the evaluation lies.
        dataset: the movements that hold the people it asks about.
    """
    origin = from_facts("", "", store.metadata(dataset))
    what = "Synthetic cohort" if origin.synthetic else f"Figures of {origin.recordings}"
    console = Console(width=None if sys.stdout.isatty() else 120)
    console.print(results_table(results))
    for sentence in comparison.describe(results.get("comparisons", ())):
        console.print(sentence, highlight=False)
    console.print(f"{what}; not a medical device.\n\nTry next:", highlight=False)
    for line in (
        f"open {directory}/report.html",
        f'biomechgpt ask FILE.mot "How fast is this person walking?" --workdir {workdir}',
        f'biomechgpt ask FILE.mot "Is there an impairment?" --workdir {workdir} --json',
        "biomechgpt inspect FILE.mot",
    ):
        console.print(f"  {line}", highlight=False, soft_wrap=True, markup=False)
