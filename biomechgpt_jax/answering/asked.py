"""A question about a crop, as it is put to a model or a control."""

from dataclasses import dataclass

import numpy as np

from biomechgpt_jax.answering.predictions import Prediction


@dataclass(frozen=True)
class Asked:
    """A question about a crop, with its true answer.

    Attributes:
        coordinates: f32[T, 40] of the crop as the model sees it; questions about one crop share the array.
        observed: bool[40].
        start_s: where the crop starts in its trial.
    """

    trial: str
    participant: str
    coordinates: np.ndarray
    observed: np.ndarray
    rate_hz: float
    start_s: float
    family: str
    question: str
    kind: str
    unit: str
    phrasing: str
    truth: str | float

    @property
    def seconds(self) -> float:
        return len(self.coordinates) / self.rate_hz


def prediction(asked: Asked, answer: str | float | None, probability: float | None) -> Prediction:
    """A prediction for this question; the probabilities of options are added by the caller."""
    return Prediction(
        trial=asked.trial,
        participant=asked.participant,
        family=asked.family,
        question=asked.question,
        kind=asked.kind,
        phrasing=asked.phrasing,
        truth=asked.truth,
        answer=answer,
        probability=probability,
        unit=asked.unit,
        start_s=asked.start_s,
        seconds=asked.seconds,
    )
