"""Plain features of a movement: what one would compute from it before trusting a network.

From the heading-invariant features of `biomechanics.features`: moments, quantiles, speed and power by frequency band of
every coordinate (sway below 1 Hz, strides and steps, tremor from 4 to 7 Hz), differences and lags between left and
right, frequency and regularity of the cyclic coordinates, the speed of the pelvis, the rises of the pelvis, and
durations. None is fitted to a question, and their mirror image is the same movement: what left and right share is
described by mean and difference, so that a weakness counts the same on either side.

Shapes: B crops, T frames, C = 40 features, P = 14 pairs of left and right, S cyclic signals, F frequencies.
"""

from collections.abc import Sequence

import jax
import numpy as np
from scipy import fft

from biomechgpt_jax.biomechanics import features as features_lib
from biomechgpt_jax.biomechanics.features import FEATURES, FORWARD, HEIGHT, LIST, RIGHTWARD, TILT, YAW_RATE
from biomechgpt_jax.biomechanics.skeleton import COORDINATE_COUNT, HORIZONTAL_ROOT, INDEX
from biomechgpt_jax.config import CANONICAL_RATE_HZ

_BATCH = 32  # crops of similar length that are described together
_LENGTHS = 128  # padded lengths are multiples of this many frames
_SMOOTH_S = 0.2  # moving average before a speed is measured
_PATH_S = 0.5  # moving average before the path of the pelvis is measured
_QUANTILES = (0.05, 0.5, 0.95)
# Bands in Hz: drift, sway and strides, steps, fast steps, tremor, noise.
_BANDS = ((0.0, 0.4), (0.4, 1.2), (1.2, 2.4), (2.4, 4.0), (4.0, 7.0), (7.0, 15.0))
_CYCLE_HZ = (0.25, 4.0)  # where the cycle of walking, rising or squatting is looked for
_RIGHT = np.array([i for i, name in enumerate(FEATURES) if name.endswith("_r")])
_LEFT = np.array([FEATURES.index(f"{FEATURES[i][:-2]}_l") for i in _RIGHT])
_MIDLINE = np.setdiff1d(np.arange(COORDINATE_COUNT), [*_RIGHT, *_LEFT])
# Features whose sign the mirror changes: only the size of their mean says something about a person.
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
_TINY = 1e-6
_SHORTEST = 20  # frames; a shorter crop has no plain features


@jax.jit
def _heading_invariant(coordinates_BTC: jax.Array, lengths_B: jax.Array) -> jax.Array:
    return features_lib.features(coordinates_BTC, length=lengths_B)


def _smooth(x_BTX: np.ndarray, lengths_B: np.ndarray, seconds: float) -> tuple[np.ndarray, np.ndarray]:
    """Moving average over `seconds`, and how many frames of each crop have one."""
    width = round(seconds * CANONICAL_RATE_HZ)
    total = np.cumsum(np.pad(x_BTX, ((0, 0), (1, 0), (0, 0))), axis=1, dtype=np.float64)
    return ((total[:, width:] - total[:, :-width]) / width).astype(np.float32), lengths_B - width + 1


def _live(frames: int, lengths_B: np.ndarray) -> np.ndarray:
    return (np.arange(frames) < lengths_B[:, None])[..., None]


def _mean(x_BTX: np.ndarray, live_BT1: np.ndarray, count_B: np.ndarray) -> np.ndarray:
    return np.where(live_BT1, x_BTX, 0.0).sum(1) / np.maximum(count_B, 1)[:, None]


def _quantiles(x_BTX: np.ndarray, live_BT1: np.ndarray, lengths_B: np.ndarray) -> np.ndarray:
    """Nearest-rank quantiles, f32[Q, B, X]."""
    ordered_BXT = np.sort(np.ascontiguousarray(np.where(live_BT1, x_BTX, np.inf).transpose(0, 2, 1)), axis=-1)
    ranks_QB = np.round(np.multiply.outer(_QUANTILES, lengths_B - 1)).astype(int)
    return np.stack([np.take_along_axis(ordered_BXT, r[:, None, None], -1)[..., 0] for r in ranks_QB])


