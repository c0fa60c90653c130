"""runs.jsonl of a working directory: a line for every start and every end, so that restarts are visible."""

import contextlib
import datetime
import json
import socket
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from biomechgpt_jax.errors import InputError
from biomechgpt_jax.parallel import distributed

RUNS = "runs.jsonl"


@contextlib.contextmanager
def record_run(workdir: Path, until: str) -> Iterator[None]:
    """Write a line at the start and one at the end, with the exit code; a run without an end was killed.

    Args:
        workdir: directory of runs.jsonl; only process 0 writes.
        until: the last stage of the run.
    """
    started, clock = time.monotonic(), datetime.datetime.now(datetime.UTC)
    place, run = distributed.place(), clock.strftime("%Y%m%dT%H%M%S.%f")

    def write(entry: dict[str, Any]) -> None:
        if distributed.first():
            with (workdir / RUNS).open("a") as file:
                file.write(json.dumps({"run": run} | entry) + "\n")

    host = socket.gethostname()
    write(
        {"until": until, "host": host, "processes": place.processes, "launched": place.launcher, "started": f"{clock}"}
    )
    code = 1
    try:
        yield
        code = 0
    except SystemExit as stop:
        code = stop.code if isinstance(stop.code, int) else 1
        raise
    except InputError:
        code = 2
        raise
    finally:
        with contextlib.suppress(OSError):  # a full disk must not hide how the run ended
            write({"code": code, "seconds": round(time.monotonic() - started, 1)})
