"""Where the wall time of a run goes, and what share of it was spent on training steps.

Every moment belongs to one of `KINDS`. Durations come from the monotonic clock, so that a clock set back does no harm.
Time spent on steps after the restored checkpoint, which the log of the earlier run shows, counts as lost: the restart
repeats it.
"""

import contextlib
import time
from collections.abc import Iterator, Mapping

# start: mesh, state and restore. step: everything not named here, mostly devices at work. lost: repeated by a restart.
KINDS = ("start", "compile", "input_wait", "step", "checkpoint", "validation", "lost")


class Stopwatch:
    """Counts seconds by kind from its creation on, beginning with `start`."""

    def __init__(self) -> None:
        self._seconds = dict.fromkeys(KINDS, 0.0)
        self._kind, self._since = "start", time.monotonic()

    def to(self, kind: str) -> float:
        """Count time as this kind from now on; returns how many seconds the previous kind lasted."""
        now = time.monotonic()
        passed = now - self._since
        self._seconds[self._kind] += passed
        self._kind, self._since = kind, now
        return passed

    @contextlib.contextmanager
    def spent(self, kind: str) -> Iterator[None]:
        """Count the time inside as this kind."""
        before = self._kind
        self.to(kind)
        try:
            yield
        finally:
            self.to(before)

    def recount(self, seconds: float, kind: str, other: str) -> None:
        """Move seconds that were counted as one kind to another."""
        self._seconds[kind] -= seconds
        self._seconds[other] += seconds

    def add(self, earlier: Mapping[str, float]) -> None:
        """Add the seconds by kind of the runs that this one continues."""
        for kind, seconds in earlier.items():
            self._seconds[kind] += seconds

    def read(self) -> dict[str, float]:
        """`<kind>_seconds` of every kind, and `goodput`, the share of `step` in their sum."""
        self.to(self._kind)
        seconds = {f"{kind}_seconds": round(value, 3) for kind, value in self._seconds.items()}
        return seconds | {"goodput": round(self._seconds["step"] / max(sum(self._seconds.values()), 1e-9), 4)}


def earlier(kept: list[dict[str, float]], cut: list[dict[str, float]]) -> dict[str, float]:
    """Seconds by kind of earlier runs, from the log entries that a restart keeps and those that it cuts away."""
    seconds = {kind: max((entry.get(f"{kind}_seconds") or 0.0 for entry in kept), default=0.0) for kind in KINDS}
    if cut:
        reached = max((entry.get("wall_seconds", 0.0) for entry in kept), default=0.0)
        before = max(entry.get("lost_seconds") or 0.0 for entry in cut)
        seconds["lost"] = before + max(0.0, max(entry.get("wall_seconds", 0.0) for entry in cut) - reached)
    return seconds
