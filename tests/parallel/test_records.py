"""runs.jsonl holds a line for every start and every end."""

import json
import shutil
from pathlib import Path

import pytest

from biomechgpt_jax.errors import InputError
from biomechgpt_jax.parallel import records


def test_the_end_of_a_run_is_written_with_its_exit_code(tmp_path: Path) -> None:
    with records.record_run(tmp_path, "train"):
        pass
    with pytest.raises(InputError), records.record_run(tmp_path, "pack"):
        raise InputError("wrong")
    lines = [json.loads(line) for line in (tmp_path / records.RUNS).read_text().splitlines()]
    assert [line.get("until", line.get("code")) for line in lines] == ["train", 0, "pack", 2]


def test_an_unwritable_line_does_not_hide_how_the_run_ended(tmp_path: Path) -> None:
    workdir = tmp_path / "run"
    workdir.mkdir()

    def run() -> None:
        with records.record_run(workdir, "train"):
            shutil.rmtree(workdir)
            raise SystemExit(75)

    with pytest.raises(SystemExit) as ended:
        run()
    assert ended.value.code == 75
