"""NumPy archives: our own trajectories, MuJoCo joint positions, and the body-model rotations of AMASS.

Nothing is unpickled.
"""

import hashlib
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
from scipy.spatial.transform import Rotation

from biomechgpt_jax.biomechanics.skeleton import COORDINATE_COUNT, COORDINATES, INDEX
from biomechgpt_jax.biomechanics.trajectory import Metadata, Trajectory
from biomechgpt_jax.errors import InputError
from biomechgpt_jax.files import write_atomically
from biomechgpt_jax.formats import quality, rotations
from biomechgpt_jax.formats.opensim import FARTHEST_M, FARTHEST_RAD

# Packed and unpacked; reading takes about five times as much memory.
LARGEST_BYTES = 256 * 2**20
_MOST_VALUES = 2**26  # of one array: small types grow when they become float64
_RATE_KEYS = ("rate_hz", "fps", "mocap_framerate", "mocap_frame_rate", "frame_rate")
_FARTHEST = np.where(
    np.isin(COORDINATES, ("pelvis_tx", "pelvis_ty", "pelvis_tz")), FARTHEST_M, FARTHEST_RAD
)  # in metres or radians, by coordinate
_KNEES = [INDEX["knee_angle_r"], INDEX["knee_angle_l"]]
# Joints of SMPL by number; hips, knees and ankles right and left, the spine from pelvis up, neck and head.
_SMPL_LEG = {"r": (2, 5, 8), "l": (1, 4, 7)}
_SMPL_SPINE, _SMPL_NECK = (3, 6, 9), (12, 15)
# SMPL's x is left, y up, z forward; ours are forward, up, right.
_FROM_SMPL = np.array([[0.0, 0, 1], [0, 1, 0], [-1, 0, 0]])
# AMASS' world has z up.
_FROM_AMASS_WORLD = np.array([[1.0, 0, 0], [0, 0, 1], [0, -1, 0]])


def read(path: Path) -> Trajectory:
    """Read an archive by the names of its arrays.

    Raises:
        InputError: it is none of the three kinds, holds objects, is damaged, or has no rate.
    """
    size = path.stat().st_size
    raw = path.read_bytes() if size <= LARGEST_BYTES else b""
    if not raw:
        raise InputError(f"{path} has {size} bytes; give an archive of 1 to {LARGEST_BYTES}")
    try:
        with zipfile.ZipFile(path) as archive:
            unpacked = sum(entry.file_size for entry in archive.infolist())
        if unpacked > LARGEST_BYTES:
            raise InputError(f"{path} unpacks to {unpacked} bytes, more than {LARGEST_BYTES}; cut it into parts")
        with np.load(path, allow_pickle=False) as found:
            held = {name: found[name] for name in found.files}
    except InputError:
        raise
    except Exception as error:  # archive, compression and the headers of its arrays each fail in ways of their own
        reason = str(error).partition("\n")[0]
        raise InputError(f"{path} is no archive of plain arrays ({reason}); save it again with numpy.savez") from error
    rate = _rate(path, held)
    if "coordinates" in held:
        q, observed, flags = _ours(path, held)
    elif "qpos" in held:
        q, observed, flags = _mujoco(path, held)
    elif {"poses", "trans"} <= set(held):
        q, observed, flags = _amass(path, held)
    else:
        raise InputError(f"{path} holds {_listed(held)}; give coordinates, a MuJoCo qpos, or poses and trans of AMASS")
    if not np.isfinite(q[:, observed]).all() or len(q) < 2:
        raise InputError(f"{path} has gaps, or fewer than 2 frames; fill the gaps first")
    q[:, ~observed] = 0.0
    far = np.flatnonzero((np.abs(q) > _FARTHEST).any(axis=0))
    if len(far):
        raise InputError(f"{path}: {COORDINATES[far[0]]} lies beyond {_FARTHEST[far[0]]:g}; give metres and radians")
    heading = INDEX["pelvis_rotation"]
    q[:, heading] = np.unwrap(q[:, heading])
    flags += tuple(quality.flags(q, observed, rate))
    metadata = Metadata(source=path.name, sha256=hashlib.sha256(raw).hexdigest(), flags=flags)
    return Trajectory(q.astype(np.float32), observed, rate, metadata)


def write(path: Path, trajectory: Trajectory) -> None:
    """Write a trajectory that `read` takes back unchanged but for its metadata."""
    try:
        with write_atomically(path) as file:
            np.savez_compressed(
                file,
                coordinates=trajectory.coordinates.astype(np.float32),
                observed=trajectory.observed,
                rate_hz=np.float64(trajectory.rate_hz),
                names=np.array(COORDINATES),
            )
    except OSError as error:
        raise InputError(f"{path}: {error.strerror}; give a place that can be written") from error


