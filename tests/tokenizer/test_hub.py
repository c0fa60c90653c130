"""The text tokenizer of a pretrained model, behind the same interface as the one that a run trains."""

import dataclasses
import json
import random
import string
from pathlib import Path

import jax
import numpy as np
import pytest
import toy_pretrained
from small_codecs import SMALL_FSQ, untrained

from biomechgpt_jax import config
from biomechgpt_jax.errors import InputError
from biomechgpt_jax.model import constraints, decoder, distributions, generation, trees
from biomechgpt_jax.model.requests import Request, Settings
from biomechgpt_jax.packing.rows import Item, lay_out_row, make_branch
from biomechgpt_jax.tokenizer import hub, prompt, vocabulary
from biomechgpt_jax.tokenizer.hub import HubTokenizer
from biomechgpt_jax.tokenizer.sentencepiece import SentencePieceTokenizer

ROWS = 1500


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return toy_pretrained.write(tmp_path_factory.mktemp("model"), toy_pretrained.definition())


@pytest.fixture(scope="module")
def text(folder: Path) -> HubTokenizer:
    return toy_pretrained.read(folder, ROWS)


def test_three_digits_are_one_id_and_every_line_comes_back(text: HubTokenizer) -> None:
    assert [len(text.encode(written)) for written in ("7", "12", "125", "1250", "12.5")] == [1, 1, 1, 2, 3]
    draw = random.Random(0)
    characters = string.printable + "äöüß–’μ°²🙂\u2581\ue010漢"
    lines = ["".join(draw.choices(characters, k=draw.randint(0, 60))) for _ in range(300)]
    for line in [*lines, "1.25 m/s", *toy_pretrained.CONTROL, f"a{toy_pretrained.EOS}{toy_pretrained.BOS} b"]:
        ids = text.encode(line)
        assert text.decode(ids) == line and not text.special_ids & set(ids)


def test_what_is_no_text_is_special_and_the_table_may_be_larger_or_smaller(folder: Path, text: HubTokenizer) -> None:
    control = {text.id_of(token) for token in toy_pretrained.CONTROL}
    used = len(json.loads(text.definition)["model"]["vocab"]) + 1  # the last of the control tokens is beside it
    assert len(control) == 5 and min(control) == 40
    assert text.size == ROWS and text.special_ids == control | set(range(used, ROWS))
    assert toy_pretrained.read(folder, 10).size == used  # Gemma 3 has one id more than its table has rows
    assert (text.begin, text.stop) == (text.id_of(toy_pretrained.BOS), text.id_of(toy_pretrained.EOS))


def test_text_comes_as_soon_as_it_is_whole(text: HubTokenizer) -> None:
    line = "naïve 🙂 125"
    step = text.stream()
    pieces = [step(i) for i in text.encode(line)]
    assert "".join(pieces) == line and "" in pieces and not any("\ufffd" in piece for piece in pieces)
    own = SentencePieceTokenizer.train(["how fast is it?"] * 5, 300)
    step = own.stream()
    pieces = [step(i) for i in own.encode(line)]
    assert "".join(pieces) == line and "" in pieces and not any("\ufffd" in piece for piece in pieces)


def test_the_digest_changes_with_everything_that_decides_what_an_id_means(folder: Path, text: HubTokenizer) -> None:
    others = [dataclasses.replace(text.use, **{name: value}) for name, value in (
        ("rows", ROWS + 1), ("begin", -1), ("stop", text.begin), ("before", (1,)), ("after", (1,)), ("template", "x"),
        ("bos", "x"), ("eos", "x"))]  # fmt: skip
    digests = {HubTokenizer(text.definition, use).digest for use in others}
    digests |= {text.digest, HubTokenizer(text.definition + "\n", text.use).digest}
    assert len(digests) == len(others) + 2
    assert toy_pretrained.read(folder, ROWS).digest == text.digest


def test_a_run_keeps_its_tokenizer(text: HubTokenizer, folder: Path, tmp_path: Path) -> None:
    codec, chat = untrained(SMALL_FSQ), toy_pretrained.read(folder, ROWS, chat=True)
    for one in (text, chat):
        vocabulary.save(tmp_path, codec, vocabulary.Vocabulary(one, codec.codes, codec.digest))
        _, words = vocabulary.load(tmp_path)
        assert isinstance(words.text, HubTokenizer) and words.text.use == one.use and words.text.digest == one.digest
    stored = json.loads((tmp_path / hub.USE_FILE).read_text())
    for broken in (
        "{",
        "[]",
        json.dumps(stored | {"begin": "1"}),
        json.dumps({"rows": 1}),
        json.dumps(stored | {"x": 1}),
    ):
        (tmp_path / hub.USE_FILE).write_text(broken)
        with pytest.raises(InputError, match="text tokenizer is damaged"):
            vocabulary.load(tmp_path)
    (tmp_path / hub.USE_FILE).unlink()
    with pytest.raises(InputError, match="no text tokenizer here"):
        vocabulary.load(tmp_path)


