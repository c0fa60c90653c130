"""What is right for a mutated file, and the mutations that files of several families share, for `field.py`.

A mutation changes a document in place and returns a `Change`, or None where it does not apply to the document.
"""

import random
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from field_sources import Document, Sheet, Table


@dataclass
class Change:
    """What is right for a mutated file.

    Attributes:
        kind: "harmless" is read as if nothing had happened; "told" the same, and a flag says so; of a "lie" or a "gap"
            a refusal is right as well; "damage" is flagged or refused; "ambiguous" is refused.
        says: what a flag or the refusal has to mention, a regular expression; "" for anything.
        person: whom to ask for after the refusal.
        reference: what has the right values, if those of the source are gone.
        masked: coordinates that may not be called observed.
        gone: frames whose values are gone, and are not compared.
    """

    kind: str = "harmless"
    says: str = ""
    person: str = ""
    reference: Sheet | None = None
    masked: tuple[str, ...] = ()
    gone: tuple[int, ...] = ()


Mutation = Callable[..., Change | None]


def written(document: Sheet | Table, rng: random.Random) -> Change:
    """Separators, decimal marks and line ends of other programs and countries."""
    text = document.text
    text.separator, text.decimal = rng.choice((("\t", ","), (";", ","), (";", "."), (",", "."), ("\t", ".")))
    text.newline, text.mark = rng.choice(("\n", "\r\n")), rng.choice(("", "\ufeff"))
    if isinstance(document, Sheet):
        document.ending = ".trc"
        document.head = rng.choice(("Frame#", "frame#", "FRAME#"))
    return Change()


def capitals(document: Document, rng: random.Random) -> Change:
    """The ending of the file in capitals."""
    document.ending = document.ending.upper()
    return Change()


def rows_without(count: int, seconds: float, rate_hz: float, rng: random.Random) -> np.ndarray:
    gone = max(2, round(seconds * rate_hz))
    begin = rng.randrange(2, max(3, count - gone - 2))
    return np.r_[0:begin, begin + gone : count]
