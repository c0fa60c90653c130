"""Load batches of packed rows, addressed by step.

Row i of a step's global batch is a pure function of (seed, step). It depends neither on the number of processes nor on
earlier reads, so a restart needs no iterator state.

Shapes: B rows of the global batch, L tokens of a row.
"""

import hashlib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np

from biomechgpt_jax.data import mixture, store
from biomechgpt_jax.data.mixture import Part, Rows
from biomechgpt_jax.errors import InputError
from biomechgpt_jax.parallel.feed import from_rows, needed_rows

KEYS = ("tokens", "positions", "segments", "branches", "loss_weights")
CODE_VECTORS = "code_vectors"  # array beside the rows
FAMILIES = "families"  # datasets of older versions lack this array
_EDGE_BYTES = 1 << 16


def open_rows(directory: str | Path, split: str) -> tuple[Rows, str]:
    """Open one split of a packed dataset: (rows, the dataset's name).

    Raises:
        InputError: there is no such dataset or split, or it lacks an array.
    """
    builder = _builder(directory)
    if not _has_rows(builder, split):
        raise InputError(f"{directory} has no rows in split '{split}'; pack again with more trials")
    missing = [key for key in KEYS if key not in builder.info.features]
    if missing:
        raise InputError(f"{directory} lacks {', '.join(missing)}: not a dataset of packed sequences; run `pack`")
    return builder.as_data_source(split), builder.info.name


def has_rows(directory: str | Path, split: str) -> bool:
    """Whether a packed dataset has rows in a split.

    Raises:
        InputError: there is no such dataset.
    """
    return _has_rows(_builder(directory), split)


def _has_rows(builder: Any, split: str) -> bool:
    return split in builder.info.splits and builder.info.splits[split].num_examples > 0


def _builder(directory: str | Path) -> Any:
    import tensorflow_datasets as tfds

    try:
        return tfds.builder_from_directory(str(directory))
    except Exception as error:  # TFDS raises several kinds for a missing or damaged description
        reason = type(error).__name__
        raise InputError(f"{directory} is not a dataset of packed sequences ({reason}); run `pack`") from error


def _keys(row: Mapping[str, Any]) -> tuple[str, ...]:
    """Names of the arrays of a row: those of every dataset, the families, and the further codes of motion tokens."""
    return (*KEYS, *sorted(key for key in row if key == FAMILIES or key.startswith("codes_")))


def families(directory: str | Path) -> tuple[str, ...]:
    """Sorted question families of a packed dataset. Its array `families` holds 1-based indices into them; 0 means none.

    Empty for a dataset packed by a version that did not record the families of questions.
    """
    return tuple(store.metadata(Path(directory)).get(FAMILIES, ())) if store.is_dataset(Path(directory)) else ()


def code_vectors(directory: str | Path) -> np.ndarray | None:
    """The vectors f32[Q, N, C] of the motion codes of packed rows; None if they were not packed with them.

    Raises:
        InputError: the file is damaged.
    """
    return store.array(Path(directory), CODE_VECTORS)


def digest(directory: str | Path) -> str:
    """SHA-256 that changes with any change of rows, keys or order, without reading terabytes.

    It covers the names and sizes of the shards and the content digest that `store.write` stored beside them. The same
    rows packed again have the same digest, although ArrayRecord may lay out the bytes of a file differently. For a
    dataset of other origin it covers both ends of each shard instead: ArrayRecord ends a file with the index of its
    chunks. The digest does not depend on the path of the dataset.

    Raises:
        InputError: there are no shards.
    """
    shards = sorted(Path(directory).glob("*.array_record*"))
    if not shards:
        raise InputError(f"{directory} is not a dataset of packed sequences (no shards); run `pack`")
    has_digest = store.is_dataset(Path(directory))
    state = hashlib.sha256(store.metadata(Path(directory))["digest"].encode() if has_digest else b"")
    for path in shards:
        size = path.stat().st_size
        state.update(f"{path.name}/{size}/".encode())
        if has_digest:
            continue
        with path.open("rb") as file:
            state.update(file.read(_EDGE_BYTES))
            file.seek(max(0, size - _EDGE_BYTES))
            state.update(file.read(_EDGE_BYTES))
    return state.hexdigest()


