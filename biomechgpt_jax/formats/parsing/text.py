"""Text files: their lines, and the separator of their cells."""

import hashlib
import re
from pathlib import Path

from biomechgpt_jax.errors import InputError

LARGEST_BYTES = 256 * 2**20


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
    """What separates the cells of a table with this line of names: tabs if there are any, else commas."""
    return "\t" if "\t" in line else ","


def non_empty(cells: list[str]) -> list[str]:
    """The cells that hold something, without blanks around it."""
    return [cell.strip() for cell in cells if cell.strip()]
