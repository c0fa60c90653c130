"""A movement together with a quiet standing trial of the same person, whose markers on the joints it lacks."""

import dataclasses

import numpy as np

from biomechgpt_jax.biomechanics.fitting import synonyms
from biomechgpt_jax.biomechanics.fitting.markers import Markers
from biomechgpt_jax.biomechanics.flags import CAUTION, cautions
from biomechgpt_jax.errors import InputError

_FEWEST_SHARED = 6


def joined(movement: Markers, static: Markers) -> tuple[Markers, np.ndarray]:
    """The movement with the static trial's further markers, unseen, and the static trial in the same labels.

    Returns:
        Markers whose labels are those of the movement and then those that only the static trial has; the static trial's
        positions f32[F, M, 3] of these labels.

    Raises:
        InputError: the static trial shares too few markers with the movement.
    """
    index = {label: i for i, label in enumerate(synonyms.folded(static.names)) if label}
    labels = synonyms.folded(movement.names)
    shared = [label for label in labels if label in index]
    if len(shared) < _FEWEST_SHARED:
        raise InputError(
            f"the static trial {static.metadata.source} shares only {len(shared)} labels with the movement; give one "
            "of the same person with the same markers"
        )
    further = [label for label in index if label not in labels]
    names = (*movement.names, *(static.names[index[label]] for label in further))
    unseen = np.full((movement.frames, len(further), 3), np.nan, np.float32)
    positions = np.concatenate([movement.positions, unseen], axis=1)
    standing = np.full((static.frames, len(names), 3), np.nan, np.float32)
    for column, label in enumerate((*labels, *further)):
        if label in index:
            standing[:, column] = static.positions[:, index[label]]
    told = tuple(f"{CAUTION}static trial: {text}" for text in cautions(static.metadata.flags))
    metadata = dataclasses.replace(movement.metadata, flags=movement.metadata.flags + told)
    return dataclasses.replace(movement, positions=positions, names=names, metadata=metadata), standing
