"""What is fitted for each question of a run, as a file beside the run."""

import dataclasses
import hashlib
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from biomechgpt_jax.answering.predictions import Prediction
from biomechgpt_jax.calibration import conformal, temperature
from biomechgpt_jax.errors import InputError
from biomechgpt_jax.files import write_json

_MARK = "biomechgpt calibration"
# The reach common to all numbers counts as so many people beside those of one question. On 320 development people of
# the quickstart the coverage of thirteen numbers was off 90 % by 4.2 points (root mean square) without it, by 3.0 with
# 60 and with 150, and by 3.4 with the common reach alone.
_COMMON_PEOPLE = 60


@dataclass(frozen=True)
class Fitted:
    """What is fitted for one question.

    Attributes:
        people: validation people it was fitted on.
        temperature, yes_bias: of the probabilities of a closed question.
        reach: score within which a set or an interval holds its truth (`conformal`); NaN with too few people.
        spread: width that holds the central 90 % of the true values of people; 0 for a closed question.
    """

    people: int
    temperature: float = 1.0
    yes_bias: float = 0.0
    reach: float = math.nan
    spread: float = 0.0


@dataclass(frozen=True)
class Calibration:
    """What is fitted for each question, by its name, for the model that a training made.

    Attributes:
        training: digest that the train stage gave the model.
    """

    training: str = ""
    questions: Mapping[str, Fitted] = field(default_factory=dict)


UNCALIBRATED = Calibration()


def fit(rows: Sequence[Prediction], training: str) -> Calibration:
    """Fit every question that was asked about validation people; `rows` are the model's answers with their truths."""
    asked: dict[str, list[Prediction]] = {}
    for row in rows:
        asked.setdefault(row["question"], []).append(row)
    fitted = {name: _closed(of) if of[0]["kind"] == "closed" else _number(of) for name, of in asked.items()}
    found = {name: one for name, one in fitted.items() if one is not None}
    return Calibration(training, found | _drawn_together({name: one for name, one in found.items() if one.spread}))


def _drawn_together(numbers: Mapping[str, Fitted]) -> dict[str, Fitted]:
    """The reach of each number drawn towards that of all: a model is too sure, or too unsure, of all of them alike."""
    if not numbers:
        return {}
    people = np.array([one.people for one in numbers.values()])
    reach = np.array([one.reach for one in numbers.values()])
    drawn = (people * reach + _COMMON_PEOPLE * np.average(reach, weights=people)) / (people + _COMMON_PEOPLE)
    return {
        name: dataclasses.replace(one, reach=float(value))
        for (name, one), value in zip(numbers.items(), drawn, strict=True)
    }


def _closed(rows: Sequence[Prediction]) -> Fitted | None:
    rows = [row for row in rows if row["truth"] in row.get("options", {})]
    if not rows:
        return None
    scale, bias = temperature.fit(rows)
    scores = [conformal.option_score(temperature.scale(row["options"], scale, bias), str(row["truth"])) for row in rows]
    people = _people(rows)
    reach = conformal.level(scores, rows) if people >= conformal.FEWEST_PEOPLE else math.nan
    return Fitted(people, scale, bias, reach)


def _number(rows: Sequence[Prediction]) -> Fitted | None:
    rows = [row for row in rows if "distribution" in row]
    if not rows:
        return None
    people = _people(rows)
    if people < conformal.FEWEST_PEOPLE:
        return Fitted(people)
    truths = [round(float(row["truth"]), row["decimals"]) for row in rows]
    scores = [conformal.number_score(row["distribution"], truth) for row, truth in zip(rows, truths, strict=True)]
    low, high = _weighted_quantiles(np.array(truths), temperature.person_weights(rows), (0.05, 0.95))
    return Fitted(people, reach=conformal.level(scores, rows), spread=high - low)


def _people(rows: Sequence[Prediction]) -> int:
    return len({row["participant"] for row in rows})


def _weighted_quantiles(values: np.ndarray, weights: np.ndarray, shares: Sequence[float]) -> list[float]:
    order = np.argsort(values)
    reached = np.cumsum(weights[order]) / weights.sum()
    return [float(values[order][min(int(np.searchsorted(reached, share)), len(order) - 1)]) for share in shares]


def write(path: Path, calibration: Calibration) -> None:
    """Write calibration.json, whole or not at all."""
    entries = {name: dataclasses.asdict(one) for name, one in calibration.questions.items()}
    write_json(path, {"kind": _MARK, "training": calibration.training, "questions": entries})


def digest(path: Path) -> str:
    """SHA-256 hex of the file."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


def read(path: Path) -> Calibration:
    """Read calibration.json.

    Raises:
        InputError: it is damaged.
    """
    try:
        value = json.loads(path.read_bytes())
        if value["kind"] != _MARK:
            raise ValueError("another kind")
        entries = {name: Fitted(**_numbers(entry)) for name, entry in value["questions"].items()}
        return Calibration(str(value["training"]), entries)
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise InputError(f"{path} is damaged; run `biomechgpt calibrate` again") from error


def _numbers(entry: Mapping[str, Any]) -> dict[str, Any]:
    """The fields of `Fitted`; JSON has null where a number is unknown."""
    made = {name: math.nan if value is None else float(value) for name, value in entry.items()}
    if not 0 < made["temperature"] < math.inf or not math.isfinite(made["yes_bias"]):
        raise ValueError("no temperature")
    return made | {"people": int(made["people"])}
