"""Stances that are held, and how far a person reaches without a step."""

import numpy as np
from scipy.ndimage import gaussian_filter1d

from biomechgpt_jax.biomechanics.scores.body import Body, Phase, Result, body_of, crossing, runs
from biomechgpt_jax.biomechanics.trajectory import Trajectory
from biomechgpt_jax.errors import InputError

# Heel and ball of a foot that is off the floor are both this far above where they rest.
OFF_FLOOR_M = 0.02
# A foot was lifted, not only tilted by the noise of a recording, if it came this far up at some moment.
_LIFTED_M = 0.025
# A foot that is never this far up may be lifted or measured badly.
_CLEARLY_M = 0.045
# The watch stops here in both stances [memory].
LONGEST_S = 30.0
# Tandem: heel and toe on one line within this, and at most this far apart along it, as shares of body height. They are
# compared by the median of a whole stance, as angles of 3 degrees at the hips move feet by as many as 5 cm.
LINE_SHARE, APART_SHARE = 0.05, 0.09
# Feet that move against each other faster than this are stepping.
_STEPPING_M_S = 0.35
_SHORTEST_S = 0.3
# An arm counts as raised while it is this near to level.
_LEVEL_RAD = np.radians(30.0)
_STEPPED_M = 0.10
_FEET = tuple(f"{part}_{side}" for part in ("heel", "ball", "toe") for side in "rl")


def _lowest(body: Body, side: str) -> np.ndarray:
    """Height of heel or ball, the lower; many recordings hold the toes still, so their tips tell nothing."""
    return np.minimum(body.point(f"heel_{side}")[:, 1], body.point(f"ball_{side}")[:, 1])


def _held(name: str, body: Body, found: list[tuple[float, float, str, bool]], what: str) -> Result:
    """The longest hold of (begin, end, side, clear) in frames, the watch stopped at LONGEST_S."""
    found = [one for one in found if one[1] - one[0] >= _SHORTEST_S * body.rate_hz]
    if not found:
        raise InputError(f"{what}: it is not held for {_SHORTEST_S} s anywhere here; give another recording")
    a, b, side, clear = max(found, key=lambda one: one[1] - one[0])
    start = a / body.rate_hz
    value = min(LONGEST_S, b / body.rate_hz - start)
    cut = a == 0 or (b >= len(body.points) - 1 and value < LONGEST_S)
    flags = (("cut short by the recording",) if cut else ()) + (() if clear else ("foot barely off the floor",))
    return Result(name, value, "s", start, start + value, (Phase(side, start, start + value),), flags)


def _edges(values: np.ndarray, level: float, begin: int, end: int) -> tuple[float, float]:
    """Sub-frame places at which a run [begin, end) of `values` above `level` begins and ends."""
    first = crossing(values, level, begin - 1) if begin else 0.0
    last = crossing(values, level, end - 1) if end < len(values) else len(values) - 1.0
    return first, last


def single_leg_stance(trajectory: Trajectory) -> Result:
    """Longest time in seconds that one foot is in the air, at most 30; its phase names the foot that stands.

    A foot rests at the level that it keeps on the floor in this recording and is lifted where it goes halfway to the
    highest that it stays; the hold then lasts while it is OFF_FLOOR_M above its rest. Raises InputError where
    no foot leaves the floor for 0.3 s.
    """
    body = body_of(trajectory)
    over = _lowest(body, "r") - _lowest(body, "l")
    # The highest that lasts: a kick of a few frames is not a hold.
    steady = gaussian_filter1d(over, 0.15 * body.rate_hz, mode="nearest")
    top = float(np.max(np.abs(steady)))
    resting = np.abs(steady) < min(0.4 * top, OFF_FLOOR_M)
    rest = float(np.median(over[resting])) if resting.sum() >= 0.3 * body.rate_hz else 0.0
    found = []
    for sign, side in ((1.0, "on the left foot"), (-1.0, "on the right foot")):
        above = sign * (over - rest)
        highest = float(np.max(sign * (steady - rest)))
        if highest < _LIFTED_M:
            continue
        level = min(OFF_FLOOR_M, 0.5 * highest)
        for a, b in runs(above > level):
            if above[a:b].max() >= 0.5 * highest:
                found.append((*_edges(above, level, a, b), side, highest >= _CLEARLY_M))
    return _held("single_leg_stance_time", body, found, "single-leg stance")


