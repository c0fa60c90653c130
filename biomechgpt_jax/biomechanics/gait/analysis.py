"""Spatiotemporal parameters of walking.

`analyse` measures a trajectory; `parameters` computes from a contact schedule the parameters that a clinician reads.
Definitions: asymmetry = 100 |L - R| / mean(L, R); double support = both phases as a percentage of the stride; event
times are sub-frame. Parameters that a movement does not support are left out of the result, never guessed.
"""

from typing import NamedTuple

import numpy as np

from biomechgpt_jax.biomechanics.gait import smoothing
from biomechgpt_jax.biomechanics.gait.contacts import contacts_from_points, detect_contacts
from biomechgpt_jax.biomechanics.gait.strides import Heading, Strides, between_strikes, between_toe_offs
from biomechgpt_jax.biomechanics.skeleton import HORIZONTAL_ROOT, INDEX
from biomechgpt_jax.biomechanics.trajectory import LEFT, RIGHT, Contacts, Trajectory, replace
from biomechgpt_jax.errors import InputError

__all__ = [
    "Gait",
    "Turn",
    "analyse",
    "contacts_from_points",
    "detect_contacts",
    "parameters",
    "pelvis_heading",
    "turns",
]

# Least number of strides of one foot for their variability, and of steps per side for asymmetry.
MIN_STRIDES, MIN_STEPS = 3, 2
# A turn covers at least this angle; its rate reaches PEAK and it starts and ends at SLOW (El-Gohary 2014, Sensors
# 14:356 [memory]). The rate is that of the heading smoothed with a Gaussian of this standard deviation, so that the
# swing of the pelvis in every stride does not count as a turn.
TURN_RAD = np.radians(45.0)
PEAK_RAD_S, SLOW_RAD_S = np.radians(15.0), np.radians(5.0)
_SMOOTHING_S, _FINE_S = 0.35, 0.1
# The duration of a turn covers this middle share of its angle: its first and last degrees are lost in the swing.
_MIDDLE = 0.9

# A person whose feet are lifted and set down without moving further than this does not walk.
_SHORTEST_M = 0.1

_PELVIS_ROTATIONS = ("pelvis_tilt", "pelvis_list", "pelvis_rotation")
_PELVIS = [INDEX[name] for name in _PELVIS_ROTATIONS]
_PATH = [INDEX[name] for name in HORIZONTAL_ROOT]
# Coordinates that must be observed to detect steps.
LEGS = tuple(f"{joint}_{side}" for joint in ("hip_flexion", "knee_angle", "ankle_angle") for side in "rl")
_PATH_AND_LEGS = (*HORIZONTAL_ROOT, *LEGS)


class Turn(NamedTuple):
    """A turn of the pelvis: its middle 90 % in seconds, its whole angle in radians, positive to the left."""

    start_s: float
    end_s: float
    angle: float


class Gait(NamedTuple):
    """What a trajectory shows of a walk.

    Attributes:
        parameters: those of `parameters`; if the pelvis is observed, also turn_count, turn_angle (degrees, sum over all
            turns) and turn_time (s, mean).
        contacts: the events on which the parameters are measured.
        strides: all complete strides, including those with turns.
        single_stride: whether speed and cadence rest on a single stride.
        turns: the turns in time order.
    """

    parameters: dict[str, float]
    contacts: Contacts
    strides: Strides
    single_stride: bool
    turns: tuple[Turn, ...]


