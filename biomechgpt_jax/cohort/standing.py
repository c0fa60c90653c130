"""Activities on two planted feet: quiet standing, squats."""

import numpy as np

from biomechgpt_jax.cohort import postures
from biomechgpt_jax.cohort.impairments import Style
from biomechgpt_jax.cohort.participants import Participant
from biomechgpt_jax.cohort.performance import RATE_HZ, Performance, clock, movement_of
from biomechgpt_jax.cohort.schedule import smooth_step, standing_contact
from biomechgpt_jax.cohort.transfers import between


def balance(person: Participant, style: Style, rng: np.random.Generator) -> Performance:
    """Standing still, eyes open or closed."""
    closed = rng.random() < 0.4
    time = clock(float(rng.uniform(6, 12)))
    q = np.tile(postures.standing(style), (len(time), 1))
    postures.add_sway(q, style, RATE_HZ, 1.8 if closed else 1.0, rng)
    # Any three seconds of quiet standing show what it is.
    edges = np.arange(0.0, time[-1] - 3.0, 1.0)
    return Performance(
        "standing balance",
        movement_of(q, standing_contact(len(q)), person),
        None,
        [(float(a), float(a) + 3.0) for a in edges],
    )


def squat(person: Participant, style: Style, rng: np.random.Generator) -> Performance:
    """Three to five squats."""
    low, high = postures.squatting(style), postures.standing(style)
    at, depth_at, defining = float(rng.uniform(0.4, 1.5)), [], []
    for _ in range(int(rng.integers(3, 6))):
        half = style.rise_s * rng.uniform(0.9, 1.3)
        depth_at.append((at, at + half, at + 2 * half, float(rng.normal(1, 0.05))))
        defining.append((at, at + 2 * half))
        at += 2 * half + rng.uniform(0.2, 0.8)
    time = clock(at + float(rng.uniform(0.3, 1.5)))
    depth = np.zeros(len(time))
    for start, middle, end, scale in depth_at:
        depth += scale * (smooth_step(time, start, middle) - smooth_step(time, middle, end))
    q = between(depth, high, low)
    postures.add_sway(q, style, RATE_HZ, 0.7, rng)
    return Performance("squat", movement_of(q, standing_contact(len(q)), person), None, defining)
