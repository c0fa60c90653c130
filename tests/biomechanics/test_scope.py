"""What is a walk and what only looks like one; the length of the legs; belts under people of other statures."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest
from norm_walker import RATE_HZ, grounded_walk

from biomechgpt_jax import formats
from biomechgpt_jax.biomechanics import gait, preprocess
from biomechgpt_jax.biomechanics.gait import contacts, measured, proportions, scope
from biomechgpt_jax.biomechanics.gait.analysis import Gait
from biomechgpt_jax.biomechanics.gait.strides import Strides, between_strikes
from biomechgpt_jax.biomechanics.kinematics import DEFAULT_HEIGHT_M
from biomechgpt_jax.biomechanics.skeleton import INDEX
from biomechgpt_jax.biomechanics.trajectory import Contacts, Metadata, Trajectory, replace

PATH = [INDEX["pelvis_tx"], INDEX["pelvis_tz"]]
HEIGHT = INDEX["pelvis_ty"]


@pytest.fixture(scope="module")
def walk() -> Trajectory:
    return grounded_walk(0.7)


def _scaled(walk: Trajectory, size: float) -> Trajectory:
    """The same walk of a person of another size."""
    q = walk.coordinates.copy()
    q[:, [*PATH, HEIGHT]] *= size
    return replace(walk, coordinates=q)


def _on_a_belt(walk: Trajectory) -> Trajectory:
    """The walk on a belt that brings the person back to where they began."""
    q, time = walk.coordinates.copy(), np.arange(walk.frames) / walk.rate_hz
    q[:, PATH] -= time[:, None] * (q[-1, PATH] - q[0, PATH]) / time[-1]
    return replace(walk, coordinates=q)


def _measured(recorded: Trajectory) -> measured.Measured:
    return measured.measure(recorded, preprocess.prepare([recorded])[0])


def _schedule(share: float, stride_s: float, length: float, count: int = 12) -> Contacts:
    foot, strike = np.arange(count) % 2, 0.5 * stride_s * np.arange(count)
    xz = np.stack([0.5 * length * np.arange(count), 0.05 - 0.1 * foot], axis=1)
    return Contacts(
        strike.astype(np.float32),
        foot.astype(np.int32),
        xz.astype(np.float32),
        (strike + share * stride_s).astype(np.float32),
        foot.astype(np.int32),
    )


def _kind(walk: Trajectory, schedule: Contacts, speed: float) -> scope.Scope:
    """The scope of a movement with these contacts whose pelvis travels at this speed."""
    q = np.tile(walk.coordinates[:1], (600, 1))
    q[:, PATH] = 0.0
    q[:, PATH[0]] = speed * np.arange(600) / RATE_HZ
    strides = between_strikes(schedule)
    return scope.scope(replace(walk, coordinates=q), Gait(gait.parameters(schedule), schedule, strides, False, ()))


def test_a_walk_is_measured_and_has_every_parameter_that_is_named(walk: Trajectory) -> None:
    found = _measured(walk)
    assert found.kind == scope.WALKING and found.walk is not None and not found.why
    assert found.parameters.keys() <= measured.NAMES
    longer = gait.parameters(_schedule(0.62, 1.0, 1.3)).keys() | {"turn_count", "turn_angle", "turn_time"}
    assert longer == measured.NAMES


def test_feet_that_are_both_in_the_air_run(walk: Trajectory) -> None:
    assert _kind(walk, _schedule(0.62, 1.0, 1.3), 1.3).kind == scope.WALKING
    assert _kind(walk, _schedule(0.52, 0.9, 2.0), 2.2).kind == scope.WALKING, "a fast walk has no flight"
    kind, why = _kind(walk, _schedule(0.38, 0.7, 1.8), 2.6)
    assert kind == scope.RUNNING and "38 % of a stride" in why
    assert _kind(walk, _schedule(0.38, 0.7, 0.8), 1.1).kind == scope.WALKING, "feet that were recorded sliding"


def test_nobody_walks_at_the_speed_of_a_sprint_even_without_contacts(walk: Trajectory) -> None:
    kind, why = _kind(walk, Contacts(), 9.5)
    assert kind == scope.RUNNING and "9.5 m/s" in why
    assert _kind(walk, Contacts(), 2.4).kind == scope.WALKING


def test_steps_that_do_not_travel_are_no_gait(walk: Trajectory) -> None:
    assert _kind(walk, _schedule(0.6, 1.1, 0.05), 0.05).kind == scope.ON_THE_SPOT
    kind, why = _kind(walk, _schedule(0.6, 0.6, 0.15), 0.25)
    assert kind == scope.ON_THE_SPOT and "200 a minute" in why
    assert _kind(walk, _schedule(0.7, 1.6, 0.3), 0.19).kind == scope.WALKING, "a very slow walk"


def test_a_jump_is_told_and_not_measured(walk: Trajectory) -> None:
    """Both feet leave the floor at 0.5 s and land 0.4 s later, while the pelvis flies."""
    time = np.arange(150) / RATE_HZ
    q = np.tile(walk.coordinates[:1], (150, 1))
    q[:, PATH] = 0.0
    flight = np.clip(time - 0.5, 0, 0.4)
    q[:, HEIGHT] = 0.9 + 9.81 / 2 * flight * (0.4 - flight)
    feet = np.array([0, 1], np.int32)
    events = Contacts(np.full(2, 0.9, "f4"), feet, np.zeros((2, 2), "f4"), np.full(2, 0.5, "f4"), feet)
    jump = replace(walk, coordinates=q)
    kind, why = scope.scope(jump, Gait({}, events, between_strikes(events), False, ()))
    assert kind == scope.JUMPING and "0.40 s" in why and "0.20 m" in why
    q[:, HEIGHT] = 0.9 - 0.3 * np.clip(time - 0.5, 0, 0.4)
    stepping_down = replace(walk, coordinates=q)
    assert scope.scope(stepping_down, Gait({}, events, between_strikes(events), False, ())).kind == scope.WALKING


def test_a_drop_from_a_box_before_a_jump_is_no_stride(walk: Trajectory) -> None:
    """Both feet drop from 0.7 to 1.45 s, land, and jump from 2.2 to 2.6 s: each strikes between two toe offs."""
    time = np.arange(300) / RATE_HZ
    q = np.tile(walk.coordinates[:1], (300, 1))
    q[:, PATH] = 0.0
    flight = np.clip(time - 2.2, 0, 0.4)
    q[:, HEIGHT] = 0.9 + 0.3 * (time < 0.7) + 9.81 / 2 * flight * (0.4 - flight)
    feet = np.array([0, 1, 0, 1], np.int32)
    offs = np.array([0.70, 0.71, 2.19, 2.20], "f4")
    events = Contacts(np.array([1.45, 1.46, 2.6, 2.61], "f4"), feet, np.zeros((4, 2), "f4"), offs, feet)
    strides = Strides(
        feet[:2], offs[:2].astype(float), offs[2:].astype(float), np.ones((2, 2)), np.full(2, -1), np.ones(2, bool)
    )
    found = Gait(
        {"walking_speed": 0.67, "stance": 60.0, "stride_length": 1.0, "cadence": 80.0}, events, strides, True, ()
    )
    assert scope.scope(replace(walk, coordinates=q), found).kind == scope.JUMPING


@pytest.mark.parametrize(("name", "kind"), [("DJ1_ik.mot", scope.JUMPING), ("walking1_ik.mot", scope.WALKING)])
def test_a_recorded_drop_jump_is_no_walk(name: str, kind: str) -> None:
    """The legs land one after the other, so that there are strides of a kind."""
    path = Path(__file__).parents[2].parent / "shared" / "data" / "opencap_subject4" / name
    if not path.is_file():
        pytest.skip(f"{path} is absent")
    assert _measured(formats.read(path)).kind == kind


def test_a_walk_played_backward_is_backward_and_measured(walk: Trajectory) -> None:
    found = _measured(replace(walk, coordinates=walk.coordinates[::-1].copy()))
    assert found.kind == scope.BACKWARD
    assert found.parameters["walking_speed"] == pytest.approx(_measured(walk).parameters["walking_speed"], rel=0.03)


def test_a_measurement_that_is_not_made_has_its_reason(walk: Trajectory) -> None:
    for name, words in (("pelvis_tz", "the path of the pelvis"), ("ankle_angle_l", "ankle_angle_l is not seen")):
        observed = walk.observed.copy()
        observed[INDEX[name]] = False
        assert words in _measured(replace(walk, observed=observed)).why
    short = replace(walk, coordinates=walk.coordinates[:40])
    assert _measured(short).why == "no foot strikes the floor twice"


@pytest.mark.parametrize("size", [0.72, 0.96, 1.0, 1.04, 1.1])
def test_a_belt_is_as_fast_as_it_is_under_people_of_any_size(walk: Trajectory, size: float) -> None:
    truth = size * _measured(walk).parameters["walking_speed"]
    recorded = _on_a_belt(_scaled(walk, size))
    assert proportions.leg_height(recorded) == pytest.approx(size * DEFAULT_HEIGHT_M, rel=0.01)
    legs = Metadata(leg_height_m=proportions.leg_height(recorded))
    assert _measured(replace(recorded, metadata=legs)).parameters["walking_speed"] == pytest.approx(truth, rel=0.02)
    if abs(size - 1) > 0.03:
        assert _measured(recorded).parameters["walking_speed"] != pytest.approx(truth, rel=0.02), "a body of 1.70 m"


def test_legs_are_not_read_off_a_floor_that_is_not_at_0(walk: Trajectory) -> None:
    q = walk.coordinates.copy()
    q[:, HEIGHT] += 0.3
    assert np.isnan(proportions.leg_height(replace(walk, coordinates=q)))
    q[:, HEIGHT] = walk.coordinates[:, HEIGHT] + np.linspace(0.0, 1.0, len(q))
    assert np.isnan(proportions.leg_height(replace(walk, coordinates=q))), "stairs"
    q[:, HEIGHT] = 0.1
    assert np.isnan(proportions.leg_height(replace(walk, coordinates=q)))
    observed = walk.observed.copy()
    observed[HEIGHT] = False
    assert np.isnan(proportions.leg_height(replace(walk, observed=observed)))
    q = walk.coordinates.copy()
    q[5:20] = np.nan
    assert proportions.leg_height(replace(walk, coordinates=q)) == pytest.approx(DEFAULT_HEIGHT_M, rel=0.01)


def test_legs_go_before_stature_and_a_given_height_before_both(walk: Trajectory) -> None:
    tall = replace(walk, metadata=Metadata(height_m=1.9, leg_height_m=1.8))
    assert contacts.body_height(tall) == 1.8 and contacts.body_height(tall, 1.5) == 1.5
    stature = dataclasses.replace(tall.metadata, leg_height_m=np.nan)
    assert contacts.body_height(replace(walk, metadata=stature)) == 1.9
    assert contacts.body_height(walk) == DEFAULT_HEIGHT_M
