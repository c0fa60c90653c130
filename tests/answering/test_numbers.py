"""Numbers with distributions: their statistics, and how `ask` shows them to people and to programs."""

import csv
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from biomechgpt_jax.answering import numbers
from biomechgpt_jax.answering.answers import Answers, FileAnswers, describe
from biomechgpt_jax.answering.predictions import write_predictions
from biomechgpt_jax.questions.registry import QUESTIONS
from biomechgpt_jax.questions.understanding import understand
from biomechgpt_jax.reports import answers as rendering


def test_statistics_of_a_distribution():
    one = numbers.Distribution(np.array([0.7, 0.8, 0.9, 1.0]), np.array([0.1, 0.4, 0.3, 0.2]))
    assert [numbers.quantile(one, share) for share in (0.0, 0.1, 0.11, 0.5, 0.51, 1.0)] == [
        0.7,
        0.7,
        0.8,
        0.8,
        0.9,
        1.0,
    ]
    assert numbers.probability_between(one, -np.inf, 0.8) == pytest.approx(0.1)
    assert numbers.probability_between(one, 0.8, 1.0) == pytest.approx(0.7)
    assert numbers.probability_between(one, 0.8, np.inf) == pytest.approx(0.9)
    assert numbers.probability_between(one, -np.inf, np.inf) == pytest.approx(1.0)


def predicted(name: str, distribution: numbers.Distribution) -> Any:
    """A prediction with this distribution; its other keys are of no interest here."""
    question = QUESTIONS[name]
    known = numbers.summarise(distribution, question.decimals, question.unit)
    return {"question": name, "kind": "number", "unit": question.unit, **known}


def answered(text: str, values: list[float], *shares: float) -> dict[str, Any]:
    """What `ask` says to a text where the number has this distribution."""
    asked = understand(text)
    found = predicted(asked.question.name, numbers.Distribution(np.array(values), np.array(shares)))
    return describe(asked, found, caution="")


SPEED = ("Walking speed?", [0.7, 0.79, 0.8, 0.9, 1.0], 0.02, 0.1, 0.3, 0.5, 0.08)


def test_a_number_stands_with_its_interval_and_the_probability_of_a_band() -> None:
    found = Answers([answered(*SPEED), answered("Cadence?", [99, 100, 101], 0.5, 0.3, 0.2)])
    assert rendering.lines(found, with_left_out=False) == [
        "Walking speed? 0.90 m/s      (90 %: 0.79 to 1.00)",
        "  below 0.8 m/s: probability 0.12 (limited walking in the community)",
        "Cadence?       99 steps/min  (90 %: 99 to 101)",
    ]


def test_programs_get_the_interval_the_quantiles_and_the_bands() -> None:
    found = answered(*SPEED)
    assert (found["answer"], found["probability"], found["text"]) == (0.9, 0.5, "0.90 m/s")
    assert found["interval"] == [0.79, 1.0] and [0.5, 0.9] in found["quantiles"] and len(found["quantiles"]) == 21
    (band,) = found["bands"]
    assert band["band"] == "below 0.8 m/s" and band["probability"] == pytest.approx(0.12) and band["source"]
    assert answered("Cadence?", [99, 100], 0.5, 0.5)["bands"] == []


def test_bands_of_timed_tests_begin_where_the_fall_risk_does() -> None:
    for text, values, words in (
        ("TUG time?", [13.4, 13.5, 13.6], "  above 13.5 s: probability 0.30 (a high risk of falling)"),
        (
            "Time of five chair stands?",
            [14.9, 15.0, 15.1],
            "  at least 15.0 s: probability 0.80 (a high risk of falling)",
        ),
    ):
        found = Answers([answered(text, values, 0.2, 0.5, 0.3)])
        assert rendering.lines(found, with_left_out=False)[1] == words


def test_a_table_holds_the_ends_of_intervals(tmp_path: Path) -> None:
    greedy = {name: value for name, value in answered("Step width?", [0.1], 1.0).items() if name != "interval"}
    names = ["walking_speed", "step_width", "impairment"]
    rendering.write_table(tmp_path / "table.csv", [FileAnswers("a.mot", Answers([answered(*SPEED), greedy]))], names)
    (row,) = csv.DictReader((tmp_path / "table.csv").open(newline=""))
    assert (row["walking_speed low"], row["walking_speed high"]) == ("0.79", "1.0")
    assert row["step_width (m)"] == "0.1" and row["step_width low"] == row["step_width high"] == ""
    assert "impairment low" not in row


def test_what_is_written_to_disk_is_a_summary(tmp_path: Path) -> None:
    values = np.arange(2.0, 180.0, 0.1).round(1)
    spread = numbers.Distribution(values, np.full(len(values), 1 / len(values)))
    write_predictions(tmp_path / "predictions.jsonl", {"model": [predicted("tug_time", spread)]})
    line = (tmp_path / "predictions.jsonl").read_text()
    assert '"interval"' in line and '"quantiles"' in line and '"distribution"' not in line and len(line) < 500
