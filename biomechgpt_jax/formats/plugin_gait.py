"""Joint angles that a laboratory computed by Plug-in-Gait, where a C3D file holds them and its markers cannot be used.

Angles are degrees; pelvis and hip refer to the plane of the pelvic spines, which leans forward of the pelvis of OpenSim
models. The legs' angles of Plug-in-Gait come in the order flexion, adduction (varus), rotation, with the same signs on
both sides; the pelvis' are of each side: anterior tilt, this side up, this side forward.
"""

import dataclasses

import numpy as np
from scipy.spatial.transform import Rotation

from biomechgpt_jax.biomechanics.gait.indices import PELVIC_PLANE_DEG
from biomechgpt_jax.biomechanics.markers import Markers
from biomechgpt_jax.biomechanics.skeleton import COORDINATE_COUNT, HORIZONTAL_ROOT, INDEX
from biomechgpt_jax.biomechanics.trajectory import Trajectory
from biomechgpt_jax.errors import InputError

FLAG = "plug-in-gait-angles"
# Markers whose middle is the middle of the pelvis, by what files call the back of it.
_FRONT, _BACKS = ("RASI", "LASI"), (("SACR",), ("RPSI", "LPSI"))
_NEEDED = tuple(f"{side}{joint}Angles" for side in "RL" for joint in ("Hip", "Knee", "Ankle"))


def supported(markers: Markers) -> bool:
    """Whether the angles of both legs are there."""
    return all(name in markers.angles for name in _NEEDED)


def trajectory(markers: Markers) -> Trajectory:
    """Coordinates from the angles; the pelvis' path from its markers where they are seen throughout.

    Frames before the first and after the last whole one are cut off.

    Raises:
        InputError: fewer than two frames in a row have all angles of the legs.
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
        q[:, [INDEX[f"pelvis_{name}"] for name in ("tilt", "list", "rotation")]] = _turned(heading, tilt, list_)
    legs = np.isfinite(q[:, [INDEX[f"{n}_{s}"] for n in ("hip_flexion", "knee_angle", "ankle_angle") for s in "rl"]])
    whole = np.flatnonzero(legs.all(axis=1))
    if len(whole) < 2:
        raise InputError("its Plug-in-Gait angles are in no two frames complete; compute the model again")
    q = q[whole[0] : whole[-1] + 1]
    observed = np.isfinite(q).any(axis=0)
    if not np.isfinite(q[:, [INDEX[name] for name in HORIZONTAL_ROOT]]).all():
        observed[[INDEX[f"pelvis_{name}"] for name in ("tx", "ty", "tz", "rotation")]] = False
    for column in np.flatnonzero(observed):
        seen = np.isfinite(q[:, column])
        q[:, column] = np.interp(np.arange(len(q)), np.flatnonzero(seen), q[seen, column])
    q[:, ~observed] = 0.0
    known = markers.metadata
    return Trajectory(
        q.astype(np.float32),
        observed,
        markers.rate_hz,
        dataclasses.replace(known, flags=(*known.flags, FLAG)),
    )


def _path(markers: Markers) -> np.ndarray | None:
    """Middle of the pelvis' markers, f64[T, 3]; None if they are not among the markers."""
    for backs in _BACKS:
        names = (*_FRONT, *backs)
        if all(name in markers.names for name in names):
            front, back = (
                np.mean([markers.positions[:, markers.names.index(name)] for name in part], axis=0)
                for part in (_FRONT, backs)
            )
            return 0.5 * (front + back)
    return None


def _turned(heading: np.ndarray, tilt: np.ndarray, list_: np.ndarray) -> np.ndarray:
    """Tilt, list and rotation f64[T, 3] in the world of leans that are the body's own, radians; NaN stays NaN."""
    found = np.full((len(heading), 3), np.nan)
    seen = np.isfinite(heading) & np.isfinite(tilt) & np.isfinite(list_)
    body = np.stack([heading, tilt, list_], axis=1)[seen]
    if len(body):
        found[seen] = Rotation.from_euler("YZX", body).as_euler("ZXY")
        found[seen, 2] = np.unwrap(found[seen, 2])
    return found


def _heading(markers: Markers) -> np.ndarray:
    """Where the pelvis faces, f64[T] radians: at right angles to the line between its front markers."""
    right, left = (markers.positions[:, markers.names.index(name)] for name in _FRONT)
    across = right - left
    angle = np.arctan2(across[:, 0], across[:, 2])
    seen = np.isfinite(angle)
    if seen.any():
        angle[seen] = np.unwrap(angle[seen])
    return angle
