"""Segment poses of Theia3D, which its C3D files hold in the group ROTATION instead of markers.

Each segment has a 4 x 4 matrix per frame: its axes (x right, y forward, z up) and its origin in the world. Names of the
segments and the layout are those of Theia3D's exports as ezc3d reads them; no such file comes with this project, so the
tests write their own. What the names promise is checked on the poses: which way the pelvis' x axis points, that
thighs and shanks hang below their origins, and how long the legs are.
"""

import dataclasses
from collections.abc import Mapping

import numpy as np
from scipy.spatial.transform import Rotation

from biomechgpt_jax.biomechanics.flags import CAUTION
from biomechgpt_jax.biomechanics.kinematics import FRACTIONS
from biomechgpt_jax.biomechanics.skeleton import INDEX
from biomechgpt_jax.biomechanics.trajectory import Metadata, Trajectory
from biomechgpt_jax.errors import InputError
from biomechgpt_jax.formats import rotations

ENDING = "_4x4"
_LEG = ("thigh", "shank", "foot")
NEEDED = ("pelvis", *(f"{side}_{part}" for side in "rl" for part in _LEG))
# Rows are forward, up and right in the axes of a segment.
_AXES = np.array([[0.0, 1, 0], [0, 0, 1], [1, 0, 0]])
# A foot may instead have its z axis along the sole, from the toes to the heel, as Visual3D builds a foot.
_AXES_ALONG = np.array([[0.0, 0, -1], [0, 1, 0], [1, 0, 0]])
_LEG_M = (0.25, 1.3)
_METRES = (1e-3, 1e-2, 1.0)
_MOSTLY = 0.5  # a coordinate known in fewer of the frames is masked
_OFF_ORTHOGONAL = 0.05
# Segments whose poses a coordinate needs, by its name or the beginning of it.
_DEPENDS: dict[str, tuple[str, ...]] = {
    **dict.fromkeys(("pelvis_tx", "pelvis_ty", "pelvis_tz"), ("pelvis", "r_thigh", "l_thigh")),
    "pelvis": ("pelvis",),
    "hip": ("pelvis", "{}_thigh"),
    "knee": ("{}_thigh", "{}_shank"),
    "ankle": ("{}_shank", "{}_foot"),
    "subtalar": ("{}_shank", "{}_foot"),
    "lumbar": ("pelvis", "torso"),
    "neck": ("torso", "head"),
    "arm": ("torso", "{}_uarm"),
    "elbow": ("{}_uarm", "{}_larm"),
}


def segment_names(labels: list[str]) -> dict[str, int]:
    """Numbers of the segments by lower-case name without "_4X4"; empty if none of them is one of Theia3D's."""
    names: dict[str, int] = {}
    for index, label in enumerate(labels):
        names.setdefault(label.strip().lower().removesuffix(ENDING), index)
    return names if set(names) & set(NEEDED) else {}


def trajectory(
    poses_TN44: np.ndarray, labels: list[str], rate_hz: float, metre: float, metadata: Metadata
) -> Trajectory:
    """Coordinates from the poses of the segments; NaN in frames in which a segment was not tracked.

    Args:
        poses_TN44: f64[T, N, 4, 4] from the axes of each segment to those of the world.
        labels: names of the N segments.
        metre: metres per unit of length.

    Raises:
        InputError: segments are missing or never tracked, or their axes are not those of Theia3D.
    """
    names = segment_names(labels)
    missing = [name for name in NEEDED if name not in names]
    if missing:
        known = ", ".join(labels[:6])
        raise InputError(f"holds rotations of {len(labels)} segments ({known} ...), but none of {missing[0]}")
    poses = {name: _Pose.of(poses_TN44[:, index]) for name, index in names.items()}
    never = [name for name in NEEDED if poses[name].known.sum() < 2]
    if never:
        raise InputError(f"holds rotations of Theia3D, but {never[0]} was tracked in no two frames")
    metre, flags = _unit(poses, metre)
    _check_axes(poses)
    world = _world(poses)
    height = metre * _leg(poses) / (FRACTIONS.thigh + FRACTIONS.shank)
    q, observed = rotations.coordinates(_segments(poses, world, metre, height))
    known = _known(poses, len(q)) & observed
    observed = known.mean(axis=0) > _MOSTLY
    q[~known] = np.nan
    q[:, ~observed] = 0.0
    heading = INDEX["pelvis_rotation"]
    turned = np.isfinite(q[:, heading])
    q[turned, heading] = np.unwrap(q[turned, heading])
    metadata = dataclasses.replace(metadata, height_m=height, flags=(*metadata.flags, rotations.FLAG, *flags))
    return Trajectory(q.astype(np.float32), observed, rate_hz, metadata)


