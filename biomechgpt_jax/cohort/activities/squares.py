"""The four square step test: step over low canes forward, right, backward and left, then the same way back."""

import numpy as np

from biomechgpt_jax.biomechanics.skeleton import INDEX
from biomechgpt_jax.biomechanics.trajectory import LEFT, RIGHT, Score
from biomechgpt_jax.cohort.activities import postures
from biomechgpt_jax.cohort.footing import footfalls
from biomechgpt_jax.cohort.footing.footfalls import Step, Swing
from biomechgpt_jax.cohort.footing.performance import RATE_HZ, Performance, clock
from biomechgpt_jax.cohort.people.participants import Participant
from biomechgpt_jax.cohort.people.styles import Style

# Squares as (forward, right) in the order in which they are visited after the first.
_ROUND = ((1, 0), (1, 1), (0, 1), (0, 0), (0, 1), (1, 1), (1, 0), (0, 0))
# Distance between the middles of two squares [memory], and the height at which people clear the canes.
_SQUARE_M, _CLEARANCE_M = 0.60, 0.11
# Seconds per step (there are sixteen) of a healthy adult [memory: 8 to 10 s for the test] with this walking speed.
_STEP_S, _AT_M_S = 0.53, 1.35
_HALF_WIDTH_M = 0.09


def four_square_step(person: Participant, style: Style, rng: np.random.Generator) -> Performance:
    """Cross eight times as fast as is safe, facing forward throughout; unsteady people reposition a foot."""
    hurry = float(np.exp(0.08 * rng.normal() - 0.05 * person.fitness))
    step_s = _STEP_S * (_AT_M_S / person.free_speed) ** 0.9 * (1 + 0.35 * person.severity) * hurry
    step_s = float(np.clip(step_s, 0.34, 2.0))
    half = _HALF_WIDTH_M + 0.4 * style.width_m
    size = _SQUARE_M * float(rng.uniform(0.92, 1.08))
    error = 0.015 + 0.012 * max(0.0, style.sway - 1)

    def place(square: tuple[int, int], foot: int) -> tuple[float, float, float]:
        side = half if foot == RIGHT else -half
        x, z = rng.normal(0, error, 2)
        return (size * square[0] + float(x), 0.0, size * square[1] + side + float(z))

    begin = float(rng.uniform(0.6, 2.5))
    start = (place((0, 0), RIGHT), place((0, 0), LEFT))
    steps: list[Step] = []
    at, now = begin, (0, 0)
    usual = int(rng.integers(2))
    for number, square in enumerate(_ROUND, 1):
        sideways = square[1] - now[1]
        lead = RIGHT if sideways > 0 else LEFT if sideways < 0 else usual
        again = rng.random() < 0.25 * max(0.0, person.severity - 0.3) and number < len(_ROUND)
        for foot in (lead, 1 - lead, *((lead,) if again else ())):
            duration = step_s * float(np.exp(2.0 * style.stride_time_cv * rng.normal()))
            steps.append(Step(foot, at + 0.15 * duration, at + duration, place(square, foot)))
            at += duration
        now = square
    time = clock(at + float(rng.uniform(0.6, 2.5)))
    pose = np.tile(postures.standing(style), (len(time), 1))
    for side in "rl":
        pose[:, INDEX[f"arm_add_{side}"]] -= 6.0 + min(18.0, 6.0 * max(0.0, style.sway - 1))
        pose[:, INDEX[f"elbow_flex_{side}"]] += 12.0
    pose[:, INDEX["neck_extension"]] -= 14.0  # looking down at the canes
    pose[:, INDEX["lumbar_extension"]] -= 4.0
    postures.add_sway(pose, style, RATE_HZ, 1.2, rng)
    movement, bout = footfalls.movement(person, time, pose, start, steps, Swing(_CLEARANCE_M, pitch_deg=6.0))
    # The clock runs from the first foot strike in the second square to the last foot strike in the first.
    first, last = steps[0].strike, steps[-1].strike
    scores = {"four_square_step_time": Score(last - first, first, last)}
    # Either half of the round contains every direction.
    middle = 0.5 * (begin + last)
    return Performance("four square step", movement, bout, [(begin, middle), (middle, last), (begin, last)], scores)
