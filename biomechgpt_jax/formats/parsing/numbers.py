"""Numbers in tables: cells in quotes, decimal points and commas."""

import csv
import re
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np

from biomechgpt_jax.biomechanics.flags import CAUTION
from biomechgpt_jax.errors import InputError

_CUT_OFF = f"{CAUTION}the last row is cut off, and is left out"
_DECIMAL_COMMA = re.compile(r"\s*[+-]?\d*,\d+(?:[eE][+-]?\d+)?\s*")


def has_decimal_commas(cells: Iterable[str], separator: str) -> bool:
    """Whether commas are decimal marks: they separate nothing, no cell has a point, and a number has a comma."""
    found = False
    for cell in cells if separator != "," else ():
        if "." in cell:
            return False
        found = found or _DECIMAL_COMMA.fullmatch(cell) is not None
    return found


def rows(path: Path, lines: Sequence[str], separator: str) -> list[list[str]]:
    """The cells of every line that holds something; a cell in quotes may hold the separator.

    Raises:
        InputError: the quotes cannot be followed.
    """
    try:
        return [row for row in csv.reader(lines, delimiter=separator) if any(cell.strip() for cell in row)]
    except csv.Error as error:
        raise InputError(f"{path} is not a table ({error}); export it again") from error


def number(cell: str, comma: bool) -> float:
    """The number in a cell; NaN for an empty one. A comma is a decimal mark if the table has such.

    Raises:
        ValueError: it is not a number.
    """
    cell = cell.strip()
    if not cell:
        return np.nan
    return float(cell.replace(",", ".", 1) if comma else cell)


def short_rows(cells: list[int], width: int, ended: bool) -> tuple[int, tuple[str, ...]]:
    """How many rows of a table count, and flags of those that have fewer cells than there are columns.

    Args:
        cells: number of cells of each row.
        width: number of columns that are named.
        ended: whether the last row ends with its line; a short one that does not is cut off and does not count.
    """
    flags: tuple[str, ...] = ()
    count = len(cells)
    if count and not ended and cells[-1] < width:
        count, flags = count - 1, (_CUT_OFF,)
    short = sum(number < width for number in cells[:count])
    if short:
        said = f"{short} of {count} rows have fewer cells than there are columns: what they lack is unseen"
        flags += (f"{CAUTION}{said}",)
    return count, flags


def without_cut_cell(rows: list[list[str]], comma: bool, ended: bool) -> tuple[list[list[str]], tuple[str, ...]]:
    """The rows of a table without a last one that ends in the middle of a number, and a flag if there is one."""
    if ended or not rows:
        return rows, ()
    try:
        number(rows[-1][-1], comma)
    except ValueError:
        return rows[:-1], (_CUT_OFF,)
    return rows, ()


def table(path: Path, rows: Sequence[Sequence[str]], width: int, comma: bool, first_row: int) -> np.ndarray:
    """Numbers f64[rows, width]; empty and absent cells are NaN, infinities too.

    Args:
        first_row: the number, in the file, of the first row.

    Raises:
        InputError: a cell is not a number.
    """
    values = np.full((len(rows), width), np.nan)
    for index, row in enumerate(rows):
        try:
            filled = [number(cell, comma) for cell in row[:width]]
        except ValueError as error:
            raise InputError(
                f"{path}, row {first_row + index}: a cell is not a number ({str(error)[:80]}); correct it"
            ) from error
        values[index, : len(filled)] = filled
    values[~np.isfinite(values)] = np.nan
    return values