def analyse(
    trajectory: Trajectory, height_m: float | None = None, belt_m_s: float = 0.0, contacts: Contacts | None = None
) -> Gait:
    """Measure events, strides, turns and parameters of a walk.

    A recording too short for two strikes of a foot may contain two toe offs: then speed (of the pelvis) and cadence are
    those of that one stride.

    Args:
        height_m: body height; if None that of `contacts.body_height`.
        belt_m_s: speed of a treadmill on which the person walks forward, towards the mean heading of the pelvis; 0 for
            a recording over ground, or one converted to walking over ground.
        contacts: events known from another source, in the same coordinates; detected if None.

    Raises:
        InputError: the path of the pelvis or a leg joint is not recorded, so resting feet cannot be detected; or one of
            them is missing in some frames.
    """
    trajectory.require_complete((*_PATH_AND_LEGS, *_PELVIS_ROTATIONS))
    missing = [name for name in _PATH_AND_LEGS if not trajectory.observed[INDEX[name]]]
    if contacts is None and missing:
        raise InputError(
            f"{trajectory.metadata.source or 'movement'}: {', '.join(missing[:3])} not recorded, so steps cannot be "
            "detected; give a file that contains them"
        )
    heading = pelvis_heading(trajectory) if trajectory.observed[_PELVIS].all() else None
    if belt_m_s:
        if heading is None:
            raise InputError(
                f"{trajectory.metadata.source or 'movement'}: pelvis rotation not recorded, but a belt speed needs it; "
                "give a file that contains it"
            )
        trajectory = _over_ground(trajectory, belt_m_s, float(np.mean(heading.angle)))
    events = detect_contacts(trajectory, height_m) if contacts is None else contacts
    strides = between_strikes(events, heading)
    if not len(strides.foot) and heading is not None and trajectory.observed[_PATH].all():
        strides = _add_displacement(between_toe_offs(events, heading), trajectory)
    clean = strides.where(strides.straight)
    measured = _measure(clean, events)
    turn_list = () if heading is None else turns(heading, trajectory.rate_hz)
    if heading is not None:
        measured["turn_count"] = float(len(turn_list))
        measured["turn_angle"] = float(np.degrees(sum(abs(turn.angle) for turn in turn_list)))
    if turn_list:
        measured["turn_time"] = float(np.mean([turn.end_s - turn.start_s for turn in turn_list]))
    return Gait(measured, events, strides, len(clean.foot) == 1, turn_list)


def parameters(contacts: Contacts, start_s: float = -np.inf, end_s: float = np.inf) -> dict[str, float]:
    """Spatiotemporal parameters of the complete strides between two times; strides that turn are left out.

    One stride supports only walking_speed (m/s), cadence (steps/min), stride_time (s) and stride_length (m). More
    strides support step_time (s), step_length and step_width (m; distance of a heel strike from the line through the
    other foot's strikes before and after it) and, with the toe offs inside them, double_support, stance and swing (%).
    Two steps per side support step_time, step_length and stance of each side (_right, _left) and step_time_asymmetry
    and step_length_asymmetry (%). Three strides of one foot support stride_time_cv and stride_length_cv (%, standard
    deviation over mean, within each foot) and step_width_sd (m).
    """
    inside = _restrict(contacts, start_s, end_s)
    strides = between_strikes(inside)
    return _measure(strides.where(strides.straight), inside)


def _measure(strides: Strides, contacts: Contacts) -> dict[str, float]:
    """Parameters of straight strides."""
    if not len(strides.foot):
        return {}
    duration = strides.end_s - strides.start_s
    length = np.hypot(*strides.vector_m.T)
    basic = {
        "walking_speed": float(length.sum() / duration.sum()),
        "cadence": float(120.0 / duration.mean()),
        "stride_time": float(duration.mean()),
        "stride_length": float(length.mean()),
    }
    if len(duration) == 1 or (strides.first < 0).any():
        return {name: value for name, value in basic.items() if np.isfinite(value)}
    return basic | _phases(strides, contacts) | _steps(strides, contacts) | _variability(strides, contacts)


def _phases(strides: Strides, contacts: Contacts) -> dict[str, float]:
    """Stance, swing and double support in percent of the stride, over the strides that contain their toe offs."""
    first, foot = strides.first, strides.foot
    middle = contacts.strike_time[first + 1].astype(np.float64)
    duration = strides.end_s - strides.start_s
    lift = _next_off(contacts, foot, strides.start_s)
    stance = 100 * (lift - strides.start_s) / duration
    stance[lift >= strides.end_s] = np.nan
    initial = _next_off(contacts, 1 - foot, strides.start_s) - strides.start_s
    final = _next_off(contacts, foot, middle) - middle
    double = 100 * (initial + final) / duration
    # A toe off this late belongs to another stride; the one of this stride was missed.
    double[(initial > 0.5 * duration) | (final > 0.5 * duration)] = np.nan
    phases = {}
    if np.isfinite(double).any():
        phases["double_support"] = float(np.nanmean(double))
    if np.isfinite(stance).any():
        phases["stance"] = float(np.nanmean(stance))
        phases["swing"] = 100.0 - phases["stance"]
    by_side = [stance[(foot == side) & np.isfinite(stance)] for side in (RIGHT, LEFT)]
    if min(len(values) for values in by_side) >= MIN_STEPS:
        phases |= _sides("stance", by_side)
    return phases


