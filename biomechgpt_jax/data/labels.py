"""Read the labels of a folder of motion files from a CSV written by hand."""

import csv
import difflib
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path

from biomechgpt_jax.errors import InputError
from biomechgpt_jax.questions.registry import QUESTIONS

_SEXES = ("F", "M")
_SIDES = ("right", "left", "both")
_CHOICES = {
    "activity": QUESTIONS["activity"].options,
    "diagnosis": QUESTIONS["diagnosis"].options,
    "device": QUESTIONS["assistive_device"].options,
    "side": _SIDES,
    "sex": _SEXES,
}
_NUMBERS = {"height_m": (0.4, 2.5), "mass_kg": (2.0, 350.0), "age": (0.0, 120.0), "falls": (0.0, 1000.0)}


@dataclass(frozen=True)
class Labels:
    """The hand-given labels of one file; empty or NaN where a label is not given.

    Attributes:
        static: path within the folder of a quiet standing trial of the same person, whose markers define the joints.
        person: prefix of the person's marker labels, in a file that holds several people.
        scores: results of clinical tests, keyed by question name.
    """

    participant: str = ""
    activity: str = ""
    diagnosis: str = ""
    device: str = ""
    side: str = ""
    sex: str = ""
    static: str = ""
    person: str = ""
    height_m: float = math.nan
    mass_kg: float = math.nan
    age: float = math.nan
    falls: float = math.nan
    scores: Mapping[str, float] = field(default_factory=dict)

    @property
    def questions(self) -> tuple[str, ...]:
        """Names of the questions that these labels answer."""
        words = {"activity": self.activity, "diagnosis": self.diagnosis, "assistive_device": self.device}
        falls = ("falls_history",) if math.isfinite(self.falls) else ()
        return (*(name for name, word in words.items() if word), *falls, *self.scores)


_PLAIN = tuple(f.name for f in fields(Labels) if f.name != "scores")
# Test results are given by hand; gait parameters are measured by the gait code.
_SCORES = tuple(
    name for name, question in QUESTIONS.items() if question.family == "outcome_scores" and question.kind == "number"
)
COLUMNS = ("file", *_PLAIN, *_SCORES)


def read(path: Path) -> dict[str, Labels]:
    """Read labels, keyed by the file they belong to.

    The first line names the columns: `file` (its path within the folder) and any of `COLUMNS`. A cell may be empty.

    Raises:
        InputError: the file is unreadable, a column or label is unknown, a number is malformed, or a file occurs twice.
    """
    try:
        with path.open(newline="", encoding="utf-8-sig") as lines:
            reader = csv.DictReader(lines, strict=True)
            _check_columns(path, reader.fieldnames or [])
            by_file: dict[str, Labels] = {}
            for row in reader:
                where = f"{path}, line {reader.line_num}"
                name = _path(row["file"] or "")
                if not name:
                    raise InputError(f"{where}: the column file is empty; give the file's path within the folder")
                if name in by_file:
                    raise InputError(f"{where}: {name} comes twice; keep one line for each file")
                by_file[name] = _labels(where, row)
            return by_file
    except OSError as error:
        raise InputError(f"{path}: {error.strerror}; give a CSV with the column file and others") from error
    except (UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"{path} is not a CSV in UTF-8 ({error}); save it as one") from error


def _check_columns(path: Path, names: Iterable[str]) -> None:
    names = list(names)
    if "file" not in names:
        raise InputError(f"{path}: there is no column file; its first line names the columns, such as file,participant")
    for name in names:
        if name not in COLUMNS:
            raise InputError(f"{path}: the column {name!r} is not known; {_nearest(name, COLUMNS)}")
    if len(set(names)) < len(names):
        raise InputError(f"{path}: a column comes twice; keep one of each name")


def _labels(where: str, row: Mapping[str | None, str | None]) -> Labels:
    if None in row:
        raise InputError(
            f"{where}: it has more cells than there are columns; put a cell that contains a comma in quotes"
        )
    cells = {name: value.strip() for name, value in row.items() if name and value and value.strip()}
    for name, choices in _CHOICES.items():
        if name in cells and cells[name] not in choices:
            raise InputError(f"{where}: the {name} {cells[name]!r} is not known; {_nearest(cells[name], choices)}")
    numbers = {name: _number(where, name, cells[name], *_NUMBERS[name]) for name in _NUMBERS if name in cells}
    scores = {
        name: _number(where, name, cells[name], QUESTIONS[name].low, QUESTIONS[name].high)
        for name in _SCORES
        if name in cells
    }
    words = {name: cells[name] for name in ("participant", "person", *_CHOICES) if name in cells}
    words["static"] = _path(cells.get("static", ""))
    return Labels(**words, **numbers, scores=scores)  # type: ignore[arg-type]


def _path(text: str) -> str:
    """A path within the folder, as it is written on any system."""
    return text.strip().replace("\\", "/").removeprefix("./")


def _number(where: str, name: str, text: str, low: float, high: float) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not low <= value <= high:
        raise InputError(f"{where}: {name} is {text!r}; give a number from {low:g} to {high:g}")
    return value


def _nearest(word: str, choices: Iterable[str]) -> str:
    choices = list(choices)
    by_small = {choice.casefold(): choice for choice in choices}
    near = difflib.get_close_matches(word.casefold(), list(by_small), n=1, cutoff=0.5)
    return f"did you mean {by_small[near[0]]!r}?" if near else f"give one of {', '.join(choices)}"
