"""Batches on their way from the host to the devices: which rows a process reads, and reading ahead."""

import queue
import threading
from collections.abc import Iterable, Iterator
from typing import Any, Protocol

import jax
import numpy as np

PREFETCHED = 2  # number of batches that are ready on the devices ahead of the step


def needed_rows(indices: Iterable[tuple[slice, ...] | None], global_batch: int) -> np.ndarray:
    """Sorted global rows that devices hold which have these indices of a batch array [B, L]."""
    spans = [np.arange(*index[0].indices(global_batch)) for index in indices if index is not None]
    return np.unique(np.concatenate(spans))


def piece(array: np.ndarray, rows: np.ndarray, index: tuple[slice, ...] | None, shape: tuple[int, ...]) -> np.ndarray:
    """The part of an array of this shape that a device with this index holds, cut from the rows of `needed_rows`."""
    assert index is not None  # arrays have at least one dimension
    here = np.searchsorted(rows, np.arange(*index[0].indices(shape[0])))
    return array[here][(slice(None), *index[1:])]


def from_rows(
    array: np.ndarray, rows: np.ndarray, shape: tuple[int, ...], sharding: jax.sharding.Sharding
) -> jax.Array:
    """A global array of this shape and layout, from the rows that this process holds (`needed_rows`)."""
    return jax.make_array_from_callback(shape, sharding, lambda index: piece(array, rows, index, shape))


class Source(Protocol):
    """Device batches by step."""

    def device_batch(self, step: int) -> dict[str, jax.Array]: ...


class Prefetch:
    """Iterator over device batches, which a thread prepares `PREFETCHED` ahead; a context manager."""

    def __init__(self, source: Source, start: int, stop: int) -> None:
        self._queue: queue.Queue[Any] = queue.Queue(maxsize=PREFETCHED)
        self._closed = threading.Event()
        self._thread = threading.Thread(target=self._work, args=(source, start, stop), daemon=True)
        self._thread.start()

    def _work(self, source: Source, start: int, stop: int) -> None:
        try:
            for step in range(start, stop):
                if not self._put(source.device_batch(step)):
                    return
            self._put(StopIteration())
        except BaseException as error:  # raised in the training thread
            self._put(error)

    def _put(self, item: Any) -> bool:
        while not self._closed.is_set():
            try:
                self._queue.put(item, timeout=0.1)
                return True
            except queue.Full:
                continue
        return False

    def __iter__(self) -> Iterator[dict[str, jax.Array]]:
        while True:
            item = self._queue.get()
            if isinstance(item, StopIteration):
                return
            if isinstance(item, BaseException):
                raise item
            yield item

    def __enter__(self) -> "Prefetch":
        return self

    def __exit__(self, *_: object) -> None:
        self._closed.set()
        self._thread.join()
