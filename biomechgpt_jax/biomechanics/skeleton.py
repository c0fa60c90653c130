"""The 40 generalised coordinates: names, order, limits, groups and the left-right mirror.

Order and names follow the body model behind the published system; the sign convention is that of Rajagopal
2016 (knee flexion positive). World: x forward, y up, z right; radians and metres.
"""

from dataclasses import dataclass

import numpy as np

_LEG = ("hip_flexion", "hip_adduction", "hip_rotation", "knee_angle", "ankle_angle", "subtalar_angle", "mtp_angle")
_ARM = ("arm_flex", "arm_add", "arm_rot", "elbow_flex", "pro_sup", "wrist_flex", "wrist_dev")
_TRUNK = ("lumbar_extension", "lumbar_bending", "lumbar_rotation", "neck_extension", "neck_bending", "neck_rotation")

COORDINATES: tuple[str, ...] = (
    "pelvis_tx",
    "pelvis_tz",
    "pelvis_ty",
    "pelvis_tilt",
    "pelvis_list",
    "pelvis_rotation",
    *(f"{name}_r" for name in _LEG),
    *(f"{name}_l" for name in _LEG),
    *_TRUNK,
    *(f"{name}_r" for name in _ARM),
    *(f"{name}_l" for name in _ARM),
)
INDEX: dict[str, int] = {name: index for index, name in enumerate(COORDINATES)}
COORDINATE_COUNT = len(COORDINATES)

# Coordinates that the OpenSim models of OpenCap and AddBiomechanics do not have.
NECK_AND_WRISTS: tuple[str, ...] = tuple(name for name in COORDINATES if name.startswith(("neck_", "wrist_")))
# Coordinates that often stand at a limit in markerless files: artefacts, not movement.
OFTEN_ARTEFACTS: tuple[str, ...] = tuple(
    name for name in COORDINATES if name.startswith(("pro_sup", "mtp_angle", "subtalar_angle", "arm_rot"))
)
HORIZONTAL_ROOT: tuple[str, ...] = ("pelvis_tx", "pelvis_tz")


@dataclass(frozen=True)
class _Range:
    low: float
    high: float


# Limits used by this program in degrees, wider than those of either published model; translations are unlimited.
_LIMITS_DEG: dict[str, _Range] = {
    "pelvis_tilt": _Range(-90, 90),
    "pelvis_list": _Range(-90, 90),
    "hip_flexion": _Range(-50, 130),
    "hip_adduction": _Range(-50, 40),
    "hip_rotation": _Range(-120, 120),
    "knee_angle": _Range(-20, 160),
    "ankle_angle": _Range(-90, 90),
    "subtalar_angle": _Range(-90, 90),
    "mtp_angle": _Range(-45, 60),
    "lumbar_extension": _Range(-90, 90),
    "lumbar_bending": _Range(-90, 90),
    "lumbar_rotation": _Range(-90, 90),
    "neck_extension": _Range(-90, 45),
    "neck_bending": _Range(-43, 43),
    "neck_rotation": _Range(-80, 80),
    "arm_flex": _Range(-90, 180),
    "arm_add": _Range(-180, 90),
    "arm_rot": _Range(-90, 90),
    "elbow_flex": _Range(-17, 150),
    "pro_sup": _Range(-34, 180),
    "wrist_flex": _Range(-70, 70),
    "wrist_dev": _Range(-25, 35),
}


def without_side(name: str) -> str:
    """The name of a coordinate without its side: "knee_angle" of "knee_angle_r"."""
    return name[:-2] if name.endswith(("_r", "_l")) else name


def limits() -> np.ndarray:
    """Lower and upper limit of each coordinate, f32[40, 2] radians; infinite where there is none."""
    table = np.full((COORDINATE_COUNT, 2), (-np.inf, np.inf), np.float32)
    for index, name in enumerate(COORDINATES):
        if without_side(name) in _LIMITS_DEG:
            limit = _LIMITS_DEG[without_side(name)]
            table[index] = np.radians([limit.low, limit.high])
    return table


_MIRROR_FLIPPED = (
    "pelvis_tz",
    "pelvis_list",
    "pelvis_rotation",
    "lumbar_bending",
    "lumbar_rotation",
    "neck_bending",
    "neck_rotation",
)


def _other_side(name: str) -> str:
    if name.endswith("_r"):
        return f"{name[:-2]}_l"
    return f"{name[:-2]}_r" if name.endswith("_l") else name


MIRROR_PERMUTATION = np.array([INDEX[_other_side(name)] for name in COORDINATES])
MIRROR_SIGN = np.array([-1.0 if name in _MIRROR_FLIPPED else 1.0 for name in COORDINATES], np.float32)


def mirror(coordinates: np.ndarray) -> np.ndarray:
    """Reflect a movement f32[..., 40] in the sagittal plane: left becomes right.

    A mask is mirrored by `observed[MIRROR_PERMUTATION]`.
    """
    return coordinates[..., MIRROR_PERMUTATION] * MIRROR_SIGN


def observed_without(names: tuple[str, ...]) -> np.ndarray:
    """Mask bool[40] that is True for all but the named coordinates."""
    observed = np.ones(COORDINATE_COUNT, bool)
    observed[[INDEX[name] for name in names]] = False
    return observed
