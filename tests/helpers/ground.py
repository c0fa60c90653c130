"""Train a toy language model on N local processes, with faults at chosen steps.

    run = ground.start(workdir, processes=2, steps=12, faults=[Fault(process=1, step=5, do="kill")])
    codes = run.wait()            # exit codes; faults happen once per workdir, so that a restart goes on
    ground.result(workdir)        # {"params": sha256, "steps": 12, "processes": 2, "devices": 2}, of a finished run
    ground.rows(workdir)          # {step: [hash of global row 0, 1, ...]}, of every step that any run was given
    run.log(1)                    # standard error of process 1

What each process runs is `worker.py`.
"""

import dataclasses
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

ROOT = Path(__file__).parents[2]
ROWS, LENGTH, VOCABULARY, OFFSET, CODES = 22, 32, 128, 64, 40
BATCH = 4


@dataclasses.dataclass(frozen=True)
class Fault:
    """What befalls a process when the metrics of a step are logged (on every process; one step late).

    do: "kill" (SIGKILL itself), "kill in save" (the same, in the middle of the next checkpoint, `delay_s` after it
    appeared), "term" (SIGTERM itself), "stop" (SIGSTOP itself), "stick" (sleep for good), "raise", "clock back"
    (an hour, where libfaketime reads FAKETIME_TIMESTAMP_FILE).
    """

    process: int
    step: int
    do: str
    delay_s: float = 0.0


