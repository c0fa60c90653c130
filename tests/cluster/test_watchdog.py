"""A process that hangs is named within a minute and dumps its stacks; clocks that jump have no effect."""

import json
import threading
import time
from pathlib import Path

import pytest
from ground import Fault, Ground

from biomechgpt_jax import config
from biomechgpt_jax.parallel import watchdog

FAST = config.Distributed(stall_s=0.5, first_step_stall_s=0.5)


def _until(condition, timeout_s: float = 10) -> bool:
    deadline = time.monotonic() + timeout_s
    while not condition() and time.monotonic() < deadline:
        time.sleep(0.02)
    return condition()


def test_a_thread_that_is_stuck_is_noticed_and_its_stack_is_written(tmp_path: Path, capfd) -> None:
    lines: list[str] = []
    with watchdog.Watchdog(tmp_path, lines.append, FAST) as dog:
        dog.step(6)
        dog.step(7)
        assert _until(lambda: bool(lines))
        time.sleep(0.3)
        assert len(lines) == 1, "reported once per step"
        dog.step(8)
        assert _until(lambda: len(lines) == 2)
    assert lines[0].startswith("no step for ") and "the last was 7; its main thread is in" in lines[0]
    assert "_until" in lines[0]
    dump = capfd.readouterr().err
    assert "test_a_thread_that_is_stuck" in dump and "most recent call first" in dump
    written = json.loads((tmp_path / watchdog.FILE).read_text())
    assert written["step"] in (7, 8) and written["where"]


def test_regular_steps_are_not_a_stall_and_the_first_may_be_slow(tmp_path: Path) -> None:
    lines: list[str] = []
    patient = config.Distributed(stall_s=0.5, first_step_stall_s=60)
    with watchdog.Watchdog(None, lines.append, patient) as dog:
        time.sleep(0.8)  # compiles
        for step in range(1, 10):
            dog.step(step)
            time.sleep(0.1)
        dog.validating()
        time.sleep(0.8)  # compiles again
        assert not lines
        dog.step(10)
        dog.validating()
        assert _until(lambda: bool(lines)), "a later validation has the limit of a step"
    assert threading.active_count() < 50


def test_a_clock_that_is_set_back_causes_neither_a_stall_nor_negative_times(tmp_path: Path, monkeypatch) -> None:
    from biomechgpt_jax.training import metrics

    real, lines = time.time, []
    with (
        watchdog.Watchdog(tmp_path, lines.append, config.Distributed(stall_s=5)) as dog,
        metrics.MetricsLog(tmp_path / "metrics.jsonl", 0) as log,
    ):
        for step in range(1, 5):
            monkeypatch.setattr(time, "time", lambda back=step: real() - 3600 * back)
            dog.step(step)
            log.write(step, {"loss": 1.0})
            time.sleep(0.01)
    seconds = [entry["wall_seconds"] for entry in metrics.read(tmp_path / "metrics.jsonl")]
    assert seconds == sorted(seconds) and seconds[0] >= 0 and seconds[-1] < 5
    assert not lines


