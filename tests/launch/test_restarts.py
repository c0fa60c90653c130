"""When a run is started again."""

from pathlib import Path

import pytest

from biomechgpt_jax.parallel import restarts
from biomechgpt_jax.parallel.restarts import Memory


@pytest.mark.parametrize("code", [0, 2])
def test_a_run_that_is_done_or_wrong_never_starts_again(code: int) -> None:
    assert not restarts.again(code, ["checkpoints/step_00000200"], Memory())[0]


def test_a_run_that_saved_before_it_was_stopped_always_goes_on() -> None:
    memory = Memory()
    for _ in range(20):
        start, memory = restarts.again(75, [], memory)
        assert start


@pytest.mark.parametrize("code", [1, 134, 137])
def test_failures_end_after_the_limit_unless_something_was_reached(code: int) -> None:
    reached, memory, starts = ["a"], Memory(), 0
    while True:
        start, memory = restarts.again(code, reached, memory, limit=3)
        if not start:
            break
        starts += 1
        if starts == 2:
            reached = ["b"]  # a further checkpoint: the count begins anew
    assert starts == 2 + 3  # two, and the limit after what was reached


def test_progress_is_what_was_committed(tmp_path: Path) -> None:
    for name in ("step_00000100", "step_00000200", "damaged-step_00000150"):
        (tmp_path / "checkpoints" / name).mkdir(parents=True)
    (tmp_path / "checkpoints" / "step_00000100" / "manifest.json").write_text("{}")
    (tmp_path / "checkpoints" / "damaged-step_00000150" / "manifest.json").write_text("{}")
    assert restarts.progress(tmp_path) == ["checkpoints/step_00000100/manifest.json"]
    command = ["134", "--workdir", str(tmp_path), "--limit", "2"]
    assert [restarts.main(command) for _ in range(4)] == [0, 0, 1, 1]
    (tmp_path / "checkpoints" / "step_00000200" / "manifest.json").write_text("{}")
    assert restarts.main(command) == 0
    assert restarts.main(["2", "--workdir", str(tmp_path)]) == 1