def free_port() -> int:
    """A port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def write_rows(directory: Path, seed: int = 0) -> None:
    """Packed rows as the `pack` stage writes them: 20 motion tokens and a branch that repeats the first."""
    from biomechgpt_jax.data import store

    rng = np.random.default_rng(seed)

    def row() -> dict[str, np.ndarray]:
        trunk = rng.integers(OFFSET, OFFSET + CODES, 20)
        index = np.arange(LENGTH)
        inside, answer = index < 28, (index >= 24) & (index < 28)
        branch = np.concatenate([[1, 2, 3, 4], np.full(4, trunk[1] - OFFSET), np.zeros(4, int)])
        return {
            "tokens": np.concatenate([trunk, branch]).astype(np.int32),
            "positions": np.where(inside, index, 0).astype(np.int32),
            "segments": inside.astype(np.int32),
            "branches": ((index >= 20) & inside).astype(np.int32),
            "loss_weights": answer.astype(np.float32),
        }

    records = {split: [(f"{i}", row()) for i in range(n)] for split, n in (("train", ROWS), ("validation", 6))}
    features = {name: (value.shape, value.dtype) for name, value in records["train"][0][1].items()}
    store.write(directory, "toy_sequences", features, records, {})


class Run:
    """Processes of one start, their logs beside the run."""

    def __init__(self, processes: list[subprocess.Popen[bytes]], logs: list[Path]) -> None:
        self.processes, self._logs = processes, logs

    def wait(self, timeout_s: float = 120) -> list[int]:
        """Exit codes of all; negative: the signal that ended it. Whoever does not end in time is killed."""
        deadline = time.monotonic() + timeout_s
        try:
            return [one.wait(max(0.1, deadline - time.monotonic())) for one in self.processes]
        finally:
            self.kill()

    def kill(self) -> None:
        """End what still runs."""
        for one in self.processes:
            if one.poll() is None:
                one.kill()
        for one in self.processes:
            one.wait()

    def signal(self, process: int, number: signal.Signals) -> None:
        """Send a signal to one process."""
        self.processes[process].send_signal(number)

    def log(self, process: int = 0) -> str:
        """Standard error of a process so far."""
        return self._logs[process].read_text(errors="replace")

    def output(self, process: int = 0) -> str:
        """Standard output of a process so far."""
        return self._logs[process].with_suffix(".out").read_text(errors="replace")

    def wait_for(self, words: str, process: int = 0, timeout_s: float = 60) -> float:
        """Seconds until a log holds these words."""
        began = time.monotonic()
        while words not in self.log(process):
            if time.monotonic() - began > timeout_s:
                raise AssertionError(f"{words!r} not in the log of process {process}:\n{self.log(process)[-3000:]}")
            time.sleep(0.05)
        return time.monotonic() - began


class Ground:
    """A directory with packed rows and what was compiled for them."""

    def __init__(self, root: Path) -> None:
        self.root, self.sequences = root, root / "sequences"
        self._starts = 0

    def environment(self, devices: int = 1) -> dict[str, str]:
        """Of a process with so many devices; programs are compiled fast rather than well, once for all tests."""
        flags = f"--xla_force_host_platform_device_count={devices} --xla_backend_optimization_level=0"
        return os.environ | {
            "XLA_FLAGS": flags,
            "JAX_PLATFORMS": "cpu",
            "JAX_COMPILATION_CACHE_DIR": str(self.root / "compiled"),
            "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
            "PYTHONPATH": str(ROOT),
            "TF_CPP_MIN_LOG_LEVEL": "3",
            "BIOMECHGPT_HEARTBEAT_TIMEOUT_S": "10",
            "BIOMECHGPT_SHUTDOWN_TIMEOUT_S": "10",
        }

    def start(
        self,
        workdir: Path,
        processes: int = 2,
        steps: int = 8,
        devices: int = 1,
        faults: Sequence[Fault] = (),
        mesh: Mapping[str, int] | None = None,
        train: Mapping[str, Any] | None = None,
        each: Mapping[int, Mapping[str, str]] | None = None,
        sequences: Path | None = None,
        command: Sequence[str] = (),
    ) -> Run:
        """Start the processes of a run, new or resumed.

        Args:
            workdir: of the run: checkpoints, metrics.jsonl, logs.
            processes, devices: how many, and devices of each.
            steps: of the training in all.
            faults: that befall it, each once per workdir.
            mesh: sizes of `config.Mesh`.
            train: fields of `config.Train`.
            each: further environment of single processes.
            sequences: other rows than the ground's.
            command: run this instead of the worker, such as ("-m", "biomechgpt_jax", "doctor").
        """
        self._starts += 1
        workdir.mkdir(parents=True, exist_ok=True)
        plan = {
            "sequences": str(sequences or self.sequences),
            "workdir": str(workdir),
            "steps": steps,
            "mesh": dict(mesh or {}),
            "train": dict(train or {}),
            "faults": [dataclasses.asdict(fault) for fault in faults],
        }
        words = list(command) or [str(ROOT / "tests" / "cluster" / "worker.py"), json.dumps(plan)]
        base = self.environment(devices) | {"BIOMECHGPT_PROCESSES": str(processes)}
        if processes > 1:
            base["BIOMECHGPT_COORDINATOR"] = f"127.0.0.1:{free_port()}"
        started, logs = [], []
        for process in range(processes):
            log = workdir / f"log-{self._starts}-{process}.txt"
            environment = base | ({"BIOMECHGPT_PROCESS_ID": str(process)} if processes > 1 else {})
            environment |= (each or {}).get(process, {})
            with log.open("wb") as errors, log.with_suffix(".out").open("wb") as output:
                line = [sys.executable, *words]
                started.append(subprocess.Popen(line, env=environment, cwd=ROOT, stdout=output, stderr=errors))
            logs.append(log)
        return Run(started, logs)

    @staticmethod
    def result(workdir: Path) -> dict[str, Any]:
        """What process 0 said of a training that came to its end."""
        return json.loads((workdir / "result.json").read_text())

    @staticmethod
    def rows(workdir: Path) -> dict[int, list[str]]:
        """Hash of every global row of every step that any run of this workdir was given.

        Raises:
            AssertionError: two processes, or two runs, were given different rows for the same place.
        """
        found: dict[int, dict[int, str]] = {}
        for path in workdir.glob("rows-*.jsonl"):
            for line in path.read_text().splitlines():
                step, row, sha256 = json.loads(line)
                assert found.setdefault(step, {}).setdefault(row, sha256) == sha256, (step, row)
        return {step: [rows[row] for row in sorted(rows)] for step, rows in sorted(found.items())}
