"""Every question has a title that a reader of the report understands."""

import pytest

from biomechgpt_jax.evaluation import naming
from biomechgpt_jax.questions.registry import FAMILIES, QUESTIONS


@pytest.mark.parametrize("name", QUESTIONS)
def test_every_question_has_a_title_of_its_own(name) -> None:
    title = naming.question_title(name)
    assert title in naming.TITLES.values()
    assert title[0].isupper() or title[0].isdigit()
    assert "_" not in title and not title.endswith("?")


def test_titles_are_of_questions_and_differ() -> None:
    assert set(naming.TITLES) == set(QUESTIONS)
    assert len(set(naming.TITLES.values())) == len(naming.TITLES)


def test_questions_stand_in_the_order_of_the_titles() -> None:
    nested = {name: {} for name in reversed(list(QUESTIONS)) if QUESTIONS[name].family in ("gait", "outcome_scores")}
    single = {family: {} for family in FAMILIES if family not in ("gait", "outcome_scores")}
    families = {
        "gait": {name: {} for name in nested if QUESTIONS[name].family == "gait"},
        "outcome_scores": {name: {} for name in nested if QUESTIONS[name].family == "outcome_scores"},
    }
    assert [name for name, _ in naming.questions(families | single)] == list(naming.TITLES)


@pytest.mark.parametrize("question", [q for q in QUESTIONS.values() if q.kind == "number"], ids=lambda q: q.name)
def test_errors_are_written_as_finely_as_answers(question) -> None:
    """An error is a mean: it may have one digit more than the answers, not fewer."""
    assert 0 <= naming.decimals("mae", question.unit) - question.decimals <= 1
