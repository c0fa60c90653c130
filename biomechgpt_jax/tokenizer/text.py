"""The interface of a text tokenizer, and the one place that knows its implementations by name."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import ClassVar, Protocol, Self

from biomechgpt_jax.errors import InputError
from biomechgpt_jax.tokenizer.hub import HubTokenizer
from biomechgpt_jax.tokenizer.sentencepiece import SentencePieceTokenizer


class TextTokenizer(Protocol):
    """Text to ids and back: `decode(encode(text)) == text` for every question and answer.

    The ids 0 .. size - 1 belong to the tokenizer, in an order of its own: the ids of a pretrained model stay what they
    are, with control tokens anywhere among them and unused ids up to the rows of its embedding.

    Attributes:
        kind: name of the implementation, stored beside its files so that `load_text` knows who reads them.
        begin, stop: special ids that begin every text and end every answer; below 0 if it has none. They belong to a
            pretrained model: `Vocabulary` gives them out as its own.
        before, after: ids that stand around a question, from a chat template; both empty without one.
    """

    kind: ClassVar[str]
    begin: int
    stop: int
    before: tuple[int, ...]
    after: tuple[int, ...]

    @property
    def size(self) -> int:
        """Number of ids that belong to the tokenizer, those that stand for nothing included."""

    @property
    def special_ids(self) -> frozenset[int]:
        """The ids below `size` that stand for no text: control tokens, the unknown piece, unused ids."""

    @property
    def digest(self) -> str:
        """SHA-256 hex over everything that decides what an id means."""

    def encode(self, text: str) -> list[int]:
        """Ids of a text, none of them special: a text that spells a control token is text like any other."""

    def decode(self, ids: Sequence[int]) -> str:
        """The text of ids below `size`, none of them special."""

    def stream(self) -> Callable[[int], str]:
        """A function that is given one id after the other and returns the text that has become whole with it."""

    def save(self, directory: Path | str) -> None:
        """Write the tokenizer's own files into a directory."""

    @classmethod
    def load(cls, directory: Path | str) -> Self:
        """Read what `save` wrote.

        Raises:
            InputError: it is missing or damaged.
        """


KINDS: Mapping[str, type[TextTokenizer]] = {
    SentencePieceTokenizer.kind: SentencePieceTokenizer,
    HubTokenizer.kind: HubTokenizer,
}


def load_text(directory: Path | str, kind: str) -> TextTokenizer:
    """Read a text tokenizer of a kind.

    Raises:
        InputError: its files are missing or damaged, or this version of the program does not know the kind.
    """
    if kind not in KINDS:
        raise InputError(
            f"{directory}: the text tokenizer is of kind '{kind}', and this version knows {', '.join(KINDS)}; "
            "use the version that made it, or make it again with `biomechgpt tokenizer`"
        )
    return KINDS[kind].load(directory)
