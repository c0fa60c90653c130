"""Which coordinates a set of landmarks can tell."""

from collections.abc import Sequence

import numpy as np

from biomechgpt_jax.biomechanics.marker_sets import landmark
from biomechgpt_jax.biomechanics.skeleton import COORDINATE_COUNT, COORDINATES, INDEX

# Coordinates of a joint by the segment beyond it.
_BEYOND = {
    "thigh": ("hip_flexion", "hip_adduction"),
    "shank": ("knee_angle",),
    "foot": ("ankle_angle", "subtalar_angle"),
    "toes": ("mtp_angle",),
    "upper_arm": ("arm_flex", "arm_add"),
    "forearm": ("elbow_flex",),
    "hand": ("wrist_flex", "wrist_dev"),
}


def observed_coordinates(landmarks: Sequence[str]) -> np.ndarray:
    """bool[40]: whether the markers of each segment, or of the next one, fix the coordinates of its joint.

    The root is taken as seen; a rotation about a segment's long axis needs a marker off that axis beyond the joint or
    the next segment, two points on a foot or a hand, three on the head.
    """
    count: dict[str, int] = {}
    for name in landmarks:
        where = landmark(name).turns_with
        # The marker at a segment's far joint also tells where that joint is.
        count[where] = count.get(where, 0) + 1
    seen = np.zeros(COORDINATE_COUNT, bool)
    seen[:6] = True
    has = {segment: count.get(segment, 0) for segment in count}
    for side in "rl":
        at = {segment: has.get(f"{segment}_{side}", 0) for segment in _BEYOND}
        told = {
            "thigh": at["thigh"] + at["shank"] >= 1,
            "shank": at["shank"] >= 1,
            "foot": at["foot"] >= 2,
            "toes": at["toes"] >= 1 and at["foot"] >= 2,
            "upper_arm": at["upper_arm"] >= 1,
            "forearm": at["forearm"] >= 1,
            "hand": at["hand"] >= 2,
        }
        for segment, coordinates in _BEYOND.items():
            for name in coordinates:
                seen[INDEX[f"{name}_{side}"]] = told[segment]
        # With a bent knee or elbow the next segment shows the rotation; else a cluster does.
        seen[INDEX[f"hip_rotation_{side}"]] = at["shank"] >= 1 and at["thigh"] >= 1
        seen[INDEX[f"arm_rot_{side}"]] = at["forearm"] >= 1 and at["upper_arm"] >= 1
        seen[INDEX[f"pro_sup_{side}"]] = at["forearm"] >= 2
    trunk = has.get("thorax", 0) >= 3
    head = has.get("head", 0) >= 3
    for i, name in enumerate(COORDINATES):
        if name.startswith("lumbar"):
            seen[i] = trunk
        if name.startswith("neck"):
            seen[i] = trunk and head
    return seen
