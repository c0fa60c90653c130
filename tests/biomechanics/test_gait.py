"""Gait parameters of schedules that are known by construction, turns by known angles, and synthetic walks."""

import numpy as np
import pytest
from norm_walker import RATE_HZ, STRIDE_S, grounded_walk

from biomechgpt_jax.biomechanics import gait
from biomechgpt_jax.biomechanics.gait import contacts as events
from biomechgpt_jax.biomechanics.gait import strides
from biomechgpt_jax.biomechanics.gait.strides import Heading
from biomechgpt_jax.biomechanics.skeleton import INDEX
from biomechgpt_jax.biomechanics.trajectory import LEFT, RIGHT, Contacts, Trajectory, replace
from biomechgpt_jax.errors import InputError


def _schedule(step_right: float, step_left: float, length: float, count: int = 12, share: float = 0.62) -> Contacts:
    """Steps with known times and lengths along x; a step belongs to the foot that lands."""
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
    result = gait.parameters(_schedule(0.5, 0.5, 0.65))
    assert result["walking_speed"] == pytest.approx(1.30, abs=1e-3)
    assert result["cadence"] == pytest.approx(120, abs=0.1)
    assert result["step_length"] == pytest.approx(0.65, abs=1e-3)
    assert result["stride_time"] == pytest.approx(1.0, abs=1e-3)
    assert result["double_support"] == pytest.approx(24, abs=0.2)
    assert result["step_time_asymmetry"] == pytest.approx(0, abs=0.1)
    assert result["walking_speed"] == pytest.approx(result["step_length"] * result["cadence"] / 60, rel=1e-3)


def test_asymmetry_is_the_difference_over_the_mean() -> None:
    result = gait.parameters(_schedule(0.6, 0.5, 0.6))
    assert result["step_time_asymmetry"] == pytest.approx(100 * 0.1 / 0.55, abs=0.1)


def test_a_crop_supports_only_what_it_holds() -> None:
    contacts = _schedule(0.5, 0.5, 0.65)
    assert gait.parameters(contacts, 0.1, 1.2) == {}, "no whole stride"
    one = gait.parameters(contacts, -0.01, 1.05)
    assert "walking_speed" in one
    assert "step_time_asymmetry" not in one, "one stride does not determine asymmetry"


def test_strides_of_a_turn_are_left_out() -> None:
    contacts = _schedule(0.5, 0.5, 0.6, count=6)
    angle = np.radians(60) * np.arange(6)
    turning = np.stack([np.sin(angle), 1 - np.cos(angle)], axis=1).astype(np.float32)
    assert gait.parameters(Contacts(contacts.strike_time, contacts.strike_foot, turning)) == {}


def test_crossings_are_located_between_frames() -> None:
    rate, frequency = 100.0, 0.8
    time = np.arange(500) / rate
    margin = np.sin(2 * np.pi * frequency * time + 0.3)
    on, off = events.crossings(margin > 0, margin, rate)
    exact = (np.arange(1, 4) - 0.3 / (2 * np.pi)) / frequency
    np.testing.assert_allclose(on[:3], exact, atol=1e-4)
    np.testing.assert_allclose(off[:3], exact - 0.5 / frequency, atol=1e-4)


def test_short_flicker_is_not_a_contact() -> None:
    down = np.array([0] * 10 + [1] * 2 + [0] * 10 + [1] * 20 + [0] * 1 + [1] * 20 + [0] * 10, bool)
    clean = events.without_flicker(down, 4)
    assert clean.sum() == 41
    assert not clean[:22].any()
    assert LEFT != RIGHT


def test_sides_asymmetry_and_variability_of_a_known_schedule() -> None:
    """The right foot steps 0.7 m in 0.6 s, the left 0.5 m in 0.5 s; every third right step is 0.03 s late."""
    foot = np.arange(13) % 2
    late = 0.03 * (np.arange(13) % 6 == 4)
    steps = np.where(foot == RIGHT, 0.6, 0.5)
    strike = np.cumsum(steps) - steps[0] + late
    x = np.cumsum(np.where(foot == RIGHT, 0.7, 0.5))
    xz = np.stack([x, np.where(foot == RIGHT, 0.06, -0.06)], axis=1)
    contacts = Contacts(*(value.astype(kind) for value, kind in ((strike, "f4"), (foot, "i4"), (xz, "f4"))))
    result = gait.parameters(contacts)
    assert result["step_length_right"] == pytest.approx(0.7, abs=1e-5)
    assert result["step_length_left"] == pytest.approx(0.5, abs=1e-5)
    assert result["step_length"] == pytest.approx(0.6, abs=1e-5)
    assert result["step_length_asymmetry"] == pytest.approx(100 * 0.2 / 0.6, abs=1e-3)
    assert result["step_width"] == pytest.approx(0.12, abs=1e-5)
    assert result["step_width_sd"] == pytest.approx(0.0, abs=1e-5)
    assert result["stride_length_cv"] == pytest.approx(0.0, abs=1e-3)
    right, left = np.diff(strike[foot == RIGHT]), np.diff(strike[foot == LEFT])
    squares = ((right - right.mean()) ** 2).sum() + ((left - left.mean()) ** 2).sum()
    deviation = np.sqrt(squares / (len(right) + len(left) - 2))
    assert result["stride_time_cv"] == pytest.approx(100 * deviation / np.mean([*right, *left]), rel=1e-3)
    assert "stance" not in result and "double_support" not in result, "no toe off is known"


