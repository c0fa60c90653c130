"""Several processes of one run on this machine, each with so many host devices: a cluster to try things on.

    python launch/local_cluster.py --processes 4 --devices 2 -- train configs/quickstart.py --workdir runs/q

What stands after -- is given to `biomechgpt` in every process. Lines are prefixed with the process. SIGTERM and Ctrl-C
are passed on: the run saves and ends with 75. A run that ends otherwise is started again by the rule of
biomechgpt_jax/parallel/restarts.py.
"""

import argparse
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import IO

from biomechgpt_jax.parallel import restarts

# Processes are lost sooner here than on a cluster, where a machine may be slow to answer.
TIMEOUTS = {"BIOMECHGPT_HEARTBEAT_TIMEOUT_S": "10", "BIOMECHGPT_SHUTDOWN_TIMEOUT_S": "10"}
# When one process has failed, the others are given so long to notice.
GRACE_S = 60.0


def environment(process: int, processes: int, devices: int, port: int) -> dict[str, str]:
    """The environment of one process."""
    flags = f"{os.environ.get('XLA_FLAGS', '')} --xla_force_host_platform_device_count={devices}".strip()
    own = {
        "BIOMECHGPT_COORDINATOR": f"localhost:{port}",
        "BIOMECHGPT_PROCESSES": str(processes),
        "BIOMECHGPT_PROCESS_ID": str(process),
        "JAX_PLATFORMS": "cpu",
        "XLA_FLAGS": flags,
    }
    return {**TIMEOUTS, **os.environ, **own}


def free_port() -> int:
    """A port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("localhost", 0))
        return int(probe.getsockname()[1])


def code_of(codes: Sequence[int]) -> int:
    """One exit code for all: wrong input before failures, failures before a preemption, 0 if all are done."""
    plain = [128 - code if code < 0 else code for code in codes]
    for wanted in (restarts.WRONG_INPUT,):
        if wanted in plain:
            return wanted
    failed = [code for code in plain if code not in (restarts.DONE, restarts.PREEMPTED)]
    return failed[0] if failed else max(plain)


class Run:
    """The processes of one start."""

    def __init__(self, command: Sequence[str], processes: int, devices: int) -> None:
        port = free_port()
        self._children = [
            subprocess.Popen(
                command,
                env=environment(process, processes, devices, port),
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                start_new_session=True,  # Ctrl-C reaches this program alone, which passes it on
            )
            for process in range(processes)
        ]
        self._readers = [
            threading.Thread(target=_prefixed, args=(number, child.stdout), daemon=True)
            for number, child in enumerate(self._children)
        ]
        for reader in self._readers:
            reader.start()

    def stop(self) -> None:
        """Ask every process to save and to end."""
        for child in self._children:
            if child.poll() is None:
                child.send_signal(signal.SIGTERM)

    def wait(self) -> int:
        """One exit code for all of them (`code_of`)."""
        failed_since: float | None = None
        while any(child.poll() is None for child in self._children):
            bad = [c for c in self._children if c.poll() not in (None, restarts.DONE, restarts.PREEMPTED)]
            failed_since = (failed_since or time.monotonic()) if bad else None
            if failed_since is not None and time.monotonic() - failed_since > GRACE_S:
                for child in self._children:
                    child.kill()
            time.sleep(0.1)
        for reader in self._readers:
            reader.join(timeout=5)
        return code_of([child.returncode for child in self._children])


def _prefixed(number: int, stream: IO[bytes] | None) -> None:
    for line in stream or ():
        print(f"[{number}] {line.decode(errors='replace').rstrip()}", flush=True)


def main(arguments: Sequence[str] | None = None) -> int:
    """Start, wait, and start again where the rule says so."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--devices", type=int, default=1, help="host devices of each process")
    parser.add_argument("--limit", type=int, default=restarts.LIMIT, help="starts without progress (%(default)s)")
    parser.add_argument("words", nargs="+", help="what `biomechgpt` is given, after --")
    options = parser.parse_args(arguments)
    words = options.words
    if "--workdir" not in words:
        parser.error("give --workdir among the words after --: restarts look there for progress")
    workdir = Path(words[words.index("--workdir") + 1])
    command = [sys.executable, "-m", "biomechgpt_jax", *words]
    stopped = threading.Event()
    while True:
        run = Run(command, options.processes, options.devices)

        def stop(*_: object, run: Run = run) -> None:
            stopped.set()
            run.stop()

        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, stop)
        code = run.wait()
        if stopped.is_set() or not restarts.judge(code, workdir, options.limit):
            print(f"local_cluster: ended with {code}", file=sys.stderr, flush=True)
            return code
        print(f"local_cluster: ended with {code}; starting again", file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
