"""A thread per process that notices when training stalls and determines which process causes it.

Every process publishes its step, how long ago it was reached, and where its main thread is: in the coordination store,
or, if it is alone, in a file of the working directory. Process 0 reads them all. When nothing has moved for
`distributed.stall_s`, it names the process that is behind, and that process writes the stack of every thread to
standard error. A process whose watchdog has fallen silent is stopped, or its host is; one that still publishes but is
not inside jax while the others wait there is stuck in its own code. All times are monotonic.
"""

import faulthandler
import json
import os
import socket
import sys
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from biomechgpt_jax import config
from biomechgpt_jax.files import write_text
from biomechgpt_jax.parallel import distributed

FILE = "watchdog.json"
_BEATS_PER_LIMIT = 9  # a stall is noticed at most a ninth of the limit late
_SLOWEST_BEAT_S = 5.0
_COMPILING = 2  # number of first steps that may take as long as a compilation
_WAITS = ("jax", "jaxlib", "orbax")  # packages in which a healthy main thread waits for the others


class Beat(NamedTuple):
    """One message that a process publishes."""

    number: int  # running number of the message
    step: int  # last step that was dispatched to the devices
    where: str  # innermost call of the main thread
    waiting: bool  # whether that call is inside jax


class Watchdog:
    """A context manager around the training loop, which calls `step` after every step.

    Args:
        directory: directory of the file that a lone process writes; if None it writes none.
        say: receives each line for the log; by default lines go to standard error.
        cfg: `stall_s` and `first_step_stall_s` are read; by default those of the settings in force.
    """

    def __init__(
        self,
        directory: Path | None = None,
        say: Callable[[str], None] | None = None,
        cfg: config.Distributed | None = None,
    ) -> None:
        self._cfg = cfg or distributed.current()
        self._directory = directory
        self._say = say or (lambda line: print(f"watchdog: {line}", file=sys.stderr, flush=True))
        self._main = threading.get_ident()
        self._step, self._steps, self._since = 0, 0, time.monotonic()
        self._compiles, self._validated = False, False
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, name="watchdog", daemon=True)
        self._dumped_at = -1

    def step(self, number: int) -> None:
        """Note that a step was dispatched to the devices; costs a few assignments."""
        self._step, self._steps, self._since = number, self._steps + 1, time.monotonic()
        self._compiles = False

    def validating(self) -> None:
        """Note that a validation follows; the first one compiles and may take as long as a first step."""
        self._compiles, self._validated = not self._validated, True

    def __enter__(self) -> "Watchdog":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join(timeout=10)

    def _limit(self) -> float:
        """Seconds that the current step may take."""
        compiles = self._compiles or self._steps < _COMPILING
        return self._cfg.first_step_stall_s if compiles else self._cfg.stall_s

    def _run(self) -> None:
        """The thread's loop. It never raises: a watchdog that cannot publish must not end a healthy training run."""
        number = 0
        others = _Others()
        while not self._ended.wait(min(_SLOWEST_BEAT_S, self._cfg.stall_s / _BEATS_PER_LIMIT)):
            number += 1
            try:
                self._beat(number, others)
            except (OSError, RuntimeError) as error:
                if not self._ended.is_set():
                    self._say(f"cannot publish: {' '.join(str(error).split())[:200]}")
                    if distributed.several():
                        return  # the store is gone, and this process will be soon

    def _beat(self, number: int, others: "_Others") -> None:
        stalled = time.monotonic() - self._since
        frame = sys._current_frames().get(self._main)
        beat = Beat(number, self._step, *_location(frame))
        if not distributed.several():
            self._write(beat, stalled)
            if stalled > self._limit():
                self._report(f"no step for {stalled:.0f} s, the last was {self._step}; {_doing(beat)}", dump=True)
            return
        me = distributed.place().process
        distributed.put(f"beat/{me}", json.dumps(beat))
        if distributed.first():
            beats = {int(process): Beat(*json.loads(text)) for process, text in distributed.entries("beat").items()}
            others.hear(beats)
            if stalled > self._limit():
                culprits = others.culprits(self._cfg.stall_s)
                for process in culprits:
                    distributed.put(f"dump/{process}", str(beats[process].step))
                words = "; ".join(others.words(process, distributed.host(process)) for process in culprits)
                words = words or f"no step for {stalled:.0f} s on any process; {_doing(beat)}"
                self._report(words, dump=me in culprits or not culprits)
        elif distributed.entries("dump").get(str(me)) == str(self._step):
            self._report(f"{distributed.host(me)} is holding up the others: {_doing(beat)}", dump=True)

    def _report(self, words: str, dump: bool) -> None:
        """Report once for every step at which training stalls."""
        if self._dumped_at == self._step:
            return
        self._dumped_at = self._step
        self._say(words)
        if dump:
            faulthandler.dump_traceback(file=sys.__stderr__ or 2, all_threads=True)

    def _write(self, beat: Beat, stalled: float) -> None:
        if self._directory is not None and self._directory.is_dir():
            entry = {"step": beat.step, "seconds_since": round(stalled, 1), "where": beat.where}
            entry |= {"host": socket.gethostname(), "pid": os.getpid()}
            # Not durable: where the disk is slow, waiting for it would keep this thread from noticing a stall.
            write_text(self._directory / FILE, json.dumps(entry) + "\n", durable=False)


class _Others:
    """What process 0 knows about all processes, by its own clock."""

    def __init__(self) -> None:
        self._beats: dict[int, Beat] = {}
        self._heard: dict[int, float] = {}  # when each process' last beat arrived
        self._moved: dict[int, float] = {}  # when each process' step last changed

    def hear(self, beats: Mapping[int, Beat]) -> None:
        """Take note of what all processes have published."""
        now = time.monotonic()
        for process, beat in beats.items():
            before = self._beats.get(process)
            if before is None or beat.number != before.number:
                self._heard[process] = now
            if before is None or beat.step != before.step:
                self._moved[process] = now
            self._beats[process] = beat

    def culprits(self, limit_s: float) -> list[int]:
        """Processes that hold up the others: silent ones, or else those at the lowest step that do not wait in jax."""
        now = time.monotonic()
        silent = [process for process, heard in self._heard.items() if now - heard > limit_s / 3]
        if silent:
            return sorted(silent)
        lowest = min(beat.step for beat in self._beats.values())
        behind = [process for process, beat in self._beats.items() if beat.step == lowest]
        busy = [process for process in behind if not self._beats[process].waiting]
        if busy and len(busy) < len(self._beats):
            return sorted(busy)
        return sorted(behind) if len(behind) < len(self._beats) else []

    def words(self, process: int, name: str) -> str:
        """What is known about a process, in one sentence."""
        now, beat = time.monotonic(), self._beats[process]
        farthest = max(other.step for other in self._beats.values())
        return (
            f"{name} is behind: at step {beat.step} for {now - self._moved[process]:.0f} s, the farthest is at "
            f"{farthest}, last heard from {now - self._heard[process]:.0f} s ago; {_doing(beat)}"
        )


def _location(frame: Any) -> tuple[str, bool]:
    """The innermost call of a thread in words, and whether it waits inside jax."""
    if frame is None:
        return "nowhere", False
    code = frame.f_code
    path = Path(code.co_filename)
    return f"{path.parent.name}/{path.name}:{frame.f_lineno} {code.co_name}", any(part in _WAITS for part in path.parts)


def _doing(beat: Beat) -> str:
    return f"its main thread {'waits' if beat.waiting else 'is'} in {beat.where}"
