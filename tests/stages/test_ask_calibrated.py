"""What `ask` says of a calibrated run: probabilities that come true, sets, intervals, and what it would not answer."""

import csv
import json
from pathlib import Path

import numpy as np
import pytest

from biomechgpt_jax import cli
from biomechgpt_jax.answering import numbers, predict
from biomechgpt_jax.answering.asked import prediction
from biomechgpt_jax.biomechanics.skeleton import COORDINATES
from biomechgpt_jax.calibration.stored import Calibration, Fitted
from biomechgpt_jax.questions.registry import QUESTIONS
from biomechgpt_jax.stages import ask

CALIBRATION = Calibration(
    "a training",
    {
        "diagnosis": Fitted(60, temperature=2.0, reach=0.8),
        "impairment": Fitted(60, temperature=1.0, reach=0.2),
        "walking_speed": Fitted(60, reach=0.99, spread=1.4),
        "cadence": Fitted(60, reach=0.99, spread=10.0),
    },
)
RAW = {"stroke": 0.55, "healthy": 0.43}


@pytest.fixture(autouse=True)
def _stand_in(monkeypatch: pytest.MonkeyPatch) -> None:
    """A model that wavers between two diagnoses, and whose numbers have a distribution."""

    def one(item):  # type: ignore[no-untyped-def]
        question = QUESTIONS[item.question]
        if question.kind == "number":
            values = np.array([question.parse(text) for text in question.answers()])
            chances = np.exp(-0.5 * ((values - 1.2) / 0.1) ** 2) if item.question == "walking_speed" else values**0
            spread = numbers.Distribution(values, chances / chances.sum())
            return prediction(item, None, None) | numbers.summarise(spread, question.decimals, question.unit)
        shares = {
            option: 0.02 / (len(question.options) - 2) if question.name == "diagnosis" else 0.0
            for option in question.options
        }
        shares |= RAW if question.name == "diagnosis" else {question.options[0]: 0.9, question.options[1]: 0.1}
        best = max(shares, key=lambda name: shares[name])
        return prediction(item, best, shares[best]) | {"options": shares}

    def load(workdir, greedy, risk):  # type: ignore[no-untyped-def]
        def encode(crops, _):  # type: ignore[no-untyped-def]
            return [np.zeros((len(crop) // 4, 1), int) for crop in crops]

        return ask.Answerer(None, encode, 32.0, calibration=CALIBRATION, risk=risk)  # type: ignore[arg-type]

    monkeypatch.setattr(predict, "answers", lambda model, asked, codes, questions: [one(item) for item in asked])
    monkeypatch.setattr(ask, "load", load)


@pytest.fixture
def walk(tmp_path: Path) -> Path:
    time = np.arange(240) / 30
    columns = {"pelvis_tx": 1.2 * time, "pelvis_ty": 0.95 + 0 * time, "pelvis_tz": 0.01 * np.sin(time)}
    columns |= {name: 20 * np.sin(2 * np.pi * time + (name[-1] == "l") * np.pi) for name in COORDINATES[6:20]}
    rows = ["\t".join(f"{value:.5f}" for value in row) for row in zip(time, *columns.values(), strict=True)]
    path = tmp_path / "walk.mot"
    path.write_text("\n".join(["inDegrees=yes", "endheader", "\t".join(["time", *columns]), *rows]) + "\n")
    return path


def said(capsys: pytest.CaptureFixture[str], *arguments: object) -> str:
    assert cli.main(["ask", *map(str, arguments)]) == 0
    return capsys.readouterr().out


def test_an_unsure_answer_is_not_given_but_its_candidates_are(walk: Path, capsys: pytest.CaptureFixture[str]) -> None:
    lines = said(capsys, walk, "What is the diagnosis?").splitlines()
    assert lines[0].startswith("Diagnosis? would rather not answer (likeliest: stroke)  (probability 0.")
    assert "90 %: stroke or healthy" in lines[0]
    assert "such an answer is wrong in" in lines[1] and "--risk" in lines[1]
    one = json.loads(said(capsys, walk, "What is the diagnosis?", "--json"))
    assert one["abstains"] and one["answer"] == "stroke" and one["set"][:2] == ["stroke", "healthy"]
    assert one["probability"] == pytest.approx(one["options"]["stroke"]) and one["probability"] < 0.5


def test_a_higher_risk_gives_the_answer(walk: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (line,) = said(capsys, walk, "What is the diagnosis?", "--risk", "0.9").splitlines()
    assert line.startswith("Diagnosis? stroke  (probability 0.")


def test_a_sure_answer_stands_alone(walk: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (line,) = said(capsys, walk, "Is this movement impaired?").splitlines()
    assert line.endswith("(probability 0.90)")


def test_a_number_has_the_interval_of_nine_people_in_ten(walk: Path, capsys: pytest.CaptureFixture[str]) -> None:
    one = json.loads(said(capsys, walk, "Walking speed?", "--json"))
    low, high = one["interval"]
    quantiles = {share: value for share, value in one["quantiles"]}
    assert low < quantiles[0.05] and high > quantiles[0.95] and not one["abstains"]


def test_a_number_that_tells_nothing_is_not_given(walk: Path, capsys: pytest.CaptureFixture[str]) -> None:
    lines = said(capsys, walk, "Cadence?").splitlines()
    assert "would rather not answer" in lines[0] and "as wide as that of people in general" in lines[1]


def test_a_table_names_what_would_rather_not_be_answered(walk: Path, capsys: pytest.CaptureFixture[str]) -> None:
    table = walk.with_name("answers.csv")
    said(capsys, walk, "What is the diagnosis?", "Walking speed?", "--csv", table)
    (row,) = csv.DictReader(table.open(newline=""))
    assert row["diagnosis"] == "stroke" and "diagnosis: would rather not answer" in row["notes"]


@pytest.mark.parametrize("given", ["0", "1", "-0.2", "much"])
def test_a_risk_is_a_share(walk: Path, capsys: pytest.CaptureFixture[str], given: str) -> None:
    assert cli.main(["ask", str(walk), "Walking speed?", f"--risk={given}"]) == 2
    assert "--risk" in capsys.readouterr().err
