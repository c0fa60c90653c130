"""Every question the program knows: phrasings, options, units, and how answers are written and read."""

import re
from dataclasses import dataclass
from difflib import SequenceMatcher
from typing import Literal

ACTIVITIES = (
    "walking",
    "timed up and go",
    "five times sit to stand",
    "standing balance",
    "squat",
    "tandem walk",
)
DIAGNOSES = (
    "healthy",
    "stroke",
    "Parkinson disease",
    "cerebellar ataxia",
    "cerebral palsy",
    "transfemoral amputation",
    "knee osteoarthritis",
)
DEVICES = ("none", "cane", "walker", "prosthesis")
FALL_RISKS = ("low", "moderate", "high")

FAMILIES = ("activity", "impairment", "diagnosis", "assistive_device", "outcome_scores", "gait")

# A free question is understood as the nearest phrasing if it is at least this similar (0..1).
MATCH_THRESHOLD = 0.6


@dataclass(frozen=True)
class Question:
    """One question.

    Attributes:
        name: key in the registry, in truths and in metrics.
        family: one of `FAMILIES`.
        kind: "closed" is answered by one of `options`, "number" by a value with `unit`.
        templates: phrasings; the first is the canonical one. None of them hints at an answer.
        low, high: plausible range of a number; an answer outside it is not an answer.
    """

    name: str
    family: str
    kind: Literal["closed", "number"]
    templates: tuple[str, ...]
    options: tuple[str, ...] = ()
    unit: str = ""
    decimals: int = 0
    low: float = 0.0
    high: float = 0.0

    def answer_text(self, value: str | float) -> str:
        """The answer as the model is taught to write it, such as "1.29 m/s" or "yes"."""
        if self.kind == "closed":
            if value not in self.options:
                raise ValueError(f"{value!r} is not an option of {self.name}: {', '.join(self.options)}")
            return str(value)
        return f"{float(value):.{self.decimals}f} {self.unit}"

    def parse(self, text: str) -> str | float | None:
        """The value that an answer states, or None where it states none."""
        text = " ".join(text.split())
        if self.kind == "closed":
            return text if text in self.options else None
        found = re.fullmatch(rf"(\d+(?:\.\d+)?) ?{re.escape(self.unit)}", text)
        if not found or not self.low <= float(found[1]) <= self.high:
            return None
        return float(found[1])


def _number(name: str, family: str, unit: str, decimals: int, span: tuple[float, float], *templates: str) -> Question:
    return Question(name, family, "number", templates, (), unit, decimals, span[0], span[1])


def _closed(name: str, family: str, options: tuple[str, ...], *templates: str) -> Question:
    return Question(name, family, "closed", templates, options)


QUESTIONS: dict[str, Question] = {
    question.name: question
    for question in (
        _closed(
            "activity",
            "activity",
            ACTIVITIES,
            "What activity is this?",
            "What is this person doing?",
            "Which activity does this movement show?",
            "Name the activity.",
        ),
        _closed(
            "impairment",
            "impairment",
            ("yes", "no"),
            "Is there an impairment?",
            "Is this movement impaired?",
            "Does this person have a movement impairment?",
            "Any impairment of movement?",
        ),
        _closed(
            "diagnosis",
            "diagnosis",
            DIAGNOSES,
            "What is the diagnosis?",
            "Which diagnosis fits this movement?",
            "Which condition does this person have?",
            "Name the diagnosis.",
        ),
        _closed(
            "assistive_device",
            "assistive_device",
            DEVICES,
            "Which assistive device is used?",
            "What assistive device does this person use?",
            "Is an assistive device used, and which?",
            "Name the assistive device.",
        ),
        _number(
            "tug_time",
            "outcome_scores",
            "s",
            1,
            (2.0, 99.0),
            "How long does the timed up and go take?",
            "What is the TUG time?",
            "Timed up and go time?",
            "How many seconds does the TUG take?",
        ),
        _number(
            "five_times_sit_to_stand_time",
            "outcome_scores",
            "s",
            1,
            (2.0, 99.0),
            "How long do five sit to stands take?",
            "What is the five times sit to stand time?",
            "Five times sit to stand time?",
            "How many seconds do five chair rises take?",
        ),
        _number(
            "ten_metre_walk_time",
            "outcome_scores",
            "s",
            1,
            (2.0, 99.0),
            "How long does the 10 metre walk take?",
            "What is the 10 metre walk time?",
            "10 metre walk time?",
            "How many seconds does the 10 metre walk take?",
        ),
        _closed(
            "fall_risk",
            "outcome_scores",
            FALL_RISKS,
            "What is the fall risk?",
            "How high is the risk of falling?",
            "Which fall risk band fits?",
            "Fall risk?",
        ),
        _number(
            "walking_speed",
            "gait",
            "m/s",
            2,
            (0.01, 5.0),
            "How fast is this person walking?",
            "What is the walking speed?",
            "Walking speed?",
            "At what speed does this person walk?",
        ),
        _number(
            "cadence",
            "gait",
            "steps/min",
            0,
            (15.0, 250.0),
            "What is the cadence?",
            "How many steps per minute?",
            "Cadence?",
            "At what cadence does this person walk?",
        ),
        _number(
            "step_length",
            "gait",
            "m",
            2,
            (0.01, 2.0),
            "What is the step length?",
            "How long are the steps?",
            "Step length?",
            "What is the mean step length?",
        ),
        _number(
            "stride_time",
            "gait",
            "s",
            2,
            (0.3, 5.0),
            "What is the stride time?",
            "How long does a stride take?",
            "Stride time?",
            "What is the mean stride time?",
        ),
        _number(
            "double_support",
            "gait",
            "%",
            0,
            (0.0, 90.0),
            "What is the double support?",
            "How much of the stride is double support?",
            "Double support?",
            "What share of the stride is double support?",
        ),
        _number(
            "step_time_asymmetry",
            "gait",
            "%",
            0,
            (0.0, 150.0),
            "What is the step time asymmetry?",
            "How uneven are the step times?",
            "Step time asymmetry?",
            "How asymmetric are the step times?",
        ),
    )
}


def _normal(text: str) -> str:
    return " ".join(re.sub(r"[^a-z0-9 ]", " ", text.lower()).split())


_BY_PHRASING = {_normal(template): question for question in QUESTIONS.values() for template in question.templates}


def match(text: str) -> Question | None:
    """The question that a free text asks: an exact phrasing, else the nearest one that is near enough."""
    wanted = _normal(text)
    if wanted in _BY_PHRASING:
        return _BY_PHRASING[wanted]
    ratio, nearest = max((SequenceMatcher(None, wanted, phrasing).ratio(), phrasing) for phrasing in _BY_PHRASING)
    return _BY_PHRASING[nearest] if ratio >= MATCH_THRESHOLD else None


def all_text() -> list[str]:
    """Everything the text tokenizer should know: phrasings, options and numbers with their units."""
    lines: list[str] = []
    for question in QUESTIONS.values():
        lines += question.templates
        lines += question.options
        if question.kind == "number":
            step = (question.high - question.low) / 40
            lines += [question.answer_text(question.low + i * step) for i in range(41)]
    return lines
