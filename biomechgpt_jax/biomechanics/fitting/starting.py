"""Poses from which inverse kinematics starts: upright, with slightly bent knees, where the pelvis is in each frame.

Shapes: T frames, M markers, S segments.
"""

import math

import numpy as np

from biomechgpt_jax.biomechanics.fitting import chain
from biomechgpt_jax.biomechanics.fitting.keypoints import TILT_SHARE
from biomechgpt_jax.biomechanics.kinematics import SEGMENTS
from biomechgpt_jax.biomechanics.skeleton import COORDINATE_COUNT, INDEX
from biomechgpt_jax.errors import InputError

_ROOT = [INDEX[name] for name in ("pelvis_tx", "pelvis_ty", "pelvis_tz")]
_TURNS = [INDEX[name] for name in ("pelvis_tilt", "pelvis_list", "pelvis_rotation")]
_VERTICAL = np.array([0.0, 1.0, 0.0])
# Points closer than this to a line (their second singular value, metres) do not show how they turn about it.
_LINE_M = 0.02
# A marker so near the proximal joint of its segment (share of the height) is that joint's centre, no cluster's marker.
_JOINT_SHARE = 0.03


def poses(seen_TM3: np.ndarray, body: chain.Body) -> np.ndarray:
    """Coordinates f64[T, 40]: the pelvis as its markers are, or as the hips and shoulders are if those are on a line.

    Args:
        seen_TM3: positions, NaN where unseen.

    Raises:
        InputError: in no frame the pelvis can be placed.
    """
    q = np.zeros((len(seen_TM3), COORDINATE_COUNT))
    for side in "rl":
        q[:, INDEX[f"knee_angle_{side}"]] = 0.2
        q[:, INDEX[f"elbow_flex_{side}"]] = 0.3
    used_M = np.isfinite(seen_TM3).all(axis=2).any(axis=0)
    on = {name: used_M & (body.at == SEGMENTS.index(name)) for name in SEGMENTS}
    joint_M = np.linalg.norm(body.offset, axis=1) < _JOINT_SHARE * body.height_m
    hips = [on[f"thigh_{side}"] & joint_M for side in "rl"]
    shoulders = [on[f"upper_arm_{side}"] & joint_M for side in "rl"]
    pelvic_M = used_M & (body.turns == SEGMENTS.index("pelvis"))
    if pelvic_M.sum() < 3:  # hip centres stand in
        pelvic_M = pelvic_M | hips[0] | hips[1]
    rest_M3 = chain.place(np.zeros((1, COORDINATE_COUNT)), body)[0]
    last = None
    for frame, positions_M3 in enumerate(seen_TM3):
        known_M = pelvic_M & np.isfinite(positions_M3).all(axis=1)
        if known_M.sum() >= 3 and not _on_a_line(rest_M3[known_M]):
            last = _rigid(rest_M3[known_M], positions_M3[known_M])
        elif all((hip & known_M).any() for hip in hips):
            last = _from_joints(rest_M3, positions_M3, hips, shoulders)
        if last is not None:
            q[frame, _TURNS], q[frame, _ROOT] = last
    placed = np.flatnonzero(q[:, _ROOT].any(axis=1))
    if len(placed) == 0:
        raise InputError("fewer than 3 markers of the pelvis are ever seen together; fill their gaps first")
    q[: placed[0]] = q[placed[0]]
    return q


def _on_a_line(points: np.ndarray) -> bool:
    return bool(np.linalg.svd(points - points.mean(axis=0), compute_uv=False)[1] < _LINE_M)


def _rigid(rest: np.ndarray, seen: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Pelvis angles and origin that map points `rest` onto `seen`, both [n, 3] metres (Kabsch 1976)."""
    middle, there = rest.mean(axis=0), seen.mean(axis=0)
    u, _, vt = np.linalg.svd((seen - there).T @ (rest - middle))
    turn = u @ np.diag([1.0, 1.0, np.sign(np.linalg.det(u @ vt))]) @ vt
    return _angles(turn), there - turn @ middle


def _angles(turn: np.ndarray) -> np.ndarray:
    """Tilt, list and rotation of R = Rz(tilt) Rx(list) Ry(rotation)."""
    list_ = math.asin(float(np.clip(turn[2, 1], -1, 1)))
    return np.array([math.atan2(-turn[0, 1], turn[1, 1]), list_, math.atan2(-turn[2, 0], turn[2, 2])])


def _from_joints(
    rest: np.ndarray, seen: np.ndarray, hips: list[np.ndarray], shoulders: list[np.ndarray]
) -> tuple[np.ndarray, np.ndarray]:
    """Pelvis angles and origin from the hips [M, 3], with the tilt that goes with the lean of the trunk.

    The line of the hips shows list and rotation. The pelvis shares `TILT_SHARE` of the angle by which the middle of the
    shoulders is further forward over the hips than in the upright body; it is upright where a shoulder is unseen.
    """
    right, left = (np.nanmean(seen[hip], axis=0) for hip in hips)
    across = (right - left) / max(float(np.linalg.norm(right - left)), 1e-9)
    up = _VERTICAL - (_VERTICAL @ across) * across
    up /= max(float(np.linalg.norm(up)), 1e-9)
    forward = np.cross(up, across)
    middle = np.mean([rest[hip].mean(axis=0) for hip in hips], axis=0)
    lean = 0.0
    if all(np.isfinite(seen[one]).all() and one.any() for one in shoulders):
        trunk = np.mean([seen[one].mean(axis=0) for one in shoulders], axis=0) - 0.5 * (right + left)
        upright = np.mean([rest[one].mean(axis=0) for one in shoulders], axis=0) - middle
        lean = math.atan2(float(trunk @ forward), float(trunk @ up)) - math.atan2(upright[0], upright[1])
    tilt = TILT_SHARE * lean
    turn = np.column_stack(
        [math.cos(tilt) * forward - math.sin(tilt) * up, math.cos(tilt) * up + math.sin(tilt) * forward, across]
    )
    return _angles(turn), 0.5 * (right + left) - turn @ middle
