"""Checkpoints that are whole or not there.

    <checkpoints>/step_00000200/   Orbax arrays, committed in place by a file (atomicity COMMIT_FILE)
        metadata.json              step and identity: what a resume must agree with
        manifest.json              SHA-256 and size of every other file; written last, by rename

A step is good only with Orbax's commit AND a manifest that every file agrees with: Orbax restores flipped
bits silently. A step without a manifest was never committed and is skipped; a damaged one is renamed to
`damaged-step_...` and the one before it is used.
"""

import hashlib
import json
import logging
import os
import shutil
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import jax
import numpy as np
import orbax.checkpoint as ocp
from jax.experimental import multihost_utils

from biomechgpt_jax.errors import InputError

MANIFEST, METADATA, COMMIT = "manifest.json", "metadata.json", "commit_success.txt"
_PREFIX, _DAMAGED = "step_", "damaged-"
_LOG = logging.getLogger(__name__)


class Damaged(Exception):
    """A checkpoint whose files are not those that were written; the message names the first difference."""


class Checkpoints:
    """The checkpoints of one run. Saves are asynchronous, one at a time.

    Args:
        directory: where they lie; made when the first is saved. None: nothing is saved.
        identity: nested dict of JSON values that a checkpoint must share with the run that resumes from it.
        keep_last: how many to keep.
    """

    def __init__(self, directory: str | Path | None, identity: dict[str, Any], keep_last: int) -> None:
        self._directory = None if directory is None else Path(directory).resolve()
        self._identity = identity
        self._keep_last = max(1, keep_last)
        self._orbax = _orbax()
        self._commit: threading.Thread | None = None
        self._error: BaseException | None = None

    def save(self, step: int, state: Any) -> None:
        """Start to save; returns once the arrays have left the devices, so that they may be donated.

        Args:
            step: completed steps.
            state: tree of jax.Array.

        Raises:
            RuntimeError: the save before this one failed.
        """
        self.wait()
        if self._directory is None:
            return
        self._directory.mkdir(parents=True, exist_ok=True)
        path = self._directory / f"{_PREFIX}{step:08d}"
        if (path / MANIFEST).exists():
            return  # already committed
        cut_off = path.exists()  # the save of a run that was killed meanwhile
        self._orbax.save(path, args=ocp.args.PyTreeSave(state), force=cut_off)
        self._commit = threading.Thread(target=self._finish, args=(self._directory, path, step), name="checkpoint")
        self._commit.start()

    def _finish(self, directory: Path, path: Path, step: int) -> None:
        try:
            self._orbax.wait_until_finished()  # every process has written, and Orbax has committed
            if jax.process_index() == 0:
                _write_json(path / METADATA, {"step": step, "identity": self._identity})
                _write_json(path / MANIFEST, _manifest(path))
                self._retain(directory)
        except BaseException as error:  # raised in the thread that trains, by the next check
            self._error = error

    def _retain(self, directory: Path) -> None:
        """Delete all but the newest committed steps; the newest was hashed from disk a moment ago."""
        committed = [path for path in _steps(directory) if (path / MANIFEST).exists()]
        for path in committed[self._keep_last :]:
            (path / MANIFEST).unlink()  # first: a half-deleted step must not look committed
            shutil.rmtree(path)
        if committed:
            for path in _steps(directory):
                if path < committed[0] and not (path / MANIFEST).exists():
                    shutil.rmtree(path, ignore_errors=True)  # cut off long ago

    def check(self) -> None:
        """Raise RuntimeError if a save has failed; costs nothing."""
        if self._error is not None:
            error, self._error = self._error, None
            reason = " ".join(str(error).split())[:300]
            raise RuntimeError(
                f"a checkpoint in {self._directory} could not be written ({type(error).__name__}: {reason}); "
                f"earlier ones are intact: check the disk and run again"
            ) from error

    def wait(self) -> None:
        """Wait until the save under way is committed.

        Raises:
            RuntimeError: it failed.
        """
        if self._commit is not None:
            self._commit.join()
            self._commit = None
        self.check()

    def close(self) -> None:
        """Wait, then free Orbax's threads."""
        try:
            self.wait()
        finally:
            self._orbax.close()

    def restore(self, abstract: Any) -> tuple[int, Any] | None:
        """The newest good checkpoint as (step, state), or None if there is none.

        Args:
            abstract: tree of `jax.ShapeDtypeStruct` with shardings; these may differ from those saved.

        Raises:
            InputError: the checkpoint belongs to another model, tokenizer, data, seed, batch or optimizer.
        """
        if self._directory is None:
            return None
        return restore(self._directory, abstract, self._identity, quarantine=True)


def restore(
    directory: str | Path, abstract: Any, identity: dict[str, Any], quarantine: bool = False
) -> tuple[int, Any] | None:
    """Verify, walk back to the newest good step, and restore `abstract`: all of what was saved or a part.

    Args:
        directory: of the checkpoints.
        abstract: tree of `jax.ShapeDtypeStruct` with shardings.
        identity: what the checkpoint must agree with; keys that are not given are not compared.
        quarantine: rename damaged steps; False leaves the directory as it is (readers).

    Raises:
        InputError: the newest good checkpoint differs from `identity`; the message lists both values.
    """
    directory = Path(directory).resolve()
    step = -1
    if jax.process_index() == 0:  # one verdict for all processes
        good = newest_good(directory, quarantine)
        step = -1 if good is None else _step_of(good)
    if jax.process_count() > 1:
        step = int(multihost_utils.broadcast_one_to_all(np.int32(step)))
    if step < 0:
        return None
    path = directory / f"{_PREFIX}{step:08d}"
    saved = json.loads((path / METADATA).read_text())["identity"]
    differences = compare(saved, identity)
    if differences:
        raise InputError(
            f"{path} was trained otherwise: {'; '.join(differences)}; "
            f"restore these settings, or train into another --workdir"
        )
    placements = ocp.checkpoint_utils.construct_restore_args(abstract)
    arguments = ocp.args.PyTreeRestore(item=abstract, restore_args=placements, partial_restore=True)
    with _orbax() as reader:
        return step, reader.restore(path, args=arguments)