@dataclasses.dataclass(frozen=True)
class _Pose:
    """One segment over time: axes f64[T, 3, 3] (the identity where unknown), origin f64[T, 3], known bool[T]."""

    axes: np.ndarray
    origin: np.ndarray
    known: np.ndarray

    @staticmethod
    def of(matrix_T44: np.ndarray) -> "_Pose":
        axes, origin = matrix_T44[:, :3, :3].copy(), matrix_T44[:, :3, 3].copy()
        with np.errstate(all="ignore"):
            off = np.abs(np.swapaxes(axes, 1, 2) @ axes - np.eye(3)).max(axis=(1, 2))
            known = (off < _OFF_ORTHOGONAL) & (np.linalg.det(axes) > 0) & np.isfinite(origin).all(axis=1)
        axes[~known], origin[~known] = np.eye(3), np.nan
        return _Pose(axes, origin, known)

    def towards(self, there: np.ndarray) -> np.ndarray:
        """Median direction from the origin to a point of the world f64[T, 3], in the segment's own axes, f64[3]."""
        seen = self.known & np.isfinite(there).all(axis=1)
        if not seen.any():
            return np.zeros(3)
        local = np.einsum("tji,tj->ti", self.axes[seen], there[seen] - self.origin[seen])
        return np.median(local, axis=0)


def _unit(poses: Mapping[str, _Pose], metre: float) -> tuple[float, list[str]]:
    """Metres per unit of length, by the length of the legs, and a flag if the file says another."""
    leg = _leg(poses)
    if _LEG_M[0] <= metre * leg <= _LEG_M[1]:
        return metre, []
    fitting = [unit for unit in _METRES if _LEG_M[0] <= unit * leg <= _LEG_M[1]]
    if len(fitting) != 1:
        raise InputError(f"holds legs of {metre * leg:.3g} m; correct the unit of its rotations")
    return fitting[0], [
        f"{CAUTION}the legs would be {metre * leg:.3g} m long in the file's unit: read as {fitting[0] * leg:.2f} m"
    ]


def _leg(poses: Mapping[str, _Pose]) -> float:
    """Length of thigh and shank, in the unit of the file."""
    lengths = [
        np.nanmedian(np.linalg.norm(poses[f"{side}_{lower}"].origin - poses[f"{side}_{upper}"].origin, axis=1))
        for side in "rl"
        for upper, lower in (("thigh", "shank"), ("shank", "foot"))
        if (poses[f"{side}_{lower}"].known & poses[f"{side}_{upper}"].known).any()
    ]
    return 2.0 * float(np.mean(lengths)) if lengths else np.nan


