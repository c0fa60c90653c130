"""Forward kinematics against chains computed by hand, and the mirror."""

import numpy as np
import pytest

from biomechgpt_jax.biomechanics import kinematics, skeleton
from biomechgpt_jax.biomechanics.kinematics import FRACTIONS, POINT_INDEX
from biomechgpt_jax.biomechanics.skeleton import COORDINATE_COUNT, INDEX

HEIGHT = 1.8


def _points(**angles_deg: float) -> dict[str, np.ndarray]:
    q = np.zeros((1, COORDINATE_COUNT), np.float32)
    for name, value in angles_deg.items():
        q[0, INDEX[name]] = value if name in ("pelvis_tx", "pelvis_ty", "pelvis_tz") else np.radians(value)
    found = np.asarray(kinematics.points_jit(q, HEIGHT))[0]
    return {name: found[index] for name, index in POINT_INDEX.items()}


@pytest.mark.parametrize(("hip", "knee"), [(0, 0), (30, 0), (0, 60), (40, 75), (-20, 10)])
def test_leg_is_a_planar_double_pendulum(hip: float, knee: float) -> None:
    found = _points(hip_flexion_r=hip, knee_angle_r=knee)
    a, b = np.radians(hip), np.radians(hip - knee)
    thigh, shank = FRACTIONS.thigh * HEIGHT, FRACTIONS.shank * HEIGHT
    ankle = found["hip_r"] + [
        thigh * np.sin(a) + shank * np.sin(b),
        -thigh * np.cos(a) - shank * np.cos(b),
        0.0,
    ]
    np.testing.assert_allclose(found["ankle_r"], ankle, atol=1e-6)


def test_signs_of_joints() -> None:
    still = _points()
    assert _points(ankle_angle_r=20)["ball_r"][1] > still["ball_r"][1], "dorsiflexion lifts the ball"
    assert _points(hip_adduction_r=10)["ankle_r"][2] < still["ankle_r"][2], "right adduction goes to the left"
    assert _points(hip_adduction_l=10)["ankle_l"][2] > still["ankle_l"][2], "left adduction goes to the right"
    assert _points(hip_rotation_r=20)["toe_r"][2] < still["toe_r"][2], "internal rotation turns the toe inwards"
    assert _points(lumbar_extension=-20)["neck"][0] > still["neck"][0], "flexion leans forward"
    assert _points(pelvis_rotation=90)["toe_r"][2] < -0.05, "a left turn faces minus z"
    assert _points(pelvis_list=10)["hip_r"][1] < still["hip_r"][1], "positive list lowers the right hip"
    assert _points(elbow_flex_l=90)["wrist_l"][0] > still["wrist_l"][0] + 0.2


def test_forward_lean_reads_as_list_at_a_quarter_turn() -> None:
    ahead = _points(pelvis_tilt=-30)["neck"]
    aside = _points(pelvis_rotation=90, pelvis_list=-30)["neck"]
    # Facing minus z, leaning forward is leaning towards minus z.
    np.testing.assert_allclose([-aside[2], aside[1]], [ahead[0], ahead[1]], atol=1e-6)


def test_mirror_reflects_every_point() -> None:
    rng = np.random.default_rng(0)
    q = rng.normal(0, 0.4, (20, COORDINATE_COUNT)).astype(np.float32)
    there = np.asarray(kinematics.points_jit(q, HEIGHT))
    back = np.asarray(kinematics.points_jit(skeleton.mirror(q), HEIGHT))
    other = [
        POINT_INDEX[name[:-1] + {"r": "l", "l": "r"}[name[-1]] if name[-2:] in ("_r", "_l") else name]
        for name in kinematics.POINTS
    ]
    np.testing.assert_allclose(back[:, other] * [1, 1, -1], there, atol=1e-5)
    np.testing.assert_array_equal(skeleton.mirror(skeleton.mirror(q)), q)


def test_lengths_do_not_change_with_pose() -> None:
    rng = np.random.default_rng(1)
    q = rng.normal(0, 0.5, (50, COORDINATE_COUNT)).astype(np.float32)
    found = np.asarray(kinematics.points_jit(q, HEIGHT))
    rigid = [(a, b) for a, b in kinematics.BONES if kinematics.POINTS[b] != "head"]
    lengths = np.stack([np.linalg.norm(found[:, a] - found[:, b], axis=1) for a, b in rigid], axis=1)
    np.testing.assert_allclose(lengths, np.broadcast_to(lengths[0], lengths.shape), atol=1e-5)
