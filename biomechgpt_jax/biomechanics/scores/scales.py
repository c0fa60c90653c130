"""Ordinal scales from measured tests: SPPB, Berg, FGA and a proxy for MDS-UPDRS 3.10.

An item that movement does not determine has a reason instead of points, never a guess. Points assume that the person
did the test without help, because a recording contains nobody but the person.
"""

from dataclasses import dataclass, replace

import numpy as np

from biomechgpt_jax.biomechanics.scores.body import Result

# Sources of the limits in this module. Those marked [memory] were not checked in a source; correct them here and below.
SOURCES: dict[str, str] = {
    "sppb chair 11.2/13.7/16.7 s": "PMC3032402 Table 3; none beyond 60 s [memory]",
    "sppb balance 10 s, tandem 3 s": "PMC3032402 Table 3",
    "sppb walk 4.82/6.20/8.70 s over 4 m": "[memory]",
    "berg tandem 30 s": "form of the Berg scale",
    "berg single leg 10/5/3 s": "[memory]",
    "berg reach 25/12/5 cm": "[memory]",
    "berg full turn 4 s": "[memory]",
    "fga level 5.5/7 s over 6 m, 15.2/25 cm": "physio-pedia; 38 cm [memory]",
    "fga tandem steps 10/7/4": "NINDS CDE",
    "updrs proxy limits": "this program's own choice: a proxy, not the rating",
    "rater": "one point off in a tenth of the ratings; a stopwatch to 0.15 s [memory]",
}

CHAIR_S, CHAIR_MOST_S = (11.2, 13.7, 16.7), 60.0
WALK_S, WALK_M = (4.82, 6.20, 8.70), 4.0
# Limits of speed / sqrt(g leg length), of step length / height, and of the swing of the arm that swings less; below
# each, the proxy of the gait item counts a point.
_PROXY_SPEED, _PROXY_STEP, _PROXY_SWING_RAD = (0.36, 0.24), (0.34, 0.24), np.radians(10.0)
RATER_CHANCE, STOPWATCH_S = 0.1, 0.15


@dataclass(frozen=True)
class Points:
    """Points of one item, or None with the reason why movement does not determine them.

    If there are points, `reason` states what they depend on that movement does not show; it may be empty.
    """

    name: str
    points: int | None
    most: int
    reason: str = ""


def _points(name: str, points: int, most: int, rater: np.random.Generator | None) -> Points:
    """An item with points, with rater noise if there is a rater."""
    item = Points(name, int(points), most)
    return item if rater is None else rater_noise(item, rater)


def rater_noise(item: Points, rng: np.random.Generator, chance: float = RATER_CHANCE) -> Points:
    """An item as another rater might score it: off by one point with the given probability, within the scale."""
    if item.points is None or rng.random() >= chance:
        return item
    off = 1 if rng.random() < 0.5 else -1
    return replace(item, points=int(np.clip(item.points + off, 0, item.most)))


def stopwatch(result: Result, rng: np.random.Generator, spread_s: float = STOPWATCH_S) -> Result:
    """A timed result as a person with a stopwatch might measure it; results in other units are unchanged."""
    if result.unit != "s":
        return result
    value = max(0.0, result.value + spread_s * float(rng.normal()))
    return replace(result, value=value, flags=(*result.flags, "with rater noise"))


def sppb_balance(side_by_side_s: float, semi_tandem_s: float, tandem_s: float) -> int:
    """0-4 points; a stance counts only if the easier one is held for 10 s."""
    if side_by_side_s < 10:
        return 0
    if semi_tandem_s < 10:
        return 1
    return 2 + int(tandem_s >= 3) + int(tandem_s >= 10)


def sppb_chair(chair_s: float) -> int:
    """0-4 points of five times sit to stand; infinite seconds mean that the person could not do it."""
    return 0 if chair_s > CHAIR_MOST_S else 1 + sum(chair_s < limit for limit in CHAIR_S)