def test_stance_and_swing_add_up_to_the_stride() -> None:
    result = gait.parameters(_schedule(0.5, 0.5, 0.65, share=0.64))
    assert result["stance"] == pytest.approx(64, abs=0.1) and result["swing"] == pytest.approx(36, abs=0.1)
    assert result["stance_right"] == pytest.approx(result["stance_left"], abs=0.1)
    assert result["double_support"] == pytest.approx(28, abs=0.2)


def test_step_width_handles_crossing_feet_and_backward_walking() -> None:
    contacts = _schedule(0.5, 0.5, 0.6)
    alternate = contacts.strike_xz * np.where(np.arange(12) % 4 < 2, 1.0, -1.0)[:, None] ** [0, 1]
    crossing = Contacts(contacts.strike_time, contacts.strike_foot, alternate.astype(np.float32))
    assert gait.parameters(crossing)["step_width"] < 0.02, "wide and crossed steps make a narrow base"
    backward = Contacts(contacts.strike_time, contacts.strike_foot, contacts.strike_xz * np.array([-1, 1], np.float32))
    assert gait.parameters(backward)["step_width"] == pytest.approx(0.1, abs=1e-4)


def test_one_stride_determines_speed_and_cadence_and_nothing_else() -> None:
    one = gait.parameters(_schedule(0.5, 0.5, 0.65), -0.01, 1.05)
    assert set(one) == {"walking_speed", "cadence", "stride_time", "stride_length"}
    assert one["walking_speed"] == pytest.approx(1.3, abs=1e-3)


@pytest.mark.parametrize(("degrees_per_stride", "kept"), [(0, True), (16, True), (25, False), (60, False)])
def test_a_stride_turns_by_the_angle_of_its_path(degrees_per_stride: float, kept: bool) -> None:
    contacts = _schedule(0.5, 0.5, 0.6, count=11)
    step = np.radians(degrees_per_stride / 2)
    heading = step * np.arange(11)
    middle = np.cumsum(0.6 * np.stack([np.cos(heading), np.sin(heading)], axis=1), axis=0)
    side = np.where(np.arange(11) % 2 == RIGHT, 0.05, -0.05)[:, None]
    xz = middle + side * np.stack([-np.sin(heading), np.cos(heading)], axis=1)
    result = gait.parameters(Contacts(contacts.strike_time, contacts.strike_foot, xz.astype(np.float32)))
    assert bool(result) == kept
    if kept:
        assert result["cadence"] == pytest.approx(120, abs=0.1)


def test_uneven_steps_are_not_turns() -> None:
    contacts = _schedule(0.5, 0.5, 0.5, count=60)
    rng = np.random.default_rng(0)
    xz = contacts.strike_xz + rng.normal(0, 0.03, (60, 2)).astype(np.float32)
    cut = strides.between_strikes(Contacts(contacts.strike_time, contacts.strike_foot, xz))
    assert cut.straight.mean() > 0.95


def test_turns_have_angle_and_time_and_the_swing_of_the_pelvis_is_not_a_turn() -> None:
    rate = 60.0
    time = np.arange(int(14 * rate)) / rate
    swing = np.radians(6) * np.sin(2 * np.pi * 0.9 * time)
    assert gait.turns(Heading(time, swing), rate) == ()
    ramp = np.clip((time - 4.0) / 2.0, 0, 1) * np.pi - np.clip((time - 9.0) / 1.5, 0, 1) * np.pi / 2
    left, right = gait.turns(Heading(time, ramp + swing), rate)
    assert np.degrees(left.angle) == pytest.approx(180, abs=10) and np.degrees(right.angle) == pytest.approx(
        -90, abs=10
    )
    assert left.start_s == pytest.approx(4.1, abs=0.25) and left.end_s == pytest.approx(5.9, abs=0.25)
    assert right.start_s == pytest.approx(9.08, abs=0.25) and right.end_s == pytest.approx(10.43, abs=0.25)


@pytest.fixture(scope="module")
def walk() -> Trajectory:
    """Four strides of 1.1 s with the norm's curves and the feet on the floor."""
    return grounded_walk(0.7)


def _pelvis_speed(trajectory: Trajectory) -> float:
    """Mean speed of the pelvis over three complete strides."""
    path = trajectory.coordinates[:, [INDEX["pelvis_tx"], INDEX["pelvis_tz"]]]
    last = round(3 * STRIDE_S * trajectory.rate_hz)
    return float(np.linalg.norm(path[last] - path[0]) / (3 * STRIDE_S))


