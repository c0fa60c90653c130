"""Rows are full, no movement is split, and every branch goes on where its trunk ends."""

import time

import numpy as np
import pytest

from biomechgpt_jax.packing.rows import ARRAYS, Branch, Item, array_names, assign_rows, lay_out_row

PAD = 7
FAMILIES = ("gait", "diagnosis")


@pytest.mark.parametrize(("row_length", "bar"), [(384, 0.98), (512, 0.98), (2048, 0.98), (8192, 0.98)])
def test_rows_of_realistic_movements_are_full(row_length, bar) -> None:
    """Trunks of 1.2 to 32 s, log-uniform, with six questions of 10 to 16 tokens."""
    rng = np.random.default_rng(0)
    trunks = np.exp(rng.uniform(np.log(9), np.log(240), 6000)).astype(int)
    lengths = trunks + rng.integers(60, 97, 6000)
    rows = assign_rows(lengths.tolist(), row_length)
    assert sorted(i for row in rows for i in row) == list(range(6000))
    assert all(sum(lengths[i] for i in row) <= row_length for row in rows)
    assert lengths.sum() / (len(rows) * row_length) >= bar


def test_many_short_items_are_packed_quickly() -> None:
    lengths = np.random.default_rng(0).integers(8, 20, 50_000).tolist()
    started = time.perf_counter()
    rows = assign_rows(lengths, 384)
    assert time.perf_counter() - started < 5.0
    assert sum(lengths) / (len(rows) * 384) >= 0.98


def test_the_order_is_fixed_and_too_long_an_item_is_refused() -> None:
    assert assign_rows([3, 5, 2, 5], 7) == assign_rows([3, 5, 2, 5], 7) == [[1, 2], [3], [0]]
    with pytest.raises(ValueError, match="item 1 has 9 tokens"):
        assign_rows([3, 9], 8)


def item(trunk: int, *branches: tuple[int, int]) -> Item:
    made = (
        Branch(100 * number + np.arange(length, dtype=np.int32), answer, FAMILIES[number - 1])
        for number, (length, answer) in enumerate(branches, 1)
    )
    return Item(np.arange(10, 10 + trunk, dtype=np.int32)[:, None], tuple(made))


def test_a_row_is_laid_out_by_hand() -> None:
    row = lay_out_row([item(3, (4, 2), (3, 2)), item(0, (2, 1))], 15, PAD, families=("balance", *FAMILIES))
    assert row["tokens"].tolist() == [10, 11, 12, 100, 101, 102, 103, 200, 201, 202, 100, 101, PAD, PAD, PAD]
    assert row["positions"].tolist() == [0, 1, 2, 3, 4, 5, 6, 3, 4, 5, 0, 1, 0, 0, 0]
    assert row["segments"].tolist() == [1] * 10 + [2] * 2 + [0] * 3
    assert row["branches"].tolist() == [0] * 3 + [1] * 4 + [2] * 3 + [1] * 2 + [0] * 3
    assert row["families"].tolist() == [0] * 3 + [2] * 4 + [3] * 3 + [2] * 2 + [0] * 3
    assert row["loss_weights"].tolist() == [0, 0, 0, 0, 0, 1, 1, 0, 0, 1, 0, 1, 0, 0, 0]
    assert row["loss_weights"].dtype == np.float32
    assert all(row[name].dtype == np.int32 for name in ARRAYS[:-1])


def test_further_codes_lie_beside_the_first_and_nowhere_else() -> None:
    trunk = np.array([[5, -1], [30, 61], [31, 62]], np.int32)
    row = lay_out_row([Item(trunk, (Branch(np.array([1, 2, 3], np.int32), 1),))], 9, pad=0, layers=2)
    assert set(row) == set(array_names(2))
    assert row["tokens"].tolist() == [5, 30, 31, 1, 2, 3, 0, 0, 0]
    assert row["codes_1"].tolist() == [-1, 61, 62, -1, -1, -1, -1, -1, -1]
