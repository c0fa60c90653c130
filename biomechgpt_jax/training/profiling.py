"""Traces of jax.profiler, and how much memory is in use."""

import resource
import sys
from pathlib import Path
from typing import Any

import jax

_GIB = 1024**3


class Profiler:
    """Traces some steps into a directory, to be opened with XProf or Perfetto; a context manager.

    Args:
        directory: where traces are written; if None nothing is traced.
        first: the first step to trace, counted from 1; 0 for none.
        count: number of steps to trace.
    """

    def __init__(self, directory: Path | None, first: int, count: int) -> None:
        self._directory, self._first, self._last = directory, first, first + count - 1
        self._tracing = False

    def before(self, step: int) -> None:
        """Called before a step is started."""
        if step == self._first and self._directory is not None:
            jax.profiler.start_trace(str(self._directory))
            self._tracing = True

    def after(self, step: int, results: Any) -> None:
        """Called when a step was started, with its pending results."""
        if self._tracing and step >= self._last:
            jax.block_until_ready(results)
            self._stop()

    def _stop(self) -> None:
        self._tracing = False
        jax.profiler.stop_trace()

    def __enter__(self) -> "Profiler":
        return self

    def __exit__(self, *_: object) -> None:
        if self._tracing:
            self._stop()


def memory() -> dict[str, float]:
    """`host_memory_gib` of this process, and `device_memory_gib`, the highest peak of its devices; NaN if unknown."""
    peaks = [(device.memory_stats() or {}).get("peak_bytes_in_use") for device in jax.local_devices()]
    known = [peak for peak in peaks if peak is not None]
    return {
        "host_memory_gib": round(_resident() / _GIB, 3),
        "device_memory_gib": round(max(known) / _GIB, 3) if known else float("nan"),
    }


def _resident() -> float:
    """Bytes of memory that this process holds, or, if the kernel does not report that, the most it has held."""
    try:
        for line in Path("/proc/self/status").read_text().splitlines():
            if line.startswith("VmRSS:"):
                return 1024.0 * int(line.split()[1])
    except OSError:
        pass
    unit = 1.0 if sys.platform == "darwin" else 1024.0
    return unit * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