class Loader:
    """Packed rows of one split.

    Args:
        parts: the datasets from `open_parts`. Rows are drawn from them by weight, or without shuffle one dataset after
            another.
        global_batch: number of rows B of a step, over all processes.
        seed: seed of the shuffled order.
        sharding: sharding of a batch array [B, L]; if None, a single device holds it.
        shuffle: if True, the order is endless and differs in each epoch. If False, there is one pass in the order on
            disk; rows past the end are padding (all zero).
        at_most: without shuffle, the maximum number of rows; if None, all rows are read.
    """

    def __init__(
        self,
        parts: Sequence[Part],
        global_batch: int,
        seed: int,
        sharding: jax.sharding.Sharding | None = None,
        shuffle: bool = True,
        at_most: int | None = None,
    ) -> None:
        self._rows: Rows = parts[0].rows if len(parts) == 1 else mixture.Joined(parts)
        # Shuffle indices, not rows, so that a batch's rows are read from a source in one call.
        self._order = mixture.order(parts, seed) if shuffle else None
        self._count = len(self._rows) if at_most is None else min(at_most, len(self._rows))
        self.global_batch = global_batch
        firsts = [part.rows.__getitems__([0])[0] for part in parts]
        self.row_length = len(firsts[0]["tokens"])
        self._keys = tuple(key for key in _keys(firsts[0]) if all(key in first for first in firsts))
        self._sharding = sharding or jax.sharding.SingleDeviceSharding(jax.devices()[0])
        self._shape = (global_batch, self.row_length)
        indices = self._sharding.addressable_devices_indices_map(self._shape).values()
        self._local = needed_rows(indices, global_batch)

    def __len__(self) -> int:
        """Number of rows of the split in all datasets, or `at_most` if that is less."""
        return self._count

    def rows(self, step: int, rows: Sequence[int] | np.ndarray) -> dict[str, np.ndarray]:
        """The given rows of a step's global batch: i32 (loss_weights f32) [len(rows), L]."""
        places = [step * self.global_batch + int(row) for row in rows]
        if self._order is None:
            inside = [place for place in places if place < len(self)]
            records = list(self._rows.__getitems__(inside)) if inside else []
            empty = {key: np.zeros(self.row_length, np.int32) for key in self._keys}
            records += [empty] * (len(places) - len(inside))  # places ascend
        else:
            records = list(self._rows.__getitems__([self._order[place] for place in places]))
        dtypes = {key: np.float32 if key == "loss_weights" else np.int32 for key in self._keys}
        return {key: np.stack([np.asarray(r[key], dtypes[key]) for r in records]) for key in self._keys}

    def batch(self, step: int) -> dict[str, np.ndarray]:
        """The rows of a step that the devices of this process hold, by ascending global row."""
        return self.rows(step, self._local)

    def device_batch(self, step: int) -> dict[str, jax.Array]:
        """The global batch [B, L] of a step, sharded; each process reads only its own rows."""
        arrays = self.batch(step).items()
        return {key: from_rows(array, self._local, self._shape, self._sharding) for key, array in arrays}


def open_parts(directory: str | Path, split: str, mixed: Sequence[tuple[str, float]] = ()) -> list[Part]:
    """Open a packed dataset, with weight 1, and the datasets mixed in with it; their order depends on content alone.

    Args:
        directory: directory of the dataset.
        split: the split to open in every dataset.
        mixed: directory and weight of each further dataset.

    Raises:
        InputError: a dataset or split does not exist, a dataset is listed twice, or vocabularies, row lengths or
            families differ.
    """
    rows, name = open_rows(directory, split)
    parts = [Part(rows, name)]
    if not mixed:
        return parts
    own, facts = digest(directory), _shared_facts(directory)
    by_content: dict[str, Part] = {}
    for other, weight in mixed:
        rows, name = open_rows(other, split)
        content = digest(other)
        if content == own or content in by_content:
            raise InputError(f"train.mixture: the rows of {other} are already in the mixture; list each dataset once")
        for what, value in _shared_facts(other).items():
            if value != facts[what]:
                raise InputError(
                    f"train.mixture: {other} has {what} {value}, {directory} has {facts[what]}; "
                    "pack both again with the same tokenizer and pack.row_length"
                )
        by_content[content] = Part(rows, f"{name}/{content}", weight)
    return parts + [by_content[content] for content in sorted(by_content)]


def _shared_facts(directory: str | Path) -> dict[str, Any]:
    """The facts of a dataset that all datasets of a mixture must share."""
    facts = store.metadata(Path(directory))
    names = {"vocabulary": "vocabulary", "row length": "row_length", "families": FAMILIES}
    return {what: facts.get(key) for what, key in names.items()}


def mixture_digest(directory: str | Path, mixed: Sequence[tuple[str, float]] = ()) -> str:
    """Digest of everything that must not change before a run resumes: a dataset and the weighted datasets mixed in."""
    others = sorted((digest(other), weight) for other, weight in mixed)
    return " + ".join([digest(directory), *(f"{weight:g} x {content}" for content, weight in others)])


def open_loader(
    directory: str | Path,
    split: str,
    global_batch: int,
    seed: int,
    sharding_of: Callable[[tuple[int, int]], jax.sharding.Sharding] | None = None,
    shuffle: bool = True,
    mixed: Sequence[tuple[str, float]] = (),
    at_most: int | None = None,
) -> Loader:
    """Open a loader for one split of a packed dataset or of a mixture.

    Args:
        directory, mixed: as for `open_parts`.
        split: `train`, `validation` or `test`.
        global_batch, seed, shuffle, at_most: as for `Loader`.
        sharding_of: maps the shape (B, L) of a batch to its sharding; if None, a single device holds it.

    Raises:
        InputError: as `open_parts`, or the batch cannot be sharded.
    """
    parts = open_parts(directory, split, mixed)
    length = len(parts[0].rows.__getitems__([0])[0]["tokens"])
    sharding = None if sharding_of is None else sharding_of((global_batch, length))
    return Loader(parts, global_batch, seed, sharding, shuffle, at_most)
