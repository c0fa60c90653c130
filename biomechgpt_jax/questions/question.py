"""One question: how its answer is written and read."""

import math
import re
import zlib
from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class Question:
    """One question.

    Attributes:
        name: unique; also the key of its truth.
        family: the family it is reported under.
        kind: "closed" (one of `options`) or "number".
        templates: phrasings used in training; the first is the canonical one, the third the shortest.
        options: the answers of a closed question.
        unit: of a number.
        decimals: of a number, as it is written.
        low, high: plausible range of a number.
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

    @property
    def short(self) -> str:
        """The question in a few words, such as "Walking speed?"."""
        return self.templates[2]

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

    def answers(self) -> tuple[str, ...]:
        """Every answer as `answer_text` writes it: the options, or all plausible numbers with their decimals."""
        if self.kind == "closed":
            return self.options
        parts = 10**self.decimals
        first, last = math.floor(self.low * parts), math.ceil(self.high * parts)
        texts = (self.answer_text(number / parts) for number in range(first, last + 1))
        return tuple(text for text in texts if self.parse(text) is not None)

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
