"""What a person sees of a stage."""

import pytest

from biomechgpt_jax.progress import Progress


def test_remarks_follow_the_last_line_of_a_stage(capsys: pytest.CaptureFixture[str]) -> None:
    with Progress("pack") as progress:
        progress.done("9 rows", ["a.mot: no label became a question"])
    first, second = capsys.readouterr().err.splitlines()
    assert first.startswith("pack       9 rows  [") and second == "pack       a.mot: no label became a question"
