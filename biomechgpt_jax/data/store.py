"""Write and read TFDS datasets with ArrayRecord shards, without TensorFlow."""

import contextlib
import hashlib
import io
import json
import logging
import os
import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from biomechgpt_jax.errors import InputError

Record = dict[str, Any]
_METADATA = "biomechgpt.json"
_SHARD_BYTES = 128 << 20  # TFDS keeps the records of a shard in memory until it is written
_SAMPLED = 16  # number of records whose sizes determine the number of shards
_READ_AT_ONCE = 256  # records


@dataclass(frozen=True)
class Lazy:
    """The records of a split, each computed when it is written.

    Attributes:
        keys: one unique key per record.
        make: computes a record from its number.
    """

    keys: Sequence[str]
    make: Callable[[int], Record]


def _lazy(rows: "Sequence[tuple[str, Record]] | Lazy") -> Lazy:
    return rows if isinstance(rows, Lazy) else Lazy([key for key, _ in rows], lambda number: rows[number][1])


def quiet() -> None:
    """Silence the progress bars and notices of TFDS: the program shows its own."""
    import tensorflow_datasets as tfds

    tfds.disable_progress_bar()
    logging.getLogger("absl").setLevel(logging.ERROR)


def write(
    directory: Path,
    name: str,
    features: Mapping[str, tuple[tuple[int | None, ...], Any] | str],
    records: Mapping[str, Sequence[tuple[str, Record]] | Lazy],
    metadata: Mapping[str, Any],
    arrays: Mapping[str, np.ndarray] | None = None,
) -> str:
    """Write a dataset atomically; an older one at the same place is replaced.

    The order on disk is that of a hash of the keys. With `Lazy` records, at most one shard of them is in memory.

    Args:
        directory: destination of the dataset.
        name: name of the dataset, in snake_case.
        features: (shape, dtype) of each array, or "text".
        records: by split, pairs (key, record) or `Lazy` records; the keys are unique.
        metadata: JSON-serializable facts stored beside the data.
        arrays: what is stored beside the data as arrays, by name (`array`).

    Returns:
        Digest of the content: SHA-256 over splits, keys and digests of records in key order.
    """
    quiet()
    with beside(directory) as temporary:
        entries: list[tuple[str, str, str]] = []
        splits = {split: _lazy(rows) for split, rows in records.items()}
        builder = _builder(name, kinds(features), splits, entries)(data_dir=str(temporary), file_format="array_record")
        with contextlib.redirect_stdout(io.StringIO()):  # TFDS prints notices to standard output
            builder.download_and_prepare()
        digest = digest_of(entries)
        for key, value in (arrays or {}).items():
            np.save(Path(str(builder.data_dir)) / f"{key}.npy", value, allow_pickle=False)
        install(Path(str(builder.data_dir)), directory, {"digest": digest, **metadata})
    return digest


@contextlib.contextmanager
def beside(directory: Path) -> Iterator[Path]:
    """A temporary path beside a directory for unfinished data; anything left there at the end is removed."""
    temporary = directory.with_name(f".{directory.name}.{os.getpid()}.tmp")
    shutil.rmtree(temporary, ignore_errors=True)
    try:
        yield temporary
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def install(written: Path, directory: Path, facts: Mapping[str, Any]) -> None:
    """Move a dataset that TFDS has written into place, with the facts stored beside the data.

    An older dataset is moved aside first and removed once the new one is in place. If this is interrupted at any point,
    whoever opens the directory next gets one of the two datasets.
    """
    (written / _METADATA).write_text(json.dumps(dict(facts), indent=1) + "\n")
    directory.parent.mkdir(parents=True, exist_ok=True)
    _recover(directory)
    aside = _aside(directory)
    _remove(aside)
    if os.path.lexists(directory):
        directory.rename(aside)
    written.rename(directory)
    _remove(aside)


def _aside(directory: Path) -> Path:
    """Where the older dataset of a directory is kept while a new one replaces it."""
    return directory.with_name(f".{directory.name}.replaced")


def _recover(directory: Path) -> None:
    """Restore a dataset that was moved aside for a replacement that was never completed."""
    if not os.path.lexists(directory) and _aside(directory).is_dir():
        with contextlib.suppress(OSError):  # on a read-only disk there is then no dataset to read
            _aside(directory).rename(directory)


def _remove(path: Path) -> None:
    """Remove a directory, or a link to one, if it exists."""
    if path.is_symlink():
        path.unlink()
    shutil.rmtree(path, ignore_errors=True)


def kinds(features: Mapping[str, tuple[tuple[int | None, ...], Any] | str]) -> dict[str, Any]:
    """TFDS features for (shape, dtype) or "text"."""
    import tensorflow_datasets as tfds

    return {
        key: tfds.features.Text()
        if kind == "text"
        else tfds.features.Tensor(shape=kind[0], dtype=np.dtype(kind[1]), encoding="bytes")
        for key, kind in features.items()
    }


