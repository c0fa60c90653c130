"""Text pieces, specials and motion codes in one id space."""

import hashlib
import json
import string
from pathlib import Path

import numpy as np
import pytest
from alphabet import Alphabet
from small_codecs import SMALL_FSQ, untrained

from biomechgpt_jax.errors import InputError
from biomechgpt_jax.tokenizer import text as text_lib
from biomechgpt_jax.tokenizer import vocabulary as lib
from biomechgpt_jax.tokenizer.sentencepiece import MODEL_FILE, SentencePieceTokenizer

LINES = [
    "How fast is this person walking?",
    "What is the diagnosis?",
    *["Parkinson disease"] * 20,
    "transfemoral amputation",
    *(f"{value / 100:.2f} m/s" for value in range(40, 180, 3)),
    *(f"{value} steps/min" for value in range(60, 140, 7)),
]


@pytest.fixture(scope="module")
def text() -> SentencePieceTokenizer:
    return SentencePieceTokenizer.train(LINES, 400)


def test_every_ascii_line_comes_back(text: SentencePieceTokenizer) -> None:
    rng = np.random.default_rng(0)
    alphabet = [chr(code) for code in range(1, 128) if chr(code) not in "\n\r"]
    lines = ["".join(rng.choice(alphabet, rng.integers(0, 40))) for _ in range(300)]
    for line in [*LINES, *lines, string.printable[:95], " 1.29 m/s", "  two  spaces  ", "<0x41><unk>", ""]:
        assert text.decode(text.encode(line)) == line
    assert text.decode(text.encode("höher µ")) == "höher µ"


def test_each_digit_is_a_piece_and_words_are_shared(text: SentencePieceTokenizer) -> None:
    assert len(text.encode("111")) == 3
    assert len(text.encode("Parkinson disease")) < len("Parkinson disease") / 2
    assert text.size <= 400


def test_training_repeats_and_does_not_depend_on_order(text: SentencePieceTokenizer) -> None:
    assert SentencePieceTokenizer.train(reversed(LINES), 400).digest == text.digest
    assert SentencePieceTokenizer.train([*LINES, "cerebellar ataxia, more so"], 400).digest != text.digest


def test_too_little_text_or_too_few_pieces_are_refused() -> None:
    with pytest.raises(InputError, match="no line"):
        SentencePieceTokenizer.train(["", "  "], 400)
    with pytest.raises(InputError, match="at least"):
        SentencePieceTokenizer.train(LINES, 260)


def test_ids_are_disjoint_and_the_size_divides(text: SentencePieceTokenizer) -> None:
    vocabulary = lib.Vocabulary(text, 500, "digest of a codec", layers=2)
    specials = [vocabulary.pad, vocabulary.trunk, vocabulary.question, vocabulary.answer, vocabulary.end]
    motion = vocabulary.motion(np.stack([np.arange(500)] * 2, axis=1)).T.ravel()
    ids = [*range(text.size), *specials, *motion]
    assert len(set(ids)) == len(ids) == text.size + 5 + 1000
    assert min(specials) == text.size and motion[0] == vocabulary.motion_offset
    assert vocabulary.motion_offset % 128 == 0  # the rows of the table of embeddings, which devices share
    assert vocabulary.size % 128 == 0 and max(ids) < vocabulary.size < max(ids) + 129
    answer = vocabulary.encode_text("1.29 m/s")
    assert vocabulary.decode_text([vocabulary.answer, *answer, vocabulary.end, int(motion[7])]) == "1.29 m/s"
    with pytest.raises(InputError, match="outside"):
        vocabulary.motion(np.array([[500, 0]]))
    with pytest.raises(InputError, match="codec"):
        vocabulary.motion(np.array([[1]]))


def test_a_pretrained_models_ids_stay_what_they_are() -> None:
    """Control tokens lie before and among the text, unused ids at its end; motion comes after all of them."""
    letters = Alphabet("abcdefghijklmnopqrstuvwxyz ", spread=True)
    assert {0, 1, 7} <= letters.special_ids and letters.size - 1 in letters.special_ids
    vocabulary = lib.Vocabulary(letters, 500, "digest of a codec")
    assert vocabulary.encode_text("gait") == letters.encode("gait") == [9, 2, 11, 24]
    assert vocabulary.pad == letters.size and vocabulary.motion_offset == lib.Layout(letters.size, 500).motion_offset
    mixed = [
        0,
        *letters.encode("slow"),
        7,
        vocabulary.end,
        letters.size - 1,
        *vocabulary.motion(np.array([[3]])).ravel(),
    ]
    assert vocabulary.decode_text(mixed) == "slow"


