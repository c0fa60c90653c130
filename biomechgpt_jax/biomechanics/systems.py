"""Measurement systems: what one laboratory's joint angles differ by from another's for the same movement.

Markers stand elsewhere, the planes of the pelvis and the axes of the joints are defined otherwise, and a body model may
lack joints. Such differences are constant offsets and small gains of a whole recording, mostly common to both sides.
Tilt and list are those of the heading frame (`features`), so that an offset turns with the body.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from biomechgpt_jax.biomechanics.skeleton import (
    COORDINATE_COUNT,
    COORDINATES,
    HORIZONTAL_ROOT,
    INDEX,
    NECK_AND_WRISTS,
    without_side,
)

# Standard deviations between systems in degrees, of pelvis_ty in metres. The size given to each joint is an assumption
# of this program within these published ranges:
# - laboratories that share one protocol differ by 2.3 degrees (median) and at most 5 over all joint angles (Kaufman et
#   al. 2016, Gait Posture 49:375, abstract);
# - markerless and marker-based segment angles differ by less than 6 degrees RMS except about the long axes (Kanko et
#   al. 2021, J Biomech 127:110665, abstract);
# - hip rotation is the least reliable angle of the leg (McGinley et al. 2009, Gait Posture 29:360, abstract);
# - lumbar angles in gait have inter-tester standard errors of 2.1 to 3.5 degrees (Deane et al. 2020, BMC Res Notes,
#   doi 10.1186/s13104-020-05295-9, table 1), trunk angles up to 5.3 (Bagheri et al. 2018, Ann Rehabil Med 42:239,
#   abstract);
# - least detectable changes of arm angles are below 25 degrees, most of them below 10 (PMC5809188, abstract), which are
#   standard errors of 9 and 3.6.
# Rows marked [memory] rest on no source that was read.
SPREAD: dict[str, float] = {
    "pelvis_ty": 0.025,  # [memory] level of the floor, height of the hip centres
    "pelvis_tilt": 1.5,  # beside the plane of the pelvis, below
    "pelvis_list": 1.5,
    "pelvis_rotation": 1.5,
    "hip_flexion": 2.5,
    "hip_adduction": 2.5,
    "hip_rotation": 7.0,
    "knee_angle": 4.0,
    "ankle_angle": 4.0,
    "subtalar_angle": 6.0,  # [memory] with the foot's progression
    "mtp_angle": 4.0,  # [memory]
    "lumbar_extension": 4.0,
    "lumbar_bending": 2.0,
    "lumbar_rotation": 2.5,
    "neck_extension": 8.0,  # [memory]
    "neck_bending": 3.0,  # [memory]
    "neck_rotation": 4.0,  # [memory]
    "arm_flex": 5.0,
    "arm_add": 5.0,
    "arm_rot": 8.0,
    "elbow_flex": 6.0,
    "pro_sup": 25.0,  # [memory] many systems do not measure it and hold it constant
    "wrist_flex": 6.0,  # [memory]
    "wrist_dev": 4.0,  # [memory]
}
# The plane of the pelvis: two common body models define it 10 degrees apart, which moved hip flexion by 9.8 (Falisse et
# al. 2018, J Appl Biomech 34:496, abstract); 7 between this program's model and the norms' (one subject). The trunk is
# measured against the same plane.
PLANE_SPREAD_DEG = 5.0
_FOLLOW_PLANE = {"pelvis_tilt": -1.0, "hip_flexion_r": 1.0, "hip_flexion_l": 1.0, "lumbar_extension": 1.0}
# Share of a limb's variance that both sides share [memory]: who places the markers errs alike on both.
COMMON_SHARE = 0.8
# SD of the logarithm of the gain on a joint's range [memory]: about 3 degrees of a knee's range of 60.
GAIN_SPREAD = 0.05
# Groups of coordinates that body models lack, with the share of models that do [memory]. OpenCap and AddBiomechanics
# have no neck and wrists, gait2392 has no arms either, and the lower body of Plug-in Gait no trunk; toes and subtalar
# joints are often locked, and files of one stride often have no path.
_LACKED: tuple[tuple[float, tuple[str, ...]], ...] = (
    (0.85, NECK_AND_WRISTS),
    (0.4, tuple(name for name in COORDINATES if name.startswith(("arm_", "elbow_", "pro_sup", "wrist_", "neck_")))),
    (0.6, ("mtp_angle_r", "mtp_angle_l")),
    (0.3, ("subtalar_angle_r", "subtalar_angle_l", "mtp_angle_r", "mtp_angle_l")),
    (0.15, HORIZONTAL_ROOT),
)
# Share of models without arms that lack the trunk as well [memory].
_NO_TRUNK = 0.4
_ANGLES_AND_HEIGHT = slice(INDEX["pelvis_ty"], COORDINATE_COUNT)
_TILT, _LIST, _ROTATION = (INDEX[name] for name in ("pelvis_tilt", "pelvis_list", "pelvis_rotation"))
_PELVIS = np.array([_TILT, _LIST, _ROTATION])


@dataclass(frozen=True)
class System:
    """What a measurement system adds to a movement.

    Attributes:
        offset: f32[40], radians and metres; added to every frame. Tilt and list are those of the heading frame, and
            the rotation is that of the pelvis to the left of its heading.
        gain: f32[40] factor on each coordinate's deviation from its mean over the recording; the path, the height and
            the rotation of the pelvis have none.
    """

    offset: np.ndarray = field(default_factory=lambda: np.zeros(COORDINATE_COUNT, np.float32))
    gain: np.ndarray = field(default_factory=lambda: np.ones(COORDINATE_COUNT, np.float32))

    def apply(self, coordinates: np.ndarray, observed: np.ndarray) -> np.ndarray:
        """The movement as the system records it, f32[T, 40]; it may lie beyond the joint limits.

        Args:
            coordinates: f32[T, 40]; what is missing (NaN) stays missing, and a frame that lacks one angle of the pelvis
                lacks all of them afterwards.
            observed: bool[40]; the others stay as they are. The pelvis is turned only if all its angles are observed.
        """
        from scipy.spatial.transform import Rotation  # slow to import

        moved = coordinates.astype(np.float64)
        changed = np.asarray(observed, bool).copy()
        changed[_PELVIS] = changed[_PELVIS].all()
        if changed[_ROTATION]:
            # R = Rz(tilt) Rx(list) Ry(rotation) as recorded = Ry(heading) Rz(tilt') Rx(list'); see `features`.
            known = np.isfinite(moved[:, _PELVIS]).all(axis=1)
            changed[_PELVIS] &= known.any()
        if changed[_ROTATION]:
            heading, tilt, list_ = Rotation.from_euler("ZXY", moved[known][:, _PELVIS]).as_euler("YZX").T
            moved[np.ix_(known, _PELVIS)] = np.stack([tilt, list_, heading], axis=1)
        seen = np.isfinite(moved)
        mean = np.where(seen, moved, 0.0).sum(axis=0) / np.maximum(seen.sum(axis=0), 1)
        gain = np.where(changed, self.gain, 1.0)
        gain[_ROTATION] = 1.0  # a heading has no mean
        moved += (gain - 1.0) * (moved - mean) + np.where(changed, self.offset, 0.0)
        if changed[_ROTATION]:
            after = Rotation.from_euler("YZX", moved[known][:, [_ROTATION, _TILT, _LIST]]).as_euler("ZXY")
            before = coordinates[known, _ROTATION]
            after[:, 2] += 2 * np.pi * np.round((before - after[:, 2]) / (2 * np.pi))  # the same turn as recorded
            moved[np.ix_(known, _PELVIS)] = after
            moved[np.ix_(~known, _PELVIS)] = np.nan
        return np.where(changed, moved, coordinates).astype(np.float32)


def posture(coordinates: np.ndarray, observed: np.ndarray) -> np.ndarray:
    """Means over a recording, f64[40], of what an offset changes; NaN where it is not observed.

    Tilt and list are those of the heading frame. The path and the rotation of the pelvis have no mean, and its height
    is that of the body.

    Args:
        coordinates: f32[T, 40] without gaps.
        observed: bool[40].
    """
    from scipy.spatial.transform import Rotation  # slow to import

    mean = np.where(observed, coordinates.mean(axis=0, dtype=np.float64), np.nan)
    if np.asarray(observed)[_PELVIS].all():
        _, tilt, list_ = Rotation.from_euler("ZXY", coordinates[:, _PELVIS]).as_euler("YZX").T
        mean[[_TILT, _LIST]] = tilt.mean(), list_.mean()
    else:
        mean[[_TILT, _LIST]] = np.nan
    mean[: INDEX["pelvis_tilt"]] = mean[_ROTATION] = np.nan
    return mean


def draw(rng: np.random.Generator) -> System:
    """Draw a system from `SPREAD`, `PLANE_SPREAD_DEG` and `GAIN_SPREAD`."""
    both_sides = dict(zip(SPREAD, rng.normal(size=len(SPREAD)), strict=True))
    own = rng.normal(size=COORDINATE_COUNT)
    offset, gain = np.zeros(COORDINATE_COUNT), np.ones(COORDINATE_COUNT)
    for index, name in enumerate(COORDINATES):
        base = without_side(name)
        if base in SPREAD:
            common = COMMON_SHARE if base != name else 1.0
            offset[index] = SPREAD[base] * (np.sqrt(common) * both_sides[base] + np.sqrt(1 - common) * own[index])
    plane = PLANE_SPREAD_DEG * rng.normal()
    for name, share in _FOLLOW_PLANE.items():
        offset[INDEX[name]] += share * plane
    offset = _in_radians(offset)
    gain[_ANGLES_AND_HEIGHT] = np.exp(GAIN_SPREAD * rng.normal(size=COORDINATE_COUNT - INDEX["pelvis_ty"]))
    gain[[INDEX["pelvis_ty"], _ROTATION]] = 1.0
    return System(offset.astype(np.float32), gain.astype(np.float32))


def draw_lacking(rng: np.random.Generator) -> np.ndarray:
    """Draw the coordinates that the body model of a system lacks, bool[40]."""
    lacking = np.zeros(COORDINATE_COUNT, bool)
    for share, names in _LACKED:
        if rng.random() < share:
            lacking[[INDEX[name] for name in names]] = True
    if lacking[INDEX["arm_flex_r"]] and rng.random() < _NO_TRUNK:
        lacking[[INDEX[name] for name in ("lumbar_extension", "lumbar_bending", "lumbar_rotation")]] = True
    return lacking


def covariance() -> np.ndarray:
    """Covariance of the offsets of `draw` between systems, f64[40, 40] in radians and metres."""
    found = np.zeros((COORDINATE_COUNT, COORDINATE_COUNT))
    for index, name in enumerate(COORDINATES):
        variance = SPREAD.get(without_side(name), 0.0) ** 2
        found[index, index] = variance
        if without_side(name) != name:
            other = INDEX[f"{without_side(name)}_{'l' if name.endswith('_r') else 'r'}"]
            found[index, other] = COMMON_SHARE * variance
    plane = np.zeros(COORDINATE_COUNT)
    plane[[INDEX[name] for name in _FOLLOW_PLANE]] = PLANE_SPREAD_DEG * np.array(list(_FOLLOW_PLANE.values()))
    found += np.outer(plane, plane)
    unit = _in_radians(np.ones(COORDINATE_COUNT))
    return found * np.outer(unit, unit)


def largest(offset: np.ndarray, count: int) -> Sequence[str]:
    """Words for the largest offsets of angles, sides together: "pelvis tilt -6.1", in degrees."""
    degrees = np.degrees(offset)
    by_joint: dict[str, list[float]] = {}
    for index, name in enumerate(COORDINATES[3:], 3):
        by_joint.setdefault(without_side(name), []).append(float(degrees[index]))
    sizes = {name: float(np.mean(values)) for name, values in by_joint.items()}
    order = sorted((name for name in sizes if abs(sizes[name]) >= 0.05), key=lambda name: -abs(sizes[name]))[:count]
    return [f"{name.replace('_', ' ')} {sizes[name]:+.1f}" for name in order]


def _in_radians(offset: np.ndarray) -> np.ndarray:
    """Degrees in radians; pelvis_ty stays in metres."""
    found = np.radians(offset)
    found[INDEX["pelvis_ty"]] = offset[INDEX["pelvis_ty"]]
    return found
