"""Rising from a chair and sitting down, once and five times against the clock."""

import numpy as np

from biomechgpt_jax.biomechanics.skeleton import INDEX
from biomechgpt_jax.biomechanics.trajectory import Score
from biomechgpt_jax.cohort.activities import postures
from biomechgpt_jax.cohort.footing.performance import RATE_HZ, Performance, clock, movement_of
from biomechgpt_jax.cohort.footing.schedule import smooth_step, standing_contact
from biomechgpt_jax.cohort.people.participants import Participant
from biomechgpt_jax.cohort.people.styles import Style


def interpolate(share: np.ndarray, low: np.ndarray, high: np.ndarray) -> np.ndarray:
    """Poses between two poses [40], `low` where the share is 0 and `high` where it is 1, [T, 40]."""
    return low + share[:, None] * (high - low)


def rise_and_sit(
    time: np.ndarray,
    seat: np.ndarray,
    stand: np.ndarray,
    up: list[tuple[float, float]],
    down: list[tuple[float, float]],
) -> np.ndarray:
    """Angles of rising in each interval of `up` and sitting down in each interval of `down`, [T, 40] degrees."""
    standing = np.zeros(len(time))
    lean = np.zeros(len(time))
    for begin, end in up:
        # The legs start to extend after the trunk has started to lean.
        standing += smooth_step(time, begin + 0.25 * (end - begin), end)
        lean += _hump(time, begin, end)
    for begin, end in down:
        standing -= smooth_step(time, begin, end - 0.2 * (end - begin))
        lean += _hump(time, begin, end)
    return interpolate(standing, seat, stand) + lean[:, None] * postures.lean_of_rising()


def _hump(time: np.ndarray, begin: float, end: float) -> np.ndarray:
    x = np.clip((time - begin) / (end - begin), 0, 1)
    return np.sin(np.pi * x) ** 2


def chair_rise(person: Participant, style: Style, rng: np.random.Generator) -> Performance:
    """Rise from a chair five times, arms crossed if the participant can."""
    crossed = bool(rng.random() > 0.6 * person.severity)
    seat = postures.sitting(style, crossed)
    stand = postures.cross_arms(postures.standing(style)) if crossed else postures.standing(style)
    effort = float(np.exp(0.12 * rng.normal()))
    quiet = rng.uniform(0.5, 3.0, 2)
    up, down = [], []
    at = float(quiet[0])
    for repetition in range(5):
        tiring = (1 + 0.03 * repetition * (1 + 2 * person.severity)) * effort * float(np.exp(0.05 * rng.normal()))
        rise = style.rise_s * tiring
        up.append((at, at + rise))
        at += rise + 0.12 * tiring
        sit = 0.9 * style.rise_s * tiring
        if repetition < 4:
            down.append((at, at + sit))
            at += sit + 0.06 * tiring
    start, end = up[0][0], up[-1][1]
    # The test ends with the person standing, who then sits down.
    last = (end + 0.5 + rng.random(), end + 1.5 + rng.random() + style.rise_s)
    time = clock(last[1] + float(quiet[1]))
    q = rise_and_sit(time, seat, stand, up, [*down, last])
    postures.add_sway(q, style, RATE_HZ, 0.7, rng)
    defining = [(a[0], b[1]) for a, b in zip(up[:-1], up[1:], strict=True)]
    return Performance(
        "five times sit to stand",
        movement_of(q, standing_contact(len(q)), person),
        None,
        defining,
        {"five_times_sit_to_stand_time": Score(end - start, start, end)},
    )


def sit_to_stand(person: Participant, style: Style, rng: np.random.Generator) -> Performance:
    """Rise once from a chair at one's own pace and stay standing; the arms are free and push if the legs are weak."""
    pushes = bool(rng.random() < 0.15 + 0.7 * person.severity)
    seat, stand = postures.sitting(style, False), postures.standing(style)
    begin = float(rng.uniform(0.8, 3.0))
    rise = style.rise_s * float(rng.uniform(1.2, 1.7))
    time = clock(begin + rise + float(rng.uniform(1.5, 4.0)))
    q = rise_and_sit(time, seat, stand, [(begin, begin + rise)], [])
    if pushes:
        # Hands on the armrests: the shoulders extend and the elbows straighten through the first half.
        push = _hump(time, begin - 0.3, begin + 0.8 * rise)
        for side in "rl":
            q[:, INDEX[f"arm_flex_{side}"]] -= 45 * push
            q[:, INDEX[f"elbow_flex_{side}"]] += 8 * push
    postures.add_sway(q, style, RATE_HZ, 0.7, rng)
    defining = [(0.0, float(min(begin + rise + 1.2, time[-1])))]
    return Performance("sit to stand", movement_of(q, standing_contact(len(q)), person), None, defining)