@pytest.mark.multiprocess
@pytest.mark.slow
def test_training_continues_when_the_clock_of_the_machine_is_set_back(ground: Ground, tmp_path: Path) -> None:
    """With libfaketime the wall clock jumps and the monotonic one does not.

    There is only one process, because jax's coordination service waits by the kernel's clock, which libfaketime does
    not move, and would take the jump for lost heartbeats.
    """
    from biomechgpt_jax.training import metrics

    library = next(Path("/usr/lib").glob("*/faketime/libfaketimeMT.so.1"), None)
    if library is None:
        pytest.skip("libfaketime is not installed (Debian: apt install faketime)")
    offset, steps, moved, quiet = tmp_path / "offset", 60, tmp_path / "moved", tmp_path / "quiet"
    offset.write_text("+0")
    faked = {
        "LD_PRELOAD": str(library),
        "FAKETIME_TIMESTAMP_FILE": str(offset),
        "FAKETIME_NO_CACHE": "1",
        "DONT_FAKE_MONOTONIC": "1",
    }
    run = ground.start(moved, 1, steps, each={0: faked}, faults=[Fault(0, 8, "clock back")])
    assert run.wait(240) == [0], run.log(0)[-2000:]
    assert offset.read_text() == "-3600"
    seconds = [entry["wall_seconds"] for entry in metrics.read(moved / "metrics.jsonl")]
    assert len(seconds) >= steps and seconds == sorted(seconds) and seconds[0] >= 0
    assert "has not" not in run.log(0) and "no step for" not in run.log(0)
    stamps = [event.stat().st_mtime for event in moved.glob("checkpoints/step_*/manifest.json")]
    assert stamps, "checkpoints were written"
    assert ground.start(quiet, 1, steps).wait(240) == [0]
    assert ground.result(moved)["params"] == ground.result(quiet)["params"]


def _others(beats: dict[int, tuple[int, int, bool]]) -> watchdog._Others:
    others = watchdog._Others()
    others.hear({p: watchdog.Beat(n, step, "x.py:1 f", waits) for p, (n, step, waits) in beats.items()})
    return others


@pytest.mark.parametrize(
    ("beats", "culprits"),
    [
        ({0: (1, 5, True), 1: (1, 5, False), 2: (1, 5, True)}, [1]),  # in its own code at the same step
        ({0: (1, 5, True), 1: (1, 4, True), 2: (1, 5, True)}, [1]),  # in jax like all others, but a step behind
        ({0: (1, 5, False), 1: (1, 5, True)}, [0]),  # process 0 itself
        ({0: (1, 5, True), 1: (1, 5, True)}, []),  # a collective that hangs everywhere
    ],
)
def test_the_process_that_is_behind_is_determined(beats, culprits) -> None:
    assert _others(beats).culprits(30) == culprits


def test_a_silent_process_counts_as_behind(monkeypatch) -> None:
    others = _others({0: (1, 5, True), 1: (1, 5, True)})
    now = time.monotonic()
    monkeypatch.setattr(time, "monotonic", lambda: now + 20)
    others.hear({0: watchdog.Beat(9, 5, "x", True), 1: watchdog.Beat(1, 5, "x", True)})
    assert others.culprits(30) == [1]
    assert "process 1 (b) is behind: at step 5 for 20 s" in others.words(1, "process 1 (b)")


@pytest.mark.multiprocess
def test_a_stuck_process_of_two_is_named_and_dumps_its_stack(ground: Ground, tmp_path: Path) -> None:
    limit = {"BIOMECHGPT_STALL_S": "8"}
    run = ground.start(tmp_path, steps=200, faults=[Fault(1, 6, "stick")], each={0: limit, 1: limit})
    try:
        run.wait_for("fault: stick", process=1, timeout_s=400)
        run.wait_for("watchdog: process 1 (", timeout_s=60)
        assert "is behind: at step 7" in run.log(0) and "worker.py" in run.log(0)
        run.wait_for("is holding up the others", process=1)
        run.wait_for("in befall", process=1, timeout_s=5)
        assert "Current thread" in run.log(1) and "Thread 0x" not in run.log(0), "only the one that hangs is dumped"
    finally:
        run.kill()


@pytest.mark.slow
@pytest.mark.multiprocess
def test_a_stopped_process_is_named_within_a_minute_with_the_usual_limits(ground: Ground, tmp_path: Path) -> None:
    patient = {"BIOMECHGPT_HEARTBEAT_TIMEOUT_S": "100"}
    run = ground.start(tmp_path, steps=5000, faults=[Fault(1, 20, "stop")], each={0: patient, 1: patient})
    try:
        run.wait_for("fault: stop", process=1, timeout_s=400)
        assert run.wait_for("watchdog: process 1 (", timeout_s=80) <= 60
        assert "last heard from" in run.log(0)
    finally:
        run.kill()
