"""Lay movements with their questions into rows of fixed length."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from biomechgpt_jax.tokenizer import prompt
from biomechgpt_jax.tokenizer.prompt import NO_CODE
from biomechgpt_jax.tokenizer.vocabulary import Vocabulary

# A motion token of several codes has its first in `tokens` and the others in `codes_1`, `codes_2` ...
ARRAYS = ("tokens", "positions", "segments", "branches", "families", "loss_weights")


def array_names(layers: int) -> tuple[str, ...]:
    """Names of the arrays of a row whose motion tokens have `layers` codes each."""
    return (*ARRAYS, *(f"codes_{layer}" for layer in range(1, layers)))


@dataclass(frozen=True, slots=True)
class Branch:
    """A question with its answer.

    Attributes:
        tokens: i32[n] ids of both.
        answer_start: index of the answer's first token.
        family: name of the question's family; empty if it has none.
    """

    tokens: np.ndarray
    answer_start: int
    family: str = ""


def make_branch(vocabulary: Vocabulary, phrasing: str, answer: str, family: str = "") -> Branch:
    """The branch of a question with an answer, laid out as `tokenizer.prompt` says."""
    question_ids, answer_ids = prompt.question(vocabulary, phrasing), prompt.answer(vocabulary, answer)
    return Branch(np.concatenate([question_ids, answer_ids]), len(question_ids), family)


@dataclass(frozen=True, slots=True)
class Item:
    """One movement with its branches, which stay together in one row.

    Attributes:
        trunk: i32[n, Q] ids; n is 0 for the text-only control.
    """

    trunk: np.ndarray
    branches: tuple[Branch, ...]

    @property
    def length(self) -> int:
        return len(self.trunk) + sum(len(branch.tokens) for branch in self.branches)


def assign_rows(lengths: Sequence[int], row_length: int) -> list[list[int]]:
    """Choose the items of each row: the longest item left, then repeatedly those that fill the rest of the row best.

    The rest is filled by the one item, or the pair of items, that leaves the least space free. This fills rows of a few
    items one percent better than best-fit decreasing. O(row_length) per item.

    Returns:
        Indices of the items of each row.

    Raises:
        ValueError: an item is longer than a row.
    """
    waiting: list[list[int]] = [[] for _ in range(row_length + 1)]  # indices by length, the first item last
    for index in range(len(lengths) - 1, -1, -1):
        if lengths[index] > row_length:
            raise ValueError(f"item {index} has {lengths[index]} tokens, a row {row_length}")
        waiting[lengths[index]].append(index)
    count = np.array([len(items) for items in waiting])
    rows: list[list[int]] = []
    while (present := np.flatnonzero(count)).size:
        chosen, free = [int(present[-1])], row_length - int(present[-1])
        count[chosen[0]] -= 1
        while fitting := _choose_fitting(count[: free + 1], free):
            chosen += fitting
            free -= sum(fitting)
            for length in fitting:
                count[length] -= 1
        rows.append([waiting[length].pop() for length in chosen])
    return rows


def _choose_fitting(count: np.ndarray, free: int) -> list[int]:
    """Lengths of the one or two items to put into `free` tokens, given how many items of each length there are."""
    present = np.flatnonzero(count)
    if not present.size:
        return []
    longest, shortest = int(present[-1]), int(present[0])
    if longest == free or free < 2 * shortest:
        return [longest]
    # For each length, the longest one that still fits beside it; not itself if there is only one such item.
    at = np.searchsorted(present, free - present, side="right") - 1
    partner = np.where(at >= 0, present[at], 0)
    partner = np.where((partner == present) & (count[present] < 2), 0, partner)
    total = np.where(partner > 0, present + partner, 0)
    pair = len(total) - 1 - int(np.argmax(total[::-1]))
    # A pair that does not fill the row is passed over where the longest item leaves room for yet another one.
    if total[pair] > longest and (total[pair] == free or free - longest < shortest):
        return [int(present[pair]), int(partner[pair])]
    return [longest]


def lay_out_row(
    items: Sequence[Item], row_length: int, pad: int, layers: int = 1, families: Sequence[str] = ()
) -> dict[str, np.ndarray]:
    """One row: tokens, positions, segments, branches, families i32[L], loss_weights f32[L], further codes i32[L].

    A trunk has positions from 0, branch 0 and family 0. Each of its branches continues from the trunk's end and has the
    number of its family on all of its tokens. The loss weight is 1 on the tokens of an answer and its end, as targets,
    and 0 elsewhere. Segment 0 is padding.

    Args:
        items: of the row; together they fit.
        pad: id of padding.
        layers: codes of a motion token.
        families: names of families; the array `families` counts them from 1, and 0 is a branch of none.
    """
    number_of = {"": 0} | {name: number for number, name in enumerate(families, 1)}
    row = {name: np.zeros(row_length, np.int32) for name in ARRAYS}
    row["tokens"][:] = pad
    row["loss_weights"] = np.zeros(row_length, np.float32)
    further = np.full((layers - 1, row_length), NO_CODE, np.int32)
    at = 0
    for segment, item in enumerate(items, 1):
        trunk = len(item.trunk)
        further[:, at : at + trunk] = item.trunk[:, 1:].T
        parts = [(item.trunk[:, 0], 0, trunk, 0, 0)]
        parts += [
            (branch.tokens, trunk, branch.answer_start, number, number_of[branch.family])
            for number, branch in enumerate(item.branches, 1)
        ]
        for tokens, start, answer, number, family in parts:
            cells = slice(at, at + len(tokens))
            row["tokens"][cells] = tokens
            row["positions"][cells] = start + np.arange(len(tokens))
            row["segments"][cells] = segment
            row["branches"][cells] = number
            row["families"][cells] = family
            if number:
                row["loss_weights"][at + answer : at + len(tokens)] = 1.0
            at += len(tokens)
    return row | {f"codes_{layer}": codes for layer, codes in enumerate(further, 1)}
