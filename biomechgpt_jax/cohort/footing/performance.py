"""One raw trial before it is anchored, and what every activity needs to build it."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from biomechgpt_jax.biomechanics.trajectory import Score
from biomechgpt_jax.cohort.footing.anchoring import Movement
from biomechgpt_jax.cohort.footing.schedule import Bout, FootContact
from biomechgpt_jax.cohort.people.participants import Participant

RATE_HZ = 30.0

# Measures scores from the clean world positions f32[T, P, 3] of `kinematics.POINTS`, with the heading along x.
Measure = Callable[[np.ndarray], dict[str, Score]]


@dataclass
class Performance:
    """One raw trial.

    Attributes:
        activity: label of the activity.
        movement: raw coordinates with contacts, to be anchored.
        steps: the bout of stepping, or None if both feet stay planted.
        defining: intervals in seconds, each of which is enough to identify the activity.
        scores: scores of timed tests, by the name of their question.
        course: whether a 10-metre walk time may be measured on this trial.
        device_used: whether the participant uses their device.
        measure: measures further scores on the anchored clean movement.
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
    """Times of the frames of a trial in seconds, at least 36 frames."""
    return np.arange(max(36, round(seconds * RATE_HZ))) / RATE_HZ


def movement_of(q_deg: np.ndarray, contact: FootContact, person: Participant, **more: Any) -> Movement:
    """A movement with angles [T, 40] in degrees and the root at the origin, ready to be anchored."""
    q = np.radians(q_deg)
    q[:, :3] = 0.0
    return Movement(q.astype(np.float32), contact, person.height_m, RATE_HZ, **more)
