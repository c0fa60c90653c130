"""The command line: parsing, and nothing else. Heavy imports stay inside the verbs."""

import argparse
import errno
import json
import os
import sys
import traceback
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NoReturn

from biomechgpt_jax import __version__
from biomechgpt_jax.compiling import cache
from biomechgpt_jax.errors import InputError, LoneError, RunError
from biomechgpt_jax.files import to_json
from biomechgpt_jax.parallel import distributed
from biomechgpt_jax.questions.catalogue import listing

_STAGES = {
    "run": ("evaluate", "every stage below that is not done yet, in order"),
    "simulate": ("simulate", "make a synthetic cohort: the `movements` dataset"),
    "tokenizer": ("tokenizer", "train the motion codec and the text tokenizer; --report writes a page about it"),
    "pack": ("pack", "movements and questions into packed sequences"),
    "train": ("train", "train the language model; resumes by itself"),
    "evaluate": ("evaluate", "answer every question about held-out participants; writes report.html"),
}
_EPILOG = """examples:
  biomechgpt run configs/quickstart.py --workdir runs/quickstart
  biomechgpt run configs/quickstart.py --workdir runs/small --train.steps 100
  biomechgpt ask walking.mot "How fast is this person walking?" --workdir runs/quickstart
  biomechgpt ask recordings --all --csv answers.csv
  biomechgpt inspect walking.mot --plot walking.png
  biomechgpt import recordings --out runs/mine/movements --labels labels.csv
  biomechgpt compile configs/sizes.py:8b --topology v5p:4x4x4

exit codes: 0 done; 1 failed; 2 the input is wrong; 75 stopped after saving, run again.
Research software, not a medical device."""

# Options of a verb with a configuration that are not fields of it.
_STAGE_OPTIONS = ("--workdir", "--json", "--help", "--runner", "--report", "--people", "--topology", "--num-slices")


