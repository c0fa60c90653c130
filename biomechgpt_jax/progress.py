"""Progress of a stage on standard error: one live line, then one that stays."""

import sys
import time
from collections.abc import Sequence
from types import TracebackType


class Progress:
    """Progress of one stage. A terminal line is redrawn; elsewhere a line is printed at most every 10 s."""

    def __init__(self, stage: str, show: bool = True):
        self._stage, self._show = stage, show
        self._live = show and sys.stderr.isatty()
        self._started = time.monotonic()
        self._printed = self._started
        self._closing = ""
        self._remarks: Sequence[str] = ()

    def __enter__(self) -> "Progress":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None:
            self._line(f"{self._closing or 'done'}  [{time.monotonic() - self._started:.0f} s]", last=True)
            for remark in self._remarks:
                self._line(remark, last=True)
        elif self._live:
            print(file=sys.stderr)

    def update(self, done: float, whole: float, words: str) -> None:
        """Show how far the stage has got."""
        now = time.monotonic()
        if now - self._printed < (0.1 if self._live else 10.0):
            return
        self._printed = now
        share = done / whole if whole else 0.0
        left = (now - self._started) * (1 - share) / share if share > 0.02 else float("nan")
        rest = f", {left:.0f} s left" if left == left else ""
        self._line(f"{100 * share:3.0f} %  {words}{rest}", last=False)

    def done(self, words: str, remarks: Sequence[str] = ()) -> None:
        """Set the last line, which says what the stage made, and the remarks printed on the lines after it."""
        self._closing, self._remarks = words, remarks

    def skip(self, words: str) -> None:
        """Set the last line of a stage that need not run."""
        self._closing = words

    def _line(self, words: str, last: bool) -> None:
        if not self._show:
            return
        text = f"{self._stage:<10} {words}"
        if self._live:
            print(f"\r\033[K{text}", end="\n" if last else "", file=sys.stderr, flush=True)
        else:
            print(text, file=sys.stderr, flush=True)