def test_begin_and_end_of_a_pretrained_model_are_those_of_the_vocabulary(folder: Path, text: HubTokenizer) -> None:
    words = vocabulary.Vocabulary(text, 60, layers=2)
    assert (words.trunk, words.end) == (text.begin, text.stop) and words.pad == ROWS
    assert words.motion_offset == vocabulary.Layout(ROWS, 60, 2).motion_offset
    assert prompt.trunk(words, None).tolist() == [[text.begin]]
    assert prompt.trunk(words, np.array([[0, 1]]))[:, 0].tolist() == [text.begin, words.motion_offset]
    assert prompt.question(words, "how").tolist() == [words.question, *text.encode("how"), words.answer]
    assert prompt.answer(words, "12 m").tolist() == [*text.encode("12 m"), text.stop]
    assert words.decode_text([*prompt.answer(words, "12 m"), text.begin]) == "12 m"
    without = toy_pretrained.write(folder.parent / "without", toy_pretrained.definition(begins=False), eos_token=None)
    own = toy_pretrained.read(without, ROWS)
    bare = vocabulary.Vocabulary(own, 60, layers=2)
    assert own.begin == own.stop == -1 and (bare.trunk, bare.end) == (ROWS + 1, ROWS + 4)
    assert prompt.trunk(bare, None).shape == (0, 1)
    said = toy_pretrained.write(folder.parent / "said", toy_pretrained.definition(begins=False), add_bos_token=True)
    assert toy_pretrained.read(said, ROWS).begin == text.begin
    assert len({words.digest, bare.digest, vocabulary.Vocabulary(toy_pretrained.read(said, 0), 60).digest}) == 3


def test_a_template_stands_around_questions_in_training_and_in_answering(folder: Path) -> None:
    chat = toy_pretrained.read(folder, ROWS, chat=True)
    words = vocabulary.Vocabulary(chat, 60)
    turn, end = chat.id_of(toy_pretrained.BEGIN_TURN), chat.id_of(toy_pretrained.TURN)
    before, after = [turn, *chat.encode("user\n")], [end, *chat.encode("\n"), turn, *chat.encode("assistant\n")]
    spelled = f"how? {toy_pretrained.TURN}"  # a user's text ends no turn
    asked = prompt.question(words, spelled)
    assert asked.tolist() == [words.question, *before, *chat.encode(spelled), *after]
    branch = make_branch(words, spelled, "stroke")
    np.testing.assert_array_equal(branch.tokens[: branch.answer_start], asked)
    assert words.end == end and branch.tokens[-1] == end and words.answer not in branch.tokens
    row = lay_out_row([Item(prompt.trunk(words, None), (branch,))], 64, words.pad)
    assert int(np.sum(row["tokens"] == chat.begin)) == 1 and row["loss_weights"].sum() == len(chat.encode("stroke")) + 1


CFG = config.Model(layers=2, model_size=32, heads=2, kv_heads=1, head_size=16, hidden_size=48, compute_dtype="float32")
ANSWERS = [*(f"{value} cm" for value in range(5, 1300, 7)), *(f"{value / 100:.2f} m" for value in range(80, 160))]
OPTIONS = ["healthy", "stroke", "stroke, late", "in pain"]


@pytest.fixture(scope="module")
def spoken(folder: Path) -> tuple[vocabulary.Vocabulary, decoder.Params]:
    words = vocabulary.Vocabulary(toy_pretrained.read(folder, ROWS), 60)
    draw = np.random.default_rng(4)
    params = decoder.init(jax.random.key(1), CFG, words.size)
    return words, jax.tree.map(lambda leaf: leaf + 0.2 * draw.standard_normal(leaf.shape).astype(np.float32), params)


@pytest.mark.parametrize("answers", [ANSWERS, OPTIONS], ids=["numbers", "options"])
def test_the_walk_of_answers_equals_each_answer_scored_as_a_branch(spoken, answers: list[str]) -> None:
    """Where several digits are one id: "12 cm" and "125 cm" share no prefix, and 1,300 ids could follow."""
    words, params = spoken
    trunk = prompt.trunk(words, np.arange(6)[:, None])
    ids = [words.encode_text(answer) for answer in answers]
    request = Request(trunk, [prompt.question(words, "how far?")])
    settings = Settings(12, words.end, words.motion_offset)
    [[found]] = distributions.distributions(
        params, CFG, [request], [[trees.tree_of(ids, words.end)]], settings, threshold=0
    )
    allowed = {(*one, words.end) for one in ids}
    branches = tuple(make_branch(words, "how far?", answer) for answer in answers)
    rows = [
        lay_out_row([Item(trunk, branches[first : first + 16])], 384, words.pad) for first in range(0, len(ids), 16)
    ]
    batch = {name: np.stack([row[name] for row in rows]) for name in rows[0]}
    hidden = np.asarray(decoder.hidden(params, batch, CFG))
    head = np.asarray(decoder.head(params, words.motion_offset))
    want = []
    for index, (branch, one) in enumerate(zip(branches, ids, strict=True)):
        cells = np.flatnonzero(batch["branches"][index // 16] == index % 16 + 1)[branch.answer_start - 1 : -1]
        logits, share = np.asarray(hidden[index // 16][cells] @ head, np.float64), 1.0
        for step, token in enumerate((*one, words.end)):
            may = sorted({other[step] for other in allowed if other[:step] == tuple(one[:step])})
            weights = np.exp(logits[step, may] - logits[step, may].max())
            share *= weights[may.index(token)] / weights.sum()
        want.append(share)
    assert found.probabilities.sum() == pytest.approx(1) and sum(want) == pytest.approx(1)
    np.testing.assert_allclose(found.probabilities, want, atol=1e-5)

    automaton = constraints.one_of(ids, words.end)
    [[answer]] = generation.generate(params, CFG, [dataclasses.replace(request, answers=[automaton])], settings)
    said = words.decode_text(answer.tokens)
    assert said in answers
    scored = np.asarray(generation.branch_logprobs(params, batch, CFG, words.motion_offset), np.float64)
    place = answers.index(said)
    cells = batch["branches"][place // 16] == place % 16 + 1
    assert answer.logprobs.sum() == pytest.approx(scored[place // 16][cells].sum(), abs=1e-4)