def _next_off(contacts: Contacts, foot: np.ndarray, after_s: np.ndarray) -> np.ndarray:
    """Time of each foot's first toe off at or after each time, f64[S]; infinite if there is none."""
    next_off = np.full(len(foot), np.inf)
    for side in (RIGHT, LEFT):
        offs = np.append(contacts.off_time[contacts.off_foot == side].astype(np.float64), np.inf)
        next_off[foot == side] = offs[np.searchsorted(offs, after_s[foot == side])]
    return next_off


def _steps(strides: Strides, contacts: Contacts) -> dict[str, float]:
    """Times and lengths of the steps of these strides.

    A step belongs to the foot that lands. Its length is measured along the stride, as the mean over the one or two
    strides that contain it.
    """
    time, xz = contacts.strike_time.astype(np.float64), contacts.strike_xz.astype(np.float64)
    step = np.concatenate([strides.first, strides.first + 1])
    displacement = xz[step + 1] - xz[step]
    along = np.sum(displacement * np.tile(_direction(strides), (2, 1)), axis=1)
    count = np.bincount(step)
    steps = np.flatnonzero(count)
    length = np.bincount(step, along)[steps] / count[steps]
    duration = time[steps + 1] - time[steps]
    foot = contacts.strike_foot[steps + 1]
    measured = {"step_length": float(length.mean()), "step_time": float(duration.mean())}
    for name, values in (("step_time", duration), ("step_length", length)):
        by_side = [values[foot == side] for side in (RIGHT, LEFT)]
        if min(len(side) for side in by_side) >= MIN_STEPS:
            measured |= _sides(name, by_side)
            right, left = (float(side.mean()) for side in by_side)
            measured[f"{name}_asymmetry"] = 100.0 * abs(left - right) / max(0.5 * abs(left + right), 1e-6)
    return measured


def _sides(name: str, by_side: list[np.ndarray]) -> dict[str, float]:
    return {f"{name}_{side}": float(values.mean()) for side, values in zip(("right", "left"), by_side, strict=True)}


def _variability(strides: Strides, contacts: Contacts) -> dict[str, float]:
    """Step width, and the variability of strides."""
    xz = contacts.strike_xz.astype(np.float64)
    across = _cross(_direction(strides), xz[strides.first + 1] - xz[strides.first])
    # The width is signed, so that a heel that lands beyond the other foot's line narrows the mean.
    width = np.where(strides.foot == LEFT, across, -across)
    measured = {"step_width": abs(float(width.mean()))}
    duration = strides.end_s - strides.start_s
    for name, values in (("stride_time_cv", duration), ("stride_length_cv", np.hypot(*strides.vector_m.T))):
        pooled = _pool(values, strides.foot)
        if pooled is not None:
            measured[name] = 100.0 * pooled[0] / pooled[1]
    pooled = _pool(width, strides.foot)
    if pooled is not None:
        measured["step_width_sd"] = pooled[0]
    return measured


def _pool(values: np.ndarray, foot: np.ndarray) -> tuple[float, float] | None:
    """Standard deviation pooled over the feet, and the mean; None if no foot has MIN_STRIDES strides.

    Pooling keeps a constant difference between the feet from counting as variability.
    """
    enough = [own for own in (values[foot == side] for side in (RIGHT, LEFT)) if len(own) >= MIN_STRIDES]
    if not enough:
        return None
    squares = sum(float(np.sum((own - own.mean()) ** 2)) for own in enough)
    freedom = sum(len(own) - 1 for own in enough)
    return float(np.sqrt(squares / freedom)), float(np.concatenate(enough).mean())


