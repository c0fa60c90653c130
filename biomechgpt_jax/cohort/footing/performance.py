"""One raw trial before it is anchored, and what every activity needs to make one."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from biomechgpt_jax.biomechanics.trajectory import Score
from biomechgpt_jax.cohort.footing.anchoring import Movement
from biomechgpt_jax.cohort.footing.schedule import Bout, FootContact
from biomechgpt_jax.cohort.people.participants import Participant

RATE_HZ = 30.0

# Scores from the clean world positions f32[T, P, 3] of `kinematics.POINTS`, heading along x.
Measure = Callable[[np.ndarray], dict[str, Score]]


@dataclass
class Performance:
    """One raw trial.

    Attributes:
        movement: raw coordinates with contacts, to be anchored.
        steps: its stepping, or None while both feet stay planted.
        defining: intervals in seconds, each enough to tell the activity.
        scores: timed tests.
        course: whether a 10-metre walk time may be measured on it.
        device_used: whether the participant's device is in use.
        measure: scores that are measured on the anchored clean movement.
    """

    activity: str
    movement: Movement
    steps: Bout | None = None
    defining: list[tuple[float, float]] = field(default_factory=list)
    scores: dict[str, Score] = field(default_factory=dict)
    course: bool = False
    device_used: bool = False
    measure: Measure | None = None


def clock(seconds: float) -> np.ndarray:
    return np.arange(max(36, round(seconds * RATE_HZ))) / RATE_HZ


def movement_of(q_deg: np.ndarray, contact: FootContact, person: Participant, **more: Any) -> Movement:
    q = np.radians(q_deg)
    q[:, :3] = 0.0
    return Movement(q.astype(np.float32), contact, person.height_m, RATE_HZ, **more)
