"""Ordinal scales from what the tests measured: SPPB, items of Berg and FGA, a proxy of MDS-UPDRS 3.10.

An item that movement alone does not determine is None with the reason, never a guess.
"""

from dataclasses import dataclass

import numpy as np

# Limits by which a measure becomes points. Those marked [memory] are from memory of the published scale.
SOURCES: dict[str, str] = {
    "sppb chair 11.2/13.7/16.7 s": "PMC3032402 Table 3",
    "sppb balance 10 s, tandem 3 s": "PMC3032402 [memory]",
    "sppb walk 4.82/6.20/8.70 s over 4 m": "[memory]",
    "berg tandem 30 s": "Berg scale form",
    "berg single leg 10/5/3 s": "Berg scale form",
    "berg reach 25/12/5 cm": "[memory]",
    "fga level 5.5/7 s over 6 m": "physio-pedia",
    "fga tandem steps 10/7/4": "NINDS CDE",
    "updrs proxy limits": "[memory] and this program's own choice: a proxy, not the rating",
}


@dataclass(frozen=True)
class Points:
    """Points of one item, or None with the reason why movement does not determine them."""

    name: str
    points: int | None
    most: int
    reason: str = ""


def _from(name: str, value: float | None, limits: tuple[float, ...], most: int, needs: str) -> Points:
    """Points of a measure of which more is better; `limits` rise from one point up."""
    if value is None:
        return Points(name, None, most, f"needs {needs}")
    return Points(name, sum(value >= limit for limit in limits), most)


def sppb(
    side_by_side_s: float | None = None,
    semi_tandem_s: float | None = None,
    tandem_s: float | None = None,
    chair_s: float | None = None,
    walk_m_s: float | None = None,
) -> tuple[Points, Points, Points, Points]:
    """Balance, chair, walk and total points (0-4 each, total 0-12) from several trials of one person.

    Args:
        side_by_side_s, semi_tandem_s, tandem_s: stances held, in seconds.
        chair_s: five times sit to stand in seconds; infinite where the person could not.
        walk_m_s: usual walking speed.
    """
    if side_by_side_s is None or semi_tandem_s is None or tandem_s is None:
        balance = Points("sppb balance", None, 4, "needs three stances: side by side, semi-tandem, tandem")
    else:
        tandem = 2 if tandem_s >= 10 else int(tandem_s >= 3)
        # A stance is tried only after the easier one was held.
        held = [side_by_side_s >= 10, semi_tandem_s >= 10]
        balance = Points("sppb balance", int(held[0]) + (int(held[1]) + held[1] * tandem) * int(held[0]), 4)
    if chair_s is None:
        chair = Points("sppb chair", None, 4, "needs five times sit to stand")
    elif not np.isfinite(chair_s):
        chair = Points("sppb chair", 0, 4)
    else:
        chair = Points("sppb chair", 1 + (chair_s <= 16.6) + (chair_s <= 13.6) + (chair_s < 11.2), 4)
    if walk_m_s is None:
        walk = Points("sppb walk", None, 4, "needs a walk at usual speed")
    else:
        four = 4.0 / max(walk_m_s, 1e-6)
        walk = Points("sppb walk", (1 + (four <= 8.70) + (four <= 6.20) + (four < 4.82)) if walk_m_s > 0 else 0, 4)
    parts = (balance, chair, walk)
    known = [part.points for part in parts if part.points is not None]
    missing = "; ".join(part.reason for part in parts if part.points is None)
    return (*parts, Points("sppb", None if missing else sum(known), 12, missing))


def berg_items(
    tandem_s: float | None = None, single_leg_s: float | None = None, reach_cm: float | None = None
) -> tuple[Points, ...]:
    """Items of the Berg scale, 0-4 each, from holds in seconds and the reach in centimetres.

    A single-leg stance of 10 s exactly is not longer than 10 s: three points.
    """
    if tandem_s is None:
        tandem = Points("berg tandem stance", None, 4, "needs a tandem stance")
    elif tandem_s >= 30:
        tandem = Points("berg tandem stance", 4, 4)
    else:
        tandem = Points("berg tandem stance", None, 4, "below 30 s points depend on other foot positions and help")
    above = [float(np.nextafter(limit, np.inf)) for limit in (5.0, 12.0, 25.0)]
    single = (3.0, 5.0, float(np.nextafter(10.0, np.inf)))
    leg = _from("berg single-leg stance", single_leg_s, single, 4, "a single-leg stance")
    reach = _from("berg reach", reach_cm, tuple(above), 4, "a functional reach")
    # Without movement beyond "tries" the lowest two points hang on help, which no movement shows.
    return (
        tandem,
        Points(leg.name, leg.points + 1, 4) if leg.points else _lowest(leg),
        Points(reach.name, reach.points + 1, 4) if reach.points else _lowest(reach),
        Points("berg pick up an object", None, 4, "no coordinate shows the object"),
        Points("berg look behind", None, 4, "supervision and cueing are not in the movement"),
    )


def _lowest(item: Points) -> Points:
    reason = item.reason or "0 and 1 point differ by the help given, which movement does not show"
    return Points(item.name, None, item.most, reason)


def fga_items(
    six_metre_s: float | None = None,
    deviation_cm: float | None = None,
    device: bool | None = None,
    tandem_steps: int | None = None,
) -> tuple[Points, ...]:
    """Items 1 (level walking) and 7 (narrow base) of the functional gait assessment, 0-3 each.

    Args:
        six_metre_s: seconds for 6 m.
        deviation_cm: how far the walk goes outside the walkway of 30.5 cm.
        device: whether an assistive device is used; movement does not show it.
        tandem_steps: heel-to-toe steps in a row.
    """
    if six_metre_s is None or deviation_cm is None or device is None:
        level = Points("fga level walking", None, 3, "needs a walk of 6 m, its deviation and whether a device is used")
    elif deviation_cm > 38:
        level = Points("fga level walking", 0, 3)
    elif six_metre_s >= 7 or deviation_cm > 25:
        level = Points("fga level walking", 1, 3)
    elif six_metre_s >= 5.5 or device or deviation_cm > 15.2:
        level = Points("fga level walking", 2, 3)
    else:
        level = Points("fga level walking", 3, 3)
    narrow = _from("fga narrow base", tandem_steps, (4, 7, 10), 3, "a tandem walk")
    return (
        level,
        narrow,
        Points("fga eyes closed", None, 3, "no coordinate shows the eyes"),
        Points("fga over obstacle", None, 3, "no coordinate shows the obstacle"),
    )


def updrs_gait_proxy(walking_speed_m_s: float, step_length_m: float, height_m: float, device: bool) -> Points:
    """A PROXY of MDS-UPDRS 3.10 gait, 0-3: speed and step length for the height, and a device. Not the rating.

    Four points need help from another person, which movement does not show.
    """
    slow = walking_speed_m_s / np.sqrt(9.81 * 0.53 * height_m)
    short = step_length_m / height_m
    if device:
        return Points("MDS-UPDRS 3.10 proxy", 3, 4)
    worst = max(int(slow < 0.36) + int(slow < 0.24), int(short < 0.34) + int(short < 0.24))
    return Points("MDS-UPDRS 3.10 proxy", worst, 4)


def rater_noise(item: Points, rng: np.random.Generator, chance: float = 0.1) -> Points:
    """An item as another rater might give it: one point off with the given chance, inside the scale."""
    if item.points is None or rng.random() >= chance:
        return item
    off = 1 if rng.random() < 0.5 else -1
    return Points(item.name, int(np.clip(item.points + off, 0, item.most)), item.most, item.reason)
