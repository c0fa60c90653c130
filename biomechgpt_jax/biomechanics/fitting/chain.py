"""The body as a chain of joints, in NumPy: markers of a pose and their exact derivatives.

The same body as `kinematics`, which a test holds equal. A file's poses are solved once, so that a compiled program does
not pay: tracing and loading one takes longer than the solution. The derivative of a point by a joint's angle is the
cross product of the joint's axis with the lever from the joint to the point (the geometric Jacobian; Craig 2005,
Introduction to Robotics, chapter 5).

Shapes: T frames, M markers, S segments (17), C coordinates (40), A angles (37), L segment lengths (18).
"""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from biomechgpt_jax.biomechanics.kinematics import FRACTIONS, SEGMENTS
from biomechgpt_jax.biomechanics.skeleton import COORDINATE_COUNT, INDEX

_X, _Y, _Z = range(3)
_ROOT = [INDEX[name] for name in ("pelvis_tx", "pelvis_ty", "pelvis_tz")]
_LENGTH = {name: index for index, name in enumerate(FRACTIONS._fields)}


class _Joint(NamedTuple):
    """A segment's proximal joint: its place in the parent segment, and its turns one after the other."""

    segment: str
    parent: str
    place: tuple[tuple[int, str, float], ...]  # axis of the parent, name of a length, sign
    turns: tuple[tuple[str, int, float], ...]  # coordinate, axis that it turns about, sign


def _ball(prefix: str) -> tuple[tuple[str, int, float], ...]:
    return ((f"{prefix}_extension", _Z, 1.0), (f"{prefix}_bending", _X, 1.0), (f"{prefix}_rotation", _Y, 1.0))


def _limbs(s: str, side: float) -> tuple[_Joint, ...]:
    """Leg and arm of one side, "r" (+1) or "l" (-1)."""
    hip = ((_X, "hip_back", -1.0), (_Y, "hip_down", -1.0), (_Z, "hip_side", side))
    hip_turns = ((f"hip_flexion_{s}", _Z, 1.0), (f"hip_adduction_{s}", _X, side), (f"hip_rotation_{s}", _Y, side))
    ball = ((_X, "ball_forward", 1.0), (_Y, "ankle_height", -1.0))
    shoulder = ((_Y, "trunk", 1.0), (_Z, "shoulder_side", side))
    shoulder_turns = ((f"arm_flex_{s}", _Z, 1.0), (f"arm_add_{s}", _X, side), (f"arm_rot_{s}", _Y, side))
    elbow_turns = ((f"elbow_flex_{s}", _Z, 1.0), (f"pro_sup_{s}", _Y, side))
    wrist_turns = ((f"wrist_flex_{s}", _X, side), (f"wrist_dev_{s}", _Z, 1.0))
    return (
        _Joint(f"thigh_{s}", "pelvis", hip, hip_turns),
        _Joint(f"shank_{s}", f"thigh_{s}", ((_Y, "thigh", -1.0),), ((f"knee_angle_{s}", _Z, -1.0),)),
        _Joint(
            f"foot_{s}",
            f"shank_{s}",
            ((_Y, "shank", -1.0),),
            ((f"ankle_angle_{s}", _Z, 1.0), (f"subtalar_angle_{s}", _X, side)),
        ),
        _Joint(f"toes_{s}", f"foot_{s}", ball, ((f"mtp_angle_{s}", _Z, 1.0),)),
        _Joint(f"upper_arm_{s}", "thorax", shoulder, shoulder_turns),
        _Joint(f"forearm_{s}", f"upper_arm_{s}", ((_Y, "upper_arm", -1.0),), elbow_turns),
        _Joint(f"hand_{s}", f"forearm_{s}", ((_Y, "forearm", -1.0),), wrist_turns),
    )


_PELVIS = (("pelvis_tilt", _Z, 1.0), ("pelvis_list", _X, 1.0), ("pelvis_rotation", _Y, 1.0))
# Parents stand before their children.
_JOINTS = (
    _Joint("pelvis", "", (), _PELVIS),
    _Joint("thorax", "pelvis", ((_X, "lumbar_back", -1.0), (_Y, "lumbar_up", 1.0)), _ball("lumbar")),
    _Joint("head", "thorax", ((_Y, "trunk", 1.0), (_Y, "neck_up", 1.0)), _ball("neck")),
    *_limbs("r", 1.0),
    *_limbs("l", -1.0),
)
_PLACE = {name: index for index, name in enumerate(SEGMENTS)}
_PARENT = {joint.segment: joint.parent for joint in _JOINTS}
ANGLES: np.ndarray = np.array([INDEX[turn[0]] for joint in _JOINTS for turn in joint.turns])  # in the chain's order
_SEGMENT_OF_ANGLE = np.array([_PLACE[joint.segment] for joint in _JOINTS for _ in joint.turns])


def _moved() -> np.ndarray:
    """Which segments each angle moves, bool[S, A]: that of its joint, and all beyond."""
    moved = np.zeros((len(SEGMENTS), len(SEGMENTS)), bool)
    for name in SEGMENTS:
        above = name
        while above:
            moved[_PLACE[name], _PLACE[above]] = True
            above = _PARENT[above]
    return moved[:, _SEGMENT_OF_ANGLE]


_MOVED_SA = _moved()


@dataclass(frozen=True)
class Pose:
    """Segments in the world, and the axes of their joints."""

    origin: np.ndarray  # f64[T, S, 3] metres
    frame: np.ndarray  # f64[T, S, 3, 3] columns x, y, z of each segment
    axis: np.ndarray  # f64[T, A, 3] about which a growing coordinate turns what is beyond


