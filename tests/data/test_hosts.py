"""The global batch is the same, in order, for any number of hosts; each reads the rows that its devices hold."""

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
MESHES = ("data", "tensor", "sequence", "data and tensor", "fsdp and sequence", "all")


def start(devices: int, *arguments: str) -> subprocess.Popen:
    flags = f"--xla_force_host_platform_device_count={devices}"
    environment = os.environ | {"JAX_PLATFORMS": "cpu", "XLA_FLAGS": flags, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, str(Path(__file__).parents[1] / "helpers" / "hosts.py"), *arguments]
    return subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def said(process: subprocess.Popen) -> dict:
    out, errors = process.communicate(timeout=300)
    assert process.returncode == 0, errors[-3000:]
    return json.loads(out.splitlines()[-1])


@pytest.fixture(scope="module")
def alone() -> dict:
    return said(start(8))


@pytest.mark.multidevice
@pytest.mark.parametrize("mesh", MESHES)
def test_any_number_of_hosts_puts_the_same_batch_together(alone, mesh) -> None:
    """Across ends of epochs of both datasets of a mixture, with axes that lie across hosts."""
    assert set(alone["hosts"][mesh]) == {"1", "2", "4", "8"}
    for of_step in alone["hosts"][mesh].values():
        assert of_step == alone["batches"]
    assert len(set(alone["batches"].values())) == len(alone["batches"])


@pytest.fixture(scope="module")
def pair() -> list[dict]:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    return [said(process) for process in [start(4, str(index), "2", port) for index in range(2)]]


@pytest.mark.multiprocess
@pytest.mark.parametrize("mesh", MESHES)
def test_two_processes_hold_what_one_would(alone, pair, mesh) -> None:
    for step, devices in alone["devices"][mesh].items():
        assert pair[0]["devices"][mesh][step] + pair[1]["devices"][mesh][step] == devices


@pytest.mark.multiprocess
def test_a_process_reads_the_rows_of_its_devices_and_no_others(pair) -> None:
    first, second = (process["read"] for process in pair)
    for step in first["data"]:
        # The rows are split between the processes ...
        for mesh in ("data", "data and tensor", "fsdp and sequence", "all"):
            assert len(first[mesh][step]) == len(second[mesh][step]) == 12
            assert not set(first[mesh][step]) & set(second[mesh][step])
        # ... or a tensor or sequence group lies across them: both read the same rows.
        for mesh in ("tensor", "sequence"):
            assert len(first[mesh][step]) == 24 and first[mesh][step] == second[mesh][step]
