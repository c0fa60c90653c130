"""Answers about one movement or a folder of them, as `ask` gives them back."""

from dataclasses import dataclass, field
from typing import Any

from biomechgpt_jax.answering.numbers import QUANTILES, Distribution, probability_between
from biomechgpt_jax.answering.predictions import Prediction
from biomechgpt_jax.biomechanics.flags import cautions, impossible
from biomechgpt_jax.questions.bands import BANDS
from biomechgpt_jax.questions.understanding import Understood


@dataclass(frozen=True)
class Answers:
    """The answers about one movement (see `describe`), and why other questions have none, by the question's name.

    `flags` are those of the recording; `notes` are the ones that a reader of the answers must know.
    """

    answers: list[dict[str, Any]] = field(default_factory=list)
    left_out: dict[str, str] = field(default_factory=dict)
    flags: tuple[str, ...] = ()

    @property
    def notes(self) -> tuple[str, ...]:
        """What was assumed when the file was read, and why its pose is no person's, in words."""
        return impossible(self.flags) + cautions(self.flags)

    def as_json(self) -> dict[str, Any]:
        left_out = [{"question": name, "reason": reason} for name, reason in self.left_out.items()]
        return {"answers": self.answers, "left_out": left_out, "flags": list(self.flags)}


@dataclass(frozen=True)
class FileAnswers:
    """The answers about one file of a folder; `error` says why there are none, and is empty where there are."""

    file: str
    found: Answers = field(default_factory=Answers)
    error: str = ""

    def as_json(self) -> dict[str, Any]:
        return {"file": self.file, **self.found.as_json(), "error": self.error}


def describe(asked: Understood, prediction: Prediction, caution: str, doubt: str = "") -> dict[str, Any]:
    """One answer with the question that was understood, as `ask --json` prints it.

    Args:
        caution: why the movement does not show what is asked; empty where it may.
        doubt: why the answer should not be relied on (`calibration.applied.doubt`); empty where it may.

    Returns:
        "question" (as it was put to the model), "answer" (to that question; null where none could be parsed),
        "probability" (of the option among all, or of the decoded number) and "unit"; "name" of the question, "asked"
        (the user's words), "understood" (the question in short), "polarity" of the words (see `Understood`),
        "answer_as_asked" (to the user's words), "explanation" (in plain words where the polarity is not "same"), "text"
        (the answer with its unit), "caution", and "options" with their probabilities for a closed question. A number
        with a distribution is its median, and has "interval" (the central 90 %), "quantiles" (a list of [share,
        number]) and "bands" (those of `questions.bands`, with their probabilities). "abstains" says that the program
        would rather not answer, and "doubt" why. Of a calibrated closed question "set" holds the options of which one
        is right in nine people of ten.
    """
    question, answer = asked.question, prediction["answer"]
    described: dict[str, Any] = {
        "question": asked.phrasing,
        "answer": answer,
        "probability": prediction["probability"],
        "unit": question.unit,
        "name": question.name,
        "asked": asked.asked,
        "understood": question.short,
        "polarity": asked.polarity,
        "answer_as_asked": asked.answer_as_asked(answer),
        "explanation": asked.explain(answer),
        "text": "" if answer is None else question.answer_text(answer),
        "caution": caution,
        "abstains": bool(doubt),
        "doubt": doubt,
    }
    if "options" in prediction:
        described["options"] = prediction["options"]
    if "set" in prediction:
        described["set"] = prediction["set"]
    if "distribution" in prediction:
        described["interval"] = prediction["interval"]
        described["quantiles"] = [list(pair) for pair in zip(QUANTILES, prediction["quantiles"], strict=True)]
        described["bands"] = _bands(question.name, prediction["distribution"])
    return described


def _bands(name: str, distribution: Distribution) -> list[dict[str, Any]]:
    """The probability of each band of a question that has a clinical meaning."""
    return [
        {
            "band": band.words,
            "probability": probability_between(distribution, band.low, band.high),
            "meaning": band.meaning,
            "source": band.source,
        }
        for band in BANDS.get(name, ())
    ]
