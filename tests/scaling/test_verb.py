"""`biomechgpt scaling` as a user meets it: what it prints and writes, and one line for what is wrong."""

import json
from pathlib import Path

import published_runs as published
import pytest
from html_reader import Reader

from biomechgpt_jax import cli

DATA = published.DATA


@pytest.fixture
def table(tmp_path):
    """A planted ladder as a CSV; a name that a page has to escape."""
    runs = published.planted(published.PLANTED["chinchilla"], 0.003, 2)
    path = tmp_path / "ladder <1>.csv"
    rows = zip(runs.params, runs.tokens, runs.flops, runs.loss, strict=True)
    path.write_text("params,tokens,flops,loss\n" + "".join(",".join(map(repr, map(float, row))) + "\n" for row in rows))
    return path


def _page(out: Path) -> tuple[Reader, str]:
    text = (out / "report.html").read_text(encoding="utf-8")
    page = Reader()
    page.feed(text)
    assert not page.open, "unclosed tags"
    assert len(page.ids) == len(set(page.ids))
    assert all(one.startswith("#") for one in page.references), "the page stands alone"
    return page, text


def test_fit_writes_a_page_and_json(table, tmp_path, capsys):
    out = tmp_path / "out"
    assert cli.main(["scaling", "fit", str(table), "--out", str(out), "--draws", "4"]) == 0
    said = capsys.readouterr()
    assert "L = " in said.out and f"report: {out / 'report.html'}" in said.out and "refits" in said.err
    found = json.loads((out / "fit.json").read_text())
    truth = published.PLANTED["chinchilla"]
    assert found["law"]["exponent"] == pytest.approx(truth.exponent, abs=0.05)
    assert set(found["law"]["intervals95"]) == {"delta", "noise", "resampled"}
    assert set(found["law"]["profiles"]) == {"E", "a", "b"}
    assert len(found["isoflop"]["budgets"]) == 5 and len(found["table"]) == 25
    assert found["curve"]["envelope"]["g"] > 0 and found["program"]["version"]
    low, high = found["law"]["intervals95"]["delta"]["exponent"]
    assert low < found["law"]["exponent"] < high
    page, text = _page(out)
    assert {"The law", "Where the law is off", "What the table can say", "Budgets", "Eight times further"} <= set(
        page.headings
    )
    assert text.count("<svg") == 1 + 3 + 3 + 1 + 1
    assert "ladder &lt;1&gt;.csv" in text and "ladder <1>" not in text


