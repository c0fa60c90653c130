"""Keypoints of markerless systems: joint centres are fitted, and what they cannot tell is hidden."""

import numpy as np
import pytest
from marker_cloud import RATE_HZ, place, walk

from biomechgpt_jax.biomechanics import flags, gait, preprocess
from biomechgpt_jax.biomechanics.fitting import inverse, keypoints, marker_sets
from biomechgpt_jax.biomechanics.fitting.markers import Markers
from biomechgpt_jax.biomechanics.skeleton import COORDINATES, INDEX
from biomechgpt_jax.biomechanics.trajectory import Trajectory
from biomechgpt_jax.errors import InputError

FRAMES = 100
_ARMS = ("Shoulder", "Elbow", "Wrist")
COCO = (*(f"{s}{n}" for s in "RL" for n in ("Hip", "Knee", "Ankle", *_ARMS, "Ear")), "Nose")
HALPE = (*COCO[:-1], "Nose", "Hip", "Neck", "Head", *(f"{s}{n}" for s in "RL" for n in ("BigToe", "SmallToe", "Heel")))
SMPL = (
    *("pelvis", "spine1", "spine2", "spine3", "neck", "head"),
    *(
        f"{s}_{n}"
        for s in ("left", "right")
        for n in ("hip", "knee", "ankle", "foot", "collar", "shoulder", "elbow", "wrist")
    ),
)
MVN = (
    *("Pelvis", "L5", "L3", "T12", "T8", "Neck", "Head"),
    *(
        f"{s}{n}"
        for s in ("Right", "Left")
        for n in ("Shoulder", "UpperArm", "ForeArm", "Hand", "UpperLeg", "LowerLeg", "Foot", "Toe")
    ),
)
_LEGS = [f"{joint}_{side}" for joint in ("hip_flexion", "hip_adduction", "knee_angle", "ankle_angle") for side in "rl"]


def _fit(labels: tuple[str, ...], q: np.ndarray | None = None) -> inverse.Fit:
    """Fit to joint centres of a known movement, with 5 mm of noise; points of no known place stand still."""
    q = walk(FRAMES) if q is None else q
    known = tuple(labels[i] for i in marker_sets.match(labels)[1])
    placed = dict(zip(known, np.moveaxis(place(q, labels=known), 1, 0), strict=True))
    positions = np.stack([placed.get(label, np.zeros((len(q), 3))) for label in labels], axis=1)
    positions += np.random.default_rng(4).normal(0, 0.005, positions.shape)
    return inverse.fit(Markers(positions.astype(np.float32), labels, RATE_HZ))


def _median_error_deg(found: Trajectory, name: str) -> float:
    return float(np.degrees(np.nanmedian(np.abs(found.coordinates[:, INDEX[name]] - walk(FRAMES)[:, INDEX[name]]))))


def _hidden(found: Trajectory) -> set[str]:
    return {name for name, seen in zip(COORDINATES, found.observed, strict=True) if not seen}


@pytest.mark.parametrize("labels", [HALPE, SMPL, MVN], ids=["HALPE_26", "SMPL", "MVN"])
def test_joint_centres_give_the_legs_and_the_way(labels: tuple[str, ...]) -> None:
    fit = _fit(labels)
    found = fit.trajectory
    assert fit.marker_set in keypoints.KEYPOINT_SETS
    errors = {name: _median_error_deg(found, name) for name in _LEGS}
    assert max(errors.values()) < 3, errors
    assert _hidden(found) == set(keypoints.UNTOLD)
    assert found.metadata.height_m == pytest.approx(1.75, abs=0.04)
    path = found.coordinates[:, [INDEX["pelvis_tx"], INDEX["pelvis_tz"]]]
    assert np.linalg.norm(path[-1] - path[0]) == pytest.approx(1.2 * (FRAMES - 1) / RATE_HZ, rel=0.01)


def test_an_assumed_tilt_of_the_pelvis_is_said() -> None:
    assert "tilt of the pelvis" in " ".join(flags.cautions(_fit(HALPE).trajectory.metadata.flags))
    assert not flags.cautions(_fit(SMPL).trajectory.metadata.flags)


