"""What a file itself says of a walk (its events and measured parameters), beside what is measured in it here."""

import dataclasses
from collections.abc import Mapping

import numpy as np

from biomechgpt_jax.biomechanics.gait.analysis import parameters
from biomechgpt_jax.biomechanics.gait.contacts import SETTLED_S, feet
from biomechgpt_jax.biomechanics.gait.measured import Measured
from biomechgpt_jax.biomechanics.trajectory import LEFT, RIGHT, Contacts, Trajectory
from biomechgpt_jax.errors import InputError

# An event further than this from the file's own of the same kind and foot is another one.
_APART_S = 0.25
# The file's first and last strikes may be this far from ours and still bound the same strides.
_MARGIN_S = 0.12


def file_says(listed: Contacts, stated: Mapping[str, float], found: Measured, first_frame: int) -> dict[str, float]:
    """Events and parameters of a file by name, each with ours as "..._ours" where it was measured; empty without any.

    Parameters are those that the file states (the mean of the sides), or else those of the strides between its events;
    ours are then of the same strides. Speeds in m/s, times in s, lengths in m, phases in percent of the stride;
    "median_apart_ms" is the distance between the file's events and ours.

    Args:
        listed: the file's events, in seconds from the first frame of the recording.
        stated: the file's parameters, "..._r" and "..._l" where they are given per side.
        found: what was measured in the recording.
        first_frame: frame of the recording at which the measured part begins.
    """
    ours, native = found.walk, found.native
    events = _within(listed, first_frame / native.rate_hz, native)
    said: dict[str, float] = {}
    theirs = dict(stated)
    measured = found.parameters
    count = len(events.strike_time) + len(events.off_time)
    if count:
        said["events"] = count
        if ours is not None:
            near = _part(ours.contacts, events)
            said["events_ours"] = len(near.strike_time) + len(near.off_time)
            apart = _apart_s(events, near)
            if len(apart):
                said["median_apart_ms"] = round(1000 * float(np.median(apart)), 1)
        of_events = _between(events, native)
        if "double_support" in of_events:
            # Both are of the same strides; what the file states may be of others.
            theirs = {name: value for name, value in theirs.items() if name.rstrip("rl") != "double_support_"}
            theirs["double_support"] = of_events["double_support"]
            if ours is not None:
                measured = measured | {"double_support": _same_strides(ours.contacts, events)}
    for name in dict.fromkeys(name.removesuffix("_r").removesuffix("_l") for name in theirs):
        sides = [theirs[key] for key in (f"{name}_r", f"{name}_l") if key in theirs]
        said[name] = round(float(theirs.get(name, np.mean(sides) if sides else np.nan)), 3)
        if np.isfinite(measured.get(name, np.nan)):
            said[f"{name}_ours"] = round(float(measured[name]), 3)
    return said


def _within(contacts: Contacts, begin_s: float, native: Trajectory) -> Contacts:
    """The file's events in seconds from the first frame of the measured part, without those outside it."""
    strike_s, off_s = contacts.strike_time - begin_s, contacts.off_time - begin_s
    strikes, offs = ((times >= 0) & (times <= native.frames / native.rate_hz) for times in (strike_s, off_s))
    return Contacts(
        strike_s[strikes],
        contacts.strike_foot[strikes],
        contacts.strike_xz[strikes],
        off_s[offs],
        contacts.off_foot[offs],
    )


def _part(contacts: Contacts, events: Contacts) -> Contacts:
    """Our events in the stretch of time that the file's events cover."""
    times = np.concatenate([events.strike_time, events.off_time])
    begin, end = times.min() - _MARGIN_S, times.max() + _MARGIN_S
    strikes, offs = ((own >= begin) & (own <= end) for own in (contacts.strike_time, contacts.off_time))
    return Contacts(
        contacts.strike_time[strikes],
        contacts.strike_foot[strikes],
        contacts.strike_xz[strikes],
        contacts.off_time[offs],
        contacts.off_foot[offs],
    )


def _apart_s(events: Contacts, ours: Contacts) -> np.ndarray:
    """Seconds from each of the file's events to ours of the same kind and foot, f64[n]; without those that we miss."""
    apart = []
    for times, sides, own, own_sides in (
        (events.strike_time, events.strike_foot, ours.strike_time, ours.strike_foot),
        (events.off_time, events.off_foot, ours.off_time, ours.off_foot),
    ):
        for time, side in zip(times, sides, strict=True):
            mine = np.abs(own[own_sides == side] - time)
            apart += [float(mine.min())] if len(mine) and mine.min() <= _APART_S else []
    return np.array(apart)


def _between(events: Contacts, native: Trajectory) -> dict[str, float]:
    """Gait parameters of the strides between the file's events, whose places are those of our heels."""
    try:
        heel, _ = feet(native)
    except InputError:
        return {}
    at_s = np.minimum(events.strike_time + SETTLED_S, (native.frames - 1) / native.rate_hz)
    time_T = np.arange(native.frames) / native.rate_hz
    places = np.zeros((len(at_s), 2), np.float32)
    for side in (RIGHT, LEFT):
        own = events.strike_foot == side
        places[own] = np.stack([np.interp(at_s[own], time_T, heel[:, side, axis]) for axis in (0, 2)], axis=1)
    return parameters(dataclasses.replace(events, strike_xz=places))


def _same_strides(ours: Contacts, events: Contacts) -> float:
    """Our double support of the strides between the file's first and last strike; NaN where there is none."""
    begin, end = float(events.strike_time.min()), float(events.strike_time.max())
    return parameters(ours, begin - _MARGIN_S, end + _MARGIN_S).get("double_support", np.nan)
