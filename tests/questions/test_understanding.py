"""A question in anybody's words is understood as itself or refused: never as another one, never as its opposite.

The phrasings lie in friendly.txt and hostile.txt. Whoever changes `words` or `senses` adds to both.
"""

from collections import Counter
from pathlib import Path

import pytest

from biomechgpt_jax.errors import InputError
from biomechgpt_jax.questions import senses, words
from biomechgpt_jax.questions.registry import QUESTIONS
from biomechgpt_jax.questions.understanding import understand

MARKS = {"same": "", "reversed": "~", "both": "^"}


def phrasings(file: str) -> list[tuple[str, str]]:
    """(what is expected, the phrasing) of every line."""
    lines = (Path(__file__).parent / file).read_text().splitlines()
    pairs = [line.partition(" | ") for line in lines if not line.startswith("#")]
    return [(expected, text) for expected, _, text in pairs]


def reading(text: str) -> str:
    """The name of the question understood, its polarity before it; "-" where the text is refused."""
    try:
        understood = understand(text)
    except InputError:
        return "-"
    return MARKS[understood.polarity] + understood.question.name


FRIENDLY, HOSTILE = phrasings("friendly.txt"), phrasings("hostile.txt")


def test_what_clinicians_ask_is_understood() -> None:
    readings = [(text, expected, reading(text)) for expected, text in FRIENDLY]
    assert [entry for entry in readings if entry[2] not in (entry[1], "-")] == [], "understood as something else"
    refused = [text for text, _, read in readings if read == "-"]
    assert len(refused) <= 0.05 * len(readings), refused


@pytest.mark.parametrize(("allowed", "text"), HOSTILE, ids=[text for _, text in HOSTILE])
def test_what_cannot_be_answered_is_not_answered_with_something_else(allowed: str, text: str) -> None:
    assert reading(text) in ("-", allowed)


@pytest.mark.parametrize("qualifier", ["on the left side", "before surgery", "last week", "at most", "than normal"])
def test_a_qualifier_makes_it_another_question(qualifier: str) -> None:
    asked = [f"{text.rstrip('?.')} {qualifier}?" for _, text in FRIENDLY]
    assert [text for text in asked if reading(text) != "-"] == []


@pytest.mark.parametrize("negation", ["not", "never"])
def test_a_negation_turns_a_question_round_or_is_refused(negation: str) -> None:
    for expected, text in FRIENDLY:
        spelled = text.split()
        turned = expected.removeprefix("~") if expected.startswith("~") else f"~{expected}"
        assert reading(" ".join([*spelled[:2], negation, *spelled[2:]])) in ("-", turned), text


def test_the_tables_are_large_and_cover_every_question() -> None:
    per_question = Counter(expected.lstrip("~^") for expected, _ in FRIENDLY)
    assert set(per_question) == set(QUESTIONS) and min(per_question.values()) >= 5
    templates = {template.casefold() for question in QUESTIONS.values() for template in question.templates}
    fresh = [text for _, text in FRIENDLY if text.casefold() not in templates]
    assert len(fresh) >= 120 and len(HOSTILE) >= 60
    for table in (FRIENDLY, HOSTILE):
        assert [text for text, count in Counter(text for _, text in table).items() if count > 1] == []


@pytest.mark.parametrize("question", QUESTIONS.values(), ids=lambda question: question.name)
def test_a_trained_phrasing_is_put_to_the_model_as_it_was_trained(question) -> None:
    for template in question.templates:
        for text in (template, template.lower().rstrip("?"), f"  {template.upper()} ?"):
            understood = understand(text)
            assert understood.question is question
            assert understood.phrasing == template and understood.polarity == "same"


def test_other_words_are_put_to_the_model_in_words_that_it_knows() -> None:
    assert understand("What's the gait velocity?").phrasing == "How fast is this person walking?"