def sppb_walk(walk_m_s: float) -> int:
    """0-4 points of the usual walking speed in m/s; 0 means that the person could not walk."""
    if walk_m_s <= 0:
        return 0
    seconds = WALK_M / walk_m_s
    return 1 + int(seconds < WALK_S[0]) + sum(seconds <= limit for limit in WALK_S[1:])


def sppb(
    side_by_side_s: float | None = None,
    semi_tandem_s: float | None = None,
    tandem_s: float | None = None,
    chair_s: float | None = None,
    walk_m_s: float | None = None,
    rater: np.random.Generator | None = None,
) -> tuple[Points, Points, Points, Points]:
    """Balance, chair, walk and total points (0-4 each, total 0-12) from several trials of one person.

    Args:
        side_by_side_s, semi_tandem_s, tandem_s: seconds for which each stance is held.
        chair_s: five times sit to stand in seconds; infinite if the person could not do it.
        walk_m_s: usual walking speed.
        rater: draws rater noise; by default there is none.
    """
    if side_by_side_s is None or semi_tandem_s is None or tandem_s is None:
        balance = Points("sppb balance", None, 4, "needs three stances: side by side, semi-tandem, tandem")
    else:
        balance = _points("sppb balance", sppb_balance(side_by_side_s, semi_tandem_s, tandem_s), 4, rater)
    if chair_s is None:
        chair = Points("sppb chair", None, 4, "needs five times sit to stand")
    else:
        chair = _points("sppb chair", sppb_chair(chair_s), 4, rater)
    if walk_m_s is None:
        walk = Points("sppb walk", None, 4, "needs a walk at usual speed")
    else:
        walk = _points("sppb walk", sppb_walk(walk_m_s), 4, rater)
    parts = (balance, chair, walk)
    missing = "; ".join(part.reason for part in parts if part.points is None)
    total = None if missing else sum(part.points or 0 for part in parts)
    return (*parts, Points("sppb", total, 12, missing))


_HANDS, _HELP = "movement does not show use of the hands", "movement does not show supervision and help"


def berg_items(
    tandem_s: float | None = None,
    single_leg_s: float | None = None,
    reach_cm: float | None = None,
    turns_s: dict[str, float] | None = None,
    rater: np.random.Generator | None = None,
) -> tuple[Points, ...]:
    """The fourteen items of the Berg balance scale in order, 0-4 each.

    Movement alone determines only reaching forward, turning round, tandem and single-leg stance, and not their lowest
    points, which depend on the help given. A single-leg stance of exactly 10 s is not longer than 10 s: three points.

    Args:
        tandem_s, single_leg_s: seconds for which each stance is held.
        reach_cm: functional reach.
        turns_s: seconds of a full turn by "left" and "right"; a missing side was not done.
        rater: draws rater noise; by default there is none.
    """
    without = {
        "sit to stand": _HANDS,
        "standing unsupported": _HELP,
        "sitting unsupported": _HELP,
        "stand to sit": _HANDS,
        "transfers": _HANDS,
        "standing with eyes closed": "no coordinate shows the eyes",
        "standing with feet together": "movement does not show whether the feet were placed without help",
        "picking up an object": "no coordinate shows the object",
        "looking behind": _HELP,
        "stool stepping": "no coordinate shows the stool",
    }
    determined = {
        "reaching forward": _berg_reach(reach_cm),
        "turning round": _berg_turn(turns_s),
        "tandem stance": _berg_tandem(tandem_s),
        "single-leg stance": _berg_single_leg(single_leg_s),
    }
    order = [*list(without)[:7], "reaching forward", *list(without)[7:9], "turning round", "stool stepping"]
    items = []
    for name in [*order, "tandem stance", "single-leg stance"]:
        points, reason = determined.get(name, (None, without.get(name, "")))
        item = Points(f"berg {name}", None, 4, reason)
        items.append(item if points is None else _points(item.name, points, 4, rater))
    return tuple(items)


_LOWEST = "0 and 1 point differ by the help given, which movement does not show"


def _berg_reach(reach_cm: float | None) -> tuple[int | None, str]:
    if reach_cm is None:
        return None, "needs a functional reach"
    above = sum(reach_cm > limit for limit in (5.0, 12.0, 25.0))
    return (above + 1, "") if above else (None, _LOWEST)


