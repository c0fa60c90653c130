"""Distance of a walk from the norm: Gait Profile Score, Movement Analysis Profile and an index derived from them.

The Gait Profile Score (GPS; Baker 2009, Gait Posture 30:265) is the root-mean-square difference in degrees between a
person's nine kinematic variables over the gait cycle and the norm; its parts, one per variable, are the Movement
Analysis Profile (MAP). The norm is that of Schwartz 2008 (`norms`) at the person's own normalised speed.

The original Gait Deviation Index (Schwartz and Rozumalski 2008) rests on 15 features of a clinic's patients that were
not published as data. `gdi_from_gps` is the index that Baker 2009 derives from the GPS, GDI* = 100 - 10 (ln GPS - mean)
/ SD, and must not be called the GDI without saying so.

Shapes: S strides, P = 51 points of the cycle, V = 9 variables in the order of `norms.KINEMATIC`; degrees.
"""

from typing import NamedTuple

import numpy as np
from scipy.spatial.transform import Rotation

from biomechgpt_jax.biomechanics import gait
from biomechgpt_jax.biomechanics.gait import norms
from biomechgpt_jax.biomechanics.gait.contacts import body_height, feet
from biomechgpt_jax.biomechanics.gait.strides import Strides
from biomechgpt_jax.biomechanics.skeleton import HORIZONTAL_ROOT, INDEX
from biomechgpt_jax.biomechanics.trajectory import LEFT, RIGHT, Contacts, Trajectory
from biomechgpt_jax.errors import InputError

PHASE_P = np.linspace(0.0, 1.0, 51)
# Tilt of the norms' pelvic plane relative to the OpenSim pelvis, measured on one subject: 7 to 8 degrees.
PELVIC_PLANE_DEG = 7.5
# Standard deviation of the GPS among typically developing children, degrees (Baker 2012, Gait Posture 35:612).
CONTROL_GPS_SD = 1.4
# A shorter displacement does not determine the direction of a stride.
_SHORTEST_M = 0.2

_PELVIS = ("pelvis_tilt", "pelvis_list", "pelvis_rotation")
_LEG = ("hip_flexion", "hip_adduction", "hip_rotation", "knee_angle", "ankle_angle")
_PELVIC = slice(0, 3)  # in norms.KINEMATIC: the variables that both sides share


class Side(NamedTuple):
    """One leg against the norm.

    Attributes:
        map_V: f64[9] root-mean-square differences in degrees.
        gps: Gait Profile Score over the nine variables, degrees.
        gdi_from_gps: see the module.
        strides: number of strides that were averaged.
    """

    map_V: np.ndarray
    gps: float
    gdi_from_gps: float
    strides: int


class Profile(NamedTuple):
    """Both legs against the norm at one speed; a leg without a clean stride is None.

    Attributes:
        gps: score over 15 variables, those of the pelvis from the left cycle (Baker 2009), degrees; NaN unless both
            legs are present.
        gdi_from_gps: mean of the two legs; NaN unless both are present.
        speed: v / sqrt(g leg length) of the norm.
    """

    right: Side | None
    left: Side | None
    gps: float
    gdi_from_gps: float
    speed: float


