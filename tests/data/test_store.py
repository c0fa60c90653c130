"""A dataset is written shard by shard, from records that are made when they are written, and replaced safely."""

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


def test_two_records_with_the_same_key_are_refused(tmp_path) -> None:
    with pytest.raises(ValueError, match="the same key"):
        store.write(tmp_path / "twice", "rows", FEATURES, {"train": [("a", record(0)), ("a", record(1))]}, {})
    assert not list(tmp_path.iterdir())


def test_the_digest_depends_on_rows_and_order_but_not_on_the_path(tmp_path) -> None:
    one = write_rows(tmp_path / "one", {"train": 20})
    assert loader.digest(write_rows(tmp_path / "elsewhere", {"train": 20})) == loader.digest(one)
    assert loader.digest(write_rows(tmp_path / "other", {"train": 20}, start=1)) != loader.digest(one)
    assert loader.digest(write_rows(tmp_path / "fewer", {"train": 19})) != loader.digest(one)


class Crash(BaseException):
    """The end of the process."""


def finishes(place: Path, cut: int, monkeypatch) -> bool:
    """Replace a dataset, and end before the given step on the file system; whether there were no more steps."""
    steps = iter(range(1_000))

    def counted(call):
        def step(*arguments, **options):
            if next(steps) == cut:
                raise Crash
            return call(*arguments, **options)

        return step

    with monkeypatch.context() as patch:
        patch.setattr(Path, "rename", counted(Path.rename))
        patch.setattr(Path, "unlink", counted(Path.unlink))
        patch.setattr(store.shutil, "rmtree", counted(store.shutil.rmtree))
        try:
            write_rows(place, {"train": 20}, start=1)
        except Crash:
            return False
    return True


@pytest.mark.parametrize("linked", [False, True])
def test_a_replacement_that_is_cut_short_leaves_the_old_dataset_or_the_new_one(tmp_path, monkeypatch, linked) -> None:
    new = store.metadata(write_rows(tmp_path / "new", {"train": 20}, start=1))["digest"]
    for cut in range(100):
        place = tmp_path / str(cut) / "rows"
        old = write_rows(place.with_name("elsewhere") if linked else place, {"train": 20})
        if linked:
            place.symlink_to(old)
        digests = (store.metadata(place)["digest"], new)
        finished = finishes(place, cut, monkeypatch)
        assert store.is_dataset(place) and store.metadata(place)["digest"] in digests
        assert len(store.source(place, "train", dict)) == 20
        write_rows(place, {"train": 20}, start=1)
        assert store.metadata(place)["digest"] == new
        assert not list(place.parent.glob(".*.replaced"))
        if finished:
            break
    assert 4 < cut < 99
