"""Joint angles that a laboratory computed with Plug-in-Gait, for C3D files that hold them but no usable markers.

Angles are in degrees. Pelvis and hip refer to the plane of the pelvic spines, which is tilted forward relative to the
pelvis of OpenSim models. Plug-in-Gait's leg angles come in the order flexion, adduction (varus), rotation, with equal
signs on both sides; its pelvis angles are given for each side: anterior tilt, this side up, this side forward.
"""

import dataclasses

import numpy as np
from scipy.spatial.transform import Rotation

from biomechgpt_jax.biomechanics.fitting import observability
from biomechgpt_jax.biomechanics.fitting.markers import Markers
from biomechgpt_jax.biomechanics.gait.indices import PELVIC_PLANE_DEG
from biomechgpt_jax.biomechanics.skeleton import COORDINATE_COUNT, INDEX
from biomechgpt_jax.biomechanics.trajectory import Trajectory
from biomechgpt_jax.errors import InputError

FLAG = "plug-in-gait-angles"
# Markers whose midpoint is the middle of the pelvis, with the names that files use for those at its back.
_FRONT, _BACKS = ("RASI", "LASI"), (("SACR",), ("RPSI", "LPSI"))
_NEEDED = tuple(f"{side}{joint}Angles" for side in "RL" for joint in ("Hip", "Knee", "Ankle"))


def supported(markers: Markers) -> bool:
    """Whether the angles of both legs are present."""
    return all(name in markers.angles for name in _NEEDED)


def trajectory(markers: Markers) -> Trajectory:
    """Coordinates from the angles, and the path of the pelvis from its markers; NaN in frames that lack them.

    Frames before the first and after the last frame with all leg angles are cut off. A coordinate that is missing in
    half of the other frames or more is masked.

    Raises:
        InputError: fewer than two frames have all angles of the legs.
    """
    frames = len(markers.positions)
    q = np.full((frames, COORDINATE_COUNT), np.nan)

    def put(name: str, degrees: np.ndarray) -> None:
        q[:, INDEX[name]] = np.radians(degrees)

    for side, word in (("r", "R"), ("l", "L")):
        hip, knee, ankle = (markers.angles[f"{word}{joint}Angles"] for joint in ("Hip", "Knee", "Ankle"))
        put(f"hip_flexion_{side}", hip[:, 0] - PELVIC_PLANE_DEG)
        put(f"hip_adduction_{side}", hip[:, 1])
        put(f"hip_rotation_{side}", hip[:, 2])
        put(f"knee_angle_{side}", knee[:, 0])
        put(f"ankle_angle_{side}", ankle[:, 0])
    path = _path(markers)
    heading = np.zeros(frames) if path is None else _heading(markers)
    if path is not None:
        q[:, [INDEX[name] for name in ("pelvis_tx", "pelvis_ty", "pelvis_tz")]] = path
    pelvis = markers.angles.get("RPelvisAngles")
    if pelvis is not None:
        tilt, list_ = np.radians(PELVIC_PLANE_DEG - pelvis[:, 0]), -np.radians(pelvis[:, 1])
        q[:, [INDEX[f"pelvis_{name}"] for name in ("tilt", "list", "rotation")]] = _decompose_in_world(
            heading, tilt, list_
        )
    complete = _complete(markers)
    if len(complete) < 2:
        raise InputError("no two frames have complete Plug-in-Gait angles; run the model again")
    q = q[complete[0] : complete[-1] + 1]
    known = np.isfinite(q)
    if path is None:
        known[:, INDEX["pelvis_rotation"]] = False  # the angles alone do not show which way the pelvis faces
    observed = known.mean(axis=0) > observability.MOSTLY
    q[:, ~observed] = 0.0
    metadata = markers.metadata
    flags = (*metadata.flags, FLAG, *observability.flags(known, known.any(axis=0)))
    return Trajectory(q.astype(np.float32), observed, markers.rate_hz, dataclasses.replace(metadata, flags=flags))


def first_frame(markers: Markers) -> int:
    """Frame of the recording at which `trajectory` begins."""
    complete = _complete(markers)
    return int(complete[0]) if len(complete) else 0


def _complete(markers: Markers) -> np.ndarray:
    """Frames that have the flexion of every joint of both legs, i64[n]."""
    return np.flatnonzero(np.isfinite([markers.angles[name][:, 0] for name in _NEEDED]).all(axis=0))


def _path(markers: Markers) -> np.ndarray | None:
    """Middle of the pelvis' markers, f64[T, 3]; None if the file lacks them."""
    for backs in _BACKS:
        names = (*_FRONT, *backs)
        if all(name in markers.names for name in names):
            front, back = (
                np.mean([markers.positions[:, markers.names.index(name)] for name in part], axis=0)
                for part in (_FRONT, backs)
            )
            return 0.5 * (front + back)
    return None


def _decompose_in_world(heading: np.ndarray, tilt: np.ndarray, list_: np.ndarray) -> np.ndarray:
    """Pelvis tilt, list and rotation f64[T, 3] from a heading and leans of the body itself, radians; NaN stays NaN."""
    angles = np.full((len(heading), 3), np.nan)
    seen = np.isfinite(heading) & np.isfinite(tilt) & np.isfinite(list_)
    body = np.stack([heading, tilt, list_], axis=1)[seen]
    if len(body):
        angles[seen] = Rotation.from_euler("YZX", body).as_euler("ZXY")
        angles[seen, 2] = np.unwrap(angles[seen, 2])
    return angles


def _heading(markers: Markers) -> np.ndarray:
    """Heading of the pelvis, f64[T] radians: perpendicular to the line between its front markers."""
    right, left = (markers.positions[:, markers.names.index(name)] for name in _FRONT)
    across = right - left
    angle = np.arctan2(across[:, 0], across[:, 2])
    seen = np.isfinite(angle)
    if seen.any():
        angle[seen] = np.unwrap(angle[seen])
    return angle
