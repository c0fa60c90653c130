"""Contact schedules: when each foot is down, and the resulting gait phase of each leg."""

from dataclasses import dataclass

import numpy as np
from scipy.interpolate import PchipInterpolator

from biomechgpt_jax.biomechanics.trajectory import LEFT, RIGHT, Contacts

HEEL, BALL = 0, 1
_FOREVER = 1e3


@dataclass(frozen=True)
class Bout:
    """One bout of stepping.

    Attributes:
        strike: f64[n] times of initial contact in seconds, in order.
        foot: i32[n], the foot of each step, 0 right and 1 left.
        lift: f64[n], time at which the foot of step k leaves the floor before striking at `strike[k]`.
        starts, stops: whether the bout starts from standing still, and whether it ends so.
        toe_off_phase: phase of toe off in the joint curves.
    """

    strike: np.ndarray
    foot: np.ndarray
    lift: np.ndarray
    starts: bool
    stops: bool
    toe_off_phase: float

    def stances(self, foot: int) -> list[tuple[float, float]]:
        """(strike, lift) of every stance of a foot; standing still extends a stance indefinitely."""
        own = np.flatnonzero(self.foot == foot)
        edges = [(-_FOREVER, self.lift[own[0]])] if self.starts else []
        edges += [(self.strike[a], self.lift[b]) for a, b in zip(own[:-1], own[1:], strict=True)]
        if self.stops:
            edges.append((self.strike[own[-1]], _FOREVER))
        return edges

    def phase(self, foot: int, time: np.ndarray) -> np.ndarray:
        """Gait phase of a leg in cycles: an integer at its strikes, `toe_off_phase` more at its lifts."""
        own = np.flatnonzero(self.foot == foot)
        knots = np.sort(np.concatenate([self.lift[own], self.strike[own]]))
        # Lifts and strikes alternate, starting with a lift.
        cycle = np.arange(len(own), dtype=float)
        values = np.ravel(np.column_stack([cycle + self.toe_off_phase, cycle + 1.0]))
        stride = np.median(np.diff(self.strike[own])) if len(own) > 1 else 1.1
        knots = np.concatenate([[knots[0] - 4 * stride], knots, [knots[-1] + 4 * stride]])
        values = np.concatenate([[values[0] - 4], values, [values[-1] + 4]])
        return PchipInterpolator(knots, values)(np.clip(time, knots[0], knots[-1]))

    def contacts_until(self, seconds: float) -> tuple[np.ndarray, np.ndarray]:
        """Masks of the strikes and of the lifts inside [0, seconds]."""
        return (self.strike >= 0) & (self.strike <= seconds), (self.lift >= 0) & (self.lift <= seconds)


