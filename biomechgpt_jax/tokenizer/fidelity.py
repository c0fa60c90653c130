"""What the codec keeps of held-out movement, in degrees, metres and metres per second."""

from collections.abc import Sequence

import numpy as np

from biomechgpt_jax.biomechanics.features import start_pose
from biomechgpt_jax.biomechanics.skeleton import COORDINATE_COUNT, INDEX
from biomechgpt_jax.config import CANONICAL_RATE_HZ
from biomechgpt_jax.tokenizer.backends import MotionCodec

_FIRST_ANGLE = INDEX["pelvis_rotation"] + 1  # the joint angles follow the pelvis; its heading is integrated, not coded
_MOVING_DEG = 1.0  # coordinates whose standard deviation in a trial lies above this are counted


def reconstruction_error(codec: MotionCodec, trials: Sequence[tuple[np.ndarray, np.ndarray]]) -> dict[str, float]:
    """Error after encoding and decoding.

    Args:
        trials: (coordinates f32[T_i, 40] at 30 Hz, observed bool[40]) of participants the codec was not trained on.

    Returns:
        median_deg: absolute joint-angle error: the median over the frames of each coordinate of each trial, averaged
            over those that were observed and moved (standard deviation above 1 degree).
        p95_deg: the same with the 95th percentile.
        speed_error: absolute error of the mean speed of the pelvis along its path (m/s), mean over trials.
        code_usage: share of the codes that occur, mean over the layers.
        tokens: tokens measured.
    """
    chosen = [(movement, seen) for movement, seen in trials if len(movement) >= codec.stride]
    tokens = codec.encode([movement for movement, _ in chosen], [seen for _, seen in chosen])
    starts = [np.asarray(start_pose(np.where(seen, movement, 0.0)[:1])) for movement, seen in chosen]
    decoded = codec.decode(tokens, starts)
    medians, p95s, speeds = [], [], []
    for (movement, seen), back in zip(chosen, decoded, strict=True):
        true = movement[: len(back)]
        counted = seen & (np.arange(COORDINATE_COUNT) >= _FIRST_ANGLE)
        counted = counted & (np.degrees(np.where(seen, true, 0.0).std(0)) > _MOVING_DEG)
        error = np.degrees(np.abs(back - true)[:, counted])
        medians.append(np.median(error, axis=0))
        p95s.append(np.percentile(error, 95, axis=0))
        if seen[:6].all():
            speeds.append(abs(_speed(back) - _speed(true)))
    together = np.concatenate(tokens) if tokens else np.zeros((0, codec.layers), np.int32)
    used = [len(np.unique(layer)) for layer in together.T]
    return {
        "median_deg": _mean(medians),
        "p95_deg": _mean(p95s),
        "speed_error": float(np.mean(speeds)) if speeds else float("nan"),
        "code_usage": float(np.mean(used)) / codec.codes,
        "tokens": float(sum(map(len, tokens))),
    }


def _mean(parts: Sequence[np.ndarray]) -> float:
    values = np.concatenate(parts) if parts else np.zeros(0)
    return float(values.mean()) if len(values) else float("nan")


def _speed(movement: np.ndarray) -> float:
    """Straight-line speed over half-second steps, so that jitter does not count as travel."""
    step = int(CANONICAL_RATE_HZ // 2)
    path = movement[::step, [INDEX["pelvis_tx"], INDEX["pelvis_tz"]]]
    if len(path) < 2:
        return 0.0
    return float(np.linalg.norm(np.diff(path, axis=0), axis=1).mean() * CANONICAL_RATE_HZ / step)
