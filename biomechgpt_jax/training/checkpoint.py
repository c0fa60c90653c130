"""Checkpoints that are either whole or absent: how one process or many save, keep and restore them.

A save returns at once, so that training continues. On an accelerator the arrays are copied to the host; on a CPU Orbax
holds references to the arrays themselves, and XLA allocates new memory for a step that would otherwise overwrite them.
Threads write, hash and commit. Processes agree on the outcome by `meetings`, never through the devices, which are busy
training. For the files on disk and what makes a checkpoint good, see `manifest`.
"""

import functools
import json
import logging
import shutil
import threading
from collections.abc import Callable
from itertools import count
from pathlib import Path
from typing import Any

import jax
import orbax.checkpoint as ocp

from biomechgpt_jax import __version__
from biomechgpt_jax.errors import ClusterError, InputError, RunError
from biomechgpt_jax.files import write_text
from biomechgpt_jax.parallel import distributed
from biomechgpt_jax.training import identities, manifest, meetings
from biomechgpt_jax.training.meetings import Meetings

GOOD, UNCOMMITTED, GONE = "good", "uncommitted", "gone"  # any other verdict describes the damage
_LOG = logging.getLogger(__name__)
_series = count()  # numbers agree because every process opens the same checkpoints in the same order


class Checkpoints:
    """The checkpoints of one run. Saves are asynchronous, one at a time. Every process calls the same methods in order.

    Args:
        directory: of the checkpoints, created by `restore`; if None nothing is saved.
        identity: nested dict of JSON values that a checkpoint must share with the run that resumes from it.
        keep_last: how many of the newest to keep.
        keep_every: also keep the checkpoints of every so many steps; 0 for none.
    """

    def __init__(
        self, directory: str | Path | None, identity: dict[str, Any], keep_last: int, keep_every: int = 0
    ) -> None:
        self._directory = None if directory is None else Path(directory).resolve()
        self._identity = identity
        self._keep_last, self._keep_every = max(1, keep_last), keep_every
        series = next(_series)
        self._saves, self._reads = Meetings(f"save-{series}"), Meetings(f"read-{series}")
        self._orbax = _writer(self._saves)
        self._commit: threading.Thread | None = None
        self._saved = -1
        # A failed save ends the run at the same step in every process.
        self._turn = threading.Lock()
        self._error: Exception | None = None
        self._error_step = 0
        self._seen = 0

    def restore(self, abstract: Any) -> tuple[int, Any] | None:
        """The newest good checkpoint as (step, state), or None if there is none. Prepares the directory for saving.

        Damaged steps are renamed, and uncommitted ones of an interrupted run are removed.

        Args:
            abstract: tree of `jax.ShapeDtypeStruct` with shardings, which may differ from the saved ones.

        Raises:
            InputError: the checkpoint belongs to another model, tokenizer, data, seed, batch or optimizer, or the
                directory cannot be written.
            RunError: a good checkpoint cannot be read.
        """
        if self._directory is None:
            return None
        directory = self._directory
        self._reads.reach(lambda: _probe(directory))
        restored = _restore(directory, abstract, self._identity, self._reads, quarantine=True)
        self._reads.reach(lambda: _on_first(_clear, directory, -1 if restored is None else restored[0]))
        return restored

    def save(self, step: int, state: Any) -> None:
        """Start a save; the state may be donated to the next step at once.

        Args:
            step: completed steps.
            state: tree of jax.Array.

        Raises:
            RunError: the save before this one failed.
        """
        self.wait()
        if self._directory is None or step == self._saved:
            return
        self._saved = step
        path = manifest.step_path(self._directory, step)
        described = {
            "step": step,
            "identity": self._identity,
            "arrays": identities.arrays(state),
            "written_by": {
                "version": __version__,
                "processes": jax.process_count(),
                "devices": jax.device_count(),
            },
        }
        try:
            # Checked before Orbax starts, because a thread of it that cannot make the directory leaves others waiting.
            self._saves.reach(lambda: _on_first(_make_and_remove, path))
            self._orbax.save(path, args=ocp.args.PyTreeSave(state))
        except (meetings.Failed, OSError, ValueError) as error:
            self._error = error
            self._raise()
        self._commit = threading.Thread(target=self._finish, args=(path, described), name="checkpoint")
        self._commit.start()

    def _finish(self, path: Path, described: dict[str, Any]) -> None:
        """The rest of a save, in a thread beside the training."""
        place = distributed.place()

        def listed() -> dict[str, int]:
            if not distributed.first():
                return {}  # only the list of process 0 counts; others might see the file that it is about to rename
            write_text(path / manifest.METADATA, json.dumps(described, indent=1, sort_keys=True))
            return manifest.sizes(path)

        def publish(shares: list[manifest.Entries]) -> None:
            manifest.write(path, {name: entry for share in shares for name, entry in share.items()})
            try:
                self._retain(path.parent)
            except OSError as error:  # the new step is good nevertheless
                _LOG.warning("old checkpoints in %s cannot be deleted: %s", path.parent, meetings.words(error))

        try:
            self._written()
            sizes = self._saves.reach(listed)
            mine = manifest.share(sizes, place.process, place.processes)
            self._saves.reach(lambda: manifest.entries(path, mine, durable=True), publish)
        except Exception as error:
            self._fail(error, path)

    def _written(self) -> None:
        """Wait until every process has written its arrays and Orbax has committed; fail in all if one fails."""
        try:
            self._orbax.wait_until_finished()
        except (meetings.Failed, ClusterError):
            raise  # from a meeting of `_writer`, so that the other processes know
        except Exception as error:
            reason = error

            def report() -> None:
                raise reason

            self._saves.reach(report)  # the others wait in that meeting

    def _fail(self, error: Exception, path: Path) -> None:
        """Let every process raise the error at the same step.

        No training thread passes a check until all of them know where to stop, and a process that is ahead is so by
        no more than the step it is in, as every step needs the others.
        """
        with self._turn:
            self._error, self._error_step = error, self._seen
            if isinstance(error, meetings.Failed):
                self._error_step = 1 + self._saves.reach(lambda: self._seen, max)
                if not manifest.committed(path):
                    _on_first(shutil.rmtree, path, True)  # a full disk needs the space

    def _retain(self, directory: Path) -> None:
        """Delete older steps. The newest, just hashed from the disk, always stays."""
        good = [path for path in manifest.steps(directory) if manifest.committed(path)]
        for path in good[self._keep_last :]:
            if self._keep_every == 0 or manifest.step_of(path) % self._keep_every:
                (path / manifest.MANIFEST).unlink()  # first, so that a half-deleted step does not look committed
                shutil.rmtree(path)
        for path in manifest.steps(directory):
            if manifest.step_of(path) < manifest.step_of(good[0]) and not manifest.committed(path):
                shutil.rmtree(path, ignore_errors=True)  # left by a run that was interrupted

    def check(self, step: int) -> None:
        """Raise RunError if a save has failed. Costs nothing; every process calls it after every step.

        Args:
            step: completed steps.
        """
        with self._turn:
            self._seen = step
            if self._error is not None and step >= self._error_step:
                self._raise()

    def _raise(self) -> None:
        error, self._error = self._error, None
        if error is None:
            return
        reason = str(error) if isinstance(error, RunError) else meetings.words(error)
        raise RunError(
            f"a checkpoint in {self._directory} could not be written ({reason}); earlier ones are intact: make sure "
            "the disk is there and has space, then run the same command again to continue"
        ) from error

    def wait(self) -> None:
        """Wait until the current save, if any, is committed.

        Raises:
            RunError: it failed.
        """
        if self._commit is not None:
            self._commit.join()
            self._commit = None
        self._raise()

    def close(self) -> None:
        """Wait, then free Orbax's threads."""
        try:
            self.wait()
        finally:
            self._orbax.close()


