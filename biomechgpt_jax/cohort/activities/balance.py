"""Stances that are held as long as balance lasts: heel to toe and on one leg. Angles in degrees."""

import numpy as np

from biomechgpt_jax.biomechanics.kinematics import FRACTIONS, POINT_INDEX
from biomechgpt_jax.biomechanics.skeleton import INDEX
from biomechgpt_jax.biomechanics.trajectory import LEFT, RIGHT, Score
from biomechgpt_jax.cohort.activities import postures
from biomechgpt_jax.cohort.footing.performance import RATE_HZ, Measure, Performance, clock, movement_of
from biomechgpt_jax.cohort.footing.schedule import FootContact, smooth_step, standing_contact
from biomechgpt_jax.cohort.people.participants import Participant
from biomechgpt_jax.cohort.people.styles import Style

# Both tests stop the clock here (Berg: 30 s of tandem stance scores full marks; single leg likewise [memory]).
LONGEST_S = 30.0
# Mean hold in seconds of a steady person below 50; it halves with every 15 years beyond 50 [memory].
_TANDEM_S, _SINGLE_S = 75.0, 50.0
_HALVED_YEARS = 15.0
# A foot higher than this above the floor counts as off the floor.
_OFF_FLOOR_M = 0.02
_SIDES = {RIGHT: "r", LEFT: "l"}
_LIFT_S = 0.7


def _hold_seconds(person: Participant, style: Style, steady_s: float, rng: np.random.Generator) -> float:
    """Seconds a person holds a stance: shorter with age, sway and severity, varying from trial to trial."""
    aged = 0.5 ** (max(0.0, person.age - 50) / _HALVED_YEARS) if steady_s == _SINGLE_S else 1.0
    loss = 0.40 * (style.sway - 1) + 1.3 * person.severity - 0.15 * person.fitness
    return float(np.clip(steady_s * aged * np.exp(-loss + 0.3 * rng.normal()), 0.8, LONGEST_S + 1.0))


def _airborne(points: np.ndarray, foot: int) -> list[tuple[float, float]]:
    """Intervals in seconds, with sub-frame ends, in which heel and ball of a foot are both off the floor."""
    index = [POINT_INDEX[f"{name}_{_SIDES[foot]}"] for name in ("heel", "ball")]
    above = points[:, index, 1].min(axis=1) - _OFF_FLOOR_M
    crossing = np.flatnonzero((above[:-1] > 0) != (above[1:] > 0))
    times = (crossing + above[crossing] / (above[crossing] - above[crossing + 1])) / RATE_HZ
    edges = list(times)
    if above[0] > 0:
        edges.insert(0, 0.0)
    if above[-1] > 0:
        edges.append((len(above) - 1) / RATE_HZ)
    return [(float(a), float(b)) for a, b in zip(edges[::2], edges[1::2], strict=True)]


def _contact_with_flights(time: np.ndarray, foot: int, flights: list[tuple[float, float]]) -> FootContact:
    """Contact of both feet except for one foot during its flights; its load leaves before and returns after each."""
    contact = standing_contact(len(time))
    for index, (off, on) in enumerate(flights):
        down = 1 - smooth_step(time, off + 0.04, off + 0.16) + smooth_step(time, on - 0.16, on - 0.04)
        contact.weight[:, foot] = np.minimum(contact.weight[:, foot], down[:, None])
        share = 1 - smooth_step(time, off - 0.5, off) + smooth_step(time, on, on + 0.4)
        contact.load[:, foot] = np.minimum(contact.load[:, foot], 0.5 * share)
        contact.stance[time >= 0.5 * (off + on), foot] = index + 1
    contact.load[:, 1 - foot] = 1 - contact.load[:, foot]
    return contact


def _rise_and_fall(time: np.ndarray, begin: float, end: float, ramp: float) -> np.ndarray:
    ramp = min(ramp, 0.45 * (end - begin))
    return smooth_step(time, begin, begin + ramp) - smooth_step(time, end - ramp, end)


def _struggle(
    q: np.ndarray, time: np.ndarray, style: Style, begin: float, end: float, lost: bool, rng: np.random.Generator
) -> None:
    """Raise the arms and sway the trunk while balance is hard, increasingly so before it is lost; in place."""
    trouble = max(0.0, style.sway - 1)
    inside = _rise_and_fall(time, begin - 0.3, end + 0.3, 0.8)
    growing = 1.0 + (1.5 * np.clip(1 - (end - time) / 1.2, 0, 1) if lost else 0.0)
    sway = postures.noise(len(time), RATE_HZ, 0.3, 1.5, 3, rng)
    size = (0.9 + 0.5 * min(trouble, 4)) * inside * growing
    for column, name in enumerate(("lumbar_bending", "lumbar_extension", "pelvis_list")):
        q[:, INDEX[name]] += (1.0, 0.6, 0.5)[column] * size * sway[:, column]
    for side in "rl":
        wave = postures.noise(len(time), RATE_HZ, 0.3, 1.5, 1, rng)[:, 0]
        q[:, INDEX[f"arm_add_{side}"]] -= inside * growing * (8 + min(22.0, 7 * trouble)) * (1 + 0.15 * wave)


