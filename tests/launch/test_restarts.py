"""The restart policy, against the table of exit codes."""

import shutil
from pathlib import Path

import pytest

from biomechgpt_jax.training import manifest, restarts
from biomechgpt_jax.training.restarts import History, decide


def commit(workdir: Path, step: int, name: str = "checkpoints", whole: bool = True) -> None:
    path = manifest.step_path(workdir / name, step)
    path.mkdir(parents=True)
    if whole:
        (path / manifest.MANIFEST).write_text("{}")


@pytest.mark.parametrize(
    ("codes", "restart"),
    [
        ([0], False),
        ([0, 0], False),
        ([2], False),
        ([2, 134, 134], False),
        ([75], True),
        ([75, 0], True),
        ([1], True),
        ([134, -9], True),
        ([75, 134], True),
    ],
)
def test_each_combination_of_codes_leads_to_its_decision(codes: list[int], restart: bool) -> None:
    assert decide(codes, 0, History()).restart is restart


def test_preemption_is_never_counted() -> None:
    history = History()
    for _ in range(50):
        decision = decide([75, 75], 0, history, limit=0)
        assert decision.restart
        history = decision.history
    assert history.idle == 0


def test_failures_without_progress_end_at_the_limit_and_progress_resets_the_count() -> None:
    history, restarted = History(), []
    for step in [0, 0, 5, 5, 5, 4, 5]:
        decision = decide([134], step, history, limit=3)
        restarted.append(decision.restart)
        history = decision.history
    # Two restarts at 0; the new step 5 allows three more; falling back to 4 and reaching 5 again is not progress.
    assert restarted == [True, True, True, True, True, False, False]
    assert "134" in decision.why and "3 restarts" in decision.why


def test_progress_is_any_committed_step_of_any_stage(tmp_path: Path) -> None:
    assert restarts.newest_step(tmp_path) == 0
    commit(tmp_path, 40, "tokenizer/checkpoints")
    commit(tmp_path, 10)
    commit(tmp_path, 20)
    commit(tmp_path, 30, whole=False)
    assert restarts.newest_step(tmp_path) == 60
    # The codec is done and its checkpoints are removed: that counts as progress, and so does each step after it.
    shutil.rmtree(tmp_path / "tokenizer")
    (tmp_path / "stages").mkdir()
    (tmp_path / "stages" / "tokenizer.json").write_text("{}")
    done = restarts.newest_step(tmp_path)
    commit(tmp_path, 21)
    assert 60 < done < restarts.newest_step(tmp_path)


def test_the_exit_code_informs_the_shell_and_the_count_is_kept(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    codes = [restarts.main(["--workdir", str(tmp_path), "--limit", "2", "134"]) for _ in range(3)]
    assert codes == [0, 0, 1]
    commit(tmp_path, 5)
    assert restarts.main(["--workdir", str(tmp_path), "--limit", "2", "134"]) == 0
    assert restarts.main(["--workdir", str(tmp_path), "0"]) == 1
    assert "restart 1 of 2" in capsys.readouterr().err
    (tmp_path / "restarts.json").write_text("[]")
    assert restarts.main(["--workdir", str(tmp_path), "75"]) == 0
