"""What a model or a control answered to the questions of held-out participants."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import NotRequired, TypedDict

from biomechgpt_jax.answering.numbers import Distribution
from biomechgpt_jax.files import to_json, write_text


class Prediction(TypedDict):
    """One answer to one question about one crop of a trial.

    `truth` and `answer` are an option (closed questions) or a number in `unit`; an `answer` of None could not
    be parsed. `options` holds the probability of every option of a closed question. A number with a distribution is
    its median; `probability` is that of exactly this number.
    """

    trial: str
    participant: str
    family: str
    question: str
    kind: str  # "closed" or "number"
    phrasing: str
    truth: str | float
    answer: str | float | None
    probability: float | None
    options: NotRequired[dict[str, float]]
    set: NotRequired[list[str]]  # the options of which one is right in nine people of ten, the likeliest first
    options_raw: NotRequired[dict[str, float]]  # before calibration, as is the next
    probability_raw: NotRequired[float | None]
    unit: str
    start_s: float  # where the crop starts in its trial
    seconds: float  # how long the crop lasts
    text: NotRequired[str]  # the answer as the language model wrote it
    interval: NotRequired[list[float]]  # the central 90 % of a number: the first and the last number in it
    interval_raw: NotRequired[list[float]]  # before calibration
    quantiles: NotRequired[list[float]]  # of a number, at `numbers.QUANTILES`
    decimals: NotRequired[int]  # with which the question writes its numbers
    distribution: NotRequired[Distribution]  # of a number; it is not written to disk


# Families of several questions; the others are one question, known here by the name of the family.
NESTED = ("outcome_scores", "gait")

Key = tuple[str, float, str]


def name_of(prediction: Prediction) -> str:
    """The name a question has in metrics.json and in the report."""
    return prediction["question"] if prediction["family"] in NESTED else prediction["family"]


def key(prediction: Prediction) -> Key:
    """What was asked about which crop: pairs the answers of a model with those of a control."""
    return prediction["trial"], round(float(prediction["start_s"]), 4), prediction["question"]


def by_question(predictions: Iterable[Prediction]) -> dict[str, list[Prediction]]:
    """Predictions by the name of their question (see `name_of`), in order of first appearance."""
    found: dict[str, list[Prediction]] = {}
    for prediction in predictions:
        found.setdefault(name_of(prediction), []).append(prediction)
    return found


def write_predictions(path: Path, by_source: Mapping[str, Sequence[Prediction]]) -> None:
    """Write predictions.jsonl: one JSON object a line, with who answered under "source".

    Of the distribution of a number it holds the interval and the quantiles.
    """
    lines = (
        to_json({"source": source} | {name: value for name, value in prediction.items() if name != "distribution"})
        for source, predictions in by_source.items()
        for prediction in predictions
    )
    write_text(path, "".join(f"{line}\n" for line in lines))
