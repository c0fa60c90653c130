"""Poses that no person takes: what a fit to exchanged, mirrored or foreign markers, or a wrong unit, looks like.

Inverse kinematics finds a pose for any markers. These checks ask whether it is one: flags in words, of the two kinds of
`biomechanics.flags`. Their thresholds stand far from every one of 14 distinct real recordings, a squat and
stairs among them: there the right of the pelvis agrees with its front (cosine 0.90 to 1.00), the toes point where the
pelvis does (0.92 to 0.98), and the knees are 0.17 to 0.53 m apart.
"""

from collections.abc import Mapping

import numpy as np

from biomechgpt_jax.biomechanics.fitting.markers import Markers
from biomechgpt_jax.biomechanics.fitting.standing import SHORTEST_M, TALLEST_M, middle
from biomechgpt_jax.biomechanics.flags import CAUTION, IMPOSSIBLE
from biomechgpt_jax.biomechanics.skeleton import HORIZONTAL_ROOT, INDEX
from biomechgpt_jax.biomechanics.trajectory import Trajectory

_UP = np.array([0.0, 1.0, 0.0])
_AGAINST = -0.3  # cosine
_BACK = ("psis", "sacrum")
_TOES = ("metatarsal", "toe_tip", "big_toe", "small_toe", "ball_centre")
_HEELS = ("heel", "calcaneus", "ankle")
# Pairs that may not change sides, each with the landmark whose distance tells it from crossed legs, if those can cross.
_PAIRS = (
    *(("knee", "ankle"), ("ankle", "knee"), ("heel", "ankle"), ("calcaneus", "ankle"), ("metatarsal", "ankle")),
    *(("toe_tip", "ankle"), ("acromion", ""), ("psis", "")),
)
_CROSSED_M = -0.05
# A knee is bent if its centre is so far from the line from hip to ankle.
_BENT_M = 0.04
# Distance along a segment of one's own varies by less; to a marker of the other limb by more, and by so many times.
_RIGID_M, _TIMES = 0.02, 2.0
_WALKS_M = 1.0
_AT_THE_BOUND = np.radians(89.0)
_FAR_M = 0.05
_MANY = 0.25  # of the markers
# Share of the height by which a marker's fitted place may differ from the usual one of its label. In real recordings
# those of clusters differ by up to 0.10; virtual points of a foot model that bear a cluster's label by 0.18.
_ELSEWHERE = 0.20
_STILL = np.radians(5.0)
_SEATED = np.radians(60.0)
# Knees that bend backwards further than this for a twentieth of the time are no person's: a knee that is said to
# hyperextend does so by 5 to 20 degrees [memory], and rest poses of skeletons are drawn some degrees off.
_BACKWARDS = np.radians(-35.0)
_SWINGING = tuple(f"{name}_{side}" for name in ("hip_flexion", "knee_angle") for side in "rl")
_FEWEST_SWINGING = 2


def of_markers(markers: Markers, chosen: Mapping[int, str]) -> tuple[str, ...]:
    """Flags of markers on the wrong side, before anything is fitted.

    Args:
        markers: upright, as `standing.upright` leaves them.
        chosen: the landmark of each used marker by its index.
    """
    positions = markers.positions
    across = _across(positions, chosen, ("asis",))
    if not np.isfinite(across).any():
        across = _across(positions, chosen, ("hip_centre",))
    feet = _feet(positions, chosen)
    if not np.isfinite(feet).any():
        feet = _knees(positions, chosen)
    front = middle(positions, chosen, ("asis",)) - middle(positions, chosen, _BACK)
    from_pelvis = bool(np.isfinite(front).any())
    if not from_pelvis:
        front = feet
    if _cosine(np.cross(front, _UP), across) < _AGAINST:
        return (f"{IMPOSSIBLE}left and right are exchanged, or the axes of the file are left-handed",)
    if from_pelvis and _cosine(feet, front) < _AGAINST:
        return (f"{IMPOSSIBLE}the toes point behind the pelvis",)
    return _exchanged(markers, chosen, across)


