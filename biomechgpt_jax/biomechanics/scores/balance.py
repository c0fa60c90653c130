"""Stances that are held: on one leg, and with one foot beside, half before or before the other."""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from scipy.ndimage import gaussian_filter1d, median_filter

from biomechgpt_jax.biomechanics.kinematics import FRACTIONS
from biomechgpt_jax.biomechanics.scores.body import Body, Phase, Result, body_of, crossing, runs
from biomechgpt_jax.biomechanics.trajectory import Trajectory
from biomechgpt_jax.errors import InputError

# Heel and ball of a foot that is off the floor are both this far above where they rest.
OFF_FLOOR_M = 0.02
# A foot held high is off the floor from this share of its height on: as angles err, the pelvis that shifts over the
# other foot before the lift seems to raise it by less.
_OFF_SHARE = 0.25
# A foot that comes down this far from where it left, in metres, has made a step if it came this far up at some moment,
# and this many standard deviations of the noise of its height: less of both the farther it went, as a stiff leg that is
# swung to another place hardly leaves the floor, and a foot that is only lifted is down where it was.
_STEPS = ((0.0, 0.025, 9.0), (0.12, 0.012, 5.0), (0.18, 0.012, 2.5))
_LIFTED_M, _LIFTED_SD = 0.025, 5.0
# Nor is it off the floor below this many standard deviations.
_OFF_SD = 2.5
# A foot that sinks without coming down to this share of it has not touched the floor.
_TOUCHES = 0.3
# A foot that is never this far up may be lifted or measured badly.
_CLEARLY_M = 0.045
# The watch stops here in every stance [memory: Berg counts 30 s of tandem stance; SPPB stops at 10 s].
LONGEST_S = 30.0
# Where the feet are is the median of a whole stance, as angles of 3 degrees at the hips move feet by as many as 5 cm.
# Offsets along the feet are shares of the length of a foot, those across are shares of body height [this program's own:
# the scales say heel to toe, heel beside the big toe, and feet together].
_FOOT = FRACTIONS.heel_back + FRACTIONS.ball_forward + FRACTIONS.toe_forward
STANCES: dict[str, tuple[tuple[float, float], float]] = {
    "tandem": ((0.40, 1.60), 0.050),
    "semi-tandem": ((0.40, 1.60), 0.100),
    "side by side": ((0.00, 0.30), 0.080),
}
# An angle that wanders errs by a constant of about as much; places are known to this many standard deviations of it.
_ERRING = 2.0
# Feet that seem to move against each other by more are not planted.
_PLANTED_M = 0.12
_SHORTEST_S = 0.3
# The flag of a hold that goes on where the recording ends, or began before it.
CUT = "cut short by the recording"
# A pelvis that goes so far while one foot is in the air is taken somewhere by a step.
_TRAVELS_M = 0.25
# A height rests at its median over this long: more than twice a step.
_REST_WINDOW_S = 2.5


def _lowest(body: Body, side: str) -> np.ndarray:
    """Height of heel or ball, the lower; many recordings hold the toes still, so their tips tell nothing."""
    return np.minimum(body.point(f"heel_{side}")[:, 1], body.point(f"ball_{side}")[:, 1])


def _running_median(values: np.ndarray, rate_hz: float, seconds: float) -> np.ndarray:
    return median_filter(values, 2 * round(0.5 * seconds * rate_hz) + 1, mode="nearest")


def _spread(values: np.ndarray) -> float:
    """Standard deviation about zero, robust against the few frames of a step."""
    return float(1.4826 * np.median(np.abs(values)))


@dataclass(frozen=True)
class _Hold:
    """From one frame to another, sub-frame; `clear` where the foot is plainly off the floor."""

    begin: float
    end: float
    name: str
    clear: bool = True


