"""Two processes train as one, and resume after both have been killed."""

import pytest
from ground import Fault, Ground

pytestmark = pytest.mark.multiprocess


def test_a_run_of_two_processes_that_loses_one_resumes_where_it_was(ground: Ground, tmp_path) -> None:
    run = ground.start(tmp_path, processes=2, steps=11, faults=[Fault(process=1, step=10, do="kill")])
    assert run.wait() == [-6, -9], run.log(0)[-2000:]  # a lost host ends the others by SIGABRT
    # The save of step 8 waited for that of step 4.
    assert (tmp_path / "checkpoints" / "step_00000004" / "manifest.json").exists()

    run = ground.start(tmp_path, processes=2, steps=11)
    assert run.wait() == [0, 0], run.log(0)[-2000:]
    assert "step 4\n" not in run.log(0) and "step 9\n" in run.log(0)
    assert run.output(0) == ""
    rows = ground.rows(tmp_path)
    assert list(rows) == list(range(11)) and {len(batch) for batch in rows.values()} == {4}
    assert ground.result(tmp_path)["processes"] == 2
