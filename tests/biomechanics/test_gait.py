"""Gait parameters of schedules known by construction, and of feet that move on known sines."""

import numpy as np
import pytest

from biomechgpt_jax.biomechanics import gait
from biomechgpt_jax.biomechanics.trajectory import LEFT, RIGHT, Contacts


def _schedule(step_right: float, step_left: float, length: float, count: int = 12, share: float = 0.62) -> Contacts:
    """Steps of known times and lengths along x; a step belongs to the foot that lands."""
    foot = np.arange(count) % 2
    steps = np.where(foot == RIGHT, step_right, step_left)
    strike = np.cumsum(steps) - steps[0]
    stride = step_right + step_left
    return Contacts(
        strike.astype(np.float32),
        foot.astype(np.int32),
        np.stack([length * np.arange(count), np.where(foot == RIGHT, 0.05, -0.05)], axis=1).astype(np.float32),
        (strike + share * stride).astype(np.float32),
        foot.astype(np.int32),
    )


def test_parameters_of_a_known_schedule() -> None:
    found = gait.parameters(_schedule(0.5, 0.5, 0.65))
    assert found["walking_speed"] == pytest.approx(1.30, abs=1e-3)
    assert found["cadence"] == pytest.approx(120, abs=0.1)
    assert found["step_length"] == pytest.approx(0.65, abs=1e-3)
    assert found["stride_time"] == pytest.approx(1.0, abs=1e-3)
    assert found["double_support"] == pytest.approx(24, abs=0.2)
    assert found["step_time_asymmetry"] == pytest.approx(0, abs=0.1)
    assert found["walking_speed"] == pytest.approx(found["step_length"] * found["cadence"] / 60, rel=1e-3)


def test_asymmetry_is_the_difference_over_the_mean() -> None:
    found = gait.parameters(_schedule(0.6, 0.5, 0.6))
    assert found["step_time_asymmetry"] == pytest.approx(100 * 0.1 / 0.55, abs=0.1)


def test_a_crop_supports_only_what_it_holds() -> None:
    contacts = _schedule(0.5, 0.5, 0.65)
    assert gait.parameters(contacts, 0.1, 1.2) == {}, "no whole stride"
    one = gait.parameters(contacts, -0.01, 1.05)
    assert "walking_speed" in one
    assert "step_time_asymmetry" not in one, "one stride does not tell asymmetry"


def test_strides_of_a_turn_are_left_out() -> None:
    contacts = _schedule(0.5, 0.5, 0.6, count=6)
    angle = np.radians(60) * np.arange(6)
    turning = np.stack([np.sin(angle), 1 - np.cos(angle)], axis=1).astype(np.float32)
    assert gait.parameters(Contacts(contacts.strike_time, contacts.strike_foot, turning)) == {}


def test_crossings_are_found_between_frames() -> None:
    rate, frequency = 100.0, 0.8
    time = np.arange(500) / rate
    margin = np.sin(2 * np.pi * frequency * time + 0.3)
    on, off = gait._crossings(margin > 0, margin, rate)
    exact = (np.arange(1, 4) - 0.3 / (2 * np.pi)) / frequency
    np.testing.assert_allclose(on[:3], exact, atol=1e-4)
    np.testing.assert_allclose(off[:3], exact - 0.5 / frequency, atol=1e-4)


def test_short_flicker_is_not_a_contact() -> None:
    down = np.array([0] * 10 + [1] * 2 + [0] * 10 + [1] * 20 + [0] * 1 + [1] * 20 + [0] * 10, bool)
    clean = gait._clean(down, 4)
    assert clean.sum() == 41
    assert not clean[:22].any()
    assert LEFT != RIGHT
