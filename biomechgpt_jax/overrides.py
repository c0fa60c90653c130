"""Load a configuration file and apply dotted overrides from the command line."""

import dataclasses
import difflib
import importlib.util
import io
from collections.abc import Sequence
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from typing import Any

from biomechgpt_jax.config import Experiment
from biomechgpt_jax.errors import InputError


def load(path: str | Path, overrides: Sequence[str] = ()) -> Experiment:
    """The experiment of a configuration file with overrides such as `--train.steps 100`.

    Raises:
        InputError: the file has no usable `config()`, or an override names no field or has a wrong type.
    """
    experiment = _from_file(Path(path))
    return apply(experiment, overrides) if overrides else experiment


def _from_file(path: Path) -> Experiment:
    if not path.is_file():
        raise InputError(f"{path}: there is no such configuration file; give one such as configs/quickstart.py")
    spec = importlib.util.spec_from_file_location("experiment_configuration", path)
    if spec is None or spec.loader is None:
        raise InputError(f"{path} is not a Python file; give one such as configs/quickstart.py")
    module = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
        made = module.config()
    except InputError:
        raise
    except Exception as error:  # the user's own code may fail in any way
        raise InputError(f"{path}: {type(error).__name__}: {error}; its config() must return an Experiment") from error
    if not isinstance(made, Experiment):
        raise InputError(f"{path}: config() returned {type(made).__name__}, not an Experiment")
    return made


def names(kind: Any, prefix: str = "") -> list[str]:
    """Dotted names of every field that can be overridden."""
    found = []
    for field in dataclasses.fields(kind):
        if dataclasses.is_dataclass(field.type):
            found += names(field.type, f"{prefix}{field.name}.")
        else:
            found.append(f"{prefix}{field.name}")
    return found


def apply(experiment: Experiment, overrides: Sequence[str]) -> Experiment:
    """A copy with overrides applied; names are checked before types, so that each refusal is one line."""
    import tyro

    known = names(Experiment)
    for word in overrides:
        if word.startswith("--"):
            name = word[2:].partition("=")[0].replace("-", "_")
            if name not in known:
                near = difflib.get_close_matches(name, known, n=1, cutoff=0.0)
                raise InputError(f"unknown configuration key '--{name}'; the nearest is '--{near[0]}'")
    said, complaint = io.StringIO(), io.StringIO()
    try:
        with redirect_stdout(said), redirect_stderr(complaint):
            return tyro.cli(Experiment, default=experiment, args=list(overrides), config=(tyro.conf.FlagConversionOff,))
    except SystemExit as error:
        raise InputError(f"configuration: {_one_line(complaint.getvalue() or said.getvalue())}") from error


def _one_line(box: str) -> str:
    """The words of tyro's box."""
    lines = [line.strip("│╭╮╰╯─ \t") for line in box.splitlines()]
    words = " ".join(line for line in lines if line and not line.startswith(("For full helptext", "Parsing error")))
    return words.split(" For full helptext")[0]