def _longest(name: str, body: Body, found: list[_Hold], what: str) -> Result:
    """The longest hold, the watch stopped at LONGEST_S; phases are all of them and the touch-downs between."""
    found = sorted((one for one in found if one.end - one.begin >= _SHORTEST_S * body.rate_hz), key=lambda x: x.begin)
    if not found:
        raise InputError(f"{what}: it is not held for {_SHORTEST_S} s anywhere here; give another recording")
    best = max(found, key=lambda one: one.end - one.begin)
    start = best.begin / body.rate_hz
    value = min(LONGEST_S, best.end / body.rate_hz - start)
    phases = []
    for one, after in zip(found, [*found[1:], None], strict=True):
        phases.append(Phase(one.name, one.begin / body.rate_hz, one.end / body.rate_hz))
        if after is not None and after.name == one.name:
            phases.append(Phase("touch-down", one.end / body.rate_hz, after.begin / body.rate_hz))
    cut = best.begin == 0 or (best.end >= len(body.points) - 1 and value < LONGEST_S)
    flags = ((CUT,) if cut else ()) + (() if best.clear else ("foot barely off the floor",))
    return Result(name, value, "s", start, start + value, tuple(phases), flags)


def _edges(values: np.ndarray, level: float, begin: int, end: int) -> tuple[float, float]:
    """Sub-frame places at which a run [begin, end) of `values` above `level` begins and ends."""
    first = crossing(values, level, begin - 1) if begin else 0.0
    last = crossing(values, level, end - 1) if end < len(values) else len(values) - 1.0
    return first, last


def _joined(spans: list[tuple[int, int]], values: np.ndarray, level: float) -> list[tuple[int, int]]:
    """Runs of frames with those made one between which the values never go below a level."""
    found: list[tuple[int, int]] = []
    for a, b in spans:
        if found and values[found[-1][1] : a].min() > level:
            found[-1] = found[-1][0], b
        else:
            found.append((a, b))
    return found


def _stays(body: Body, begin: int, end: int) -> bool:
    """Whether the pelvis stays over its place between two frames; where its path is unknown, it does."""
    path = body.point("pelvis")[begin:end, [0, 2]]
    return float(np.linalg.norm(np.ptp(path, axis=0))) < _TRAVELS_M


def single_leg_stance(trajectory: Trajectory) -> Result:
    """Longest time in seconds that one foot is in the air, at most 30; its phases name the foot that stands.

    A foot rests at the level that it keeps on the floor in this recording and is lifted where it goes halfway to the
    highest that it stays; the hold then lasts while it is OFF_FLOOR_M above its rest, or a
    quarter of that highest. Phases are all holds in their
    order, with the touch-downs between holds on one foot.

    Raises:
        InputError: no foot leaves the floor for 0.3 s while the body stays in place: walking is no such stance.
    """
    body = body_of(trajectory, "single-leg stance")
    over = _lowest(body, "r") - _lowest(body, "l")
    noise = _spread(over - _running_median(over, body.rate_hz, _REST_WINDOW_S))
    # The highest that lasts: a kick of a few frames is not a hold.
    steady = gaussian_filter1d(over, 0.15 * body.rate_hz, mode="nearest")
    top = float(np.max(np.abs(steady)))
    resting = np.abs(steady) < min(0.4 * top, OFF_FLOOR_M)
    rest = float(np.median(over[resting])) if resting.sum() >= 0.3 * body.rate_hz else 0.0
    found = []
    for sign, name in ((1.0, "on the left foot"), (-1.0, "on the right foot")):
        above = sign * (over - rest)
        highest = float(np.max(sign * (steady - rest)))
        if highest < max(_LIFTED_M, _LIFTED_SD * noise):
            continue
        level = min(max(OFF_FLOOR_M, _OFF_SHARE * highest), 0.5 * highest)
        for a, b in _joined(runs(above > level), above, _TOUCHES * level):
            if above[a:b].max() >= 0.5 * highest and _stays(body, a, b):
                found.append(_Hold(*_edges(above, level, a, b), name, highest >= _CLEARLY_M))
    return _longest("single_leg_stance_time", body, found, "single-leg stance")


