"""Where the wall time of a run goes, and what share of it trained.

Every moment belongs to one of `KINDS`; durations are monotonic, so that a clock moved back does not matter. The time
that a restart repeats is lost: what the log tells of steps after the restored one.
"""

import contextlib
import time
from collections.abc import Iterator, Mapping

# start: mesh, state, restore. step: what is left, the devices at work. lost: work after the checkpoint restored.
KINDS = ("start", "compile", "input_wait", "step", "checkpoint", "validation", "lost")


class Stopwatch:
    """Seconds by kind since it was made; it starts in `start`."""

    def __init__(self) -> None:
        self._seconds = dict.fromkeys(KINDS, 0.0)
        self._kind, self._since = "start", time.monotonic()

    def to(self, kind: str) -> float:
        """From now on time is of this kind; returns how long the one before it lasted."""
        now = time.monotonic()
        passed = now - self._since
        self._seconds[self._kind] += passed
        self._kind, self._since = kind, now
        return passed

    @contextlib.contextmanager
    def spent(self, kind: str) -> Iterator[None]:
        """Time inside is of this kind."""
        before = self._kind
        self.to(kind)
        try:
            yield
        finally:
            self.to(before)

    def recount(self, seconds: float, kind: str, other: str) -> None:
        """Seconds that were counted as one kind are of another."""
        self._seconds[kind] -= seconds
        self._seconds[other] += seconds

    def go_on(self, earlier: Mapping[str, float]) -> None:
        """Add the seconds by kind of the runs that this one continues."""
        for kind, seconds in earlier.items():
            self._seconds[kind] += seconds

    def read(self) -> dict[str, float]:
        """`<kind>_seconds`, and `goodput`: the share of steps in all of it."""
        self.to(self._kind)
        told = {f"{kind}_seconds": round(seconds, 3) for kind, seconds in self._seconds.items()}
        return told | {"goodput": round(self._seconds["step"] / max(sum(self._seconds.values()), 1e-9), 4)}


def earlier(kept: list[dict[str, float]], cut: list[dict[str, float]]) -> dict[str, float]:
    """Seconds by kind of the runs before, from the entries of the log that a restart keeps and those it cuts away."""
    seconds = {kind: max((entry.get(f"{kind}_seconds") or 0.0 for entry in kept), default=0.0) for kind in KINDS}
    if cut:
        reached = max((entry.get("wall_seconds", 0.0) for entry in kept), default=0.0)
        before = max(entry.get("lost_seconds") or 0.0 for entry in cut)
        seconds["lost"] = before + max(0.0, max(entry.get("wall_seconds", 0.0) for entry in cut) - reached)
    return seconds
