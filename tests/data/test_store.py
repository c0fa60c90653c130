"""A dataset is written shard by shard, from records that are made when they are written."""

import hashlib
from pathlib import Path

import numpy as np
import pytest
from packed_trials import write_rows

from biomechgpt_jax.data import loader, store

FEATURES = {"x": ((1000,), np.int32), "name": "text"}
COUNT = 50


def record(number: int) -> store.Record:
    return {"x": np.full(1000, number, np.int32), "name": f"row {number}"}


def read(directory: Path, split: str = "train") -> list[int]:
    return [int(row["x"][0]) for row in store.source(directory, split, dict)]


def test_records_that_are_made_one_at_a_time_are_those_of_a_list(tmp_path) -> None:
    keys = [f"{number:05d}" for number in range(COUNT)]
    made: list[int] = []

    def make(number: int) -> store.Record:
        made.append(number)
        return record(number)

    one = store.write(tmp_path / "lazy", "rows", FEATURES, {"train": store.Lazy(keys, make)}, {})
    whole = [(key, record(number)) for number, key in enumerate(keys)]
    assert one == store.write(tmp_path / "list", "rows", FEATURES, {"train": whole}, {})
    assert loader.digest(tmp_path / "lazy") == loader.digest(tmp_path / "list")
    assert sorted(set(made)) == list(range(COUNT)) and len(made) <= COUNT + 16
    # TFDS's order: the MD5 of the split's name and the key.
    order = sorted(range(COUNT), key=lambda number: hashlib.md5(f"train{keys[number]}".encode()).hexdigest())
    assert read(tmp_path / "lazy") == order == read(tmp_path / "list")


def test_a_large_split_has_several_shards_and_reads_the_same(tmp_path, monkeypatch) -> None:
    rows = {"train": [(f"{number:05d}", record(number)) for number in range(COUNT)]}
    one = store.write(tmp_path / "one", "rows", FEATURES, rows, {})
    monkeypatch.setattr(store, "_SHARD_BYTES", 30_000)
    assert store.write(tmp_path / "many", "rows", FEATURES, rows, {}) == one
    assert len(list((tmp_path / "many").glob("*array_record*"))) == 8  # of seven records of some 4 KB
    assert read(tmp_path / "many") == read(tmp_path / "one")
    assert loader.digest(tmp_path / "many") != loader.digest(tmp_path / "one")


def test_two_records_of_one_key_are_refused(tmp_path) -> None:
    with pytest.raises(ValueError, match="one key"):
        store.write(tmp_path / "twice", "rows", FEATURES, {"train": [("a", record(0)), ("a", record(1))]}, {})
    assert not list(tmp_path.iterdir())


def test_the_digest_tells_rows_and_order_apart_and_not_the_place(tmp_path) -> None:
    one = write_rows(tmp_path / "one", {"train": 20})
    assert loader.digest(write_rows(tmp_path / "elsewhere", {"train": 20})) == loader.digest(one)
    assert loader.digest(write_rows(tmp_path / "other", {"train": 20}, start=1)) != loader.digest(one)
    assert loader.digest(write_rows(tmp_path / "fewer", {"train": 19})) != loader.digest(one)
