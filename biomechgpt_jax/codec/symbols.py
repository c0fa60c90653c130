"""Quantized spectra as a stream of symbols from a small alphabet, and spectra of any stream of symbols.

A movement is cut into blocks. The spectrum of a block of n frames has n rows, slowest first, with one integer per
feature. A row is written value by value up to its last nonzero one, and a block up to its last such row. Large values
are written as sums: `MORE` and `LESS` add and subtract LARGEST from the value that follows. The length of a block that
does not have the usual one is written before its end as a sum of powers of two. The slowest row of a block is written
as the difference from that of the block before. Every stream of symbols can be decoded, because all of this consists of
sums. Shapes: T frames, C features.
"""

import numpy as np

LARGEST = 8  # magnitude of the largest value of one symbol
CLIP = 4096  # magnitude that quantized values are clipped to
_LENGTH_BITS = 10
# The alphabet: values -8..8 (each advances by one feature), LESS and MORE, a row's end, a length's bits, a block's end.
ZERO = LARGEST
LESS, MORE = 2 * LARGEST + 1, 2 * LARGEST + 2
ROW = MORE + 1
_BIT = ROW + 1
END = _BIT + _LENGTH_BITS
COUNT = END + 1


def lengths(frames: int, block: int) -> np.ndarray:
    """Frames of each block of a movement, i64[n].

    The last block takes the remaining frames, from half a block to one and a half. A movement shorter than half a block
    is one block.
    """
    count = max((frames + block // 2) // block, 1) if frames else 0
    sizes = np.full(count, block)
    sizes[-1:] = frames - block * (count - 1)
    return sizes


def encode(spectra_TC: np.ndarray, block: int) -> np.ndarray:
    """Symbols i64[n] of the quantized spectra i64[T, C] of a movement, block after block; values lie within CLIP."""
    sizes = lengths(len(spectra_TC), block)
    if not len(sizes):
        return np.zeros(0, np.int64)
    first = np.cumsum(sizes) - sizes
    values_TC = spectra_TC.copy()
    values_TC[first[1:]] -= spectra_TC[first[:-1]]
    features = values_TC.shape[1]
    width_T = np.where(values_TC != 0, np.arange(1, features + 1), 0).max(axis=1)
    row_T = np.arange(len(values_TC)) - np.repeat(first, sizes)
    rows = np.maximum.reduceat(
        np.where(width_T > 0, row_T + 1, 0), first
    )  # of each block, up to its last with a nonzero value
    at_end_T = row_T == np.repeat(sizes, sizes) - 1
    kept_T = (row_T < np.repeat(rows, sizes)) | at_end_T
    more_T = (row_T < np.repeat(rows, sizes) - 1)[kept_T]
    values_TC, width_T, at_end_T = values_TC[kept_T], width_T[kept_T], at_end_T[kept_T]
    bits_nb = np.where(sizes[:, None] == block, 0, sizes[:, None] >> np.arange(_LENGTH_BITS) & 1)

    # One column per cell that may be written: the values, the row's end, the bits of the length, the block's end.
    extra_TC = np.maximum(np.abs(values_TC) - 1, 0) // LARGEST
    sign_TC = np.sign(values_TC)
    ones = np.ones((len(values_TC), 1), np.int64)
    symbol = np.concatenate(
        [values_TC - sign_TC * extra_TC * LARGEST + ZERO, np.arange(ROW, COUNT) * ones], axis=1
    ).ravel()
    times = np.zeros((len(values_TC), features + COUNT - ROW), np.int64)
    times[:, :features] = np.where(np.arange(features) < width_T[:, None], 1 + extra_TC, 0)
    times[:, features] = more_T
    times[at_end_T, features + 1 : -1] = bits_nb
    times[at_end_T, -1] = 1
    times = times.ravel()
    adds = np.concatenate([np.where(sign_TC > 0, MORE, LESS), ROW * np.ones((1, COUNT - ROW), np.int64) * ones], axis=1)
    cell = np.repeat(np.arange(len(times)), times)
    last = np.ones(len(cell), bool)
    last[:-1] = cell[1:] != cell[:-1]
    return np.where(last, symbol[cell], adds.ravel()[cell])


def decode(symbols: np.ndarray, block: int, features: int) -> tuple[np.ndarray, np.ndarray]:
    """Quantized spectra i64[T, C] and the length i64[n] of each block, from ANY symbols i64[m].

    Values beyond the end of a row or block are dropped, lengths are clipped to 1 .. one and a half blocks, and the end
    of the stream ends a block.
    """
    ends = symbols == END
    of_block = _count_before(ends)
    count = int(ends.sum()) + (len(symbols) > 0 and not ends[-1])
    bit = symbols - _BIT
    size = np.where((bit >= 0) & (bit < _LENGTH_BITS), 1 << np.clip(bit, 0, _LENGTH_BITS), 0)
    sizes = np.bincount(of_block, size, count).astype(np.int64)
    sizes = np.clip(np.where(sizes == 0, block, sizes), 1, block + (block + 1) // 2)
    row = _count_within(symbols == ROW, of_block)
    column = _count_within(symbols <= 2 * LARGEST, _count_before(ends | (symbols == ROW)))
    value = np.where(symbols <= 2 * LARGEST, symbols - ZERO, 0)
    value = value + LARGEST * ((symbols == MORE).astype(np.int64) - (symbols == LESS))
    first = np.cumsum(sizes) - sizes
    inside = (row < sizes[of_block]) & (column < features) if count else np.zeros(0, bool)
    spectra_TC = np.zeros((int(sizes.sum()), features), np.int64)
    np.add.at(spectra_TC, (first[of_block[inside]] + row[inside], column[inside]), value[inside])
    spectra_TC[first] = np.cumsum(spectra_TC[first], axis=0)
    return np.clip(spectra_TC, -CLIP, CLIP), sizes


def _count_before(marks: np.ndarray) -> np.ndarray:
    """The number of marks bool[m] before each position, i64[m]."""
    return np.cumsum(marks) - marks


def _count_within(marks: np.ndarray, part: np.ndarray) -> np.ndarray:
    """The number of marks bool[m] before each position in its own part, i64[m]; the part numbers i64[m] ascend."""
    before = _count_before(marks)
    starts = np.searchsorted(part, part, side="left")
    return before - before[starts]
