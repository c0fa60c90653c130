"""How the feet move, before gait is measured: a run, a jump or steps on the spot have no gait parameters.

A foot is on the floor between its strike and its toe off. Thresholds are those of the definitions (a run has a flight
phase, a walk has none) with room for events that lie some hundredths of a second off.
"""

from typing import NamedTuple

import numpy as np

from biomechgpt_jax.biomechanics.gait.analysis import Gait, pelvis_heading
from biomechgpt_jax.biomechanics.gait.contacts import body_height
from biomechgpt_jax.biomechanics.gait.norms import GRAVITY, LEG_SHARE
from biomechgpt_jax.biomechanics.gait.strides import Strides
from biomechgpt_jax.biomechanics.skeleton import HORIZONTAL_ROOT, INDEX
from biomechgpt_jax.biomechanics.trajectory import LEFT, RIGHT, Contacts, Trajectory

WALKING, BACKWARD, RUNNING, JUMPING, ON_THE_SPOT = "walking", "backward walking", "running", "jumping", "on the spot"
# Kinds of which gait parameters are measured.
MEASURED = (WALKING, BACKWARD)

# A run: each foot is down for less than half of a stride, so that both are in the air for part of it. Below the speed
# of a brisk walk nobody runs (the change is near 2 m/s), and feet that seem never to rest were recorded sliding.
_STANCE_PERCENT, _FLIGHT_SHARE, _SLOWEST_RUN_M_S = 50.0, 0.05, 1.4
# A jump: both feet are in the air this long, and the pelvis rises this far above where it is at take-off and landing.
# From one take-off with both feet to the next is no stride, although each foot strikes in between.
_FLIGHT_S, _RISE_M = 0.15, 0.10
# No gait: quick steps that hardly travel, or strides that do not travel at all.
_QUICK, _SLOW_M_S, _SHORTEST_M = 180.0, 0.3, 0.1
# Cosine between the way that a stride goes and the way that the pelvis faces.
_BACKWARD = -0.5
# The speed of the pelvis is taken over this time, about a stride.
_WINDOW_S = 1.0
_PATH = [INDEX[name] for name in HORIZONTAL_ROOT]
_FACING = [INDEX[name] for name in ("pelvis_tilt", "pelvis_list", "pelvis_rotation")]


class Scope(NamedTuple):
    """The kind of movement, and in words why a walk is not measured in it; "" where it is."""

    kind: str
    why: str = ""


def scope(trajectory: Trajectory, walk: Gait) -> Scope:
    """Tell walking from what only looks like it.

    Args:
        trajectory: over ground and without gaps, with the path of the pelvis.
        walk: what was measured in it.
    """
    strides, measured = walk.strides, walk.parameters
    flights = _flights(walk.contacts)
    rise_m, air_s = _highest_jump(trajectory, flights)
    if rise_m > _RISE_M and _stepped(strides, flights) < 2:
        return Scope(
            JUMPING, f"a jump: both feet are in the air for {air_s:.2f} s, and the pelvis rises {rise_m:.2f} m"
        )
    speed = max(measured.get("walking_speed", 0.0), _path_speed(trajectory))
    # At a Froude number of 1 the body leaves the floor over a stiff leg (Alexander 1989 [memory]).
    if speed > np.sqrt(GRAVITY * LEG_SHARE * body_height(trajectory)):
        return Scope(RUNNING, f"a run: nobody of this size walks at {speed:.1f} m/s")
    if not len(strides.foot):
        return Scope(WALKING)
    begin, end = strides.start_s.min(), strides.end_s.max()
    air_s = sum(max(0.0, min(landing, end) - max(off, begin)) for off, landing in flights)
    stance = measured.get("stance", np.nan)
    if speed > _SLOWEST_RUN_M_S and stance < _STANCE_PERCENT and air_s > _FLIGHT_SHARE * (end - begin):
        return Scope(RUNNING, f"a run: each foot is down for {stance:.0f} % of a stride, and then both are in the air")
    length, cadence, speed = (measured.get(name, np.nan) for name in ("stride_length", "cadence", "walking_speed"))
    if length < _SHORTEST_M or (cadence > _QUICK and speed < _SLOW_M_S):
        where = "on the spot, or on a treadmill whose belt is not recognised"
        return Scope(ON_THE_SPOT, f"steps {where}: {cadence:.0f} a minute, but {speed:.2f} m/s")
    return Scope(BACKWARD if _is_backward(trajectory, walk) else WALKING)


