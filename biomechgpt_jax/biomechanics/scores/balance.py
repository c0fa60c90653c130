"""Held stances: on one leg, and with one foot beside, half in front of or fully in front of the other."""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from scipy.ndimage import gaussian_filter1d, median_filter

from biomechgpt_jax.biomechanics.kinematics import FRACTIONS
from biomechgpt_jax.biomechanics.scores.body import Body, Phase, Result, body_of, crossing, runs
from biomechgpt_jax.biomechanics.trajectory import Trajectory
from biomechgpt_jax.errors import InputError

# A foot is off the floor when its heel and ball are both this far above their resting height.
OFF_FLOOR_M = 0.02
# A foot that is held high counts as off the floor from this share of its height: because of errors in the angles, the
# pelvis shifting over the other foot before the lift seems to raise it by less.
_OFF_SHARE = 0.25
# A foot has made a step if it lands this far from where it left (m), and rose by this much at some moment (m) and by
# this many standard deviations of the noise of its height. The farther it moves, the less it must rise: a stiff leg
# that is swung to another place hardly leaves the floor, while a foot that is only lifted lands where it was.
_STEPS = ((0.0, 0.025, 9.0), (0.12, 0.012, 5.0), (0.18, 0.012, 2.5))
_LIFTED_M, _LIFTED_SD = 0.025, 5.0
# Below this many standard deviations a foot is not off the floor either.
_OFF_SD = 2.5
# A foot that sinks, but not to this share of the level, has not touched the floor.
_TOUCHES = 0.3
# A foot that never rises this far may be lifted or just measured badly.
_CLEARLY_M = 0.045
# The clock stops here in every stance [memory: Berg counts 30 s of tandem stance; SPPB stops at 10 s].
LONGEST_S = 30.0
# The position of the feet is the median over a whole stance, as 3 degrees at the hips move the feet by up to 5 cm.
# Limits of the offset along the feet are shares of a foot's length, those of the offset across them are shares of body
# height [this program's own: the scales say heel to toe, heel beside the big toe, and feet together].
_FOOT = FRACTIONS.heel_back + FRACTIONS.ball_forward + FRACTIONS.toe_forward
STANCES: dict[str, tuple[tuple[float, float], float]] = {
    "tandem": ((0.40, 1.60), 0.050),
    "semi-tandem": ((0.40, 1.60), 0.100),
    "side by side": ((0.00, 0.30), 0.080),
}
# An angle that drifts also has a constant error of about the same size, so positions are known to within this many
# standard deviations of the drift.
_ERRING = 2.0
# Feet that seem to move relative to each other by more than this are not planted.
_PLANTED_M = 0.12
_SHORTEST_S = 0.3
# Flag of a hold that starts before the recording or continues beyond its end.
CUT = "cut short by the recording"
# A pelvis that moves this far while one foot is in the air is carried along by a step.
_TRAVELS_M = 0.25
# The resting height is the median over a window of this length, more than twice a step.
_REST_WINDOW_S = 2.5


def _lowest(body: Body, side: str) -> np.ndarray:
    """Height of the lower of heel and ball; many recordings hold the toes still, so their tips carry no information."""
    return np.minimum(body.point(f"heel_{side}")[:, 1], body.point(f"ball_{side}")[:, 1])


def _running_median(values: np.ndarray, rate_hz: float, seconds: float) -> np.ndarray:
    return median_filter(values, 2 * round(0.5 * seconds * rate_hz) + 1, mode="nearest")


def _spread(values: np.ndarray) -> float:
    """Standard deviation about zero, robust against the few frames of a step."""
    return float(1.4826 * np.median(np.abs(values)))


@dataclass(frozen=True)
class _Hold:
    """A hold between two sub-frame times in frames; `clear` if the foot is clearly off the floor."""

    begin: float
    end: float
    name: str
    clear: bool = True


