"""What an answer may be: automata over tokens, so that decoding can only write an option, a number or given tokens.

Shapes: A states, F the most tokens that may follow a state.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from biomechgpt_jax.errors import InputError

NONE = -1  # fills the rows of states that fewer than F tokens may follow


@dataclass(frozen=True, eq=False)
class Automaton:
    """From each state the tokens that may follow, and the state that each leads to; state 0 is the start.

    Attributes:
        tokens: i32[A, F] ids, NONE after the last.
        states: i32[A, F].
        longest: tokens of the longest answer, the end token included; 0 where there is no longest.
    """

    tokens: np.ndarray
    states: np.ndarray
    longest: int = 0


def _automaton(following: Sequence[dict[int, int]], longest: int) -> Automaton:
    """An automaton of dicts from token to next state."""
    most = max(len(edges) for edges in following)
    tokens, states = np.full((len(following), most), NONE, np.int32), np.zeros((len(following), most), np.int32)
    for state, edges in enumerate(following):
        tokens[state, : len(edges)] = list(edges)
        states[state, : len(edges)] = list(edges.values())
    return Automaton(tokens, states, longest)


def tokens(ids: Iterable[int]) -> Automaton:
    """Any sequence of these ids; let them hold the end token.

    Raises:
        InputError: there is none.
    """
    edges = dict.fromkeys(sorted({int(one) for one in ids}), 0)
    if not edges:
        raise InputError("constraint: no token is allowed; allow at least the end token")
    return _automaton([edges], 0)


def options(answers: Sequence[Sequence[int]], end_id: int) -> Automaton:
    """Exactly one of these answers, then the end token: the prefix tree of their ids.

    Args:
        answers: ids of each answer, without the end token.
        end_id: the token that ends an answer.

    Raises:
        InputError: there is no answer, an empty one, or one that holds the end token.
    """
    if not answers:
        raise InputError("constraint: no options; give at least one")
    following: list[dict[int, int]] = [{}]
    for number, answer in enumerate(answers):
        if len(answer) == 0 or end_id in answer:
            raise InputError(f"constraint: option {number} is empty or holds the end token {end_id}")
        state = 0
        for token in map(int, answer):
            if token not in following[state]:
                following.append({})
                following[state][token] = len(following) - 1
            state = following[state][token]
        following[state][end_id] = 0
    return _automaton(following, max(len(answer) for answer in answers) + 1)


def number(
    digits: Sequence[int],
    end_id: int,
    whole: int = 4,
    decimals: int = 0,
    point: int = NONE,
    signs: Sequence[int] = (),
    suffix: Sequence[int] = (),
) -> Automaton:
    """A decimal number as answers write it: perhaps a sign, digits, a point and so many digits, a suffix, the end.

    Args:
        digits: ids of the pieces that are digits.
        end_id: the token that ends an answer.
        whole: at most so many digits before the point.
        decimals: digits after it; 0: no point either.
        point: id of the decimal point, where there are decimals.
        signs: ids that may stand first.
        suffix: ids of what follows the number, such as a unit.

    Raises:
        InputError: no digits, fewer than one whole digit, decimals without a point, or a token with two meanings.
    """
    if not digits or whole < 1 or decimals < 0 or (decimals > 0 and point < 0):
        raise InputError(
            f"constraint: a number needs digits ({len(digits)} given), at least one before the point ({whole}) and the "
            f"id of the point ({point}) where it has decimals ({decimals})"
        )
    rest: list[list[int]] = [[point], *([list(digits)] * decimals)] if decimals else []
    rest += [[token] for token in (*suffix, end_id)]
    if {*rest[0], *signs} & {*digits} or rest[0][0] in signs:
        raise InputError("constraint: signs, digits and what follows a number must be different tokens")
    # States: 0 the start, 1..whole after so many digits, then one after each token of the rest but the end.
    after = [*range(whole + 1, whole + len(rest)), 0]
    following = [dict.fromkeys(digits, 1)]
    for count in range(1, whole + 1):
        more = dict.fromkeys(digits, count + 1) if count < whole else {}
        following.append(more | dict.fromkeys(rest[0], after[0]))
    following += [dict.fromkeys(choices, state) for choices, state in zip(rest[1:], after[1:], strict=True)]
    if signs:
        following.append(dict.fromkeys(digits, 1))
        following[0] |= dict.fromkeys(signs, len(following) - 1)
    return _automaton(following, bool(signs) + whole + len(rest))
