"""Write and read TFDS datasets with ArrayRecord shards, without TensorFlow."""

import contextlib
import hashlib
import io
import json
import logging
import os
import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from biomechgpt_jax.errors import InputError

Record = dict[str, Any]
_METADATA = "biomechgpt.json"


def quiet() -> None:
    """Silence TFDS's own progress bars and notices: the program shows its own."""
    import tensorflow_datasets as tfds

    tfds.disable_progress_bar()
    logging.getLogger("absl").setLevel(logging.ERROR)


def write(
    directory: Path,
    name: str,
    features: Mapping[str, tuple[tuple[int | None, ...], Any] | str],
    records: Mapping[str, Sequence[tuple[str, Record]]],
    metadata: Mapping[str, Any],
) -> str:
    """Write a dataset whole or not at all; an older one at the same place is replaced.

    Args:
        directory: where the dataset will lie.
        name: of the dataset, in snake_case.
        features: (shape, dtype) of each array, or "text".
        records: (key, record) by split; the keys are unique.
        metadata: JSON-able facts stored beside the data.

    Returns:
        Digest of the content: SHA-256 over splits, keys and digests of records in key order.
    """
    quiet()
    with beside(directory) as temporary:
        builder = _builder(name, kinds(features), records)(data_dir=str(temporary), file_format="array_record")
        with contextlib.redirect_stdout(io.StringIO()):  # TFDS announces itself on standard output
            builder.download_and_prepare()
        digest = digest_of(
            (split, key, record_digest(record)) for split, rows in records.items() for key, record in rows
        )
        install(Path(str(builder.data_dir)), directory, {"digest": digest, **metadata})
    return digest


@contextlib.contextmanager
def beside(directory: Path) -> Iterator[Path]:
    """A name beside a directory, for what is not whole yet; whatever is left there is removed."""
    temporary = directory.with_name(f".{directory.name}.{os.getpid()}.tmp")
    shutil.rmtree(temporary, ignore_errors=True)
    try:
        yield temporary
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def install(written: Path, directory: Path, facts: Mapping[str, Any]) -> None:
    """Put a dataset that TFDS has written in its place, with the facts stored beside the data."""
    (written / _METADATA).write_text(json.dumps(dict(facts), indent=1) + "\n")
    directory.parent.mkdir(parents=True, exist_ok=True)
    shutil.rmtree(directory, ignore_errors=True)
    written.rename(directory)


def kinds(features: Mapping[str, tuple[tuple[int | None, ...], Any] | str]) -> dict[str, Any]:
    """TFDS features of (shape, dtype) or "text"."""
    import tensorflow_datasets as tfds

    return {
        key: tfds.features.Text()
        if kind == "text"
        else tfds.features.Tensor(shape=kind[0], dtype=np.dtype(kind[1]), encoding="bytes")
        for key, kind in features.items()
    }


def _builder(dataset: str, features: Mapping[str, Any], records: Mapping[str, Sequence[tuple[str, Record]]]) -> Any:
    import tensorflow_datasets as tfds

    # Not entered into TFDS's registry of names: one process may write a dataset twice.
    with tfds.core.registered.skip_registration():

        class Builder(tfds.core.GeneratorBasedBuilder):
            """Records that are already in memory."""

            name = dataset
            VERSION = tfds.core.Version("1.0.0")
            pkg_dir_path = Path(__file__).parent

            def _info(self) -> Any:
                return tfds.core.DatasetInfo(builder=self, features=tfds.features.FeaturesDict(dict(features)))

            def _split_generators(self, dl_manager: Any) -> dict[str, Any]:
                return {split: self._generate_examples(split) for split in records}

            def _generate_examples(self, split: str) -> Iterator[tuple[str, Record]]:
                yield from records[split]

    return Builder


def record_digest(record: Record) -> str:
    """SHA-256 over the fields of one record."""
    whole = hashlib.sha256()
    for field in sorted(record):
        value = record[field]
        whole.update(field.encode())
        whole.update(value.encode() if isinstance(value, str) else np.ascontiguousarray(value).tobytes())
    return whole.hexdigest()


def digest_of(entries: Iterable[tuple[str, str, str]]) -> str:
    """Digest of a dataset from the split, key and digest of its records, given in any order."""
    whole = hashlib.sha256()
    for entry in sorted(entries):
        whole.update("/".join(entry).encode() + b"\n")
    return whole.hexdigest()


def metadata(directory: Path) -> dict[str, Any]:
    """The facts stored beside a dataset, its digest among them.

    Raises:
        InputError: there is no dataset of this program.
    """
    try:
        return json.loads((directory / _METADATA).read_text())
    except (OSError, ValueError) as error:
        raise InputError(f"{directory} is not a dataset of this program; make it again with `run`") from error


def is_dataset(directory: Path) -> bool:
    """Whether a directory holds a dataset of this program."""
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
    """A split as a sequence of objects, read when asked for."""

    def __init__(self, rows: Any, wrap: Callable[[Record], Any]):
        self._rows, self._wrap = rows, wrap

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, index: Any) -> Any:
        if isinstance(index, slice):
            return [self[i] for i in range(*index.indices(len(self)))]
        if not -len(self) <= index < len(self):
            raise IndexError(index)
        return self._wrap(self._rows[index % len(self)])

    def __iter__(self) -> Iterator[Any]:
        if len(self):
            yield from (self._wrap(row) for row in self._rows.__getitems__(list(range(len(self)))))
