"""Read the labels of a folder of motion files from a CSV written by hand."""

import codecs
import csv
import difflib
import io
import math
import re
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
        person: name in the person's marker labels, in a file that holds several people.
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


_LARGEST_BYTES = 64 * 2**20
# What spreadsheets write between the cells; the list separator of many languages is a semicolon.
_SEPARATORS = {",": "comma", ";": "semicolon", "\t": "tab"}


def read(path: Path) -> dict[str, Labels]:
    """Read labels, keyed by the file they belong to.

    The first line names the columns: `file` (its path within the folder) and any of `COLUMNS`, in any case. A cell may
    be empty. Cells are separated by commas, semicolons or tabs; where commas separate nothing, numbers may have them.

    Raises:
        InputError: the file is unreadable, a column or label is unknown, a number is malformed, or a file occurs twice.
    """
    try:
        text = _text(path)
        separator = _separator(text)
        reader = csv.reader(text, delimiter=separator, strict=True)
        names = _columns(path, next(reader, []))
        by_file: dict[str, Labels] = {}
        for cells in reader:
            where = f"{path}, line {reader.line_num}"
            row = {name: cell.strip() for name, cell in zip(names, cells, strict=False) if cell.strip()}
            if "" in row or any(cell.strip() for cell in cells[len(names) :]):
                raise InputError(
                    f"{where}: it has more cells than there are columns; put a cell that contains a "
                    f"{_SEPARATORS[separator]} in quotes"
                )
            if not row:  # spreadsheets write empty lines with separators
                continue
            name = _path(row.get("file", ""))
            if not name:
                raise InputError(f"{where}: the column file is empty; give the file's path within the folder")
            if name in by_file:
                raise InputError(f"{where}: {name} comes twice; keep one line for each file")
            by_file[name] = _labels(where, row, decimal_comma=separator != ",")
        return by_file
    except OSError as error:
        raise InputError(f"{path}: {error.strerror}; give a CSV with the column file and others") from error
    except UnicodeError as error:
        raise InputError(
            f"{path} is no text in UTF-8, UTF-16 or Windows-1252 ({error}); save it as CSV in UTF-8"
        ) from error
    except csv.Error as error:
        raise InputError(f"{path} is no table of cells ({error}); save it as CSV") from error


def _text(path: Path) -> list[str]:
    """The lines of a table in UTF-8, in UTF-16 with a byte-order mark, or in the code page of Western Windows."""
    if path.stat().st_size > _LARGEST_BYTES:
        raise InputError(f"{path} has more than {_LARGEST_BYTES // 2**20} MiB; labels are one line for each file")
    raw = path.read_bytes()
    if raw.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        text = raw.decode("utf-16")
    else:
        try:
            text = raw.decode("utf-8-sig")
        except UnicodeDecodeError:
            text = raw.decode("cp1252")
    lines = list(io.StringIO(text, newline=""))
    return lines[1:] if lines and re.fullmatch(r'"?sep=.\s*"?\s*', lines[0]) else lines  # Excel's own line


def _separator(lines: list[str]) -> str:
    """The separator under which the first line names the column file and most others that are known."""

    def known(separator: str) -> tuple[bool, int]:
        names = {cell.strip().casefold() for cell in next(csv.reader(lines[:1], delimiter=separator), [])}
        return "file" in names, len(names & set(COLUMNS))

    return max(_SEPARATORS, key=known)


def _columns(path: Path, cells: list[str]) -> list[str]:
    """Names of the columns as in `COLUMNS`; "" where spreadsheets leave empty ones."""
    names = [cell.strip().casefold() for cell in cells]
    if "file" not in names:
        raise InputError(f"{path}: there is no column file; its first line names the columns, such as file,participant")
    for name, cell in zip(names, cells, strict=True):
        if name and name not in COLUMNS:
            raise InputError(f"{path}: the column {cell.strip()!r} is not known; {_nearest(name, COLUMNS)}")
    given = [name for name in names if name]
    if len(set(given)) < len(given):
        raise InputError(f"{path}: a column comes twice; keep one of each name")
    return names


def _labels(where: str, cells: Mapping[str, str], decimal_comma: bool) -> Labels:
    for name, choices in _CHOICES.items():
        if name in cells and cells[name] not in choices:
            raise InputError(f"{where}: the {name} {cells[name]!r} is not known; {_nearest(cells[name], choices)}")

    def number(name: str, low: float, high: float) -> float:
        text = cells[name]
        try:
            value = float(text.replace(",", ".") if decimal_comma and "." not in text else text)
        except ValueError:
            value = math.nan
        if not low <= value <= high:
            raise InputError(f"{where}: {name} is {text!r}; give a number from {low:g} to {high:g}")
        return value

    numbers = {name: number(name, *_NUMBERS[name]) for name in _NUMBERS if name in cells}
    scores = {name: number(name, QUESTIONS[name].low, QUESTIONS[name].high) for name in _SCORES if name in cells}
    words = {name: cells[name] for name in ("participant", "person", *_CHOICES) if name in cells}
    words["static"] = _path(cells.get("static", ""))
    return Labels(**words, **numbers, scores=scores)  # type: ignore[arg-type]


def _path(text: str) -> str:
    """A path within the folder, as it is written on any system."""
    return text.strip().replace("\\", "/").removeprefix("./")


def _nearest(word: str, choices: Iterable[str]) -> str:
    choices = list(choices)
    by_small = {choice.casefold(): choice for choice in choices}
    near = difflib.get_close_matches(word.casefold(), list(by_small), n=1, cutoff=0.5)
    return f"did you mean {by_small[near[0]]!r}?" if near else f"give one of {', '.join(choices)}"
