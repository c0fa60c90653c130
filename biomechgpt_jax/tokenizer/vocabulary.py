"""The joint vocabulary: one id space for text, special tokens and motion codes.

The ids of the text tokenizer come first, as it numbers them, then the special tokens of this program and unused ids up
to a multiple of 128: these have a table of embeddings, which so divides well over devices. The motion codes follow,
layer by layer, and unused ids up to the next multiple of 128.
"""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from biomechgpt_jax.codec import backends
from biomechgpt_jax.codec.backends import MotionCodec
from biomechgpt_jax.errors import InputError
from biomechgpt_jax.files import write_json
from biomechgpt_jax.tokenizer.text import TextTokenizer, load_text

VOCABULARY_FILE = "vocabulary.json"
SPECIALS: tuple[str, ...] = ("<pad>", "<trunk>", "<question>", "<answer>", "<end>")
_MULTIPLE = 128


@dataclass(frozen=True)
class Layout:
    """Where the ids of a vocabulary lie, which follows from a few numbers.

    Attributes:
        text_size: number of ids that belong to the text tokenizer.
        codes: number of motion codes of a layer.
        layers: motion codes of one token.
    """

    text_size: int
    codes: int
    layers: int = 1

    @property
    def motion_offset(self) -> int:
        """Id of motion code 0; text, special tokens and unused ids lie below it."""
        return _round_up(self.text_size + len(SPECIALS))

    @property
    def size(self) -> int:
        """Number of ids, unused ones included."""
        return _round_up(self.motion_offset + self.codes * self.layers)


def _round_up(size: int) -> int:
    return -(-size // _MULTIPLE) * _MULTIPLE


class Vocabulary:
    """Ids of everything a sequence can hold.

    Attributes:
        text: the text tokenizer.
        codes: number of motion codes of a layer.
        layers: motion codes of one token; each layer has ids of its own.
        codec_digest: of the codec that the motion codes belong to.
        pad, trunk, question, answer, end: ids of the special tokens. `trunk` begins every movement and `end` ends every
            answer: where the text tokenizer brings tokens of a pretrained model that do so, they are these.
        begins_text: whether a text without a movement begins with `trunk` as well, as a pretrained model expects.
        before, after: ids around the text of a question, from a chat template; without one, `after` is `answer`.
        motion_offset: id of motion code 0; text, special tokens and unused ids lie below it.
        size: number of ids, unused ones included.
        digest: SHA-256 hex over the digests of codec and text tokenizer and the layout of the ids.
    """

    def __init__(self, text: TextTokenizer, codes: int, codec_digest: str = "", layers: int = 1):
        self.text, self.codes, self.layers, self.codec_digest = text, codes, layers, codec_digest
        self.pad, self.trunk, self.question, self.answer, self.end = range(text.size, text.size + len(SPECIALS))
        self.begins_text = text.begin >= 0
        self.trunk = text.begin if self.begins_text else self.trunk
        self.end = text.stop if text.stop >= 0 else self.end
        borrowed = (self.trunk, self.end) if self.begins_text or text.stop >= 0 else ()
        self.before, self.after = (text.before, text.after) if text.after else ((), (self.answer,))
        layout = Layout(text.size, codes, layers)
        self.motion_offset, self.size = layout.motion_offset, layout.size
        meaning = json.dumps(
            [codec_digest, text.digest, text.size, SPECIALS, self.motion_offset, codes, layers, self.size, *borrowed]
        )
        self.digest: str = hashlib.sha256(meaning.encode()).hexdigest()

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
        special = self.text.special_ids
        return self.text.decode([i for i in map(int, ids) if 0 <= i < self.text.size and i not in special])

    def save(self, directory: Path | str) -> None:
        """Write the text tokenizer and `vocabulary.json` beside the codec."""
        self.text.save(directory)
        description = {
            "digest": self.digest,
            "codec": self.codec_digest,
            "text": self.text.digest,
            "text_kind": self.text.kind,
            "text_pieces": self.text.size,
            "specials": SPECIALS,
            "codes": self.codes,
            "layers": self.layers,
            "size": self.size,
        }
        write_json(Path(directory) / VOCABULARY_FILE, description)


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
    remedy = "make the tokenizer again with `biomechgpt tokenizer`"
    try:
        description = json.loads(path.read_text())
        wanted = description["digest"]
        kind = str(description.get("text_kind", "sentencepiece"))  # earlier versions had this kind alone
    except OSError as error:
        raise InputError(f"{path}: no vocabulary here; {remedy}") from error
    except (ValueError, KeyError, TypeError) as error:
        raise InputError(f"{path}: the vocabulary is damaged; {remedy}") from error
    codec = backends.load(directory)
    vocabulary = Vocabulary(load_text(directory, kind), codec.codes, codec.digest, codec.layers)
    if wanted != vocabulary.digest:
        raise InputError(f"{path}: digest {wanted} does not match {vocabulary.digest} of the files beside it; {remedy}")
    return codec, vocabulary
