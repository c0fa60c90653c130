"""Text pieces, specials and motion codes in one id space."""

import json
import string
from pathlib import Path

import numpy as np
import pytest
from small_codecs import SMALL_FSQ, untrained

from biomechgpt_jax.errors import InputError
from biomechgpt_jax.tokenizer import vocabulary as lib
from biomechgpt_jax.tokenizer.text import MODEL_FILE, TextTokenizer

LINES = [
    "How fast is this person walking?",
    "What is the diagnosis?",
    *["Parkinson disease"] * 20,
    "transfemoral amputation",
    *(f"{value / 100:.2f} m/s" for value in range(40, 180, 3)),
    *(f"{value} steps/min" for value in range(60, 140, 7)),
]


@pytest.fixture(scope="module")
def text() -> TextTokenizer:
    return TextTokenizer.train(LINES, 400)


def test_every_ascii_line_comes_back(text: TextTokenizer) -> None:
    rng = np.random.default_rng(0)
    alphabet = [chr(code) for code in range(1, 128) if chr(code) not in "\n\r"]
    lines = ["".join(rng.choice(alphabet, rng.integers(0, 40))) for _ in range(300)]
    for line in [*LINES, *lines, string.printable[:95], " 1.29 m/s", "  two  spaces  ", "<0x41><unk>", ""]:
        assert text.decode(text.encode(line)) == line
    assert text.decode(text.encode("höher µ")) == "höher µ"


def test_each_digit_is_a_piece_and_words_are_shared(text: TextTokenizer) -> None:
    assert len(text.encode("111")) == 3
    assert len(text.encode("Parkinson disease")) < len("Parkinson disease") / 2
    assert text.size <= 400


def test_training_repeats_and_does_not_depend_on_order(text: TextTokenizer) -> None:
    assert TextTokenizer.train(reversed(LINES), 400).digest == text.digest
    assert TextTokenizer.train([*LINES, "cerebellar ataxia, more so"], 400).digest != text.digest


def test_too_little_text_or_too_few_pieces_are_refused() -> None:
    with pytest.raises(InputError, match="no line"):
        TextTokenizer.train(["", "  "], 400)
    with pytest.raises(InputError, match="at least"):
        TextTokenizer.train(LINES, 260)


def test_ids_are_disjoint_and_the_size_divides(text: TextTokenizer) -> None:
    vocabulary = lib.Vocabulary(text, 500, "digest of a codec", layers=2)
    specials = [vocabulary.pad, vocabulary.trunk, vocabulary.question, vocabulary.answer, vocabulary.end]
    motion = vocabulary.motion(np.stack([np.arange(500)] * 2, axis=1)).T.ravel()
    ids = [*range(text.size), *specials, *motion]
    assert len(set(ids)) == len(ids) == text.size + 5 + 1000
    assert min(specials) == text.size and motion[0] == vocabulary.motion_offset
    assert vocabulary.size % 128 == 0 and max(ids) < vocabulary.size < max(ids) + 129
    answer = vocabulary.encode_text("1.29 m/s")
    assert vocabulary.decode_text([vocabulary.answer, *answer, vocabulary.end, int(motion[7])]) == "1.29 m/s"
    with pytest.raises(InputError, match="outside"):
        vocabulary.motion(np.array([[500, 0]]))
    with pytest.raises(InputError, match="codec"):
        vocabulary.motion(np.array([[1]]))


def test_the_digest_is_of_codec_and_text(text: TextTokenizer) -> None:
    other = TextTokenizer.train(LINES[:20], 400)
    digests = [lib.Vocabulary(t, 1000, c).digest for t, c in ((text, "a"), (text, "b"), (other, "a"))]
    assert len(set(digests)) == 3


def test_save_and_load(text: TextTokenizer, tmp_path: Path) -> None:
    codec = untrained(SMALL_FSQ)
    lib.save(tmp_path, codec, lib.Vocabulary(text, codec.codes, codec.digest))
    loaded, vocabulary = lib.load(tmp_path)
    assert loaded.digest == codec.digest
    assert vocabulary.digest == lib.Vocabulary(text, codec.codes, codec.digest).digest
    assert vocabulary.encode_text("Parkinson disease") == text.encode("Parkinson disease")


def test_parts_that_do_not_belong_together_are_refused(text: TextTokenizer, tmp_path: Path) -> None:
    codec, other = untrained(SMALL_FSQ), untrained(SMALL_FSQ, seed=1)
    vocabulary = lib.Vocabulary(text, codec.codes, codec.digest)
    lib.save(tmp_path, codec, vocabulary)
    other.save(tmp_path)
    with pytest.raises(InputError) as raised:
        lib.load(tmp_path)
    assert vocabulary.digest in str(raised.value)
    assert lib.Vocabulary(text, other.codes, other.digest).digest in str(raised.value)
    for broken in ("{", json.dumps([1])):
        (tmp_path / lib.VOCABULARY_FILE).write_text(broken)
        with pytest.raises(InputError, match="damaged"):
            lib.load(tmp_path)
    for broken in (b"", b"not a model"):
        (tmp_path / MODEL_FILE).write_bytes(broken)
        with pytest.raises(InputError, match="damaged"):
            lib.load(tmp_path)
    (tmp_path / MODEL_FILE).unlink()
    with pytest.raises(InputError, match="no text tokenizer"):
        lib.load(tmp_path)
