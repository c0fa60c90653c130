"""Strides: from one event of a foot to the next of the same foot, and whether the person turned in between."""

from typing import NamedTuple

import numpy as np

from biomechgpt_jax.biomechanics.trajectory import LEFT, RIGHT, Contacts

# A stride outside this range of seconds is a pause or a missed event, not a stride.
STRIDE_SECONDS = (0.4, 3.5)
# A stride in which the person turns more than this is left out of gait means.
TURN_LIMIT_RAD = np.radians(20.0)
# Feet are not set down on a line: a stride turns only if its first and its second half turn at least this much, the
# same way. Without this, uneven steps would count as turns.
_HALF_TURN_RAD = np.radians(5.0)


class Strides(NamedTuple):
    """S strides in time order.

    Attributes:
        foot: i32[S], 0 right and 1 left.
        start_s, end_s: f64[S] times of the two events.
        vector_m: f64[S, 2] way from the first to the second on the floor (world x, z); NaN where it is not known.
        first: i32[S] index of the first event among the strikes, those after it being the other foot's and the second
            event; -1 for a stride from toe off to toe off.
        straight: bool[S] whether it turns no more than TURN_LIMIT_RAD.
    """

    foot: np.ndarray
    start_s: np.ndarray
    end_s: np.ndarray
    vector_m: np.ndarray
    first: np.ndarray
    straight: np.ndarray

    def where(self, keep: np.ndarray) -> "Strides":
        """Those strides for which bool[S] holds."""
        return Strides(*(field[keep] for field in self))


class Heading(NamedTuple):
    """Where the pelvis faces: times f64[T] in seconds and the unwrapped heading f64[T], radians, left turn positive."""

    time_s: np.ndarray
    angle: np.ndarray

    def turned(self, start_s: np.ndarray, end_s: np.ndarray) -> np.ndarray:
        """Turn between two times, f64[S]. Over a whole stride the swing of the pelvis cancels."""
        before, after = (np.interp(times, self.time_s, self.angle) for times in (start_s, end_s))
        return after - before


def between_strikes(contacts: Contacts, heading: Heading | None = None) -> Strides:
    """Strides from foot strike to foot strike with exactly one strike of the other foot between.

    Whether one is straight is told by the heading of the pelvis; without it, by the way from strike to strike.
    """
    foot, time, xz = contacts.strike_foot, contacts.strike_time.astype(np.float64), contacts.strike_xz
    first = np.arange(max(len(foot) - 2, 0))
    vector = (xz[2:] - xz[:-2]).astype(np.float64)
    duration = time[2:] - time[:-2]
    whole = (foot[:-2] == foot[2:]) & (foot[:-2] != foot[1:-1])
    whole &= (duration >= STRIDE_SECONDS[0]) & (duration <= STRIDE_SECONDS[1])
    straight = _straight_path(vector) if heading is None else _straight(heading, time[:-2], time[2:])
    every = Strides(foot[:-2], time[:-2], time[2:], vector, first, straight)
    return every.where(whole)


def between_toe_offs(contacts: Contacts, heading: Heading) -> Strides:
    """Strides from toe off to toe off in which each foot strikes once, for a recording that begins within a stance.

    The way is not known: no foot is at rest at its toe off.
    """
    found = []
    for foot in (RIGHT, LEFT):
        offs = contacts.off_time[contacts.off_foot == foot].astype(np.float64)
        own, other = (np.sort(contacts.strike_time[contacts.strike_foot == side]) for side in (foot, 1 - foot))
        strikes = [np.diff(np.searchsorted(times, offs)) for times in (own, other)]
        duration = np.diff(offs)
        whole = (strikes[0] == 1) & (strikes[1] == 1)
        whole &= (duration >= STRIDE_SECONDS[0]) & (duration <= STRIDE_SECONDS[1])
        found += [(foot, start, end) for start, end in zip(offs[:-1][whole], offs[1:][whole], strict=True)]
    found.sort(key=lambda stride: stride[1])
    feet, start, end = np.array(found, np.float64).reshape(-1, 3).T
    unknown = np.full((len(found), 2), np.nan)
    return Strides(feet.astype(np.int32), start, end, unknown, np.full(len(found), -1), _straight(heading, start, end))


def _straight(heading: Heading, start_s: np.ndarray, end_s: np.ndarray) -> np.ndarray:
    return np.abs(heading.turned(start_s, end_s)) <= TURN_LIMIT_RAD


def _straight_path(vector: np.ndarray) -> np.ndarray:
    """Whether each stride of those that begin at consecutive strikes f64[n, 2] is straight, bool[n].

    Half a stride passes between a stride and the next, so the way turns during a stride by the angle between the one
    before it and the one after it. At the ends one of the two is missing, and the half that is seen counts twice.
    """
    if len(vector) < 2:
        return np.ones(len(vector), bool)
    way = np.arctan2(vector[:, 1], vector[:, 0])
    half = (np.diff(way) + np.pi) % (2 * np.pi) - np.pi
    before, after = np.concatenate([half[:1], half]), np.concatenate([half, half[-1:]])
    steady = (before * after > 0) & (np.minimum(np.abs(before), np.abs(after)) >= _HALF_TURN_RAD)
    return ~(steady & (np.abs(before + after) > TURN_LIMIT_RAD))