def _peak(values_BSN: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Place of the largest value along the last axis, refined by a parabola, and its height: f32[B, S] each."""
    top = np.clip(values_BSN.argmax(-1), 1, values_BSN.shape[-1] - 2)[..., None]
    a, b, c = (np.take_along_axis(values_BSN, top + i, -1)[..., 0] for i in (-1, 0, 1))
    with np.errstate(invalid="ignore", divide="ignore"):
        bend = a - 2 * b + c
        shift = np.where(np.isfinite(bend) & (bend < 0), 0.5 * (a - c) / bend, 0.0)
    return top[..., 0] + np.clip(np.nan_to_num(shift), -1, 1), b


def _repeats(spectrum_BSF: np.ndarray, size: int, lengths_B: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Lag in seconds after which signals repeat best, and their correlation with themselves then, f32[B, S] each."""
    power = fft.irfft(np.abs(spectrum_BSF) ** 2, size, axis=-1)
    last = round(CANONICAL_RATE_HZ / _CYCLE_HZ[0])
    lags = np.arange(last + 1)
    overlap_BL = np.maximum(lengths_B[:, None] - lags, 1.0)
    same_BSL = power[..., : last + 1] / overlap_BL[:, None]
    same_BSL = same_BSL / np.maximum(same_BSL[..., :1], _TINY)
    beyond = (np.cumsum(same_BSL < 0, axis=-1) > 0) & (lags < 0.6 * lengths_B[:, None])[:, None]
    lag, height = _peak(np.where(beyond, same_BSL, -1.0))
    return lag / CANONICAL_RATE_HZ, height


def _levels(x_BT: np.ndarray, low_B: np.ndarray, high_B: np.ndarray, lengths_B: np.ndarray) -> np.ndarray:
    """How a signal moves between two levels: crossings, seconds from first to last, share of time above, f32[B, 9]."""
    found = []
    level_BT = (x_BT - low_B[:, None]) / np.maximum(high_B - low_B, _TINY)[:, None]
    live_BT = _live(x_BT.shape[1], lengths_B)[..., 0]
    for threshold in (0.2, 0.5, 0.8):
        above = (level_BT > threshold) & live_BT
        changes = np.diff(above, axis=1) & live_BT[:, 1:]
        first, last = changes.argmax(1), changes.shape[1] - 1 - changes[:, ::-1].argmax(1)
        spans = np.where(changes.any(1), last - first, 0) / CANONICAL_RATE_HZ
        found += [changes.sum(1), spans, above.sum(1) / lengths_B]
    return np.stack(found, axis=1)


def _active(speed_BT: np.ndarray, lengths_B: np.ndarray) -> np.ndarray:
    """Seconds from the first to the last frame faster than a share of the fastest, f32[B, 3]."""
    live_BT = _live(speed_BT.shape[1], lengths_B)[..., 0]
    speed_BT = np.where(live_BT, speed_BT, 0.0)
    top_B = np.sort(speed_BT, axis=1)[:, ::-1]
    top_B = np.take_along_axis(top_B, (0.1 * lengths_B).astype(int)[:, None], 1)
    found = []
    for share in (0.1, 0.25, 0.5):
        fast = speed_BT > share * top_B
        first, last = fast.argmax(1), fast.shape[1] - 1 - fast[:, ::-1].argmax(1)
        found.append((last - first) / CANONICAL_RATE_HZ)
    return np.stack(found, axis=1)


def _symmetric(x_BC: np.ndarray, signed: bool = False) -> list[np.ndarray]:
    """A figure of every feature so that the mirror image has the same: midline, mean and difference of the pairs."""
    midline = (
        np.where(_FLIPPED[_MIDLINE], np.abs(x_BC[:, _MIDLINE]), x_BC[:, _MIDLINE]) if signed else x_BC[:, _MIDLINE]
    )
    right, left = x_BC[:, _RIGHT], x_BC[:, _LEFT]
    return [midline, 0.5 * (right + left), np.abs(right - left)]


def _speeds(q_BTC: np.ndarray, lengths_B: np.ndarray, mask_BC: np.ndarray) -> np.ndarray:
    """Net horizontal speed of the pelvis and its speed along the path in m/s, f32[B, 2]."""
    columns = [INDEX[name] for name in HORIZONTAL_ROOT]
    path, count = _smooth(q_BTC[..., columns] - q_BTC[:, :1, columns], lengths_B, _PATH_S)
    last = np.take_along_axis(path, (count - 1)[:, None, None], 1)[:, 0]
    seconds = np.maximum(count - 1, 1) / CANONICAL_RATE_HZ
    steps = np.linalg.norm(np.diff(path, axis=1), axis=-1)
    along = np.where(_live(steps.shape[1], count - 1)[..., 0], steps, 0.0).sum(1)
    speeds = np.stack([np.linalg.norm(last - path[:, 0], axis=-1), along], axis=1) / seconds[:, None]
    return np.where(mask_BC[:, [FORWARD]], speeds, np.nan)


def _describe(q_BTC: np.ndarray, lengths_B: np.ndarray, mask_BC: np.ndarray) -> np.ndarray:
    frames = q_BTC.shape[1]
    path_B = _speeds(q_BTC, lengths_B, mask_BC)
    f_BTC = np.asarray(_heading_invariant(q_BTC, lengths_B.astype(np.int32)))
    f_BTC = np.where(mask_BC[:, None], f_BTC, 0.0)
    live = _live(frames, lengths_B)
    mean = _mean(f_BTC, live, lengths_B)
    c_BTC = np.where(live, f_BTC - mean[:, None], 0.0)
    sd = np.sqrt(_mean(c_BTC**2, live, lengths_B))
    skew = _mean(c_BTC**3, live, lengths_B) / np.maximum(sd, 1e-4) ** 3
    low, middle, high = _quantiles(f_BTC, live, lengths_B)
    smooth, count = _smooth(c_BTC, lengths_B, _SMOOTH_S)
    rate = np.diff(smooth, axis=1) * CANONICAL_RATE_HZ
    moving = _live(rate.shape[1], count - 1)
    velocity = np.sqrt(_mean(rate**2, moving, count - 1))
    ends = [np.take_along_axis(smooth, i[:, None, None], 1)[:, 0] for i in (np.zeros_like(count), count - 1)]
    drift = np.abs(ends[1] - ends[0])

    size = fft.next_fast_len(2 * frames, real=True)
    hz = np.arange(size // 2 + 1) * CANONICAL_RATE_HZ / size
    spectrum_BCF = fft.rfft(np.ascontiguousarray(c_BTC.transpose(0, 2, 1)), size, axis=-1)
    power_BCF = np.abs(spectrum_BCF) ** 2 / lengths_B[:, None, None]
    bands = [np.log(power_BCF[..., (hz >= a) & (hz < b)].sum(-1) * (2 / size) + 1e-9) for a, b in _BANDS]

    # Cyclic signals, each the sum and the difference of the sides, whose cycles are a step and a stride.
    signals = [
        spectrum_BCF[:, _CYCLIC_R] - spectrum_BCF[:, _CYCLIC_L],
        spectrum_BCF[:, _CYCLIC_R] + spectrum_BCF[:, _CYCLIC_L],
    ]
    signals.append(spectrum_BCF[:, [HEIGHT, FORWARD, TILT, LIST]])
    cyclic_BSF = np.concatenate(signals, axis=1)
    inside = (hz >= _CYCLE_HZ[0]) & (hz <= _CYCLE_HZ[1])
    within = np.abs(cyclic_BSF[..., inside]) ** 2
    place, top = _peak(within)
    dominant = hz[inside][0] + place * (hz[1] - hz[0])
    share = top / np.maximum(within.sum(-1), _TINY)
    lag, regular = _repeats(cyclic_BSF, size, lengths_B)
    # Lag between the sides.
    cross_BPF = spectrum_BCF[:, _CYCLIC_R] * np.conj(spectrum_BCF[:, _CYCLIC_L])
    cross = fft.irfft(cross_BPF, size, axis=-1) / lengths_B[:, None, None]
    half = round(1.2 * CANONICAL_RATE_HZ)
    around = np.concatenate([cross[..., -half:], cross[..., : half + 1]], axis=-1)
    scale = np.maximum(sd[:, _CYCLIC_R] * sd[:, _CYCLIC_L], _TINY)
    behind, alike = _peak(around / scale[..., None])
    shift = np.abs(behind - half) / CANONICAL_RATE_HZ
    together = cross[..., 0] / scale

    speed = np.linalg.norm(f_BTC[..., [FORWARD, RIGHTWARD]], axis=-1)
    joints = np.sqrt((rate[..., 6:] ** 2).mean(-1))
    general = [
        path_B,
        (lengths_B / CANONICAL_RATE_HZ)[:, None],
        _levels(smooth[..., HEIGHT] + mean[:, None, HEIGHT], low[:, HEIGHT], high[:, HEIGHT], count),
        _active(_smooth(speed[..., None], lengths_B, _PATH_S)[0][..., 0], lengths_B),
        _active(joints, count - 1),
    ]
    with np.errstate(divide="ignore", invalid="ignore"):
        general += [path_B[:, 1:2] / dominant[:, :2], path_B[:, 1:2] * lag[:, :2]]
    spread = np.maximum(sd, 1e-3)
    ratio = np.abs(np.log(spread[:, _RIGHT] / spread[:, _LEFT]))
    every = np.concatenate(
        [
            *_symmetric(np.where(mask_BC, mean, np.nan), True),
            *_symmetric(np.where(mask_BC, middle, np.nan), True),
            *_symmetric(np.where(mask_BC, low, np.nan)),
            *_symmetric(np.where(mask_BC, high, np.nan)),
            *_symmetric(np.where(mask_BC, sd, np.nan)),
            *_symmetric(np.where(mask_BC, skew, np.nan), True),
            *_symmetric(np.where(mask_BC, velocity, np.nan)),
            *_symmetric(np.where(mask_BC, drift, np.nan)),
            *(part for band in bands for part in _symmetric(np.where(mask_BC, band, np.nan))),
            ratio,
            dominant,
            share,
            lag,
            regular,
            shift,
            alike,
            together,
            *general,
        ],
        axis=1,
    )
    return every.astype(np.float32)


def describe(coordinates: Sequence[np.ndarray], observed: Sequence[np.ndarray]) -> np.ndarray:
    """Plain features f32[N, F] of crops f32[T_i, 40] at 30 Hz with masks bool[40].

    NaN where the coordinates were not observed, and everywhere for a crop of less than two thirds of a second.
    """
    lengths = np.array([len(crop) for crop in coordinates], int)
    order = np.argsort(lengths, kind="stable")
    order = order[lengths[order] >= _SHORTEST]
    table: np.ndarray | None = None
    for first in range(0, len(order), _BATCH):
        chosen = order[first : first + _BATCH]
        shape = (_BATCH, -(-lengths[chosen[-1]] // _LENGTHS) * _LENGTHS, COORDINATE_COUNT)
        q_BTC, mask_BC = np.zeros(shape, np.float32), np.zeros((_BATCH, COORDINATE_COUNT), bool)
        frames_B = np.full(_BATCH, lengths[chosen[0]])
        for row, i in enumerate(chosen):
            q_BTC[row, : lengths[i]] = np.where(observed[i], coordinates[i], 0.0)
            mask_BC[row], frames_B[row] = observed[i], lengths[i]
        rows = _describe(q_BTC, frames_B, features_lib.feature_mask(mask_BC))
        table = np.full((len(lengths), rows.shape[1]), np.nan, np.float32) if table is None else table
        table[chosen] = rows[: len(chosen)]
    return np.full((len(lengths), 1), np.nan, np.float32) if table is None else table
