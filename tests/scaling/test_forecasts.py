"""Forecasts: who is chosen, what the interval promises, and that the record cannot be changed."""

import dataclasses
import json

import numpy as np
import published_runs as published
import pytest

from biomechgpt_jax.errors import InputError
from biomechgpt_jax.scaling import forecast, isoflop, ledger, table
from biomechgpt_jax.scaling.forecast import Target


def test_where_the_form_holds_the_joint_law_is_chosen_and_right():
    truth = published.PLANTED["chinchilla"]
    runs = published.planted(truth, 0.001, 1)
    target = 8 * float(runs.flops.max())
    made = forecast.make(runs, Target(target))
    actual = float(truth.loss(*truth.optimum(target)))
    assert made.chosen == "joint"
    assert made.interval.low < actual < made.interval.high
    assert abs(np.log(made.interval.value / actual)) < 0.005
    assert made.last_loss == pytest.approx(float(truth.loss(*truth.optimum(runs.flops.max()))), rel=0.01)


@pytest.mark.parametrize("setting", ["tuned", "short warm-up"])
def test_where_the_form_does_not_hold_another_is_chosen_and_within_a_percent(setting):
    runs = published.porian("rw", setting)
    budgets = [isoflop.akima(runs, rows) for rows in isoflop.budgets(runs)]
    made = forecast.make(runs.rows(runs.flops < 0.9 * budgets[-1].flops), Target(budgets[-1].flops))
    assert made.chosen in ("line", "envelope", "mean")
    assert any("does not hold" in note for note in made.notes)
    assert abs(np.log(made.interval.value / budgets[-1].loss)) < 0.01
    assert abs(np.log(made.forecasters["same"].loss / budgets[-1].loss)) > 0.02


def test_the_backtest_sees_nothing_of_what_it_forecasts():
    """The last budget's losses are spoiled: only errors that forecast it change."""
    runs = published.planted(published.PLANTED["flat"], 0.003)
    last = runs.flops == runs.flops.max()
    spoiled = dataclasses.replace(runs, loss=np.where(last, 2 * runs.loss, runs.loss))
    target = Target(8 * float(runs.flops.max()))
    for name in ("line", "envelope", "mean", "joint"):
        before, after = (forecast.make(one, target).forecasters[name].errors for one in (runs, spoiled))
        for (origin, ahead, error), (_, _, changed) in zip(before, after, strict=True):
            if ahead < 0.9 * runs.flops.max():
                assert error == pytest.approx(changed, abs=1e-9), name
            else:
                assert changed == pytest.approx(error - np.log(2), abs=1e-3), name
            assert origin < ahead


def test_the_line_of_one_ladder_is_forecast_for_one_run():
    truth = published.PLANTED["lopsided"]
    params = np.repeat(1e7 * 2.0 ** np.arange(6), 3)
    tokens = params * np.tile([10.0, 20.0, 40.0], 6)
    runs = table.of(params, tokens, truth.loss(params, tokens))
    aim = 8e8, 1.6e10
    made = forecast.make(runs, Target(6 * aim[0] * aim[1], *aim))
    assert len(made.forecasters["line"].errors) > 0
    assert made.chosen == "joint" and made.interval.value == pytest.approx(float(truth.loss(*aim)), rel=1e-4)
    assert made.last_loss == pytest.approx(float(truth.loss(params[-1], 20 * params[-1])))


def test_losses_over_flops_alone_are_continued():
    flops = 1e17 * 2.0 ** np.arange(8)
    unknown = np.full(8, np.nan)
    runs = table.of(unknown, unknown, 1.5 + 2.0 * (flops / 1e17) ** -0.2, flops)
    made = forecast.make(runs, Target(8 * flops[-1]))
    assert "joint" not in made.forecasters and made.chosen == "envelope"
    assert made.interval.value == pytest.approx(1.5 + 2.0 * (8 * 2.0**7) ** -0.2, rel=1e-3)


@pytest.mark.parametrize(
    ("count", "share", "words"),
    [(25, 0.5, "a forecast of .* is none"), (1, 100.0, "nothing can be forecast")],
)
def test_impossible_forecasts_are_refused(count, share, words):
    runs = published.planted(published.PLANTED["flat"]).rows(np.arange(count))
    with pytest.raises(InputError, match=words):
        forecast.make(runs, Target(share * float(runs.flops.max())))


@pytest.fixture
def stored(tmp_path):
    truth = published.PLANTED["chinchilla"]
    runs = published.planted(truth, 0.002)
    target = 8 * float(runs.flops.max())
    path = tmp_path / "forecast.json"
    ledger.store(path, ledger.record(forecast.make(runs, Target(target)), runs))
    return path, runs, float(truth.loss(*truth.optimum(target)))


def test_a_stored_forecast_is_judged_beside_the_trivial_ones(stored):
    path, _, actual = stored
    content = ledger.load(path)
    assert content["made"].startswith("20") and len(content["sha256"]) == 64
    found = ledger.judge(content, actual)
    own, same = found["forecasters"][content["chosen"]], found["forecasters"]["same"]
    assert own["error"] == pytest.approx(np.log(content["loss"] / actual))
    assert found["error"] == own["error"] and found["inside_interval"] is True
    assert same["share_of_gain"] == pytest.approx(1.0)
    assert own["share_of_gain"] == pytest.approx(abs(own["error"] / found["gain"])) and own["share_of_gain"] < 0.1
    assert content["chosen"] not in found["beaten_by"]
    assert ledger.judge(content, 2 * actual)["inside_interval"] is False
    with pytest.raises(InputError, match="positive"):
        ledger.judge(content, 0.0)


def test_a_forecast_is_never_overwritten_nor_changed(stored):
    path, _, _ = stored
    before = path.read_text()
    with pytest.raises(InputError, match="is not changed"):
        ledger.store(path, {"sha256": ""})
    assert path.read_text() == before
    content = json.loads(before)
    path.write_text(json.dumps(content | {"loss": content["loss"] * 1.01}))
    with pytest.raises(InputError, match="was changed after it was made"):
        ledger.load(path)
    for text in ("{", "[]", "{}", '{"sha256": 3, "last": {"loss": 1}}', "\udcff"):
        path.write_bytes(text.encode("utf-8", "surrogateescape"))
        with pytest.raises(InputError, match="is no stored forecast"):
            ledger.load(path)
    with pytest.raises(InputError, match="No such file"):
        ledger.load(path.with_name("other.json"))


def test_the_measured_loss_is_found_in_a_table(stored):
    path, runs, _ = stored
    content = ledger.load(path)
    target = content["target"]["flops"]
    held = table.of([1e9, 2e9, 1e9], [target / 6e9, target / 12e9, 1e9], [3.0, 2.5, 9.0])
    assert ledger.measured(content, held) == 2.5
    with pytest.raises(InputError, match="no run of"):
        ledger.measured(content, runs)


def test_too_few_budgets_give_a_forecast_without_interval():
    runs = published.planted(published.PLANTED["flat"], budgets=3).rows(np.arange(10))
    runs = table.of(np.full(10, np.nan), np.full(10, np.nan), runs.loss, runs.flops)
    made = forecast.make(runs, Target(8 * float(runs.flops.max())))
    content = ledger.record(made, runs)
    assert content["interval95"] == [None, None] and "untested" in content["notes"][-1]
    assert ledger.judge(content, 2.0)["inside_interval"] is None