def restore(directory: str | Path, abstract: Any, identity: dict[str, Any]) -> tuple[int, Any] | None:
    """Find the newest step that verifies, and restore `abstract`, which is all or a part of what was saved.

    Nothing in the directory is changed. Every process must call this.

    Args:
        directory: of the checkpoints.
        abstract: tree of `jax.ShapeDtypeStruct` with shardings.
        identity: what the checkpoint must agree with; keys not given are not compared.

    Raises:
        InputError: the newest good checkpoint differs from `identity`; the message lists both values.
        RunError: it cannot be read.
    """
    together = Meetings(f"read-{next(_series)}")
    return _restore(Path(directory).resolve(), abstract, identity, together, quarantine=False)


def _restore(
    directory: Path, abstract: Any, identity: dict[str, Any], together: Meetings, quarantine: bool
) -> tuple[int, Any] | None:
    step = _newest_good(directory, together, quarantine)
    if step is None:
        return None
    path = manifest.step_path(directory, step)
    placements = ocp.checkpoint_utils.construct_restore_args(abstract)
    arguments = ocp.args.PyTreeRestore(item=abstract, restore_args=placements, partial_restore=True)
    state: Any = None

    def read() -> None:
        nonlocal state
        with ocp.Checkpointer(ocp.PyTreeCheckpointHandler()) as reader:
            state = reader.restore(path, args=arguments)

    try:
        together.reach(lambda: identities.require_same(path, identity, abstract))
        together.reach(read)
    except meetings.Failed as error:
        if together.reach(lambda: not manifest.committed(path)):  # deleted by the run that writes here
            return _restore(directory, abstract, identity, together, quarantine)
        raise RunError(f"{path} is whole but cannot be read: {error}") from error
    return step, state


