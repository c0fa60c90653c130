"""A table of runs: what was trained, on how much, with how many operations, and what loss came of it."""

import csv
import hashlib
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from biomechgpt_jax.errors import InputError

OPERATIONS = 6.0  # per parameter and token, forward and backward (Kaplan et al. 2020, appendix B)
COLUMNS = ("params", "tokens", "flops", "loss", "run", "unique_tokens")
_LARGEST_FILE = 256 * 2**20  # bytes; a table of runs is far smaller


@dataclass(frozen=True)
class Runs:
    """Measured losses; every array has one entry for each row, f64[n].

    Attributes:
        params: number of parameters; NaN throughout where the table does not say.
        tokens: tokens trained on; NaN throughout where the table does not say.
        flops: operations of the training.
        loss: in any unit that has a zero, such as nats a token or bits a second.
        run: the run that each row belongs to, str[n]. Rows of one run are not independent.
        unique_tokens: different tokens among `tokens`; NaN throughout where the table does not say.
        source: where the table is from, for people.
        sha256: hex digest of what was read.
        notes: what was assumed in reading it.
    """

    params: np.ndarray
    tokens: np.ndarray
    flops: np.ndarray
    loss: np.ndarray
    run: np.ndarray
    unique_tokens: np.ndarray
    source: str = ""
    sha256: str = ""
    notes: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.loss)

    @property
    def has_sizes(self) -> bool:
        """Whether params and tokens are known."""
        return bool(np.isfinite(self.params).all() and np.isfinite(self.tokens).all())

    @property
    def repeats(self) -> np.ndarray:
        """bool[n]: rows that saw some data more than once."""
        return np.isfinite(self.unique_tokens) & (self.tokens > 1.001 * self.unique_tokens)

    @property
    def operations(self) -> float:
        """Operations per parameter and token as the table counts them: the median of flops / (params tokens)."""
        return float(np.median(self.flops / (self.params * self.tokens)))

    def rows(self, chosen: np.ndarray) -> "Runs":
        """The rows that a mask or indices choose."""
        fields = ("params", "tokens", "flops", "loss", "run", "unique_tokens")
        return replace(self, **{name: getattr(self, name)[chosen] for name in fields})

    def groups(self) -> list[np.ndarray]:
        """Indices of the rows of each run."""
        _, inverse = np.unique(self.run, return_inverse=True)
        return [np.flatnonzero(inverse == group) for group in range(inverse.max() + 1)]


def of(
    params: Sequence[float] | np.ndarray,
    tokens: Sequence[float] | np.ndarray,
    loss: Sequence[float] | np.ndarray,
    flops: Sequence[float] | np.ndarray | None = None,
    run: Sequence[str] | None = None,
    unique_tokens: Sequence[float] | np.ndarray | None = None,
) -> Runs:
    """Runs from arrays; without `flops` they are 6 params tokens, without `run` every row is a run of its own."""
    params, tokens, loss = (np.asarray(values, float) for values in (params, tokens, loss))
    return Runs(
        params,
        tokens,
        OPERATIONS * params * tokens if flops is None else np.asarray(flops, float),
        loss,
        np.array([str(i) for i in range(len(loss))]) if run is None else np.asarray(run, str),
        np.full(len(loss), np.nan) if unique_tokens is None else np.asarray(unique_tokens, float),
    )


def read(path: Path, columns: Mapping[str, str], where: Mapping[str, str]) -> Runs:
    """Read a CSV with a header.

    Args:
        path: the file.
        columns: names of ours -> names in the file, where they differ; columns joined with + tell runs apart.
        where: column of the file -> the value that a row must have there.

    Raises:
        InputError: no such file, a missing column, a value that is no positive number, or no rows.
    """
    text, sha256 = _text(path)
    try:
        header, lines = _lines(text)
    except csv.Error as error:
        raise InputError(f"{path} is no CSV: {error}; give a table with one line for each run") from error
    if not header:
        raise InputError(f"{path} is empty; give a CSV whose first line names its columns, such as params,tokens,loss")
    named = _columns(path, header, columns)
    for column in where:
        _require(path, column, header, "--where")
    chosen = []
    for number, cells in lines:
        if len(cells) != len(header):
            raise InputError(f"{path}: line {number} has another number of columns than the header")
        row = dict(zip(header, cells, strict=True))
        if all(row[column] == value for column, value in where.items()):
            chosen.append((number, row))
    if not chosen:
        raise InputError(f"{path}: no row{' is left by --where' if where else ''}; give a table of runs")

    def values(name: str) -> np.ndarray | None:
        if name not in named:
            return None
        return np.array([_positive(path, line, named[name], row[named[name]]) for line, row in chosen])

    loss, params, tokens, flops = values("loss"), values("params"), values("tokens"), values("flops")
    assert loss is not None  # _columns asks for it
    notes = []
    if flops is None and params is not None and tokens is not None:
        flops = OPERATIONS * params * tokens
        notes.append("The table has no flops: 6 params tokens are assumed.")
    if flops is not None and params is not None and tokens is None:
        tokens = flops / (OPERATIONS * params)
        notes.append("The table has no tokens: flops / (6 params) are assumed.")
    if flops is None:
        raise InputError(
            f"{path} has neither flops nor both params and tokens; name them with --columns params=NAME ..."
        )
    parts = named["run"].split("+") if "run" in named else []
    if not parts:
        notes.append("The table does not say which rows belong to one run: each is taken for a run of its own.")
    run = [" ".join(row[part] for part in parts) if parts else str(line) for line, row in chosen]
    unknown = np.full(len(loss), np.nan)
    unique = values("unique_tokens")
    return Runs(
        unknown if params is None else params,
        unknown if tokens is None or params is None else tokens,
        flops,
        loss,
        np.array(run),
        unknown if unique is None else unique,
        path.name,
        sha256,
        tuple(notes),
    )


