"""slurm.sbatch on a real SLURM, with a small program instead of training.

SLURM_CONF names the configuration of a SLURM with two CPUs on this machine; without it the tests are skipped.
"""

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
STUB = f"{sys.executable} {Path(__file__).parent / 'stub.py'}"

pytestmark = [
    pytest.mark.slow,
    pytest.mark.multiprocess,
    pytest.mark.skipif(
        not os.environ.get("SLURM_CONF") or shutil.which("sbatch") is None,
        reason="no SLURM here: install slurm-wlm and munge, start it on this machine and set SLURM_CONF",
    ),
]


def submit(workdir: Path, words: str) -> str:
    """Submit two tasks to the only node; returns the number of the job."""
    environment = os.environ | {
        "BIOMECHGPT_COMMAND": STUB,
        "STUB": words,
        "PYTHONPATH": str(ROOT),
        "PYTHON": sys.executable,
        "PLATFORM": "cpu",
        "WORKDIR": str(workdir),
    }
    options = ["--parsable", "--nodes=1", "--ntasks-per-node=2", f"--output={workdir}.log"]
    command = ["sbatch", *options, "launch/slurm.sbatch", "train"]
    run = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=True)
    return run.stdout.strip()


def facts(job: str) -> dict[str, str]:
    shown = subprocess.run(["scontrol", "show", "job", job], capture_output=True, text=True, check=True).stdout
    return dict(word.split("=", 1) for word in shown.split() if "=" in word)


def wait(until: Callable[[], bool], what: str, timeout_s: float = 60.0) -> None:
    deadline = time.monotonic() + timeout_s
    while not until():
        assert time.monotonic() < deadline, f"not within {timeout_s:g} s: {what}"
        time.sleep(0.5)


def ended(job: str) -> bool:
    return facts(job)["JobState"] in ("COMPLETED", "FAILED", "CANCELLED", "TIMEOUT")


def again(job: str, restarts: int) -> None:
    """Wait until the job is requeued, and start it without the two minutes that SLURM would wait."""
    wait(lambda: facts(job)["Restarts"] == str(restarts) and facts(job)["JobState"] == "PENDING", "requeued")
    subprocess.run(["scontrol", "update", f"JobId={job}", "StartTime=now"], check=True)


def waiting(workdir: Path) -> bool:
    log = Path(f"{workdir}.log")
    return log.exists() and log.read_text().count("waiting") >= 2


def starts(workdir: Path) -> int:
    return len((workdir / "starts.0").read_text().splitlines())


def term(job: str) -> None:
    """Send what SLURM sends before the time limit: SIGTERM to the script alone."""
    subprocess.run(["scancel", "--batch", "--signal=TERM", job], check=True)


def test_sigterm_is_forwarded_and_the_job_requeued_then_a_failure_then_done(tmp_path: Path) -> None:
    workdir = tmp_path / "run"
    job = submit(workdir, "wait 134 0")
    wait(lambda: waiting(workdir), "two tasks that wait")
    term(job)
    again(job, 1)
    again(job, 2)
    wait(lambda: ended(job), "the job")
    log = Path(f"{workdir}.log").read_text()
    assert log.count("saved") == 2
    assert "stopped after saving (75): start again" in log
    assert "failed (134); restart 1 of 3" in log
    assert facts(job)["JobState"] == "COMPLETED" and starts(workdir) == 3


def test_wrong_input_is_not_requeued(tmp_path: Path) -> None:
    job = submit(tmp_path / "run", "2")
    wait(lambda: ended(job), "the job")
    state = facts(job)
    assert (state["JobState"], state["ExitCode"], state["Restarts"]) == ("FAILED", "2:0", "0")


def test_a_job_that_must_not_be_requeued_saves_and_exits_with_75(tmp_path: Path) -> None:
    workdir = tmp_path / "run"
    job = submit(workdir, "wait 0")
    wait(lambda: waiting(workdir), "two tasks that wait")
    subprocess.run(["scontrol", "update", f"JobId={job}", "Requeue=0"], check=True)
    term(job)
    wait(lambda: ended(job), "the job")
    assert Path(f"{workdir}.log").read_text().count("saved") == 2
    assert facts(job)["ExitCode"] == "75:0" and starts(workdir) == 1


def test_a_cancelled_job_is_not_requeued(tmp_path: Path) -> None:
    workdir = tmp_path / "run"
    job = submit(workdir, "wait 0")
    wait(lambda: waiting(workdir), "two tasks that wait")
    subprocess.run(["scancel", job], check=True)
    wait(lambda: ended(job), "the job")
    time.sleep(2)
    assert facts(job)["JobState"] == "CANCELLED" and starts(workdir) == 1
