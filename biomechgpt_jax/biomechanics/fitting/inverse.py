"""Inverse kinematics: from marker positions to body size and the 40 coordinates.

Levenberg-Marquardt over all frames at once, with joint limits and Cauchy weights, which reduce the influence of markers
that jump. Body size and marker offsets are estimated first, on a spread of frames: both are linear in the marker
positions once the segments' orientations are known, and the poses are eliminated from their normal equations
(variable projection; Golub and Pereyra 1973), so that size and pose do not chase each other. A coordinate that the
markers seen in a frame do not determine (`observability`) is missing in that frame.
"""

import dataclasses
import math
from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np
from scipy.ndimage import gaussian_filter1d

from biomechgpt_jax.biomechanics import kinematics
from biomechgpt_jax.biomechanics.fitting import marker_sets, observability, pose_checks, solver
from biomechgpt_jax.biomechanics.fitting.marker_sets import NOMINAL_HEIGHT_M, landmark
from biomechgpt_jax.biomechanics.fitting.markers import Markers
from biomechgpt_jax.biomechanics.kinematics import FRACTIONS, SEGMENTS, Fractions
from biomechgpt_jax.biomechanics.skeleton import COORDINATE_COUNT, INDEX
from biomechgpt_jax.biomechanics.trajectory import Trajectory
from biomechgpt_jax.errors import InputError

_MOST_MARKERS = 80  # one shape for all files
_SIZING_FRAMES = 32
_SIZING_ROUNDS = 8
# Between people: stature, and each segment's length for a given stature (as a share of it).
_STATURE_SPREAD, _LENGTH_SPREAD = 0.30, 0.06
_FEWEST_SEEN = 6
# Pull towards the neutral pose, metres per radian: matters only for coordinates that no marker determines.
_NEUTRAL = 0.004
# Pull towards the smoothed neighbours in the second pass, and over how many seconds they are smoothed.
_SMOOTH, _SMOOTH_S = 0.02, 0.02
_ROOT = [INDEX[name] for name in ("pelvis_tx", "pelvis_ty", "pelvis_tz")]
_TURNS = [INDEX[name] for name in ("pelvis_tilt", "pelvis_list", "pelvis_rotation")]


@dataclass(frozen=True)
class Fit:
    """The result of inverse kinematics.

    Attributes:
        trajectory: coordinates at the markers' own rate, NaN in frames whose markers do not determine them; those that
            are not determined for most of the time are masked. The metadata's height is the body height that the
            segment lengths imply.
        fractions: segment lengths as fractions of that height.
        marker_error_m: f32[T, K] distance of each used marker from its place on the body; NaN where unseen.
        marker_names: the labels of the K used markers.
        marker_set: name of the marker set that they belong to.
        first_frame: frame of the recording at which the trajectory begins; too few markers are seen before it.
    """

    trajectory: Trajectory
    fractions: Fractions
    marker_error_m: np.ndarray
    marker_names: tuple[str, ...]
    marker_set: str
    first_frame: int = 0


@dataclass
class _Model:
    """The body with its markers; arrays of length M = _MOST_MARKERS."""

    at: np.ndarray  # i32[M] segment from whose origin the offset is measured
    turns: np.ndarray  # i32[M] segment in whose frame the offset is measured
    offset: np.ndarray  # f32[M, 3] metres
    nominal: np.ndarray  # f32[M, 3] metres on a body of unit height
    spread: np.ndarray  # f32[M, 3]
    height_m: float
    fractions: np.ndarray  # f32[17]


