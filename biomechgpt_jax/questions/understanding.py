"""From free text to the question that it asks, or to the reason why it asks none.

Every word belongs to one class (`words`): it changes nothing, it negates, or it names a concept; any other word is
unknown. A text asks a question if it names all the concepts of one of its senses (`senses`) and nothing that the
question does not know. So nothing is guessed: "swing phase" is not taken for stance, because stance knows no swing.
The polarity says whether the text asks the question as it stands or the other way round ("healthy" for "impaired").
"""

import collections
import functools
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

from biomechgpt_jax.errors import InputError
from biomechgpt_jax.questions.question import Question
from biomechgpt_jax.questions.registry import QUESTIONS
from biomechgpt_jax.questions.senses import EVENTS, EVERYWHERE, MAY, SCALES, SENSES
from biomechgpt_jax.questions.words import DETERMINERS, EMPTY, NEGATION, PHRASES, base_form

Polarity = Literal["same", "reversed", "both"]

_NEAREST = 3  # questions that a refusal names
# Concepts of so many questions that they do not tell which one is near.
_COMMON = {"wh", "how", "any", "can", "record", "clip", "recorded", "average", "one", "each", "much", "many"} | {
    *("take", "time", "long", "last", "seconds")
}
_WORD = re.compile(r"[^\W\d_]+(?:'[^\W\d_]+)?|\d+|[%&]")


@dataclass(frozen=True)
class Understood:
    """A text with the question that it asks.

    Attributes:
        asked: the text.
        question: what it asks.
        phrasing: how the question is put to a model: one of the phrasings that models are trained on.
        polarity: "same"; "reversed" where a yes to the text is a no to the question, or where the question's number is
            the smaller the more there is of what the text names; "both" where the text offers both ("normal or not
            normal").
    """

    asked: str
    question: Question
    phrasing: str
    polarity: Polarity = "same"

    def answer_as_asked(self, answer: str | float | None) -> str | float | None:
        """The answer to the text itself, a yes or no turned round if need be; None where it has no such answer."""
        if self.polarity == "same" or answer is None:
            return answer
        if self.polarity == "both" or self.question.kind == "number":
            return None
        return {"yes": "no", "no": "yes"}[str(answer)]

    def explain(self, answer: str | float | None) -> str:
        """What the answer means, in words that cannot be taken for the opposite; empty where the polarity is "same"."""
        if self.polarity == "same" or answer is None:
            return ""
        if self.question.kind == "number":
            return SCALES[self.question.name]
        return f"{EVENTS[self.question.name]} is {'likely' if answer == 'yes' else 'unlikely'}"


@dataclass(frozen=True)
class _Term:
    """A word or phrase of a text and the concept that it names, or of which it names the opposite; None if unknown."""

    words: str
    concept: str | None
    opposite: bool = False


@dataclass(frozen=True)
class _Sense:
    """Groups of concepts, of each of which a text must name one, and all concepts that it may name."""

    wants: tuple[frozenset[str], ...]
    knows: frozenset[str]


def understand(text: str) -> Understood:
    """Find the question that a text asks.

    Raises:
        InputError: it asks none, or can be read in several ways. The message names the words in the way and the nearest
            questions.
    """
    trained = _trained().get(_plain(text))
    if trained is not None:
        name, phrasing = trained
        return Understood(text, QUESTIONS[name], phrasing)
    terms = list(_terms(text))
    names = [name for name, senses in _senses().items() if any(_distance(terms, sense) == 0 for sense in senses)]
    if len(names) == 1:
        question = QUESTIONS[names[0]]
        return Understood(text, question, question.templates[0], _polarity(text, question, terms))
    if names:
        raise InputError(f"the question {text!r} can be read in several ways; ask one of: {_listed(names)}")
    raise _refusal(text, terms)


def _plain(text: str) -> str:
    return " ".join(_WORD.findall(text.casefold()))


@functools.cache
def _trained() -> dict[str, tuple[str, str]]:
    """Name and exact words of the question of which a plain text is a trained phrasing."""
    return {_plain(words): (name, words) for name, question in QUESTIONS.items() for words in question.templates}


