"""The record of a run: metrics.jsonl, one JSON object per logged step, and TensorBoard events beside it.

The same values go to Weights & Biases if a project is named, which needs its package (extra `wandb`).
"""

import contextlib
import hashlib
import importlib.util
import json
import math
import os
import time
from pathlib import Path
from typing import IO, Any

from biomechgpt_jax.errors import InputError, LoneError
from biomechgpt_jax.files import clean, to_json, write_text
from biomechgpt_jax.training import goodput
from biomechgpt_jax.training.events import Events


class MetricsLog:
    """Appends to metrics.jsonl and to `tensorboard/<stem>` beside it; a context manager.

    Args:
        path: metrics.jsonl; if None nothing is written.
        restored_step: the step that the run continues from. Later lines describe lost work and are cut away, so that
            the file equals that of an undisturbed run.
        project: name of a project of Weights & Biases (see `check_project`); empty for none.

    Attributes:
        earlier: seconds by kind of the runs that this one continues (`goodput.earlier`).
    """

    def __init__(self, path: str | Path | None, restored_step: int, project: str = "") -> None:
        self._started = time.monotonic()
        self._earlier_seconds = 0.0
        self._file: IO[str] | None = None
        self._run: Any = None
        self.earlier: dict[str, float] = {}
        if path is None:
            return
        path = Path(path)
        path.parent.mkdir(parents=True, exist_ok=True)
        self._run = _wandb_run(project, path) if project else None
        entries = read(path)
        kept = [entry for entry in entries if entry["step"] <= restored_step]
        self.earlier = goodput.earlier(kept, [entry for entry in entries if entry["step"] > restored_step])
        self._earlier_seconds = max((entry.get("wall_seconds", 0.0) for entry in kept), default=0.0)
        write_text(path, "".join(to_json(entry) + "\n" for entry in kept))
        self._file = path.open("a")
        self._events = Events(path.parent / "tensorboard" / path.stem, restored_step + 1)

    @property
    def wall_seconds(self) -> float:
        """Seconds of training, including those of interrupted runs up to the restored step."""
        return self._earlier_seconds + time.monotonic() - self._started

    def write(self, step: int, values: dict[str, float]) -> dict[str, Any]:
        """Append one line (NaN and infinity become null) and return it.

        Raises:
            LoneError: it cannot be written.
        """
        finite = {name: value for name, value in values.items() if math.isfinite(value)}
        entry: dict[str, Any] = {"step": step, **clean(values)}
        entry["wall_seconds"] = round(self.wall_seconds, 3)
        if self._file is not None:
            try:
                self._file.write(to_json(entry) + "\n")
                self._file.flush()
            except OSError as error:
                raise LoneError(
                    f"step {step} could not be written into {self._file.name}: {error.strerror}; the checkpoints are "
                    "intact: make space on the disk, or repair it, and run again"
                ) from error
            self._events.write(step, finite)
            if self._run is not None:
                self._run.log(finite, step=step)
        return entry

    def sync(self) -> None:
        """Flush every line to the disk. Called before a checkpoint is saved."""
        if self._file is not None:
            os.fsync(self._file.fileno())
            self._events.flush()

    def __enter__(self) -> "MetricsLog":
        return self

    def __exit__(self, *_: object) -> None:
        if self._file is not None:
            with contextlib.suppress(OSError):  # already reported by `write`
                self._file.close()
            self._events.close()
        if self._run is not None:
            self._run.finish()


def check_project(project: str) -> None:
    """Check that Weights & Biases can be used. Every process calls this before anything else.

    Raises:
        InputError: a project is named, but the package is not installed.
    """
    if project and importlib.util.find_spec("wandb") is None:
        raise InputError(
            f'train.wandb is "{project}" but Weights & Biases is not installed: pip install "biomechgpt-jax[wandb]", '
            "or leave train.wandb empty"
        )


def _wandb_run(project: str, path: Path) -> Any:
    """A run of Weights & Biases; resuming a run continues the one that belongs to the same file."""
    import wandb

    whole = path.resolve()
    identifier = hashlib.sha256(str(whole).encode()).hexdigest()[:16]
    name = f"{whole.parent.name}-{whole.stem}"
    return wandb.init(project=project, id=identifier, name=name, dir=str(whole.parent), resume="allow")


def timed(name: str) -> bool:
    """Whether a field of the log depends on the clock or the machine rather than on the run alone."""
    return name.endswith(("_seconds", "_per_second", "_gib")) or name in ("goodput", "mfu", "padded_mfu")


def read(path: str | Path) -> list[dict[str, Any]]:
    """The entries of a metrics.jsonl, oldest first. A line cut off in the middle is skipped."""
    entries = []
    if Path(path).exists():
        for line in Path(path).read_text().splitlines():
            try:
                entries.append(json.loads(line))
            except ValueError:
                continue
    return entries


class Meter:
    """Amounts of work per second since the last reading. The first step, which compiles, does not count."""

    def __init__(self) -> None:
        self._since: float | None = None
        self._amounts: dict[str, float] = {}

    def add(self, amounts: dict[str, float]) -> None:
        """Count one finished step."""
        if self._since is None:
            self._since = time.monotonic()
            return
        self._amounts = {name: self._amounts.get(name, 0.0) + amount for name, amount in amounts.items()}

    def read(self) -> dict[str, float]:
        """Rates since the last reading, `<name>_per_second`; empty before the second step."""
        if self._since is None or not self._amounts:
            return {}
        now = time.monotonic()
        seconds = max(now - self._since, 1e-9)
        rates = {f"{name}_per_second": round(amount / seconds, 2) for name, amount in self._amounts.items()}
        self._since, self._amounts = now, {}
        return rates

    def pause(self) -> None:
        """Start a new interval, so that the time of a validation or a save does not lower the next rate."""
        self._since = time.monotonic() if self._since is not None else None
        self._amounts = {}
