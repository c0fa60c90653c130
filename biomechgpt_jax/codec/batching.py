"""Movements of any length, padded to a few shapes so that few programs are compiled."""

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
    """The padded length of a sequence in frames.

    It doubles from 64 to 1024; beyond, where only features are computed, it is the next multiple of 1024.
    """
    return next((length for length in _LENGTHS if frames <= length), -(-frames // 1024) * 1024)


def batches(lengths: Sequence[int]) -> Iterator[tuple[list[int], int, int]]:
    """Distribute sequences over batches of one bucket each; empty sequences are left out.

    Yields:
        (indices of the sequences, rows of the batch, frames of the batch).
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
    """A part of a movement that is processed by itself.

    Attributes:
        movement: index of the movement.
        begin, end: frames of the movement that the piece spans.
        keep: frames of the piece whose result is kept; the others are context.
    """

    movement: int
    begin: int
    end: int
    keep: slice


def pieces(lengths: Sequence[int], reach: int) -> list[Piece]:
    """Cut movements that are longer than the longest bucket into overlapping pieces that fill it, in order.

    Args:
        lengths: frames of each movement; an empty movement has no piece.
        reach: number of frames on either side that the result of a frame depends on.

    Raises:
        InputError: the reach leaves nothing of a piece to keep.
    """
    longest = max(_LENGTHS)
    core = longest - 2 * reach
    if core <= 0:
        raise InputError(f"tokenizer: a network of this depth reaches {reach} frames, too far for pieces of {longest}")
    cut = []
    for movement, frames in enumerate(lengths):
        starts = range(0, frames, core) if frames > longest else range(min(frames, 1))
        for start in starts:
            end = min(start + core, frames) if frames > longest else frames
            first, last = max(0, start - reach), min(frames, end + reach)
            cut.append(Piece(movement, first, last, slice(start - first, end - first)))
    return cut


def pad_batch(
    movements: Sequence[np.ndarray], observed: Sequence[np.ndarray], lengths: Sequence[int], rows: int, frames: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """One batch: coordinates f32[rows, frames, 40], FEATURE masks bool[rows, 40], lengths i32[rows].

    Unobserved values become zero, NaN included.
    """
    q_BTC = np.zeros((rows, frames, COORDINATE_COUNT), np.float32)
    mask_BC = np.zeros((rows, COORDINATE_COUNT), bool)
    lengths_B = np.zeros(rows, np.int32)
    for row, (movement, seen, length) in enumerate(zip(movements, observed, lengths, strict=True)):
        q_BTC[row, :length] = np.where(seen, movement[:length], 0.0)
        mask_BC[row], lengths_B[row] = features_lib.feature_mask(seen), length
    return q_BTC, mask_BC, lengths_B


def features_of(movements: Sequence[np.ndarray], observed: Sequence[np.ndarray]) -> list[np.ndarray]:
    """Features f32[T_i, 40] of movements f32[T_i, 40] at 30 Hz with masks bool[40]; unobserved features are zero."""
    lengths = [len(movement) for movement in movements]
    result = [np.zeros((0, COORDINATE_COUNT), np.float32) for _ in movements]
    for chosen, rows, frames in batches(lengths):
        q_BTC, mask_BC, lengths_B = pad_batch(
            [movements[i] for i in chosen], [observed[i] for i in chosen], [lengths[i] for i in chosen], rows, frames
        )
        features_BTC = np.asarray(_features(q_BTC, length=lengths_B))
        for row, i in enumerate(chosen):
            result[i] = np.where(mask_BC[row], features_BTC[row, : lengths[i]], np.float32(0))
    return result


def movements_of(features: Sequence[np.ndarray], starts: Sequence[np.ndarray] | None) -> list[np.ndarray]:
    """Movements f32[T_i, 40] of features f32[T_i, 40] at 30 Hz; the path is integrated over the whole movement.

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