def test_the_pelvis_follows_a_trunk_that_bends_forward() -> None:
    """As in a squat: two thirds of the lean are taken for the pelvis, and hip flexion is counted from there."""
    q = walk(FRAMES)
    q[:, INDEX["pelvis_rotation"]] = q[:, INDEX["pelvis_list"]] = q[:, INDEX["lumbar_rotation"]] = 0.0
    q[:, INDEX["pelvis_tilt"]], q[:, INDEX["lumbar_extension"]] = np.radians(-35.0), np.radians(-15.0)
    found = _fit(HALPE, q).trajectory
    for name in ("pelvis_tilt", "lumbar_extension", "hip_flexion_r"):
        apart = np.degrees(np.median(found.coordinates[:, INDEX[name]] - q[:, INDEX[name]]))
        assert abs(apart) < 5, name


def test_without_feet_the_ankles_are_hidden_and_gait_says_why() -> None:
    found = _fit(COCO).trajectory
    assert {"ankle_angle_r", "ankle_angle_l"} <= _hidden(found) and "knee_angle_r" not in _hidden(found)
    prepared = preprocess.prepare([found])[0]
    with pytest.raises(InputError, match="ankle_angle_r"):
        gait.analyse(preprocess.at_own_rate(found, prepared))


@pytest.mark.parametrize("facing", [1.0, -1.0])
@pytest.mark.parametrize("depth", [0.0, 1.0])
def test_points_of_one_camera_give_what_it_sees(facing: float, depth: float) -> None:
    """Sports2D writes points of one plane, with no depth or a constant one."""
    q = walk(FRAMES)
    across = ("pelvis_list", "pelvis_rotation", "lumbar_rotation", "hip_adduction_r", "hip_adduction_l")
    q[:, [INDEX[name] for name in across]] = 0.0
    labels = tuple(label for label in HALPE if "Ear" not in label)
    positions = place(q, labels=labels)
    positions[..., 2] = depth * np.median(positions[..., 2], axis=0)
    if facing < 0:  # seen from the other side of the way
        positions[..., [0, 2]] *= -1.0
    found = inverse.fit(Markers(positions, labels, RATE_HZ)).trajectory
    assert {"hip_adduction_r", "lumbar_bending", "hip_rotation_l"} <= _hidden(found)
    assert "all points lie in one plane" in " ".join(flags.cautions(found.metadata.flags))
    for name in ("hip_flexion_r", "knee_angle_l", "ankle_angle_r"):
        assert _median_error_deg(found, name) < 3, name


@pytest.mark.parametrize("side", ["R", "L"])
def test_one_camera_may_never_see_the_leg_behind_the_other(side: str) -> None:
    q = walk(FRAMES)
    q[:, [INDEX[name] for name in ("pelvis_list", "pelvis_rotation", "hip_adduction_r", "hip_adduction_l")]] = 0.0
    labels = tuple(label for label in HALPE if "Ear" not in label)
    positions = place(q, labels=labels)
    positions[..., 2] = 0.0
    unseen = [f"{side}{name}" for name in ("Knee", "Ankle", "BigToe", "SmallToe", "Heel")]
    positions[:, [labels.index(label) for label in unseen]] = np.nan
    found = inverse.fit(Markers(positions, labels, RATE_HZ)).trajectory
    assert f"knee_angle_{side.lower()}" in _hidden(found)
    assert _median_error_deg(found, f"knee_angle_{'l' if side == 'R' else 'r'}") < 5


def test_points_of_one_plane_that_face_nowhere_are_refused() -> None:
    labels = tuple(label for label in COCO if not label.endswith(("Ear", "Ankle")))
    positions = place(walk(FRAMES), labels=labels)
    positions[..., 2] = 0.0
    with pytest.raises(InputError, match="one plane and do not show which way"):
        inverse.fit(Markers(positions, labels, RATE_HZ))