def test_measured_parameters_are_those_of_construction(walk: Trajectory) -> None:
    result = gait.analyse(walk)
    assert not result.single_stride and len(result.strides.foot) >= 4
    assert result.parameters["walking_speed"] == pytest.approx(_pelvis_speed(walk), abs=0.02)
    assert result.parameters["cadence"] == pytest.approx(120 / STRIDE_S, abs=0.6)
    assert result.parameters["step_time_asymmetry"] < 2.0
    assert 52 < result.parameters["stance"] < 68
    assert result.parameters["turn_count"] == 0
    right = result.contacts.strike_time[result.contacts.strike_foot == RIGHT]
    np.testing.assert_allclose(right, np.round(right / STRIDE_S) * STRIDE_S, atol=0.06)


def _on_a_belt(trajectory: Trajectory, velocity: np.ndarray) -> Trajectory:
    q = trajectory.coordinates.copy()
    time = np.arange(len(q)) / trajectory.rate_hz
    q[:, INDEX["pelvis_tx"]] += velocity[0] * time
    q[:, INDEX["pelvis_tz"]] += velocity[1] * time
    return replace(trajectory, coordinates=q)


def test_the_belt_speed_of_a_treadmill_is_added(walk: Trajectory) -> None:
    heading = gait.pelvis_heading(walk).angle.mean()
    treadmill = _on_a_belt(walk, 1.1 * np.array([-np.cos(heading), np.sin(heading)]))
    result = gait.analyse(treadmill, belt_m_s=1.1).parameters
    assert result["walking_speed"] == pytest.approx(_pelvis_speed(walk), abs=0.02)


def test_a_recording_converted_to_overground_has_the_right_speed(walk: Trajectory) -> None:
    treadmill = pytest.importorskip("biomechgpt_jax.biomechanics.treadmill")
    velocity = np.array([-0.9, 0.6], np.float32)
    q = _on_a_belt(walk, velocity).coordinates
    back = replace(walk, coordinates=np.asarray(treadmill.overground(q, velocity, walk.rate_hz)))
    assert gait.analyse(back).parameters["walking_speed"] == pytest.approx(_pelvis_speed(walk), abs=0.02)


def test_two_toe_offs_determine_speed_and_cadence_of_a_short_recording(walk: Trajectory) -> None:
    """From the middle of one stance to the middle of the second next one no foot strikes twice."""
    offs = gait.detect_contacts(walk).off_time
    begin, end = round((offs[1] - 0.12) * RATE_HZ), round((offs[3] + 0.12) * RATE_HZ)
    result = gait.analyse(replace(walk, coordinates=walk.coordinates[begin:end]))
    assert result.single_stride
    assert set(result.parameters) == {
        *("walking_speed", "cadence", "stride_time", "stride_length", "turn_count", "turn_angle")
    }
    assert result.parameters["cadence"] == pytest.approx(120 / STRIDE_S, abs=2.0)
    assert result.parameters["walking_speed"] == pytest.approx(_pelvis_speed(walk), abs=0.03)


def test_a_recording_without_the_path_or_the_legs_is_refused(walk: Trajectory) -> None:
    for name in ("pelvis_tx", "knee_angle_l"):
        observed = walk.observed.copy()
        observed[INDEX[name]] = False
        with pytest.raises(InputError, match=name):
            gait.analyse(replace(walk, observed=observed))


def test_feet_that_stay_down_or_in_the_air_have_no_events() -> None:
    still = np.zeros((50, 2, 3))
    assert len(events.contacts_from_points(still, still, 50.0).strike_time) == 0
    falling = still + np.linspace(9, 0, 50)[:, None, None]
    assert len(events.contacts_from_points(falling, falling, 50.0).off_time) == 0


def test_strikes_and_toe_offs_alternate() -> None:
    """A foot leaves the floor a moment after it has reached 1 m/s, and is down a moment after it has slowed to that."""
    rate = 200.0
    time = np.arange(int(6 * rate)) / rate
    phase = (time / 1.2) % 1.0
    speed = 3.0 * np.clip((phase - 0.6) / 0.2, 0, 1) * np.clip((1 - phase) / 0.2, 0, 1)
    point = np.zeros((len(time), 2, 3))
    point[:, :, 0] = np.cumsum(speed)[:, None] / rate
    result = events.contacts_from_points(point, point, rate)
    strike, off = (result.strike_time[result.strike_foot == LEFT], result.off_time[result.off_foot == LEFT])
    np.testing.assert_allclose(off, 1.2 * (np.arange(5) + 0.6 + 0.2 / 3) + events.LIFT_DELAY_S, atol=0.012)
    slow = 1.2 * (np.arange(len(strike)) + 1 - 0.2 / 3)
    np.testing.assert_allclose(strike, slow + events.STRIKE_DELAY_S, atol=0.02)
    assert len(strike) >= 4