def step_times(
    count: int, stride_s: float, asymmetry: float, cv: float, first_foot: int, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Draw durations of alternating steps with first-order autoregressive variability; returns (durations, foot)."""
    foot = (np.arange(count) + first_foot) % 2
    noise = np.zeros(count)
    shocks = rng.normal(0, cv, count)
    for k in range(count):
        noise[k] = shocks[k] + (0.3 * noise[k - 1] if k else 0.0)
    side = np.where(foot == RIGHT, 0.5 * asymmetry, -0.5 * asymmetry)
    return 0.5 * stride_s * (1 + side) * np.exp(noise), foot


def bout(
    durations: np.ndarray,
    foot: np.ndarray,
    start: float,
    stance_share: tuple[float, float],
    toe_off_phase: float,
    starts: bool,
    stops: bool,
) -> Bout:
    """A bout of steps with given durations, one after another from `start` seconds."""
    strike = start + np.cumsum(durations)
    before = np.concatenate([[start], strike[:-1]])
    share = np.where(foot == RIGHT, stance_share[RIGHT], stance_share[LEFT])
    # The stride that ends with step k starts two strikes earlier.
    began = np.concatenate([[start - durations[0], start], strike[:-2]])[: len(strike)]
    lift = began + share * (strike - began)
    # A foot lifts after the other has struck, and swings for at least 0.18 of the stride.
    lift = np.clip(lift, before + 0.02, np.maximum(before + 0.03, strike - 0.18 * (strike - began)))
    if starts:
        lift[0] = start + 0.35 * durations[0]
    return Bout(strike, foot, lift, starts, stops, toe_off_phase)


def smooth_step(time: np.ndarray, start: float, end: float) -> np.ndarray:
    """0 before `start`, 1 after `end`, a cubic in between."""
    x = np.clip((time - start) / max(end - start, 1e-6), 0.0, 1.0)
    return x * x * (3 - 2 * x)


@dataclass(frozen=True)
class FootContact:
    """Contact of both feet over time.

    Attributes:
        weight: f32[T, 2, 2] 0..1 by foot and by heel or ball: how firmly that point is held to its plant.
        load: f32[T, 2] share of the body weight on each foot; sums to 1.
        stance: i32[T, 2] index of the stance to which a frame belongs (ramps included).
        strike_stance: i32[n] index of the stance, of its own foot, that begins with each strike of the bout.
    """

    weight: np.ndarray
    load: np.ndarray
    stance: np.ndarray
    strike_stance: np.ndarray


def standing_contact(frames: int) -> FootContact:
    """Contact of both feet flat and still on the floor."""
    return FootContact(
        np.ones((frames, 2, 2), np.float32),
        np.full((frames, 2), 0.5, np.float32),
        np.zeros((frames, 2), np.int32),
        np.zeros(0, np.int32),
    )


def walking_contact(steps: Bout, time: np.ndarray) -> FootContact:
    """Contact of walking: heel, then ball through each stance; the load shifts between the feet in double support."""
    weight = np.zeros((len(time), 2, 2), np.float32)
    stance = np.zeros((len(time), 2), np.int32)
    load = np.zeros((len(time), 2))
    for foot in (RIGHT, LEFT):
        intervals = steps.stances(foot)
        for index, (on, off) in enumerate(intervals):
            span = min(off, time[-1] + 1.0) - max(on, time[0] - 1.0) if min(-on, off) < _FOREVER else 1.0
            span = min(span, 1.6)
            held = smooth_step(time, on - 0.07, on) if on > -_FOREVER else np.ones(len(time))
            flat = smooth_step(time, on + 0.02, on + 0.02 + 0.14 * span) if on > -_FOREVER else held
            heel_off = 1 - smooth_step(time, off - 0.42 * span, off - 0.20 * span) if off < _FOREVER else 1.0
            toe_off = 1 - smooth_step(time, off, off + 0.07) if off < _FOREVER else 1.0
            weight[:, foot, HEEL] = np.maximum(weight[:, foot, HEEL], held * heel_off)
            weight[:, foot, BALL] = np.maximum(weight[:, foot, BALL], flat * toe_off)
            previous = intervals[index - 1][1] if index else -_FOREVER
            stance[time >= 0.5 * (previous + on), foot] = index
            down = (time >= on) & (time <= off)
            load[down, foot] = 1.0
    _share_load(steps, time, load)
    own_index = np.array([np.sum(steps.foot[: k + 1] == steps.foot[k]) for k in range(len(steps.foot))])
    strike_stance = own_index if steps.starts else own_index - 1
    return FootContact(weight, load.astype(np.float32), stance, strike_stance.astype(np.int32))


def reverse_in_time(contact: FootContact, steps: Bout, seconds: float) -> tuple[FootContact, Bout]:
    """Contacts and steps of steady stepping played backwards: a foot strikes where it had lifted, ball before heel.

    Args:
        steps: a bout that is under way at both ends.
        seconds: time of the last frame.
    """
    back = Bout(
        seconds - steps.lift[::-1],
        steps.foot[::-1],
        seconds - steps.strike[::-1],
        steps.stops,
        steps.starts,
        steps.toe_off_phase,
    )
    # The order of swings by their start may differ from the order by their end.
    order = np.argsort(back.strike)
    back = Bout(back.strike[order], back.foot[order], back.lift[order], back.starts, back.stops, back.toe_off_phase)
    stance = np.stack(
        [len(steps.stances(foot)) - 1 - contact.stance[::-1, foot] for foot in (RIGHT, LEFT)], axis=1
    ).astype(np.int32)
    own = np.array([np.sum(back.foot[: k + 1] == back.foot[k]) for k in range(len(back.foot))])
    return FootContact(contact.weight[::-1], contact.load[::-1], stance, (own - 1).astype(np.int32)), back


def _share_load(steps: Bout, time: np.ndarray, load: np.ndarray) -> None:
    """Replace the loads of 1 and 1 in double support by a smooth transfer to the foot that struck, in place."""
    both = (load[:, RIGHT] > 0) & (load[:, LEFT] > 0)
    for k, (strike, foot) in enumerate(zip(steps.strike, steps.foot, strict=True)):
        last = k + 1 == len(steps.strike)
        until = strike + 0.5 if last and steps.stops else (steps.lift[k + 1] if not last else strike + 0.3)
        inside = both & (time >= strike) & ((time <= until) | (last & steps.stops))
        share = smooth_step(time[inside], strike, until) * (0.5 if last and steps.stops else 1.0)
        load[inside, foot], load[inside, 1 - foot] = share, 1 - share
    if steps.starts:
        inside = both & (time < steps.lift[0])
        share = 0.5 + 0.5 * smooth_step(time[inside], steps.lift[0] - 0.5, steps.lift[0])
        load[inside, steps.foot[0]], load[inside, 1 - steps.foot[0]] = 1 - share, share
    none = load.sum(axis=1) <= 0
    load[none] = 0.5
    load /= load.sum(axis=1, keepdims=True)


def contacts(steps: Bout, foot_contact: FootContact, heel_plant: list[np.ndarray], seconds: float) -> Contacts:
    """The true contacts: events of the schedule inside the trial, at the plants of the anchored feet.

    Args:
        heel_plant: floor position (x, z) of the planted heel in each stance, f32[stances, 2] for each foot.
    """
    struck, lifted = steps.contacts_until(seconds)
    xz = [heel_plant[steps.foot[k]][foot_contact.strike_stance[k]] for k in np.flatnonzero(struck)]
    order = np.argsort(steps.lift[lifted])
    return Contacts(
        steps.strike[struck].astype(np.float32),
        steps.foot[struck].astype(np.int32),
        np.array(xz, np.float32).reshape(-1, 2),
        steps.lift[lifted][order].astype(np.float32),
        steps.foot[lifted][order].astype(np.int32),
    )
