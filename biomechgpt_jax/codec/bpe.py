"""Byte-pair encoding (Sennrich et al. 2016, arXiv 1508.07909) of streams of numbers, by SentencePiece."""

import io
from collections.abc import Sequence

import numpy as np
import sentencepiece

_FIRST_CHARACTER = 0xE000  # symbols are written in Unicode's private use area
_LONGEST_PIECE = 512
_LONGEST_LINE = 1 << 24
NOTHING = 0  # the code that stands for no symbol; for SentencePiece it is the unknown piece


class BytePairs:
    """Symbols to codes 0 .. codes - 1 and back. NOTHING, and the codes that training left unused, mean no symbol.

    Attributes:
        model: the serialised SentencePiece model.
        expansions: symbols i64[n] of each code.
    """

    def __init__(self, model: bytes, codes: int):
        """Args: the serialised SentencePiece model, of at most `codes` pieces; number of codes."""
        self.model = model
        self._processor = sentencepiece.SentencePieceProcessor(model_proto=model)
        pieces = [self._processor.id_to_piece(i) for i in range(1, self._processor.get_piece_size())]
        used = [_symbols(piece) for piece in pieces]
        self.expansions: tuple[np.ndarray, ...] = (
            *(np.zeros(0, np.int64), *used),
            *[np.zeros(0, np.int64)] * (codes - len(used) - 1),
        )
        self._sizes = np.array([len(one) for one in self.expansions])
        self._flat = np.concatenate(self.expansions)

    @classmethod
    def train(cls, streams: Sequence[np.ndarray], symbols: int, end: int, codes: int) -> "BytePairs":
        """Learn pairs from streams i64[n] of symbols; the same streams give the same pairs.

        Args:
            streams: of symbols 0 .. symbols - 1.
            symbols: size of the alphabet.
            end: the last symbol of the alphabet; no pair extends beyond one.
            codes: number of codes, larger than `symbols`; short streams may use fewer.
        """
        parts = [part + _character(end) for stream in streams for part in _text(stream).split(_character(end))[:-1]]
        written = io.BytesIO()
        sentencepiece.SentencePieceTrainer.train(
            sentence_iterator=iter([_text(np.arange(symbols)), *parts]),  # the first line holds every symbol
            model_writer=written,
            model_type="bpe",
            vocab_size=codes,
            hard_vocab_limit=False,
            character_coverage=1.0,
            max_sentencepiece_length=_LONGEST_PIECE,
            max_sentence_length=_LONGEST_LINE,
            split_by_unicode_script=False,
            split_by_number=False,
            split_by_whitespace=False,
            normalization_rule_name="identity",
            add_dummy_prefix=False,
            remove_extra_whitespaces=False,
            num_threads=1,
            shuffle_input_sentence=False,
            bos_id=-1,
            eos_id=-1,
            pad_id=-1,
            unk_id=NOTHING,
            minloglevel=2,
        )
        return cls(written.getvalue(), codes)

    def encode(self, streams: Sequence[np.ndarray]) -> list[np.ndarray]:
        """Codes i32[m] of each stream of symbols i64[n]."""
        return [np.array(codes, np.int32) for codes in self._processor.encode([_text(one) for one in streams])]

    def decode(self, codes: np.ndarray) -> np.ndarray:
        """Symbols i64[n] of codes i32[m], whatever their order."""
        sizes = self._sizes[codes]
        starts = (np.cumsum(self._sizes) - self._sizes)[codes]
        within = np.arange(sizes.sum()) - np.repeat(np.cumsum(sizes) - sizes, sizes)
        return self._flat[np.repeat(starts, sizes) + within]


def _character(symbol: int) -> str:
    return chr(_FIRST_CHARACTER + symbol)


def _text(symbols: np.ndarray) -> str:
    return (symbols + _FIRST_CHARACTER).astype("<u2").tobytes().decode("utf-16-le")


def _symbols(text: str) -> np.ndarray:
    return np.frombuffer(text.encode("utf-16-le"), "<u2").astype(np.int64) - _FIRST_CHARACTER
