"""Load a configuration file and apply dotted overrides from the command line."""

import dataclasses
import difflib
import importlib.util
import inspect
import io
import re
import traceback
from collections.abc import Iterable, Sequence
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from typing import Any, get_origin

from biomechgpt_jax.config import Experiment
from biomechgpt_jax.errors import InputError


def load(path: str | Path, overrides: Sequence[str] = ()) -> Experiment:
    """Load the experiment of a configuration file, with overrides such as `--train.steps 100`.

    Args:
        path: the file; in `configs/sizes.py:1b`, the part after the colon is passed to its `config()`.
        overrides: command-line words, as options and their values.

    Raises:
        InputError: the file has no usable `config()`, or an override names an unknown field or has the wrong type.
    """
    name, *argument = re.split(r"(?<=\.py):", str(path), maxsplit=1)
    experiment = _from_file(Path(name), *argument)
    return apply(experiment, overrides) if overrides else experiment


def _from_file(path: Path, *argument: str) -> Experiment:
    if path.is_dir():
        raise InputError(f"{path} is a directory; give a configuration file such as configs/quickstart.py")
    if not path.is_file():
        raise InputError(f"{path}: there is no such configuration file; give one such as configs/quickstart.py")
    spec = importlib.util.spec_from_file_location("experiment_configuration", path)
    if spec is None or spec.loader is None:
        raise InputError(f"{path} is not a Python file; give one such as configs/quickstart.py")
    module = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
        if not callable(getattr(module, "config", None)):
            raise InputError("there is no function config() in it; write one that returns an Experiment")
        if argument and not inspect.signature(module.config).parameters:
            raise InputError(f"its config() takes no argument; leave ':{argument[0]}' out")
        made = module.config(*argument)
    except InputError as error:
        raise InputError(f"{path}: {error}") from error
    except (Exception, SystemExit) as error:  # the user's own code may fail in any way
        raise InputError(f"{path}{_line_of(error, path)}: {type(error).__name__}: {error}; fix it there") from error
    if not isinstance(made, Experiment):
        raise InputError(f"{path}: config() returned {type(made).__name__}, not an Experiment")
    return made


def _line_of(error: BaseException, path: Path) -> str:
    """The text ' line 7' if the error came from that line of the file; otherwise empty."""
    if isinstance(error, SyntaxError) and error.filename == str(path):
        return f" line {error.lineno}"
    lines = [frame.lineno for frame in traceback.extract_tb(error.__traceback__) if frame.filename == str(path)]
    return f" line {lines[-1]}" if lines else ""


def names(kind: Any, prefix: str = "") -> dict[str, str]:
    """Map the dotted name of every field that can be overridden to its type in words."""
    types: dict[str, str] = {}
    for field in dataclasses.fields(kind):
        if dataclasses.is_dataclass(field.type):
            types |= names(field.type, f"{prefix}{field.name}.")
        else:
            words = "" if get_origin(field.type) else getattr(field.type, "__name__", "")
            types[f"{prefix}{field.name}"] = words or str(field.type).replace("typing.", "")
    return types


def _nearest(name: str, known: Iterable[str]) -> str:
    """The closest dotted name; a name without a section is also compared with field names alone."""

    def similarity(candidate: str) -> float:
        tail = candidate if "." in name else candidate.rpartition(".")[2]
        return max(difflib.SequenceMatcher(None, name, spelling).ratio() for spelling in (candidate, tail))

    return max(known, key=similarity)


def apply(experiment: Experiment, overrides: Sequence[str]) -> Experiment:
    """Return a copy with overrides applied. Names are checked before types, so that each refusal is one line."""
    import tyro

    known = names(Experiment)
    for word in overrides:
        name = word[2:].partition("=")[0].replace("-", "_") if word.startswith("--") else ""
        if name and name not in known:
            raise InputError(f"unknown configuration key '--{name}'; the nearest is '--{_nearest(name, known)}'")
    printed = io.StringIO()
    try:
        with redirect_stdout(printed), redirect_stderr(printed):
            return tyro.cli(
                Experiment,
                default=experiment,
                args=list(overrides),
                config=(tyro.conf.FlagConversionOff,),
                use_underscores=True,
            )
    except SystemExit as error:
        words = _one_line(printed.getvalue())
        about = next((name for name in sorted(known, key=len, reverse=True) if f"--{name}" in words), None)
        takes = f"; --{about} takes {known[about]}" if about else "; see `biomechgpt run --help`"
        raise InputError(f"configuration: {words.rstrip('.')}{takes}") from error


def _one_line(box: str) -> str:
    """Extract the words of tyro's box, without its frame, title and advice."""
    lines = [
        line.strip("│╭╮╰╯─|+- \t") if not line.strip().startswith("--") else line.strip() for line in box.splitlines()
    ]
    lines = [line for line in lines if line.strip("-")]
    words = " ".join(lines[1:] or lines)
    return words.split(" For full helptext")[0].split(" Argument helptext")[0].strip()
