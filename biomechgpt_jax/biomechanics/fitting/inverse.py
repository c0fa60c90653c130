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

import numpy as np
from scipy.ndimage import gaussian_filter1d
from threadpoolctl import threadpool_limits

from biomechgpt_jax.biomechanics import kinematics
from biomechgpt_jax.biomechanics.fitting import (
    chain,
    keypoints,
    marker_sets,
    observability,
    planar,
    pose_checks,
    solver,
    starting,
    static_trial,
)
from biomechgpt_jax.biomechanics.fitting.landmarks import NOMINAL_HEIGHT_M, landmark
from biomechgpt_jax.biomechanics.fitting.markers import Markers
from biomechgpt_jax.biomechanics.flags import CAUTION
from biomechgpt_jax.biomechanics.kinematics import FRACTIONS, SEGMENTS, Fractions
from biomechgpt_jax.biomechanics.skeleton import COORDINATE_COUNT, INDEX, observed_without
from biomechgpt_jax.biomechanics.trajectory import Trajectory
from biomechgpt_jax.errors import InputError

_SIZING_FRAMES = 32
_SIZING_ROUNDS = 8
# Between people: stature, and each segment's length for a given stature (as a share of it).
_STATURE_SPREAD, _LENGTH_SPREAD = 0.30, 0.06
_FEWEST_SEEN = 6
# Pull towards the neutral pose, metres per radian: matters only for coordinates that no marker determines.
_NEUTRAL = 0.004
# The same for what joint centres do not tell, and towards the assumed tilt of the pelvis: a marker's error over the
# spread of the angle, taken as 10 and 5 degrees.
_UNTOLD, _TILT, _TILT_RAD = 0.06, 0.115, math.radians(5.0)
# Pull towards the smoothed neighbours in the second pass, and over how many seconds they are smoothed.
_SMOOTH, _SMOOTH_S = 0.02, 0.02
# The first pass solves frames that are so many seconds apart, and no more than so many frames.
_APART_S, _MOST_APART = 0.04, 4
_WHOLE = 0.98  # share of the frames of a recording without gaps
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
    """The body with its markers, and what is known of both beforehand."""

    body: chain.Body
    nominal: np.ndarray  # f64[M, 3] metres on a body of unit height
    spread: np.ndarray  # f64[M, 3]
    pull: np.ndarray  # f64[40] towards the starting pose, metres per radian


