"""Lay movements with their questions into rows of fixed length."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

ARRAYS = ("tokens", "positions", "segments", "branches", "families", "loss_weights")
# A motion token of several codes has its first in `tokens` and the others in `codes_1`, `codes_2` ...
NO_CODE = -1


class VocabularyLike(Protocol):
    """What laying out a movement asks of the joint vocabulary."""

    @property
    def trunk(self) -> int: ...
    def motion(self, codes: np.ndarray) -> np.ndarray: ...


def arrays(layers: int) -> tuple[str, ...]:
    """Names of the arrays of a row whose motion tokens have so many codes."""
    return (*ARRAYS, *(f"codes_{layer}" for layer in range(1, layers)))


def trunk(vocabulary: VocabularyLike, codes: np.ndarray) -> np.ndarray:
    """Ids i32[n + 1, Q] of a movement's codes i32[n, Q], after the token that begins a movement."""
    ids = vocabulary.motion(codes)
    begin = np.full((1, ids.shape[1]), NO_CODE)
    begin[0, 0] = vocabulary.trunk
    return np.concatenate([begin, ids]).astype(np.int32)


def after(trunk: np.ndarray, text: np.ndarray) -> np.ndarray:
    """A movement and a text in one sequence: ids i32[n + m, Q] of i32[n, Q] and i32[m]."""
    written = np.full((len(text), trunk.shape[1]), NO_CODE)
    written[:, 0] = text
    return np.concatenate([trunk, written]).astype(np.int32)


@dataclass(frozen=True, slots=True)
class Branch:
    """A question with its answer.

    Attributes:
        tokens: i32[n].
        answer_start: index of the answer's first token.
        family: 1 + the index of the question's family in a list that is kept elsewhere; 0: of none.
    """

    tokens: np.ndarray
    answer_start: int
    family: int = 0


@dataclass(frozen=True, slots=True)
class Item:
    """One movement, ids i32[n, Q] (none for the text-only control), with its branches: never split."""

    trunk: np.ndarray
    branches: tuple[Branch, ...]

    @property
    def length(self) -> int:
        return len(self.trunk) + sum(len(branch.tokens) for branch in self.branches)


def assign(lengths: Sequence[int], row_length: int) -> list[list[int]]:
    """Indices of the items of each row: the longest item left, then whatever fills the rest of the row best.

    The rest is filled by the item or the pair of items that leaves least free, which fills rows of a few items one
    percent better than best fit, longest first. O(row_length) per item.

    Raises:
        ValueError: an item is longer than a row.
    """
    waiting: list[list[int]] = [[] for _ in range(row_length + 1)]  # items by length, the first one last
    for index in range(len(lengths) - 1, -1, -1):
        if lengths[index] > row_length:
            raise ValueError(f"item {index} has {lengths[index]} tokens, a row {row_length}")
        waiting[lengths[index]].append(index)
    count = np.array([len(items) for items in waiting])
    rows: list[list[int]] = []
    while (kinds := np.flatnonzero(count)).size:
        chosen, free = [int(kinds[-1])], row_length - int(kinds[-1])
        count[chosen[0]] -= 1
        while found := _best(count[: free + 1], free):
            chosen += found
            free -= sum(found)
            for length in found:
                count[length] -= 1
        rows.append([waiting[length].pop() for length in chosen])
    return rows


def _best(count: np.ndarray, free: int) -> list[int]:
    """Lengths of the one or two items to put into `free` tokens, given how many there are of each length up to it."""
    kinds = np.flatnonzero(count)
    if not kinds.size:
        return []
    longest, shortest = int(kinds[-1]), int(kinds[0])
    if longest == free or free < 2 * shortest:
        return [longest]
    # For each length, the longest one that still fits beside it; not itself if there is only one of it.
    at = np.searchsorted(kinds, free - kinds, side="right") - 1
    other = np.where(at >= 0, kinds[at], 0)
    other = np.where((other == kinds) & (count[kinds] < 2), 0, other)
    total = np.where(other > 0, kinds + other, 0)
    pair = len(total) - 1 - int(np.argmax(total[::-1]))
    # A pair that does not fill the row stands back where the longest item leaves room for yet another.
    if total[pair] > longest and (total[pair] == free or free - longest < shortest):
        return [int(kinds[pair]), int(other[pair])]
    return [longest]


def lay_out(items: Sequence[Item], row_length: int, pad: int, layers: int = 1) -> dict[str, np.ndarray]:
    """One row: tokens, positions, segments, branches, families i32[L], loss_weights f32[L], further codes i32[L].

    A trunk has positions from 0, branch 0 and family 0; each of its branches goes on from the trunk's end and has its
    family on all of its tokens. Loss weight is 1 on the tokens of an answer and its end, as targets, and 0 elsewhere.
    Segment 0 is padding.
    """
    row = {name: np.zeros(row_length, np.int32) for name in ARRAYS}
    row["tokens"][:] = pad
    row["loss_weights"] = np.zeros(row_length, np.float32)
    deeper = np.full((layers - 1, row_length), NO_CODE, np.int32)
    at = 0
    for segment, item in enumerate(items, 1):
        trunk = len(item.trunk)
        deeper[:, at : at + trunk] = item.trunk[:, 1:].T
        parts = [(item.trunk[:, 0], 0, trunk, 0, 0)]
        parts += [(b.tokens, trunk, b.answer_start, number, b.family) for number, b in enumerate(item.branches, 1)]
        for tokens, start, answer, branch, family in parts:
            cells = slice(at, at + len(tokens))
            row["tokens"][cells] = tokens
            row["positions"][cells] = start + np.arange(len(tokens))
            row["segments"][cells] = segment
            row["branches"][cells] = branch
            row["families"][cells] = family
            if branch:
                row["loss_weights"][at + answer : at + len(tokens)] = 1.0
            at += len(tokens)
    return row | {f"codes_{layer}": codes for layer, codes in enumerate(deeper, 1)}