def _flights(contacts: Contacts) -> list[tuple[float, float]]:
    """Times in seconds from the toe off of one foot to the next strike, between which neither foot is down."""
    events = [
        *(
            (float(time), int(foot), True)
            for time, foot in zip(contacts.strike_time, contacts.strike_foot, strict=True)
        ),
        *((float(time), int(foot), False) for time, foot in zip(contacts.off_time, contacts.off_foot, strict=True)),
    ]
    events.sort()
    first = {foot: down for _, foot, down in reversed(events)}
    # Before its first event a foot is the other way; one without events stands still for all that is known.
    down = {foot: not first.get(foot, False) for foot in (RIGHT, LEFT)}
    flights, off_s = [], None
    for time, foot, strikes in events:
        down[foot] = strikes
        if strikes and off_s is not None:
            flights.append((off_s, time))
        off_s = None if any(down.values()) else time
    return flights


def _highest_jump(trajectory: Trajectory, flights: list[tuple[float, float]]) -> tuple[float, float]:
    """Of the flight that rises most: rise of the pelvis in metres above take-off and landing, and its seconds."""
    time_T = np.arange(trajectory.frames) / trajectory.rate_hz
    height_T = trajectory.coordinates[:, INDEX["pelvis_ty"]].astype(np.float64)
    best = (0.0, 0.0)
    for off, landing in flights:
        inside = (time_T >= off) & (time_T <= landing)
        if landing - off > _FLIGHT_S and inside.any():
            ends = np.interp([off, landing], time_T, height_T)
            best = max(best, (float(height_T[inside].max() - ends.max()), landing - off))
    return best


def _stepped(strides: Strides, flights: list[tuple[float, float]]) -> int:
    """Number of strides in which the body does not fly for as long as in a jump."""
    long = np.array([flight for flight in flights if flight[1] - flight[0] > _FLIGHT_S]).reshape(-1, 2)
    flies_SF = (strides.start_s[:, None] < long[:, 1]) & (strides.end_s[:, None] > long[:, 0])
    return int((~flies_SF.any(axis=1)).sum())


def _path_speed(trajectory: Trajectory) -> float:
    """Median speed in m/s with which the pelvis travels, over about a stride."""
    path_T2 = trajectory.coordinates[:, _PATH].astype(np.float64)
    window = min(trajectory.frames - 1, max(1, round(_WINDOW_S * trajectory.rate_hz)))
    travelled = np.linalg.norm(path_T2[window:] - path_T2[:-window], axis=1)
    return float(np.median(travelled)) * trajectory.rate_hz / window


def _is_backward(trajectory: Trajectory, walk: Gait) -> bool:
    """Whether the straight strides go where the back of the pelvis points."""
    straight = walk.strides.where(walk.strides.straight)
    if not trajectory.observed[_FACING].all() or not len(straight.foot):
        return False
    heading = pelvis_heading(trajectory)
    facing = np.array(
        [np.interp(0.5 * (a + b), *heading) for a, b in zip(straight.start_s, straight.end_s, strict=True)]
    )
    along = straight.vector_m[:, 0] * np.cos(facing) - straight.vector_m[:, 1] * np.sin(facing)
    return bool(np.mean(along / np.maximum(np.hypot(*straight.vector_m.T), 1e-6)) < _BACKWARD)