def profile(
    trajectory: Trajectory,
    contacts: Contacts | None = None,
    height_m: float | None = None,
    speed: float | None = None,
) -> Profile:
    """Gait Profile Score of a walk, from its straight strides.

    Args:
        contacts: events known from another source; detected if None.
        height_m: body height; if None that of `contacts.body_height`.
        speed: normalised speed, for a file without the path of the pelvis; measured if None.

    Raises:
        InputError: of both legs a coordinate of the nine variables is not recorded, no stride is straight, or the speed
            is unknown.
    """
    source = trajectory.metadata.source or "movement"
    missing, lacking = [name for name in _PELVIS if not trajectory.observed[INDEX[name]]], set[int]()
    for foot, side in ((RIGHT, "r"), (LEFT, "l")):
        unseen = [f"{joint}_{side}" for joint in _LEG if not trajectory.observed[INDEX[f"{joint}_{side}"]]]
        missing += unseen
        lacking |= {foot} if unseen else set()
    if not trajectory.observed[[INDEX[name] for name in _PELVIS]].all() or len(lacking) == 2:
        raise InputError(f"{source}: {', '.join(missing[:3])} not recorded; the Gait Profile Score needs them")
    walk = gait.analyse(trajectory, height_m, contacts=contacts)
    strides = walk.strides.where(walk.strides.straight)
    if not len(strides.foot):
        raise InputError(f"{source}: no complete straight stride; give a longer walk")
    height = body_height(trajectory, height_m)
    if speed is None:
        measured = walk.parameters.get("walking_speed")
        if measured is None or not trajectory.observed[[INDEX[name] for name in HORIZONTAL_ROOT]].all():
            raise InputError(f"{source}: the speed is not recorded; give the normalised speed to compare at")
        speed = norms.normalised_speed(measured, height)
    right, left = (
        _side(trajectory, strides, walk.contacts, foot, height, speed) if foot not in lacking else None
        for foot in (RIGHT, LEFT)
    )
    if right is None or left is None:
        return Profile(right, left, np.nan, np.nan, speed)
    squares = np.concatenate([left.map_V, right.map_V[_PELVIC.stop :]]) ** 2
    gdi = 0.5 * (right.gdi_from_gps + left.gdi_from_gps)
    return Profile(right, left, float(np.sqrt(squares.mean())), gdi, speed)


def _side(
    trajectory: Trajectory, strides: Strides, contacts: Contacts, foot: int, height_m: float, speed: float
) -> Side | None:
    """The scores of one leg; None without a stride of it."""
    curves_SPV = cycles(trajectory, strides, contacts, foot, height_m)
    return side_scores(curves_SPV, speed) if len(curves_SPV) else None


def side_scores(curves_SPV: np.ndarray, speed: float) -> Side:
    """Compare one leg's strides, in the sign convention of the norms, with the norm at a normalised speed."""
    difference_PV = np.mean(curves_SPV, axis=0) - norms.curves(speed, PHASE_P)
    # The last point of a cycle is the first of the next.
    map_V = np.sqrt(np.mean(difference_PV[:-1] ** 2, axis=0))
    gps = float(np.sqrt(np.mean(map_V**2)))
    return Side(map_V, gps, gdi_from_gps(gps, speed), len(curves_SPV))


def gdi_from_gps(gps: float, speed: float) -> float:
    """GDI* of a leg: 100 is the control group's mean of the logarithm of the GPS, and 10 points are its SD.

    The control group is the typically developing children of the norm. Their mean square GPS is the mean of the
    variables' between-subject variances at this speed (`norms.spreads`); the ratio of its SD to its mean is the one
    published for such children (CONTROL_GPS_SD at free speed); its logarithm is assumed to be normal.
    """
    mean_square = float(np.mean(norms.spreads(speed) ** 2))
    free = float(np.mean([norms.FREE_SPREAD[name] ** 2 for name in norms.KINEMATIC]))
    variance = np.log(1 + CONTROL_GPS_SD**2 / (free - CONTROL_GPS_SD**2))
    mean = 0.5 * np.log(mean_square) - variance
    return float(100.0 - 10.0 * (np.log(max(gps, 1e-3)) - mean) / np.sqrt(variance))


