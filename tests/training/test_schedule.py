"""The learning rate of each step: warm-up, peak and decay."""

from dataclasses import replace

import numpy as np
import pytest

from biomechgpt_jax import config
from biomechgpt_jax.errors import InputError
from biomechgpt_jax.training import optimizer


@pytest.mark.parametrize("kind", ["cosine", "linear"])
def test_schedule(kind) -> None:
    cfg = config.Optimizer(peak_learning_rate=1.0, final_fraction=0.1, warmup_steps=10, schedule=kind, clip_norm=1.0)
    rate = optimizer.schedule(cfg, 111)
    assert 0 < rate(0) < 0.1 and np.all(np.diff([float(rate(i)) for i in range(11)]) > 0)
    np.testing.assert_allclose(rate(10), 1.0)
    np.testing.assert_allclose(rate(60), 0.55, rtol=1e-5)
    np.testing.assert_allclose(rate(110), 0.1, rtol=1e-5)
    assert optimizer.schedule(replace(cfg, warmup_steps=500), 20)(10) == 1.0  # at most half of a short run


def test_warm_up_stable_decay() -> None:
    cfg = config.Optimizer(
        peak_learning_rate=1.0, final_fraction=0.1, warmup_steps=10, schedule="wsd", decay_fraction=0.25
    )
    rate = optimizer.schedule(cfg, 200)
    assert 0 < rate(0) < 0.1
    np.testing.assert_allclose([rate(i) for i in (10, 80, 150)], 1.0)
    np.testing.assert_allclose([rate(174), rate(175)], [0.1 + 0.9 * 25 / 49, 0.1 + 0.9 * 24 / 49], rtol=1e-5)
    # Until decay begins the total may change.
    longer, until = optimizer.schedule(cfg, 400), optimizer.stable_until(cfg, 200)
    assert until == 150 and all(rate(i) == longer(i) for i in range(until + 1)) and rate(until + 1) < longer(until + 1)
    assert optimizer.stable_until(replace(cfg, schedule="cosine"), 200) == -1
    assert optimizer.stable_until(replace(cfg, warmup_steps=150), 200) == -1


@pytest.mark.parametrize("kind", ["cosine", "linear", "wsd"])
@pytest.mark.parametrize("steps", [2, 3, 4, 10, 100, 700])
def test_the_last_step_has_the_final_fraction_of_the_peak(kind, steps) -> None:
    cfg = config.Optimizer(peak_learning_rate=3e-3, final_fraction=0.05, schedule=kind)
    rates = [float(optimizer.schedule(cfg, steps)(i)) for i in range(steps)]
    assert rates[-1] == pytest.approx(0.05 * 3e-3, rel=1e-5) and rates[-2] > rates[-1]
    assert steps < 4 or max(rates) == pytest.approx(3e-3)


def test_the_warm_up_may_be_a_share_of_the_steps() -> None:
    steps = config.Optimizer(schedule="wsd", warmup_steps=20)
    share = config.Optimizer(schedule="wsd", warmup_fraction=0.1)
    rates = [[float(optimizer.schedule(cfg, 200)(i)) for i in range(200)] for cfg in (steps, share)]
    assert rates[0] == rates[1] and max(rates[0][:20]) < rates[0][20] == pytest.approx(steps.peak_learning_rate)
    assert optimizer.warmup_steps(share, 400) == 40
    assert optimizer.warmup_steps(replace(share, warmup_fraction=0.9), 10) == 5  # at most half
    # In a checkpoint's identity it counts by its steps; as these change with the total, the total may not.
    assert optimizer.described(share, 200) | {"stable_until": 160} == optimizer.described(steps, 200)
    assert optimizer.described(share, 200)["stable_until"] == -1
    assert optimizer.described(share, 400)["warmup_steps"] == 40
    for wrong in ({"warmup_fraction": 1.0}, {"warmup_fraction": -0.1}, {"warmup_steps": -1}):
        with pytest.raises(InputError, match=r"optimizer.warmup_\w+ is"):
            config.Optimizer(**wrong)