def _direction(strides: Strides) -> np.ndarray:
    return strides.vector_m / np.maximum(np.hypot(*strides.vector_m.T), 1e-6)[:, None]


def _cross(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Signed area spanned by vectors f[n, 2] in the floor plane; positive where b points to the right of a."""
    return a[:, 0] * b[:, 1] - a[:, 1] * b[:, 0]


def _restrict(contacts: Contacts, start_s: float, end_s: float) -> Contacts:
    keep = (contacts.strike_time >= start_s) & (contacts.strike_time <= end_s)
    off = (contacts.off_time >= start_s) & (contacts.off_time <= end_s)
    return Contacts(
        contacts.strike_time[keep],
        contacts.strike_foot[keep],
        contacts.strike_xz[keep],
        contacts.off_time[off],
        contacts.off_foot[off],
    )


def pelvis_heading(trajectory: Trajectory) -> Heading:
    """Direction on the floor in which the front of the pelvis points, independent of the trunk's lean."""
    tilt, list_, rotation = trajectory.coordinates[:, _PELVIS].astype(np.float64).T
    # The first column of Rz(tilt) Rx(list) Ry(rotation) is the pelvis' forward axis; these are its x and z.
    forward = np.cos(tilt) * np.cos(rotation) - np.sin(tilt) * np.sin(list_) * np.sin(rotation)
    right = -np.cos(list_) * np.sin(rotation)
    return Heading(np.arange(len(tilt)) / trajectory.rate_hz, np.unwrap(np.arctan2(-right, forward)))


def turns(heading: Heading, rate_hz: float) -> tuple[Turn, ...]:
    """Turns of more than TURN_RAD, in time order."""
    if len(heading.angle) < 2:
        return ()
    smooth = smoothing.gaussian(heading.angle, _SMOOTHING_S * rate_hz)
    fine = smoothing.gaussian(heading.angle, _FINE_S * rate_hz)
    rate = np.gradient(smooth) * rate_hz
    side = np.sign(rate) * (np.abs(rate) > SLOW_RAD_S)
    edges = np.flatnonzero(np.diff(side, prepend=0.0, append=0.0))
    result = []
    for start, end in zip(edges[:-1], edges[1:], strict=True):
        angle = smooth[end - 1] - smooth[start]
        if abs(angle) < TURN_RAD or np.abs(rate[start:end]).max() < PEAK_RAD_S:
            continue
        share = (fine[start:end] - smooth[start]) / angle
        before = np.flatnonzero(share <= 0.5 * (1 - _MIDDLE))
        after = np.flatnonzero(share >= 0.5 * (1 + _MIDDLE))
        first = start + (before[-1] if len(before) else 0)
        last = start + (after[0] if len(after) else end - start - 1)
        result.append(Turn(float(first / rate_hz), float(last / rate_hz), float(angle)))
    return tuple(result)


def _over_ground(trajectory: Trajectory, belt_m_s: float, heading: float) -> Trajectory:
    """A walk on a treadmill, converted to walking over ground."""
    distance = belt_m_s * np.arange(trajectory.frames) / trajectory.rate_hz
    coordinates = trajectory.coordinates.copy()
    coordinates[:, INDEX["pelvis_tx"]] += distance * np.cos(heading)
    coordinates[:, INDEX["pelvis_tz"]] -= distance * np.sin(heading)
    return replace(trajectory, coordinates=coordinates)


def _add_displacement(strides: Strides, trajectory: Trajectory) -> Strides:
    """Strides with the displacement of the pelvis, which over a cycle equals the feet's; drops steps on the spot."""
    time = np.arange(trajectory.frames) / trajectory.rate_hz
    ends = [
        np.stack([np.interp(at, time, trajectory.coordinates[:, index]) for index in _PATH], axis=1)
        for at in (strides.start_s, strides.end_s)
    ]
    displacement = (ends[1] - ends[0]).reshape(-1, 2)
    return strides._replace(vector_m=displacement).where(np.hypot(*displacement.T) >= _SHORTEST_M)
