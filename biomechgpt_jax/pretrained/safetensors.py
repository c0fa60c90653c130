"""Files of tensors in the format safetensors, read by exact ranges of bytes and written tensor by tensor.

A file is the length of a header (u64, little endian), the header (JSON: name -> dtype, shape, begin and end in the
buffer) and the buffer (https://github.com/huggingface/safetensors, format section). The library of that name maps files
into memory, where a column of a matrix touches every page, and takes duplicate keys; so we read for ourselves.
"""

import contextlib
import hashlib
import math
import os
import struct
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO, Self

import jax.numpy as jnp
import numpy as np

from biomechgpt_jax.errors import InputError
from biomechgpt_jax.files import to_json, write_atomically
from biomechgpt_jax.pretrained import strict_json
from biomechgpt_jax.pretrained.strict_json import shown

DTYPES = {"F32": np.dtype(np.float32), "F16": np.dtype(np.float16), "BF16": np.dtype(jnp.bfloat16)}
_LONGEST_HEADER = 100_000_000  # bytes, as in the library
_LARGEST_SIZE = 2**40  # of one dimension
_LONGEST_READ = 2**30  # bytes a call; the kernel stops short of 2 GiB
_ALIGNMENT = 8

Index = tuple[slice, ...]


@dataclass(frozen=True)
class Tensor:
    """Where a tensor lies: its bytes start at `offset` of `file`, row by row."""

    name: str
    dtype: str  # a key of DTYPES
    shape: tuple[int, ...]
    file: Path
    offset: int

    @property
    def size(self) -> int:
        """Number of elements."""
        return math.prod(self.shape)

    @property
    def nbytes(self) -> int:
        return self.size * DTYPES[self.dtype].itemsize


@dataclass(frozen=True)
class Header:
    """What a file says of itself, checked; `digest` is the SHA-256 of the header's bytes and of the file's size."""

    tensors: dict[str, Tensor]
    metadata: dict[str, str]
    digest: str


def read_header(path: Path) -> Header:
    """Read and check the header of a file; nothing of the buffer is read.

    Raises:
        InputError: the file cannot be read or is damaged: its length, its JSON, a type, a shape, or ranges that
            overlap, leave a gap or do not end with the file.
    """
    try:
        with path.open("rb") as file:
            size = os.fstat(file.fileno()).st_size
            start = file.read(8)
            length = struct.unpack("<Q", start)[0] if len(start) == 8 else 0
            if not 2 <= length <= min(size - 8, _LONGEST_HEADER):
                raise _damaged(path, f"{size} bytes cannot hold a header of {length}")
            text = file.read(length)
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror}; give a folder that has it") from error
    if len(text) < length or not text.startswith(b"{"):
        raise _damaged(path, "its header is no JSON object")
    entries = strict_json.loads(text, f"the header of {path}")
    metadata = entries.pop("__metadata__", {})
    if not isinstance(metadata, dict) or not all(isinstance(value, str) for value in metadata.values()):
        raise _damaged(path, "'__metadata__' is no map from text to text")
    tensors, end = {}, 0
    spans = []
    for name, entry in entries.items():
        tensors[name], span = _tensor(path, name, entry, 8 + length)
        spans.append((*span, name))
    for begin, stop, name in sorted(spans):
        if begin != end:
            raise _damaged(path, f"tensor {shown(name)} begins at byte {shown(begin)} of the buffer, not at {end}")
        end = stop
    if 8 + length + end != size:
        raise _damaged(path, f"its tensors end at byte {shown(8 + length + end)} of {size}")
    return Header(tensors, metadata, hashlib.sha256(start + text + str(size).encode()).hexdigest())


def _tensor(path: Path, name: str, entry: Any, buffer: int) -> tuple[Tensor, tuple[int, int]]:
    """A tensor of a header, and its begin and end in the buffer, which starts at byte `buffer` of the file."""
    if not isinstance(entry, dict) or entry.keys() != {"dtype", "shape", "data_offsets"}:
        raise _damaged(path, f"tensor {shown(name)} has other entries than dtype, shape and data_offsets")
    dtype, shape, span = entry["dtype"], entry["shape"], entry["data_offsets"]
    if not isinstance(dtype, str) or dtype not in DTYPES:
        raise InputError(
            f"{path}: tensor {shown(name)} is of type {shown(dtype)}; {', '.join(DTYPES)} are read: give the model's "
            "unquantised weights"
        )
    if not _are_integers(shape) or not all(0 < length < _LARGEST_SIZE for length in shape):
        raise _damaged(path, f"tensor {shown(name)} has the shape {shown(shape)}")
    if not _are_integers(span) or len(span) != 2 or not 0 <= span[0] <= span[1]:
        raise _damaged(path, f"tensor {shown(name)} has the data_offsets {shown(span)}")
    tensor = Tensor(name, dtype, tuple(shape), path, buffer + span[0])
    if tensor.nbytes != span[1] - span[0]:
        raise _damaged(
            path,
            f"tensor {shown(name)}, {dtype} {shown(shape)}, has {span[1] - span[0]} bytes instead of {tensor.nbytes}",
        )
    return tensor, (span[0], span[1])


def _are_integers(value: Any) -> bool:
    return isinstance(value, list) and all(type(entry) is int for entry in value)


def _damaged(path: Path, what: str) -> InputError:
    return InputError(f"{path} is damaged: {what}; fetch the file again")


