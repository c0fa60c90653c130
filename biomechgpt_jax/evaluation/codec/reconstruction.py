"""What a reconstructed movement keeps of the one it was made from, in the units of a clinician.

The error of a coordinate of a trial is the median over its frames (or the 95th percentile); means are over the
coordinates that were observed and moved, those with a standard deviation above 1 degree in the trial. Rows f64[40]
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
# Angles by the joint a reader would name.
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
# A walk is judged if each foot has so many strides.
_STRIDES = 3
_ROOT = [INDEX[name] for name in HORIZONTAL_ROOT]
_PELVIS = slice(0, INDEX["pelvis_rotation"] + 1)


def through(
    codec: MotionCodec, coordinates: Sequence[np.ndarray], observed: Sequence[np.ndarray]
) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """Codes i32[S_i, Q] of movements f32[T_i, 40] with masks bool[40], and what they decode to, f32[T_i', 40].

    Each reconstruction begins where the movement begins; T_i' <= T_i, and both may be 0.
    """
    tokens = codec.encode(list(coordinates), list(observed))
    starts = [
        np.asarray(start_pose(np.where(mask, movement[:1], 0.0))) if len(movement) else np.zeros(3, np.float32)
        for movement, mask in zip(coordinates, observed, strict=True)
    ]
    return tokens, codec.decode(tokens, starts)


@dataclass(frozen=True)
class AngleError:
    """Degrees by coordinate of one trial: medians and 95th percentiles over its frames, f64[40]."""

    median: np.ndarray
    p95: np.ndarray


def moving(true: np.ndarray, observed: np.ndarray) -> np.ndarray:
    """Which joint angles of f32[T, 40] were observed and moved: bool[40]."""
    if not len(true):
        return np.zeros(COORDINATE_COUNT, bool)
    return observed & ANGLES & (np.degrees(np.where(observed, true, 0.0).std(axis=0)) > MOVING_DEG)


def angles(true: np.ndarray, back: np.ndarray, observed: np.ndarray) -> AngleError:
    """Error of f32[T, 40] against f32[T', 40], over the frames that both have; observed bool[40]."""
    frames = min(len(true), len(back))
    counted = moving(true[:frames], observed)
    error = np.degrees(np.abs(back[:frames, counted] - true[:frames, counted]))
    return AngleError(
        _row(counted, np.median(error, axis=0) if frames else ()),
        _row(counted, np.percentile(error, 95, axis=0) if frames else ()),
    )


@dataclass(frozen=True)
class RateError:
    """By coordinate of one trial, f64[40]: mean absolute error of velocity (deg/s) and acceleration (deg/s^2), and
    the mean absolute velocity and acceleration of the movement itself."""

    velocity: np.ndarray
    acceleration: np.ndarray
    own_velocity: np.ndarray
    own_acceleration: np.ndarray


def rates(true: np.ndarray, back: np.ndarray, observed: np.ndarray) -> RateError:
    """Error of first and second differences of f32[T, 40] against f32[T', 40] over the frames that both have."""
    frames = min(len(true), len(back))
    counted = moving(true[:frames], observed) & (frames > 2)
    shown = np.degrees(true[:frames, counted].astype(np.float64))
    made = np.degrees(back[:frames, counted].astype(np.float64))

    def mean(values: np.ndarray, order: int) -> np.ndarray:
        if not counted.any():
            return _row(counted, ())
        return _row(counted, np.abs(np.diff(values, order, axis=0)).mean(axis=0) * CANONICAL_RATE_HZ**order)

    return RateError(mean(made - shown, 1), mean(made - shown, 2), mean(shown, 1), mean(shown, 2))


def root_cm(true: np.ndarray, back: np.ndarray) -> list[float]:
    """Mean horizontal distance of the pelvis in windows of four seconds whose first pose is aligned, in cm."""
    length = round(WINDOW_S * CANONICAL_RATE_HZ)
    found = []
    for begin in range(0, min(len(true), len(back)) - length + 1, length):
        paths = [_from_start(movement[begin : begin + length]) for movement in (true, back)]
        found.append(100.0 * float(np.linalg.norm(paths[0] - paths[1], axis=1).mean()))
    return found


def drift_cm(true: np.ndarray, back: np.ndarray) -> float:
    """Mean horizontal distance of the pelvis over all frames that both have, nothing aligned, in cm."""
    frames = min(len(true), len(back))
    if not frames:
        return float("nan")
    return 100.0 * float(np.linalg.norm(back[:frames, _ROOT] - true[:frames, _ROOT], axis=1).mean())


def has_root(observed: np.ndarray) -> bool:
    """Whether the place and the turn of the pelvis are in a mask bool[40]."""
    return bool(observed[_PELVIS].all())


def path_speed(movement: np.ndarray) -> float:
    """Mean speed of the pelvis (m/s) over straight half-second steps, so that jitter does not count as travel."""
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
    """Path f64[T, 2] (forward, rightward) seen from the first pose."""
    x, z, heading = np.asarray(start_pose(movement), np.float64)
    path = movement[:, _ROOT].astype(np.float64) - [x, z]
    cos, sin = np.cos(heading), np.sin(heading)
    return np.stack([cos * path[:, 0] - sin * path[:, 1], sin * path[:, 0] + cos * path[:, 1]], axis=1)


@dataclass(frozen=True)
class GaitError:
    """Absolute errors of walks by parameter, f64[W], NaN where one side has none; the index of each walk among the
    trials given; and how many walks the gait code no longer reads whole."""

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
    """Gait code on the input against the gait code on its reconstruction, for trials with three strides a side."""
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
            continue  # every stride turns
        judged.append(number)
        after = gait.analyse(replace(trajectory, coordinates=movement)).parameters
        failures += any(name in before.parameters and name not in after for name in names)
        for name in names:
            errors[name].append(abs(after.get(name, np.nan) - before.parameters.get(name, np.nan)))
    return GaitError({name: np.array(values) for name, values in errors.items()}, np.array(judged, int), failures)


def counts(tokens: Sequence[np.ndarray], codes: int) -> np.ndarray:
    """How often each code of each layer occurs in codes i32[S_i, Q]: i64[Q, codes]."""
    together = np.concatenate(tokens)
    return np.stack([np.bincount(layer, minlength=codes) for layer in together.T])


def perplexity(counts: np.ndarray) -> float:
    """exp of the entropy of codes that occur i64[codes] times: in codes."""
    used = counts[counts > 0] / max(counts.sum(), 1)
    return float(np.exp(-np.sum(used * np.log(used))))


def mean(rows: Sequence[np.ndarray], columns: np.ndarray = ANGLES) -> float:
    """Mean of what is not NaN in these columns bool[40] of rows f64[40]; NaN if nothing is."""
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
    """Error of joint angles and of speed after encoding and decoding, and the use of the codes.

    Args:
        coordinates: movements f32[T_i, 40] at 30 Hz, of participants the codec was not trained on.
        observed: bool[40] of each.
        healthy: whether each comes from a healthy participant; None where that is unknown.
        true: f32[T_i, 40] what each was before measurement noise, which errors are then against; None: itself.

    Returns:
        median_deg, p95_deg; speed_error (absolute error of `path_speed`, m/s, mean over movements); code_usage (share
        of the codes that occur, mean over layers); tokens; healthy_median_deg, impaired_median_deg, by_group_deg;
        codes, codes_used and perplexity, these of a token's first code; tokens_per_second; with `true`,
        input_median_deg, the error of what the codec was shown. Empty without a movement as long as a token.
    """
    tokens, back = through(codec, coordinates, observed)
    kept = [i for i, found in enumerate(tokens) if len(found)]
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
    of_code = counts([tokens[i] for i in kept], codec.codes)
    seconds = sum(len(back[i]) for i in kept) / CANONICAL_RATE_HZ
    return {
        "median_deg": mean(medians),
        "p95_deg": mean([error.p95 for error in errors]),
        "speed_error": float(np.mean(speeds)) if speeds else float("nan"),
        "code_usage": float((of_code > 0).mean()),
        "tokens": sum(len(tokens[i]) for i in kept),
        "healthy_median_deg": mean(by_health[True]),
        "impaired_median_deg": mean(by_health[False]),
        "by_group_deg": {name: value for name, value in by_group.items() if np.isfinite(value)},
        "codes": codec.codes,
        "codes_used": int((of_code[0] > 0).sum()),
        "perplexity": perplexity(of_code[0]),
        "tokens_per_second": sum(len(tokens[i]) for i in kept) / seconds,
        **({} if true is None else {"input_median_deg": _own(wanted, coordinates, observed, kept)}),
    }


def _own(
    true: Sequence[np.ndarray], shown: Sequence[np.ndarray], observed: Sequence[np.ndarray], kept: Sequence[int]
) -> float:
    """Error in degrees of what the codec is shown."""
    return mean([angles(true[i], shown[i], observed[i]).median for i in kept])
