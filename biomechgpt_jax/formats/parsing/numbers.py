"""Numbers in tables: cells in quotes, decimal points and commas."""

import csv
import re
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np

from biomechgpt_jax.errors import InputError

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
