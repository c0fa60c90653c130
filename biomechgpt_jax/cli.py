"""The command line: one function a verb, and one line with an exit code for whatever goes wrong.

Heavy imports stay inside the verbs.
"""

import argparse
import errno
import json
import os
import sys
import traceback
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from biomechgpt_jax.arguments import STAGES, beam_options, parse
from biomechgpt_jax.compiling import cache
from biomechgpt_jax.errors import InputError, LoneError, RunError
from biomechgpt_jax.files import to_json
from biomechgpt_jax.parallel import distributed

if TYPE_CHECKING:
    from biomechgpt_jax.config import Experiment
    from biomechgpt_jax.data.normals import Normals


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one verb and return its exit code."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    try:
        options, overrides = parse(sys.argv[1:] if arguments is None else arguments)
        if options.verb in STAGES:
            return _stage(options, overrides)
        if options.verb == "compile":
            return _compile(options, overrides)
        verbs = {
            "ask": _ask,
            "inspect": _inspect,
            "import": _import,
            "model-folder": _model_folder,
            "export": _export,
            "doctor": _doctor,
            "scaling": _scaling,
        }
        return verbs[options.verb](options)
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


def _stage(options: argparse.Namespace, changes: Sequence[str]) -> int:
    from biomechgpt_jax import overrides

    workdir = Path(options.workdir)
    if options.config is not None:
        experiment = _resolved(overrides.load(options.config, changes))
    elif (workdir / "config.json").is_file():
        from biomechgpt_jax.workdir import load_experiment

        experiment = overrides.apply(load_experiment(workdir), changes)
    else:
        raise InputError(
            f"{options.verb}: no configuration file is given and {workdir} holds no run; give one such as "
            "configs/quickstart.py"
        )
    if options.verb == "evaluate" and options.people:
        return _evaluate_people(options, experiment)
    if getattr(options, "people", None) and not options.report:
        raise InputError("tokenizer: --people names whom --report measures; give --report as well")
    from biomechgpt_jax import pipeline

    cache.keep(workdir)
    distributed.start(experiment.distributed)
    until = STAGES[options.verb][0]
    if options.verb == "run" and distributed.several():
        until = "train"  # what follows is work for one process
    outcome = pipeline.run(experiment, workdir, until, beam=beam_options(options))
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
        directory = workdir / "evaluation"
        _print_evaluation(options, json.loads((directory / "metrics.json").read_text()), directory)
    elif options.json:
        print(to_json(outcome))
    return 0


def _resolved(experiment: "Experiment") -> "Experiment":
    """The experiment with what the folder of its pretrained weights decides."""
    if not experiment.model.pretrained:
        return experiment
    from biomechgpt_jax.pretrained import resolving

    return resolving.resolve(experiment)


def _evaluate_people(options: argparse.Namespace, experiment: "Experiment") -> int:
    workdir = Path(options.workdir)
    cache.keep(workdir)  # before jax is imported
    distributed.start(experiment.distributed)
    from biomechgpt_jax import pipeline
    from biomechgpt_jax.stages import evaluate

    pipeline.refuse_several("evaluate")
    found, directory = evaluate.run_on_people(experiment, workdir, Path(options.people))
    _print_evaluation(options, found, directory)
    return 0


def _print_evaluation(options: argparse.Namespace, found: Mapping[str, Any], directory: Path) -> None:
    if options.json:
        print(to_json(found))
        return
    from biomechgpt_jax.reports.tables import print_closing

    workdir = Path(options.workdir)
    people = getattr(options, "people", None)
    print_closing(found, workdir, directory, Path(people) if people else workdir / "movements")


def _compile(options: argparse.Namespace, changes: Sequence[str]) -> int:
    os.environ["JAX_PLATFORMS"] = "cpu"  # before jax: an accelerator of this machine is left alone
    from dataclasses import asdict

    from biomechgpt_jax import overrides
    from biomechgpt_jax.compiling import report as compilation
    from biomechgpt_jax.compiling import table

    report = compilation.report(
        _resolved(overrides.load(options.config, changes)), options.topology, options.num_slices
    )
    if options.json:
        print(to_json(asdict(report) | {"fits": report.memory.fits}))
    else:
        print(table.text(report))
    return 1 if report.memory.fits is False else 0


def _ask(options: argparse.Namespace) -> int:
    if bool(options.question) == options.all:
        raise InputError("ask: give either questions or --all; see biomechgpt ask --help")
    workdir, table = Path(options.workdir), Path(options.csv) if options.csv else None
    if workdir.is_dir():
        cache.keep(workdir)
    from biomechgpt_jax.stages import ask

    normals = _path(options.normals)
    reading = ask.Reading(_path(options.static), options.person, options.anyway)
    return ask.run(
        *(Path(options.file), options.question, table, workdir, options.json),
        greedy=options.greedy,
        normals_in=normals,
        reading=reading,
        risk=options.risk,
    )


def _export(options: argparse.Namespace) -> int:
    if options.adapter and options.dtype:
        raise InputError("export: --dtype is for --merged; an adapter is written in float32")
    cache.keep(Path(options.run))
    from biomechgpt_jax.stages import export

    dtype = options.dtype or "bfloat16"
    for line in export.run(Path(options.run), Path(options.out), options.merged, dtype):
        print(line)
    return 0


def _doctor(options: argparse.Namespace) -> int:
    from biomechgpt_jax.config import Distributed
    from biomechgpt_jax.parallel import doctor

    checks = doctor.examine(Distributed(), Path(options.workdir))
    good = doctor.passed(checks)
    if distributed.first():
        if options.json:
            print(to_json(doctor.as_json(checks)))
        else:
            for check in checks:
                print(f"{check.name:<18}{check.verdict:<9}{check.words}")
            print("verdict           " + ("ready" if good else "NOT READY: fix what failed"))
    return 0 if good else 1


def _scaling(options: argparse.Namespace) -> int:
    from biomechgpt_jax.stages import scaling

    return scaling.run(options)


def _inspect(options: argparse.Namespace) -> int:
    cache.keep()
    from biomechgpt_jax.stages import inspect

    own = _normals(options)
    file, plot, static = Path(options.file), _path(options.plot), _path(options.static)
    inspect.run(file, options.activity, plot, options.json, own, static, options.person)
    return 0


def _model_folder(options: argparse.Namespace) -> int:
    from biomechgpt_jax.stages import model_folder

    model_folder.run(options.model, Path(options.out), options.dtype)
    return 0


def _import(options: argparse.Namespace) -> int:
    cache.keep()
    from biomechgpt_jax.data import importing

    if options.workers < 1:
        raise InputError(f"--workers {options.workers}: give at least 1")
    own, labels = _normals(options), _path(options.labels)
    correction, facts = (own.correction, {"normals": own.facts()}) if own else (None, {})
    directory, out = Path(options.directory), Path(options.out)
    said = importing.import_folder(directory, out, labels, options.workers, correction, facts, options.anyway)
    if options.json:
        print(to_json(said))
    else:
        print(importing.summary(said, out))
    return 0


def _path(given: str | None) -> Path | None:
    return Path(given) if given else None


def _normals(options: argparse.Namespace) -> "Normals | None":
    """The laboratory's system as its own healthy recordings show it, and a line about it on standard error."""
    if not options.normals:
        return None
    from biomechgpt_jax.data import normals
    from biomechgpt_jax.workdir import Workdir

    own = normals.of_folder(Path(options.normals), Workdir(Path(options.workdir)).movements)
    print(own.words(), file=sys.stderr, flush=True)
    return own


def entry() -> None:
    """The console script."""
    sys.exit(main())