def _newest_good(directory: Path, together: Meetings, quarantine: bool) -> int | None:
    """The newest step whose files are as they were written, or None. Damaged steps are renamed if `quarantine`."""
    for step in together.reach(lambda: [manifest.step_of(path) for path in manifest.steps(directory)]):
        path = manifest.step_path(directory, step)
        verdict = together.reach(functools.partial(_judge, path), _verdict)
        if verdict == GOOD:
            return int(step)
        if verdict == GONE:  # deleted meanwhile by the run that writes here
            return _newest_good(directory, together, quarantine)
        if distributed.first():
            what = "was never committed" if verdict == UNCOMMITTED else f"is damaged ({verdict})"
            _LOG.warning("checkpoint %s %s; using the one before it", path, what)
        if quarantine and verdict != UNCOMMITTED:
            together.reach(functools.partial(_on_first, manifest.quarantine, path))
    return None


def _judge(path: Path) -> str:
    """This process's verdict on a step: process 0 compares the names, every process its share of the contents."""
    place, first = distributed.place(), distributed.first()
    if not manifest.committed(path):
        return UNCOMMITTED if path.exists() else GONE
    try:
        expected = manifest.read(path)
        if first:
            manifest.check_names(path, expected)
        mine = manifest.share({n: e["bytes"] for n, e in expected.items()}, place.process, place.processes)
        manifest.check_contents(path, expected, mine)
    except manifest.Damaged as error:
        return GONE if first and not manifest.committed(path) else str(error)
    return GOOD


def _verdict(verdicts: list[str]) -> str:
    """Combine the verdicts of all processes: that of process 0 if it is not good, else the first that is not good."""
    if verdicts[0] == GOOD:
        for process, one in enumerate(verdicts):
            if one in (UNCOMMITTED, GONE):
                raise RunError(
                    f"{distributed.host(process)} does not see a checkpoint that process 0 sees; give all processes "
                    "the same --workdir on a shared file system, and start again"
                )
    return next((one for one in verdicts if one != GOOD), GOOD)


def _on_first(task: Callable[..., Any], *arguments: Any) -> None:
    """Call in process 0 only."""
    if distributed.first():
        task(*arguments)


def _probe(directory: Path) -> None:
    """Raise InputError unless this process can write there."""
    probe = directory / f".probe-{distributed.place().process}"
    try:
        directory.mkdir(parents=True, exist_ok=True)
        write_text(probe, "can this directory be written?\n")
        probe.unlink()
    except OSError as error:
        raise InputError(
            f"checkpoints cannot be written to {directory}: {error.strerror}; give a --workdir that can be written"
        ) from error


def _make_and_remove(path: Path) -> None:
    """Check that a directory can be made at this path."""
    path.mkdir(parents=True)
    path.rmdir()


def _clear(directory: Path, step: int) -> None:
    """Remove later steps that were never committed; the resumed run will reach them again."""
    for path in manifest.steps(directory):
        if manifest.step_of(path) > step and not manifest.committed(path):
            shutil.rmtree(path)


def _writer(together: Meetings) -> ocp.AsyncCheckpointer:
    """Orbax's writer. Its threads wait for one another in our meetings, so that a failure is known at once."""

    def meet(*, key: str, timeout_ms: int) -> None:
        together.reach(lambda: None)

    logging.getLogger("absl").addFilter(_not_raised_too)
    options = ocp.options.AsyncOptions(
        barrier_sync_fn=meet,
        timeout_secs=2 * int(meetings.TIMEOUT_S),
        create_directories_asynchronously=False,  # see `Checkpoints.save`
    )
    return ocp.AsyncCheckpointer(
        ocp.PyTreeCheckpointHandler(),
        async_options=options,
        atomicity_options=ocp.options.AtomicityOptions(mode=ocp.options.AtomicityMode.COMMIT_FILE),
    )


def _not_raised_too(record: logging.LogRecord) -> bool:
    """Drop the tracebacks that Orbax logs for errors which it also raises; we report those on one line."""
    return not (record.exc_info and "orbax" in record.pathname)
