"""Positions of labelled points as a file holds them: their unit, what was not seen, and labels that stand twice."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from biomechgpt_jax.biomechanics.fitting import marker_sets
from biomechgpt_jax.biomechanics.fitting.markers import METRES
from biomechgpt_jax.biomechanics.flags import CAUTION
from biomechgpt_jax.errors import InputError

# Larger numbers are no positions in any unit.
_FARTHEST = 1e7


def metres(path: Path, unit: str) -> float:
    """Metres in the unit that a file names; millimetres where it names none.

    Raises:
        InputError: the unit is unknown.
    """
    scale = METRES.get((unit or "mm").lower())
    if scale is None:
        raise InputError(f"{path} is in units of {unit!r}; give one of {', '.join(METRES)}")
    return scale


def seen(positions: np.ndarray) -> np.ndarray:
    """Positions [T, N, 3] with NaN where a point was not seen.

    Many programs place such a point exactly at the origin; numbers that are no positions are taken for unseen as well.
    """
    unseen = ~np.isfinite(positions).all(axis=2) | (positions == 0).all(axis=2)
    unseen |= (np.abs(np.nan_to_num(positions)) > _FARTHEST).any(axis=2)
    return np.where(unseen[..., None], np.nan, positions)


def first_seen(labels: Sequence[str], positions: np.ndarray) -> tuple[list[int], tuple[str, ...]]:
    """One point for each label, and flags: of those that bear the same label the first that is ever seen.

    Returns:
        Indices into `labels`, in order. A landmark whose label stands twice is flagged; of other labels it does not
        matter.
    """
    ever = np.isfinite(positions).all(axis=2).any(axis=0)
    chosen: dict[str, int] = {}
    twice: dict[str, None] = {}
    for index, label in enumerate(labels):
        if label in chosen and ever[chosen[label]]:
            twice |= {label: None} if ever[index] else {}
        elif label not in chosen or ever[index]:
            chosen[label] = index
    known = [label for label in twice if marker_sets.is_known(label.rpartition(":")[2])]
    flags = (f"{CAUTION}of the markers named {', '.join(known)} the first is used",) if known else ()
    return list(chosen.values()), flags
