"""Movements of any length in a few padded shapes, so that few programs are compiled."""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import jax
import numpy as np

from biomechgpt_jax.biomechanics import features as features_lib
from biomechgpt_jax.biomechanics.skeleton import COORDINATE_COUNT
from biomechgpt_jax.errors import InputError

_LENGTHS = (64, 128, 256, 512, 1024)
_ROWS = (1, 4, 16, 64)
_FRAMES_AT_ONCE = 32 * 1024  # bounds the memory of one batch

_features = jax.jit(features_lib.features)
_coordinates = jax.jit(features_lib.coordinates_from_features)


def bucket(frames: int) -> int:
    """The padded length in frames: 64 to 1024 by doubling, then multiples of 1024 (only features are that long)."""
    return next((length for length in _LENGTHS if frames <= length), -(-frames // 1024) * 1024)


def batches(lengths: Sequence[int]) -> Iterator[tuple[list[int], int, int]]:
    """Share sequences out to batches of one bucket each; empty sequences are left out.

    Yields: (numbers of the sequences, rows of the batch, frames of the batch).
    """
    by_bucket: dict[int, list[int]] = {}
    for i, frames in enumerate(lengths):
        if frames:
            by_bucket.setdefault(bucket(frames), []).append(i)
    for frames, members in sorted(by_bucket.items()):
        most = max(rows for rows in _ROWS if rows == 1 or rows * frames <= _FRAMES_AT_ONCE)
        for first in range(0, len(members), most):
            chosen = members[first : first + most]
            yield chosen, next(rows for rows in _ROWS if rows >= len(chosen)), frames


class Piece(NamedTuple):
    """Part of a movement that is worked on by itself, and the part of that which is kept; in frames."""

    movement: int
    begin: int
    end: int
    keep: slice


def pieces(lengths: Sequence[int], reach: int) -> list[Piece]:
    """Cut movements longer than the longest bucket into overlapping pieces that fill it, in order.

    Args:
        lengths: frames of each movement; empty ones have no piece.
        reach: frames that a kept frame depends on, on either side.
    """
    longest = max(_LENGTHS)
    core = longest - 2 * reach
    if core <= 0:
        raise InputError(f"tokenizer: a network of this depth reaches {reach} frames, too far for pieces of {longest}")
    found = []
    for movement, frames in enumerate(lengths):
        starts = range(0, frames, core) if frames > longest else range(min(frames, 1))
        for start in starts:
            end = min(start + core, frames) if frames > longest else frames
            first, last = max(0, start - reach), min(frames, end + reach)
            found.append(Piece(movement, first, last, slice(start - first, end - first)))
    return found


def padded(
    movements: Sequence[np.ndarray], observed: Sequence[np.ndarray], lengths: Sequence[int], rows: int, frames: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """One batch: coordinates f32[rows, frames, 40], FEATURE masks bool[rows, 40], lengths i32[rows].

    Values that were not observed become zero whatever they are, NaN included.
    """
    q_BTC = np.zeros((rows, frames, COORDINATE_COUNT), np.float32)
    mask_BC = np.zeros((rows, COORDINATE_COUNT), bool)
    lengths_B = np.zeros(rows, np.int32)
    for row, (movement, seen, length) in enumerate(zip(movements, observed, lengths, strict=True)):
        q_BTC[row, :length] = np.where(seen, movement[:length], 0.0)
        mask_BC[row], lengths_B[row] = features_lib.feature_mask(seen), length
    return q_BTC, mask_BC, lengths_B


def features_of(movements: Sequence[np.ndarray], observed: Sequence[np.ndarray]) -> list[np.ndarray]:
    """Features f32[T_i, 40] of movements f32[T_i, 40] at 30 Hz with masks bool[40]; zero where they have none."""
    lengths = [len(movement) for movement in movements]
    result = [np.zeros((0, COORDINATE_COUNT), np.float32) for _ in movements]
    for chosen, rows, frames in batches(lengths):
        q_BTC, mask_BC, lengths_B = padded(
            [movements[i] for i in chosen], [observed[i] for i in chosen], [lengths[i] for i in chosen], rows, frames
        )
        found_BTC = np.asarray(_features(q_BTC, length=lengths_B))
        for row, i in enumerate(chosen):
            result[i] = np.where(mask_BC[row], found_BTC[row, : lengths[i]], np.float32(0))
    return result


def movements_of(features: Sequence[np.ndarray], starts: Sequence[np.ndarray] | None) -> list[np.ndarray]:
    """Movements f32[T_i, 40] of features f32[T_i, 40] at 30 Hz: the path is summed over the whole movement.

    Args:
        starts: world x, z (metres) and heading (radians) of each first frame; if absent, the origin, facing forward.
    """
    movements = [np.zeros((0, COORDINATE_COUNT), np.float32) for _ in features]
    for chosen, rows, frames in batches([len(movement) for movement in features]):
        features_BTC = np.zeros((rows, frames, COORDINATE_COUNT), np.float32)
        starts_B = np.zeros((rows, 3), np.float32)
        for row, i in enumerate(chosen):
            features_BTC[row, : len(features[i])] = features[i]
            if starts is not None:
                starts_B[row] = starts[i]
        q_BTC = np.asarray(_coordinates(features_BTC, starts_B))
        for row, i in enumerate(chosen):
            movements[i] = q_BTC[row, : len(features[i])]
    return movements