def _terms(text: str) -> Iterator[_Term]:
    """The words of a text that change what is asked; phrases are taken as long as they can be."""
    spelled = _WORD.findall(text.casefold().replace("\N{RIGHT SINGLE QUOTATION MARK}", "'"))
    words = [base_form(word) for word in spelled]
    at = 0
    while at < len(words):
        phrase, length = _longest_phrase(words[at:])
        concept = PHRASES.get(phrase)
        if concept not in EMPTY:
            name, opposite = (concept.removeprefix("-"), concept.startswith("-")) if concept else (None, False)
            yield _Term(" ".join(spelled[at : at + length]), name, opposite)
        at += length


_BEGINNINGS = frozenset(phrase[: end + 1] for phrase in PHRASES for end in range(len(phrase)))


def _longest_phrase(words: Sequence[str]) -> tuple[tuple[str, ...], int]:
    """The longest phrase that the words begin with, without the determiners inside it, and how many words it spans."""
    longest: tuple[tuple[str, ...], int] = (words[0],), 1
    phrase: tuple[str, ...] = ()
    for count, word in enumerate(words, 1):
        if phrase and word in DETERMINERS and (*phrase, word) not in _BEGINNINGS:
            continue
        phrase = (*phrase, word)
        if phrase not in _BEGINNINGS:
            break
        if phrase in PHRASES:
            longest = phrase, count
    return longest


@functools.cache
def _senses() -> dict[str, tuple[_Sense, ...]]:
    return {name: tuple(_sense(text, MAY[name]) for text in texts) for name, texts in SENSES.items()}


def _sense(text: str, may: str) -> _Sense:
    groups = {word: frozenset(word.rstrip("?").split("/")) for word in text.split()}
    wants = tuple(group for word, group in groups.items() if not word.endswith("?"))
    return _Sense(wants, EVERYWHERE.union(*groups.values(), may.split()))


def _distance(terms: Sequence[_Term], sense: _Sense) -> int:
    """How many words of the text a sense does not know, and how many of its concepts the text lacks, together."""
    concepts = {term.concept for term in terms}
    return len(_unknown(terms, sense)) + sum(not group & concepts for group in sense.wants)


def _unknown(terms: Sequence[_Term], sense: _Sense) -> list[str]:
    return [term.words for term in terms if term.concept != NEGATION and term.concept not in sense.knows]


def _polarity(text: str, question: Question, terms: Sequence[_Term]) -> Polarity:
    """Whether the text asks for the question or for its opposite.

    Raises:
        InputError: the text negates what is no yes/no question, or names both sides of one without "or".
    """
    sides = {term.opposite for term in terms if f"-{term.concept}" in PHRASES.values()}
    negations = sum(term.concept == NEGATION for term in terms)
    both = len(sides) == 2
    if (negations and (both or question.options != ("yes", "no"))) or (both and " or " not in f" {_plain(text)} "):
        raise InputError(f"the question {text!r} can be read in two ways; ask it straight: {_listed([question.name])}")
    if both:
        return "both"
    return "reversed" if (sides == {True}) != (negations % 2 == 1) else "same"


def _refusal(text: str, terms: Sequence[_Term]) -> InputError:
    """The error that names the words in the way, and the questions that share the rarest concepts with the text."""
    wanted = {
        name: frozenset[str]().union(*(group for one in senses for group in one.wants))
        for name, senses in _senses().items()
    }
    users = collections.Counter(concept for concepts in wanted.values() for concept in concepts)
    concepts = {term.concept for term in terms if term.concept is not None} - _COMMON
    ranked = []
    for name, senses in _senses().items():
        sense = min(senses, key=lambda one: _distance(terms, one))
        shared = sum(1 / users[one] if one in wanted[name] else 0.1 for one in concepts & sense.knows)
        if shared:
            ranked.append((_distance(terms, sense) - 2 * shared, name, sense))
    ranked.sort(key=lambda item: item[0])
    strange = _unknown(terms, ranked[0][2]) if ranked else [term.words for term in terms if term.concept is None]
    because = (
        f"is not understood because of {', '.join(map(repr, strange))}" if strange else "leaves open what is meant"
    )
    if not ranked:
        return InputError(f"the question {text!r} {because}; `biomechgpt ask --help` lists what can be asked")
    nearest = _listed([name for _, name, _ in ranked[:_NEAREST]])
    return InputError(f"the question {text!r} {because}; the nearest that can be asked: {nearest}")


def _listed(names: Sequence[str]) -> str:
    return "; ".join(QUESTIONS[name].templates[0] for name in names)