def _lines(text: str) -> tuple[list[str], list[tuple[int, list[str]]]]:
    """The header, and the cells of every line that is not empty with its number; spaces around cells are taken away."""
    reader = csv.reader(text.splitlines())
    lines = [(reader.line_num, [cell.strip() for cell in cells]) for cells in reader if cells]
    return (lines[0][1], lines[1:]) if lines else ([], [])


def _text(path: Path) -> tuple[str, str]:
    try:
        if path.stat().st_size > _LARGEST_FILE:
            raise InputError(
                f"{path} is larger than {_LARGEST_FILE // 2**20} MiB; give a table with one line for each run"
            )
        content = path.read_bytes()
        return content.decode("utf-8-sig"), hashlib.sha256(content).hexdigest()
    except OSError as error:
        raise InputError(f"{path}: {error.strerror}; give a CSV of runs") from error
    except UnicodeDecodeError as error:
        raise InputError(f"{path} is no text in UTF-8; give a CSV of runs") from error


def _columns(path: Path, header: Sequence[str], columns: Mapping[str, str]) -> dict[str, str]:
    """Our names -> names in the file, for those that it has."""
    for ours, theirs in columns.items():
        if ours not in COLUMNS:
            raise InputError(f"--columns {ours}={theirs}: '{ours}' is none of {', '.join(COLUMNS)}")
        for part in theirs.split("+") if ours == "run" else [theirs]:
            _require(path, part, header, "--columns")
    named = {name: name for name in COLUMNS if name in header} | dict(columns)
    for name in set(named.values()):
        if header.count(name) > 1:
            raise InputError(f"{path} has several columns '{name}'; rename all but one")
    _require(path, named.get("loss", "loss"), header, "--columns loss=NAME")
    return named


def _require(path: Path, column: str, header: Sequence[str], option: str) -> None:
    if column not in header:
        raise InputError(f"{path} has no column '{column}' ({option}); it has {', '.join(header)}")


def _positive(path: Path, line: int, column: str, text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not (math.isfinite(value) and value > 0):
        raise InputError(f"{path}: line {line}, {column} is '{text}'; give a positive number, or leave the row out")
    return value


def pairs(words: Sequence[str], option: str) -> dict[str, str]:
    """NAME=VALUE words of an option as a dict.

    Raises:
        InputError: a word is none.
    """
    for word in words:
        if "=" not in word.strip("="):
            raise InputError(f"{option} {word}: give NAME=VALUE")
    return dict(word.split("=", 1) for word in words)


def gather(paths: Sequence[Path], read_one: Callable[[Path], Runs]) -> Runs:
    """One table of several.

    Raises:
        InputError: one of them knows sizes and another does not.
    """
    tables = [read_one(path) for path in paths]
    if len(tables) == 1:
        return tables[0]
    if len({table.has_sizes for table in tables}) > 1:
        raise InputError("some of the tables have params and tokens and others have not; fit them apart")
    several = len({table.source for table in tables}) == len(tables)
    prefix = [f"{table.source} " if several else f"{i} " for i, table in enumerate(tables)]
    joined = {
        name: np.concatenate([getattr(table, name) for table in tables])
        for name in ("params", "tokens", "flops", "loss", "unique_tokens")
    }
    run = np.concatenate([np.char.add(start, table.run) for start, table in zip(prefix, tables, strict=True)])
    return Runs(
        **joined,
        run=run,
        source=", ".join(table.source for table in tables),
        sha256=hashlib.sha256("".join(table.sha256 for table in tables).encode()).hexdigest(),
        notes=tuple(dict.fromkeys(note for table in tables for note in table.notes)),
    )
