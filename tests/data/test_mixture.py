"""Rows of a mixture come from its datasets by weight, in an order that only seed and content decide."""

from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from packed_trials import write_rows

from biomechgpt_jax import config, overrides
from biomechgpt_jax.data import loader, mixture
from biomechgpt_jax.data.mixture import Part
from biomechgpt_jax.errors import InputError


class Counted:
    """Rows that hold their own number from `start`, and count the calls."""

    def __init__(self, count: int, start: int) -> None:
        self.count, self.start, self.calls = count, start, 0

    def __len__(self) -> int:
        return self.count

    def __getitems__(self, keys):
        self.calls += 1
        assert all(0 <= key < self.count for key in keys)
        return [{key: np.full(4, self.start + index) for key in loader.KEYS} for index in keys]


def three() -> list[Part]:
    return [
        Part(Counted(2003, 0), "a", 1.0),
        Part(Counted(307, 10_000), "b", 0.5),
        Part(Counted(5009, 20_000), "c", 2.5),
    ]


def numbers(batch) -> list[int]:
    return batch["tokens"][:, 0].tolist()


def test_every_stretch_holds_the_datasets_by_weight() -> None:
    mixed = loader.Loader(three(), 16, 0)
    stream = np.array([n for step in range(500) for n in numbers(mixed.batch(step))])
    for first in (0, 1000, 7000):
        shares = np.bincount(stream[first : first + 400] // 10_000, minlength=3) / 400
        np.testing.assert_allclose(shares, [0.25, 0.125, 0.625], atol=0.005)
    # By example, never by batch: every batch holds rows of all.
    assert all(len(np.unique(batch // 10_000)) == 3 for batch in stream.reshape(-1, 16))


def test_each_dataset_goes_through_all_its_rows_before_any_comes_again() -> None:
    mixed = loader.Loader(three(), 16, 0)
    stream = [n for step in range(400) for n in numbers(mixed.batch(step))]
    small = [n for n in stream if 10_000 <= n < 20_000]
    assert sorted(small[:307]) == sorted(small[307:614]) == list(range(10_000, 10_307))
    assert small[:307] != small[307:614]
    assert set(Counter(n for n in stream if n >= 20_000).values()) == {1}  # of 5009, 4000 were drawn


def test_a_step_does_not_depend_on_what_was_read_before() -> None:
    one = loader.Loader(three(), 16, 3)
    forward = [numbers(one.batch(step)) for step in range(40)]
    assert [numbers(one.batch(step)) for step in reversed(range(40))] == forward[::-1]
    assert numbers(loader.Loader(three(), 16, 3).batch(10**7)) == numbers(one.batch(10**7))
    assert numbers(loader.Loader(three(), 16, 4).batch(0)) != forward[0]
    rows = [3, 7, 12]
    assert numbers(one.rows(5, rows)) == [forward[5][row] for row in rows]


def test_datasets_of_one_length_have_orders_of_their_own() -> None:
    parts = [Part(Counted(64, 0), "a"), Part(Counted(64, 100), "b")]
    stream = np.array([n for step in range(16) for n in numbers(loader.Loader(parts, 8, 0).batch(step))])
    assert (stream[stream < 100]).tolist() != (stream[stream >= 100] - 100).tolist()


def test_a_batch_reads_each_dataset_once() -> None:
    parts = three()
    mixed = loader.Loader(parts, 64, 0)
    for part in parts:
        part.rows.calls = 0
    mixed.batch(0)
    assert [part.rows.calls for part in parts] == [1, 1, 1]


def test_joined_rows_keep_the_order_asked_for() -> None:
    joined = mixture.Joined(three())
    assert len(joined) == 2003 + 307 + 5009
    asked = [2003, 0, 7318, 2309, 2002, 2310, 0]
    assert [int(r["tokens"][0]) for r in joined.__getitems__(asked)] == [10_000, 0, 25_008, 10_306, 2002, 20_000, 0]
    assert list(joined.__getitems__([])) == []


@pytest.fixture(scope="module")
def datasets(tmp_path_factory) -> Path:
    root = tmp_path_factory.mktemp("mixed")
    write_rows(root / "own", {"train": 40, "validation": 4})
    write_rows(root / "other", {"train": 30}, start=1000)
    write_rows(root / "third", {"train": 20}, start=2000)
    write_rows(root / "longer", {"train": 3}, row_length=8)
    write_rows(root / "foreign", {"train": 3}, vocabulary="another")
    return root


def test_datasets_on_disk_are_mixed_in_whatever_order_they_are_named(datasets) -> None:
    def stream(*names):
        mixed = [(str(datasets / name), 0.5) for name in names]
        made = loader.open_loader(datasets / "own", "train", 12, 0, mixed=mixed)
        return [numbers(made.batch(step)) for step in range(6)], loader.mixture_digest(datasets / "own", mixed)

    one, other = stream("other", "third"), stream("third", "other")
    assert one == other
    thousands = Counter(n // 1000 for batch in one[0] for n in batch)
    assert thousands == {0: 36, 1: 18, 2: 18}
    assert stream("other")[1] != one[1] != loader.digest(datasets / "own")
    assert loader.mixture_digest(datasets / "own") == loader.digest(datasets / "own")


def test_datasets_that_do_not_belong_together_are_refused(datasets) -> None:
    def mix(name):
        loader.open_loader(datasets / "own", "train", 2, 0, mixed=[(str(datasets / name), 1.0)])

    with pytest.raises(InputError, match=r"longer has row length 8, .*own has 6"):
        mix("longer")
    with pytest.raises(InputError, match=r"foreign has vocabulary another, .*own has vocabulary"):
        mix("foreign")
    with pytest.raises(InputError, match="already in the mixture"):
        mix("own")
    with pytest.raises(InputError, match="absent is not a dataset"):
        mix("absent")


def test_the_mixture_is_set_from_the_command_line() -> None:
    changed = overrides.apply(config.Experiment(), ["--train.mixture", "/a/b=0.5", "c=2"])
    assert changed.train.mixed == (("/a/b", 0.5), ("c", 2.0))
    for wrong in ("a", "a=", "=1", "a=0", "a=-1", "a=nan", "a=inf"):
        with pytest.raises(InputError, match="such as"):
            config.Train(mixture=(wrong,))
