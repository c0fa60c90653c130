"""Fits of laws: planted ones are found again, published objectives are reached, and what is unknown is said."""

import csv

import numpy as np
import published_runs as published
import pytest

from biomechgpt_jax.errors import InputError
from biomechgpt_jax.scaling import checks, isoflop, law, repeats, series, table, uncertainty
from biomechgpt_jax.scaling.law import Law


@pytest.mark.parametrize("name", published.PLANTED)
def test_a_planted_law_is_found_exactly(name):
    truth = published.PLANTED[name]
    runs = published.planted(truth)
    found = law.fit(runs.params, runs.tokens, runs.loss)
    np.testing.assert_allclose(found.law, truth, rtol=1e-6)
    assert np.abs(found.residuals).max() < 1e-9


@pytest.mark.parametrize(("name", "delta"), published.GEMSTONES)
def test_gemstones_objectives_are_not_above_the_published(name, delta):
    printed = published.GEMSTONES[name, delta]
    runs = published.gemstones(name)
    found = law.fit(runs.params, runs.tokens, runs.loss, delta)
    assert round(found.objective, len(printed) - 2) <= float(printed)
    residuals = np.log(found.law.loss(runs.params, runs.tokens) / runs.loss)
    by_hand = sum(0.5 * r * r if abs(r) <= delta else delta * (abs(r) - 0.5 * delta) for r in residuals)
    assert found.objective == pytest.approx(by_hand, rel=1e-9)


def test_the_gradient_is_that_of_the_objective():
    runs = published.planted(published.PLANTED["lopsided"], 0.01)
    found = law.fit(runs.params, runs.tokens, runs.loss)
    rows = found.jacobian(runs.params, runs.tokens)
    for index in range(law.COUNT):
        ends = []
        for sign in (1, -1):
            vector = found.vector.copy()
            vector[index] += sign * 1e-6
            moved = law.Fit(vector, found.centre, 0.0, found.residuals, found.delta)
            ends.append(np.log(moved.law.loss(runs.params, runs.tokens)))
        np.testing.assert_allclose(rows[:, index], (ends[0] - ends[1]) / 2e-6, rtol=1e-4, atol=1e-9)


def test_the_optimum_is_the_lowest_loss_of_a_budget():
    one, budget = published.PLANTED["lopsided the other way"], 3e19
    params, tokens = one.optimum(budget)
    assert 6 * params * tokens == pytest.approx(budget)
    others = params * np.geomspace(0.2, 5, 101)
    assert one.loss(others, budget / 6 / others).argmin() == 50
    assert np.log(one.optimum(10 * budget)[0] / params) / np.log(10) == pytest.approx(one.exponent)


def test_outliers_hardly_move_the_fit():
    truth = published.PLANTED["chinchilla"]
    runs = published.planted(truth)
    loss = runs.loss.copy()
    loss[[3, 12]] *= 1.5
    robust = law.fit(runs.params, runs.tokens, loss).law
    least_squares = law.fit(runs.params, runs.tokens, loss, 10.0).law
    assert abs(robust.a - truth.a) < 0.01 < abs(least_squares.a - truth.a)


@pytest.mark.parametrize(
    ("params", "tokens", "words"),
    [
        ([1e6] * 8, np.geomspace(1e8, 1e9, 8), "different values of params"),
        (np.geomspace(1e6, 1e7, 8), [1e9] * 8, "different values of tokens"),
        ([1e6, 2e6, 3e6, 1e6, 2e6], [1e8, 2e8, 3e8, 4e8, 5e8], "at least 6 runs"),
    ],
)
def test_too_little_is_refused(params, tokens, words):
    with pytest.raises(InputError, match=words):
        law.fit(np.array(params), np.array(tokens), np.full(len(params), 3.0))


@pytest.mark.parametrize(("corpus", "setting"), published.PORIAN)
def test_exponents_of_porian_lie_in_the_published_intervals(corpus, setting):
    runs = published.porian(corpus, setting)
    low, high = published.PORIAN[corpus, setting][1]
    found = isoflop.exponent([isoflop.akima(runs, rows) for rows in isoflop.budgets(runs)])
    assert low <= found.value <= high
    assert found.low < found.value < found.high


def test_a_minimum_at_the_edge_is_left_out_and_said():
    truth = published.PLANTED["chinchilla"]
    runs = published.planted(truth)
    cut = runs.rows(~((runs.flops == runs.flops.min()) & (runs.params > np.median(runs.params[:5]) / 1.5)))
    cut = table.of(cut.params, cut.tokens, cut.loss, cut.flops)
    more = np.array([0.1, 0.2, 0.3]) * truth.optimum(runs.flops.min())[0]
    tokens = runs.flops.min() / 6 / more
    kept = cut.flops > cut.flops.min()
    cut = table.of(
        np.concatenate([more, cut.params[kept]]),
        np.concatenate([tokens, cut.tokens[kept]]),
        np.concatenate([truth.loss(more, tokens), cut.loss[kept]]),
    )
    minima = [isoflop.akima(cut, rows) for rows in isoflop.budgets(cut)]
    assert [one.edge for one in minima] == [True, False, False, False, False]
    (finding,) = checks.edges(minima)
    assert finding.name == "minimum_at_edge" and "1 of 5" in finding.words
    assert isoflop.exponent(minima).value == pytest.approx(truth.exponent, abs=0.01)


def test_the_parabola_is_exact_where_the_curve_is_one():
    sizes = np.geomspace(1e6, 1e8, 7)
    loss = np.exp(1.0 + 0.05 * (np.log(sizes) - np.log(2e7)) ** 2)
    runs = table.of(sizes, 1e18 / 6 / sizes, loss)
    found = isoflop.parabola(runs, np.arange(7))
    assert found.params == pytest.approx(2e7) and found.loss == pytest.approx(np.e) and not found.edge


