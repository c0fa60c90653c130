"""Lay movements with their questions into rows of fixed length, by best fit."""

from bisect import bisect_left, insort
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

ARRAYS = ("tokens", "positions", "segments", "branches", "loss_weights")


@dataclass(frozen=True)
class Branch:
    """A question with its answer; `answer_start` is the index of the answer's first token."""

    tokens: np.ndarray
    answer_start: int


@dataclass(frozen=True)
class Item:
    """One movement (its trunk may be empty, for the text-only control) with its branches: never split."""

    trunk: np.ndarray
    branches: tuple[Branch, ...]

    @property
    def length(self) -> int:
        return len(self.trunk) + sum(len(branch.tokens) for branch in self.branches)


def assign(lengths: Sequence[int], row_length: int) -> list[list[int]]:
    """Best fit, longest first: indices of the items of each row. O(n log n).

    Raises:
        ValueError: an item is longer than a row.
    """
    rows: list[list[int]] = []
    room: list[tuple[int, int]] = []  # (free tokens, row), sorted
    for index in sorted(range(len(lengths)), key=lambda i: (-lengths[i], i)):
        length = lengths[index]
        if length > row_length:
            raise ValueError(f"item {index} has {length} tokens, a row {row_length}")
        at = bisect_left(room, (length, -1))
        if at == len(room):
            rows.append([index])
            free, row = row_length - length, len(rows) - 1
        else:
            free, row = room.pop(at)
            rows[row].append(index)
            free -= length
        if free:
            insort(room, (free, row))
    return rows


def lay_out(items: Sequence[Item], row_length: int, pad: int) -> dict[str, np.ndarray]:
    """One row: tokens, positions, segments, branches i32[L] and loss_weights f32[L].

    A trunk has positions from 0 and branch 0; each of its branches goes on from the trunk's end. Loss weight is
    1 on the tokens of an answer and its end, as targets, and 0 elsewhere. Segment 0 is padding.
    """
    row = {name: np.zeros(row_length, np.int32) for name in ARRAYS[:-1]}
    row["tokens"][:] = pad
    row["loss_weights"] = np.zeros(row_length, np.float32)
    at = 0
    for segment, item in enumerate(items, 1):
        trunk = len(item.trunk)
        parts = [(item.trunk, 0, trunk, 0)]
        parts += [(b.tokens, trunk, b.answer_start, number) for number, b in enumerate(item.branches, 1)]
        for tokens, start, answer, branch in parts:
            cells = slice(at, at + len(tokens))
            row["tokens"][cells] = tokens
            row["positions"][cells] = start + np.arange(len(tokens))
            row["segments"][cells] = segment
            row["branches"][cells] = branch
            if branch:
                row["loss_weights"][at + answer : at + len(tokens)] = 1.0
            at += len(tokens)
    return row