def tandem_stance(person: Participant, style: Style, rng: np.random.Generator) -> Performance:
    """Stand with one foot in front of the other on a line, until a step to the side or the end of the test."""
    hold = _hold_seconds(person, style, _TANDEM_S, rng)
    lost = hold <= LONGEST_S
    foot = int(rng.integers(2))
    swing = rng.uniform(0.6, 0.9)
    off = float(rng.uniform(0.8, 1.8))
    landed = off + swing
    out = landed + hold
    back = out + (0.4 if lost else swing)
    time = clock(back + float(rng.uniform(0.8, 2.0)))
    q = np.tile(postures.standing(style), (len(time), 1))
    in_tandem = smooth_step(time, off, landed) - smooth_step(time, out, back)
    _place_heel_to_toe(q, in_tandem, foot)
    side = _SIDES[foot]
    for begin, end in ((off, landed), (out, back)):
        lift = np.sin(np.pi * np.clip((time - begin) / (end - begin), 0, 1)) ** 2
        q[:, INDEX[f"hip_flexion_{side}"]] += 30 * lift
        q[:, INDEX[f"knee_angle_{side}"]] += 55 * lift
        q[:, INDEX[f"ankle_angle_{side}"]] += 18 * lift
        q[:, INDEX[f"hip_adduction_{side}"]] -= 4 * lift
    _struggle(q, time, style, landed, out, lost, rng)
    postures.add_sway(q, style, RATE_HZ, 1.3, rng)
    contact = _contact_with_flights(time, foot, [(off, landed), (out, back)])
    edges = np.arange(landed, max(landed + 0.1, out - 3.0), 1.0)
    return Performance(
        "tandem stance",
        movement_of(q, contact, person),
        None,
        [(float(a), float(min(a + 3.0, out))) for a in edges],
        measure=_measure_tandem_time(foot),
    )


def _place_heel_to_toe(q: np.ndarray, in_tandem: np.ndarray, foot: int) -> None:
    """Bring the moving foot straight in front of the other, heel to toe; in place."""
    front, rear = _SIDES[foot], _SIDES[1 - foot]
    length = FRACTIONS.heel_back + FRACTIONS.ball_forward + FRACTIONS.toe_forward
    leg = FRACTIONS.thigh + FRACTIONS.shank
    stride = np.degrees(np.arcsin(0.5 * length / leg))
    inward = np.degrees(np.arcsin(FRACTIONS.hip_side / leg))
    for side, sign in ((front, 1.0), (rear, -1.0)):
        q[:, INDEX[f"hip_flexion_{side}"]] += in_tandem * sign * stride
        q[:, INDEX[f"ankle_angle_{side}"]] -= in_tandem * sign * stride
        adduction = q[:, INDEX[f"hip_adduction_{side}"]]
        q[:, INDEX[f"hip_adduction_{side}"]] = adduction + in_tandem * (inward - adduction)


def _measure_tandem_time(foot: int) -> Measure:
    def measure(points: np.ndarray) -> dict[str, Score]:
        flights = _airborne(points, foot)
        if len(flights) < 2:
            return {}
        start, end = flights[0][1], flights[-1][0]
        value = min(LONGEST_S, end - start)
        return {"tandem_stance_time": Score(value, start, start + value)}

    return measure


def single_leg_stance(person: Participant, style: Style, rng: np.random.Generator) -> Performance:
    """Stand on one leg until the other foot touches down or the test ends; some people try again."""
    affected = {"right": RIGHT, "left": LEFT}.get(person.side)
    stance = int(rng.integers(2))
    if person.device == "prosthesis" and affected is not None:
        stance = 1 - affected
    hold = _hold_seconds(person, style, _SINGLE_S, rng)
    if stance == affected:
        hold = max(0.8, hold * (1 - 0.5 * person.severity))
    again = hold < 5 and rng.random() < 0.5
    flights = [(begin := float(rng.uniform(1.0, 2.0)), begin + 0.25 + hold)]
    if again:
        begin = flights[0][1] + float(rng.uniform(0.9, 1.6))
        flights.append((begin, begin + 0.25 + max(0.8, hold * rng.uniform(0.4, 0.95))))
    time = clock(flights[-1][1] + float(rng.uniform(0.8, 1.8)))
    free = 1 - stance
    q = np.tile(postures.standing(style), (len(time), 1))
    hip, knee = rng.uniform(20, 40), rng.uniform(60, 90)
    for off, on in flights:
        lift = _rise_and_fall(time, off, on, _LIFT_S)
        side = _SIDES[free]
        for name, angle in (("hip_flexion", hip), ("knee_angle", knee), ("ankle_angle", -8.0)):
            column = INDEX[f"{name}_{side}"]
            q[:, column] += lift * (angle - q[:, column])
        # The pelvis moves over the standing foot before the other is lifted.
        over = _rise_and_fall(time, off - 0.5, on + 0.4, 0.6)
        q[:, INDEX[f"hip_adduction_{_SIDES[stance]}"]] += 5.5 * over
        q[:, INDEX[f"hip_adduction_{side}"]] -= 5.5 * over
        _struggle(q, time, style, off, on, on - off < LONGEST_S + 1, rng)
    postures.add_sway(q, style, RATE_HZ, 1.3, rng)
    first_off, first_on = flights[0]
    edges = np.arange(first_off, max(first_off + 0.1, first_on - 3.0), 1.0)
    return Performance(
        "single-leg stance",
        movement_of(q, _contact_with_flights(time, free, flights), person),
        None,
        [(float(a), float(min(a + 3.0, first_on))) for a in edges],
        measure=_measure_single_leg_time(free),
    )


def _measure_single_leg_time(free: int) -> Measure:
    def measure(points: np.ndarray) -> dict[str, Score]:
        flights = _airborne(points, free)
        if not flights:
            return {}
        start, end = max(flights, key=lambda flight: flight[1] - flight[0])
        value = min(LONGEST_S, end - start)
        return {"single_leg_stance_time": Score(value, start, start + value)}

    return measure