def _builder(
    dataset: str, features: Mapping[str, Any], splits: Mapping[str, Lazy], entries: list[tuple[str, str, str]]
) -> Any:
    """A builder that writes shard by shard and appends (split, key, digest) of every record to `entries`.

    TFDS's generator-based builder needs TensorFlow to shuffle a split of more than 1 GB.
    """
    import tensorflow_datasets as tfds

    def generate(split: str, numbers: Sequence[int]) -> Iterator[tuple[str, Record]]:
        for number in numbers:
            key, record = splits[split].keys[number], splits[split].make(number)
            entries.append((split, key, record_digest(record)))
            yield key, record

    # Skip TFDS's registry of names: one process may write a dataset twice.
    with tfds.core.registered.skip_registration():

        class Builder(tfds.core.ShardBasedBuilder):
            """Records in the order of a hash of their keys."""

            name = dataset
            VERSION = tfds.core.Version("1.0.0")
            pkg_dir_path = Path(__file__).parent

            def _info(self) -> Any:
                return tfds.core.DatasetInfo(builder=self, features=tfds.features.FeaturesDict(dict(features)))

            def _shard_iterators_per_split(self, dl_manager: Any) -> dict[str, Any]:
                return {
                    split: [partial(generate, split, numbers) for numbers in _shards(split, records)]
                    for split, records in splits.items()
                }

    return Builder


def _shards(split: str, records: Lazy) -> list[list[int]]:
    """Numbers of the records of each shard, in the order in which TFDS stores keys.

    Raises:
        ValueError: two records have the same key.
    """
    from tensorflow_datasets.core import hashing

    hasher = hashing.Hasher(split)
    hashes = [hasher.hash_key(key) for key in records.keys]
    if len(set(hashes)) < len(hashes):
        raise ValueError(f"two records of {split} have the same key")
    order = sorted(range(len(hashes)), key=hashes.__getitem__)
    sampled = [_bytes(records.make(number)) for number in order[:_SAMPLED]]
    size = max(1, int(_SHARD_BYTES / max(1.0, float(np.mean(sampled)))))
    return [order[first : first + size] for first in range(0, len(order), size)]


def _bytes(record: Record) -> int:
    return sum(len(value) if isinstance(value, str) else np.asarray(value).nbytes for value in record.values())


def record_digest(record: Record) -> str:
    """SHA-256 over the names and values of one record's fields."""
    whole = hashlib.sha256()
    for field in sorted(record):
        value = record[field]
        whole.update(field.encode())
        whole.update(value.encode() if isinstance(value, str) else np.ascontiguousarray(value).tobytes())
    return whole.hexdigest()


def digest_of(entries: Iterable[tuple[str, str, str]]) -> str:
    """Digest of a dataset from the split, key and digest of each of its records, given in any order."""
    whole = hashlib.sha256()
    for entry in sorted(entries):
        whole.update("/".join(entry).encode() + b"\n")
    return whole.hexdigest()


def metadata(directory: Path) -> dict[str, Any]:
    """The facts stored beside a dataset, including its digest.

    Raises:
        InputError: the directory holds no dataset written by this program.
    """
    _recover(directory)
    try:
        return json.loads((directory / _METADATA).read_text())
    except (OSError, ValueError) as error:
        raise InputError(f"{directory} is not a dataset written by this program; make it again with `run`") from error


def array(directory: Path, name: str) -> np.ndarray | None:
    """An array stored beside a dataset; None if there is none of this name.

    Raises:
        InputError: the file is damaged.
    """
    path = directory / f"{name}.npy"
    try:
        return np.load(path, allow_pickle=False) if path.is_file() else None
    except (OSError, ValueError, EOFError) as error:
        raise InputError(f"{path} is damaged; make the dataset again with `run`") from error


def is_dataset(directory: Path) -> bool:
    """Whether a directory holds a dataset written by this program."""
    _recover(directory)
    return (directory / _METADATA).is_file()


def source(directory: Path, split: str, wrap: Callable[[Record], Any]) -> "Source":
    """Random access to one split."""
    import tensorflow_datasets as tfds

    quiet()
    metadata(directory)
    builder = tfds.builder_from_directory(str(directory))
    if split not in builder.info.splits or not builder.info.splits[split].num_examples:
        return Source((), wrap)
    return Source(builder.as_data_source(split), wrap)


class Source(Sequence[Any]):
    """A split as a sequence of objects, read on access."""

    def __init__(self, rows: Any, wrap: Callable[[Record], Any]):
        self._rows, self._wrap = rows, wrap

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, index: Any) -> Any:
        if isinstance(index, slice):
            numbers = list(range(*index.indices(len(self))))
            return [self._wrap(row) for row in self._rows.__getitems__(numbers)] if numbers else []
        if not -len(self) <= index < len(self):
            raise IndexError(index)
        return self._wrap(self._rows[index % len(self)])

    def __iter__(self) -> Iterator[Any]:
        for first in range(0, len(self), _READ_AT_ONCE):
            yield from self[first : first + _READ_AT_ONCE]