def _berg_single_leg(held_s: float | None) -> tuple[int | None, str]:
    if held_s is None:
        return None, "needs a single-leg stance"
    above = int(held_s >= 3) + int(held_s >= 5) + int(held_s > 10)
    return (above + 1, "") if above else (None, _LOWEST)


def _berg_tandem(held_s: float | None) -> tuple[int | None, str]:
    if held_s is None:
        return None, "needs a tandem stance"
    return (4, "") if held_s >= 30 else (None, "below 30 s the points depend on foot placement and assistance")


def _berg_turn(turns_s: dict[str, float] | None) -> tuple[int | None, str]:
    if not turns_s or len(turns_s) < 2:
        return None, "needs a full turn to each side"
    return 2 + sum(seconds <= 4.0 for seconds in turns_s.values()), ""


def fga_items(
    six_metre_s: float | None = None,
    deviation_cm: float | None = None,
    device: bool | None = None,
    tandem_steps: int | None = None,
    rater: np.random.Generator | None = None,
) -> tuple[Points, ...]:
    """The ten items of the functional gait assessment in order, 0-3 each.

    Movement alone determines walking with a narrow base and, if it is known whether a device is used, level walking.

    Args:
        six_metre_s: seconds for 6 m.
        deviation_cm: how far the walk strays outside the walkway of 30.5 cm.
        device: whether an assistive device is used; movement does not show it.
        tandem_steps: consecutive heel-to-toe steps; None also if the recording cuts them short.
        rater: draws rater noise; by default there is none.
    """
    judged = "a rater must judge how much the gait changes"
    if six_metre_s is None or deviation_cm is None or device is None:
        level = Points("fga level walking", None, 3, "needs a walk of 6 m, its deviation and whether a device is used")
    else:
        level = _points("fga level walking", _fga_level(six_metre_s, deviation_cm, device), 3, rater)
    if tandem_steps is None:
        narrow = Points("fga narrow base", None, 3, "needs a tandem walk of ten steps")
    else:
        narrow = _points("fga narrow base", sum(tandem_steps >= limit for limit in (4, 7, 10)), 3, rater)
    return (
        level,
        Points("fga change of speed", None, 3, judged),
        Points("fga horizontal head turns", None, 3, judged),
        Points("fga vertical head turns", None, 3, judged),
        Points("fga pivot turn", None, 3, "movement does not show when the person was asked to turn"),
        Points("fga over an obstacle", None, 3, "no coordinate shows the obstacle"),
        narrow,
        Points("fga eyes closed", None, 3, "no coordinate shows the eyes"),
        Points("fga backwards", None, 3, judged),
        Points("fga steps", None, 3, "movement does not show use of the rail"),
    )


def _fga_level(six_metre_s: float, deviation_cm: float, device: bool) -> int:
    if deviation_cm > 38:
        return 0
    if six_metre_s >= 7 or deviation_cm > 25:
        return 1
    return 2 if six_metre_s >= 5.5 or device or deviation_cm > 15.2 else 3


def updrs_gait_proxy(
    walking_speed_m_s: float,
    step_length_m: float,
    height_m: float,
    device: bool,
    arm_swing_rad: float | None = None,
    rater: np.random.Generator | None = None,
) -> Points:
    """A PROXY for MDS-UPDRS 3.10 gait, 0-3: speed and step length for the height, arm swing, and a device.

    It is not the rating: its limits are this program's own. Four points would require help from another person, which
    movement does not show.

    Args:
        arm_swing_rad: range of shoulder flexion of the arm that swings less; a small range alone is one point.
    """
    slow = walking_speed_m_s / np.sqrt(9.81 * 0.53 * height_m)
    short = step_length_m / height_m
    stiff = arm_swing_rad is not None and arm_swing_rad < _PROXY_SWING_RAD
    worst = max(sum(slow < limit for limit in _PROXY_SPEED), sum(short < limit for limit in _PROXY_STEP), int(stiff))
    return _points("MDS-UPDRS 3.10 proxy", 3 if device else worst, 4, rater)