@pytest.mark.parametrize(
    ("text", "polarity", "answers"),
    [
        ("Is this movement impaired?", "same", {"yes": ("yes", ""), "no": ("no", "")}),
        (
            "Is this person healthy?",
            "reversed",
            {"yes": ("no", "impairment is likely"), "no": ("yes", "impairment is unlikely")},
        ),
        (
            "Is this gait normal or abnormal?",
            "both",
            {"yes": (None, "impairment is likely"), "no": (None, "impairment is unlikely")},
        ),
        ("Has this person never fallen?", "reversed", {"no": ("yes", "a fall in the past year is unlikely")}),
        ("Is the gait symmetric?", "reversed", {3.0: (None, "0 % is perfectly symmetric"), None: (None, "")}),
        ("How regular are the strides?", "reversed", {2.0: (None, "0 % is perfectly regular")}),
        ("How asymmetric is the gait?", "same", {3.0: (3.0, "")}),
    ],
)
def test_a_question_asked_the_other_way_round_has_its_answer_turned_and_explained(text, polarity, answers) -> None:
    understood = understand(text)
    assert understood.polarity == polarity
    for answer, (turned, explanation) in answers.items():
        assert understood.answer_as_asked(answer) == turned
        assert understood.explain(answer) == explanation


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("What is the swing phase?", ["'swing'", "How much of the stride is stance?"]),
        ("What is the left step length?", ["'left'", "How long are the steps?"]),
        ("What is the maximum gait speed?", ["'maximum'", "How fast is this person walking?"]),
        ("How long did one chair stand take?", ["'one'", "How long did five chair stands take?"]),
        ("Isn't this person healthy?", ['"isn\'t"', "Is this movement impaired?"]),
        ("Who won the election?", ["'election'", "biomechgpt ask --help"]),
        ("Which walking aid is not used?", ["in two ways", "Which assistive device is used?"]),
        ("Is the healthy person impaired?", ["in two ways", "Is this movement impaired?"]),
        ("What is the functional reach test?", ["several ways", "How far did this person reach?"]),
        ("How far did this person walk?", ["leaves open", "How far did this person reach?"]),
        ("", ["leaves open"]),
        ("?!", ["leaves open"]),
        ("歩行速度は?", ["歩行速度は"]),
    ],
)
def test_a_refusal_names_the_words_in_the_way_and_the_nearest_questions(text, named) -> None:
    with pytest.raises(InputError) as refused:
        understand(text)
    assert repr(text) in str(refused.value) and "\n" not in str(refused.value)
    for part in named:
        assert part in str(refused.value)


def test_apostrophes_and_case_change_nothing() -> None:
    for text in (
        "What\N{RIGHT SINGLE QUOTATION MARK}s the patient\N{RIGHT SINGLE QUOTATION MARK}s GAIT speed",
        "what's the patient's gait speed??",
    ):
        assert reading(text) == "walking_speed"


def test_every_word_has_one_meaning_and_every_concept_is_used() -> None:
    lines = [line.split() for line in words._CONCEPTS.splitlines() if line]
    phrases = Counter(phrase for _, *phrases in lines for phrase in phrases)
    assert [phrase for phrase, count in phrases.items() if count > 1] == []
    concepts = {concept.removeprefix("-") for concept, *_ in lines}
    named = {word.rstrip("?") for texts in senses.SENSES.values() for text in texts for word in text.split()}
    named = {concept for group in named for concept in group.split("/")}
    named |= {concept for text in senses.MAY.values() for concept in text.split()} | senses.EVERYWHERE
    assert named == concepts - words.EMPTY - {words.NEGATION, "foreign"}


def test_every_question_can_be_asked_in_other_words_and_explained() -> None:
    assert set(senses.SENSES) == set(senses.MAY) == set(QUESTIONS)
    assert set(senses.EVENTS) == {name for name, question in QUESTIONS.items() if question.options == ("yes", "no")}
    reversible = {concept[1:] for concept in words.PHRASES.values() if concept.startswith("-")}
    numbers = {
        name
        for name, texts in senses.SENSES.items()
        if QUESTIONS[name].kind == "number" and reversible & set(" ".join(texts).replace("/", " ").split())
    }
    assert set(senses.SCALES) == numbers


@pytest.mark.parametrize("question", QUESTIONS.values(), ids=lambda question: question.name)
def test_the_short_phrasing_names_the_question_without_asking(question) -> None:
    assert len(question.short.split()) <= 6
    assert not {"how", "what", "which", "is", "does"} & set(question.short.lower().split())