class _Parser(argparse.ArgumentParser):
    """Refuses on one line."""

    def error(self, message: str) -> NoReturn:
        verb = self.prog.partition(" ")[2]
        raise InputError(f"{verb}: {message}; see {self.prog} --help" if verb else f"{message}; see {self.prog} --help")


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(
        prog="biomechgpt",
        description="A language model that answers clinical questions about human movement.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("-V", "--version", action="version", version=f"biomechgpt {__version__}")
    verbs = parser.add_subparsers(dest="verb", metavar="verb", required=True)
    for verb, (_, words) in _STAGES.items():
        stage = verbs.add_parser(verb, help=words, description=words, allow_abbrev=False)
        stage.add_argument(
            "config",
            nargs="?",
            help="configuration file, such as configs/quickstart.py or, of one size, configs/sizes.py:10m; "
            "without it, the run's own",
        )
        stage.add_argument("--workdir", default="runs/quickstart", help="where the run lies (%(default)s)")
        stage.add_argument("--json", action="store_true", help="print the outcome as JSON on standard output")
        if verb == "simulate":
            stage.add_argument(
                "--runner",
                help="let Apache Beam simulate: DirectRunner, DataflowRunner, FlinkRunner, SparkRunner, ...; options "
                "of the runner follow after --, as in --runner DirectRunner -- --direct_num_workers=2",
            )
        if verb == "tokenizer":
            stage.add_argument(
                "--report",
                action="store_true",
                help="write tokenizer/report.html and tokenizer/fidelity.json: what the codec keeps of people it was "
                "not trained on, the validation participants of the run",
            )
            stage.add_argument(
                "--people",
                metavar="DATASET",
                help="with --report: a `movements` dataset of other people to measure instead, such as a development "
                "cohort (configs/development.py)",
            )
        stage.epilog = "any field of the configuration may be overridden: --train.steps 100 --model.layers 6"
    ask = verbs.add_parser(
        "ask",
        help="answer questions about a motion file, or about every file of a folder",
        epilog=f"questions, which may be asked in other words:\n{listing()}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    ask.add_argument("file", help="motion file, or a folder of them")
    ask.add_argument("question", nargs="*", help='any number of them, such as "How fast is this person walking?"')
    ask.add_argument(
        "--all",
        action="store_true",
        help="every question but those that the activity, as the model names it, does not show (no step length of a "
        "chair rise), that need coordinates the file lacks, or that need a longer test than the model sees at once",
    )
    ask.add_argument("--csv", metavar="OUT", help="write a table with a row for each file")
    ask.add_argument("--workdir", default="runs/quickstart", help="a finished run (%(default)s)")
    ask.add_argument("--json", action="store_true", help="print the answers as JSON on standard output")
    inspect = verbs.add_parser("inspect", help="what a file, dataset or checkpoint holds", allow_abbrev=False)
    inspect.add_argument("file", help="motion file, or the directory of a dataset or of checkpoints")
    inspect.add_argument("--plot", metavar="PICTURE", help="draw the movement into a .png, .svg or .pdf")
    inspect.add_argument("--activity", default="", help='what was performed, such as "timed up and go": scores it')
    inspect.add_argument("--json", action="store_true")
    compile_ = verbs.add_parser(
        "compile",
        help="compile a configuration for an accelerator without having it",
        description="Compiles the training step for devices that are not there and says what it takes: memory, "
        "operations, collectives, and the time of a step at best. Ends with 1 if it does not fit.",
        epilog="any field of the configuration may be overridden: --mesh.fsdp 16 --train.batch_size 64",
        allow_abbrev=False,
    )
    compile_.add_argument("config", help="configuration file, such as configs/sizes.py:8b")
    compile_.add_argument("--topology", required=True, help="such as v5e:4x4, v5p:4x4x4, v6e:8x8, h100:1x8 or cpu:8")
    compile_.add_argument("--num-slices", type=int, default=1, help="so many of that topology (%(default)s)")
    compile_.add_argument("--json", action="store_true", help="print the report as JSON on standard output")
    doctor = verbs.add_parser(
        "doctor",
        help="what this machine and this cluster can do",
        description="Checks versions, devices, memory, the other processes, clocks, the working directory and a "
        "collective. Ends with 1 if something failed.",
        allow_abbrev=False,
    )
    doctor.add_argument("--workdir", default="runs/quickstart", help="where a run would lie (%(default)s)")
    doctor.add_argument("--json", action="store_true")
    import_ = verbs.add_parser(
        "import",
        help="read a folder of motion files into a `movements` dataset",
        description="Reads every motion file below a directory; a bad one is reported and left out. Everything in one "
        "folder is taken to be of one person unless the labels say otherwise.",
        allow_abbrev=False,
    )
    import_.add_argument("directory")
    import_.add_argument("--out", required=True, help="where the dataset will lie, such as runs/mine/movements")
    import_.add_argument("--labels", help="CSV with the column `file` and any of participant, activity, diagnosis, ...")
    import_.add_argument("--workers", type=int, default=os.cpu_count() or 1, help="files read at once (%(default)s)")
    import_.add_argument("--json", action="store_true")
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one verb and return its exit code."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    try:
        given = list(sys.argv[1:] if arguments is None else arguments)
        end = given.index("--") if given[:1] == ["simulate"] and "--" in given else len(given)
        words, overrides = _split(given[:end])
        options = _parser().parse_args(words, argparse.Namespace(beam=given[end + 1 :]))
        if options.verb in _STAGES:
            return _stage(options, overrides)
        if options.verb == "compile":
            return _compile(options, overrides)
        return {"ask": _ask, "inspect": _inspect, "import": _import, "doctor": _doctor}[options.verb](options)
    except (InputError, RunError) as error:
        line, code = " ".join(str(error).split()), 2 if isinstance(error, InputError) else 1
        print(f"biomechgpt: {line}", file=sys.stderr)
        distributed.give_up(line, code)
        return _at_once(code) if isinstance(error, LoneError) else code
    except KeyboardInterrupt:
        print("biomechgpt: stopped; run the same command again to go on", file=sys.stderr)
        return 1
    except BrokenPipeError:  # the reader of our output has gone, as in `biomechgpt inspect FILE | head -1`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT, errno.EROFS):
            return _unforeseen()
        where = f"{error.filename}: " if error.filename else ""
        line = f"{where}{error.strerror}; make space, then run the same command again"
        print(f"biomechgpt: {line}", file=sys.stderr)
        distributed.give_up(line, 1)
        return _at_once(1)
    except Exception:
        return _unforeseen()


def _unforeseen() -> int:
    """Let an exception that nobody expected through; of several processes, end this one at once."""
    if not distributed.several():
        raise
    traceback.print_exc()
    return _at_once(1)


def _at_once(code: int) -> int:
    """The exit code of a failure that other processes may not know of; of several processes, this one ends here.

    The others may sit in a collective: waiting for them at the exit would hide from them that this one is gone.
    """
    if distributed.several():
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)
    return code


def _split(words: list[str]) -> tuple[list[str], list[str]]:
    """Words for argparse, and overrides of the configuration with their values."""
    if not words or words[0] not in (*_STAGES, "compile"):
        return words, []
    ours, overrides = words[:1], words[:0]
    taken = ours
    for word in words[1:]:
        if word.startswith("--"):
            taken = ours if word.partition("=")[0] in _STAGE_OPTIONS else overrides
        # An override may take several values, so only its ending tells a configuration file from one more.
        (ours if word.endswith(".py") or ".py:" in word else taken).append(word)
    return ours, overrides


def _stage(options: argparse.Namespace, changes: Sequence[str]) -> int:
    from biomechgpt_jax import overrides

    workdir = Path(options.workdir)
    if options.config is not None:
        experiment = overrides.load(options.config, changes)
    elif (workdir / "config.json").is_file():
        from biomechgpt_jax.workdir import load_experiment

        experiment = overrides.apply(load_experiment(workdir), changes)
    else:
        raise InputError(
            f"{options.verb}: no configuration file is given and {workdir} holds no run; give one such as "
            "configs/quickstart.py"
        )
    if getattr(options, "people", None) and not options.report:
        raise InputError("tokenizer: --people names whom --report measures; give --report as well")
    from biomechgpt_jax import pipeline

    cache.keep(workdir)
    distributed.start(experiment.distributed)
    until = _STAGES[options.verb][0]
    if options.verb == "run" and distributed.several():
        until = "train"  # what follows is work for one process
    outcome = pipeline.run(experiment, workdir, until, beam=_beam_options(options))
    if getattr(options, "report", False):
        from biomechgpt_jax.stages.tokenizer import report_codec

        people = Path(options.people) if options.people else None
        made = distributed.share("report", lambda: json.dumps(report_codec(experiment, workdir, people)))
        outcome = outcome | {"fidelity": json.loads(made)}
    if not distributed.first():
        return 0
    if options.verb == "run" and until == "train":
        print(f"trained; now, on one process: biomechgpt evaluate --workdir {workdir}", file=sys.stderr)
    if until == "evaluate":
        found = json.loads((workdir / "evaluation" / "metrics.json").read_text())
        if options.json:
            _print_json(found)
        else:
            from biomechgpt_jax.reports.tables import print_closing

            print_closing(found, workdir)
    elif options.json:
        _print_json(outcome)
    return 0


def _compile(options: argparse.Namespace, changes: Sequence[str]) -> int:
    os.environ["JAX_PLATFORMS"] = "cpu"  # before jax: an accelerator of this machine is left alone
    from dataclasses import asdict

    from biomechgpt_jax import overrides
    from biomechgpt_jax.compiling import report as compilation
    from biomechgpt_jax.compiling import table

    report = compilation.report(overrides.load(options.config, changes), options.topology, options.num_slices)
    if options.json:
        _print_json(asdict(report) | {"fits": report.memory.fits})
    else:
        print(table.text(report))
    return 1 if report.memory.fits is False else 0


def _beam_options(options: argparse.Namespace) -> list[str]:
    """Options of an Apache Beam pipeline, those after -- among them; empty without --runner."""
    if getattr(options, "runner", None) is None:
        if options.beam:
            first = options.beam[0]
            raise InputError(f"{options.verb}: {first} after -- is an option of Apache Beam: give --runner as well")
        return []
    return [f"--runner={options.runner}", *options.beam]


def _print_json(value: Any) -> None:
    """One line on standard output; JSON has no NaN, so what is not finite becomes null."""
    print(to_json(value))


def _ask(options: argparse.Namespace) -> int:
    if bool(options.question) == options.all:
        raise InputError("ask: give either questions or --all; see biomechgpt ask --help")
    workdir, table = Path(options.workdir), Path(options.csv) if options.csv else None
    if workdir.is_dir():
        cache.keep(workdir)
    from biomechgpt_jax.stages import ask

    return ask.run(Path(options.file), options.question, table, workdir, options.json)


def _doctor(options: argparse.Namespace) -> int:
    from biomechgpt_jax.config import Distributed
    from biomechgpt_jax.parallel import doctor

    checks = doctor.examine(Distributed(), Path(options.workdir))
    good = doctor.passed(checks)
    if distributed.first():
        if options.json:
            _print_json(doctor.as_json(checks))
        else:
            for check in checks:
                print(f"{check.name:<18}{check.verdict:<9}{check.words}")
            print("verdict           " + ("ready" if good else "NOT READY: mend what failed"))
    return 0 if good else 1


def _inspect(options: argparse.Namespace) -> int:
    from biomechgpt_jax.data import store
    from biomechgpt_jax.training import inspection

    if inspection.is_checkpoint(Path(options.file)):
        if options.plot:
            raise InputError(f"--plot draws one movement; {options.file} is a checkpoint")
        found = inspection.describe(Path(options.file))
        if options.json:
            _print_json(found)
        else:
            print("\n".join(inspection.lines(found)))
        return 0
    if store.is_dataset(Path(options.file)):
        if options.plot:
            raise InputError(f"--plot draws one movement; {options.file} is a dataset")
        _print_facts(store.metadata(Path(options.file)), options.json)
        return 0

    cache.keep()
    from biomechgpt_jax import formats
    from biomechgpt_jax.reports import recording

    trajectory = formats.read(options.file)
    facts = recording.describe(trajectory, options.activity)
    if options.plot:
        from biomechgpt_jax.reports import portrait

        portrait.save(trajectory, Path(options.plot))
    _print_facts(facts, options.json)
    return 0


def _print_facts(found: dict[str, Any], as_json: bool) -> None:
    if as_json:
        _print_json(found)
        return
    units = {"rate_hz": "rate (Hz)", "net_speed_m_s": "net speed (m/s)"}
    for name, value in found.items():
        if isinstance(value, dict):
            print(f"{name}")
            for inner, fact in value.items():
                print(f"  {inner:<30}{fact}")
            continue
        shown = ", ".join(map(str, value)) or "none" if isinstance(value, list) else value
        print(f"{units.get(name, name):<17}{shown}")


def _import(options: argparse.Namespace) -> int:
    cache.keep()
    from biomechgpt_jax.data import importing

    if options.workers < 1:
        raise InputError(f"--workers {options.workers}: give at least 1")
    labels = Path(options.labels) if options.labels else None
    said = importing.import_folder(Path(options.directory), Path(options.out), labels, options.workers)
    if options.json:
        _print_json(said)
    else:
        print(importing.summary(said, Path(options.out)))
    return 0


def entry() -> None:
    """The console script."""
    sys.exit(main())