def _listed(held: dict[str, Any]) -> str:
    """The first names, without what would break the line."""
    return ", ".join(" ".join(name.split())[:40] for name in list(held)[:8]) or "nothing"


def _rate(path: Path, held: dict[str, Any]) -> float:
    for key in _RATE_KEYS:
        if key in held and np.size(held[key]) == 1 and held[key].dtype.kind in "iuf":
            rate = float(np.ravel(held[key])[0])
            if 1.0 <= rate <= 10_000.0:
                return rate
    raise InputError(f"{path} names no frame rate of 1 to 10000 Hz; add rate_hz (known names: {', '.join(_RATE_KEYS)})")


def _table(path: Path, values: np.ndarray, columns: int, what: str) -> np.ndarray:
    if values.ndim != 2 or values.shape[1] < columns or values.dtype.kind not in "iuf":
        raise InputError(f"{path}: {what} is {values.dtype}{list(values.shape)}; give numbers [T, {columns}]")
    if values.size > _MOST_VALUES:
        raise InputError(f"{path}: {what} holds {values.size} numbers, more than {_MOST_VALUES}; cut it into parts")
    return values.astype(np.float64)


_Read = tuple[np.ndarray, np.ndarray, tuple[str, ...]]


def _ours(path: Path, held: dict[str, Any]) -> _Read:
    names = [str(name) for name in np.ravel(held.get("names", np.array(COORDINATES)))]
    if names != list(COORDINATES):
        raise InputError(f"{path}: its coordinates are not the {COORDINATE_COUNT} of this program in their order")
    q = _table(path, held["coordinates"], COORDINATE_COUNT, "coordinates")
    observed = np.asarray(held.get("observed", np.ones(COORDINATE_COUNT))).astype(bool)
    if observed.shape != (COORDINATE_COUNT,):
        raise InputError(f"{path}: observed has shape {list(observed.shape)}; give [{COORDINATE_COUNT}]")
    return q, observed, ()


def _mujoco(path: Path, held: dict[str, Any]) -> _Read:
    """Joint positions in the order of `joint_names`, or of the 40 coordinates; MuJoCo bends the knee negatively."""
    names = [str(name) for name in np.ravel(held.get("joint_names", np.array(COORDINATES)))]
    table = _table(path, held["qpos"], len(names), "qpos")
    q, observed = np.zeros((len(table), COORDINATE_COUNT)), np.zeros(COORDINATE_COUNT, bool)
    for column, name in enumerate(names):
        if name in INDEX:
            q[:, INDEX[name]], observed[INDEX[name]] = table[:, column], True
    if observed.sum() < 6:
        raise InputError(f"{path}: its joint_names are unknown; name them as {COORDINATES[3]}, {COORDINATES[6]} ...")
    q[:, _KNEES] *= -1.0
    return q, observed, ("knee-sign-flipped",)


def _amass(path: Path, held: dict[str, Any]) -> _Read:
    poses, trans = _table(path, held["poses"], 66, "poses")[:, :66], _table(path, held["trans"], 3, "trans")[:, :3]
    if len(poses) != len(trans):
        raise InputError(f"{path}: {len(poses)} poses and {len(trans)} translations; give one of each per frame")
    # Rotations of numbers that are not finite, or overflow, fail in ways of their own; NaN fails this comparison too.
    if len(poses) == 0 or not (np.abs(poses).max() <= FARTHEST_RAD and np.abs(trans).max() <= FARTHEST_M):
        raise InputError(f"{path}: poses or trans are empty, have gaps, or are too large; give radians and metres")

    def local(joint: int) -> Rotation:
        turn = Rotation.from_rotvec(poses[:, 3 * joint : 3 * joint + 3]).as_matrix()
        return Rotation.from_matrix(_FROM_SMPL @ turn @ _FROM_SMPL.T)

    def chain(joints: tuple[int, ...]) -> Rotation:
        whole = local(joints[0])
        for joint in joints[1:]:
            whole = whole * local(joint)
        return whole

    pelvis = _FROM_AMASS_WORLD @ Rotation.from_rotvec(poses[:, :3]).as_matrix() @ _FROM_SMPL.T
    legs = {side: tuple(local(joint) for joint in joints) for side, joints in _SMPL_LEG.items()}
    found = rotations.Segments(
        Rotation.from_matrix(pelvis), trans @ _FROM_AMASS_WORLD.T, legs, chain(_SMPL_SPINE), chain(_SMPL_NECK)
    )
    return *rotations.coordinates(found), (rotations.FLAG,)