def _exchanged(markers: Markers, chosen: Mapping[int, str], across: np.ndarray) -> tuple[str, ...]:
    """A flag for each pair of markers that stand on each other's side."""
    length = np.linalg.norm(across, axis=1, keepdims=True)
    side = across / np.where(length > 0, length, np.nan)
    walks = _net_m(middle(markers.positions, chosen, ("asis", "hip_centre"))[:, [0, 2]]) > _WALKS_M
    by_landmark: dict[str, int] = {}
    for index, mark in chosen.items():
        by_landmark.setdefault(mark, index)
    flags = []
    for right, index in by_landmark.items():
        partner = next((partner for start, partner in _PAIRS if right.startswith(start)), None)
        left = f"{right[:-2]}_l"
        if partner is None or not right.endswith("_r") or left not in by_landmark:
            continue
        apart = ((markers.positions[:, index] - markers.positions[:, by_landmark[left]]) * side).sum(axis=1)
        known = apart[np.isfinite(apart)]
        if not len(known) or np.median(known) >= _CROSSED_M:
            continue
        # Legs cross in sitting and standing, but no shoulders do, and nobody walks with crossed knees.
        sure = not partner or (walks and right.startswith("knee"))
        if sure or _swapped(markers.positions, chosen, right[:-2], partner):
            labels = f"{markers.names[index]} and {markers.names[by_landmark[left]]}"
            flags.append(f"{IMPOSSIBLE}{labels} are exchanged")
    return tuple(flags)


def _swapped(positions: np.ndarray, chosen: Mapping[int, str], name: str, partner: str) -> bool:
    """Whether two landmarks keep their distance from each other's partner better than from their own."""
    own: list[float] = []
    other: list[float] = []
    for side, opposite in ("rl", "lr"):
        here = middle(positions, chosen, (name,), side)
        for near, spreads in ((side, own), (opposite, other)):
            distance = np.linalg.norm(here - middle(positions, chosen, (partner,), near), axis=1)
            known = distance[np.isfinite(distance)]
            spreads.append(float(np.std(known)) if len(known) else np.nan)
    return bool(np.mean(own) > _RIGID_M and np.mean(own) > _TIMES * np.mean(other))


def of_fit(trajectory: Trajectory, marker_error_m: np.ndarray, names: tuple[str, ...]) -> tuple[str, ...]:
    """Flags of a fitted body: lying on a side of its axes, of no person's size, or far from its markers.

    Args:
        trajectory: with the fitted height in its metadata.
        marker_error_m: f[T, K] distance of each marker from its place, NaN where unseen.
        names: the labels of the K markers.
    """
    flags = []
    for name in ("pelvis_tilt", "pelvis_list"):
        angle = trajectory.coordinates[:, INDEX[name]]
        known = np.abs(angle[np.isfinite(angle)])
        if trajectory.observed[INDEX[name]] and len(known) and (known > _AT_THE_BOUND).mean() > 0.5:
            flags.append(f"{IMPOSSIBLE}the pelvis lies on its front, back or side: is this axis up?")
            break
    height_m = trajectory.metadata.height_m
    if not SHORTEST_M <= height_m <= TALLEST_M:
        flags.append(f"{IMPOSSIBLE}the body would be {height_m:.2f} m tall: is the unit right?")
    errors = {
        name: float(np.nanmedian(error))
        for name, error in zip(names, marker_error_m.T, strict=True)
        if np.isfinite(error).any()
    }
    far = [name for name, error in errors.items() if error > _FAR_M]
    typical = float(np.median(list(errors.values())))
    if typical > _FAR_M or len(far) >= _MANY * len(errors):
        worst = max(errors, key=lambda name: errors[name])
        flags.append(
            f"{IMPOSSIBLE}the markers do not fit a body: {len(far)} of {len(errors)} lie more than 5 cm from their "
            f"places, {worst} {100 * errors[worst]:.0f} cm"
        )
    elif far:
        which = ", ".join(f"{name} {100 * errors[name]:.0f} cm" for name in sorted(far, key=lambda name: -errors[name]))
        flags.append(f"{CAUTION}markers far from their places on the body: {which}")
    return tuple(flags)


def of_places(away_m: np.ndarray, names: tuple[str, ...], height_m: float) -> tuple[str, ...]:
    """A flag of markers that are fitted far from where their labels belong, such as on another segment.

    The place of a cluster's marker is free, so that a wrong one fits well.

    Args:
        away_m: f[K] distance of each marker's fitted place from the usual one of its label.
    """
    far = [(name, away) for name, away in zip(names, away_m, strict=True) if away > _ELSEWHERE * height_m]
    if not far:
        return ()
    which = ", ".join(f"{name} {100 * away:.0f} cm" for name, away in far)
    return (f"{CAUTION}markers far from the part of the body that their labels name: {which}",)


def of_movement(trajectory: Trajectory) -> tuple[str, ...]:
    """Flags of coordinates that cannot be a movement, whatever kind of file they are from."""
    return (*_backward_knees(trajectory), *_still_legs(trajectory))


