"""Reconstruction errors of a motion codec, in clinical units.

The error of a coordinate in a trial is the median (or the 95th percentile) over its frames. Means are over the
coordinates that were observed and moved, that is, whose standard deviation in the trial exceeds 1 degree. Rows f64[40]
hold NaN for the others.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from biomechgpt_jax.biomechanics import gait
from biomechgpt_jax.biomechanics.features import start_pose
from biomechgpt_jax.biomechanics.skeleton import COORDINATE_COUNT, COORDINATES, HORIZONTAL_ROOT, INDEX
from biomechgpt_jax.biomechanics.trajectory import Trajectory, replace
from biomechgpt_jax.codec.backends import MotionCodec
from biomechgpt_jax.config import CANONICAL_RATE_HZ
from biomechgpt_jax.errors import InputError

MOVING_DEG = 1.0
# The joint angles follow the pelvis, whose heading is integrated and not coded.
ANGLES = np.arange(COORDINATE_COUNT) > INDEX["pelvis_rotation"]
LOWER_LIMB = np.array([name.startswith(("hip_", "knee_", "ankle_")) for name in COORDINATES])
# Joint angles, grouped by the everyday name of the joint.
_PREFIXES = {
    "hip": ("hip_",),
    "knee": ("knee_",),
    "ankle and foot": ("ankle_", "subtalar_", "mtp_"),
    "lumbar spine": ("lumbar_",),
    "neck": ("neck_",),
    "shoulder": ("arm_",),
    "elbow and forearm": ("elbow_", "pro_sup"),
    "wrist": ("wrist_",),
}
GROUPS = {name: np.array([c.startswith(prefixes) for c in COORDINATES]) for name, prefixes in _PREFIXES.items()}
WINDOW_S = 4.0
# A walk is evaluated if each foot has at least this many strides.
_STRIDES = 3
_ROOT = [INDEX[name] for name in HORIZONTAL_ROOT]
_PELVIS = slice(0, INDEX["pelvis_rotation"] + 1)


def encode_and_decode(
    codec: MotionCodec, coordinates: Sequence[np.ndarray], observed: Sequence[np.ndarray]
) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """Codes i32[S_i, Q] of movements f32[T_i, 40] with masks bool[40], and the decoded movements f32[T_i', 40].

    Each reconstruction starts at the first pose of its movement; T_i' <= T_i, and both may be 0.
    """
    tokens = codec.encode(list(coordinates), list(observed))
    starts = [
        np.asarray(start_pose(np.where(mask, movement[:1], 0.0))) if len(movement) else np.zeros(3, np.float32)
        for movement, mask in zip(coordinates, observed, strict=True)
    ]
    return tokens, codec.decode(tokens, starts)


@dataclass(frozen=True)
class AngleError:
    """Errors of one trial in degrees, by coordinate: medians and 95th percentiles over its frames, f64[40]."""

    median: np.ndarray
    p95: np.ndarray


def moving(true: np.ndarray, observed: np.ndarray) -> np.ndarray:
    """Which joint angles of f32[T, 40] were observed and moved: bool[40]."""
    if not len(true):
        return np.zeros(COORDINATE_COUNT, bool)
    return observed & ANGLES & (np.degrees(np.where(observed, true, 0.0).std(axis=0)) > MOVING_DEG)


def angles(true: np.ndarray, back: np.ndarray, observed: np.ndarray) -> AngleError:
    """Error between f32[T, 40] and its reconstruction f32[T', 40] over their common frames; observed bool[40]."""
    frames = min(len(true), len(back))
    counted = moving(true[:frames], observed)
    error = np.degrees(np.abs(back[:frames, counted] - true[:frames, counted]))
    return AngleError(
        _row(counted, np.median(error, axis=0) if frames else ()),
        _row(counted, np.percentile(error, 95, axis=0) if frames else ()),
    )


@dataclass(frozen=True)
class RateError:
    """Rates of one trial by coordinate, f64[40]: mean absolute error of velocity (deg/s) and acceleration (deg/s^2),
    and the mean absolute velocity and acceleration of the movement itself."""

    velocity: np.ndarray
    acceleration: np.ndarray
    own_velocity: np.ndarray
    own_acceleration: np.ndarray


def rates(true: np.ndarray, back: np.ndarray, observed: np.ndarray) -> RateError:
    """Error in first and second differences between f32[T, 40] and f32[T', 40] over their common frames."""
    frames = min(len(true), len(back))
    counted = moving(true[:frames], observed) & (frames > 2)
    original = np.degrees(true[:frames, counted].astype(np.float64))
    decoded = np.degrees(back[:frames, counted].astype(np.float64))

    def mean(values: np.ndarray, order: int) -> np.ndarray:
        if not counted.any():
            return _row(counted, ())
        return _row(counted, np.abs(np.diff(values, order, axis=0)).mean(axis=0) * CANONICAL_RATE_HZ**order)

    return RateError(mean(decoded - original, 1), mean(decoded - original, 2), mean(original, 1), mean(original, 2))


def root_cm(true: np.ndarray, back: np.ndarray) -> list[float]:
    """Mean horizontal distance between pelvis paths in cm, in windows of four seconds with aligned first poses."""
    length = round(WINDOW_S * CANONICAL_RATE_HZ)
    distances = []
    for begin in range(0, min(len(true), len(back)) - length + 1, length):
        paths = [_from_start(movement[begin : begin + length]) for movement in (true, back)]
        distances.append(100.0 * float(np.linalg.norm(paths[0] - paths[1], axis=1).mean()))
    return distances


def drift_cm(true: np.ndarray, back: np.ndarray) -> float:
    """Mean horizontal distance between pelvis paths in cm over all common frames, without alignment."""
    frames = min(len(true), len(back))
    if not frames:
        return float("nan")
    return 100.0 * float(np.linalg.norm(back[:frames, _ROOT] - true[:frames, _ROOT], axis=1).mean())


def has_root(observed: np.ndarray) -> bool:
    """Whether the position and orientation of the pelvis are all observed, from bool[40]."""
    return bool(observed[_PELVIS].all())


def path_speed(movement: np.ndarray) -> float:
    """Mean speed of the pelvis (m/s) over straight half-second segments, so that jitter does not count as travel."""
    step = int(CANONICAL_RATE_HZ // 2)
    path = movement[::step, _ROOT]
    if len(path) < 2:
        return 0.0
    return float(np.linalg.norm(np.diff(path, axis=0), axis=1).mean() * CANONICAL_RATE_HZ / step)


def _row(counted: np.ndarray, values: np.ndarray | tuple[()]) -> np.ndarray:
    row = np.full(COORDINATE_COUNT, np.nan)
    if counted.any():
        row[counted] = values
    return row


def _from_start(movement: np.ndarray) -> np.ndarray:
    """Path f64[T, 2] (forward, rightward) relative to the first pose."""
    x, z, heading = np.asarray(start_pose(movement), np.float64)
    path = movement[:, _ROOT].astype(np.float64) - [x, z]
    cos, sin = np.cos(heading), np.sin(heading)
    return np.stack([cos * path[:, 0] - sin * path[:, 1], sin * path[:, 0] + cos * path[:, 1]], axis=1)


@dataclass(frozen=True)
class GaitError:
    """Errors of gait parameters in walks.

    Attributes:
        errors: absolute error by parameter, f64[W]; NaN if the walk or its reconstruction lacks the parameter.
        trial: index of each walk among the trials given.
        failures: number of walks that lose a parameter in reconstruction.
    """

    errors: dict[str, np.ndarray]
    trial: np.ndarray
    failures: int

    @property
    def walks(self) -> int:
        return len(self.trial)


def walks(
    true: Sequence[Trajectory],
    back: Sequence[np.ndarray],
    names: Sequence[str] = ("cadence", "walking_speed", "step_time_asymmetry"),
) -> GaitError:
    """Compare gait parameters of movements and their reconstructions, for trials with three strides per side."""
    errors: dict[str, list[float]] = {name: [] for name in names}
    judged: list[int] = []
    failures = 0
    for number, (trajectory, movement) in enumerate(zip(true, back, strict=True)):
        try:
            before = gait.analyse(replace(trajectory, coordinates=trajectory.coordinates[: len(movement)]))
        except InputError:
            continue
        if min(np.sum(before.strides.foot == foot) for foot in (0, 1)) < _STRIDES:
            continue
        if not any(name in before.parameters for name in names):
            continue  # every stride is part of a turn
        judged.append(number)
        after = gait.analyse(replace(trajectory, coordinates=movement)).parameters
        failures += any(name in before.parameters and name not in after for name in names)
        for name in names:
            errors[name].append(abs(after.get(name, np.nan) - before.parameters.get(name, np.nan)))
    return GaitError({name: np.array(values) for name, values in errors.items()}, np.array(judged, int), failures)


def counts(tokens: Sequence[np.ndarray], codes: int) -> np.ndarray:
    """Count the occurrences of each code in each layer of codes i32[S_i, Q]: i64[Q, codes]."""
    all_tokens = np.concatenate(tokens)
    return np.stack([np.bincount(layer, minlength=codes) for layer in all_tokens.T])


def perplexity(counts: np.ndarray) -> float:
    """The exponential of the entropy of code counts i64[codes], as a number of codes."""
    used = counts[counts > 0] / max(counts.sum(), 1)
    return float(np.exp(-np.sum(used * np.log(used))))


def mean(rows: Sequence[np.ndarray], columns: np.ndarray = ANGLES) -> float:
    """Mean of the finite values in these columns bool[40] of rows f64[40]; NaN if there are none."""
    values = np.stack(rows)[:, columns] if len(rows) else np.zeros(0)
    values = values[np.isfinite(values)]
    return float(values.mean()) if len(values) else float("nan")


def measure(
    codec: MotionCodec,
    coordinates: Sequence[np.ndarray],
    observed: Sequence[np.ndarray],
    healthy: Sequence[bool | None],
    true: Sequence[np.ndarray] | None = None,
) -> dict[str, Any]:
    """Measure the errors of joint angles and speed after encoding and decoding, and how the codes are used.

    Args:
        coordinates: movements f32[T_i, 40] at 30 Hz, from participants the codec was not trained on.
        observed: bool[40] mask of each movement.
        healthy: whether each movement is of a healthy participant; None where that is unknown.
        true: f32[T_i, 40] each movement without measurement noise, as the reference for errors; if None, the
            movements themselves are the reference.

    Returns:
        median_deg, p95_deg; speed_error (absolute error of `path_speed`, m/s, mean over movements); code_usage (share
        of the codes that occur, mean over layers); tokens; healthy_median_deg, impaired_median_deg, by_group_deg;
        codes, and codes_used and perplexity of the first layer; tokens_per_second; with `true`, also input_median_deg,
        the error of the codec's input. Empty if no movement is as long as a token.
    """
    tokens, back = encode_and_decode(codec, coordinates, observed)
    kept = [i for i, codes in enumerate(tokens) if len(codes)]
    if not kept:
        return {}
    wanted = coordinates if true is None else true
    errors = [angles(wanted[i], back[i], observed[i]) for i in kept]
    medians = [error.median for error in errors]
    speeds = [abs(path_speed(back[i]) - path_speed(wanted[i][: len(back[i])])) for i in kept if has_root(observed[i])]
    by_health = {
        state: [row for i, row in zip(kept, medians, strict=True) if healthy[i] is state] for state in (True, False)
    }
    by_group = {name: mean(medians, columns) for name, columns in GROUPS.items()}
    code_counts = counts([tokens[i] for i in kept], codec.codes)
    seconds = sum(len(back[i]) for i in kept) / CANONICAL_RATE_HZ
    return {
        "median_deg": mean(medians),
        "p95_deg": mean([error.p95 for error in errors]),
        "speed_error": float(np.mean(speeds)) if speeds else float("nan"),
        "code_usage": float((code_counts > 0).mean()),
        "tokens": sum(len(tokens[i]) for i in kept),
        "healthy_median_deg": mean(by_health[True]),
        "impaired_median_deg": mean(by_health[False]),
        "by_group_deg": {name: value for name, value in by_group.items() if np.isfinite(value)},
        "codes": codec.codes,
        "codes_used": int((code_counts[0] > 0).sum()),
        "perplexity": perplexity(code_counts[0]),
        "tokens_per_second": sum(len(tokens[i]) for i in kept) / seconds,
        **({} if true is None else {"input_median_deg": _input_error(wanted, coordinates, observed, kept)}),
    }


def _input_error(
    true: Sequence[np.ndarray], shown: Sequence[np.ndarray], observed: Sequence[np.ndarray], kept: Sequence[int]
) -> float:
    """Mean of median angle errors of the codec's input, in degrees."""
    return mean([angles(true[i], shown[i], observed[i]).median for i in kept])
