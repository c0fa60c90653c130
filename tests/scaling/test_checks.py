"""Faults that the lab has to notice, and healthy tables that it has to leave alone."""

import dataclasses

import numpy as np
import published_runs as published
import pytest

from biomechgpt_jax.scaling import analysis, checks, law, table
from biomechgpt_jax.scaling.law import Fit
from biomechgpt_jax.scaling.table import Runs

NOISE = 0.003


def _fit(runs: Runs) -> Fit:
    return law.fit(runs.params, runs.tokens, runs.loss)


def _names(found) -> set[str]:
    return {one.name for one in found}


def _grid(mistuned: float, which: int = 2) -> Runs:
    """Six sizes, each at five budgets; the losses of one size are too high."""
    truth = published.PLANTED["lopsided"]
    params, flops = np.tile(np.geomspace(2e7, 1e9, 6), 5), np.repeat(1e19 * 3.0 ** np.arange(5), 6)
    tokens = flops / 6 / params
    noise = NOISE * np.random.default_rng(1).standard_normal(30)
    return table.of(params, tokens, truth.loss(params, tokens) * np.exp(noise + mistuned * (params == params[which])))


@pytest.mark.parametrize("name", published.PLANTED)
def test_shuffled_losses_are_noticed(name):
    runs = published.planted(published.PLANTED[name], NOISE)
    assert checks.losses_follow(_fit(runs), runs) == []
    for seed in range(3):
        loss = np.random.default_rng(seed).permutation(runs.loss)
        shuffled = dataclasses.replace(runs, loss=loss)
        assert _names(checks.losses_follow(_fit(shuffled), shuffled)) == {"losses_do_not_follow"}


def test_a_wrong_count_of_operations_is_noticed():
    runs = published.planted(published.PLANTED["chinchilla"], NOISE)
    assert checks.count_of_operations(runs) == []
    forward = dataclasses.replace(runs, flops=runs.flops / 3)
    (found,) = checks.count_of_operations(forward)
    assert found.name == "flops_are_not_6nd" and "0.333 times" in found.words
    share = 1 - 0.31 * (runs.params / runs.params.min()) ** -0.5
    (found,) = checks.count_of_operations(dataclasses.replace(runs, flops=runs.flops * share))
    assert found.name == "flops_drift_with_size" and found.figures["factor"] > 1.2


@pytest.mark.parametrize("which", range(6))
def test_one_mistuned_size_is_noticed_and_named(which):
    assert checks.mistuned_sizes(_fit(_grid(0.0)), _grid(0.0)) == []
    runs = _grid(0.03, which)
    found = checks.mistuned_sizes(_fit(runs), runs)
    assert _names(found) == {"size_off_the_law"}
    assert found[0].figures["params"] == runs.params[which]
    assert found[0].figures["excess"] == pytest.approx(0.03, abs=0.02)


def test_a_form_that_does_not_hold_is_said():
    runs = published.porian("rw", "tuned")
    found = analysis.analyse(runs, draws=0, tell=lambda words: None)
    assert "form_does_not_hold" in {one["name"] for one in found["findings"]}


@pytest.mark.parametrize("name", published.PLANTED)
def test_healthy_tables_are_not_accused(name):
    runs = published.planted(published.PLANTED[name], NOISE, 4)
    found = analysis.analyse(runs, draws=0, tell=lambda words: None)
    unidentified = {"E_not_identified", "a_not_identified", "b_not_identified", "fit_moves"}
    assert {one["name"] for one in found["findings"]} <= unidentified


def test_outliers_that_move_the_fit_are_said():
    runs = published.planted(published.PLANTED["chinchilla"], 0.001)
    loss = runs.loss.copy()
    loss[[0, 5]] *= 1.2
    spoiled = dataclasses.replace(runs, loss=loss)
    fit = _fit(spoiled)
    made = checks.variants(fit, spoiled)
    assert "without 2 outliers" in [one.name for one in made]
    intervals = {"a": (0.34, 0.36), "b": (0.36, 0.37), "exponent": (0.5, 0.52)}
    from biomechgpt_jax.scaling.uncertainty import Interval

    found = checks.sensitivity(made, {name: Interval(low, low, high) for name, (low, high) in intervals.items()})
    assert any("Huber's delta 0.1" in one.words for one in found)