class Reader:
    """Reads parts of tensors: the bytes that were asked for and no other, counted in `bytes_read`.

    A context manager: files stay open until it ends.
    """

    def __init__(self) -> None:
        self.bytes_read = 0
        self._open = contextlib.ExitStack()
        self._files: dict[Path, int] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._open.close()

    def read(self, tensor: Tensor, index: Index | None = None) -> np.ndarray:
        """The tensor, or the part of it that the slices of `index` (one a dimension, of step 1) cut out.

        Raises:
            InputError: the file is shorter than its header says, or cannot be read.
        """
        bounds = [part.indices(size)[:2] for part, size in zip(index or _all(tensor.shape), tensor.shape, strict=True)]
        made = np.empty([stop - start for start, stop in bounds], DTYPES[tensor.dtype])
        if made.size:
            into = made.reshape(-1).view(np.uint8).data
            for offset, begin, end in _runs(tensor, bounds):
                self._fill(into[begin:end], tensor, offset)
        return made

    def _fill(self, into: memoryview, tensor: Tensor, offset: int) -> None:
        """Fill a buffer with the bytes of a tensor's file from `offset` on."""
        done = 0
        try:
            if tensor.file not in self._files:
                self._files[tensor.file] = self._open.enter_context(tensor.file.open("rb")).fileno()
            while done < len(into):
                got = os.preadv(self._files[tensor.file], [into[done : done + _LONGEST_READ]], offset + done)
                if not got:
                    raise _damaged(tensor.file, f"it ends within tensor {shown(tensor.name)}")
                done += got
        except OSError as error:
            raise InputError(f"{tensor.file} cannot be read: {error.strerror}; look at the disk") from error
        self.bytes_read += done


def _all(shape: Sequence[int]) -> Index:
    return tuple(slice(0, size) for size in shape)


def _runs(tensor: Tensor, bounds: Sequence[tuple[int, int]]) -> Iterator[tuple[int, int, int]]:
    """Contiguous pieces of a part of a tensor: offset in the file, and begin and end in the part's own bytes."""
    width = DTYPES[tensor.dtype].itemsize
    strides = [width * math.prod(tensor.shape[axis + 1 :]) for axis in range(len(tensor.shape))]
    # Behind the last axis that is cut, everything lies together.
    cut = max((axis for axis, bound in enumerate(bounds) if bound != (0, tensor.shape[axis])), default=0)
    outer = [range(*bound) for bound in bounds[:cut]]
    inside = strides[cut] * (bounds[cut][1] - bounds[cut][0]) if bounds else width
    start = tensor.offset + (strides[cut] * bounds[cut][0] if bounds else 0)
    for number, position in enumerate(np.ndindex(*map(len, outer))):
        ahead = sum(stride * (part[0] + step) for stride, part, step in zip(strides, outer, position, strict=False))
        yield start + ahead, number * inside, (number + 1) * inside


class Writer:
    """Writes a file tensor by tensor, in any order, so that no more than one is in memory.

    A context manager: the file appears under its name, whole, when the block ends without an error.
    """

    def __init__(
        self,
        path: Path,
        tensors: Mapping[str, tuple[str, Sequence[int]]],
        metadata: Mapping[str, str] | None = None,
    ) -> None:
        """Declare what will be written.

        Args:
            path: of the file.
            tensors: dtype (a key of DTYPES) and shape by name; they lie in the file in this order.
            metadata: further words for the header.
        """
        self.path, self._metadata, end = path, dict(metadata or {}), 0
        self._tensors: dict[str, Tensor] = {}
        for name, (dtype, shape) in tensors.items():
            self._tensors[name] = Tensor(name, dtype, tuple(shape), path, end)
            end += self._tensors[name].nbytes
        self._missing = set(self._tensors)
        self._stack = contextlib.ExitStack()

    def __enter__(self) -> Self:
        entries: dict[str, Any] = {"__metadata__": self._metadata} if self._metadata else {}
        for name, tensor in self._tensors.items():
            span = [tensor.offset, tensor.offset + tensor.nbytes]
            entries[name] = {"dtype": tensor.dtype, "shape": list(tensor.shape), "data_offsets": span}
        text = to_json(entries).encode()
        text += b" " * (-len(text) % _ALIGNMENT)
        self._file: BinaryIO = self._stack.enter_context(write_atomically(self.path))
        self._file.write(struct.pack("<Q", len(text)) + text)
        self._buffer = self._file.tell()
        return self

    def write(self, name: str, values: Any) -> None:
        """Write one tensor, rounded to its declared type.

        Raises:
            ValueError: it was not declared, has another shape, or was written already.
        """
        tensor, values = self._tensors[name], np.asarray(values)
        if values.shape != tensor.shape or name not in self._missing:
            raise ValueError(f"tensor '{name}' was declared as {tensor.shape}, once; this is {values.shape}")
        self._missing.remove(name)
        self._file.seek(self._buffer + tensor.offset)
        self._file.write(np.ascontiguousarray(values, DTYPES[tensor.dtype]).reshape(-1).view(np.uint8).data)

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        if error is None and self._missing:
            error = ValueError(f"{self.path}: tensors were declared and not written: {sorted(self._missing)}")
            self._stack.__exit__(type(error), error, None)
            raise error
        self._stack.__exit__(kind, error, at)
