"""Stairs, up and down: one foot per tread, or both feet onto every tread."""

import numpy as np

from biomechgpt_jax.biomechanics.skeleton import INDEX
from biomechgpt_jax.biomechanics.trajectory import LEFT, RIGHT
from biomechgpt_jax.cohort.activities import postures
from biomechgpt_jax.cohort.footing import footfalls
from biomechgpt_jax.cohort.footing.footfalls import Step, Swing
from biomechgpt_jax.cohort.footing.performance import RATE_HZ, Performance, clock
from biomechgpt_jax.cohort.people.participants import Participant
from biomechgpt_jax.cohort.people.styles import Style

# Dimensions of an ordinary staircase [memory].
RISE_M, RUN_M = 0.17, 0.29
# Seconds per step of a healthy adult who walks at this speed; other people's scale with their speed [memory].
_STEP_S, _AT_M_S = 0.60, 1.35
# Severity beyond which a person puts both feet on every tread, and severity or sway beyond which they hold a handrail.
_TREAD_BY_TREAD, _HANDRAIL, _UNSTEADY = 0.6, 0.45, 1.8
_HALF_WIDTH_M = 0.085


def stairs(person: Participant, style: Style, rng: np.random.Generator, up: bool) -> Performance:
    """Climb or descend four to six treads, with a quiet moment at both ends."""
    treads = int(rng.integers(4, 7))
    step_s = _STEP_S * (_AT_M_S / person.free_speed) ** 0.8 * float(np.exp(0.06 * rng.normal()))
    step_s = float(np.clip(step_s, 0.45, 2.2))
    side = 1.0 if rng.random() < 0.5 else -1.0
    both = person.severity + 0.1 * rng.normal() > _TREAD_BY_TREAD
    lead = _leading_foot(person, up, rng)
    half = _HALF_WIDTH_M + 0.35 * style.width_m
    across = {RIGHT: half, LEFT: -half}

    def place(tread: int, foot: int) -> tuple[float, float, float]:
        height = RISE_M * (tread if up else treads - tread)
        return (RUN_M * tread, height, across[foot])

    quiet = rng.uniform(0.6, 2.0, 2)
    steps: list[Step] = []
    at, last = float(quiet[0]), None
    for tread, foot in _order(treads, lead, both):
        duration = step_s * (1.25 if both else 1.0) * float(np.exp(style.stride_time_cv * rng.normal()))
        lift = at if last is None else at + 0.18 * duration
        strike = at + duration
        steps.append(Step(foot, lift, strike, place(tread, foot)))
        at, last = strike, foot
    time = clock(at + float(quiet[1]))
    swing = Swing(clearance_m=0.07 if up else 0.05, pitch_deg=4.0 if up else -14.0)
    pose = _pose(person, style, time, steps, up, side, rng)
    movement, bout = footfalls.movement(person, time, pose, (place(0, RIGHT), place(0, LEFT)), steps, swing)
    # Two steps are enough to distinguish stairs from every other activity.
    defining = [(a.lift, b.strike) for a, b in zip(steps[:-1], steps[1:], strict=True)]
    return Performance("stair ascent" if up else "stair descent", movement, bout, defining)


def _leading_foot(person: Participant, up: bool, rng: np.random.Generator) -> int:
    """Choose the leading foot: the better leg goes up first, the worse one goes down first."""
    worse = {"right": RIGHT, "left": LEFT}.get(person.side)
    if worse is None:
        return int(rng.integers(2))
    return 1 - worse if up else worse


def _order(treads: int, lead: int, both: bool) -> list[tuple[int, int]]:
    """(tread, foot) of every step; after the last step both feet are on the last tread."""
    if both:
        return [(tread, foot) for tread in range(1, treads + 1) for foot in (lead, 1 - lead)]
    alternating = [(tread, (lead + tread - 1) % 2) for tread in range(1, treads + 1)]
    return [*alternating, (treads, 1 - alternating[-1][1])]


def _pose(
    person: Participant,
    style: Style,
    time: np.ndarray,
    steps: list[Step],
    up: bool,
    side: float,
    rng: np.random.Generator,
) -> np.ndarray:
    """Trunk and arms in degrees, [T, 40]: the trunk leans into the stairs, the arms swing or hold a rail."""
    q = np.tile(postures.standing(style), (len(time), 1))
    begin, end = steps[0].lift, steps[-1].strike
    under_way = np.clip(np.minimum(time - begin, end - time) / 0.4, 0.0, 1.0)
    under_way = under_way * under_way * (3 - 2 * under_way)
    q[:, INDEX["pelvis_tilt"]] -= (7.0 if up else 2.0) * under_way
    q[:, INDEX["lumbar_extension"]] -= (7.0 if up else 1.0) * under_way
    q[:, INDEX["neck_extension"]] -= (0.0 if up else 8.0) * under_way
    strikes = np.array([begin, *(step.strike for step in steps)])
    swung = np.array([0.0, *(1.0 if step.foot == RIGHT else -1.0 for step in steps)])
    forward = np.interp(time, strikes, swung)  # of the right leg
    holds_rail = person.severity > _HANDRAIL or style.sway > _UNSTEADY
    for name, sign in (("r", -1.0), ("l", 1.0)):
        if holds_rail and sign == -side:
            q[:, INDEX[f"arm_flex_{name}"]] += under_way * (48.0 + 4.0 * forward)
            q[:, INDEX[f"arm_add_{name}"]] -= 12.0 * under_way
            q[:, INDEX[f"elbow_flex_{name}"]] += 22.0 * under_way
        else:
            arm = style.arm_right if name == "r" else style.arm_left
            q[:, INDEX[f"arm_flex_{name}"]] += 10.0 * arm.swing * sign * forward * under_way + arm.shoulder_flexion
            q[:, INDEX[f"elbow_flex_{name}"]] += 6.0 * arm.swing * under_way
    q[:, INDEX["lumbar_bending"]] += 2.5 * forward * under_way
    postures.add_sway(q, style, RATE_HZ, 0.8, rng)
    return q
