"""`evaluate --people`: everybody of another dataset is asked about, and the run stays as it was."""

import dataclasses
import json
from pathlib import Path

import fabricated
import fabricated_run
import numpy as np
import pytest

from biomechgpt_jax import cli, config
from biomechgpt_jax.biomechanics.skeleton import COORDINATE_COUNT
from biomechgpt_jax.biomechanics.trajectory import Metadata, Trajectory, Trial
from biomechgpt_jax.data import movements
from biomechgpt_jax.data.splits import split_of

OBSERVED = np.ones(COORDINATE_COUNT, bool)


def people(prefix: str, count: int, split: str) -> list[str]:
    names = (f"{prefix}{number}" for number in range(1000))
    return [name for name in names if split_of(name) == split][:count]


def write(directory: Path, participants: list[str]) -> None:
    trials = []
    for number, person in enumerate(participants):
        known = Metadata(participant=person, activity="walking")
        moved = Trajectory(fabricated.walk(2.0, 0.7 + 0.05 * number), OBSERVED, 30.0, known)
        diagnosis = ("healthy", "stroke")[number % 2]
        trials.append(Trial(f"{person} walks", moved, diagnosis=diagnosis, throughout=True))
    movements.write(trials, directory, {"synthetic": False})


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A run of an untrained model on four participants to train on and one to test."""
    small = config.Evaluation(bootstrap=20, stick_figures=1, encoder_steps=2)
    monkeypatch.setattr(fabricated_run, "CFG", dataclasses.replace(fabricated_run.CFG, evaluation=small))
    fabricated_run.write(tmp_path / "run")
    write(tmp_path / "run" / "movements", people("own", 4, "train") + people("own", 1, "test"))
    return tmp_path / "run"


def test_everybody_is_asked_about_and_the_run_stays_as_it_was(run, tmp_path, capsys) -> None:
    strangers = people("stranger", 4, "train") + people("stranger", 2, "test")
    write(tmp_path / "others" / "movements", strangers)
    before = {path: path.read_bytes() for path in run.rglob("*") if path.is_file() and "compiled" not in path.parts}
    words = ["evaluate", "--workdir", str(run), "--people", str(tmp_path / "others" / "movements")]
    assert cli.main([*words, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    directory = run / "evaluation_others"
    assert json.loads((directory / "metrics.json").read_text()) == found
    assert found["test_participants"] == 6
    assert {"constant", "features", "features_on_tokens", "encoder"} <= set(found["controls"])
    rows = [json.loads(line) for line in (directory / "predictions.jsonl").read_text().splitlines()]
    assert {row["participant"] for row in rows} == set(strangers)
    assert all(path.read_bytes() == held for path, held in before.items())
    assert cli.main(words) == 0
    printed = capsys.readouterr().out
    assert "Figures of 6 imported recordings of 6 participants" in printed
    assert "evaluation_others/report.html" in printed


def test_another_dataset_of_the_same_name_does_not_write_over_the_first(run, tmp_path, capsys) -> None:
    for place, count in (("a", 2), ("b", 3)):
        write(tmp_path / place / "others" / "movements", people("stranger", count, "test"))
    words = ["evaluate", "--workdir", str(run), "--people"]
    assert cli.main([*words, str(tmp_path / "a" / "others" / "movements")]) == 0
    before = (run / "evaluation_others" / "metrics.json").read_bytes()
    capsys.readouterr()
    assert cli.main([*words, str(tmp_path / "b" / "others" / "movements")]) == 2
    assert "holds the evaluation of other people" in capsys.readouterr().err
    assert (run / "evaluation_others" / "metrics.json").read_bytes() == before


def test_people_whom_the_run_was_trained_on_are_refused(run, tmp_path, capsys) -> None:
    known = people("own", 1, "train")
    write(tmp_path / "others" / "movements", [*people("stranger", 2, "train"), *known])
    assert cli.main(["evaluate", "--workdir", str(run), "--people", str(tmp_path / "others" / "movements")]) == 2
    (line,) = capsys.readouterr().err.strip().splitlines()
    assert f"participant {known[0]} is in the training split of" in line
    assert not (run / "evaluation_others").exists()