def _backward_knees(trajectory: Trajectory) -> tuple[str, ...]:
    """A flag if a knee bends the other way: of a file whose sides, axes or signs are exchanged."""
    for side, word in (("r", "right"), ("l", "left")):
        knee = trajectory.coordinates[:, INDEX[f"knee_angle_{side}"]]
        known = knee[np.isfinite(knee)]
        if not trajectory.observed[INDEX[f"knee_angle_{side}"]] or not len(known):
            continue
        bent = np.percentile(known, 5)
        if bent < _BACKWARDS:
            return (
                f"{IMPOSSIBLE}the {word} knee bends backwards by {-np.degrees(bent):.0f} degrees: are sides, axes or "
                "signs exchanged?",
            )
    return ()


def _still_legs(trajectory: Trajectory) -> tuple[str, ...]:
    """A flag if the body travels and its legs do not move."""
    observed = [name for name in _SWINGING if trajectory.observed[INDEX[name]]]
    path = [INDEX[name] for name in HORIZONTAL_ROOT]
    if len(observed) < _FEWEST_SWINGING or not trajectory.observed[path].all():
        return ()
    q = trajectory.coordinates
    travelled = _net_m(q[:, path])
    legs = q[:, [INDEX[name] for name in observed]]
    known = legs[np.isfinite(legs).all(axis=1)]
    if not travelled > _WALKS_M or not len(known):
        return ()
    low, middle_, high = np.percentile(known, [5, 50, 95], axis=0)
    # Who sits in a wheelchair travels with legs that do not move.
    if (high - low).max() >= _STILL or np.abs(middle_).max() > _SEATED:
        return ()
    return (f"{IMPOSSIBLE}the legs do not move although the body travels {travelled:.1f} m",)


def _across(positions: np.ndarray, chosen: Mapping[int, str], starts: tuple[str, ...]) -> np.ndarray:
    """From the left landmarks whose names begin so to the right ones, f[T, 3]."""
    return middle(positions, chosen, starts, "r") - middle(positions, chosen, starts, "l")


def _feet(positions: np.ndarray, chosen: Mapping[int, str]) -> np.ndarray:
    """Where the toes point, from both feet, f[T, 3]; NaN where neither is seen."""
    feet = np.zeros((len(positions), 3))
    seen = np.zeros((len(positions), 1), bool)
    for side in "rl":
        ways = (middle(positions, chosen, _TOES, side) - middle(positions, chosen, (heel,), side) for heel in _HEELS)
        way = next((way for way in ways if np.isfinite(way).any()), np.full_like(feet, np.nan))
        known = np.isfinite(way).all(axis=1, keepdims=True)
        feet += np.where(known, way, 0.0)
        seen |= known
    return np.where(seen, feet, np.nan)


def _knees(positions: np.ndarray, chosen: Mapping[int, str]) -> np.ndarray:
    """Where the knees bend to, from both legs, f[T, 3]; NaN in frames in which neither is bent."""
    front = np.zeros((len(positions), 3))
    bent = np.zeros((len(positions), 1), bool)
    for side in "rl":
        hip, knee, ankle = (middle(positions, chosen, (f"{joint}_centre",), side) for joint in ("hip", "knee", "ankle"))
        leg = ankle - hip
        length = (leg**2).sum(axis=1, keepdims=True)
        share = ((knee - hip) * leg).sum(axis=1, keepdims=True) / np.where(length > 0, length, np.nan)
        ahead = knee - hip - share * leg
        known = np.linalg.norm(ahead, axis=1, keepdims=True) > _BENT_M
        front += np.where(known, ahead, 0.0)
        bent |= known
    return np.where(bent, front, np.nan)


def _cosine(a: np.ndarray, b: np.ndarray) -> float:
    """Median of the cosine between horizontal directions [T, 3]; 1 where they are never seen together."""
    a, b = a * (1 - _UP), b * (1 - _UP)
    length = np.linalg.norm(a, axis=1) * np.linalg.norm(b, axis=1)
    known = length > 0
    return float(np.median((a * b).sum(axis=1)[known] / length[known])) if known.any() else 1.0


def _net_m(path: np.ndarray) -> float:
    """Distance between the first and the last known place of a path f[T, 2]; 0 where there are none."""
    known = path[np.isfinite(path).all(axis=1)]
    return float(np.linalg.norm(known[-1] - known[0])) if len(known) else 0.0
