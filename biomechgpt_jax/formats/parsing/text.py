"""Text files: their lines, the separator of their cells, and the columns of marker tables."""

import hashlib
import re
from pathlib import Path

import numpy as np

from biomechgpt_jax.biomechanics.flags import CAUTION
from biomechgpt_jax.errors import InputError

LARGEST_BYTES = 256 * 2**20
# So many columns behind the last name mean that as many names were lost, anywhere; more are results without names.
_LOST_NAMES = 2


def lines(path: Path) -> tuple[list[str], str]:
    """The lines of a text file, without their endings, and its SHA-256.

    Raises:
        InputError: the file is empty, too large, or no text.
    """
    size = path.stat().st_size
    if size > LARGEST_BYTES:
        raise InputError(f"{path} has {size / 2**20:.0f} MiB, more than {LARGEST_BYTES // 2**20}; cut it into parts")
    content = path.read_bytes()
    if b"\x00" in content:
        raise InputError(f"{path} is not a plain text file; give a {path.suffix.lower()} file")
    found = re.split(r"\r\n|\r|\n", content.decode("utf-8-sig", errors="replace"))
    if not any(line.strip() for line in found):
        raise InputError(f"{path} is empty; export it again")
    return found, hashlib.sha256(content).hexdigest()


def separator(line: str) -> str:
    """What separates the cells of a table with this line of names: tabs if there are any, else semicolons or commas."""
    return next((mark for mark in "\t;" if mark in line), ",")


def non_empty(cells: list[str]) -> list[str]:
    """The cells that hold something, without blanks around it."""
    return [cell.strip() for cell in cells if cell.strip()]


def marker_columns(path: Path, names: list[str], filled: np.ndarray) -> tuple[list[tuple[str, int]], tuple[str, ...]]:
    """Which three columns belong to each name of a table of markers.

    Most programs write a name over the first of its three columns, so that a column without a name is one cell that is
    blank. Others write the names one after another, with or without blank cells between them; then only their order
    counts, and there must be as many as there are columns.

    Args:
        names: the cells of the line of names, without those of frame and time.
        filled: bool[columns] which columns of coordinates hold a number in any row.

    Returns:
        (name, first of its columns) in the order of the file, and flags.

    Raises:
        InputError: the names cannot be attributed to the columns.
    """
    named = [(cell.strip(), index) for index, cell in enumerate(names) if cell.strip()]
    if not named:
        raise InputError(f"{path} names no marker; correct the line starting with 'Frame#'")
    slots = -(-(int(np.flatnonzero(filled)[-1]) + 1) // 3) if filled.any() else 0
    if any(index % 3 for _, index in named):
        if slots > len(named) or 3 * len(named) > len(filled):
            columns = max(slots, len(filled) // 3)
            raise InputError(
                f"{path} has {len(named)} names of markers over {columns} columns of x, y and z; correct the line "
                "starting with 'Frame#'"
            )
        return [(name, 3 * place) for place, (name, _) in enumerate(named)], ()
    covered = max(len(names) // 3, named[-1][1] // 3 + 1)
    if 0 < slots - covered <= _LOST_NAMES:
        raise InputError(
            f"{path} has numbers in {slots} columns of x, y and z and names for {len(named)}: the names may stand over "
            "the wrong ones; correct the line starting with 'Frame#'"
        )
    taken = {index // 3 for _, index in named}
    unnamed = [slot for slot in range(covered) if slot not in taken and filled[3 * slot : 3 * slot + 3].any()]
    flags: tuple[str, ...] = ()
    if unnamed:
        which = ", ".join(str(slot + 1) for slot in unnamed[:5]) + (" ..." if len(unnamed) > 5 else "")
        one = f"marker {which} has no name and is" if len(unnamed) == 1 else f"markers {which} have no name and are"
        flags = (f"{CAUTION}{one} left out",)
    return named, flags
