"""The files of a checkpoint on disk, and the manifest that says what they must be.

    <checkpoints>/step_00000200/   Orbax arrays, committed in place by a file (atomicity COMMIT_FILE)
        metadata.json              step, identity (what a resume must agree with) and shapes
        manifest.json              SHA-256 and size of every other file; written last, by rename

A step is good only with Orbax's commit AND a manifest that every file agrees with, because Orbax restores flipped
bits silently. A step without a manifest was never committed; a damaged one is renamed to `damaged-step_...`.
Everything here is JSON, plain bytes and names: reading it can never execute anything.
"""

import errno
import hashlib
import json
import os
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from biomechgpt_jax.files import write_text

MANIFEST, METADATA, COMMIT = "manifest.json", "metadata.json", "commit_success.txt"
_PREFIX, DAMAGED = "step_", "damaged-"

Entries = dict[str, dict[str, Any]]  # file: {"bytes", "sha256"}


class Damaged(Exception):
    """A checkpoint whose files are not those that were written; the message names the first difference."""


def steps(directory: Path) -> list[Path]:
    """Step directories, newest first."""
    if not directory.is_dir():
        return []
    return sorted(
        (path for path in directory.iterdir() if step_of(path) >= 0 and path.is_dir()), key=step_of, reverse=True
    )


def step_path(directory: Path, step: int) -> Path:
    """The directory of a step."""
    return directory / f"{_PREFIX}{step:08d}"


def step_of(path: Path) -> int:
    """The step that a directory holds, or -1 if it is not one of a step."""
    digits = path.name.removeprefix(_PREFIX)
    return int(digits) if path.name.startswith(_PREFIX) and digits.isdecimal() else -1


def committed(path: Path) -> bool:
    """Whether a step was finished; its files may have been damaged since."""
    return (path / MANIFEST).exists()


def quarantine(path: Path) -> None:
    """Rename a damaged step, so that it is never used but can still be examined."""
    target, attempt = path.with_name(DAMAGED + path.name), 1
    while target.exists():
        attempt += 1
        target = path.with_name(f"{DAMAGED}{path.name}-{attempt}")
    path.rename(target)


def sizes(path: Path) -> dict[str, int]:
    """The size in bytes of every file of a step but the manifest."""
    files = sorted(file for file in path.rglob("*") if file.is_file() and file != path / MANIFEST)
    return {str(file.relative_to(path)): file.stat().st_size for file in files}


def share(bytes_of: dict[str, int], process: int, processes: int) -> list[str]:
    """The files that a process hashes. Shares are disjoint, cover all files and hold similar numbers of bytes."""
    loads = [0] * processes
    mine = []
    for name in sorted(bytes_of, key=lambda name: (-bytes_of[name], name)):
        least = loads.index(min(loads))
        loads[least] += bytes_of[name] + 1
        if least == process:
            mine.append(name)
    return mine


def entries(path: Path, names: Iterable[str], durable: bool = False) -> Entries:
    """Size and SHA-256 of files. With `durable` they survive a power failure once this returns."""

    def one(name: str) -> dict[str, Any]:
        with (path / name).open("rb") as stream:
            if durable:
                os.fsync(stream.fileno())
            sha256 = hashlib.file_digest(stream, "sha256").hexdigest()
            return {"bytes": stream.tell(), "sha256": sha256}

    names = list(names)
    with ThreadPoolExecutor(max_workers=4) as pool:
        return dict(zip(names, pool.map(one, names), strict=True))


def write(path: Path, files: Entries) -> None:
    """Commit a step: it counts from here on, and any change of its files is damage."""
    written = json.dumps({"sha256": _digest_of(files), "files": files}, indent=1, sort_keys=True)
    write_text(path / MANIFEST, written)


def read(path: Path) -> Entries:
    """What the files of a step must be.

    Raises:
        FileNotFoundError: there is no manifest, because the step was never committed.
        Damaged: the manifest is not the one that was written.
    """
    try:
        written = json.loads((path / MANIFEST).read_bytes())
        files, own = written["files"], written["sha256"]
    except (ValueError, KeyError, TypeError) as error:
        raise Damaged(f"{MANIFEST} cannot be read") from error
    if own != _digest_of(files):
        raise Damaged(f"{MANIFEST} is altered")
    return dict(files)


def check_names(path: Path, expected: Entries) -> None:
    """Compare names and sizes of all files.

    Raises:
        Damaged: a file is missing, extra or of another size.
    """
    present = sizes(path)
    for name in sorted(expected.keys() | present.keys()):
        if name not in present:
            raise Damaged(f"{name} is missing")
        if name not in expected:
            raise Damaged(f"{name} is not one of its files")
        if present[name] != expected[name]["bytes"]:
            raise Damaged(f"{name} has another size")
    if COMMIT not in present:
        raise Damaged(f"{COMMIT} is missing")


def check_contents(path: Path, expected: Entries, names: Iterable[str]) -> None:
    """Compare the contents of some files.

    Raises:
        Damaged: a file is altered, or the disk cannot read it.
        OSError: a file cannot be opened.
    """
    try:
        present = entries(path, names)
    except OSError as error:
        if error.errno == errno.EIO:
            raise Damaged(f"{error.filename or 'a file'} cannot be read from the disk") from error
        raise
    for name, entry in present.items():
        if entry["sha256"] != expected[name]["sha256"]:
            raise Damaged(f"{name} is altered")


def verify(path: Path) -> None:
    """Compare every file of a step with its manifest, in this process alone.

    Raises:
        FileNotFoundError: there is no manifest: the step was never committed.
        Damaged: a file is missing, extra, truncated or altered, or the manifest itself is.
    """
    expected = read(path)
    check_names(path, expected)
    check_contents(path, expected, expected)


def _digest_of(files: Any) -> str:
    return hashlib.sha256(json.dumps(files, sort_keys=True).encode()).hexdigest()
