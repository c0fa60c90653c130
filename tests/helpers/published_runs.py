"""Published runs with the figures that their authors printed, and planted laws; see tests/scaling/data/SOURCES.md."""

from pathlib import Path

import numpy as np

from biomechgpt_jax.scaling import table
from biomechgpt_jax.scaling.law import Law
from biomechgpt_jax.scaling.table import Runs

DATA = Path(__file__).parents[1] / "scaling" / "data"

# Objectives as printed: (file, Huber's delta) -> sum of Huber's loss of log residuals.
GEMSTONES = {
    ("hot", 1e-3): "0.0019816129",
    ("hot_100bplus", 1e-3): "0.0065925344",
    ("cool_end", 1e-3): "0.0019640865",
    ("lr_ablation_hot", 1e-3): "0.0019728624",
    ("hot", 1e-4): "0.0002076018",
    ("hot_100bplus", 1e-4): "0.00069233",
    ("cool_end", 1e-4): "0.0002059406",
    ("lr_ablation_hot", 1e-4): "0.0002059023",
}

# Settings of Porian et al., and the 95 % interval of the exponent in each corpus.
_SETTINGS = {
    "kaplan": {"warmup": "long", "counting": "kaplan"},
    "head counted": {"warmup": "long", "counting": "standard"},
    "short warm-up": {"hparams": "base", "warmup": "short", "decay": "kaplan"},
    "cosine decay": {"decay": "chinchilla"},
    "tuned": {"hparams": "tuned"},
}
_EXPONENTS = {
    "rw": ((0.824, 0.846), (0.691, 0.717), (0.591, 0.617), (0.560, 0.589), (0.491, 0.505)),
    "owt2": ((0.819, 0.897), (0.664, 0.724), (0.570, 0.629), (0.542, 0.606), (0.493, 0.541)),
}
PORIAN = {
    (corpus, setting): (where | {"dataset": corpus}, interval)
    for corpus, intervals in _EXPONENTS.items()
    for (setting, where), interval in zip(_SETTINGS.items(), intervals, strict=True)
}

OLMO_TARGET, OLMO_FORECAST, OLMO_ACTUAL = (13202396160.0, 5000088518656.0), 2.3443873, 2.4378760
REPEATS_LAW = Law(float(np.exp(0.6254804)), float(np.exp(6.255414)), float(np.exp(7.3049974)), 0.3526596, 0.3526596)
REPEATS_PUBLISHED = (15.387756, 5.309743, 0.015825936570763588)  # R_D*, R_N*, objective

# E, A, B, a, b: even, lopsided both ways, with almost no E, with a large one.
PLANTED = {
    "chinchilla": Law(1.82, 482.0, 2085.0, 0.348, 0.366),
    "lopsided": Law(2.1, 213.0, 4.955e6, 0.293, 0.713),
    "lopsided the other way": Law(1.0, 3000.0, 400.0, 0.5, 0.28),
    "little E": Law(0.2, 12.5, 33.5, 0.104, 0.162),
    "flat": Law(0.5, 50.0, 50.0, 0.25, 0.25),
    "steep": Law(3.0, 1e4, 1e4, 0.5, 0.5),
}


def gemstones(name: str) -> Runs:
    return table.read(DATA / f"gemstones_{name}.csv", {"run": "width+depth"}, {})


def porian(corpus: str, setting: str) -> Runs:
    return table.read(DATA / "porian_isoflop.csv", {}, PORIAN[corpus, setting][0])


def olmo() -> Runs:
    """The 16 runs of the published fit."""
    runs = table.read(DATA / "olmo_ladder_c4.csv", {"loss": "c4_loss_last"}, {})
    ratio = runs.tokens / runs.params
    chosen = (runs.params < 2e9) & (ratio > 15)
    means = table.read(DATA / "olmo_ladder_c4.csv", {"loss": "c4_loss_mean_last5"}, {"role": "ladder"})
    return means.rows(chosen[: len(means)])


def repeats() -> Runs:
    return table.read(DATA / "datablations.csv", {"run": "name"}, {})


def planted(law: Law, noise: float = 0.0, seed: int = 0, budgets: int = 5) -> Runs:
    """An isoFLOP ladder from 1e18 on, threefold: five sizes a budget, off centre, with noise of the log loss."""
    flops = np.repeat(1e18 * 3.0 ** np.arange(budgets), 5)
    params = law.optimum(flops)[0] * np.tile([0.3, 0.55, 1.0, 1.8, 3.3], budgets)
    tokens = flops / (6 * params)
    errors = noise * np.random.default_rng([seed, 11]).standard_normal(len(flops))
    return table.of(params, tokens, law.loss(params, tokens) * np.exp(errors), flops)
