"""Several processes of one run on this machine, restarted as the policy says.

    python launch/local_cluster.py --processes 2 --devices 2 train configs/quickstart.py --workdir runs/two

Every line of a process is printed behind its number. SIGTERM and SIGINT are passed on, and nothing is started again
after them. Ends with 0, 2 or 75 as the processes did, and with 1 for anything else. `--processes 0` starts one process
that finds its place by itself: for a machine of a cluster, where the launcher only restarts it.
"""

import argparse
import os
import shlex
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path
from types import FrameType
from typing import IO

from biomechgpt_jax.training import restarts

_POLL_S = 0.1
_turn = threading.Lock()  # one line at a time


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _environment(process: int, processes: int, port: int, devices: int) -> dict[str, str]:
    """What a process finds in its environment; `config.Distributed` names the variables."""
    found = dict(os.environ)
    if processes:
        found["BIOMECHGPT_COORDINATOR"] = f"127.0.0.1:{port}"
        found["BIOMECHGPT_PROCESSES"] = str(processes)
        found["BIOMECHGPT_PROCESS_ID"] = str(process)
        # On one machine silence means death: no need to wait as long as on a network.
        found.setdefault("BIOMECHGPT_HEARTBEAT_TIMEOUT_S", "10")
        found.setdefault("BIOMECHGPT_SHUTDOWN_TIMEOUT_S", "10")
    if devices:
        flags = f"{found.get('XLA_FLAGS', '')} --xla_force_host_platform_device_count={devices}"
        found["XLA_FLAGS"], found["JAX_PLATFORMS"] = flags.strip(), "cpu"
    return found


def _workdir(arguments: list[str]) -> Path:
    """The working directory that the command is given, or its default."""
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    parser.add_argument("--workdir", type=Path, default=Path("runs/quickstart"))
    found: Path = parser.parse_known_args(arguments)[0].workdir
    return found


def _prefix(source: IO[bytes], target: IO[bytes], mark: bytes) -> None:
    """Copy lines, each behind a mark, until the source is closed."""
    for line in source:
        with _turn:
            target.write(mark + line.rstrip(b"\n") + b"\n")
            target.flush()


class Cluster:
    """The processes of one start after another.

    Args:
        command: what each process runs.
        processes: how many; 0: one, which finds its place by itself.
        devices: forced on the host of each process; 0: as they are.
        grace_s: how long the others may outlive a process that failed.
    """

    def __init__(self, command: list[str], processes: int, devices: int, grace_s: float) -> None:
        self._command, self._processes, self._devices, self._grace_s = command, processes, devices, grace_s
        self._running: list[subprocess.Popen[bytes]] = []
        self.stopped = False

    def stop(self, number: int, _frame: FrameType | None = None) -> None:
        """Pass a signal on, and start nothing after it."""
        self.stopped = True
        for process in self._running:
            process.send_signal(number)

    def once(self) -> list[int]:
        """Start all processes, and return their exit codes when all have ended."""
        port = _free_port()
        self._running, copies = [], []
        for number in range(max(1, self._processes)):
            if self.stopped:  # a signal between two starts
                break
            process = subprocess.Popen(
                self._command,
                env=_environment(number, self._processes, port, self._devices),
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                start_new_session=True,  # Ctrl-C reaches them through us, once
            )
            self._running.append(process)
            for source, target in ((process.stdout, sys.stdout.buffer), (process.stderr, sys.stderr.buffer)):
                assert source is not None
                copies.append(threading.Thread(target=_prefix, args=(source, target, b"[%d] " % number), daemon=True))
                copies[-1].start()
        failed_at = None
        while any(process.poll() is None for process in self._running):
            ended = [process.returncode for process in self._running if process.returncode is not None]
            if failed_at is None and any(code not in (restarts.DONE, restarts.PREEMPTED) for code in ended):
                failed_at = time.monotonic()
            if failed_at is not None and time.monotonic() - failed_at > self._grace_s:
                for process in self._running:
                    process.kill()
            time.sleep(_POLL_S)
        for copy in copies:
            copy.join(timeout=5)  # a grandchild may hold the pipe open
        return [process.returncode for process in self._running]


def _code(codes: list[int]) -> int:
    """The exit code that stands for those of all processes."""
    if restarts.WRONG_INPUT in codes:
        return restarts.WRONG_INPUT
    if set(codes) <= {restarts.DONE, restarts.PREEMPTED}:
        return max(codes, default=restarts.PREEMPTED)
    return 1


def main() -> int:
    parser = argparse.ArgumentParser(
        description="Several processes of `biomechgpt` on this machine.",
        epilog="BIOMECHGPT_COMMAND in the environment replaces `biomechgpt`.",
        allow_abbrev=False,
    )
    parser.add_argument("--processes", type=int, default=2, help="how many; 0: one, placed as the cluster says (2)")
    parser.add_argument("--devices", type=int, default=0, help="CPU devices forced in each process; 0: as they are")
    parser.add_argument("--restarts", type=int, default=restarts.LIMIT, help="without a new checkpoint (%(default)s)")
    parser.add_argument("--grace", type=float, default=60.0, help="seconds that others may outlive a failure (60)")
    parser.add_argument("arguments", nargs=argparse.REMAINDER, help="of biomechgpt: a verb and what follows it")
    options = parser.parse_args()
    if min(options.processes, options.devices, options.restarts) < 0 or not options.arguments:
        parser.error("give a verb of biomechgpt, and numbers of at least 0")
    given = os.environ.get("BIOMECHGPT_COMMAND", "")
    command = shlex.split(given) if given else [sys.executable, "-m", "biomechgpt_jax"]
    cluster = Cluster([*command, *options.arguments], options.processes, options.devices, options.grace)
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, cluster.stop)
    workdir = _workdir(options.arguments)
    history = restarts.History(restarts.newest_step(workdir))
    while True:
        codes = cluster.once()
        if cluster.stopped:
            return _code(codes)
        decision = restarts.decide(codes, restarts.newest_step(workdir), history, options.restarts)
        history = decision.history
        said = "start again" if decision.restart else "end"
        print(f"launch: exit codes {codes}; {decision.why}: {said}", file=sys.stderr, flush=True)
        if not decision.restart:
            return _code(codes)


if __name__ == "__main__":
    sys.exit(main())
