"""Which coordinates the markers seen in a frame determine.

Where a marker is depends on the coordinates through the Jacobian J, in metres per radian (per metre for the root). With
marker errors of standard deviation s, and coordinates known beforehand to one radian (one metre), the covariance of
the coordinates is (J'J / s^2 + I)^-1, that of linear Gaussian regression (Bishop 2006, Pattern Recognition and
Machine Learning, 3.3). A coordinate is observable if its own standard deviation is small: what no seen marker moves
keeps the one radian, and so does a combination of coordinates that the seen markers cannot tell apart, such as hip
rotation and adduction where one marker is left on a straight leg.

J is taken in one posture for all frames. In the posture of each frame hip rotation would come and go with the bend of
the knee, and a recording be cut wherever the leg is straight.

Shapes: T frames, M markers, C coordinates (40), P patterns of seen markers.
"""

from collections.abc import Sequence

import numpy as np

from biomechgpt_jax.biomechanics.fitting.landmarks import NOMINAL_HEIGHT_M, landmark
from biomechgpt_jax.biomechanics.skeleton import COORDINATE_COUNT, COORDINATES, INDEX, observed_without

# A coordinate is hidden unless it is observable in more than this share of the frames.
MOSTLY = 0.5
# Error of a marker on a body of nominal height: that of its place on the body, and soft tissue.
_ERROR_M = 0.01
# Largest standard deviation of an observable coordinate. In the real files at hand, coordinates that all markers of a
# set determine stay below 0.37 rad, and the others are above 0.9.
_LARGEST_RAD, _LARGEST_M = 0.4, 0.05
_LARGEST_C = np.full(COORDINATE_COUNT, _LARGEST_RAD)
_LARGEST_C[[INDEX[name] for name in ("pelvis_tx", "pelvis_ty", "pelvis_tz")]] = _LARGEST_M
# Markers that a segment needs of its own before the angles of its joint can be told from the offsets of its markers.
# With one marker on the hand, deviation of the wrist stood at its limit throughout real Plug-in Gait trials.
_OWN_MARKERS: dict[str, tuple[int, tuple[str, ...]]] = {
    "thorax": (3, ("lumbar_extension", "lumbar_bending", "lumbar_rotation")),
    "head": (3, ("neck_extension", "neck_bending", "neck_rotation")),
    **{f"foot_{side}": (2, (f"ankle_angle_{side}", f"subtalar_angle_{side}")) for side in "rl"},
    **{f"hand_{side}": (2, (f"wrist_flex_{side}", f"wrist_dev_{side}")) for side in "rl"},
}
_PATTERNS_AT_A_TIME = 256


def posture() -> np.ndarray:
    """Coordinates f32[40] of the posture to take J in: upright, with knees and elbows bent as in most movements.

    With straight knees and elbows the next segment would not show the rotation of hip and shoulder.
    """
    q = np.zeros(COORDINATE_COUNT, np.float32)
    for side in "rl":
        q[INDEX[f"knee_angle_{side}"]], q[INDEX[f"elbow_flex_{side}"]] = 0.4, 0.5
    return q


def observable(
    jacobian_M3C: np.ndarray, seen_TM: np.ndarray, height_m: float, beforehand_C: np.ndarray | None = None
) -> np.ndarray:
    """Whether the markers seen in each frame determine each coordinate, bool[T, C].

    Args:
        jacobian_M3C: derivatives of the marker positions by the coordinates, in `posture`.
        seen_TM: bool[T, M].
        height_m: body height; marker errors are taken to grow with it.
        beforehand_C: standard deviation to which each coordinate is known beforehand; one radian or metre if None.
    """
    _, first_P, pattern_T = np.unique(np.packbits(seen_TM, axis=1), axis=0, return_index=True, return_inverse=True)
    error_m = _ERROR_M * height_m / NOMINAL_HEIGHT_M
    scaled_M3C = jacobian_M3C.astype(np.float64) / error_m
    information_MCC = np.einsum("mic,mid->mcd", scaled_M3C, scaled_M3C)
    prior_CC = (
        np.eye(COORDINATE_COUNT) if beforehand_C is None else np.diag(np.asarray(beforehand_C, np.float64) ** -2.0)
    )
    chunks = []
    for begin in range(0, len(first_P), _PATTERNS_AT_A_TIME):
        seen_PM = seen_TM[first_P[begin : begin + _PATTERNS_AT_A_TIME]].astype(np.float64)
        information_PCC = np.tensordot(seen_PM, information_MCC, axes=1) + prior_CC
        variance_PC = np.diagonal(np.linalg.inv(information_PCC), axis1=1, axis2=2)
        chunks.append(np.sqrt(variance_PC) < _LARGEST_C)
    return np.concatenate(chunks)[pattern_T.reshape(-1)]


def calibrated(landmarks: Sequence[str]) -> np.ndarray:
    """Whether each segment bears enough of these landmarks to tell its joint's angles from marker offsets, bool[40]."""
    bears = [landmark(name).turns_with for name in landmarks]
    poor = [segment for segment, (fewest, _) in _OWN_MARKERS.items() if bears.count(segment) < fewest]
    return observed_without(tuple(name for segment in poor for name in _OWN_MARKERS[segment][1]))


def flags(observable_TC: np.ndarray, listed_C: np.ndarray) -> tuple[str, ...]:
    """Quality flags of coordinates that are at times not observable, with the share of frames.

    Args:
        observable_TC: bool[T, C].
        listed_C: bool[C] coordinates that would be observable were all listed markers seen; no other is flagged.

    Returns:
        Such as "unseen-12%-of-the-time:ankle_angle_r".
    """
    percent_C = -(-100 * (~observable_TC).sum(axis=0) // len(observable_TC))  # rounded up
    return tuple(
        f"unseen-{percent_C[index]}%-of-the-time:{COORDINATES[index]}"
        for index in np.flatnonzero(listed_C & (percent_C > 0))
    )
