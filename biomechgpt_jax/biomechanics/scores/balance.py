"""Stances that are held, and how far a person reaches without a step."""

import numpy as np

from biomechgpt_jax.biomechanics.scores.body import Body, Phase, Result, body_of, runs
from biomechgpt_jax.biomechanics.trajectory import Trajectory
from biomechgpt_jax.errors import InputError

# A foot is in the air while its lowest point is this far above the lowest point of the other.
RAISED_M = 0.04
# Tandem: heel and toe on one line within this, and at most this far apart along it, as shares of body height.
LINE_SHARE, APART_SHARE = 0.04, 0.06
_STILL_M_S = 0.5
_SHORTEST_S = 0.3
# Markerless noise breaks a tandem hold for moments; a foot that steps leaves its place for longer.
_BRIDGE_S = 0.3
# An arm counts as raised while it is this near to level.
_LEVEL_RAD = np.radians(30.0)
_STEPPED_M = 0.10


def _lowest(body: Body, side: str) -> np.ndarray:
    return np.minimum(body.point(f"heel_{side}")[:, 1], body.point(f"toe_{side}")[:, 1])


def _bridged(mask: np.ndarray, longest: int) -> np.ndarray:
    """The mask with inner gaps of at most `longest` frames filled."""
    filled = mask.copy()
    for a, b in runs(~mask):
        if a > 0 and b < len(mask) and b - a <= longest:
            filled[a:b] = True
    return filled


def _longest(name: str, body: Body, held: dict[str, np.ndarray], what: str) -> Result:
    found = [(b - a, a, b, side) for side, mask in held.items() for a, b in runs(mask)]
    found = [one for one in found if one[0] >= _SHORTEST_S * body.rate_hz]
    if not found:
        raise InputError(f"{what}: it is not held for {_SHORTEST_S} s anywhere here; give another recording")
    _, a, b, side = max(found)
    start, end = a / body.rate_hz, b / body.rate_hz
    flags = ("cut short by the recording",) if a == 0 or b == len(body.points) else ()
    return Result(name, end - start, "s", start, end, (Phase(side, start, end),), flags)


def single_leg_stance(trajectory: Trajectory) -> Result:
    """Longest time in seconds that one foot is in the air; its phase names the foot that stands.

    Raises InputError where no foot leaves the floor for 0.3 s.
    """
    body = body_of(trajectory)
    right, left = _lowest(body, "r"), _lowest(body, "l")
    held = {"on the left foot": right - left > RAISED_M, "on the right foot": left - right > RAISED_M}
    return _longest("single_leg_stance_time", body, held, "single-leg stance")


def tandem_stance(trajectory: Trajectory) -> Result:
    """Longest time in seconds with one heel before the other toes on a line, both feet still.

    Raises InputError where that is not held for 0.3 s.
    """
    body = body_of(trajectory)
    held = {}
    for name, front, rear in (("right foot in front", "r", "l"), ("left foot in front", "l", "r")):
        toe, heel = body.point(f"toe_{rear}")[:, [0, 2]], body.point(f"heel_{front}")[:, [0, 2]]
        foot = toe - body.point(f"heel_{rear}")[:, [0, 2]]
        along = foot / np.maximum(np.linalg.norm(foot, axis=1, keepdims=True), 1e-6)
        gap = heel - toe
        ahead = np.sum(gap * along, axis=1)
        aside = gap[:, 0] * along[:, 1] - gap[:, 1] * along[:, 0]
        near = (np.abs(ahead) < APART_SHARE * body.height_m) & (np.abs(aside) < LINE_SHARE * body.height_m)
        for side in "rl":
            speed = np.linalg.norm(np.gradient(body.point(f"ankle_{side}"), axis=0), axis=1) * body.rate_hz
            near &= speed < _STILL_M_S
        held[name] = _bridged(near, round(_BRIDGE_S * body.rate_hz))
    return _longest("tandem_stance_time", body, held, "tandem stance")


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