def fit(markers: Markers, height_m: float | None = None, static: Markers | None = None) -> Fit:
    """Fit the coordinates, and the size of the body, to a recording of markers.

    Args:
        height_m: body height where it is known; otherwise it is estimated from the segments.
        static: a quiet standing trial of the same person, with markers on the joints that the movement may lack; the
            body is sized from it.

    Raises:
        InputError: the labels belong to no known set, or too few markers are seen.
    """
    standing = markers.positions[:0]
    if static is not None:
        markers, standing = static_trial.joined(markers, static)
    ever_M = np.asarray(_is_seen(markers.positions).any(axis=0))
    sized_M = np.asarray(ever_M | _is_seen(standing).any(axis=0))
    set_name, chosen = marker_sets.match(markers.names, sized_M.tolist())
    index = np.array(list(chosen))
    marks = [chosen[i] for i in index]
    names = tuple(markers.names[i] for i in index)
    seen = markers.positions[:, index].astype(np.float32)
    known = _is_seen(seen)
    enough = known.sum(axis=1) >= max(_FEWEST_SEEN, known.any(axis=0).sum() // 2)
    if not enough.any():
        raise InputError("in no frame half of its known markers are seen; fill the gaps first")
    first, last = np.flatnonzero(enough)[[0, -1]]
    seen, enough = seen[first : last + 1], enough[first : last + 1]
    recorded = np.isfinite(seen).any(axis=(1, 2))  # in a gap of the file no marker could be seen
    if len(seen) < 2 or enough.sum() < 0.5 * recorded.sum():
        raise InputError("half of its known markers are seen too rarely; fill the gaps first")
    model = _nominal(marks, height_m)
    centres = set_name in keypoints.KEYPOINT_SETS
    plane = planar.across(seen) if centres else None
    seen = seen if plane is None else planar.filled(seen, marks, plane).astype(np.float32)
    tilt_rad = _pull_of_centres(model, marks) if centres else math.inf
    with threadpool_limits(1, user_api="blas"):  # threads cost more than they give in products as small as these
        _size(model, _sizing_frames(seen, standing[:, index]), fixed_height=height_m is not None)
        body = model.body
        observable, listed = _observable(body, seen, tilt_rad)
        q, error = _poses(model, seen, markers.rate_hz, observable)
    q[:, INDEX["pelvis_rotation"]] = np.unwrap(q[:, INDEX["pelvis_rotation"]])
    told = observed_without((*keypoints.UNTOLD, *(() if plane is None else planar.ACROSS)) if centres else ())
    observed = told & observability.calibrated(
        [mark for mark, sized in zip(marks, sized_M[index], strict=True) if sized]
    )
    observed &= observable[recorded].mean(axis=0) > observability.MOSTLY
    q[~observable] = np.nan
    q[:, ~observed] = 0.0
    listed &= told & observability.calibrated(marks)
    flags = markers.metadata.flags + (() if enough.all() else ("markers-missing",))
    flags += observability.flags(observable[recorded], listed)
    if len(seen) < markers.frames:
        flags += ("trimmed",)
    if math.isfinite(tilt_rad):
        flags += (
            f"{CAUTION}joint centres do not show the tilt of the pelvis; it is assumed from the lean of the trunk",
        )
    if plane is not None:
        flags += (f"{CAUTION}all points lie in one plane: what happens across it is not told",)
    flags += pose_checks.of_markers(markers, {i: mark for i, mark in chosen.items() if ever_M[i]})
    away_m = np.linalg.norm(body.offset - model.nominal * body.height_m, axis=1)
    flags += pose_checks.of_places(away_m, names, body.height_m)
    fractions = Fractions(*(float(value) for value in body.fractions))
    legs = (fractions.thigh + fractions.shank) / (FRACTIONS.thigh + FRACTIONS.shank)
    metadata = dataclasses.replace(
        markers.metadata, height_m=body.height_m, leg_height_m=body.height_m * legs, flags=flags
    )
    trajectory = Trajectory(q.astype(np.float32), observed, markers.rate_hz, metadata)
    metadata = dataclasses.replace(metadata, flags=flags + pose_checks.of_fit(trajectory, error, names))
    return Fit(
        dataclasses.replace(trajectory, metadata=metadata),
        fractions,
        error.astype(np.float32),
        names,
        set_name,
        int(first),
    )


def _is_seen(positions: np.ndarray) -> np.ndarray:
    return np.asarray(np.isfinite(positions).all(axis=2))


def _pull_of_centres(model: _Model, marks: list[str]) -> float:
    """Hold what joint centres do not tell near the starting pose; the spread of the assumed tilt, infinite if shown."""
    model.pull[[INDEX[name] for name in keypoints.UNTOLD]] = _UNTOLD
    if keypoints.show_tilt(marks):
        return math.inf
    model.pull[_TURNS] = _TILT
    return _TILT_RAD


def _nominal(marks: list[str], height_m: float | None) -> _Model:
    rows = [landmark(name) for name in marks]
    place = {name: i for i, name in enumerate(SEGMENTS)}
    nominal = np.array([row.offset_m for row in rows]) / NOMINAL_HEIGHT_M
    height = height_m or kinematics.DEFAULT_HEIGHT_M
    body = chain.Body(
        np.array([place[row.at] for row in rows]),
        np.array([place[row.turns_with] for row in rows]),
        nominal * height,
        height,
        np.array(FRACTIONS),
    )
    pull = np.array([0.0] * 6 + [_NEUTRAL] * (COORDINATE_COUNT - 6))
    return _Model(body, nominal, np.array([row.spread_m for row in rows]), pull)


def _sizing_frames(seen: np.ndarray, standing: np.ndarray) -> np.ndarray:
    """Frames to size the body from, f32[F, K, 3]: of the movement, or of the static trial if there is one.

    Of both, if the static trial lacks markers of the movement: it cannot tell where these are on the body.
    """
    if not len(standing):
        return _spread_frames(seen, _SIZING_FRAMES)
    standing = standing.astype(np.float32)
    if not (_is_seen(seen).any(axis=0) & ~_is_seen(standing).any(axis=0)).any():
        return _spread_frames(standing, _SIZING_FRAMES)
    return np.concatenate([_spread_frames(part, _SIZING_FRAMES // 2) for part in (standing, seen)])


def _spread_frames(seen: np.ndarray, frames: int) -> np.ndarray:
    """Frames over the whole recording in which most markers are seen, [frames, K, 3]."""
    count = _is_seen(seen).sum(axis=1)
    good = np.flatnonzero(count >= np.quantile(count, 0.5))
    return np.asarray(seen[good[np.linspace(0, len(good) - 1, frames).round().astype(int)]])


def _size(model: _Model, seen: np.ndarray, fixed_height: bool) -> None:
    """Estimate stature, segment lengths and marker offsets from a few frames, in place."""
    known, body = _is_seen(seen), model.body
    q = starting.poses(seen, body)
    wanted = _neutral(q)
    frames, lengths = len(q), 1 + len(body.fractions)
    # What is never seen in these frames keeps its nominal place.
    used = np.flatnonzero(known.any(axis=0))
    sizes = np.concatenate([np.arange(lengths), (lengths + 3 * used[:, None] + np.arange(3)).ravel()])
    pulled = np.diag(model.pull**2 + 1e-9)
    for round_ in range(_SIZING_ROUNDS):
        q, _ = solver.solve(q, wanted, model.pull, seen, body, iterations=20 if round_ == 0 else 6)
        placed, jac_q = (x[:, used] for x in chain.with_derivatives(q, body))
        jac_p = chain.by_sizes(q, body, model.nominal)[:, used]
        value = np.where(known[:, used, None], placed - seen[:, used], 0.0)
        rows = (known[:, used] / (1.0 + (value**2).sum(axis=2) / solver.OUTLIER_M**2)).repeat(3, axis=1)[..., None]
        a, b = jac_q.reshape(frames, -1, COORDINATE_COUNT), jac_p[..., sizes].reshape(frames, -1, len(sizes))
        r = value.reshape(frames, -1, 1)
        across = (rows * a).transpose(0, 2, 1)
        gain = np.linalg.solve(across @ a + pulled, across @ np.concatenate([b, r], axis=2))
        left = np.concatenate([b, r], axis=2) - a @ gain
        gathered = (rows * b).reshape(-1, len(sizes)).T @ left.reshape(-1, len(sizes) + 1)
        normal, right = _prior(model, fixed_height)
        normal, right = normal[np.ix_(sizes, sizes)] + gathered[:, :-1], right[sizes] + gathered[:, -1]
        change = np.zeros(jac_p.shape[-1])
        change[sizes] = -np.linalg.solve(normal, right)
        _apply(model, change)


def _neutral(q: np.ndarray) -> np.ndarray:
    """Target of the pull while sizing and in the first pass: an upright body where the pelvis is."""
    wanted = np.zeros_like(q)
    wanted[:, :6] = q[:, :6]
    return wanted


# Standard deviation of a marker in one sizing frame; scaled up because the errors of one trial's frames are alike.
_ERROR_M = 0.01 * math.sqrt(_SIZING_FRAMES)


def _prior(model: _Model, fixed_height: bool) -> tuple[np.ndarray, np.ndarray]:
    """Prior precision of stature, lengths and offsets, and its gradient at the current values."""
    body = model.body
    stature = 1e-4 if fixed_height else _STATURE_SPREAD
    spread = np.concatenate([[stature], np.full(len(body.fractions), _LENGTH_SPREAD), model.spread.ravel()])
    away = np.concatenate(
        [
            [0.0],  # stature is corrected from round to round, without a pull towards its first value
            np.log(body.fractions / np.array(FRACTIONS)),
            (body.offset - model.nominal * body.height_m).ravel(),
        ]
    )
    precision = (_ERROR_M / spread) ** 2
    return np.diag(precision), precision * away


def _apply(model: _Model, change: np.ndarray) -> None:
    body, lengths = model.body, len(model.body.fractions)
    stature = float(np.exp(np.clip(change[0], -0.3, 0.3)))
    grown = body.offset + model.nominal * body.height_m * (stature - 1)
    body.offset = grown + change[1 + lengths :].reshape(body.offset.shape)
    body.height_m *= stature
    body.fractions = body.fractions * np.exp(np.clip(change[1 : 1 + lengths], -0.2, 0.2))


def _observable(body: chain.Body, seen: np.ndarray, tilt_rad: float) -> tuple[np.ndarray, np.ndarray]:
    """Which coordinates the seen markers determine bool[T, 40], and all markers would bool[40].

    Args:
        tilt_rad: to how many radians the angles of the pelvis are known beforehand; infinite if they are not.
    """
    jacobian = chain.with_derivatives(observability.posture()[None], body)[1][0]
    known = np.concatenate([np.ones((1, seen.shape[1]), bool), _is_seen(seen)])
    beforehand = np.ones(COORDINATE_COUNT)
    beforehand[_TURNS] = min(tilt_rad, 1.0)
    mask = observability.observable(jacobian, known, body.height_m, beforehand)
    return mask[1:], mask[0]


def _poses(model: _Model, seen: np.ndarray, rate_hz: float, observable: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Coordinates f64[T, 40] and marker errors f64[T, M] of every frame, smooth over neighbours.

    A coordinate that is not observable in a frame is drawn towards those frames before and after where it is. The first
    pass of a recording without gaps solves some of its frames, closer together than a joint turns by much; the second
    starts between them. With gaps all are solved: a frame that too few markers show would mislead its neighbours.
    """
    known = _is_seen(seen)
    whole = (known == known.any(axis=0)).all(axis=1).mean() >= _WHOLE
    step = max(1, min(_MOST_APART, int(_APART_S * rate_hz))) if whole else 1
    some = np.unique(np.append(np.arange(0, len(seen), step), len(seen) - 1))
    q = starting.poses(seen, model.body)[some]
    q, _ = solver.solve(q, _neutral(q), model.pull, seen[some], model.body)
    pull = np.maximum(_SMOOTH, model.pull)
    near = _between(_bridge(q, observable[some]), some, len(seen))
    near = gaussian_filter1d(near, max(0.5, _SMOOTH_S * rate_hz), axis=0, mode="nearest")
    return solver.solve(near, near, pull, seen, model.body)


def _between(q: np.ndarray, frames: np.ndarray, count: int) -> np.ndarray:
    """Coordinates f64[count, 40] on straight lines between those of some frames, q f64[F, 40]."""
    every = np.arange(count)
    return np.stack([np.interp(every, frames, column) for column in q.T], axis=1)


def _bridge(q: np.ndarray, observable: np.ndarray) -> np.ndarray:
    """Coordinates f64[T, 40] with straight lines where they are not observable, and turns of the pelvis undone."""
    bridged = q.copy()
    for column in range(COORDINATE_COUNT):
        known = np.flatnonzero(observable[:, column])
        if column == _TURNS[2]:
            bridged[known, column] = np.unwrap(bridged[known, column])
        if 0 < len(known) < len(q):
            bridged[:, column] = np.interp(np.arange(len(q)), known, bridged[known, column])
    return bridged
