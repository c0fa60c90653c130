"""The questions together: by name, as lines to train a tokenizer on, and as a digest."""

import hashlib
import json
import re
from dataclasses import asdict

import numpy as np

from biomechgpt_jax.questions.catalogue import ALL
from biomechgpt_jax.questions.question import Question

__all__ = ["FAMILIES", "QUESTIONS", "Question", "corpus", "digest"]

_CORPUS_NUMBERS = 20  # answers to each number question in the corpus

QUESTIONS: dict[str, Question] = {question.name: question for question in ALL}
FAMILIES: tuple[str, ...] = tuple(dict.fromkeys(question.family for question in ALL))


def corpus() -> list[str]:
    """Lines to train the text tokenizer on: every phrasing, every option, and numbers over each plausible range.

    Every word stands a second time before a comma: SentencePiece takes as candidates for pieces only what it finds
    in two different surroundings, and would spell out a word of one phrasing at every training step (measured: 9.9
    pieces a question without, 5.4 with).
    """
    lines: list[str] = []
    for question in ALL:
        lines += question.templates
        values: list[str | float] = list(question.options)
        if question.kind == "number":
            values = list(np.linspace(question.low, question.high, _CORPUS_NUMBERS))
        lines += [question.answer_text(value) for value in values]
    return [" ".join([line, *(f"{word}," for word in re.findall(r"[A-Za-z/]+", line))]) for line in lines]


def digest() -> str:
    """SHA-256 over all questions: rows packed with others are not the same data.

    How free text is understood (see `understanding`) is no part of it: it changes no row.
    """
    return hashlib.sha256(json.dumps([asdict(question) for question in ALL]).encode()).hexdigest()
