"""The questions together: by name, found in free text, as lines to train a tokenizer on, and as a digest."""

import hashlib
import json
import re

import numpy as np

from biomechgpt_jax.questions.catalogue import ALL
from biomechgpt_jax.questions.question import Question

__all__ = ["FAMILIES", "QUESTIONS", "Question", "corpus", "digest", "match"]

# A free question is taken for the nearest phrasing if it is at least this near (0..1), and nearer by this much
# than to any phrasing of another question.
_MATCH_THRESHOLD, _MATCH_MARGIN = 0.5, 0.05
# Weight of a word that no question knows, where a word of a single question has 1.
_UNKNOWN_WORD = 0.25
_CORPUS_NUMBERS = 20  # answers to each number question in the corpus

QUESTIONS: dict[str, Question] = {question.name: question for question in ALL}
FAMILIES: tuple[str, ...] = tuple(dict.fromkeys(question.family for question in ALL))


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
    for question in ALL:
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
    for question in ALL:
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
    for question in ALL:
        lines += question.templates
        values: list[str | float] = list(question.options)
        if question.kind == "number":
            values = list(np.linspace(question.low, question.high, _CORPUS_NUMBERS))
        lines += [question.answer_text(value) for value in values]
    return [" ".join([line, *(f"{word}," for word in re.findall(r"[A-Za-z/]+", line))]) for line in lines]


def digest() -> str:
    """SHA-256 over what is trained on of all questions: packed rows made with others are not the same data.

    Words that `match` alone understands are not among it.
    """
    trained = ("name", "family", "kind", "templates", "options", "unit", "decimals", "low", "high")
    questions = [[getattr(question, name) for name in trained] for question in ALL]
    return hashlib.sha256(json.dumps(questions).encode()).hexdigest()
