"""Activities on two planted feet: quiet standing, squats, heel raises."""

from typing import Literal

import numpy as np

from biomechgpt_jax.biomechanics.skeleton import INDEX
from biomechgpt_jax.cohort.activities import postures
from biomechgpt_jax.cohort.activities.transfers import interpolate
from biomechgpt_jax.cohort.footing.performance import RATE_HZ, Performance, clock, movement_of
from biomechgpt_jax.cohort.footing.schedule import HEEL, smooth_step, standing_contact
from biomechgpt_jax.cohort.people.participants import Participant
from biomechgpt_jax.cohort.people.styles import Style

# Ratio of sway with closed eyes to sway with open eyes in quiet standing [memory: 1.5-2].
_CLOSED_EYES = (1.5, 2.0)


def balance(
    person: Participant, style: Style, rng: np.random.Generator, eyes: Literal["open", "closed"]
) -> Performance:
    """Stand still, with eyes open or closed."""
    scale = style.closed_eyes * float(rng.uniform(*_CLOSED_EYES)) if eyes == "closed" else 1.0
    time = clock(float(rng.uniform(6, 12)))
    q = np.tile(postures.standing(style), (len(time), 1))
    postures.add_sway(q, style, RATE_HZ, scale, rng)
    # Any three seconds identify quiet standing.
    edges = np.arange(0.0, time[-1] - 3.0, 1.0)
    return Performance(
        "standing balance",
        movement_of(q, standing_contact(len(q)), person),
        None,
        [(float(a), float(a) + 3.0) for a in edges],
    )


def squat(person: Participant, style: Style, rng: np.random.Generator) -> Performance:
    """Squat three to five times."""
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
    q = interpolate(depth, high, low)
    postures.add_sway(q, style, RATE_HZ, 0.7, rng)
    return Performance("squat", movement_of(q, standing_contact(len(q)), person), None, defining)


def heel_raise(person: Participant, style: Style, rng: np.random.Generator) -> Performance:
    """Rise onto the balls of both feet four to ten times: ankles at -20 to -30, toes at 30 to 45 degrees."""
    share = 1 - 0.6 * person.severity
    height = rng.uniform(18, 26) * share
    at, raised, defining = float(rng.uniform(0.5, 1.5)), [], []
    for repetition in range(int(rng.integers(4, 8 if person.severity > 0.5 else 11))):
        up, hold, down = 0.55 * style.rise_s / 0.72 * rng.uniform(0.8, 1.2, 3)
        # The calves tire.
        top = height * (1 - 0.015 * repetition * (1 + 2 * person.severity)) * float(rng.normal(1, 0.04))
        raised.append((at, at + up, at + up + 0.5 * hold, at + up + 0.5 * hold + down, top))
        defining.append((at, raised[-1][3]))
        at = raised[-1][3] + float(rng.uniform(0.15, 0.6))
    time = clock(at + float(rng.uniform(0.4, 1.5)))
    rise = np.zeros(len(time))
    for begin, top_at, leave, end, top in raised:
        rise += top * (smooth_step(time, begin, top_at) - smooth_step(time, leave, end))
    q = np.tile(postures.standing(style), (len(time), 1))
    for side in "rl":
        q[:, INDEX[f"ankle_angle_{side}"]] -= rise
        q[:, INDEX[f"mtp_angle_{side}"]] += 1.35 * rise
    # The body moves forward over the balls of the feet.
    q[:, INDEX["pelvis_tilt"]] -= 0.06 * rise
    q[:, INDEX["lumbar_extension"]] += 0.06 * rise
    postures.add_sway(q, style, RATE_HZ, 0.9, rng)
    contact = standing_contact(len(time))
    contact.weight[:, :, HEEL] = (1 - np.clip(rise / 1.5, 0, 1))[:, None]
    return Performance("heel raise", movement_of(q, contact, person), None, defining)
