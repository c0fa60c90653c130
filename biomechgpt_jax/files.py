"""Files that a reader sees whole or not at all, and JSON without NaN."""

import contextlib
import json
import math
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO


@contextlib.contextmanager
def write_atomically(path: Path, durable: bool = True) -> Iterator[BinaryIO]:
    """Open a file under a temporary name beside `path`; it is renamed to `path` when the block ends without an error.

    After an error nothing of it is left, and what stood at `path` before still does.

    Args:
        path: of the file, in a folder that exists.
        durable: whether the file also survives a loss of power from here on, which takes the time of an fsync.

    Raises:
        OSError: the file cannot be written; `filename` is `path`.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        with temporary.open("wb") as file:
            yield file
            file.flush()
            if durable:
                os.fsync(file.fileno())
        temporary.replace(path)
    except BaseException as error:
        with contextlib.suppress(OSError):
            temporary.unlink()
        if isinstance(error, OSError) and error.filename in (None, str(temporary)):
            error.filename, error.filename2 = str(path), None
        raise
    if durable:
        _sync_folder(path.parent)


def _sync_folder(folder: Path) -> None:
    """Put the names of a folder's files on disk; some file systems have no such thing."""
    with contextlib.suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def write_text(path: Path, text: str, durable: bool = True) -> None:
    """Write a text file as UTF-8; arguments and errors as those of `write_atomically`."""
    with write_atomically(path, durable) as file:
        file.write(text.encode())


def write_json(path: Path, value: Any) -> None:
    """Write one JSON document, as `to_json` makes it; errors as those of `write_atomically`."""
    write_text(path, to_json(value, indent=1) + "\n")


def to_json(value: Any, indent: int | None = None) -> str:
    """JSON of a value made `clean`, on one line where there is no `indent`."""
    return json.dumps(clean(value), indent=indent, allow_nan=False)


def clean(value: Any) -> Any:
    """The value as JSON can hold it: NaN and infinities become None, NumPy values plain Python, the rest text."""
    if isinstance(value, dict):
        return {str(name): clean(entry) for name, entry in value.items()}
    if isinstance(value, (list, tuple)):
        return [clean(entry) for entry in value]
    if isinstance(value, (str, bool, int)) or value is None:
        return value
    if hasattr(value, "tolist"):
        return clean(value.tolist())
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    return str(value)