def _check_axes(poses: Mapping[str, _Pose]) -> None:
    """Refuse segments whose axes do not point where Theia3D's do."""
    left_T3, right_T3 = (poses[f"{side}_thigh"].origin for side in "lr")
    across = poses["pelvis"].towards(poses["pelvis"].origin + right_T3 - left_T3)
    checks = [("the pelvis' x axis to the right", across[0] > 0.8 * np.linalg.norm(across))]
    for side in "rl":
        for upper, lower in (("thigh", "shank"), ("shank", "foot")):
            along = poses[f"{side}_{upper}"].towards(poses[f"{side}_{lower}"].origin)
            checks.append((f"the z axis of {side}_{upper} upwards", -along[2] > 0.8 * np.linalg.norm(along)))
    for what, holds in checks:
        if not holds:
            raise InputError(f"holds rotations with the names of Theia3D but other axes: {what} was expected")


def _world(poses: Mapping[str, _Pose]) -> np.ndarray:
    """Our axes (forward, up, right) as rows in the world of the file; the body stands along its vertical."""
    ankles = 0.5 * (poses["r_foot"].origin + poses["l_foot"].origin)
    over = np.nanmedian(0.5 * (poses["r_thigh"].origin + poses["l_thigh"].origin) - ankles, axis=0)
    vertical = int(np.argmax(np.abs(over))) if np.isfinite(over).all() else 2
    up = np.eye(3)[vertical] * (np.sign(over[vertical]) if np.isfinite(over).all() else 1.0)
    right = np.eye(3)[0 if vertical else 1]
    return np.stack([np.cross(up, right), up, right])


def _segments(poses: Mapping[str, _Pose], world: np.ndarray, metre: float, height: float) -> rotations.Segments:
    """Rotations in our axes, each relative to the segment above it, and the path of the pelvis in metres."""

    def turn(name: str, axes: np.ndarray = _AXES) -> Rotation:
        return Rotation.from_matrix(world @ poses[name].axes @ axes.T)

    pelvis, legs, arms = turn("pelvis"), {}, {}
    for side in "rl":
        thigh, shank = turn(f"{side}_thigh"), turn(f"{side}_shank")
        foot = turn(f"{side}_foot", _foot_axes(poses, side))
        legs[side] = (pelvis.inv() * thigh, thigh.inv() * shank, shank.inv() * foot)
    torso = turn("torso") if "torso" in poses else None
    for side in "rl":
        if torso is not None and {f"{side}_uarm", f"{side}_larm"} <= set(poses):
            along = poses[f"{side}_uarm"].towards(poses[f"{side}_larm"].origin)
            if -along[2] > 0.8 * np.linalg.norm(along):
                upper = turn(f"{side}_uarm")
                arms[side] = (torso.inv() * upper, upper.inv() * turn(f"{side}_larm"))
    # The hips' middle is the best known point of the pelvis; its origin in our body lies in front of and above it.
    hips = 0.5 * metre * (poses["r_thigh"].origin + poses["l_thigh"].origin) @ world.T
    path = hips + pelvis.apply(height * np.array([FRACTIONS.hip_back, FRACTIONS.hip_down, 0.0]))
    lumbar = None if torso is None else pelvis.inv() * torso
    neck = None if torso is None or "head" not in poses else torso.inv() * turn("head")
    return rotations.Segments(pelvis, path, legs, lumbar, neck, arms)


def _foot_axes(poses: Mapping[str, _Pose], side: str) -> np.ndarray:
    """Forward, up and right in the axes of a foot, by where its toes are."""
    toes = poses.get(f"{side}_toes")
    if toes is None:
        return _AXES
    ahead = poses[f"{side}_foot"].towards(toes.origin)
    return _AXES_ALONG if -ahead[2] > np.abs(ahead[1]) else _AXES


def _known(poses: Mapping[str, _Pose], frames: int) -> np.ndarray:
    """Whether the poses that a coordinate needs are known, bool[T, 40]."""
    known = np.ones((frames, len(INDEX)), bool)
    for name, column in INDEX.items():
        side = name[-1] if name.endswith(("_r", "_l")) else ""
        for segment in _DEPENDS.get(name, _DEPENDS.get(name.partition("_")[0], ())):
            pose = poses.get(segment.format(side))
            known[:, column] &= pose.known if pose is not None else False
    return known
