"""A text tokenizer of SentencePiece unigram pieces, trained on the questions and answers of this program."""

import hashlib
import io
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import ClassVar

import sentencepiece

from biomechgpt_jax.errors import InputError
from biomechgpt_jax.files import write_atomically

MODEL_FILE = "text.model"
_LEAST_PIECES = 257  # the 256 bytes and the unknown piece, before the first letter
_LONGEST_LINE = 65_536


class SentencePieceTokenizer:
    """Text to pieces and back (see `text.TextTokenizer`): `decode(encode(text)) == text` for any line of text.

    (U+2581, which stands for a space inside the pieces, is the one character that comes back as a space.)

    Pieces of a unigram language model (Kudo 2018, arXiv 1804.10959) without any normalisation. Every digit is a piece
    of its own, and characters that training never saw are written as bytes.

    Attributes:
        digest: SHA-256 hex of the serialised model.
        special_ids: of the unknown piece, which byte pieces make unnecessary.
    """

    kind: ClassVar[str] = "sentencepiece"
    begin = stop = -1
    before: tuple[int, ...] = ()
    after: tuple[int, ...] = ()

    def __init__(self, model: bytes):
        """Args: the serialised SentencePiece model."""
        self._model = model
        self._processor = sentencepiece.SentencePieceProcessor()
        self._processor.LoadFromSerializedProto(model)
        self.digest: str = hashlib.sha256(model).hexdigest()
        pieces = self._processor
        self.special_ids = frozenset(i for i in range(self.size) if pieces.is_unknown(i) or pieces.is_control(i))

    @property
    def size(self) -> int:
        """Number of pieces."""
        return self._processor.get_piece_size()

    @classmethod
    def train(cls, lines: Iterable[str], pieces: int) -> "SentencePieceTokenizer":
        """Learn at most `pieces` pieces from lines of text; the same lines give the same pieces.

        Raises:
            InputError: there is no text, or it holds more characters than there may be pieces.
        """
        kept = sorted(line for line in lines if line.strip())
        if not kept:
            raise InputError("text tokenizer: no line of text to train on; give questions and answers")
        needed = _LEAST_PIECES + len(set("".join(kept)) - {" "}) + 1
        if pieces < needed:
            raise InputError(
                f"tokenizer.text_pieces is {pieces}; this text needs at least {needed} (256 bytes, one per character)"
            )
        written = io.BytesIO()
        sentencepiece.SentencePieceTrainer.train(
            sentence_iterator=iter(kept),
            model_writer=written,
            model_type="unigram",
            vocab_size=pieces,
            hard_vocab_limit=False,
            character_coverage=1.0,
            split_digits=True,
            byte_fallback=True,
            normalization_rule_name="identity",
            add_dummy_prefix=False,
            remove_extra_whitespaces=False,
            num_threads=1,
            shuffle_input_sentence=False,
            max_sentence_length=_LONGEST_LINE,
            bos_id=-1,
            eos_id=-1,
            pad_id=-1,
            minloglevel=2,
        )
        return cls(written.getvalue())

    def encode(self, text: str) -> list[int]:
        """Piece ids of a text."""
        return self._processor.encode(text)

    def decode(self, ids: Sequence[int]) -> str:
        """The text of piece ids."""
        return self._processor.decode([int(i) for i in ids])

    def stream(self) -> Callable[[int], str]:
        """A function that is given one id after the other and returns the text that has become whole with it."""
        ids: list[int] = []
        given = 0

        def step(number: int) -> str:
            nonlocal given
            ids.append(int(number))
            whole = self.decode(ids)
            if whole.endswith("\ufffd"):  # bytes that are no character yet
                return ""
            new, given = whole[given:], len(whole)
            return new

        return step

    def save(self, directory: Path | str) -> None:
        """Write `text.model`."""
        directory = Path(directory)
        directory.mkdir(parents=True, exist_ok=True)
        with write_atomically(directory / MODEL_FILE) as file:
            file.write(self._model)

    @classmethod
    def load(cls, directory: Path | str) -> "SentencePieceTokenizer":
        """Read `text.model`.

        Raises:
            InputError: it is missing or damaged.
        """
        path, remedy = Path(directory) / MODEL_FILE, "make it again with `biomechgpt tokenizer`"
        try:
            return cls(path.read_bytes())
        except OSError as error:
            raise InputError(f"{path}: no text tokenizer here; {remedy}") from error
        except RuntimeError as error:  # what SentencePiece raises for a model that it cannot parse
            raise InputError(f"{path}: the text tokenizer is damaged; {remedy}") from error