def test_json_is_all_that_stands_on_standard_output(table, tmp_path, capsys):
    out = tmp_path / "out"
    assert cli.main(["scaling", "fit", str(table), "--out", str(out), "--draws", "0", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == json.loads((out / "fit.json").read_text())


def test_repeated_data_and_runs_of_several_rows_have_their_page(tmp_path, capsys):
    out = tmp_path / "out"
    words = ["scaling", "fit", str(DATA / "datablations.csv"), "--columns", "run=name", "--draws", "3"]
    law = ",".join(str(float(value)) for value in published.REPEATS_LAW)
    assert cli.main([*words, "--law", law, "--out", str(out)]) == 0
    said = capsys.readouterr().out
    assert "R_D* is not identified" in said
    page, _ = _page(out)
    assert "Repeated data" in page.headings
    assert json.loads((out / "fit.json").read_text())["repeats"]["objective"] <= 0.0158048


def test_a_table_without_sizes_has_an_envelope_and_no_law(tmp_path, capsys):
    path, out = tmp_path / "frontier.csv", tmp_path / "out"
    path.write_text("flops,loss\n" + "".join(f"{1e17 * 2**i},{1.5 + 2 * 2 ** (-0.2 * i)}\n" for i in range(8)))
    assert cli.main(["scaling", "fit", str(path), "--out", str(out)]) == 0
    assert "envelope 1.5 +" in capsys.readouterr().out
    assert json.loads((out / "fit.json").read_text())["law"] is None
    page, _ = _page(out)
    assert "The law" not in page.headings and "Eight times further" in page.headings


def test_a_forecast_is_stored_and_judged(table, tmp_path, capsys):
    stored, verdict = tmp_path / "forecast.json", tmp_path / "verdict.json"
    target = 8 * 1e18 * 3.0**4
    assert cli.main(["scaling", "forecast", str(table), "--flops", str(target), "--out", str(stored)]) == 0
    said = capsys.readouterr().out
    content = json.loads(stored.read_text())
    assert content["sha256"] in said and content["table_sha256"] and "joint" in said
    truth = published.PLANTED["chinchilla"]
    actual = float(truth.loss(*truth.optimum(target)))
    held = tmp_path / "held.csv"
    size, data = truth.optimum(target)
    held.write_text(f"params,tokens,loss\n{size},{data},{actual}\n")
    assert cli.main(["scaling", "judge", str(stored), "--runs", str(held), "--out", str(verdict)]) == 0
    assert "inside its 95 % interval: yes" in capsys.readouterr().out
    found = json.loads(verdict.read_text())
    assert found["forecast_sha256"] == content["sha256"] and found["share_of_gain"] < 0.2
    assert cli.main(["scaling", "judge", str(stored), "--loss", str(2 * actual)]) == 0
    assert "inside its 95 % interval: NO" in capsys.readouterr().out
    for place, words in ((tmp_path, "cannot be written"), (tmp_path / "no" / "such.json", "there is no folder")):
        assert cli.main(["scaling", "judge", str(stored), "--loss", "2", "--out", str(place)]) == 2
        assert words in capsys.readouterr().err
    assert cli.main(["scaling", "forecast", str(table), "--flops", str(target), "--out", str(stored)]) == 2
    assert json.loads(stored.read_text()) == content


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("fit TABLE --delta 0", "--delta 0: give a positive number"),
        ("fit TABLE --delta nan", "--delta nan: give a positive number"),
        ("fit TABLE --draws -1", "--draws -1: give 0 to"),
        ("fit TABLE --law 1,2,3", "give five numbers"),
        ("fit TABLE --law 1,2,3,0,1", "must be positive"),
        ("fit TABLE --law 1,2,3,nan,1", "must be positive"),
        ("fit TABLE --columns loss", "give NAME=VALUE"),
        ("fit TABLE --out TABLE", "is a file; give a directory"),
        ("fit nowhere.csv", "No such file"),
        ("fit HERE", "holds no run"),
        ("fit HERE --where a=b", "of --columns it takes loss=FIELD alone"),
        ("forecast TABLE", "either --flops or both"),
        ("forecast TABLE --params 1e9", "either --flops or both"),
        ("forecast TABLE --flops 1e21 --params 1e9 --tokens 1e9", "either --flops or both"),
        ("forecast TABLE --flops inf", "--flops inf: give a positive number"),
        ("forecast TABLE --flops 1e15", "a forecast of 1e+15 operations is none"),
        ("forecast TABLE --flops 1e21 --out HERE/no/such.json", "there is no folder"),
        ("judge TABLE --loss 3", "is no stored forecast"),
        ("judge TABLE", "give either --loss or --runs"),
        ("fit TABLE --colums a=b", "unrecognized arguments"),
        ("guess TABLE", "invalid choice"),
    ],
)
def test_wrong_input_is_one_line_and_nothing_is_written(words, said, table, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    before = sorted(tmp_path.rglob("*"))
    typed = [word.replace("TABLE", str(table)).replace("HERE", str(tmp_path)) for word in words.split(" ")]
    assert cli.main(["scaling", *typed]) == 2
    captured = capsys.readouterr()
    assert said in captured.err and len(captured.err.strip().splitlines()) == 1 and captured.out == ""
    assert sorted(tmp_path.rglob("*")) == before