def test_rows_that_happen_to_be_close_are_no_budgets():
    assert isoflop.budgets(published.gemstones("hot")) == []
    assert len(isoflop.budgets(published.porian("rw", "tuned"))) == 12


def test_olmo_is_forecast_as_published_and_E_is_said_not_to_be_identified():
    runs = published.olmo()
    assert len(runs) == 16
    fit = law.fit(runs.params, runs.tokens, runs.loss)
    assert float(fit.law.loss(*published.OLMO_TARGET)) == pytest.approx(2.3444, abs=1e-3)
    (finding,) = checks.identified(fit, runs, [uncertainty.profile_of_E(fit, runs)])
    assert finding.name == "E_not_identified" and "from 0 to" in finding.words
    for E in (0.0, 1.8):
        held = law.fit(runs.params, runs.tokens, runs.loss, start=fit, fixed={"E": E})
        assert held.law.E == E and np.sqrt(np.mean(held.residuals**2)) < 0.005


def test_an_identified_E_is_not_doubted():
    runs = published.planted(published.PLANTED["steep"], 0.003)
    fit = law.fit(runs.params, runs.tokens, runs.loss)
    profile = uncertainty.profile_of_E(fit, runs)
    assert checks.identified(fit, runs, [profile]) == []
    assert profile.low < 3.0 < profile.high and profile.high - profile.low < 0.2


def test_repeats_reach_a_lower_objective_and_R_D_is_said_not_to_be_identified():
    runs = published.repeats()
    data, params, objective = published.REPEATS_PUBLISHED
    assert repeats.objective(runs, published.REPEATS_LAW, data, params) == pytest.approx(objective, rel=1e-6)
    found = repeats.fit(runs, published.REPEATS_LAW, draws=20)
    assert found.objective <= 0.0158048
    assert not found.data_identified and found.data_interval[1] > 1e4


def test_planted_repeats_are_found():
    truth = Law(1.8, 400.0, 2000.0, 0.35, 0.36)
    size, unique, times = (
        part.ravel() for part in np.meshgrid([2e7, 1e8, 5e8, 2e9], [2e8, 1e9, 5e9], [1.0, 3.0, 10.0, 40.0, 100.0])
    )
    best = (truth.a * truth.A * unique**truth.b / (truth.b * truth.B)) ** (1 / truth.a)
    base = np.minimum(size, best)
    worth = unique * (1 + 12.0 * (1 - np.exp(-(times - 1) / 12.0)))
    sizes = base * (1 + 4.0 * (1 - np.exp(-(size / base - 1) / 4.0)))
    runs = table.of(size, unique * times, truth.loss(sizes, worth), unique_tokens=unique)
    found = repeats.fit(runs, truth, draws=20)
    assert found.data == pytest.approx(12.0, rel=1e-3) and found.params == pytest.approx(4.0, rel=1e-3)
    assert found.data_identified and found.params_identified
    with pytest.raises(InputError, match="R_D"):
        repeats.fit(runs.rows(~runs.repeats), truth)


def test_the_envelope_is_found_exactly():
    flops = 1e17 * 3.0 ** np.arange(6)
    found = series.envelope(flops, 1.7 + 0.9 * (flops / flops[-1]) ** -0.13)
    assert (found.E, found.K, found.g) == pytest.approx((1.7, 0.9, 0.13), rel=1e-4)
    assert series.line(flops, 5.0 * flops**-0.1, 8 * flops[-1]) == pytest.approx(5.0 * (8 * flops[-1]) ** -0.1)


def test_resampling_takes_runs_and_never_rows():
    """Rows of a run that agree with each other add no certainty."""
    runs = published.planted(published.PLANTED["chinchilla"], 0.003)
    fit = law.fit(runs.params, runs.tokens, runs.loss)

    def exponent(one: Law) -> float:
        return one.exponent

    doubled = runs.rows(np.tile(np.arange(25), 4))
    again = law.fit(doubled.params, doubled.tokens, doubled.loss)
    for refit in (uncertainty.refits_to_resampled,):
        one = uncertainty.resampled(fit, runs, refit(fit, runs, 60, 0), exponent)
        other = uncertainty.resampled(again, doubled, refit(again, doubled, 60, 0), exponent)
        assert other.half_width == pytest.approx(one.half_width, rel=0.05)
    plain, clustered = (uncertainty.delta_method(*pair, exponent) for pair in ((fit, runs), (again, doubled)))
    assert 0.5 < clustered.half_width / plain.half_width < 2.0


def test_intervals_cover_a_planted_law():
    """A small form of `benchmarks/scaling.py --only planted`, which has the bars."""
    truth = published.PLANTED["chinchilla"]
    inside = 0
    for seed in range(30):
        runs = published.planted(truth, 0.003, seed)
        fit = law.fit(runs.params, runs.tokens, runs.loss)
        interval = uncertainty.delta_method(fit, runs, lambda one: one.exponent)
        inside += interval.low <= truth.exponent <= interval.high
    assert inside >= 25
    assert interval.half_width < 0.1


def test_every_published_file_is_whole():
    rows = {path.name: sum(1 for _ in csv.reader(path.open())) - 1 for path in published.DATA.glob("*.csv")}
    assert rows == {
        "datablations.csv": 182,
        "gemstones_cool_end.csv": 199,
        "gemstones_hot.csv": 220,
        "gemstones_hot_100bplus.csv": 770,
        "gemstones_lr_ablation_hot.csv": 200,
        "olmo_ladder_c4.csv": 27,
        "porian_isoflop.csv": 1160,
    }
