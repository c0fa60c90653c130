"""The command line: parsing, and nothing else. Heavy imports stay inside the verbs."""

import argparse
import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from biomechgpt_jax import __version__
from biomechgpt_jax.errors import InputError

_STAGES = {
    "run": ("evaluate", "every stage below that is not done yet, in order"),
    "simulate": ("simulate", "make a synthetic cohort: the `movements` dataset"),
    "tokenizer": ("tokenizer", "train the motion codec and the text tokenizer"),
    "pack": ("pack", "movements and questions into packed sequences"),
    "train": ("train", "train the language model; resumes by itself"),
    "evaluate": ("evaluate", "answer every question about held-out participants; writes report.html"),
}
_EPILOG = """examples:
  biomechgpt run configs/quickstart.py --workdir runs/quickstart
  biomechgpt run configs/quickstart.py --workdir runs/small --train.steps 100
  biomechgpt ask walking.mot "How fast is this person walking?" --workdir runs/quickstart
  biomechgpt inspect walking.mot

exit codes: 0 done; 1 failed; 2 the input is wrong; 75 stopped after saving, run again.
Research software, not a medical device."""


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="biomechgpt",
        description="A language model that answers clinical questions about human movement.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("--version", action="version", version=f"biomechgpt {__version__}")
    verbs = parser.add_subparsers(dest="verb", metavar="verb", required=True)
    for verb, (_, words) in _STAGES.items():
        stage = verbs.add_parser(verb, help=words, description=words, allow_abbrev=False)
        stage.add_argument("config", help="configuration file, such as configs/quickstart.py")
        stage.add_argument("--workdir", default="runs/quickstart", help="where the run lies (%(default)s)")
        stage.add_argument("--json", action="store_true", help="print the outcome as JSON on standard output")
        stage.epilog = "any field of the configuration may be overridden: --train.steps 100 --model.layers 6"
    ask = verbs.add_parser("ask", help="answer a question about a motion file", allow_abbrev=False)
    ask.add_argument("file", help="motion file (.mot, .sto)")
    ask.add_argument("question", help='such as "How fast is this person walking?"')
    ask.add_argument("--workdir", default="runs/quickstart", help="a finished run (%(default)s)")
    ask.add_argument("--json", action="store_true")
    inspect = verbs.add_parser("inspect", help="what a motion file holds", allow_abbrev=False)
    inspect.add_argument("file")
    inspect.add_argument("--json", action="store_true")
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one verb and return its exit code."""
    parser = _parser()
    options, rest = parser.parse_known_args(arguments)
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    try:
        if rest and options.verb not in _STAGES:
            raise InputError(f"{options.verb}: unknown argument '{rest[0]}'; see biomechgpt {options.verb} --help")
        if options.verb in _STAGES:
            return _stage(options, rest)
        return _ask(options) if options.verb == "ask" else _inspect(options)
    except InputError as error:
        print(f"biomechgpt: {' '.join(str(error).split())}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("biomechgpt: stopped; run the same command again to go on", file=sys.stderr)
        return 1


def _stage(options: argparse.Namespace, rest: Sequence[str]) -> int:
    from biomechgpt_jax import overrides

    experiment = overrides.load(options.config, rest)
    from biomechgpt_jax import pipeline

    workdir = Path(options.workdir)
    outcome = pipeline.run(experiment, workdir, _STAGES[options.verb][0])
    if options.verb in ("run", "evaluate"):
        found = json.loads((workdir / "evaluation" / "metrics.json").read_text())
        if options.json:
            print(json.dumps(found))
        else:
            _closing(found, workdir)
    elif options.json:
        print(json.dumps(outcome))
    return 0


def _closing(found: dict, workdir: Path) -> None:
    from rich.console import Console

    from biomechgpt_jax.evaluation.tables import results_table

    console = Console()
    console.print(results_table(found))
    console.print("Synthetic cohort; not a medical device.\n\nTry next:", highlight=False)
    for line in (
        f"open {workdir}/evaluation/report.html",
        f'biomechgpt ask FILE.mot "How fast is this person walking?" --workdir {workdir}',
        f'biomechgpt ask FILE.mot "Is there an impairment?" --workdir {workdir} --json',
        "biomechgpt inspect FILE.mot",
    ):
        console.print(f"  {line}", highlight=False, soft_wrap=True, markup=False)


def _ask(options: argparse.Namespace) -> int:
    from biomechgpt_jax import pipeline

    said = pipeline.ask(Path(options.workdir), Path(options.file), options.question)
    if options.json:
        print(json.dumps({name: said[name] for name in ("question", "answer", "probability", "unit")}))
        return 0
    unit = f" {said['unit']}" if said["unit"] else ""
    answer = "no answer that is a number" if said["answer"] is None else f"{said['answer']}{unit}"
    chance = f"  (probability {said['probability']:.2f})" if said["probability"] is not None else ""
    print(f"{answer}{chance}")
    return 0


def _inspect(options: argparse.Namespace) -> int:
    from biomechgpt_jax import formats

    found = formats.describe(formats.read(options.file))
    if options.json:
        print(json.dumps(found))
        return 0
    for name, value in found.items():
        shown = ", ".join(value) or "none" if isinstance(value, list) else value
        print(f"{name.replace('_', ' '):<16}{shown}")
    return 0


def entry() -> None:
    """The console script."""
    sys.exit(main())