def _longest(name: str, body: Body, holds: list[_Hold], what: str) -> Result:
    """The longest hold, timed up to LONGEST_S; the phases are all holds and the touch-downs between them."""
    holds = sorted((x for x in holds if x.end - x.begin >= _SHORTEST_S * body.rate_hz), key=lambda x: x.begin)
    if not holds:
        raise InputError(f"{what}: it is never held for {_SHORTEST_S} s; give another recording")
    best = max(holds, key=lambda hold: hold.end - hold.begin)
    start = best.begin / body.rate_hz
    value = min(LONGEST_S, best.end / body.rate_hz - start)
    phases = []
    for hold, after in zip(holds, [*holds[1:], None], strict=True):
        phases.append(Phase(hold.name, hold.begin / body.rate_hz, hold.end / body.rate_hz))
        if after is not None and after.name == hold.name:
            phases.append(Phase("touch-down", hold.end / body.rate_hz, after.begin / body.rate_hz))
    cut = best.begin == 0 or (best.end >= len(body.points) - 1 and value < LONGEST_S)
    flags = ((CUT,) if cut else ()) + (() if best.clear else ("foot barely off the floor",))
    return Result(name, value, "s", start, start + value, tuple(phases), flags)


def _edges(values: np.ndarray, level: float, begin: int, end: int) -> tuple[float, float]:
    """Sub-frame positions at which a run [begin, end) of `values` above `level` begins and ends."""
    first = crossing(values, level, begin - 1) if begin else 0.0
    last = crossing(values, level, end - 1) if end < len(values) else len(values) - 1.0
    return first, last


def _join(spans: list[tuple[int, int]], values: np.ndarray, level: float) -> list[tuple[int, int]]:
    """Join runs of frames between which the values stay above a level."""
    joined: list[tuple[int, int]] = []
    for a, b in spans:
        if joined and values[joined[-1][1] : a].min() > level:
            joined[-1] = joined[-1][0], b
        else:
            joined.append((a, b))
    return joined


def _stays_in_place(body: Body, begin: int, end: int) -> bool:
    """Whether the pelvis stays over its place between two frames; True if its path is unknown."""
    path = body.point("pelvis")[begin:end, [0, 2]]
    return float(np.linalg.norm(np.ptp(path, axis=0))) < _TRAVELS_M


def single_leg_stance(trajectory: Trajectory) -> Result:
    """Longest time in seconds that one foot is in the air, at most 30; its phases name the standing foot.

    The resting level of a foot is its height on the floor in this recording. A foot is lifted where it rises half way
    to the highest level that it keeps; the hold then lasts while the foot is OFF_FLOOR_M or a quarter of that level
    above rest. The phases are all holds in order, with the touch-downs between holds on the same foot.

    Raises:
        InputError: no foot leaves the floor for 0.3 s while the body stays in place; walking does not count.
    """
    body = body_of(trajectory, "single-leg stance")
    over = _lowest(body, "r") - _lowest(body, "l")
    noise = _spread(over - _running_median(over, body.rate_hz, _REST_WINDOW_S))
    # The highest level that lasts: a spike of a few frames is not a hold.
    steady = gaussian_filter1d(over, 0.15 * body.rate_hz, mode="nearest")
    top = float(np.max(np.abs(steady)))
    resting = np.abs(steady) < min(0.4 * top, OFF_FLOOR_M)
    rest = float(np.median(over[resting])) if resting.sum() >= 0.3 * body.rate_hz else 0.0
    holds = []
    for sign, name in ((1.0, "on the left foot"), (-1.0, "on the right foot")):
        above = sign * (over - rest)
        highest = float(np.max(sign * (steady - rest)))
        if highest < max(_LIFTED_M, _LIFTED_SD * noise):
            continue
        level = min(max(OFF_FLOOR_M, _OFF_SHARE * highest), 0.5 * highest)
        for a, b in _join(runs(above > level), above, _TOUCHES * level):
            if above[a:b].max() >= 0.5 * highest and _stays_in_place(body, a, b):
                holds.append(_Hold(*_edges(above, level, a, b), name, highest >= _CLEARLY_M))
    return _longest("single_leg_stance_time", body, holds, "single-leg stance")


