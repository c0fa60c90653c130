"""Plain features of a movement: what one would compute from it before trusting a network.

From the heading-invariant features of `biomechanics.features`: moments, quantiles, speed and power by frequency band of
every coordinate (sway below 1 Hz, strides and steps, tremor from 4 to 7 Hz), differences and lags between left and
right, frequency and regularity of the cyclic coordinates, the speed of the pelvis, the rises of the pelvis, and
durations. None is fitted to a question, and their mirror image is the same movement: what left and right share is
described by mean and difference, so that a weakness counts the same on either side.

Shapes: B crops, T frames, C = 40 features, P = 14 pairs of left and right, S cyclic signals, F frequencies.
"""

from collections.abc import Sequence

import numpy as np
from scipy import fft

from biomechgpt_jax.biomechanics.features import (
    FEATURES,
    FORWARD,
    HEIGHT,
    LIST,
    RIGHTWARD,
    TILT,
    YAW_RATE,
    feature_mask,
)
from biomechgpt_jax.biomechanics.skeleton import COORDINATE_COUNT
from biomechgpt_jax.codec import batching
from biomechgpt_jax.config import CANONICAL_RATE_HZ

_BATCH = 32  # crops that are described together
_LENGTHS = 128  # padded lengths are multiples of this many frames
_SMOOTH_S = 0.2  # moving average before a speed is measured
_PATH_S = 0.5  # moving average before the path of the pelvis is measured
_MOST_LAG_S = 1.2  # between the sides
_QUANTILES = (0.05, 0.95)
# Bands in Hz: drift, sway and strides, steps, fast steps, tremor, noise.
_BANDS = ((0.0, 0.4), (0.4, 1.2), (1.2, 2.4), (2.4, 4.0), (4.0, 7.0), (7.0, 15.0))
_CYCLE_HZ = (0.25, 4.0)  # where the cycle of walking, rising or squatting is looked for
_RIGHT = np.array([i for i, name in enumerate(FEATURES) if name.endswith("_r")])
_LEFT = np.array([FEATURES.index(f"{FEATURES[i][:-2]}_l") for i in _RIGHT])
_MIDLINE = np.setdiff1d(np.arange(COORDINATE_COUNT), [*_RIGHT, *_LEFT])
# Features whose sign the mirror changes: only the size of their mean, and their range, belong to a person.
_FLIPPED = np.isin(
    np.arange(COORDINATE_COUNT),
    [
        RIGHTWARD,
        LIST,
        YAW_RATE,
        *(i for i, n in enumerate(FEATURES) if n.startswith(("lumbar_b", "lumbar_r", "neck_b", "neck_r"))),
    ],
)
_CYCLIC = ("hip_flexion", "knee_angle", "ankle_angle", "arm_flex", "elbow_flex")
_CYCLIC_R = np.array([FEATURES.index(f"{name}_r") for name in _CYCLIC])
_CYCLIC_L = np.array([FEATURES.index(f"{name}_l") for name in _CYCLIC])
_CYCLIC_MIDLINE = np.array([HEIGHT, FORWARD, TILT, LIST])
_TINY = 1e-6
_SHORTEST = 20  # frames; a shorter crop has no plain features


def _live(frames: int, lengths_B: np.ndarray) -> np.ndarray:
    """Which of the padded frames belong to a crop, f32[B, T] of zeros and ones."""
    return (np.arange(frames) < lengths_B[:, None]).astype(np.float32)


def _smooth(x_BTX: np.ndarray, lengths_B: np.ndarray, seconds: float) -> tuple[np.ndarray, np.ndarray]:
    """Moving average over `seconds`, and how many frames of each crop have one."""
    width = round(seconds * CANONICAL_RATE_HZ)
    frames = x_BTX.shape[1] - width + 1
    total = x_BTX[:, :frames].copy()
    for shift in range(1, width):
        total += x_BTX[:, shift : shift + frames]
    total /= width
    return total, lengths_B - width + 1


def _mean(x_BTX: np.ndarray, live_BT: np.ndarray) -> np.ndarray:
    return np.einsum("btx,bt->bx", x_BTX, live_BT) / live_BT.sum(1)[:, None]


def _mean_product(x_BTX: np.ndarray, y_BTX: np.ndarray, live_BT: np.ndarray) -> np.ndarray:
    return np.einsum("btx,btx,bt->bx", x_BTX, y_BTX, live_BT) / live_BT.sum(1)[:, None]


