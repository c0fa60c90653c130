"""Several processes agree, played by threads over one dictionary."""

import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from biomechgpt_jax.errors import ClusterError, InputError, RunError
from biomechgpt_jax.parallel import distributed
from biomechgpt_jax.training import checkpoint, manifest, meetings

COUNT = 3


@pytest.fixture
def store(monkeypatch) -> dict[str, str]:
    """The store that all processes share; which one a thread is, `as_processes` says."""
    values: dict[str, str] = {}

    def get(key: str, timeout_s: float) -> str | None:
        deadline = time.monotonic() + timeout_s
        while key not in values and time.monotonic() < deadline:
            time.sleep(0.001)
        return values.get(key)

    def forget(key: str) -> None:
        for name in [name for name in values if name.startswith(f"{key}/")]:
            del values[name]

    monkeypatch.setattr(distributed, "place", lambda: distributed.Place("threads", "", COUNT, _self.process))
    monkeypatch.setattr(distributed, "first", lambda: _self.process == 0)
    monkeypatch.setattr(distributed, "host", lambda process: f"process {process} (here)")
    monkeypatch.setattr(distributed, "put", values.__setitem__)
    monkeypatch.setattr(distributed, "get", get)
    monkeypatch.setattr(distributed, "forget", forget)
    return values


_self = threading.local()


def as_processes(task) -> list:
    """What `task(process)` returned or raised in each."""

    def one(process: int):
        _self.process = process
        try:
            return task(process)
        except Exception as error:
            return error

    with ThreadPoolExecutor(COUNT) as pool:
        return list(pool.map(one, range(COUNT)))


def test_all_processes_get_the_result_of_process_0(store) -> None:
    def talk(process: int):
        together = meetings.Meetings("talk")
        return [together.reach(lambda: process * 10), together.reach(lambda: process, sum)]

    assert as_processes(talk) == [[0, 3]] * COUNT
    assert all(key.startswith("meetings/talk/2/") for key in store)  # nothing piles up


def test_a_failure_in_one_process_is_raised_in_all(store) -> None:
    def fall(process: int):
        def mine():
            if process == 2:
                raise OSError(28, "No space left on device", "/data/x")

        meetings.Meetings("fall").reach(mine)

    assert {f"{type(e).__name__}: {e}" for e in as_processes(fall)} == {
        "Failed: process 2 (here): No space left on device"
    }

    def refuse(process: int):
        def mine():
            if process == 1:
                raise InputError("not here")

        meetings.Meetings("refuse").reach(mine)

    assert [(type(e), str(e)) for e in as_processes(refuse)] == [(InputError, "process 1 (here): not here")] * COUNT


def test_a_missing_process_is_named(store) -> None:
    def wait(process: int):
        return process == 1 or meetings.Meetings("wait", timeout_s=0.2).reach(lambda: 0)

    errors = as_processes(wait)
    assert isinstance(errors[0], ClusterError) and "process 1 (here) did not answer" in str(errors[0])


def test_a_failed_save_ends_every_process_at_the_same_step(store, tmp_path, monkeypatch) -> None:
    """Processes are in different steps when the save fails; they stop together, and only after that step."""
    path = manifest.step_path(tmp_path, 4)
    path.mkdir()
    monkeypatch.setattr(checkpoint, "_writer", lambda _: None)
    monkeypatch.setattr(checkpoint, "_series", iter([0] * COUNT))

    def train(process: int) -> str:
        checkpoints = checkpoint.Checkpoints(tmp_path, {}, 1)
        checkpoints.check(5 + process)  # one is ahead

        def finish() -> None:
            _self.process = process
            checkpoints._fail(meetings.Failed("process 1 (here): No space left on device"), path)

        checkpoints._commit = threading.Thread(target=finish)
        checkpoints._commit.start()
        for step in range(6 + process, 20):
            time.sleep(0.02)
            try:
                checkpoints.check(step)
            except RunError as error:
                return f"{step}: {error}"
        return "never"

    ends = as_processes(train)
    assert len(set(ends)) == 1 and "process 1 (here): No space left" in ends[0], ends
    assert 8 <= int(ends[0].partition(":")[0]) <= 10
    assert not path.exists()


def test_a_manifest_that_not_all_see_is_no_reason_to_quarantine(store, tmp_path, monkeypatch) -> None:
    path = manifest.step_path(tmp_path, 1)
    path.mkdir()
    (path / manifest.COMMIT).write_text("")
    manifest.write(path, manifest.entries(path, [manifest.COMMIT]))
    monkeypatch.setattr(manifest, "committed", lambda _: _self.process != 2)
    found = as_processes(lambda process: checkpoint._newest_good(tmp_path, meetings.Meetings("see"), True))
    assert {str(error) for error in found} == {
        "process 2 (here) does not see a checkpoint that process 0 sees; give all processes the same --workdir on a "
        "shared file system, and start again"
    }
    assert path.exists()