def steps(body: Body) -> list[tuple[float, float]]:
    """Frames at which a foot leaves the floor and is back on it, for every step."""
    over = _lowest(body, "r") - _lowest(body, "l")
    base = _running_median(over, body.rate_hz, _REST_WINDOW_S)
    noise = _spread(over - base)
    height = np.abs(over - base)
    apart = (body.point("ankle_r") - body.point("ankle_l"))[:, [0, 2]]
    half, found = round(0.5 * body.rate_hz), []
    least = max(0.5 * OFF_FLOOR_M, _OFF_SD * noise)
    for a, b in runs(height > least):
        before, after = np.median(apart[max(0, a - half) : a + 1], axis=0), np.median(apart[b - 1 : b + half], axis=0)
        moved, top = float(np.linalg.norm(after - before)), float(height[a:b].max())
        if not any(moved > far and top > max(high, sd * noise) for far, high, sd in _STEPS):
            continue
        level = max(least, min(OFF_FLOOR_M, 0.5 * top))
        above = np.flatnonzero(height[a:b] > level)
        found.append(_edges(height, level, a + int(above[0]), a + int(above[-1]) + 1))
    return found


class _Place(NamedTuple):
    """How far one foot is before the other and beside it, how well each is known, in metres, and which is in front."""

    ahead: float
    aside: float
    ahead_error: float
    aside_error: float
    front: str


def _place(body: Body, begin: int, end: int) -> _Place:
    """Where the feet stand between two frames.

    Planted feet do not move against each other: that they seem to tells how far the angles of the recording err.
    """
    foot = {
        side: (body.point(f"ball_{side}") - body.point(f"heel_{side}"))[begin:end, [0, 2]].mean(axis=0) for side in "rl"
    }
    both = foot["r"] + foot["l"]
    along = both / max(float(np.linalg.norm(both)), 1e-6)
    middle = {side: 0.5 * (body.point(f"heel_{side}") + body.point(f"ball_{side}"))[begin:end, [0, 2]] for side in "rl"}
    gap = middle["r"] - middle["l"]
    ahead, aside = gap @ along, gap[:, 1] * along[0] - gap[:, 0] * along[1]
    before = float(np.median(ahead))
    return _Place(
        abs(before),
        abs(float(np.median(aside))),
        _ERRING * float(np.std(ahead)),
        _ERRING * float(np.std(aside)),
        "right foot in front" if before > 0 else "left foot in front",
    )


def held_stance(trajectory: Trajectory, stance: str) -> Result:
    """Longest time in seconds with both feet on the floor in a stance of the SPPB, at most 30.

    It lasts from the foot that lands there to the next that leaves the floor.

    Args:
        stance: "tandem" (one heel before the other toes, on a line), "semi-tandem" (one heel beside the other big
            toe; the harder tandem stance counts) or "side by side" (feet together).

    Raises:
        InputError: the stance is not held for 0.3 s.
    """
    what = f"{stance} stance"
    body = body_of(trajectory, what)
    (least, most), line = STANCES[stance]
    length = _FOOT * body.height_m
    stepped = steps(body)
    begins = [0.0, *(landed for _, landed in stepped)]
    ends = [*(off for off, _ in stepped), len(body.points) - 1.0]
    found: list[_Hold] = []
    seen: list[tuple[float, str]] = []
    for begin, end in zip(begins, ends, strict=True):
        if end - begin < _SHORTEST_S * body.rate_hz:
            continue
        at = _place(body, round(begin), round(end) + 1)
        if max(at.ahead_error, at.aside_error) > _PLANTED_M:
            continue
        seen.append((end - begin, f"{100 * at.ahead:.0f} cm one before the other and {100 * at.aside:.0f} cm apart"))
        far = least * length - at.ahead_error <= at.ahead <= most * length + at.ahead_error
        if far and at.aside <= line * body.height_m + at.aside_error:
            found.append(_Hold(begin, end, "feet together" if stance == "side by side" else at.front))
    if seen and not found:
        raise InputError(f"{what}: the feet stand {max(seen)[1]}; give a recording of that stance")
    name = f"{stance.replace(' ', '_').replace('-', '_')}_stance_time"
    return _longest(name, body, found, what)


def tandem_stance(trajectory: Trajectory) -> Result:
    """Longest time in seconds with one heel before the other toes on a line: `held_stance` of "tandem"."""
    return held_stance(trajectory, "tandem")