def _quantiles(x_BTX: np.ndarray, live_BT: np.ndarray) -> np.ndarray:
    """Nearest-rank quantiles, f32[Q, B, X]."""
    x_BXT = np.ascontiguousarray(x_BTX.transpose(0, 2, 1))
    np.copyto(x_BXT, np.inf, where=live_BT[:, None] == 0)
    x_BXT.sort(axis=-1)
    ranks_QB = np.round(np.multiply.outer(_QUANTILES, live_BT.sum(1) - 1)).astype(int)
    return np.stack([np.take_along_axis(x_BXT, r[:, None, None], -1)[..., 0] for r in ranks_QB])


def _peak(values_BSN: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Place of the largest value along the last axis, refined by a parabola, and its height: f32[B, S] each."""
    top = np.clip(values_BSN.argmax(-1), 1, values_BSN.shape[-1] - 2)[..., None]
    a, b, c = (np.take_along_axis(values_BSN, top + i, -1)[..., 0] for i in (-1, 0, 1))
    with np.errstate(invalid="ignore", divide="ignore"):
        bend = a - 2 * b + c
        shift = np.where(np.isfinite(bend) & (bend < 0), 0.5 * (a - c) / bend, 0.0)
    return top[..., 0] + np.clip(np.nan_to_num(shift), -1, 1), b


def _power(spectrum_BXF: np.ndarray) -> np.ndarray:
    return spectrum_BXF.real**2 + spectrum_BXF.imag**2


def _band_powers(c_BCT: np.ndarray, lengths_B: np.ndarray) -> np.ndarray:
    """Logarithm of the power in each of `_BANDS`, f32[N, B, C], of features about their mean."""
    size = fft.next_fast_len(c_BCT.shape[-1], real=True)
    power_BCF = _power(fft.rfft(c_BCT, size, axis=-1))
    edges = np.searchsorted(np.fft.rfftfreq(size, 1.0 / CANONICAL_RATE_HZ), [low for low, _ in _BANDS])
    power_BCN = np.add.reduceat(power_BCF, edges, axis=-1) * (2.0 / size) / lengths_B[:, None, None]
    return np.log(power_BCN + 1e-9).transpose(2, 0, 1)


def _cycles(signal_BST: np.ndarray, pairs: int, lengths_B: np.ndarray) -> list[np.ndarray]:
    """How cyclic signals repeat, and the lag between the sides, f32[B, ...] each.

    Args:
        signal_BST: the right, then the left side of `pairs` signals, then others; zero about their mean.
    """
    size = fft.next_fast_len(2 * signal_BST.shape[-1], real=True)
    spectrum_BSF = fft.rfft(signal_BST, size, axis=-1)
    right, left, other = (
        spectrum_BSF[:, part] for part in np.split(np.arange(signal_BST.shape[1]), [pairs, 2 * pairs])
    )
    # A difference of the sides repeats with every stride, a sum with every step.
    power_BSF = _power(np.concatenate([right - left, right + left, other], axis=1))
    hz = np.fft.rfftfreq(size, 1.0 / CANONICAL_RATE_HZ)
    inside = (hz >= _CYCLE_HZ[0]) & (hz <= _CYCLE_HZ[1])
    place, top = _peak(power_BSF[..., inside])
    frequency = hz[inside][0] + place * hz[1]
    share = top / np.maximum(power_BSF[..., inside].sum(-1), _TINY)

    lags = np.arange(round(CANONICAL_RATE_HZ / _CYCLE_HZ[0]) + 1)
    overlap_BL = np.maximum(lengths_B[:, None] - lags, 1)
    same_BSL = fft.irfft(power_BSF, size, axis=-1)[..., : len(lags)] / overlap_BL[:, None]
    same_BSL /= np.maximum(same_BSL[..., :1], _TINY)
    # Every signal is like itself at once: it repeats only after it has been unlike itself.
    later = np.logical_or.accumulate(same_BSL < 0, axis=-1) & (lags < 0.6 * lengths_B[:, None])[:, None]
    lag, regularity = _peak(np.where(later, same_BSL, -1.0))

    half = round(_MOST_LAG_S * CANONICAL_RATE_HZ)
    cross = fft.irfft(right * np.conj(left), size, axis=-1)
    energy = np.sqrt(np.maximum(_power(right).sum(-1) * _power(left).sum(-1), _TINY)) * (2.0 / size)
    cross = np.concatenate([cross[..., -half:], cross[..., : half + 1]], axis=-1) / energy[..., None]
    behind, alike = _peak(cross)
    sides = [np.abs(behind - half) / CANONICAL_RATE_HZ, alike, cross[..., half]]
    return [frequency, share, lag / CANONICAL_RATE_HZ, regularity, *sides]


def _first_to_last(true_BT: np.ndarray) -> np.ndarray:
    """Seconds from the first to the last true frame, f32[B]; 0 where none is."""
    first, last = true_BT.argmax(1), true_BT.shape[1] - 1 - true_BT[:, ::-1].argmax(1)
    return np.where(true_BT.any(1), last - first, 0) / CANONICAL_RATE_HZ


def _levels(x_BT: np.ndarray, low_B: np.ndarray, high_B: np.ndarray, lengths_B: np.ndarray) -> list[np.ndarray]:
    """How a signal moves between two levels: crossings, seconds from the first to the last, share of time above."""
    live_BT = _live(x_BT.shape[1], lengths_B) > 0
    level_BT = (x_BT - low_B[:, None]) / np.maximum(high_B - low_B, _TINY)[:, None]
    found = []
    for threshold in (0.2, 0.5, 0.8):
        above = (level_BT > threshold) & live_BT
        crossings = np.diff(above, axis=1) & live_BT[:, 1:]
        found += [crossings.sum(1), _first_to_last(crossings), above.sum(1) / lengths_B]
    return found


def _active(speed_BT: np.ndarray, lengths_B: np.ndarray) -> list[np.ndarray]:
    """Seconds from the first to the last frame that is faster than a share of the fastest tenth."""
    speed_BT = speed_BT * _live(speed_BT.shape[1], lengths_B)
    ranks = speed_BT.shape[1] - 1 - (0.1 * lengths_B).astype(int)
    fast_B1 = np.take_along_axis(np.sort(speed_BT, axis=1), ranks[:, None], 1)
    return [_first_to_last(speed_BT > share * fast_B1) for share in (0.1, 0.25, 0.5)]


def _speeds(f_BTC: np.ndarray, lengths_B: np.ndarray) -> np.ndarray:
    """Net horizontal speed of the pelvis and its speed along the smoothed path in m/s, f32[B, 2]."""
    heading_BT = np.cumsum(f_BTC[..., YAW_RATE], axis=1) / CANONICAL_RATE_HZ
    cos, sin = np.cos(heading_BT), np.sin(heading_BT)
    forward, rightward = f_BTC[..., FORWARD], f_BTC[..., RIGHTWARD]
    world_BT2 = np.stack([cos * forward + sin * rightward, cos * rightward - sin * forward], axis=-1)
    net = np.linalg.norm(_mean(world_BT2, _live(f_BTC.shape[1], lengths_B)), axis=-1)
    smooth, count_B = _smooth(world_BT2, lengths_B, _PATH_S)
    along = _mean(np.linalg.norm(smooth, axis=-1)[..., None], _live(smooth.shape[1], count_B))[:, 0]
    return np.stack([net, along], axis=1)


def _symmetric(x_BC: np.ndarray, signed: bool = False) -> list[np.ndarray]:
    """A figure of every feature, so that the mirror image has the same: midline, mean and difference of the pairs."""
    flip = _FLIPPED[_MIDLINE] & signed
    right, left = x_BC[:, _RIGHT], x_BC[:, _LEFT]
    return [np.where(flip, np.abs(x_BC[:, _MIDLINE]), x_BC[:, _MIDLINE]), 0.5 * (right + left), np.abs(right - left)]


def _describe(f_BTC: np.ndarray, lengths_B: np.ndarray, mask_BC: np.ndarray) -> np.ndarray:
    live_BT = _live(f_BTC.shape[1], lengths_B)
    mean = _mean(f_BTC, live_BT)
    low, high = _quantiles(f_BTC, live_BT)
    low, high = np.where(_FLIPPED, np.abs(low + high), low), np.where(_FLIPPED, high - low, high)
    c_BTC = (f_BTC - mean[:, None]) * live_BT[..., None]
    square_BTC = c_BTC * c_BTC
    sd = np.sqrt(_mean(square_BTC, live_BT))
    skew = _mean_product(square_BTC, c_BTC, live_BT) / np.maximum(sd, 1e-4) ** 3
    smooth_BTC, count_B = _smooth(c_BTC, lengths_B, _SMOOTH_S)
    rate_BTC = np.diff(smooth_BTC, axis=1) * CANONICAL_RATE_HZ
    moving_BT = _live(rate_BTC.shape[1], count_B - 1)
    velocity = np.sqrt(_mean_product(rate_BTC, rate_BTC, moving_BT))
    drift = np.abs(smooth_BTC[np.arange(len(count_B)), count_B - 1] - smooth_BTC[:, 0])

    c_BCT = np.ascontiguousarray(c_BTC.transpose(0, 2, 1))
    columns = np.concatenate([_CYCLIC_R, _CYCLIC_L, _CYCLIC_MIDLINE])
    cycles = _cycles(c_BCT[:, columns], len(_CYCLIC), lengths_B)
    speeds = np.where(mask_BC[:, [FORWARD]], _speeds(f_BTC, lengths_B), np.nan)
    pelvis = smooth_BTC[..., HEIGHT] + mean[:, None, HEIGHT]
    travelling, count_path_B = _smooth(
        np.linalg.norm(f_BTC[..., [FORWARD, RIGHTWARD]], axis=-1)[..., None], lengths_B, _PATH_S
    )
    durations = [
        lengths_B / CANONICAL_RATE_HZ,
        *np.where(mask_BC[:, HEIGHT], _levels(pelvis, low[:, HEIGHT], high[:, HEIGHT], count_B), np.nan),
        *np.where(mask_BC[:, FORWARD], _active(travelling[..., 0], count_path_B), np.nan),
        *_active(np.sqrt(np.einsum("btc,btc->bt", rate_BTC[..., 6:], rate_BTC[..., 6:])), count_B - 1),
    ]
    spread = np.maximum(sd, 1e-3)
    of_features = [
        (mean, True),
        (low, False),
        (high, False),
        (sd, False),
        (skew, True),
        (velocity, False),
        (drift, False),
        *((band, False) for band in _band_powers(c_BCT, lengths_B)),
    ]
    parts = [part for figure, signed in of_features for part in _symmetric(np.where(mask_BC, figure, np.nan), signed)]
    both_B5, pairs_BP = mask_BC[:, _CYCLIC_R] & mask_BC[:, _CYCLIC_L], mask_BC[:, _RIGHT] & mask_BC[:, _LEFT]
    parts.append(np.where(pairs_BP, np.abs(np.log(spread[:, _RIGHT] / spread[:, _LEFT])), np.nan))
    seen_BS = np.concatenate([both_B5, both_B5, mask_BC[:, _CYCLIC_MIDLINE]], axis=1)
    cycles = [np.where(seen_BS if c.shape == seen_BS.shape else both_B5, c, np.nan) for c in cycles]
    parts += [*cycles, speeds, speeds[:, 1:] * cycles[2][:, : len(_CYCLIC)], np.stack(durations, axis=1)]
    return np.concatenate(parts, axis=1).astype(np.float32)


def describe(coordinates: Sequence[np.ndarray], observed: Sequence[np.ndarray]) -> np.ndarray:
    """Plain features f32[N, F] of crops f32[T_i, 40] at 30 Hz with masks bool[40].

    NaN where the coordinates were not observed, and everywhere for a crop of less than two thirds of a second.
    """
    features = batching.features_of(coordinates, observed)
    lengths = np.array([len(crop) for crop in coordinates], int)
    padded = -(-lengths // _LENGTHS) * _LENGTHS
    table: np.ndarray | None = None
    # Crops of one padded length are described together, so that no figure depends on what else is described.
    for longest in np.unique(padded[lengths >= _SHORTEST]):
        members = np.flatnonzero((padded == longest) & (lengths >= _SHORTEST))
        for chosen in np.split(members, range(_BATCH, len(members), _BATCH)):
            f_BTC = np.zeros((len(chosen), longest, COORDINATE_COUNT), np.float32)
            for row, i in enumerate(chosen):
                f_BTC[row, : lengths[i]] = features[i]
            rows = _describe(f_BTC, lengths[chosen], np.stack([feature_mask(observed[i]) for i in chosen]))
            table = np.full((len(lengths), rows.shape[1]), np.nan, np.float32) if table is None else table
            table[chosen] = rows
    return np.full((len(lengths), 1), np.nan, np.float32) if table is None else table
