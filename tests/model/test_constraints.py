"""What automata let through, against all strings of a small alphabet."""

import itertools
import re

import numpy as np
import pytest

from biomechgpt_jax.errors import InputError
from biomechgpt_jax.model import constraints

END, POINT, MINUS, UNIT = 10, 11, 12, 13  # 0..9 are digits
LETTERS = {END: "$", POINT: ".", MINUS: "-", UNIT: "m"} | {digit: str(digit) for digit in range(10)}


def accepts(automaton: constraints.Automaton, tokens: list[int]) -> bool:
    state = 0
    for token in tokens:
        edges = list(automaton.tokens[state])
        if token not in edges:
            return False
        state = automaton.states[state][edges.index(token)]
    return True


@pytest.mark.parametrize(
    ("given", "pattern"),
    [
        ({"whole": 2}, r"\d{1,2}\$"),
        ({"whole": 2, "decimals": 1, "point": POINT}, r"\d{1,2}\.\d\$"),
        ({"whole": 1, "signs": [MINUS], "suffix": [UNIT]}, r"-?\dm\$"),
        ({"whole": 1, "decimals": 2, "point": POINT, "signs": [MINUS]}, r"-?\d\.\d\d\$"),
    ],
)
def test_a_number_is_what_its_pattern_says(given, pattern):
    automaton = constraints.number([1, 2], END, **given)
    longest = 0
    for count in range(1, 7):
        for tokens in itertools.product([1, 2, END, POINT, MINUS, UNIT], repeat=count):
            if END in tokens[:-1] or tokens[-1] != END:
                continue
            matches = re.fullmatch(pattern, "".join(LETTERS[token] for token in tokens)) is not None
            assert accepts(automaton, list(tokens)) == matches, tokens
            longest = max(longest, count * matches)
    assert automaton.longest == longest


def test_options_share_their_beginnings():
    automaton = constraints.options([[1, 2], [1, 2, 3], [4]], END)
    whole = [tokens for n in range(1, 5) for tokens in itertools.product([1, 2, 3, 4, END], repeat=n)]
    found = {t for t in whole if END not in t[:-1] and t[-1] == END and accepts(automaton, list(t))}
    assert found == {(1, 2, END), (1, 2, 3, END), (4, END)}
    assert len(automaton.tokens) == 5 and automaton.longest == 4


def test_any_tokens():
    automaton = constraints.tokens(np.array([5, 3, 3]))
    assert automaton.tokens.tolist() == [[3, 5]] and automaton.states.tolist() == [[0, 0]] and automaton.longest == 0


def test_impossible_constraints_are_refused():
    with pytest.raises(InputError, match="no options"):
        constraints.options([], END)
    with pytest.raises(InputError, match="option 1 is empty"):
        constraints.options([[1], [2, END]], END)
    with pytest.raises(InputError, match="no token"):
        constraints.tokens([])
    with pytest.raises(InputError, match="point"):
        constraints.number([1], END, decimals=1)
    with pytest.raises(InputError, match="different tokens"):
        constraints.number([1, 2], END, suffix=[2])
