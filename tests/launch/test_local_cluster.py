"""local_cluster.py with a small program instead of training."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
STUB = f"{sys.executable} {Path(__file__).parent / 'stub.py'}"

pytestmark = pytest.mark.multiprocess


def start(workdir: Path, words: str, *options: str) -> subprocess.Popen[str]:
    command = [sys.executable, "launch/local_cluster.py", *options, "train", "--workdir", str(workdir)]
    environment = os.environ | {"BIOMECHGPT_COMMAND": STUB, "STUB": words, "PYTHONPATH": str(ROOT), "XLA_FLAGS": ""}
    pipe = subprocess.PIPE
    return subprocess.Popen(command, cwd=ROOT, env=environment, stdout=pipe, stderr=pipe, text=True)


def starts(workdir: Path, process: int) -> int:
    return len((workdir / f"starts.{process}").read_text().splitlines())


def test_every_process_knows_its_place_and_every_line_names_its_process(tmp_path: Path) -> None:
    run = start(tmp_path, "0", "--devices", "3")
    out, _ = run.communicate(timeout=30)
    assert run.returncode == 0
    lines = sorted(out.splitlines())
    assert [line.split()[:3] for line in lines] == [["[0]", "start", "1"], ["[1]", "start", "1"]]
    (host,) = {line.split()[3] for line in lines}
    assert host.startswith("127.0.0.1:")
    assert all(line.endswith("2 --xla_force_host_platform_device_count=3") for line in lines)


def test_preempted_and_lost_processes_are_restarted(tmp_path: Path) -> None:
    run = start(tmp_path, "75 lost 75 0", "--restarts", "1")
    _, errors = run.communicate(timeout=30)
    assert run.returncode == 0
    assert starts(tmp_path, 0) == starts(tmp_path, 1) == 4
    assert "restart 1 of 1" in errors and "[-9, 134]" in errors


def test_wrong_input_ends_immediately_and_failures_end_at_the_limit(tmp_path: Path) -> None:
    run = start(tmp_path / "wrong", "2")
    assert run.wait(timeout=30) == 2 and starts(tmp_path / "wrong", 0) == 1
    run = start(tmp_path / "failing", "1 1 1", "--restarts", "2")
    assert run.wait(timeout=30) == 1 and starts(tmp_path / "failing", 0) == 3


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_reaches_all_processes_and_nothing_is_restarted(tmp_path: Path, number: signal.Signals) -> None:
    run = start(tmp_path, "wait 0")
    assert run.stdout is not None
    waiting = 0
    while waiting < 2:
        waiting += "waiting" in run.stdout.readline()
    run.send_signal(number)
    out, _ = run.communicate(timeout=30)
    if number == signal.SIGTERM:
        assert run.returncode == 75 and out.count("saved") == 2
    else:
        assert run.returncode == 1
    assert starts(tmp_path, 0) == starts(tmp_path, 1) == 1
