"""When feet meet and leave the floor, from the height and speed of heel and ball.

Event times are sub-frame. The constants were set on synthetic walks, but for the delay of toe off, which was set on the
labelled events of six recordings (`benchmarks/gait.py` names them). The floor is the level at which each point of the
foot rests around each moment, so neither a constant height offset nor stairs nor a drifting floor matter.
"""

import numpy as np

from biomechgpt_jax.biomechanics import kinematics
from biomechgpt_jax.biomechanics.gait import smoothing
from biomechgpt_jax.biomechanics.skeleton import COORDINATES, INDEX
from biomechgpt_jax.biomechanics.trajectory import LEFT, RIGHT, Contacts, Trajectory

# A foot is down once its heel or ball is lower than this above the floor and slower than this; it has left the floor
# once they are higher or faster. At contact a foot loses metres per second within a tenth of a second, so errors of a
# few degrees, which move the ankle by centimetres, hardly move the event.
CONTACT_HEIGHT_M = 0.06
CONTACT_SPEED_M_S = 1.0
# A foot touches the floor this long after it has slowed down to that speed, and leaves it this long after it has
# reached it again. A delay suits slow walkers too, whose feet may never reach a higher speed.
STRIKE_DELAY_S = 0.02
LIFT_DELAY_S = 0.015
# Positions are smoothed with a Gaussian of this standard deviation before speeds are computed: about a 3 Hz low-pass.
SMOOTHING_S = 0.05
# The floor under a point is this percentile of its height in a window of this length around each moment: a foot is down
# for more than a third of any stride, stairs rise, and the floor of a recording may drift.
FLOOR_PERCENTILE, FLOOR_WINDOW_S = 15, 2.0
# Contacts and gaps between contacts shorter than this are flicker.
SHORTEST_S = 0.1
# The heel is at rest this long after it strikes.
SETTLED_S = 0.05

_PELVIS_AND_LEGS = COORDINATES[: INDEX["lumbar_extension"]]


def detect_contacts(trajectory: Trajectory, height_m: float | None = None) -> Contacts:
    """Detect the foot contacts of a trajectory by forward kinematics.

    Body height is that of `body_height`.

    Raises:
        InputError: pelvis or legs are missing in some frames.
    """
    heel, ball = feet(trajectory, height_m)
    return contacts_from_points(heel, ball, trajectory.rate_hz)


def body_height(trajectory: Trajectory, height_m: float | None = None) -> float:
    """Body height in metres by which the legs are as long as the person's.

    It is as given, otherwise that of the legs if they were measured, otherwise that of the metadata, otherwise 1.70.
    """
    known = trajectory.metadata
    heights = (height_m or np.nan, known.leg_height_m, known.height_m, kinematics.DEFAULT_HEIGHT_M)
    return next(height for height in heights if np.isfinite(height))


def feet(trajectory: Trajectory, height_m: float | None = None) -> tuple[np.ndarray, np.ndarray]:
    """World positions of heel and ball, right foot first, each f32[T, 2, 3] in metres.

    Raises:
        InputError: pelvis or legs are missing in some frames.
    """
    trajectory.require_complete(_PELVIS_AND_LEGS)
    q = trajectory.coordinates
    # Padding to a power of two lets trials of all lengths share a few compiled programs.
    padded = np.zeros((max(256, 1 << max(len(q) - 1, 0).bit_length()), q.shape[1]), np.float32)
    padded[: len(q)] = q
    body = np.asarray(kinematics.points_jit(padded, body_height(trajectory, height_m)))[: len(q)]
    heel, ball = (body[:, [kinematics.POINT_INDEX[f"{point}_{side}"] for side in "rl"]] for point in ("heel", "ball"))
    return heel, ball


def contacts_from_points(heel: np.ndarray, ball: np.ndarray, rate_hz: float) -> Contacts:
    """Detect foot contacts from the positions of heel and ball, which may be points of the body or markers on it.

    A foot is down while its heel or its ball is both low and slow; the height at which a marker sits does not matter.

    Args:
        heel, ball: f[T, 2, 3] metres, y up, right foot first; no gaps.
        rate_hz: frames per second.
    """
    frames = np.arange(len(heel)) / rate_hz
    strikes, places, offs = [], [], []
    for foot in (RIGHT, LEFT):
        points = [_height_and_speed(point[:, foot], rate_hz) for point in (heel, ball)]
        margin = np.max([_margin(height, speed) for height, speed in points], axis=0)
        down = without_flicker(margin > 0, max(2, round(SHORTEST_S * rate_hz)))
        on, off = crossings(down, margin, rate_hz)
        on = np.minimum(on + STRIKE_DELAY_S, frames[-1])
        settled = np.minimum(on + SETTLED_S, frames[-1])
        places.append(np.stack([np.interp(settled, frames, heel[:, foot, axis]) for axis in (0, 2)], axis=1))
        strikes.append(on)
        offs.append(np.minimum(off + LIFT_DELAY_S, frames[-1]))
    strike_foot, off_foot = (np.repeat([RIGHT, LEFT], [len(times) for times in pair]) for pair in (strikes, offs))
    strike_time, off_time = np.concatenate(strikes), np.concatenate(offs)
    by_strike, by_off = np.argsort(strike_time, kind="stable"), np.argsort(off_time, kind="stable")
    return Contacts(
        strike_time[by_strike].astype(np.float32),
        strike_foot[by_strike].astype(np.int32),
        np.concatenate(places)[by_strike].astype(np.float32),
        off_time[by_off].astype(np.float32),
        off_foot[by_off].astype(np.int32),
    )


def crossings(down: np.ndarray, margin: np.ndarray, rate_hz: float) -> tuple[np.ndarray, np.ndarray]:
    """Sub-frame times at which a foot meets and leaves the floor: where its margin crosses zero."""
    change = np.diff(down.astype(np.int8))
    times = []
    for step in (1, -1):
        frame = np.flatnonzero(change == step)
        before, after = margin[frame], margin[frame + 1]
        fraction = np.clip(before / np.where(before == after, 1.0, before - after), 0.0, 1.0)
        times.append(((frame + fraction) / rate_hz).astype(np.float32))
    return times[0], times[1]


def without_flicker(down: np.ndarray, shortest: int) -> np.ndarray:
    """Fill gaps and drop islands shorter than `shortest` frames that have neighbours on both sides."""
    down = down.copy()
    for value in (True, False):
        edges = np.flatnonzero(np.diff(down.astype(np.int8))) + 1
        for start, end in zip(edges[:-1], edges[1:], strict=True):
            if end - start < shortest and down[start] != value:
                down[start:end] = value
    return down


def _height_and_speed(point: np.ndarray, rate_hz: float) -> tuple[np.ndarray, np.ndarray]:
    """Height of a point of the foot above its local floor (m) and its speed (m/s), each f[T]."""
    smooth = smoothing.gaussian(point, SMOOTHING_S * rate_hz)
    speed = np.linalg.norm(np.gradient(smooth, axis=0) * rate_hz, axis=1)
    window = min(len(point), max(3, round(FLOOR_WINDOW_S * rate_hz)))
    floor = smoothing.percentile(point[:, 1], FLOOR_PERCENTILE, window)
    return point[:, 1] - floor, speed


def _margin(height: np.ndarray, speed: np.ndarray) -> np.ndarray:
    """Positive while a point is on the floor: the smaller of its two scaled margins, f[T]."""
    return np.minimum(1 - height / CONTACT_HEIGHT_M, 1 - speed / CONTACT_SPEED_M_S)
