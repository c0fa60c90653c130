"""Features against SciPy's rotations, and their inverse."""

import jax
import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from biomechgpt_jax.biomechanics import features as lib
from biomechgpt_jax.biomechanics.skeleton import COORDINATE_COUNT, HORIZONTAL_ROOT, INDEX, mirror, observed_without

features = jax.jit(lib.features)
coordinates_from_features = jax.jit(lib.coordinates_from_features)
start_pose = jax.jit(lib.start_pose)
PELVIS = [INDEX[name] for name in ("pelvis_tilt", "pelvis_list", "pelvis_rotation")]
X, Z = INDEX["pelvis_tx"], INDEX["pelvis_tz"]


def a_walk(frames: int = 90, turn: float = 2.5) -> np.ndarray:
    """Smooth movement that leans, sways and turns by `turn` radians."""
    rng = np.random.default_rng(3)
    time = np.arange(frames)[:, None] / 30
    q = 0.3 * np.sin(2 * np.pi * (0.7 * time + rng.uniform(0, 1, COORDINATE_COUNT)))
    heading = turn * time[:, 0] / time[-1, 0]
    q[:, PELVIS[2]] = heading
    q[:, X] = np.cumsum(np.cos(heading)) * 1.2 / 30
    q[:, Z] = -np.cumsum(np.sin(heading)) * 1.2 / 30
    q[:, INDEX["pelvis_ty"]] = 0.93 + 0.02 * np.sin(8 * time[:, 0])
    return q.astype(np.float32)


def turned(q: np.ndarray, degrees: float) -> np.ndarray:
    """The same movement in another direction, by SciPy."""
    about = Rotation.from_euler("Y", degrees, degrees=True)
    result = q.astype(np.float64)
    angles = (about * Rotation.from_euler("ZXY", q[:, PELVIS])).as_euler("ZXY")
    angles[:, 2] = np.unwrap(angles[:, 2])
    result[:, PELVIS] = angles
    place = about.apply(np.stack([q[:, X], 0 * q[:, X], q[:, Z]], axis=1))
    result[:, X], result[:, Z] = place[:, 0], place[:, 2]
    return result.astype(np.float32)


@pytest.mark.parametrize("degrees", [0, 90, 180, -135])
def test_the_features_of_a_movement_do_not_depend_on_its_heading(degrees: float) -> None:
    q = a_walk()
    np.testing.assert_allclose(features(turned(q, degrees)), features(q), atol=3e-4)


@pytest.mark.parametrize(("heading", "tilt", "list_"), [(0, -30, 0), (90, 0, -30), (180, 30, 0), (-90, 0, 30)])
def test_a_forward_lean_is_tilt_at_every_heading(heading: float, tilt: float, list_: float) -> None:
    q = np.zeros((4, COORDINATE_COUNT), np.float32)
    q[:, PELVIS] = np.radians([tilt, list_, heading])
    found = np.degrees(features(q))
    np.testing.assert_allclose(found[:, lib.TILT], -30, atol=1e-3)
    np.testing.assert_allclose(found[:, lib.LIST], 0, atol=1e-3)


@pytest.mark.parametrize("degrees", [0, 90, 180])
def test_the_inverse_gives_the_movement_back(degrees: float) -> None:
    q = turned(a_walk(frames=300, turn=9.0), degrees)
    back = coordinates_from_features(features(q), start_pose(q))
    np.testing.assert_allclose(back, q, atol=2e-4)


def test_the_inverse_starts_where_it_is_told_to() -> None:
    q = a_walk()
    elsewhere = turned(q, 70)
    back = coordinates_from_features(features(q), start_pose(elsewhere))
    np.testing.assert_allclose(back, elsewhere, atol=4e-4)


def test_walking_straight_in_any_direction_is_forward_velocity() -> None:
    q = np.zeros((30, COORDINATE_COUNT), np.float32)
    q[:, Z] = -1.3 * np.arange(30) / 30  # towards -z, which lies ahead after a left turn of 90 degrees
    q[:, PELVIS[2]] = np.pi / 2
    found = np.asarray(features(q))
    np.testing.assert_allclose(found[:, lib.FORWARD], 1.3, atol=1e-4)
    np.testing.assert_allclose(found[:, [lib.RIGHTWARD, lib.YAW_RATE]], 0, atol=1e-4)


def test_yaw_rate_runs_through_a_wrapped_heading() -> None:
    q = np.zeros((60, COORDINATE_COUNT), np.float32)
    heading = 4.0 * np.arange(60) / 30
    q[:, PELVIS[2]] = (heading + np.pi) % (2 * np.pi) - np.pi
    np.testing.assert_allclose(np.asarray(features(q))[:, lib.YAW_RATE], 4.0, atol=1e-3)


def test_padding_changes_nothing_within_the_length() -> None:
    q = a_walk(frames=50)
    padded = np.pad(q, [(0, 30), (0, 0)])
    found = np.asarray(features(np.stack([padded, padded]), length=np.array([50, 20])))
    np.testing.assert_allclose(found[0, :50], features(q), atol=1e-6)
    np.testing.assert_allclose(found[1, :20], features(q[:20]), atol=1e-6)
    assert not found[0, 50:].any() and not found[1, 20:].any()


def test_a_crop_differs_from_the_whole_in_its_last_frame_only() -> None:
    q = a_walk()
    whole, crop = np.asarray(features(q)), np.asarray(features(q[20:60]))
    np.testing.assert_allclose(crop[:-1], whole[20:59], atol=1e-5)


def test_the_mirror_of_the_features_is_the_feature_of_the_mirror() -> None:
    q = a_walk()
    np.testing.assert_allclose(features(mirror(q)), mirror(np.asarray(features(q))), atol=1e-5)


def test_features_that_need_a_missing_coordinate_are_masked() -> None:
    no_path = lib.feature_mask(observed_without(HORIZONTAL_ROOT))
    assert not no_path[[lib.FORWARD, lib.RIGHTWARD]].any() and no_path[2:].all()
    no_list = lib.feature_mask(observed_without(("pelvis_list",)))
    missing = [lib.FORWARD, lib.RIGHTWARD, lib.TILT, lib.LIST, lib.YAW_RATE]
    assert not no_list[missing].any() and no_list[lib.HEIGHT] and no_list[6:].all()
    no_knee = lib.feature_mask(observed_without(("knee_angle_l",)))
    assert list(np.flatnonzero(~no_knee)) == [INDEX["knee_angle_l"]]


def test_one_frame_has_no_velocity() -> None:
    assert not np.asarray(features(a_walk()[:1]))[:, lib.RATES].any()