@dataclass
class Body:
    """Sizes of a body and its M markers."""

    at: np.ndarray  # i[M] segment from whose origin a marker's offset is measured
    turns: np.ndarray  # i[M] segment in whose frame the offset is measured
    offset: np.ndarray  # f64[M, 3] metres
    height_m: float
    fractions: np.ndarray  # f64[L] segment lengths as shares of the height


def pose(q_TC: np.ndarray, height_m: float, fractions_L: np.ndarray) -> Pose:
    """Positions and orientations of all segments."""
    frames = len(q_TC)
    cos_TC, sin_TC = np.cos(q_TC, dtype=np.float64), np.sin(q_TC, dtype=np.float64)
    origin = np.zeros((frames, len(SEGMENTS), 3))
    frame = np.zeros((frames, len(SEGMENTS), 3, 3))
    axis = np.zeros((frames, len(ANGLES), 3))
    column = 0
    for joint in _JOINTS:
        here = _PLACE[joint.segment]
        turned = frame[:, here]
        if joint.parent:
            above = _PLACE[joint.parent]
            turned[:] = frame[:, above]
            origin[:, here] = origin[:, above]
            for along, name, sign in joint.place:
                origin[:, here] += turned[:, :, along] * (sign * fractions_L[_LENGTH[name]] * height_m)
        else:
            turned[:] = np.eye(3)
            origin[:, here] = q_TC[:, _ROOT]
        for name, about, sign in joint.turns:
            index = INDEX[name]
            axis[:, column] = sign * turned[:, :, about]
            column += 1
            a, b = (about + 1) % 3, (about + 2) % 3
            cos, sin = cos_TC[:, index, None], sign * sin_TC[:, index, None]
            first, second = turned[:, :, a], turned[:, :, b]
            turned[:, :, a], turned[:, :, b] = first * cos + second * sin, second * cos - first * sin
    return Pose(origin, frame, axis)


def _by_lengths(found: Pose, body: Body) -> np.ndarray:
    """Derivatives of the segments' origins by the logarithm of each length, f64[T, S, 3, L]."""
    result = np.zeros((*found.origin.shape, len(body.fractions)))
    for joint in _JOINTS:
        here, above = _PLACE[joint.segment], _PLACE.get(joint.parent)
        if above is None:
            continue
        result[:, here] = result[:, above]
        for along, name, sign in joint.place:
            size = sign * body.fractions[_LENGTH[name]] * body.height_m
            result[:, here, :, _LENGTH[name]] += found.frame[:, above, :, along] * size
    return result


def _levers(found: Pose, body: Body) -> np.ndarray:
    """From the origin of each marker's segment to the marker, f64[T, M, 3], in the world."""
    return np.asarray((found.frame[:, body.turns] @ body.offset[:, :, None])[..., 0])


def place(q_TC: np.ndarray, body: Body) -> np.ndarray:
    """Marker positions f64[T, M, 3]."""
    found = pose(q_TC, body.height_m, body.fractions)
    return np.asarray(found.origin[:, body.at] + _levers(found, body))


def with_derivatives(q_TC: np.ndarray, body: Body) -> tuple[np.ndarray, np.ndarray]:
    """Marker positions f64[T, M, 3] and their derivatives by the coordinates, f64[T, M, 3, C]."""
    found = pose(q_TC, body.height_m, body.fractions)
    lever_TM3 = _levers(found, body)
    base_TM3 = found.origin[:, body.at]
    joint_TA3 = found.origin[:, _SEGMENT_OF_ANGLE]
    at_MA = _MOVED_SA[body.at].astype(np.float64)
    turns_MA = _MOVED_SA[body.turns].astype(np.float64)
    # From the joint to the marker, each component [T, M, A]; nothing where the angle does not move the marker.
    x, y, z = (
        at_MA * (base_TM3[:, :, None, i] - joint_TA3[:, None, :, i]) + turns_MA * lever_TM3[:, :, None, i]
        for i in range(3)
    )
    u, v, w = (found.axis[:, None, :, i] for i in range(3))
    jacobian = np.zeros((*lever_TM3.shape, COORDINATE_COUNT))
    jacobian[:, :, 0, ANGLES] = v * z - w * y
    jacobian[:, :, 1, ANGLES] = w * x - u * z
    jacobian[:, :, 2, ANGLES] = u * y - v * x
    for i, index in enumerate(_ROOT):
        jacobian[:, :, i, index] = 1.0
    return base_TM3 + lever_TM3, jacobian


def by_sizes(q_TC: np.ndarray, body: Body, nominal_M3: np.ndarray) -> np.ndarray:
    """Derivatives of the markers by log stature, log segment lengths and offsets, f64[T, M, 3, 1 + L + 3 M].

    Args:
        nominal_M3: offsets on a body of unit height, which grow with the stature.
    """
    found = pose(q_TC, body.height_m, body.fractions)
    frames, markers, lengths = len(q_TC), len(body.at), len(body.fractions)
    turned_TM33 = found.frame[:, body.turns]
    result = np.zeros((frames, markers, 3, 1 + lengths + 3 * markers))
    by_length = _by_lengths(found, body)[:, body.at]
    grown = (turned_TM33 @ (nominal_M3 * body.height_m)[:, :, None])[..., 0]
    result[..., 0] = by_length.sum(axis=3) + grown
    result[..., 1 : 1 + lengths] = by_length
    for marker in range(markers):
        begin = 1 + lengths + 3 * marker
        result[:, marker, :, begin : begin + 3] = turned_TM33[:, marker]
    return result
