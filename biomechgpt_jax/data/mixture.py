"""The order of training rows: one or several packed datasets, each shuffled independently and mixed by weight.

The order is a pure function of the seed. Every dataset is reshuffled in each of its epochs and repeated endlessly, with
its own seed. The k-th row comes from the dataset that is furthest behind its share, so that any stretch of rows holds
the datasets in proportion to their weights, and no dataset runs out.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np


class Rows(Protocol):
    """A random-access source of rows: dicts of arrays [L]."""

    def __len__(self) -> int: ...
    def __getitems__(self, keys: Sequence[int]) -> Sequence[dict[str, Any]]: ...


@dataclass(frozen=True)
class Part:
    """A dataset of a mixture.

    Attributes:
        rows: the source of rows.
        name: unique in the mixture; the shuffle's seed depends on it.
        weight: share of the rows drawn from it, relative to the weights of the others.
    """

    rows: Rows
    name: str
    weight: float = 1.0


def order_seed(seed: int, name: str) -> int:
    """Seed of a dataset's shuffle. Grain adds the epoch to it, so consecutive seeds would collide between datasets."""
    return int.from_bytes(hashlib.sha256(f"{seed}/{name}".encode()).digest()[:4], "little")


def order(parts: Sequence[Part], seed: int) -> Any:
    """Random access to the endless order, computed by Grain: [k] is the index, in `Joined`, of the k-th row.

    Grain rounds the weights to integers of which the smallest is 100, so that shares are exact to 1 %.
    """
    import grain  # slow to import, and only training needs it

    starts = _starts(parts)
    shuffled = [
        grain.MapDataset.range(int(start), int(stop)).shuffle(seed=order_seed(seed, part.name)).repeat()
        for part, start, stop in zip(parts, starts, starts[1:], strict=False)
    ]
    if len(shuffled) == 1:
        return shuffled[0]
    return grain.MapDataset.mix(shuffled, [part.weight for part in parts])


def _starts(parts: Sequence[Part]) -> np.ndarray:
    """Index of the first row of every part, followed by the number of rows: i64[n + 1]."""
    return np.concatenate([[0], np.cumsum([len(part.rows) for part in parts])])


class Joined:
    """The concatenated rows of the parts; the requested rows of one part are read in one call."""

    def __init__(self, parts: Sequence[Part]) -> None:
        self._sources = [part.rows for part in parts]
        self._starts = _starts(parts)

    def __len__(self) -> int:
        return int(self._starts[-1])

    def __getitems__(self, keys: Sequence[int]) -> Sequence[dict[str, Any]]:
        wanted = np.asarray(keys, np.int64)
        part_of = np.searchsorted(self._starts, wanted, side="right") - 1
        rows: list[dict[str, Any]] = [{}] * len(wanted)
        for part in np.unique(part_of):
            places = np.flatnonzero(part_of == part)
            records = self._sources[part].__getitems__((wanted[places] - self._starts[part]).tolist())
            for place, record in zip(places, records, strict=True):
                rows[place] = record
        return rows
