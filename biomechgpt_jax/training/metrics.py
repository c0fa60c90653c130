"""The record of a run: metrics.jsonl, one JSON object per logged step, and TensorBoard events beside it."""

import json
import math
import os
import time
from pathlib import Path
from typing import Any

import tensorboardX


class MetricsLog:
    """Appends to metrics.jsonl and to `tensorboard/<stem>` beside it; a context manager.

    Args:
        path: of metrics.jsonl.
        restored_step: the step that the run continues from; later lines belong to work that was lost and are
            cut away, so that the file is that of an undisturbed run.
    """

    def __init__(self, path: str | Path, restored_step: int) -> None:
        self._path = Path(path)
        self._path.parent.mkdir(parents=True, exist_ok=True)
        kept = [entry for entry in read(self._path) if entry["step"] <= restored_step]
        self._earlier_seconds = max((entry.get("wall_seconds", 0.0) for entry in kept), default=0.0)
        temporary = self._path.with_name(self._path.name + ".partial")
        temporary.write_text("".join(json.dumps(entry) + "\n" for entry in kept))
        temporary.rename(self._path)
        self._file = self._path.open("a")
        self._started = time.monotonic()
        events = self._path.parent / "tensorboard" / self._path.stem
        self._events = tensorboardX.SummaryWriter(str(events), purge_step=restored_step + 1)

    @property
    def wall_seconds(self) -> float:
        """Seconds of training, those of interrupted runs included up to the restored step."""
        return self._earlier_seconds + time.monotonic() - self._started

    def write(self, step: int, values: dict[str, float]) -> dict[str, Any]:
        """Append one line (NaN and infinity become null) and return it."""
        entry: dict[str, Any] = {"step": step}
        for name, value in values.items():
            entry[name] = value if math.isfinite(value) else None
            if math.isfinite(value):
                self._events.add_scalar(name, value, step)
        entry["wall_seconds"] = round(self.wall_seconds, 3)
        self._file.write(json.dumps(entry) + "\n")
        self._file.flush()
        return entry

    def sync(self) -> None:
        """Put every line on disk: called before a checkpoint is saved."""
        os.fsync(self._file.fileno())

    def __enter__(self) -> "MetricsLog":
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()
        self._events.close()


def read(path: str | Path) -> list[dict[str, Any]]:
    """The entries of a metrics.jsonl, oldest first; a last line that was cut off is left out."""
    entries = []
    if Path(path).exists():
        for line in Path(path).read_text().splitlines():
            try:
                entries.append(json.loads(line))
            except ValueError:
                continue
    return entries


class Meter:
    """Tokens per second since the last reading; the first step, which compiles, does not count."""

    def __init__(self, tokens_per_step: int) -> None:
        self._tokens_per_step = tokens_per_step
        self._since: float | None = None
        self._steps, self._answer, self._nonpadding = 0, 0.0, 0

    def add(self, answer_tokens: float, nonpadding_tokens: int) -> None:
        """Count one finished step."""
        if self._since is None:
            self._since = time.monotonic()
            return
        self._steps += 1
        self._answer += answer_tokens
        self._nonpadding += nonpadding_tokens

    def read(self) -> dict[str, float]:
        """Rates since the last reading; empty before the second step."""
        if self._since is None or not self._steps:
            return {}
        now = time.monotonic()
        seconds = max(now - self._since, 1e-9)
        rates = {
            "answer_tokens_per_second": self._answer / seconds,
            "tokens_per_second": self._steps * self._tokens_per_step / seconds,
            "nonpadding_tokens_per_second": self._nonpadding / seconds,
        }
        self._since, self._steps, self._answer, self._nonpadding = now, 0, 0.0, 0
        return {name: round(rate, 2) for name, rate in rates.items()}

    def pause(self) -> None:
        """Start anew: what follows a validation or a save is not slowed by it."""
        self._since = time.monotonic() if self._since is not None else None
        self._steps, self._answer, self._nonpadding = 0, 0.0, 0
