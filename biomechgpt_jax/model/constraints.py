"""What an answer may be, as an automaton over tokens, so that decoding can only write one of the answers allowed.

Shapes: A states, F the most tokens that may follow a state.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from biomechgpt_jax.errors import InputError

NONE = -1  # fills the rows of states that fewer than F tokens may follow


@dataclass(frozen=True, eq=False)
class Automaton:
    """The tokens that may follow each state, and the state that each leads to; state 0 is the start.

    Attributes:
        tokens: i32[A, F] ids, NONE after the last.
        states: i32[A, F].
        longest: tokens of the longest answer, the end token included; 0 if there is no limit.
    """

    tokens: np.ndarray
    states: np.ndarray
    longest: int = 0


def one_of(answers: Sequence[Sequence[int]], end_id: int) -> Automaton:
    """Exactly one of these answers, then the end token.

    It is the smallest such automaton: the prefix tree of the answers, with those states merged that allow the same
    rest of an answer. The 1,801 answers from "0.0 s" to "180.0 s" need 11 states, a character being a token.

    Args:
        answers: ids of each answer, without the end token.
        end_id: the token that ends an answer.

    Raises:
        InputError: there is no answer, an empty one, or one that holds the end token.
    """
    if not answers:
        raise InputError("constraint: no answers; give at least one")
    tree: dict[int, Any] = {}
    for number, answer in enumerate(answers):
        if len(answer) == 0 or end_id in answer:
            raise InputError(f"constraint: answer {number} is empty or holds the end token {end_id}")
        node = tree
        for token in (*answer, end_id):
            node = node.setdefault(int(token), {})
    numbers: dict[tuple[tuple[int, int], ...], int] = {}  # edges of a state -> its number, from the last to the first

    def merge(node: dict[int, Any]) -> int:
        edges = tuple(sorted((token, merge(after) if after else NONE) for token, after in node.items()))
        return numbers.setdefault(edges, len(numbers))

    start = merge(tree)
    width = max(map(len, numbers))
    tokens, states = np.full((len(numbers), width), NONE, np.int32), np.zeros((len(numbers), width), np.int32)
    for edges, number in numbers.items():
        for column, (token, after) in enumerate(edges):
            tokens[start - number, column] = token
            states[start - number, column] = start - after if after != NONE else 0
    return Automaton(tokens, states, max(map(len, answers)) + 1)
