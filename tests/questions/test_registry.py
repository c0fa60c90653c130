"""Questions are asked in short words that say nothing of the answer, and answers are read back as written."""

import numpy as np
import pytest

from biomechgpt_jax.questions import registry
from biomechgpt_jax.questions.registry import QUESTIONS

NUMBERS = [question for question in QUESTIONS.values() if question.kind == "number"]
CLOSED = [question for question in QUESTIONS.values() if question.kind == "closed"]


def test_the_families_of_the_program_are_there() -> None:
    families = {"activity", "impairment", "diagnosis", "assistive_device", "outcome_scores", "gait"}
    assert {question.family for question in QUESTIONS.values()} == families
    assert QUESTIONS["walking_speed"].templates[0] == "How fast is this person walking?"
    assert {"tug_time", "five_times_sit_to_stand_time", "ten_metre_walk_time", "fall_risk"} <= set(QUESTIONS)


@pytest.mark.parametrize("question", NUMBERS, ids=lambda question: question.name)
def test_a_number_is_read_back_rounded(question) -> None:
    for value in np.random.default_rng(0).uniform(question.low, question.high, 300):
        assert question.parse(question.answer_text(value)) == round(value, question.decimals)


@pytest.mark.parametrize("question", CLOSED, ids=lambda question: question.name)
def test_an_option_is_read_back(question) -> None:
    assert [question.parse(question.answer_text(option)) for option in question.options] == list(question.options)
    assert question.parse(" ".join(question.options)) is None


@pytest.mark.parametrize("question", QUESTIONS.values(), ids=lambda question: question.name)
def test_all_answers_are_those_that_can_be_read_back(question) -> None:
    answers = question.answers()
    assert len(set(answers)) == len(answers)
    assert [question.answer_text(question.parse(text)) for text in answers] == list(answers)
    if question.kind == "number":
        values = [question.parse(text) for text in answers]
        assert (values[0], values[-1]) == (question.low, question.high)
        np.testing.assert_allclose(np.diff(values), 10.0**-question.decimals, rtol=1e-6)


@pytest.mark.parametrize(
    ("name", "text", "value"),
    [
        ("walking_speed", "1.29 m/s", 1.29),
        ("walking_speed", " 1 . 29  m / s ", 1.29),
        ("walking_speed", "1.29", None),  # half an answer
        ("walking_speed", "1.29 m", None),
        ("walking_speed", "-1.29 m/s", None),
        ("walking_speed", "1.2.9 m/s", None),
        ("walking_speed", "1.29 m/s 1.30 m/s", None),
        ("walking_speed", "77.00 m/s", None),  # nobody walks so fast
        ("cadence", "112 steps/min", 112.0),
        ("double_support", "24 %", 24.0),
        ("diagnosis", "parkinson  Disease", "Parkinson disease"),
        ("diagnosis", "Parkinson", None),
        ("impairment", "", None),
    ],
)
def test_parsing_is_strict_but_for_spaces_and_case(name, text, value) -> None:
    assert QUESTIONS[name].parse(text) == value


def test_answers_are_written_as_people_write_them() -> None:
    written = {
        ("walking_speed", 1.2931): "1.29 m/s",
        ("cadence", 112.2): "112 steps/min",
        ("step_length", 0.6199): "0.62 m",
        ("stride_time", 1.1201): "1.12 s",
    }
    assert {key: QUESTIONS[key[0]].answer_text(key[1]) for key in written} == written


@pytest.mark.parametrize("question", QUESTIONS.values(), ids=lambda question: question.name)
def test_phrasings_are_several_short_and_give_nothing_away(question) -> None:
    assert len(set(question.templates)) == len(question.templates) >= 4
    for template in question.templates:
        assert len(template.split()) <= 9
        words = template.lower().rstrip("?").split()
        assert not {option.lower() for option in question.options} & set(words)
        assert all(f" {option.lower()} " not in f" {' '.join(words)} " for option in question.options)
        assert not any(character.isdigit() for character in template)


def test_no_phrasing_belongs_to_two_questions() -> None:
    phrasings = [template for question in QUESTIONS.values() for template in question.templates]
    assert len(set(phrasings)) == len(phrasings)


def test_a_key_always_gets_the_same_phrasing_and_all_are_used() -> None:
    question = QUESTIONS["cadence"]
    chosen = [question.phrasing(f"trial {i}") for i in range(200)]
    assert chosen == [question.phrasing(f"trial {i}") for i in range(200)]
    assert set(chosen) == set(question.templates)


def test_the_corpus_makes_words_into_pieces() -> None:
    """Question tokens are paid for at every step: a phrasing takes about as many pieces as it has words."""
    from biomechgpt_jax.tokenizer.sentencepiece import SentencePieceTokenizer

    text = SentencePieceTokenizer.train(registry.corpus(), 512)
    phrasings = [template for question in QUESTIONS.values() for template in question.templates]
    pieces = sum(len(text.encode(phrasing)) for phrasing in phrasings)
    assert pieces < 1.5 * sum(len(phrasing.split()) for phrasing in phrasings)
    assert all(text.decode(text.encode(phrasing)) == phrasing for phrasing in phrasings)
