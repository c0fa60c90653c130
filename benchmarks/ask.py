"""How long a user waits for `ask` and `inspect`: whole processes, the start of Python included.

    python benchmarks/ask.py --workdir runs/quickstart [--data ../shared/data] [--repeats 5] [--only ROW] [--json]

Every process is the command as a user types it. A first one finds an empty cache of compiled programs, a second one
what the first has left there. Medians count; beside each stands the CPU time of such a process and the load of the
machine, which is about 1 where nothing else runs. The rows of `phases` tell where the time goes, measured in one
process more of each kind by `ask_phases.py`.
"""

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from figures import Figure, parser, publish

ROOT = Path(__file__).resolve().parents[1]
MOTION = "opencap_subject4/walking1_ik.mot"
QUESTION = "How fast is this person walking?"
TEN = (
    QUESTION,
    "What is the cadence?",
    "How long are the steps?",
    "How long does a stride take?",
    "How wide are the steps?",
    "How long are the strides?",
    "What share of the stride is double support?",
    "Is there an impairment?",
    "What is this person doing?",
    "Which assistive device is used?",
)
SECOND_S, FIRST_S, TEN_S = 4.0, 12.0, 6.0  # bars
LONGEST_S = 300
ROWS = ("ask", "ten", "inspect", "phases")


@dataclass(frozen=True)
class Run:
    """One process: wall and CPU seconds, and what it wrote."""

    wall_s: float
    cpu_s: float
    output: str
    errors: str


class Failed(Exception):
    """A process ended with another code than 0; the message is the last line of what it said."""


def run(command: Sequence[str], cache: Path) -> Run:
    """Run a process to its end with its own cache of compiled programs."""
    paths = [str(ROOT), os.environ.get("PYTHONPATH", "")]
    environment = os.environ | {
        "JAX_COMPILATION_CACHE_DIR": str(cache),
        "PYTHONPATH": os.pathsep.join(filter(None, paths)),
    }
    before, begun = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    try:
        done = subprocess.run(
            [sys.executable, *command], capture_output=True, text=True, env=environment, timeout=LONGEST_S
        )
    except subprocess.TimeoutExpired as error:
        raise Failed(f"no end after {LONGEST_S} s") from error
    wall_s, after = time.perf_counter() - begun, resource.getrusage(resource.RUSAGE_CHILDREN)
    if done.returncode:
        raise Failed(next(reversed(done.stderr.strip().splitlines()), f"code {done.returncode}"))
    cpu_s = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return Run(wall_s, cpu_s, done.stdout, done.stderr)


def repeated(arguments: Sequence[str], repeats: int) -> tuple[list[Run], list[Run]]:
    """First and later processes of one command: each repeat is one of each, with a fresh cache."""
    first, later = [], []
    for _ in range(repeats):
        with tempfile.TemporaryDirectory() as cache:
            for kind in (first, later):
                kind.append(run(["-m", "biomechgpt_jax", *arguments], Path(cache)))
    return first, later


def figure(runs: Sequence[Run], bar: float | None, words: str) -> Figure:
    """The median of wall times."""
    cpu_s, load = statistics.median(one.cpu_s for one in runs), os.getloadavg()[0]
    note = f"{words}; CPU {cpu_s:.2f} s, load {load:.1f}, median of {len(runs)}"
    return Figure(statistics.median(one.wall_s for one in runs), "s", bar, note=note)


def ask(questions: Sequence[str], options: argparse.Namespace) -> list[str]:
    """The command line of a call of `ask`."""
    return ["ask", str(options.data / MOTION), *questions, "--workdir", str(options.workdir), "--json"]


def one_question(options: argparse.Namespace) -> dict[str, Figure]:
    """A question, asked for the first and for the second time."""
    first, later = repeated(ask([QUESTION], options), options.repeats)
    return {
        "first ask": figure(first, FIRST_S, "empty cache"),
        "second ask": figure(later, SECOND_S, f"answer {json.loads(later[-1].output)['answer']}"),
    }


