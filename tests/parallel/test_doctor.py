"""The findings of `biomechgpt doctor`."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from biomechgpt_jax.parallel import doctor

ROOT = Path(__file__).parents[2]


def run_doctor(*words: str, before: Sequence[str] = (), **variables: str) -> subprocess.CompletedProcess[str]:
    environment = os.environ | {"PYTHONPATH": str(ROOT), "JAX_PLATFORMS": "cpu"} | variables
    command = [*before, sys.executable, "-m", "biomechgpt_jax", "doctor", *words]
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=120)


def test_a_machine_with_several_devices_is_ready(tmp_path: Path) -> None:
    flags = "--xla_force_host_platform_device_count=4"
    done = run_doctor("--workdir", str(tmp_path / "new"), "--json", XLA_FLAGS=flags)
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    words = {check["name"]: check["words"] for check in report["checks"]}
    assert report["passed"] and {"versions", "coordinator", "devices", "memory", "clocks"} <= words.keys()
    assert "over 4 devices" in words["collective"] and "renames are atomic" in words["working directory"]
    assert not (tmp_path / "new").exists()  # nothing is left behind


def test_an_unwritable_directory_is_a_finding(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    check = doctor._directory(tmp_path / "file")
    assert check.verdict == "failed" and str(tmp_path / "file") in check.words and "--workdir" in check.words


def test_a_read_only_file_system_is_a_finding(tmp_path: Path) -> None:
    mount = ["unshare", "-m", "sh", "-c", f'mount -t tmpfs -o ro,size=1m none "{tmp_path}" && exec "$@"', "sh"]
    if shutil.which("unshare") is None or subprocess.run([*mount, "true"], capture_output=True, check=False).returncode:
        pytest.skip("a file system cannot be mounted here")
    done = run_doctor("--workdir", str(tmp_path), "--json", before=mount)
    assert done.returncode == 1, done.stderr
    checks = {check["name"]: check for check in json.loads(done.stdout)["checks"]}
    assert checks["working directory"]["verdict"] == "failed"
    assert "Read-only file system" in checks["working directory"]["words"]


@pytest.mark.multiprocess
def test_missing_processes_are_named(tmp_path: Path) -> None:
    done = run_doctor(
        *("--workdir", str(tmp_path)),
        BIOMECHGPT_COORDINATOR="localhost:23456",
        BIOMECHGPT_PROCESSES="2",
        BIOMECHGPT_PROCESS_ID="0",
        BIOMECHGPT_START_TIMEOUT_S="2",
    )
    assert done.returncode == 1
    assert "coordinator       failed" in done.stdout and "NOT READY" in done.stdout
