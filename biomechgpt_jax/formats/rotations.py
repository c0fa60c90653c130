"""Coordinates from the rotations of body segments, as files of animated skeletons store them.

Such skeletons have ball joints where ours are hinges. Rotations are decomposed in our order of axes and flagged as
approximate. Skeletons that rest in a T-pose give no arms, because that is not our rest pose.
"""

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
from scipy.spatial.transform import Rotation

from biomechgpt_jax.biomechanics.skeleton import COORDINATE_COUNT, INDEX

FLAG = "approximate-rotations"


class Segments(NamedTuple):
    """Rotations over T frames, in our axes (x forward, y up, z right), each relative to the segment above it.

    Attributes:
        pelvis: rotation of the pelvis relative to the world.
        path_T3: position of the pelvis in metres, or None if unknown.
        legs: rotations of hip, knee and ankle by side ("r", "l").
        lumbar, neck: rotation of the thorax relative to the pelvis and of the head relative to the thorax; None if
            unknown.
        arms: rotations of shoulder (relative to the thorax) and elbow by side; empty if the arms do not rest hanging.
    """

    pelvis: Rotation
    path_T3: np.ndarray | None
    legs: dict[str, tuple[Rotation, Rotation, Rotation]]
    lumbar: Rotation | None
    neck: Rotation | None
    arms: Mapping[str, tuple[Rotation, Rotation]] = {}


def coordinates(segments: Segments) -> tuple[np.ndarray, np.ndarray]:
    """Coordinates f64[T, 40], and which of them are known, bool[40]."""
    q = np.zeros((len(segments.pelvis), COORDINATE_COUNT))
    observed = np.zeros(COORDINATE_COUNT, bool)

    def put(name: str, values: np.ndarray) -> None:
        q[:, INDEX[name]], observed[INDEX[name]] = values, True

    for name, values in zip(("tilt", "list", "rotation"), segments.pelvis.as_euler("ZXY").T, strict=True):
        put(f"pelvis_{name}", values)
    if segments.path_T3 is not None:
        for name, values in zip(("tx", "ty", "tz"), segments.path_T3.T, strict=True):
            put(f"pelvis_{name}", values)
    for side, leg in segments.legs.items():
        sign = 1.0 if side == "r" else -1.0
        hip, knee, ankle = (joint.as_euler("ZXY") for joint in leg)
        put(f"hip_flexion_{side}", hip[:, 0])
        put(f"hip_adduction_{side}", sign * hip[:, 1])
        put(f"hip_rotation_{side}", sign * hip[:, 2])
        put(f"knee_angle_{side}", -knee[:, 0])
        put(f"ankle_angle_{side}", ankle[:, 0])
        put(f"subtalar_angle_{side}", sign * ankle[:, 1])
    for side, (shoulder, elbow) in segments.arms.items():
        sign = 1.0 if side == "r" else -1.0
        flexion, adduction, rotation = shoulder.as_euler("ZXY").T
        put(f"arm_flex_{side}", flexion)
        put(f"arm_add_{side}", sign * adduction)
        put(f"arm_rot_{side}", sign * rotation)
        put(f"elbow_flex_{side}", elbow.as_euler("ZXY")[:, 0])
    for part, joint in (("lumbar", segments.lumbar), ("neck", segments.neck)):
        if joint is not None:
            for name, values in zip(("extension", "bending", "rotation"), joint.as_euler("ZXY").T, strict=True):
                put(f"{part}_{name}", values)
    return q, observed