def newest_good(directory: Path, quarantine: bool) -> Path | None:
    """The newest step that passes `verify`, or None; damaged ones are renamed if `quarantine`."""
    for path in _steps(directory):
        try:
            verify(path)
            return path
        except Damaged as error:
            _LOG.warning("checkpoint %s is damaged (%s); using the one before it", path, error)
            if quarantine:
                _quarantine(path)
        except FileNotFoundError:
            _LOG.warning("checkpoint %s was never committed; using the one before it", path)
    return None


def verify(path: Path) -> None:
    """Compare every file of a step with its manifest.

    Raises:
        FileNotFoundError: there is no manifest: the step was never committed.
        Damaged: a file is missing, extra, truncated or altered, or the manifest itself is.
    """
    try:
        written = json.loads((path / MANIFEST).read_text())
        files, own = written["files"], written["sha256"]
    except (ValueError, KeyError, TypeError) as error:
        raise Damaged(f"{MANIFEST} cannot be read") from error
    if own != _digest_of(files):
        raise Damaged(f"{MANIFEST} is altered")
    found = {str(file.relative_to(path)): file for file in _files(path)}
    for name in sorted(files.keys() | found.keys()):
        if name not in found:
            raise Damaged(f"{name} is missing")
        if name not in files:
            raise Damaged(f"{name} is not one of its files")
        if found[name].stat().st_size != files[name]["bytes"]:
            raise Damaged(f"{name} has another size")
    if COMMIT not in found:
        raise Damaged(f"{COMMIT} is missing")
    for name, sha256 in _hashes(path, list(found.values())).items():
        if sha256 != files[name]["sha256"]:
            raise Damaged(f"{name} is altered")


def compare(saved: dict[str, Any], current: dict[str, Any]) -> list[str]:
    """Differences of two nested dicts, one text each: `key: OLD in the checkpoint, NEW now`."""
    old, new = _flat(saved), _flat(json.loads(json.dumps(current)))
    changed = sorted(key for key in new if old.get(key) != new[key])
    return [f"{key}: {old.get(key, 'absent')} in the checkpoint, {new[key]} now" for key in changed]


def _flat(tree: Any, prefix: str = "") -> dict[str, Any]:
    if not isinstance(tree, dict):
        return {prefix: tree}
    flat: dict[str, Any] = {}
    for name, value in tree.items():
        flat |= _flat(value, f"{prefix}.{name}" if prefix else name)
    return flat


def _orbax() -> ocp.AsyncCheckpointer:
    mode = ocp.options.AtomicityOptions(mode=ocp.options.AtomicityMode.COMMIT_FILE)
    return ocp.AsyncCheckpointer(ocp.PyTreeCheckpointHandler(), atomicity_options=mode)


def _steps(directory: Path) -> list[Path]:
    """Step directories, newest first."""
    if not directory.is_dir():
        return []
    found = (path for path in directory.iterdir() if path.is_dir() and _step_of(path) >= 0)
    return sorted(found, key=_step_of, reverse=True)


def _step_of(path: Path) -> int:
    digits = path.name.removeprefix(_PREFIX)
    return int(digits) if path.name.startswith(_PREFIX) and digits.isdigit() else -1


def _quarantine(path: Path) -> None:
    target, attempt = path.with_name(_DAMAGED + path.name), 1
    while target.exists():
        attempt += 1
        target = path.with_name(f"{_DAMAGED}{path.name}-{attempt}")
    path.rename(target)


def _files(path: Path) -> list[Path]:
    return sorted(file for file in path.rglob("*") if file.is_file() and file != path / MANIFEST)


def _hashes(path: Path, files: list[Path]) -> dict[str, str]:
    def one(file: Path) -> str:
        with file.open("rb") as stream:
            return hashlib.file_digest(stream, "sha256").hexdigest()

    with ThreadPoolExecutor(max_workers=4) as pool:
        return {str(f.relative_to(path)): h for f, h in zip(files, pool.map(one, files), strict=True)}


def _manifest(path: Path) -> dict[str, Any]:
    hashes = _hashes(path, _files(path))
    entries = {name: {"bytes": (path / name).stat().st_size, "sha256": sha256} for name, sha256 in hashes.items()}
    return {"sha256": _digest_of(entries), "files": entries}


def _digest_of(entries: Any) -> str:
    return hashlib.sha256(json.dumps(entries, sort_keys=True).encode()).hexdigest()


def _write_json(path: Path, value: Any) -> None:
    temporary = path.with_name(path.name + ".partial")
    with temporary.open("w") as file:
        json.dump(value, file, indent=1, sort_keys=True)
        file.flush()
        os.fsync(file.fileno())
    temporary.rename(path)
