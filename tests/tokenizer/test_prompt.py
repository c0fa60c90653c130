"""A prompt has one layout: what packing writes is what answering scores and continues."""

from typing import Literal

import numpy as np
import pytest
from toy_language import CFG, LETTERS, QUESTIONS, WORDS

from biomechgpt_jax.answering import predict
from biomechgpt_jax.answering.asked import Asked
from biomechgpt_jax.biomechanics.skeleton import COORDINATE_COUNT
from biomechgpt_jax.model import generation
from biomechgpt_jax.model.distributions import Distribution
from biomechgpt_jax.packing.rows import Item, lay_out_row, make_branch
from biomechgpt_jax.tokenizer import prompt
from biomechgpt_jax.tokenizer.vocabulary import Vocabulary

CODES = np.arange(7, dtype=np.int32)[:, None]


def test_a_prompt_by_hand() -> None:
    words = Vocabulary(LETTERS, codes=60, layers=2)
    codes = np.array([[3, 59], [0, 1]], np.int32)
    first = words.motion_offset
    assert prompt.trunk(words, codes).tolist() == [[words.trunk, -1], [first + 3, first + 119], [first, first + 61]]
    assert prompt.trunk(words, None).shape == (0, 1)
    assert prompt.question(words, "how fast?").tolist() == [words.question, *LETTERS.encode("how fast?"), words.answer]
    assert prompt.answer(words, "1.2 m").tolist() == [*LETTERS.encode("1.2 m"), words.end]
    branch = make_branch(words, "how fast?", "1.2 m", "gait")
    assert branch.tokens.tolist() == [*prompt.question(words, "how fast?"), *prompt.answer(words, "1.2 m")]
    assert branch.tokens[branch.answer_start - 1] == words.answer and branch.family == "gait"


@pytest.mark.parametrize("numbers", ["distribution", "greedy"])
@pytest.mark.parametrize("with_movement", [True, False])
def test_answering_asks_in_the_tokens_that_packing_writes(
    with_movement: bool, numbers: Literal["distribution", "greedy"], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of every question: the rows of which options are scored, and the prompts that numbers are to follow."""
    scored, decoded = [], []

    def score(params, batch, cfg, ids):
        scored.append(batch)
        return np.zeros(batch["tokens"].shape)

    def generate(params, cfg, requests, *arguments, **options):
        decoded.extend(requests)
        nothing = np.zeros(0, np.int32)
        return [[generation.Answer(nothing, nothing) for _ in request.questions] for request in requests]

    monkeypatch.setattr(predict.generation, "branch_logprobs", score)

    def weigh(params, cfg, requests, trees, settings):
        decoded.extend(requests)
        return [[Distribution(np.ones(len(tree.order)) / len(tree.order), 0.0, 0) for tree in row] for row in trees]

    monkeypatch.setattr(predict.generation, "generate", generate)
    monkeypatch.setattr(predict.distributions, "distributions", weigh)
    still = np.zeros((28, COORDINATE_COUNT), np.float32)
    asked = [
        Asked(
            trial="t",
            participant="p",
            coordinates=still,
            observed=np.ones(COORDINATE_COUNT, bool),
            rate_hz=30.0,
            start_s=0.0,
            family=question.family,
            question=question.name,
            kind=question.kind,
            unit=question.unit,
            phrasing=question.templates[0],
            truth="",
        )
        for question in QUESTIONS.values()
    ]
    codes = [CODES] * len(asked) if with_movement else None
    predict.answers(predict.LanguageModel(None, CFG, WORDS, batch_size=1, numbers=numbers), asked, codes, QUESTIONS)

    trunk = prompt.trunk(WORDS, CODES if with_movement else None)
    branches = [
        make_branch(WORDS, question.templates[0], question.answer_text(option))
        for question in QUESTIONS.values()
        for option in question.options
    ]
    items = [Item(trunk, tuple(branches))] if with_movement else [Item(trunk, (branch,)) for branch in branches]
    packed = lay_out_row(sorted(items, key=lambda item: -item.length), predict.ROW_LENGTH, WORDS.pad)
    for name, row in packed.items():
        if name != "segments" or with_movement:
            np.testing.assert_array_equal(scored[0][name][0], row, name)
    (request,) = decoded
    speed = make_branch(WORDS, "how fast?", "1.0 m")
    np.testing.assert_array_equal(request.trunk, trunk)
    np.testing.assert_array_equal(request.questions[0], speed.tokens[: speed.answer_start])