def steps(body: Body) -> list[tuple[float, float]]:
    """Frames at which a foot leaves the floor and returns to it, for every step."""
    over = _lowest(body, "r") - _lowest(body, "l")
    base = _running_median(over, body.rate_hz, _REST_WINDOW_S)
    noise = _spread(over - base)
    height = np.abs(over - base)
    apart = (body.point("ankle_r") - body.point("ankle_l"))[:, [0, 2]]
    half, intervals = round(0.5 * body.rate_hz), []
    least = max(0.5 * OFF_FLOOR_M, _OFF_SD * noise)
    for a, b in runs(height > least):
        before, after = np.median(apart[max(0, a - half) : a + 1], axis=0), np.median(apart[b - 1 : b + half], axis=0)
        distance, top = float(np.linalg.norm(after - before)), float(height[a:b].max())
        if not any(distance > far and top > max(high, sd * noise) for far, high, sd in _STEPS):
            continue
        level = max(least, min(OFF_FLOOR_M, 0.5 * top))
        above = np.flatnonzero(height[a:b] > level)
        intervals.append(_edges(height, level, a + int(above[0]), a + int(above[-1]) + 1))
    return intervals


class _Place(NamedTuple):
    """How far one foot is in front of and beside the other, the error of each in metres, and which foot is in front."""

    ahead: float
    aside: float
    ahead_error: float
    aside_error: float
    front: str


def _place(body: Body, begin: int, end: int) -> _Place:
    """Where the feet stand between two frames.

    Planted feet do not move relative to each other: how much they seem to shows the error of the recording's angles.
    """
    foot = {
        side: (body.point(f"ball_{side}") - body.point(f"heel_{side}"))[begin:end, [0, 2]].mean(axis=0) for side in "rl"
    }
    both = foot["r"] + foot["l"]
    along = both / max(float(np.linalg.norm(both)), 1e-6)
    middle = {side: 0.5 * (body.point(f"heel_{side}") + body.point(f"ball_{side}"))[begin:end, [0, 2]] for side in "rl"}
    gap = middle["r"] - middle["l"]
    ahead, aside = gap @ along, gap[:, 1] * along[0] - gap[:, 0] * along[1]
    in_front = float(np.median(ahead))
    return _Place(
        abs(in_front),
        abs(float(np.median(aside))),
        _ERRING * float(np.std(ahead)),
        _ERRING * float(np.std(aside)),
        "right foot in front" if in_front > 0 else "left foot in front",
    )


def held_stance(trajectory: Trajectory, stance: str) -> Result:
    """Longest time in seconds with both feet on the floor in a stance of the SPPB, at most 30.

    The stance lasts from the moment a foot lands in it to the moment the next foot leaves the floor.

    Args:
        stance: "tandem" (one heel in front of the other foot's toes, on a line), "semi-tandem" (one heel beside the
            other big toe; the harder tandem stance counts as well) or "side by side" (feet together).

    Raises:
        InputError: the stance is not held for 0.3 s.
    """
    what = f"{stance} stance"
    body = body_of(trajectory, what)
    (least, most), line = STANCES[stance]
    length = _FOOT * body.height_m
    all_steps = steps(body)
    begins = [0.0, *(landed for _, landed in all_steps)]
    ends = [*(off for off, _ in all_steps), len(body.points) - 1.0]
    holds: list[_Hold] = []
    stances: list[tuple[float, str]] = []
    for begin, end in zip(begins, ends, strict=True):
        if end - begin < _SHORTEST_S * body.rate_hz:
            continue
        at = _place(body, round(begin), round(end) + 1)
        if max(at.ahead_error, at.aside_error) > _PLANTED_M:
            continue
        stances.append(
            (end - begin, f"{100 * at.ahead:.0f} cm in front of the other and {100 * at.aside:.0f} cm apart")
        )
        far = least * length - at.ahead_error <= at.ahead <= most * length + at.ahead_error
        if far and at.aside <= line * body.height_m + at.aside_error:
            holds.append(_Hold(begin, end, "feet together" if stance == "side by side" else at.front))
    if stances and not holds:
        raise InputError(f"{what}: one foot stands {max(stances)[1]}; give a recording of that stance")
    name = f"{stance.replace(' ', '_').replace('-', '_')}_stance_time"
    return _longest(name, body, holds, what)


def tandem_stance(trajectory: Trajectory) -> Result:
    """Longest time in seconds with one heel in front of the other foot's toes on a line: `held_stance` of "tandem"."""
    return held_stance(trajectory, "tandem")
