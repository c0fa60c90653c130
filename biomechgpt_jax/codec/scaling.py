"""Units of the network: each feature minus its median, divided by a robust spread."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from biomechgpt_jax.biomechanics.features import FORWARD, HEIGHT, RIGHTWARD, YAW_RATE
from biomechgpt_jax.biomechanics.skeleton import (
    COORDINATE_COUNT,
    INDEX,
    MIRROR_PERMUTATION,
    NECK_AND_WRISTS,
    OFTEN_ARTEFACTS,
    mirror,
)
from biomechgpt_jax.errors import InputError

_SAMPLE = 200_000  # frames, evenly spread, whose quantiles are taken
# Factor on the spread of coordinates that real files lack or hold at a limit, so that their errors count for less.
_LESS_OF_THE_CODE = 2.5
_NORMAL_90 = 3.29  # standard deviations between the 5th and the 95th percentile of a normal distribution


@dataclass(frozen=True)
class Scaling:
    """Features to the network's units: (feature - center) / spread, each f32[40]."""

    center: np.ndarray
    spread: np.ndarray


def _floors() -> np.ndarray:
    """Lower bounds f32[40] of the spread: a feature that varies less is nearly constant, and its variation is noise."""
    floors = np.full(COORDINATE_COUNT, np.radians(4.0), np.float32)
    floors[[FORWARD, RIGHTWARD]] = 0.1
    floors[HEIGHT] = 0.02
    floors[YAW_RATE] = 0.2
    return floors


def fit_scaling(features: Sequence[np.ndarray], masks: Sequence[np.ndarray]) -> Scaling:
    """Median and spread of each feature over the frames of TRAIN movements.

    The spread is the range from the 5th to the 95th percentile, expressed in standard deviations of a normal
    distribution, with a lower bound. Left and right share their figures, so that the mirror image of a scaled movement
    is the scaled mirror image.

    Args:
        features: f32[T_i, 40].
        masks: FEATURE masks bool[40] of each; a feature is measured where it is observed.

    Raises:
        InputError: there is no frame at all.
    """
    frames = sum(map(len, features))
    if not frames:
        raise InputError("tokenizer: no frame of movement to train on; simulate or import trials first")
    every = -(-frames // _SAMPLE)
    values_NC = np.concatenate([np.where(mask, f, np.nan) for f, mask in zip(features, masks, strict=True)])[::every]
    center, low, high = np.zeros(COORDINATE_COUNT), np.zeros(COORDINATE_COUNT), np.zeros(COORDINATE_COUNT)
    for column, values in enumerate(values_NC.T):
        known = values[~np.isnan(values)]
        if len(known):
            low[column], center[column], high[column] = np.quantile(known, [0.05, 0.5, 0.95])
    spread = np.maximum((high - low) / _NORMAL_90, _floors())
    spread[[INDEX[name] for name in (*NECK_AND_WRISTS, *OFTEN_ARTEFACTS)]] *= _LESS_OF_THE_CODE
    return Scaling(
        (0.5 * (center + mirror(center))).astype(np.float32),
        (0.5 * (spread + spread[MIRROR_PERMUTATION])).astype(np.float32),
    )
