"""After SIGTERM to one of four processes all stop at the same step, and two resume with the same global batches."""

from pathlib import Path

import pytest
from ground import Fault, Ground

pytestmark = [pytest.mark.multiprocess, pytest.mark.slow]


def test_four_stop_at_the_same_step_and_two_resume_with_the_same_batches(ground: Ground, tmp_path: Path) -> None:
    steps, train = 300, {"checkpoint_every": 1000, "log_every": 1}
    stopped, whole = tmp_path / "stopped", tmp_path / "whole"
    run = ground.start(stopped, 4, steps, faults=[Fault(2, 10, "term")], train=train)
    assert run.wait(400) == [75] * 4, run.log(0)[-2000:]
    (saved,) = (stopped / "checkpoints").glob("step_*")
    at = int(saved.name.removeprefix("step_"))
    assert 10 <= at < steps and (saved / "manifest.json").exists()

    end = at + 6
    assert ground.start(stopped, 2, end, train=train).wait(400) == [2, 2], "a schedule that ends elsewhere is refused"
    run = ground.start(stopped, 2, steps, train=train)
    assert run.wait(400) == [0, 0], run.log(0)[-2000:]
    assert ground.result(stopped)["processes"] == 2
    assert f"step {at}\n" not in run.log(0) and f"step {at + 1}\n" in run.log(0)

    assert ground.start(whole, 1, steps, train=train).wait(400) == [0]
    assert ground.rows(stopped) == ground.rows(whole), "also where both had rows for a step, or the ground would refuse"
