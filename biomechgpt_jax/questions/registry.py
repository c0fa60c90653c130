"""The questions: how they are phrased, how their answers are written and read.

Phrasings are short, because their tokens are paid for at every training step, and say nothing about the
answer.
"""

import hashlib
import json
import re
import zlib
from dataclasses import asdict, dataclass
from typing import Literal

import numpy as np

from biomechgpt_jax.questions.labels import ACTIVITIES, DEVICES, DIAGNOSES, FALL_RISKS

# A free question is taken for the nearest phrasing if it is at least this near (0..1), and nearer by this much
# than to any phrasing of another question.
_MATCH_THRESHOLD, _MATCH_MARGIN = 0.5, 0.05
# Weight of a word that no question knows, where a word of a single question has 1.
_UNKNOWN_WORD = 0.25
_CORPUS_NUMBERS = 20  # answers to each number question in the corpus


@dataclass(frozen=True)
class Question:
    """One question.

    Attributes:
        name: unique; also the key of its truth.
        family: the family it is reported under.
        kind: "closed" (one of `options`) or "number".
        templates: phrasings used in training; the first is the canonical one.
        options: the answers of a closed question.
        unit: of a number.
        decimals: of a number, as it is written.
        low, high: plausible range of a number.
        also: further words that people ask it with; understood by `match`, never trained on.
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
    also: tuple[str, ...] = ()

    def answer_text(self, value: str | float) -> str:
        """The answer as it is trained on, such as "1.29 m/s" or "yes"."""
        if self.kind == "closed":
            return str(value)
        return f"{float(value):.{self.decimals}f} {self.unit}"

    def parse(self, text: str) -> float | str | None:
        """The value of an answer; None where it is not exactly one, spaces and case aside, or not plausible."""
        if self.kind == "closed":
            return self._by_option.get(_squeezed(text).casefold())
        found = re.fullmatch(rf"(\d+(?:\.\d+)?){re.escape(_squeezed(self.unit))}", _squeezed(text))
        if found is None:
            return None
        value = float(found[1])
        return value if self.low <= value <= self.high else None

    def holds(self, value: str | float) -> bool:
        """Whether a value can be an answer: one of the options, or a plausible number."""
        if self.kind == "closed":
            return value in self.options
        return self.low <= float(value) <= self.high

    def phrasing(self, key: str) -> str:
        """One of the phrasings, chosen by a hash of the question and a key: the same in every run."""
        return self.templates[zlib.crc32(f"{self.name}/{key}".encode()) % len(self.templates)]

    @property
    def _by_option(self) -> dict[str, str]:
        return {_squeezed(option).casefold(): option for option in self.options}


def _squeezed(text: str) -> str:
    return re.sub(r"\s+", "", text)


def _closed(
    name: str, family: str, options: tuple[str, ...], templates: tuple[str, ...], also: tuple[str, ...] = ()
) -> Question:
    return Question(name, family, "closed", templates, options, also=also)


def _number(
    name: str,
    family: str,
    unit: str,
    decimals: int,
    plausible: tuple[float, float],
    templates: tuple[str, ...],
    also: tuple[str, ...] = (),
) -> Question:
    return Question(name, family, "number", templates, (), unit, decimals, *plausible, also)


_ALL = (
    _closed(
        "activity",
        "activity",
        ACTIVITIES,
        ("What is this person doing?", "Which activity is this?", "Activity?", "What movement is shown?"),
        ("which task or test or exercise is performed",),
    ),
    _closed(
        "impairment",
        "impairment",
        ("yes", "no"),
        ("Is this movement impaired?", "Does this person have an impairment?", "Impaired?", "Is there an impairment?"),
        ("is the movement or gait normal or abnormal", "is this person healthy", "disability"),
    ),
    _closed(
        "diagnosis",
        "diagnosis",
        DIAGNOSES,
        (
            "What is the diagnosis?",
            "Which diagnosis fits this movement?",
            "Diagnosis?",
            "What is the likely diagnosis?",
        ),
        (
            "which condition or disease or etiology does this person have",
            "what disease is it",
            "what is wrong with this person",
        ),
    ),
    _closed(
        "assistive_device",
        "assistive_device",
        DEVICES,
        (
            "Which assistive device is used?",
            "What device does this person use?",
            "Assistive device?",
            "Which walking aid is used?",
        ),
        ("is a walking aid or device used", "does this person use a cane or walker or prosthesis"),
    ),
    _number(
        "tug_time",
        "outcome_scores",
        "s",
        1,
        (2.0, 180.0),
        (
            "How long did the timed up and go take?",
            "What is the TUG time?",
            "TUG time?",
            "Time of the timed up and go?",
        ),
        ("timed up and go score", "tug duration"),
    ),
    _number(
        "five_times_sit_to_stand_time",
        "outcome_scores",
        "s",
        1,
        (2.0, 180.0),
        (
            "How long did five chair stands take?",
            "What is the five times sit to stand time?",
            "Five times sit to stand time?",
            "Time of five chair stands?",
        ),
        ("5xsts time", "5 times sit to stand duration", "chair rise time"),
    ),
    _number(
        "ten_metre_walk_time",
        "outcome_scores",
        "s",
        1,
        (2.0, 180.0),
        (
            "How long would ten metres take?",
            "What is the ten metre walk time?",
            "Ten metre walk time?",
            "Time to walk ten metres?",
        ),
        ("10mwt time", "10 metre walk test", "ten meter walk duration"),
    ),
    _number(
        "four_square_step_time",
        "outcome_scores",
        "s",
        1,
        (2.0, 180.0),
        (
            "How long did the four square step take?",
            "What is the four square step time?",
            "Four square step time?",
            "Time of the four square step?",
        ),
        ("fsst score", "four square step duration"),
    ),
    _number(
        "single_leg_stance_time",
        "outcome_scores",
        "s",
        1,
        (0.2, 120.0),
        (
            "How long was single-leg stance held?",
            "What is the single-leg stance time?",
            "Single-leg stance time?",
            "Time on one leg?",
        ),
        ("how long did this person stand on one leg", "one leg balance time", "unipedal stance"),
    ),
    _number(
        "tandem_stance_time",
        "outcome_scores",
        "s",
        1,
        (0.2, 120.0),
        (
            "How long was tandem stance held?",
            "What is the tandem stance time?",
            "Tandem stance time?",
            "Time in tandem stance?",
        ),
        ("tandem stand hold", "sharpened romberg time"),
    ),
    _number(
        "functional_reach",
        "outcome_scores",
        "cm",
        0,
        (1.0, 80.0),
        (
            "How far did this person reach?",
            "What is the functional reach?",
            "Functional reach?",
            "Distance of the functional reach?",
        ),
        ("reach distance", "forward reach"),
    ),
    _number(
        "box_and_block",
        "outcome_scores",
        "blocks/min",
        0,
        (1.0, 150.0),
        (
            "How many blocks per minute?",
            "What is the box and block score?",
            "Box and block score?",
            "Blocks per minute?",
        ),
        ("bbt", "blocks moved each minute"),
    ),
    _closed(
        "falls_history",
        "outcome_scores",
        ("yes", "no"),
        (
            "Has this person fallen in the past year?",
            "Any fall in the past year?",
            "Fallen in the past year?",
            "Is there a history of falls?",
        ),
        ("did this person fall last year", "previous falls"),
    ),
    _closed(
        "fall_risk",
        "outcome_scores",
        FALL_RISKS,
        ("What is the fall risk?", "How great is the risk of falling?", "Fall risk?", "Which fall risk band?"),
        ("is this person likely to fall", "fall risk low or moderate or high"),
    ),
    _number(
        "walking_speed",
        "gait",
        "m/s",
        2,
        (0.05, 3.5),
        ("How fast is this person walking?", "What is the walking speed?", "Walking speed?", "Gait speed?"),
        ("how fast does the person walk", "gait velocity", "at what speed is the walk"),
    ),
    _number(
        "cadence",
        "gait",
        "steps/min",
        0,
        (20.0, 300.0),
        ("What is the cadence?", "How many steps per minute?", "Cadence?", "Steps per minute?"),
        ("step rate", "step frequency"),
    ),
    _number(
        "step_length",
        "gait",
        "m",
        2,
        (0.02, 1.5),
        ("How long are the steps?", "What is the step length?", "Step length?", "Mean step length?"),
        ("how long is a step", "length of a step in metres"),
    ),
    _number(
        "stride_time",
        "gait",
        "s",
        2,
        (0.4, 3.5),
        ("How long does a stride take?", "What is the stride time?", "Stride time?", "Mean stride time?"),
        ("stride duration", "duration of the gait cycle", "how many seconds is one stride"),
    ),
    _number(
        "double_support",
        "gait",
        "%",
        0,
        (0.0, 100.0),
        (
            "How much of the stride is double support?",
            "What is the double support?",
            "Double support?",
            "Share of double support?",
        ),
        ("double support percentage of the gait cycle", "double stance"),
    ),
    _number(
        "step_time_asymmetry",
        "gait",
        "%",
        0,
        (0.0, 200.0),
        (
            "How asymmetric are the step times?",
            "What is the step time asymmetry?",
            "Step time asymmetry?",
            "Asymmetry of step times?",
        ),
        ("how much do left and right step times differ", "is the gait symmetric", "symmetry of the steps"),
    ),
    _number(
        "stride_length",
        "gait",
        "m",
        2,
        (0.05, 3.0),
        ("How long is a stride?", "What is the stride length?", "Stride length?", "Mean stride length?"),
        ("length of a stride in metres",),
    ),
    _number(
        "step_width",
        "gait",
        "m",
        2,
        (0.0, 0.6),
        ("How wide are the steps?", "What is the step width?", "Step width?", "Mean step width?"),
        ("width of the base of support", "how wide is the walking base"),
    ),
    _number(
        "stance",
        "gait",
        "%",
        0,
        (20.0, 100.0),
        (
            "How much of the stride is stance?",
            "What is the stance share?",
            "Stance share of the stride?",
            "Share of stance?",
        ),
        ("stance phase percentage of the gait cycle",),
    ),
    _number(
        "stride_time_cv",
        "gait",
        "%",
        1,
        (0.0, 60.0),
        (
            "How variable are the stride times?",
            "What is the stride time variability?",
            "Stride time variability?",
            "Variability of stride times?",
        ),
        ("coefficient of variation of stride times", "how regular are the strides"),
    ),
)
QUESTIONS: dict[str, Question] = {question.name: question for question in _ALL}
FAMILIES: tuple[str, ...] = tuple(dict.fromkeys(question.family for question in _ALL))


def _words(text: str) -> tuple[str, ...]:
    """Lower-case words without punctuation and without common endings ("walking" and "walks" become "walk")."""
    found = re.findall(r"[a-z]+|\d+", text.lower())
    return tuple(word if len(word) < 5 else re.sub(r"(ing|ed|es|s|e)$", "", word) for word in found)


def match(text: str) -> Question | None:
    """The question that a free text asks.

    A phrasing of the registry, case and punctuation aside, is that question. Otherwise it is the one with the
    nearest phrasing by its words, each weighted by how few questions use it (F1 of the weights); None if no phrasing
    is near, or two questions are equally near.
    """
    wanted = _words(text)
    if not wanted:
        return None
    weight = _rarity()
    scores = dict.fromkeys(QUESTIONS, 0.0)
    for question in _ALL:
        for phrase in (*question.templates, *question.also):
            if _words(phrase) == wanted:
                return question
            words, known = set(wanted), set(_words(phrase))
            shared = sum(weight[word] for word in words & known)
            score = 2 * shared / sum(weight.get(word, _UNKNOWN_WORD) for word in (*words, *known))
            scores[question.name] = max(score, scores[question.name])
    best, second = sorted(scores, key=lambda name: -scores[name])[:2]
    clear = scores[best] >= max(_MATCH_THRESHOLD, scores[second] + _MATCH_MARGIN)
    return QUESTIONS[best] if clear else None


def _rarity() -> dict[str, float]:
    """Weight of each word: 1 over the number of questions that use it."""
    users: dict[str, set[str]] = {}
    for question in _ALL:
        for phrase in (*question.templates, *question.also):
            for word in _words(phrase):
                users.setdefault(word, set()).add(question.name)
    return {word: 1.0 / len(names) for word, names in users.items()}


def corpus() -> list[str]:
    """Lines to train the text tokenizer on: every phrasing, every option, and numbers over each plausible range.

    Every word stands a second time before a comma: SentencePiece takes as candidates for pieces only what it finds
    in two different surroundings, and would spell out a word of one phrasing at every training step (measured: 9.9
    pieces a question without, 5.4 with).
    """
    lines: list[str] = []
    for question in _ALL:
        lines += question.templates
        values: list[str | float] = list(question.options)
        if question.kind == "number":
            values = list(np.linspace(question.low, question.high, _CORPUS_NUMBERS))
        lines += [question.answer_text(value) for value in values]
    return [" ".join([line, *(f"{word}," for word in re.findall(r"[A-Za-z/]+", line))]) for line in lines]


def digest() -> str:
    """SHA-256 over all questions: packed rows made with others are not the same data."""
    return hashlib.sha256(json.dumps([asdict(question) for question in _ALL]).encode()).hexdigest()