def test_the_unknown_piece_is_in_no_answer(text: SentencePieceTokenizer) -> None:
    everything = {i for line in [*LINES, string.printable, "höher µ \U0001f9b6"] for i in text.encode(line)}
    assert text.special_ids == {0} and not everything & text.special_ids


def test_the_digest_is_of_codec_and_text(text: SentencePieceTokenizer) -> None:
    other = SentencePieceTokenizer.train(LINES[:20], 400)
    digests = [lib.Vocabulary(t, 1000, c).digest for t, c in ((text, "a"), (text, "b"), (other, "a"))]
    assert len(set(digests)) == 3


def test_the_digest_of_what_is_stored_already_stays_what_it_is(text: SentencePieceTokenizer, tmp_path: Path) -> None:
    """Checkpoints and packed rows carry it: another way to compute it would make them strangers."""
    vocabulary = lib.Vocabulary(text, 500, "digest of a codec", layers=2)
    text.save(tmp_path)
    model = hashlib.sha256((tmp_path / MODEL_FILE).read_bytes()).hexdigest()
    specials = ["<pad>", "<trunk>", "<question>", "<answer>", "<end>"]
    offset = -(-(text.size + 5) // 128) * 128
    size = -(-(offset + 2 * 500) // 128) * 128
    meaning = json.dumps(["digest of a codec", model, text.size, specials, offset, 500, 2, size])
    assert vocabulary.digest == hashlib.sha256(meaning.encode()).hexdigest()


def test_save_and_load(text: SentencePieceTokenizer, tmp_path: Path) -> None:
    codec = untrained(SMALL_FSQ)
    lib.save(tmp_path, codec, lib.Vocabulary(text, codec.codes, codec.digest))
    loaded, vocabulary = lib.load(tmp_path)
    assert loaded.digest == codec.digest
    assert vocabulary.digest == lib.Vocabulary(text, codec.codes, codec.digest).digest
    assert vocabulary.encode_text("Parkinson disease") == text.encode("Parkinson disease")


def test_the_kind_of_a_text_tokenizer_is_stored_and_decides_who_reads_it(
    text: SentencePieceTokenizer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    codec, letters = untrained(SMALL_FSQ), Alphabet("abc", spread=True)
    lib.save(tmp_path / "letters", codec, lib.Vocabulary(letters, codec.codes, codec.digest))
    with pytest.raises(InputError, match=r"kind 'alphabet'.*sentencepiece"):
        lib.load(tmp_path / "letters")
    monkeypatch.setitem(text_lib.KINDS, Alphabet.kind, Alphabet)
    _, vocabulary = lib.load(tmp_path / "letters")
    assert isinstance(vocabulary.text, Alphabet) and vocabulary.encode_text("cab") == letters.encode("cab")

    lib.save(tmp_path / "pieces", codec, lib.Vocabulary(text, codec.codes, codec.digest))
    path = tmp_path / "pieces" / lib.VOCABULARY_FILE
    earlier = json.loads(path.read_text())
    assert earlier.pop("text_kind") == "sentencepiece"
    path.write_text(json.dumps(earlier))  # as versions without kinds wrote it
    assert lib.load(tmp_path / "pieces")[1].digest == earlier["digest"]


def test_parts_that_do_not_belong_together_are_refused(text: SentencePieceTokenizer, tmp_path: Path) -> None:
    codec, other = untrained(SMALL_FSQ), untrained(SMALL_FSQ, seed=1)
    vocabulary = lib.Vocabulary(text, codec.codes, codec.digest)
    lib.save(tmp_path, codec, vocabulary)
    other.save(tmp_path)
    with pytest.raises(InputError) as raised:
        lib.load(tmp_path)
    assert vocabulary.digest in str(raised.value)
    assert lib.Vocabulary(text, other.codes, other.digest).digest in str(raised.value)
    whole = (tmp_path / lib.VOCABULARY_FILE).read_text()
    for broken in ("{", json.dumps([1])):
        (tmp_path / lib.VOCABULARY_FILE).write_text(broken)
        with pytest.raises(InputError, match="vocabulary is damaged"):
            lib.load(tmp_path)
    (tmp_path / lib.VOCABULARY_FILE).write_text(whole)
    for broken in (b"", b"not a model"):
        (tmp_path / MODEL_FILE).write_bytes(broken)
        with pytest.raises(InputError, match="text tokenizer is damaged"):
            lib.load(tmp_path)
    (tmp_path / MODEL_FILE).unlink()
    with pytest.raises(InputError, match="no text tokenizer"):
        lib.load(tmp_path)
