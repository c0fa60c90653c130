"""Answers of the language model against the plain decoder, one option and one token at a time."""

import dataclasses

import jax
import numpy as np
import pytest
from compilations import compilations
from toy_language import CFG, LETTERS, QUESTIONS, WORDS

from biomechgpt_jax.answering import numbers, predict
from biomechgpt_jax.answering.asked import Asked, prediction
from biomechgpt_jax.biomechanics.skeleton import COORDINATE_COUNT
from biomechgpt_jax.errors import InputError
from biomechgpt_jax.model import decoder
from biomechgpt_jax.questions import registry
from biomechgpt_jax.tokenizer.sentencepiece import SentencePieceTokenizer
from biomechgpt_jax.tokenizer.vocabulary import Vocabulary


def ask_about(movements, phrasings=("what is it?", "is it so?", "how fast?")):
    generator = np.random.default_rng(0)
    asked, codes = [], []
    for i in range(movements):
        coordinates = np.zeros((40 + 16 * i, COORDINATE_COUNT), np.float32)
        motion = generator.integers(0, 60, (len(coordinates) // 4, 1)).astype(np.int32)
        for (name, question), phrasing in zip(QUESTIONS.items(), phrasings, strict=True):
            asked.append(
                Asked(
                    trial=f"t{i}",
                    participant=f"p{i}",
                    coordinates=coordinates,
                    observed=np.ones(COORDINATE_COUNT, bool),
                    rate_hz=30.0,
                    start_s=0.0,
                    family=question.family,
                    question=name,
                    kind=question.kind,
                    unit=question.unit,
                    phrasing=phrasing,
                    truth=question.options[0] if question.options else 1.0,
                )
            )
            codes.append(motion)
    return asked, codes


@pytest.fixture(scope="module")
def model():
    params = decoder.init(jax.random.key(0), CFG, WORDS.size)
    return predict.LanguageModel(params, CFG, WORDS, batch_size=4)


PADDED = 128
apply = jax.jit(decoder.apply, static_argnames="cfg")


def logits_of(model, tokens):
    """Of one sequence alone in its row (padded, so that it compiles once), f64[n, V]; motion codes are impossible."""
    row = np.zeros((1, PADDED), np.int32)
    row[0, : len(tokens)] = tokens
    here = (np.arange(PADDED) < len(tokens)).astype(np.int32)[None]
    batch = {"tokens": row, "positions": np.arange(PADDED)[None], "segments": here, "branches": 0 * here}
    logits = np.asarray(apply(model.params, batch, cfg=model.cfg)[0, : len(tokens)], np.float64)
    logits[:, WORDS.motion_offset :] = -np.inf
    return logits - np.log(np.exp(logits).sum(-1, keepdims=True))


def prompt_of(item, motion):
    trunk = [] if motion is None else [WORDS.trunk, *WORDS.motion(motion)[:, 0]]
    return [*trunk, WORDS.question, *LETTERS.encode(item.phrasing), WORDS.answer]


@pytest.mark.parametrize("with_movement", [True, False])
def test_options_are_scored_as_if_each_were_asked_alone(model, with_movement):
    asked, codes = ask_about(3)
    found = predict.answers(model, asked, codes if with_movement else None, QUESTIONS)
    for item, motion, answer in zip(asked, codes, found, strict=True):
        if item.kind != "closed":
            continue
        prompt = prompt_of(item, motion if with_movement else None)
        totals = {}
        for option in QUESTIONS[item.question].options:
            tail = [*LETTERS.encode(option), WORDS.end]
            logprobs = logits_of(model, prompt + tail)
            totals[option] = sum(logprobs[len(prompt) - 1 + k, token] for k, token in enumerate(tail))
        expected = np.exp(np.array(list(totals.values())) - max(totals.values()))
        expected /= expected.sum()
        assert list(answer["options"].values()) == pytest.approx(expected.tolist(), abs=1e-4)
        assert answer["answer"] == max(totals, key=totals.get)
        assert answer["probability"] == pytest.approx(expected.max(), abs=1e-4)
    assert [row["trial"] for row in found] == [item.trial for item in asked]


def test_branches_that_do_not_fit_one_row_repeat_their_trunk(model, monkeypatch):
    asked, codes = ask_about(3)
    whole = predict.answers(model, asked, codes, QUESTIONS)
    monkeypatch.setattr(predict, "ROW_LENGTH", 64)
    monkeypatch.setattr(predict, "ROUNDING", 16)
    split = predict.answers(model, asked, codes, QUESTIONS)
    for one, other in zip(whole, split, strict=True):
        assert one["probability"] == pytest.approx(other["probability"], abs=1e-4)


@pytest.mark.parametrize("with_movement", [True, False])
def test_numbers_are_the_most_probable_letters_that_an_allowed_number_may_have(model, with_movement):
    asked, codes = ask_about(2)
    greedy = dataclasses.replace(model, numbers="greedy")
    found = predict.answers(greedy, asked, codes if with_movement else None, QUESTIONS)
    for item, motion, answer in zip(asked, codes, found, strict=True):
        if item.kind != "number":
            continue
        assert "interval" not in answer
        allowed = [[*LETTERS.encode(text), WORDS.end] for text in QUESTIONS[item.question].answers()]
        prompt, total = prompt_of(item, motion if with_movement else None), 0.0
        said = []
        while said not in allowed:
            logprobs = logits_of(model, prompt + said)[-1]
            following = {one[len(said)] for one in allowed if one[: len(said)] == said}
            said.append(max(following, key=lambda token: logprobs[token]))
            total += logprobs[said[-1]]
        assert answer["text"] == LETTERS.decode(said[:-1])
        assert answer["probability"] == pytest.approx(np.exp(total), rel=1e-3)
        assert answer["answer"] == float(answer["text"].removesuffix(" m"))


@pytest.mark.parametrize("with_movement", [True, False])
def test_a_number_is_the_median_of_all_that_its_question_allows(model, with_movement):
    asked, codes = ask_about(2)
    found = predict.answers(model, asked, codes if with_movement else None, QUESTIONS)
    texts = QUESTIONS["speed"].answers()
    allowed = [(*LETTERS.encode(text), WORDS.end) for text in texts]
    for item, motion, answer in zip(asked, codes, found, strict=True):
        if item.kind != "number":
            continue
        prompt = prompt_of(item, motion if with_movement else None)
        known, chances = {}, []
        for one in allowed:
            chance = 1.0
            for step, token in enumerate(one):
                before = one[:step]
                following = sorted({other[step] for other in allowed if other[:step] == before})
                if len(following) > 1 and before not in known:
                    known[before] = np.exp(logits_of(model, [*prompt, *before])[-1, following])
                if len(following) > 1:
                    chance *= known[before][following.index(token)] / known[before].sum()
            chances.append(chance)
        assert sum(chances) == pytest.approx(1)
        low, middle, high = (np.argmax(np.cumsum(chances) >= share) for share in (0.05, 0.5, 0.95))
        assert answer["text"] == texts[middle] and answer["answer"] == middle / 10
        assert answer["interval"] == [low / 10, high / 10]
        assert answer["probability"] == pytest.approx(chances[middle], abs=1e-4)
        above = numbers.probability_between(answer["distribution"], 3.0, np.inf)
        assert above == pytest.approx(sum(chances[30:]), abs=1e-4)


def test_few_questions_about_any_movement_run_the_same_programs_and_have_the_same_answers(model):
    asked, codes = ask_about(3)
    padded = dataclasses.replace(model, batch_size=1, one_shape=True)
    number, closed = ([i for i, item in enumerate(asked) if item.kind == kind] for kind in ("number", "closed"))
    said = [predict.answers(padded, [asked[i]], [codes[i]], QUESTIONS)[0] for i in (number[0], closed[0])]
    with compilations() as compiled:
        together = predict.answers(padded, asked, codes, QUESTIONS)
    assert not compiled
    for one, other in zip(together, predict.answers(model, asked, codes, QUESTIONS), strict=True):
        assert one["answer"] == other["answer"]
        assert one["probability"] == pytest.approx(other["probability"], rel=1e-5)
    for i, alone in zip((number[0], closed[0]), said, strict=True):
        assert alone["probability"] == pytest.approx(together[i]["probability"], rel=1e-5)


def test_every_number_is_one_that_its_question_can_have():
    """Also of a model that was never trained: parsed, in range, with the question's decimals and unit."""
    text = SentencePieceTokenizer.train(registry.corpus(), 512)
    vocabulary = Vocabulary(text, codes=60)
    untrained = decoder.init(jax.random.key(1), CFG, vocabulary.size)
    model = predict.LanguageModel(untrained, CFG, vocabulary, batch_size=16)
    allowed = [question for question in registry.QUESTIONS.values() if question.kind == "number"]
    template, _ = ask_about(1)
    asked = [
        dataclasses.replace(template[0], question=q.name, kind=q.kind, unit=q.unit, phrasing=q.templates[0])
        for q in allowed
    ]
    codes = [np.arange(12, dtype=np.int32)[:, None]] * len(asked)
    for question, answer in zip(allowed, predict.answers(model, asked, codes, registry.QUESTIONS), strict=True):
        assert answer["answer"] is not None, (question.name, answer)
        low, high = answer["interval"]
        assert question.low <= low <= answer["answer"] <= high <= question.high
        assert answer["quantiles"] == sorted(answer["quantiles"]) and len(answer["quantiles"]) == 21
        assert answer["text"] == question.answer_text(answer["answer"])


def encode(coordinates, observed):
    return [np.arange(len(c) // 4, dtype=np.int32)[:, None] % 60 for c in coordinates]


def ask(model, frames, *names):
    coordinates, observed = np.zeros((frames, COORDINATE_COUNT), np.float32), np.ones(COORDINATE_COUNT, bool)
    wanted = [(name, "what is it?") for name in names]
    return predict.ask(model, encode, coordinates, observed, wanted, QUESTIONS, longest_s=4.0)


def test_asking_about_one_movement(model):
    (found,) = ask(model, 100, "diagnosis")
    assert found["question"] == "diagnosis" and found["answer"] in QUESTIONS["diagnosis"].options
    assert 1 / 3 <= found["probability"] <= 1
    (longer,) = ask(model, 200, "diagnosis")  # two windows of 100 frames
    assert longer["probability"] == pytest.approx(found["probability"], abs=1e-4)
    assert ask(model, 100, "speed")[0]["unit"] == "m"
    with pytest.raises(InputError, match="longer"):
        ask(model, 3, "diagnosis")


def test_questions_asked_together_are_answered_as_if_each_were_asked_alone(model):
    names = ("speed", "impairment", "diagnosis", "impairment")
    for frames in (100, 200):
        together = ask(model, frames, *names)
        assert [found["question"] for found in together] == list(names)
        for name, found in zip(names, together, strict=True):
            (alone,) = ask(model, frames, name)
            assert found["answer"] == alone["answer"]
            assert found["probability"] == pytest.approx(alone["probability"], abs=1e-4)


def test_questions_asked_together_share_one_call_and_one_trunk(model, monkeypatch):
    calls = []
    real = predict.answers
    monkeypatch.setattr(predict, "answers", lambda *arguments: calls.append(arguments) or real(*arguments))
    ask(model, 100, "speed", "impairment", "diagnosis")
    ((_, asked, codes, _),) = calls
    assert len({(item.trial, item.start_s) for item in asked}) == 1 and len({id(code) for code in codes}) == 1


def test_a_clinical_test_is_not_combined_from_parts(model):
    """Its time is that of the whole: the median over parts of it is the time of nothing."""
    questions = QUESTIONS | {"tug_time": QUESTIONS["speed"]}
    coordinates, observed = np.zeros((200, COORDINATE_COUNT), np.float32), np.ones(COORDINATE_COUNT, bool)
    wanted = [("impairment", "is it so?"), ("tug_time", "how long?")]
    with pytest.raises(InputError, match=r"6\.7 s, more than the 4\.0 s"):
        predict.ask(model, encode, coordinates, observed, wanted, questions, longest_s=4.0)
    assert len(predict.ask(model, encode, coordinates, observed, wanted, questions, longest_s=7.0)) == 2


def test_windows_cover_a_movement_and_their_answers_are_combined():
    assert predict.windows(100, 120) == [slice(0, 100)]
    parts = predict.windows(250, 100)
    assert [part.start for part in parts[1:]] == [part.stop for part in parts[:-1]] and parts[-1].stop == 250
    asked, _ = ask_about(1)
    greedy = [prediction(asked[2], value, 0.5) for value in (3.0, None, 1.0, 2.0)]
    assert predict.combine(greedy)["answer"] == 2.0
    labels = [prediction(asked[1], "yes", 0.6) | {"options": {"yes": 0.6, "no": 0.4}}]
    labels.append(prediction(asked[1], "no", 0.9) | {"options": {"yes": 0.1, "no": 0.9}})
    both = predict.combine(labels)
    assert both["answer"] == "no" and both["probability"] == pytest.approx(0.65)


def test_windows_whose_numbers_have_distributions_are_combined_as_their_mixture():
    asked, _ = ask_about(1)
    values = np.array([1.0, 1.1, 1.2, 1.3])

    def part(*shares):
        known = numbers.summarise(numbers.Distribution(values, np.array(shares)), decimals=1, unit="m")
        return prediction(asked[2], None, None) | known

    both = predict.combine([part(0.7, 0.3, 0.0, 0.0), part(0.0, 0.0, 0.2, 0.8), part(0.0, 0.9, 0.1, 0.0)])
    np.testing.assert_allclose(both["distribution"].probabilities, np.array([0.7, 1.2, 0.3, 0.8]) / 3)
    assert (both["answer"], both["text"], both["interval"]) == (1.1, "1.1 m", [1.0, 1.3])
    assert both["probability"] == pytest.approx(0.4)
    assert predict.combine([part(0.0, 0.0, 1.0, 0.0)])["interval"] == [1.2, 1.2]