def cycles(
    trajectory: Trajectory, strides: Strides, contacts: Contacts, foot: int, height_m: float | None = None
) -> np.ndarray:
    """Time-normalised strides of one foot in the sign convention of the norms, degrees f64[S, 51, 9].

    Pelvis and foot are relative to the direction in which the person moves during the stride, or faces if the path is
    not recorded. A stride from toe off to toe off is rearranged to start at the strike within it, so that its first
    part comes last.
    """
    selected = strides.where(strides.foot == foot)
    time_T = np.arange(trajectory.frames) / trajectory.rate_hz
    inside = (selected.start_s >= 0) & (selected.end_s <= time_T[-1] + 0.5 / trajectory.rate_hz)
    selected = selected.where(inside)
    if not len(selected.foot):
        return np.zeros((0, len(PHASE_P), len(norms.KINEMATIC)))
    at_SP = _sample_times(selected, contacts)
    q_TC = trajectory.coordinates.astype(np.float64)
    q_TC[:, INDEX["pelvis_rotation"]] = np.unwrap(q_TC[:, INDEX["pelvis_rotation"]])
    heel, ball = feet(trajectory, height_m)
    foot_axis_T3 = (ball - heel)[:, foot]

    def sample(values_T: np.ndarray) -> np.ndarray:
        return np.interp(at_SP, time_T, values_T)

    direction_S = _direction(selected, trajectory)
    recorded = np.stack([sample(q_TC[:, INDEX[name]]) for name in _PELVIS], axis=-1)
    pelvis = Rotation.from_euler("Y", np.repeat(-direction_S, len(PHASE_P))[:, None])
    pelvis = pelvis * Rotation.from_euler("ZXY", recorded.reshape(-1, 3))
    tilt, list_, rotation = np.degrees(pelvis.as_euler("ZXY")).T.reshape(3, *at_SP.shape)
    toe_SP = np.arctan2(-sample(foot_axis_T3[:, 2]), sample(foot_axis_T3[:, 0])) - direction_S[:, None]
    toe_SP = np.degrees((toe_SP + np.pi) % (2 * np.pi) - np.pi)
    name, sign = ("r", 1.0) if foot == RIGHT else ("l", -1.0)
    flexion, adduction, hip_rotation, knee, ankle = (
        np.degrees(sample(q_TC[:, INDEX[f"{joint}_{name}"]])) for joint in _LEG
    )
    variables = {
        "pelvic_tilt": PELVIC_PLANE_DEG - tilt,
        "pelvic_obliquity": -sign * list_,
        "pelvic_rotation": sign * rotation,
        "hip_flexion": flexion + PELVIC_PLANE_DEG,
        "hip_adduction": adduction,
        "hip_rotation": hip_rotation,
        "knee_flexion": knee,
        "ankle_dorsiflexion": ankle,
        "foot_progression": sign * toe_SP,
    }
    return np.stack([variables[variable] for variable in norms.KINEMATIC], axis=-1)


def _sample_times(strides: Strides, contacts: Contacts) -> np.ndarray:
    """Times of the points of each cycle, f64[S, 51]."""
    duration = (strides.end_s - strides.start_s)[:, None]
    strike = strides.start_s.copy()
    for index in np.flatnonzero(strides.first < 0):
        mine = contacts.strike_time[contacts.strike_foot == strides.foot[index]]
        strike[index] = mine[(mine >= strides.start_s[index]) & (mine <= strides.end_s[index])][0]
    at_SP = strike[:, None] + PHASE_P * duration
    return np.where(at_SP > strides.end_s[:, None] + 1e-9, at_SP - duration, at_SP)


def _direction(strides: Strides, trajectory: Trajectory) -> np.ndarray:
    """Direction of progression of each stride, radians f64[S]: where the pelvis moves, otherwise where it faces."""
    heading = gait.pelvis_heading(trajectory)
    sums = np.concatenate([[0.0], np.cumsum(heading.angle)])
    first, last = (np.rint(edge * trajectory.rate_hz).astype(int) for edge in (strides.start_s, strides.end_s))
    last = np.minimum(last, trajectory.frames)
    facing = (sums[last] - sums[first]) / np.maximum(last - first, 1)
    if not trajectory.observed[[INDEX[name] for name in HORIZONTAL_ROOT]].all():
        return facing
    displacement = [
        np.interp(strides.end_s, heading.time_s, path) - np.interp(strides.start_s, heading.time_s, path)
        for path in (trajectory.coordinates[:, INDEX[name]] for name in HORIZONTAL_ROOT)
    ]
    course = np.arctan2(-displacement[1], displacement[0])
    # For a person who walks backward the direction still points to the front.
    deviation = (course - facing + 0.5 * np.pi) % np.pi - 0.5 * np.pi
    return np.where(np.hypot(*displacement) >= _SHORTEST_M, facing + deviation, facing)