def _steps(body: Body) -> list[tuple[float, float]]:
    """Frames at which a foot leaves the floor and is back on it, for every step that moves one against the other."""
    over = _lowest(body, "r") - _lowest(body, "l")
    apart = (body.point("ankle_r") - body.point("ankle_l"))[:, [0, 2]]
    speed = np.linalg.norm(np.gradient(apart, axis=0), axis=1) * body.rate_hz
    margin, found = round(0.5 * body.rate_hz), []
    for a, b in runs(speed > _STEPPING_M_S):
        low, high = max(0, a - margin), min(len(over), b + margin)
        # Where the feet rest before and after the step, in case they do not rest alike.
        before = float(np.median(over[max(0, low - margin) : low + 3]))
        after = float(np.median(over[high - 3 : high + margin]))
        height = np.abs(over[low:high] - np.linspace(before, after, high - low))
        if height.max() < _LIFTED_M:
            continue
        level = min(OFF_FLOOR_M, 0.5 * float(height.max()))
        # Of the run of frames above the level that holds the highest.
        peak = int(np.argmax(height))
        begin, end = next(span for span in runs(height > level) if span[0] <= peak < span[1])
        first, last = _edges(height, level, begin, end)
        found.append((low + first, low + last))
    return found


def _tandem_front(body: Body, begin: int, end: int) -> str | None:
    """Which foot is in front of the other on a line between two frames; None where neither is."""
    points = {name: np.median(body.point(name)[begin:end], axis=0)[[0, 2]] for name in _FEET}
    foot = sum(points[f"ball_{side}"] - points[f"heel_{side}"] for side in "rl")
    along = foot / max(float(np.linalg.norm(foot)), 1e-6)
    for name, front, rear in (("right foot in front", "r", "l"), ("left foot in front", "l", "r")):
        ahead = float((points[f"heel_{front}"] - points[f"toe_{rear}"]) @ along)
        gap = 0.5 * sum(points[f"{part}_{front}"] - points[f"{part}_{rear}"] for part in ("heel", "ball"))
        aside = float(gap[0] * along[1] - gap[1] * along[0])
        if abs(ahead) < APART_SHARE * body.height_m and abs(aside) < LINE_SHARE * body.height_m:
            return name
    return None


def tandem_stance(trajectory: Trajectory) -> Result:
    """Longest time in seconds with one heel before the other toes on a line, both feet on the floor, at most 30.

    It lasts from the foot that lands there to the next that leaves the floor. Raises InputError where that is not
    held for 0.3 s.
    """
    body = body_of(trajectory)
    steps = _steps(body)
    begins = [0.0, *(landed for _, landed in steps)]
    ends = [*(off for off, _ in steps), len(body.points) - 1.0]
    found = []
    for begin, end in zip(begins, ends, strict=True):
        if end - begin >= _SHORTEST_S * body.rate_hz:
            front = _tandem_front(body, round(begin), round(end) + 1)
            if front:
                found.append((begin, end, front, True))
    return _held("tandem_stance_time", body, found, "tandem stance")


def functional_reach(trajectory: Trajectory) -> Result:
    """Centimetres that the hand goes forward from its place with the arm level, feet in place.

    The reaching arm is the one whose hand goes farther. Raises InputError where no arm is raised level.
    """
    body = body_of(trajectory)
    heading = float(np.median(body.facing()))
    ahead = np.array([np.cos(heading), 0.0, np.sin(heading)])
    feet = 0.5 * (body.point("ankle_r") + body.point("ankle_l"))
    best: tuple[float, int, int, str] | None = None
    for side in "rl":
        arm = body.point(f"wrist_{side}") - body.point(f"shoulder_{side}")
        forward = arm @ ahead
        level = np.abs(np.arctan2(arm[:, 1], forward)) < _LEVEL_RAD
        spans = [(a, b) for a, b in runs(level) if b - a >= 0.5 * body.rate_hz]
        if not spans:
            continue
        begin, end = max(spans, key=lambda span: span[1] - span[0])
        hand = (body.point(f"hand_{side}") - feet) @ ahead
        # The arm is on its way up for a moment after it passes the limit of level: its place is where it then rests.
        rest = slice(begin + round(0.25 * body.rate_hz), max(begin + round(0.6 * body.rate_hz), begin + 2))
        far = begin + int(np.argmax(hand[begin:end]))
        reach = 100.0 * float(hand[far] - np.median(hand[rest]))
        if best is None or reach > best[0]:
            best = reach, begin, far, side
    if best is None:
        raise InputError("functional reach: no arm is raised level to the front; give another recording")
    reach, begin, far, side = best
    moved = np.ptp(feet[begin : far + 1] @ ahead)
    flags = ("stepped",) if moved > _STEPPED_M else ()
    start, end_s = begin / body.rate_hz, far / body.rate_hz
    phase = Phase("right hand" if side == "r" else "left hand", start, end_s)
    return Result("functional_reach", reach, "cm", start, end_s, (phase,), flags)