def fit(markers: Markers, height_m: float | None = None, static: Markers | None = None) -> Fit:
    """Fit the coordinates, and the size of the body, to a recording of markers.

    Args:
        height_m: body height where it is known; otherwise it is estimated from the segments.
        static: a quiet standing trial of the same person with the same markers, from which to size the body.

    Raises:
        InputError: the labels belong to no known set, or too few markers are seen.
    """
    ever_seen = np.isfinite(markers.positions).all(axis=2).any(axis=0)
    set_name, chosen = marker_sets.match(markers.names, list(ever_seen))
    if static is not None and set(markers.names[i] for i in chosen) - set(static.names):
        raise InputError("the static trial lacks markers of the movement; give one with the same markers")
    index = np.array(list(chosen))
    names = tuple(markers.names[i] for i in index)
    seen = markers.positions[:, index].astype(np.float32)
    known = np.isfinite(seen).all(axis=2)
    ever = known.any(axis=0)
    enough = known.sum(axis=1) >= max(_FEWEST_SEEN, ever.sum() // 2)
    if not enough.any():
        raise InputError("in no frame half of its known markers are seen; fill the gaps first")
    first, last = np.flatnonzero(enough)[[0, -1]]
    seen, enough = seen[first : last + 1], enough[first : last + 1]
    recorded = np.isfinite(seen).any(axis=(1, 2))  # in a gap of the file no marker could be seen
    if len(seen) < 2 or enough.sum() < 0.5 * recorded.sum():
        raise InputError("half of its known markers are seen too rarely; fill the gaps first")
    model = _nominal([chosen[i] for i in index], height_m)
    sizing = seen if static is None else static.positions[:, [static.names.index(name) for name in names]]
    _size(model, _pad(_spread_frames(sizing.astype(np.float32))), fixed_height=height_m is not None)
    observable, listed = _observable(model, _pad(seen), len(index))
    q, error = _poses(model, _pad(seen), markers.rate_hz, observable)
    q[:, INDEX["pelvis_rotation"]] = np.unwrap(q[:, INDEX["pelvis_rotation"]])
    observed = observability.calibrated([chosen[i] for i in index[ever]])
    observed &= observable[recorded].mean(axis=0) > observability.MOSTLY
    q[~observable] = np.nan
    q[:, ~observed] = 0.0
    listed &= observability.calibrated([chosen[i] for i in index])
    flags = markers.metadata.flags + (() if enough.all() else ("markers-missing",))
    flags += observability.flags(observable[recorded], listed)
    if len(seen) < markers.frames:
        flags += ("trimmed",)
    flags += pose_checks.of_markers(markers, {i: mark for i, mark in chosen.items() if ever_seen[i]})
    fractions = Fractions(*(float(value) for value in model.fractions))
    legs = (fractions.thigh + fractions.shank) / (FRACTIONS.thigh + FRACTIONS.shank)
    metadata = dataclasses.replace(
        markers.metadata, height_m=model.height_m, leg_height_m=model.height_m * legs, flags=flags
    )
    trajectory = Trajectory(q.astype(np.float32), observed, markers.rate_hz, metadata)
    metadata = dataclasses.replace(
        metadata, flags=flags + pose_checks.of_fit(trajectory, error[:, : len(index)], names)
    )
    return Fit(
        dataclasses.replace(trajectory, metadata=metadata),
        fractions,
        error[:, : len(index)],
        names,
        set_name,
        int(first),
    )


def _nominal(marks: list[str], height_m: float | None) -> _Model:
    if len(marks) > _MOST_MARKERS:
        raise InputError(f"{len(marks)} known markers; at most {_MOST_MARKERS} can be used")
    rows = [landmark(name) for name in marks]
    pad = _MOST_MARKERS - len(rows)
    place = {name: i for i, name in enumerate(SEGMENTS)}
    nominal = np.array([row.offset_m for row in rows] + [(0.0, 0.0, 0.0)] * pad, np.float32) / NOMINAL_HEIGHT_M
    height = height_m or kinematics.DEFAULT_HEIGHT_M
    return _Model(
        np.array([place[row.at] for row in rows] + [0] * pad, np.int32),
        np.array([place[row.turns_with] for row in rows] + [0] * pad, np.int32),
        nominal * height,
        nominal,
        np.array([row.spread_m for row in rows] + [(1.0, 1.0, 1.0)] * pad, np.float32),
        height,
        np.array(FRACTIONS, np.float32),
    )


def _pad(seen: np.ndarray) -> np.ndarray:
    return np.pad(seen, ((0, 0), (0, _MOST_MARKERS - seen.shape[1]), (0, 0)), constant_values=np.nan)


def _spread_frames(seen: np.ndarray) -> np.ndarray:
    """Frames over the whole recording in which most markers are seen, [F, K, 3]."""
    count = np.isfinite(seen).all(axis=2).sum(axis=1)
    good = np.flatnonzero(count >= np.quantile(count, 0.5))
    return seen[good[np.linspace(0, len(good) - 1, _SIZING_FRAMES).round().astype(int)]]


def _start(model: _Model, seen: np.ndarray) -> np.ndarray:
    """Initial coordinates f32[T, 40]: upright with slightly bent knees, facing as the pelvis markers do."""
    q = np.zeros((len(seen), COORDINATE_COUNT), np.float32)
    for side in "rl":
        q[:, INDEX[f"knee_angle_{side}"]] = 0.2
        q[:, INDEX[f"elbow_flex_{side}"]] = 0.3
    pelvic = (model.turns == SEGMENTS.index("pelvis")) & (model.spread[:, 0] < 1.0)
    if pelvic.sum() < 3:  # hip centres stand in
        pelvic = pelvic | (model.at == SEGMENTS.index("thigh_r")) | (model.at == SEGMENTS.index("thigh_l"))
    body = jax.device_get(kinematics.segments(jnp.zeros(COORDINATE_COUNT), model.height_m, Fractions(*model.fractions)))
    rest = np.stack([body[SEGMENTS[i]].origin for i in model.at]) + model.offset  # all segments are upright
    last = None
    for frame, positions in enumerate(seen):
        known = pelvic & np.isfinite(positions).all(axis=1)
        if known.sum() >= 3:
            last = _rigid(rest[known], positions[known])
        if last is not None:
            q[frame, _TURNS], q[frame, _ROOT] = last
    placed = np.flatnonzero(q[:, _ROOT].any(axis=1))
    if len(placed) == 0:
        raise InputError("fewer than 3 markers of the pelvis are ever seen together; fill their gaps first")
    q[: placed[0]] = q[placed[0]]
    return q


def _rigid(rest: np.ndarray, seen: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Pelvis angles and origin that map points `rest` onto `seen`, both [n, 3] metres (Kabsch 1976)."""
    middle, there = rest.mean(axis=0), seen.mean(axis=0)
    u, _, vt = np.linalg.svd((seen - there).T @ (rest - middle))
    turn = u @ np.diag([1.0, 1.0, np.sign(np.linalg.det(u @ vt))]) @ vt
    # R = Rz(tilt) Rx(list) Ry(rotation)
    list_ = math.asin(float(np.clip(turn[2, 1], -1, 1)))
    tilt = math.atan2(-turn[0, 1], turn[1, 1])
    rotation = math.atan2(-turn[2, 0], turn[2, 2])
    return np.array([tilt, list_, rotation]), there - turn @ middle


def _size(model: _Model, seen: np.ndarray, fixed_height: bool) -> None:
    """Estimate stature, segment lengths and marker offsets from a few frames, in place."""
    known = np.isfinite(seen).all(axis=2)
    q = _start(model, seen)
    wanted = _neutral(q)
    free = COORDINATE_COUNT
    for round_ in range(_SIZING_ROUNDS):
        args = (model.at, model.turns, model.offset, np.float32(model.height_m), model.fractions)
        q, _ = solver.in_chunks(q, wanted, _pull(), seen, args, iterations=20 if round_ == 0 else 6)
        wanted = _neutral(q)
        jac_q, jac_p, value = (np.asarray(x, np.float64) for x in solver.sensitivities(q, seen, *args, model.nominal))
        count = jac_p.shape[-1]
        normal, right = _prior(model, fixed_height)
        for frame in range(len(q)):
            weight = known[frame] / (1.0 + (value[frame] ** 2).sum(axis=1) / solver.OUTLIER_M**2)
            rows = np.repeat(weight, 3)
            a, b = jac_q[frame].reshape(-1, free), jac_p[frame].reshape(-1, count)
            r = value[frame].reshape(-1)
            posed = a.T @ (rows[:, None] * a) + np.diag(_pull().astype(np.float64) ** 2 + 1e-9)
            gain = np.linalg.solve(posed, a.T @ (rows[:, None] * np.column_stack([b, r])))
            normal += b.T @ (rows[:, None] * (b - a @ gain[:, :-1]))
            right += b.T @ (rows * (r - a @ gain[:, -1]))
        _apply(model, -np.linalg.solve(normal, right))


def _neutral(q: np.ndarray) -> np.ndarray:
    """Target of the weak pull while sizing and in the first pass: an upright body where the pelvis is."""
    wanted = np.zeros_like(q)
    wanted[:, :6] = q[:, :6]
    return wanted


def _pull() -> np.ndarray:
    pull = np.full(COORDINATE_COUNT, _NEUTRAL, np.float32)
    pull[:6] = 0.0
    return pull


# Standard deviation of a marker in one sizing frame; scaled up because the errors of one trial's frames are alike.
_ERROR_M = 0.01 * math.sqrt(_SIZING_FRAMES)


def _prior(model: _Model, fixed_height: bool) -> tuple[np.ndarray, np.ndarray]:
    """Prior precision of stature, lengths and offsets, and its gradient at the current values."""
    lengths = len(model.fractions)
    stature = 1e-4 if fixed_height else _STATURE_SPREAD
    spread = np.concatenate([[stature], np.full(lengths, _LENGTH_SPREAD), model.spread.ravel()])
    away = np.concatenate(
        [
            [0.0],  # stature is corrected from round to round, without a pull towards its first value
            np.log(model.fractions / np.array(FRACTIONS)),
            (model.offset - model.nominal * model.height_m).ravel(),
        ]
    )
    precision = (_ERROR_M / spread) ** 2
    return np.diag(precision), precision * away


def _apply(model: _Model, change: np.ndarray) -> None:
    lengths = len(model.fractions)
    stature = float(np.exp(np.clip(change[0], -0.3, 0.3)))
    grown = model.offset + model.nominal * model.height_m * (stature - 1)
    model.offset = (grown + change[1 + lengths :].reshape(model.offset.shape)).astype(np.float32)
    model.height_m *= stature
    model.fractions = (model.fractions * np.exp(np.clip(change[1 : 1 + lengths], -0.2, 0.2))).astype(np.float32)


def _observable(model: _Model, seen: np.ndarray, listed: int) -> tuple[np.ndarray, np.ndarray]:
    """Which coordinates the seen markers determine bool[T, 40], and all markers, the first `listed`, would bool[40]."""
    args = (model.at, model.turns, model.offset, np.float32(model.height_m), model.fractions, model.nominal)
    # The Jacobian of one posture, by the program that sized the body: another would have to be compiled.
    q = np.tile(observability.posture(), (_SIZING_FRAMES, 1))
    jacobian = np.asarray(
        solver.sensitivities(q, np.full((_SIZING_FRAMES, *seen.shape[1:]), np.nan, np.float32), *args)[0]
    )
    known = np.concatenate([np.arange(seen.shape[1])[None] < listed, np.isfinite(seen).all(axis=2)])
    mask = observability.observable(jacobian[0], known, model.height_m)
    return mask[1:], mask[0]


def _poses(model: _Model, seen: np.ndarray, rate_hz: float, observable: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Coordinates f32[T, 40] and marker errors f32[T, M] of every frame, smooth over neighbours.

    A coordinate that is not observable in a frame is drawn towards those frames before and after where it is.
    """
    args = (model.at, model.turns, model.offset, np.float32(model.height_m), model.fractions)
    q = _start(model, seen)
    q, _ = solver.in_chunks(q, _neutral(q), _pull(), seen, args)
    pull = np.full(COORDINATE_COUNT, _SMOOTH, np.float32)
    near = _bridge(q, observable)
    near = gaussian_filter1d(near, max(0.5, _SMOOTH_S * rate_hz), axis=0, mode="nearest").astype(np.float32)
    return solver.in_chunks(near, near, pull, seen, args)


def _bridge(q: np.ndarray, observable: np.ndarray) -> np.ndarray:
    """Coordinates f32[T, 40] with straight lines where they are not observable, and turns of the pelvis undone."""
    bridged = q.copy()
    for column in range(COORDINATE_COUNT):
        known = np.flatnonzero(observable[:, column])
        if column == _TURNS[2]:
            bridged[known, column] = np.unwrap(bridged[known, column])
        if 0 < len(known) < len(q):
            bridged[:, column] = np.interp(np.arange(len(q)), known, bridged[known, column])
    return bridged
