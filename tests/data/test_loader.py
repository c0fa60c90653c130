"""Rows are a pure function of (seed, step), whatever the processes and whatever was read before."""

import cProfile

import jax
import numpy as np
import pytest
from packed_trials import write_rows

from biomechgpt_jax.data import loader, store
from biomechgpt_jax.data.mixture import Part
from biomechgpt_jax.errors import InputError
from biomechgpt_jax.packing.rows import ARRAYS
from biomechgpt_jax.parallel import feed

L = 6


class Memory:
    """Rows that hold their own index, and count the calls."""

    def __init__(self, count: int) -> None:
        self.count, self.calls = count, 0

    def __len__(self) -> int:
        return self.count

    def __getitems__(self, keys):
        self.calls += 1
        assert all(0 <= key < self.count for key in keys)
        return [{key: np.full(L, index) for key in loader.KEYS} for index in keys]


def ids(batch) -> list[int]:
    return batch["tokens"][:, 0].tolist()


def make(count=37, batch=8, seed=0, name="sequences", **kwargs) -> loader.Loader:
    return loader.Loader([Part(Memory(count), name)], batch, seed, **kwargs)


def test_each_epoch_is_a_permutation_and_epochs_differ() -> None:
    stream = [i for step in range(37) for i in ids(make().batch(step))]  # 8 epochs of 37 rows
    epochs = [stream[i : i + 37] for i in range(0, len(stream), 37)]
    assert all(sorted(epoch) == list(range(37)) for epoch in epochs)
    assert len({tuple(epoch) for epoch in epochs}) == len(epochs)


def test_a_step_does_not_depend_on_what_was_read_before() -> None:
    one = make()
    forward = [ids(one.batch(step)) for step in range(12)]
    assert [ids(one.batch(step)) for step in reversed(range(12))] == forward[::-1]
    assert ids(make().batch(11)) == forward[11]
    assert ids(make(seed=1).batch(0)) != forward[0] and ids(make(name="other").batch(0)) != forward[0]


def test_seeds_of_neighbouring_epochs_do_not_collide() -> None:
    """Grain adds the epoch to the seed: seed 1 must not be epoch 1 of seed 0."""
    second_epoch = [ids(make(count=8).batch(1)), ids(make(count=8).batch(2))]
    assert ids(make(count=8, seed=1).batch(0)) not in second_epoch


def test_a_batch_is_one_read() -> None:
    memory = Memory(37)
    rows = loader.Loader([Part(memory, "sequences")], 8, 0)
    memory.calls = 0
    rows.batch(3)
    assert memory.calls == 1


def test_one_pass_ends_in_padding() -> None:
    rows = make(count=11, shuffle=False)
    assert ids(rows.batch(0)) == list(range(8))
    last = rows.batch(1)
    assert ids(last)[:3] == [8, 9, 10]
    assert not any(last[key][3:].any() for key in loader.KEYS)


def test_device_batch_and_prefetch() -> None:
    rows = make()
    batch = rows.device_batch(2)
    assert all(isinstance(array, jax.Array) and array.shape == (8, L) for array in batch.values())
    assert batch["loss_weights"].dtype == np.float32 and batch["tokens"].dtype == np.int32
    with feed.Prefetch(rows, 1, 4) as batches:
        assert [ids(b) for b in batches] == [ids(rows.batch(step)) for step in (1, 2, 3)]
    with feed.Prefetch(rows, 0, 1000) as batches:  # left early: the thread ends
        next(iter(batches))


def test_prefetch_hands_over_errors() -> None:
    rows = make()
    rows._rows.__class__ = type("Broken", (Memory,), {"__getitems__": lambda self, keys: 1 / 0})
    with pytest.raises(ZeroDivisionError), feed.Prefetch(rows, 0, 3) as batches:
        next(iter(batches))


def test_families_are_read_where_a_dataset_has_them(tmp_path) -> None:
    """Datasets without the array are read as before."""
    assert "families" not in make().device_batch(0)
    features = {key: ((L,), np.float32 if key == "loss_weights" else np.int32) for key in ARRAYS}
    row = {key: np.arange(L).astype(dtype) for key, (_, dtype) in features.items()}
    store.write(tmp_path / "new", "new", features, {"train": [("a", row)]}, {"families": ["gait", "timed"]})
    batch = loader.open_loader(tmp_path / "new", "train", 2, 0).device_batch(0)
    assert batch["families"].dtype == np.int32 and batch["families"].tolist() == [list(range(L))] * 2
    assert loader.families(tmp_path / "new") == ("gait", "timed")
    del features["families"], row["families"]
    store.write(tmp_path / "old", "old", features, {"train": [("a", row)]}, {})
    assert "families" not in loader.open_loader(tmp_path / "old", "train", 2, 0).device_batch(0)
    assert loader.families(tmp_path / "old") == ()


def test_bad_directories_are_refused(tmp_path) -> None:
    with pytest.raises(InputError, match="run `pack`"):
        loader.open_loader(tmp_path / "absent", "train", 8, 0)
    with pytest.raises(InputError, match="run `pack`"):
        loader.open_loader(tmp_path, "train", 8, 0)


def test_nothing_runs_once_per_token(tmp_path) -> None:
    """Rows of 8,192 tokens take as many function calls as short ones, and arrive whole."""
    made = {}
    for length in (64, 8192):
        write_rows(tmp_path / str(length), {"train": 40}, length)
        rows = loader.open_loader(tmp_path / str(length), "train", 4, 0)
        rows.batch(0)  # what is done once
        profile = cProfile.Profile()
        batch = profile.runcall(rows.batch, 1)
        made[length] = sum(entry.callcount for entry in profile.getstats())
        assert all(array.shape == (4, length) for array in batch.values())
        assert np.all(batch["tokens"] == batch["tokens"][:, :1]) and set(ids(batch)) <= set(range(40))
    assert made[8192] < 1.1 * made[64] < 8192
