"""Strides: from one event of a foot to the same foot's next, and whether the person turns in between."""

from typing import NamedTuple

import numpy as np

from biomechgpt_jax.biomechanics.trajectory import LEFT, RIGHT, Contacts

# An interval outside this range of seconds is a pause or a missed event, not a stride.
STRIDE_SECONDS = (0.4, 3.5)
# Strides in which the person turns more than this are left out of gait means.
TURN_LIMIT_RAD = np.radians(20.0)
# Feet are not set down on a line: a stride turns only if both its halves turn at least this much in the same direction.
# Without this condition, uneven steps would count as turns.
_HALF_TURN_RAD = np.radians(5.0)


class Strides(NamedTuple):
    """S strides in time order.

    Attributes:
        foot: i32[S], 0 right and 1 left.
        start_s, end_s: f64[S] times of the two events.
        vector_m: f64[S, 2] displacement on the floor from the first event to the second (world x, z); NaN if unknown.
        first: i32[S] index of the first event among the strikes; the next two strikes are the other foot's and the
            second event. -1 for a stride from toe off to toe off.
        straight: bool[S] whether the stride turns no more than TURN_LIMIT_RAD.
    """

    foot: np.ndarray
    start_s: np.ndarray
    end_s: np.ndarray
    vector_m: np.ndarray
    first: np.ndarray
    straight: np.ndarray

    def where(self, keep: np.ndarray) -> "Strides":
        """The strides for which `keep` bool[S] is true."""
        return Strides(*(field[keep] for field in self))


class Heading(NamedTuple):
    """Where the pelvis faces: times f64[T] in seconds and unwrapped heading f64[T] in radians, positive to the left."""

    time_s: np.ndarray
    angle: np.ndarray

    def change(self, start_s: np.ndarray, end_s: np.ndarray) -> np.ndarray:
        """Change of heading between two times, f64[S]; over a complete stride the swing of the pelvis cancels."""
        before, after = (np.interp(times, self.time_s, self.angle) for times in (start_s, end_s))
        return after - before


def between_strikes(contacts: Contacts, heading: Heading | None = None) -> Strides:
    """Strides from foot strike to foot strike with exactly one strike of the other foot in between.

    The heading of the pelvis decides whether a stride is straight; without it, the displacements between strikes do.
    """
    foot, time, xz = contacts.strike_foot, contacts.strike_time.astype(np.float64), contacts.strike_xz
    first = np.arange(max(len(foot) - 2, 0))
    vector = (xz[2:] - xz[:-2]).astype(np.float64)
    duration = time[2:] - time[:-2]
    valid = (foot[:-2] == foot[2:]) & (foot[:-2] != foot[1:-1])
    valid &= (duration >= STRIDE_SECONDS[0]) & (duration <= STRIDE_SECONDS[1])
    straight = _straight_path(vector) if heading is None else _straight(heading, time[:-2], time[2:])
    candidates = Strides(foot[:-2], time[:-2], time[2:], vector, first, straight)
    return candidates.where(valid)


def between_toe_offs(contacts: Contacts, heading: Heading) -> Strides:
    """Strides from toe off to toe off in which each foot strikes once, for a recording that starts within a stance.

    Their displacement is unknown, because no foot is at rest at its toe off.
    """
    strides = []
    for foot in (RIGHT, LEFT):
        offs = contacts.off_time[contacts.off_foot == foot].astype(np.float64)
        own, other = (np.sort(contacts.strike_time[contacts.strike_foot == side]) for side in (foot, 1 - foot))
        strikes = [np.diff(np.searchsorted(times, offs)) for times in (own, other)]
        duration = np.diff(offs)
        valid = (strikes[0] == 1) & (strikes[1] == 1)
        valid &= (duration >= STRIDE_SECONDS[0]) & (duration <= STRIDE_SECONDS[1])
        strides += [(foot, start, end) for start, end in zip(offs[:-1][valid], offs[1:][valid], strict=True)]
    strides.sort(key=lambda stride: stride[1])
    feet, start, end = np.array(strides, np.float64).reshape(-1, 3).T
    unknown, no_strike = np.full((len(strides), 2), np.nan), np.full(len(strides), -1)
    return Strides(feet.astype(np.int32), start, end, unknown, no_strike, _straight(heading, start, end))


def _straight(heading: Heading, start_s: np.ndarray, end_s: np.ndarray) -> np.ndarray:
    return np.abs(heading.change(start_s, end_s)) <= TURN_LIMIT_RAD


def _straight_path(vector: np.ndarray) -> np.ndarray:
    """Whether each of the strides that start at consecutive strikes, displacements f64[n, 2], is straight, bool[n].

    Consecutive strides start half a stride apart, so the direction turns during a stride by the angle between the
    displacements of the previous and the next stride. At either end one of them is missing, and the half that is seen
    counts twice.
    """
    if len(vector) < 2:
        return np.ones(len(vector), bool)
    direction = np.arctan2(vector[:, 1], vector[:, 0])
    half = (np.diff(direction) + np.pi) % (2 * np.pi) - np.pi
    before, after = np.concatenate([half[:1], half]), np.concatenate([half, half[-1:]])
    steady = (before * after > 0) & (np.minimum(np.abs(before), np.abs(after)) >= _HALF_TURN_RAD)
    return ~(steady & (np.abs(before + after) > TURN_LIMIT_RAD))
