"""TensorBoard's events of a run, a copy of its metrics.jsonl.

The training thread writes them. The library's own writer has a thread that ends when the disk is full, after which a
caller with more events would wait forever.
"""

import contextlib
import time
from collections.abc import Mapping
from pathlib import Path

from tensorboardX.event_file_writer import EventsWriter
from tensorboardX.proto.event_pb2 import Event, SessionLog
from tensorboardX.proto.summary_pb2 import Summary


class Events:
    """One file of events in a directory.

    If the disk is full nothing more is written; the run reports that itself when it writes its record.

    Args:
        directory: created if it is missing.
        first_step: events that earlier runs wrote for this step and later ones are hidden.
    """

    def __init__(self, directory: Path, first_step: int) -> None:
        self._writer: EventsWriter | None = None
        with contextlib.suppress(OSError):
            directory.mkdir(parents=True, exist_ok=True)
            self._writer = EventsWriter(str(directory / "events"))
        self._add(Event(step=first_step, file_version="brain.Event:2"))
        self._add(Event(step=first_step, session_log=SessionLog(status=SessionLog.START)))

    def write(self, step: int, values: Mapping[str, float]) -> None:
        """Scalars of a step."""
        scalars = [Summary.Value(tag=name, simple_value=value) for name, value in values.items()]
        self._add(Event(step=step, summary=Summary(value=scalars)))

    def flush(self) -> None:
        """Write everything to the disk."""
        if self._writer is not None:
            try:
                self._writer.flush()
            except OSError:
                self._writer = None

    def close(self) -> None:
        """Flush, and close the file."""
        if self._writer is not None:
            with contextlib.suppress(OSError):
                self._writer.close()
            self._writer = None

    def _add(self, event: Event) -> None:
        if self._writer is not None:
            event.wall_time = time.time()
            try:
                self._writer.write_event(event)
            except OSError:
                self._writer = None
