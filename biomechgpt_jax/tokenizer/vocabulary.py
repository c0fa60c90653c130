"""The joint vocabulary: one id space for text, specials and motion.

Ids: text pieces [0, n), then the special tokens, then the motion codes, then unused ids up to a multiple of 128 (a
size that divides well over devices).
"""

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from biomechgpt_jax.codec import backends
from biomechgpt_jax.codec.backends import MotionCodec
from biomechgpt_jax.errors import InputError
from biomechgpt_jax.files import write_atomically
from biomechgpt_jax.tokenizer.text import TextTokenizer

VOCABULARY_FILE = "vocabulary.json"
SPECIALS: tuple[str, ...] = ("<pad>", "<trunk>", "<question>", "<answer>", "<end>")
_MULTIPLE = 128


def extent(text_pieces: int, codes: int, layers: int) -> tuple[int, int]:
    """(id of motion code 0, number of ids, unused ones included) of a vocabulary with so many text pieces and codes."""
    motion_offset = text_pieces + len(SPECIALS)
    return motion_offset, -(-(motion_offset + codes * layers) // _MULTIPLE) * _MULTIPLE


class Vocabulary:
    """Ids of everything a sequence can hold.

    Attributes:
        text: the text tokenizer.
        codes: number of motion codes of a layer.
        layers: motion codes of one token; each layer has ids of its own.
        codec_digest: of the codec that the motion codes belong to.
        pad, trunk, question, answer, end: ids of the special tokens.
        motion_offset: id of motion code 0.
        size: number of ids, unused ones included.
        digest: SHA-256 hex over the digests of codec and text tokenizer and the layout of the ids.
    """

    def __init__(self, text: TextTokenizer, codes: int, codec_digest: str = "", layers: int = 1):
        self.text, self.codes, self.layers, self.codec_digest = text, codes, layers, codec_digest
        self.pad, self.trunk, self.question, self.answer, self.end = range(text.size, text.size + len(SPECIALS))
        self.motion_offset, self.size = extent(text.size, codes, layers)
        layout = json.dumps([codec_digest, text.digest, text.size, SPECIALS, codes, layers, self.size])
        self.digest: str = hashlib.sha256(layout.encode()).hexdigest()

    def motion(self, codes: np.ndarray) -> np.ndarray:
        """Ids i32[n, Q] of motion codes i32[n, Q].

        Raises:
            InputError: a code is not in 0 .. codes - 1.
        """
        codes = np.asarray(codes)
        if codes.size and not 0 <= codes.min() <= codes.max() < self.codes:
            raise InputError(f"motion codes outside 0..{self.codes - 1}: encode with the codec of this vocabulary")
        if codes.ndim != 2 or codes.shape[1] != self.layers:
            raise InputError(f"motion codes of shape {codes.shape}, not [n, {self.layers}]: encode with its codec")
        return (codes + self.codes * np.arange(self.layers) + self.motion_offset).astype(np.int32)

    def encode_text(self, text: str) -> list[int]:
        """Ids of a text."""
        return self.text.encode(text)

    def decode_text(self, ids: Sequence[int] | np.ndarray) -> str:
        """The text among ids; special tokens and motion codes are left out."""
        return self.text.decode([int(i) for i in ids if 0 <= i < self.text.size])

    def save(self, directory: Path | str) -> None:
        """Write the text tokenizer and `vocabulary.json` beside the codec."""
        self.text.save(directory)
        description = {
            "digest": self.digest,
            "codec": self.codec_digest,
            "text": self.text.digest,
            "text_pieces": self.text.size,
            "specials": SPECIALS,
            "codes": self.codes,
            "layers": self.layers,
            "size": self.size,
        }
        with write_atomically(Path(directory) / VOCABULARY_FILE) as file:
            file.write(json.dumps(description, indent=1).encode())


def save(directory: Path | str, codec: MotionCodec, vocabulary: Vocabulary) -> None:
    """Write codec and vocabulary; `vocabulary.json` last, so that its presence means that all is there."""
    codec.save(directory)
    vocabulary.save(directory)


def load(directory: Path | str) -> tuple[MotionCodec, Vocabulary]:
    """Read what `save` wrote.

    Raises:
        InputError: a file is missing or damaged, or the parts do not belong together (both digests are shown).
    """
    path = Path(directory) / VOCABULARY_FILE
    mend = "make the tokenizer again with `biomechgpt tokenizer`"
    codec, text = backends.load(directory), TextTokenizer.load(directory)
    vocabulary = Vocabulary(text, codec.codes, codec.digest, codec.layers)
    try:
        wanted = json.loads(path.read_text())["digest"]
    except OSError as error:
        raise InputError(f"{path}: no vocabulary here; {mend}") from error
    except (ValueError, KeyError, TypeError) as error:
        raise InputError(f"{path}: the vocabulary is damaged; {mend}") from error
    if wanted != vocabulary.digest:
        raise InputError(f"{path}: digest {wanted} does not match {vocabulary.digest} of the files beside it; {mend}")
    return codec, vocabulary
