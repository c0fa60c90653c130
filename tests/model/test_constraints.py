"""What automata let through, against the list of answers they were made of."""

import itertools

import numpy as np
import pytest

from biomechgpt_jax.errors import InputError
from biomechgpt_jax.model import constraints

END = 0


def language(automaton: constraints.Automaton, longest: int) -> set[tuple[int, ...]]:
    """Every answer of at most so many tokens that an automaton accepts, by walking all of its paths."""
    accepted, paths = set(), [((), 0)]
    for _ in range(longest):
        grown = []
        for tokens, state in paths:
            for token, after in zip(automaton.tokens[state], automaton.states[state], strict=True):
                if token == END:
                    accepted.add(tokens)
                elif token != constraints.NONE:
                    grown.append(((*tokens, int(token)), int(after)))
        paths = grown
    return accepted


def test_one_of_accepts_its_answers_and_nothing_else() -> None:
    random = np.random.default_rng(0)
    everything = [tokens for count in range(1, 5) for tokens in itertools.product((1, 2, 3), repeat=count)]
    for count in (1, 2, 5, 40, len(everything)):
        answers = [everything[i] for i in random.choice(len(everything), count, replace=False)]
        automaton = constraints.one_of(answers, END)
        assert language(automaton, 6) == set(answers)
        assert automaton.longest == max(map(len, answers)) + 1
        # Minimal: no two states allow the same rest of an answer.
        edges = [tuple(zip(*row, strict=True)) for row in zip(automaton.tokens, automaton.states, strict=True)]
        assert len(set(edges)) == len(edges)


def test_the_numbers_of_a_range_need_few_states() -> None:
    texts = [f"{number / 10:.1f} s" for number in range(1801)]
    automaton = constraints.one_of([list(text.encode()) for text in texts], END)
    assert language(automaton, 8) == {tuple(text.encode()) for text in texts}
    assert len(automaton.tokens) == 11


def test_impossible_constraints_are_refused() -> None:
    with pytest.raises(InputError, match="no answers"):
        constraints.one_of([], END)
    with pytest.raises(InputError, match="answer 1 is empty"):
        constraints.one_of([[1], [2, END]], END)