def ten_questions(options: argparse.Namespace) -> dict[str, Figure]:
    """Ten questions in one call."""
    first, later = repeated(ask(TEN, options), options.repeats)
    count = len(json.loads(later[-1].output)["answers"])
    return {
        "ten questions, first time": figure(first, None, "empty cache"),
        "ten questions": figure(later, TEN_S, f"{count} answers"),
    }


def inspection(options: argparse.Namespace) -> dict[str, Figure]:
    """What a motion file holds."""
    first, later = repeated(["inspect", str(options.data / MOTION), "--json"], options.repeats)
    return {
        "first inspect": figure(first, None, "empty cache"),
        "second inspect": figure(later, None, f"{len(json.loads(later[-1].output))} facts"),
    }


def phases(options: argparse.Namespace) -> dict[str, Figure]:
    """Where the time of one process goes, by the parts of the program that it spends it in."""
    found = {}
    for verb, arguments in (("ask", ask([QUESTION], options)), ("inspect", ["inspect", str(options.data / MOTION)])):
        with tempfile.TemporaryDirectory() as cache:
            for order in ("first", "second"):
                done = run([str(ROOT / "benchmarks" / "ask_phases.py"), *arguments], Path(cache))
                spent: dict[str, float] = json.loads(done.errors.splitlines()[-1])
                found |= {f"{order} {verb}: {name}": part for name, part in _shares(spent, done.wall_s).items()}
    return found


def _shares(spent: dict[str, float], wall_s: float) -> dict[str, Figure]:
    """Each phase with its share of the whole process; tracing, lowering and compiling are parts of the phases."""
    within = {name: spent.pop(name, 0.0) for name in ("tracing", "lowering", "compiling")}
    total = spent.pop("total")
    named = {"start and end of Python": wall_s - total} | spent | {"the rest": total - sum(spent.values())}
    rows = {name: Figure(value, "s", note=f"{value / wall_s:.0%}") for name, value in named.items()}
    share = sum(within.values()) / wall_s
    notes = {"tracing": f"of the above; with lowering and compiling {share:.0%}", "lowering": "of the above"}
    notes["compiling"] = "of the above, with the reading of compiled programs"
    return rows | {name: Figure(value, "s", note=notes[name]) for name, value in within.items()}


MEASURED: dict[str, Any] = {"ask": one_question, "ten": ten_questions, "inspect": inspection, "phases": phases}
BARS = {
    "ask": {"first ask": FIRST_S, "second ask": SECOND_S},
    "ten": {"ten questions": TEN_S},
    "inspect": {"second inspect": None},
    "phases": {"phases": None},
}


def main() -> None:
    """Measure and print."""
    arguments = parser(__doc__ or "")
    arguments.formatter_class = argparse.RawDescriptionHelpFormatter
    arguments.add_argument("--workdir", type=Path, default=Path("runs/quickstart"), help="a finished run (%(default)s)")
    arguments.add_argument("--data", type=Path, default=Path("../shared/data"), help="real files (%(default)s)")
    arguments.add_argument("--repeats", type=int, default=5)
    arguments.add_argument("--only", default=",".join(ROWS), help="what to measure, with commas between (%(default)s)")
    options = arguments.parse_args()
    wanted = options.only.split(",")
    if unknown := set(wanted) - set(ROWS):
        raise SystemExit(f"--only {','.join(sorted(unknown))}: known are {', '.join(ROWS)}")
    measured: dict[str, Figure] = {}
    for row in wanted:
        try:
            if not (options.data / MOTION).is_file():
                raise Failed(f"{options.data / MOTION} is not there: give --data")
            measured |= MEASURED[row](options)
        except Failed as error:
            measured |= {name: Figure(None, "s", bar, note=f"not measured: {error}") for name, bar in BARS[row].items()}
    publish("ask", measured, options.json)


if __name__ == "__main__":
    main()
