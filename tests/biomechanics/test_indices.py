"""Gait indices of walks that equal the norm or differ from it by a known angle, and of real files."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest
from norm_walker import SPEED, STRIDE_S, norm_walk

from biomechgpt_jax import formats
from biomechgpt_jax.biomechanics.gait import indices, norms
from biomechgpt_jax.biomechanics.gait.strides import Heading, between_strikes, between_toe_offs
from biomechgpt_jax.biomechanics.skeleton import INDEX, MIRROR_PERMUTATION, mirror
from biomechgpt_jax.biomechanics.trajectory import LEFT, RIGHT, Contacts, Trajectory
from biomechgpt_jax.errors import InputError

DATA = Path(__file__).parents[2].parent / "shared" / "data"
ORDER = norms.KINEMATIC


def test_the_norm_has_no_distance_from_itself() -> None:
    curves = norms.curves(SPEED, indices.PHASE_P)
    side = indices.side_scores(curves[None], SPEED)
    assert side.gps == pytest.approx(0.0, abs=1e-9)


@pytest.mark.parametrize("variable", range(9))
def test_the_map_is_the_offset_and_the_score_a_third_of_it(variable: int) -> None:
    curves = norms.curves(SPEED, indices.PHASE_P)
    curves[:, variable] += 12.0
    side = indices.side_scores(curves[None], SPEED)
    np.testing.assert_allclose(side.map_V, 12.0 * (np.arange(9) == variable), atol=1e-9)
    assert side.gps == pytest.approx(4.0)


@pytest.mark.parametrize("heading", [0.0, np.pi / 2, np.pi, -2.0])
def test_a_walk_with_the_norms_angles_equals_the_norm_in_any_direction(heading: float) -> None:
    """In all variables but foot progression, which follows from the legs."""
    result = indices.profile(*norm_walk(heading), speed=SPEED)
    for side in (result.right, result.left):
        assert side is not None and side.strides >= 3
        np.testing.assert_allclose(side.map_V[:8], 0.0, atol=0.6)


def test_a_known_offset_is_measured_on_its_side() -> None:
    plain = indices.profile(*norm_walk(), speed=SPEED)
    bent = indices.profile(*norm_walk(extra_deg={"knee_angle_l": 15.0}), speed=SPEED)
    assert bent.left is not None and bent.right is not None and plain.left is not None
    assert bent.left.map_V[ORDER.index("knee_flexion")] == pytest.approx(15.0, abs=0.3)
    assert bent.right.map_V[ORDER.index("knee_flexion")] < 0.6
    assert bent.gps > plain.gps and bent.left.gdi_from_gps < plain.left.gdi_from_gps
    toes_out = indices.profile(*norm_walk(extra_deg={"hip_rotation_r": -20.0}), speed=SPEED)
    assert toes_out.right is not None
    assert toes_out.right.map_V[ORDER.index("hip_rotation")] == pytest.approx(20.0, abs=0.3)


def test_turning_the_leg_out_turns_the_foot_out() -> None:
    walks = [norm_walk(extra_deg={"hip_rotation_l": angle}) for angle in (0.0, -20.0)]
    curves = []
    for trajectory, contacts in walks:
        strides = between_strikes(contacts)
        curves.append(indices.cycles(trajectory, strides, contacts, LEFT).mean(axis=0))
    stance = slice(5, 25)
    change = (curves[1] - curves[0])[stance, ORDER.index("foot_progression")]
    assert change.mean() == pytest.approx(-20.0, abs=3.0), "external is negative"


def test_mirroring_swaps_left_and_right() -> None:
    trajectory, contacts = norm_walk(0.3, {"ankle_angle_r": -9.0, "hip_rotation_l": 6.0, "pelvis_list": 3.0})
    reflected = dataclasses.replace(
        trajectory, coordinates=mirror(trajectory.coordinates), observed=trajectory.observed[MIRROR_PERMUTATION]
    )
    other = dataclasses.replace(contacts, strike_foot=1 - contacts.strike_foot, strike_xz=contacts.strike_xz * [1, -1])
    a, b = indices.profile(trajectory, contacts, speed=SPEED), indices.profile(reflected, other, speed=SPEED)
    assert a.right is not None and a.left is not None and b.right is not None and b.left is not None
    np.testing.assert_allclose(a.right.map_V, b.left.map_V, atol=0.02)
    np.testing.assert_allclose(a.left.map_V, b.right.map_V, atol=0.02)


def test_a_stride_between_toe_offs_is_the_same_cycle() -> None:
    trajectory, contacts = norm_walk()
    off = np.array([0.7, 0.7 + STRIDE_S], np.float32)
    events = dataclasses.replace(contacts, off_time=off, off_foot=np.full(2, RIGHT, np.int32))
    heading = Heading(np.arange(2.0) * 10, np.zeros(2))
    shifted = between_toe_offs(events, heading)
    assert len(shifted.foot) == 1
    expected = indices.cycles(trajectory, between_strikes(events), events, RIGHT)[0]
    np.testing.assert_allclose(indices.cycles(trajectory, shifted, events, RIGHT)[0], expected, atol=0.2)


def test_the_control_group_defines_the_index() -> None:
    """A child with the group's typical score has an index of 100; the group's SD of 1.4 degrees is about 10 points."""
    typical = next(gps for gps in np.arange(3, 9, 0.01) if indices.gdi_from_gps(gps, SPEED) <= 100)
    assert 5.0 < typical < 5.8
    assert indices.gdi_from_gps(typical + 1.4, SPEED) == pytest.approx(90, abs=1.5)
    assert indices.gdi_from_gps(11.0, SPEED) == pytest.approx(72, abs=3)


def test_unsupported_recordings_are_refused() -> None:
    trajectory, contacts = norm_walk()
    observed = trajectory.observed.copy()
    observed[INDEX["ankle_angle_l"]] = False
    seen = indices.profile(dataclasses.replace(trajectory, observed=observed), contacts, speed=SPEED)
    assert seen.left is None and seen.right is not None, "the side whose foot is not seen has no score"
    assert np.isnan(seen.gps)
    observed[INDEX["knee_angle_r"]] = False
    with pytest.raises(InputError, match="knee_angle_r, ankle_angle_l not recorded"):
        indices.profile(dataclasses.replace(trajectory, observed=observed), contacts, speed=SPEED)
    with pytest.raises(InputError, match="no complete straight stride"):
        indices.profile(trajectory, Contacts(), speed=SPEED)
    observed = trajectory.observed.copy()
    observed[INDEX["pelvis_tx"]] = False
    with pytest.raises(InputError, match="speed is not recorded"):
        indices.profile(dataclasses.replace(trajectory, observed=observed), contacts)
    one_side = dataclasses.replace(
        contacts,
        strike_time=contacts.strike_time[:3],
        strike_foot=contacts.strike_foot[:3],
        strike_xz=contacts.strike_xz[:3],
    )
    result = indices.profile(trajectory, one_side, speed=SPEED)
    assert result.left is None and result.right is not None and np.isnan(result.gps) and np.isnan(result.gdi_from_gps)


def _real(name: str) -> Trajectory:
    if not (DATA / name).exists():
        pytest.skip(f"no {DATA / name}")
    return formats.read(DATA / name)


def _one_cycle(trajectory: Trajectory) -> indices.Side:
    """A file that holds one cycle from right strike to right strike, without the path of the pelvis."""
    end = (trajectory.frames - 1) / trajectory.rate_hz
    times = np.array([0, end / 2, end], np.float32)
    contacts = Contacts(times, np.array([RIGHT, LEFT, RIGHT], np.int32), np.zeros((3, 2), np.float32))
    result = indices.profile(trajectory, contacts, speed=SPEED)
    assert result.right is not None
    return result.right


def test_a_healthy_adult_is_near_and_crouch_gait_far_from_the_norm() -> None:
    walk = indices.profile(_real("opencap_subject4/walking1_ik.mot"))
    assert walk.left is not None and 4.0 < walk.left.gps < 9.0
    assert walk.speed == pytest.approx(0.43, abs=0.03)
    toes_in = indices.profile(_real("opencap_subject4/walkingTI1_ik.mot"))
    assert toes_in.left is not None and toes_in.left.gps > 9.0
    assert np.argmax(toes_in.left.map_V) == ORDER.index("foot_progression")
    crouch, normal = (_one_cycle(_real(f"opensim_core/{name}_gait.mot")) for name in ("crouch", "normal"))
    assert normal.gps < 9.0 < 15.0 < crouch.gps
    assert np.argmax(crouch.map_V) == ORDER.index("knee_flexion")
