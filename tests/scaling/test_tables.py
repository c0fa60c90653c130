"""Tables of runs: what is read, what is assumed, and hostile ones on one line."""

import json
import math

import numpy as np
import published_runs as published
import pytest

from biomechgpt_jax import config
from biomechgpt_jax.errors import InputError
from biomechgpt_jax.scaling import own_runs, table

GOOD = "params,tokens,loss\n1e6,1e8,3.5\n2e6,2e8,3.2\n"


@pytest.fixture
def write(tmp_path):
    def put(text, name="runs.csv"):
        path = tmp_path / name
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        return path

    return put


def test_operations_and_runs_are_assumed_and_said(write):
    runs = table.read(write(GOOD), {}, {})
    assert runs.flops.tolist() == [6e14, 24e14] and runs.operations == 6.0
    assert len(set(runs.run)) == 2 and len(runs.notes) == 2 and "6 params tokens" in runs.notes[0]
    assert not runs.repeats.any() and runs.has_sizes


def test_columns_may_have_other_names_and_rows_be_chosen(write):
    text = "w,d,N,D,val,set\n1,2,1e6,1e8,3.5,a\n1,2,1e6,2e8,3.4,a\n4,2,2e6,2e8,3.2,b\n"
    columns = {"params": "N", "tokens": "D", "loss": "val", "run": "w+d"}
    runs = table.read(write(text), columns, {"set": "a"})
    assert runs.run.tolist() == ["1 2", "1 2"] and [group.tolist() for group in runs.groups()] == [[0, 1]]


def test_spaces_and_empty_lines_do_not_count(write):
    runs = table.read(write("params , tokens, loss\n\n 1e6, 1e8 ,3.5\n\n"), {}, {"loss": "3.5"})
    assert runs.tokens.tolist() == [1e8]


def test_tokens_follow_from_operations_and_a_byte_order_mark_is_no_column(write):
    runs = table.read(write(b"\xef\xbb\xbfflops,params,loss\n6e14,1e6,3.5\n"), {}, {})
    assert runs.tokens.tolist() == [1e8]


def test_a_table_without_sizes_has_none(write):
    assert not table.read(write("flops,loss\n1e15,3\n2e15,2.8\n"), {}, {}).has_sizes


def test_repeated_rows_are_known(write):
    text = "params,tokens,unique_tokens,loss\n1e6,1e8,1e8,3.5\n2e6,2e8,1e8,3.2\n"
    assert table.read(write(text), {}, {}).repeats.tolist() == [False, True]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "is empty"),
        ("params,tokens\n1,2\n", "no column 'loss'"),
        ("loss\n3\n", "neither flops nor both"),
        ("params,tokens,loss\n", "no row"),
        (GOOD + "1e6,1e8\n", "line 4 has another number of columns"),
        (GOOD + "1e6,1e8,3.1,7\n", "line 4 has another number of columns"),
        (GOOD + "1e6,1e8,\n", "line 4, loss is ''"),
        (GOOD + "1e6,1e8,nan\n", "line 4, loss is 'nan'"),
        (GOOD + "1e6,-1e8,3\n", "line 4, tokens is '-1e8'"),
        (GOOD + "inf,1e8,3\n", "line 4, params is 'inf'"),
        (GOOD + "1e6,1e8,three\n", "line 4, loss is 'three'"),
        (GOOD.replace("tokens", "loss"), "several columns 'loss'"),
        (GOOD + '1e6,1e8,"' + "3" * 200_000 + '"\n', "is no CSV: field larger"),
        (b"\x80\x04\x95pickle", "no text in UTF-8"),
    ],
)
def test_hostile_tables_are_refused_on_one_line(write, text, words):
    with pytest.raises(InputError, match=words) as caught:
        table.read(write(text), {}, {})
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("columns", "where", "words"),
    [
        ({"size": "params"}, {}, "'size' is none of"),
        ({"loss": "val"}, {}, "no column 'val'"),
        ({"run": "params+depth"}, {}, "no column 'depth'"),
        ({}, {"corpus": "c4"}, "no column 'corpus'"),
        ({}, {"params": "7"}, "no row is left by --where"),
    ],
)
def test_wrong_names_are_refused(write, columns, where, words):
    with pytest.raises(InputError, match=words):
        table.read(write(GOOD), columns, where)


def test_missing_and_oversized_files_are_refused(tmp_path):
    with pytest.raises(InputError, match="No such file"):
        table.read(tmp_path / "none.csv", {}, {})
    big = tmp_path / "big.csv"
    with big.open("wb") as file:
        file.truncate(2**29)
    with pytest.raises(InputError, match="larger than"):
        table.read(big, {}, {})
    with pytest.raises(InputError, match="give NAME=VALUE"):
        table.pairs(["loss"], "--columns")


def test_tables_are_joined_and_their_runs_kept_apart(write):
    paths = [write(GOOD, "one.csv"), write(GOOD, "two.csv")]
    joined = table.gather(paths, lambda path: table.read(path, {}, {}))
    assert len(joined) == 4 and len(set(joined.run)) == 4
    bare = write("flops,loss\n1e15,3\n", "bare.csv")
    with pytest.raises(InputError, match="fit them apart"):
        table.gather([paths[0], bare], lambda path: table.read(path, {}, {}))


def _own_run(root, name, steps, validation, width=64):
    """A working directory with the log that training writes."""
    from dataclasses import asdict, replace

    experiment = config.Experiment(
        train=replace(config.Train(), steps=steps, batch_size=4), pack=replace(config.Pack(), row_length=100)
    )
    place = root / name
    place.mkdir()
    (place / "config.json").write_text(json.dumps({"experiment": asdict(experiment)}))
    rates = {
        "tokens_per_second": 1000.0,
        "nonpadding_tokens_per_second": 900.0,
        "flops_per_second": 900.0 * 6e5 * width,
    }
    entries = [{"step": 10, **rates}, {"step": 20, **rates}, {"step": steps, "validation_loss": validation}]
    (place / "metrics.jsonl").write_text("".join(json.dumps(entry) + "\n" for entry in entries))
    return place


def test_our_own_runs_are_rows(tmp_path):
    _own_run(tmp_path, "small", 50, 3.0)
    _own_run(tmp_path, "large", 200, 2.5, width=128)
    unfinished = _own_run(tmp_path, "unfinished", 70, 2.0)
    log = unfinished / "metrics.jsonl"
    log.write_text("\n".join(log.read_text().splitlines()[:2]) + "\n")
    (tmp_path / "stray.txt").write_text("no run")
    runs = own_runs.read(tmp_path)
    assert runs.run.tolist() == ["large", "small"] and runs.loss.tolist() == [2.5, 3.0]
    assert runs.tokens.tolist() == pytest.approx([200 * 4 * 100 * 0.9, 50 * 4 * 100 * 0.9])
    assert runs.params.tolist() == pytest.approx([1e5 * 128, 1e5 * 64])
    np.testing.assert_allclose(runs.flops, 6 * runs.params * runs.tokens)
    assert any("1 runs were left out" in note for note in runs.notes)
    assert own_runs.read(tmp_path / "small").loss.tolist() == [3.0]
    with pytest.raises(InputError, match="no run has 'validation_loss_motion'"):
        own_runs.read(tmp_path, "validation_loss_motion")
    empty = tmp_path / "empty"
    empty.mkdir()
    with pytest.raises(InputError, match="holds no run"):
        own_runs.read(empty)


def test_published_tables_are_read():
    assert math.isclose(published.porian("rw", "tuned").operations, 6.0, rel_tol=1e-5)
    assert len(published.gemstones("hot").groups()) == 22
