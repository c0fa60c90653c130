"""NumPy archives: our own trajectories, MuJoCo joint positions, and the body-model rotations of AMASS.

Nothing is unpickled, and only the arrays that are read are opened: AMASS files hold objects beside them.
"""

import hashlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from scipy.spatial.transform import Rotation

from biomechgpt_jax.biomechanics.flags import CAUTION
from biomechgpt_jax.biomechanics.skeleton import COORDINATE_COUNT, COORDINATES, INDEX
from biomechgpt_jax.biomechanics.trajectory import Metadata, Trajectory
from biomechgpt_jax.errors import InputError
from biomechgpt_jax.files import write_atomically
from biomechgpt_jax.formats import quality, rotations
from biomechgpt_jax.formats.opensim import FARTHEST_M, FARTHEST_RAD, HIGHEST_PELVIS_M

# Limit for the packed size and for that of the arrays read; reading takes about five times as much memory.
LARGEST_BYTES = 256 * 2**20
_MOST_VALUES = 2**26  # limit for one array: small types grow when they become float64
_RATE_KEYS = ("rate_hz", "fps", "mocap_framerate", "mocap_frame_rate", "frame_rate")
_FARTHEST = np.where(
    np.isin(COORDINATES, ("pelvis_tx", "pelvis_ty", "pelvis_tz")), FARTHEST_M, FARTHEST_RAD
)  # metres or radians, by coordinate
_KNEES = [INDEX["knee_angle_r"], INDEX["knee_angle_l"]]
# Joint numbers of SMPL: hip, knee and ankle of each side, the spine from the pelvis upwards, neck and head.
_SMPL_LEG = {"r": (2, 5, 8), "l": (1, 4, 7)}
_SMPL_SPINE, _SMPL_NECK = (3, 6, 9), (12, 15)
# SMPL's axes point left, up and forward; ours point forward, up and right.
_FROM_SMPL = np.array([[0.0, 0, 1], [0, 1, 0], [-1, 0, 0]])
# Our axes as rows in worlds whose y or z points up, in AMASS z; in the order of preference.
_WORLDS = {
    "+Z": np.array([[1.0, 0, 0], [0, 0, 1], [0, -1, 0]]),
    "+Y": np.eye(3),
    "-Y": np.diag([1.0, -1, -1]),
}
# The pelvis stands along an axis if it points this many times further along it than along any other.
_CLEARLY = 1.5
# A pelvis that is higher is not in metres; one of a person who stands or sits lies between these.
_HIGHEST_M, _PELVIS_M = 10.0, (0.3, 1.5)


def read(path: Path) -> Trajectory:
    """Read an archive; the names of its arrays determine its kind.

    Raises:
        InputError: the archive is none of the three kinds, holds objects, is damaged, or has no rate.
    """
    size = path.stat().st_size
    raw = path.read_bytes() if size <= LARGEST_BYTES else b""
    if not raw:
        raise InputError(f"{path} has {size} bytes; give an archive of 1 to {LARGEST_BYTES}")
    try:
        with np.load(path, allow_pickle=False) as stored:
            arrays = _Arrays(path, stored)
            rate = _rate(path, arrays)
            q, observed, flags = _of_its_kind(path, arrays, rate)
    except InputError:
        raise
    except Exception as error:  # the archive, its compression and its array headers raise many kinds of errors
        reason = str(error).partition("\n")[0]
        raise InputError(
            f"{path} is not an archive of plain arrays ({reason}); save it again with numpy.savez"
        ) from error
    if not np.isfinite(q[:, observed]).all() or len(q) < 2:
        raise InputError(f"{path} has gaps, or fewer than 2 frames; fill the gaps first")
    q[:, ~observed] = 0.0
    far = np.flatnonzero((np.abs(q) > _FARTHEST).any(axis=0))
    if len(far):
        raise InputError(f"{path}: {COORDINATES[far[0]]} lies beyond {_FARTHEST[far[0]]:g}; give metres and radians")
    height = float(np.median(q[:, INDEX["pelvis_ty"]]))
    if abs(height) > HIGHEST_PELVIS_M:
        raise InputError(f"{path}: pelvis_ty is about {height:.0f}; give metres")
    heading = INDEX["pelvis_rotation"]
    q[:, heading] = np.unwrap(q[:, heading])
    flags += tuple(quality.flags(q, observed, rate))
    metadata = Metadata(source=path.name, sha256=hashlib.sha256(raw).hexdigest(), flags=flags)
    return Trajectory(q.astype(np.float32), observed, rate, metadata)


class _Arrays(Mapping[str, np.ndarray]):
    """The arrays of an archive; each is unpacked when it is asked for, so that what is never read refuses no file."""

    def __init__(self, path: Path, stored: Any) -> None:
        self._path, self._stored, self._read, self._bytes = path, stored, dict[str, np.ndarray](), 0

    def __getitem__(self, name: str) -> np.ndarray:
        if name not in self._stored.files:
            raise KeyError(name)
        if name not in self._read:
            entries = {entry.filename.removesuffix(".npy"): entry for entry in self._stored.zip.infolist()}
            self._bytes += entries[name].file_size
            if self._bytes > LARGEST_BYTES:
                raise InputError(
                    f"{self._path} unpacks to {self._bytes} bytes, more than {LARGEST_BYTES}; cut it into parts"
                )
            self._read[name] = np.asarray(self._stored[name])
        return self._read[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._stored.files)

    def __len__(self) -> int:
        return len(self._stored.files)


def _of_its_kind(path: Path, arrays: Mapping[str, np.ndarray], rate: float) -> "_Read":
    """Coordinates, which of them are known, and flags, by the kind of the archive."""
    if "coordinates" in arrays:
        return _ours(path, arrays)
    if "qpos" in arrays:
        return _mujoco(path, arrays)
    if "trans" in arrays and ("poses" in arrays or {"root_orient", "pose_body"} <= set(arrays)):
        return _amass(path, arrays, rate)
    raise InputError(
        f"{path} holds {_list_names(arrays)}; give coordinates, a MuJoCo qpos, or poses and trans of AMASS"
    )


def write(path: Path, trajectory: Trajectory) -> None:
    """Write a trajectory that `read` restores unchanged except for its metadata."""
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


def _list_names(arrays: Mapping[str, np.ndarray]) -> str:
    """The first names, without characters that would break the line."""
    return ", ".join(" ".join(name.split())[:40] for name in list(arrays)[:8]) or "nothing"


def _rate(path: Path, arrays: Mapping[str, np.ndarray]) -> float:
    for key in _RATE_KEYS:
        if key in arrays and np.size(arrays[key]) == 1 and arrays[key].dtype.kind in "iuf":
            rate = float(np.ravel(arrays[key])[0])
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


def _ours(path: Path, arrays: Mapping[str, np.ndarray]) -> _Read:
    names = [str(name) for name in np.ravel(arrays.get("names", np.array(COORDINATES)))]
    if names != list(COORDINATES):
        raise InputError(f"{path}: its coordinates are not the {COORDINATE_COUNT} of this program in their order")
    q = _table(path, arrays["coordinates"], COORDINATE_COUNT, "coordinates")
    observed = np.asarray(arrays.get("observed", np.ones(COORDINATE_COUNT))).astype(bool)
    if observed.shape != (COORDINATE_COUNT,):
        raise InputError(f"{path}: observed has shape {list(observed.shape)}; give [{COORDINATE_COUNT}]")
    return q, observed, ()


def _mujoco(path: Path, arrays: Mapping[str, np.ndarray]) -> _Read:
    """Joint positions in the order of `joint_names`, or of the 40 coordinates; MuJoCo's knee flexion is negative."""
    names = [str(name) for name in np.ravel(arrays.get("joint_names", np.array(COORDINATES)))]
    table = _table(path, arrays["qpos"], len(names), "qpos")
    q, observed = np.zeros((len(table), COORDINATE_COUNT)), np.zeros(COORDINATE_COUNT, bool)
    for column, name in enumerate(names):
        if name in INDEX:
            q[:, INDEX[name]], observed[INDEX[name]] = table[:, column], True
    if observed.sum() < 6:
        raise InputError(f"{path}: its joint_names are unknown; name them like {COORDINATES[3]}, {COORDINATES[6]} ...")
    q[:, _KNEES] *= -1.0
    return q, observed, ("knee-sign-flipped",)


def _amass(path: Path, arrays: Mapping[str, np.ndarray], rate: float) -> _Read:
    if "poses" in arrays:
        poses = _table(path, arrays["poses"], 66, "poses")[:, :66]
    else:  # SMPL-X keeps the pelvis and the body's other joints apart
        parts = (
            _table(path, arrays["root_orient"], 3, "root_orient"),
            _table(path, arrays["pose_body"], 63, "pose_body"),
        )
        if len(parts[0]) != len(parts[1]):
            raise InputError(f"{path}: root_orient and pose_body differ in length; give one of each per frame")
        poses = np.concatenate([parts[0][:, :3], parts[1][:, :63]], axis=1)
    trans = _table(path, arrays["trans"], 3, "trans")[:, :3]
    if len(poses) != len(trans):
        raise InputError(f"{path}: {len(poses)} poses and {len(trans)} translations; give one of each per frame")
    # Rotations raise other errors for numbers that are not finite or overflow; this comparison rejects NaN as well.
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

    turn = Rotation.from_rotvec(poses[:, :3]).as_matrix()
    up, flags = _up(turn)
    trans = trans @ _WORLDS[up].T
    metres, told = _metres(path, trans, rate)
    pelvis = _WORLDS[up] @ turn @ _FROM_SMPL.T
    legs = {side: tuple(local(joint) for joint in joints) for side, joints in _SMPL_LEG.items()}
    segments = rotations.Segments(
        Rotation.from_matrix(pelvis), metres * trans, legs, chain(_SMPL_SPINE), chain(_SMPL_NECK)
    )
    return *rotations.coordinates(segments), (rotations.FLAG, *flags, *told)


def _metres(path: Path, trans: np.ndarray, rate: float) -> tuple[float, tuple[str, ...]]:
    """Metres in the unit of translations f64[T, 3] with y up, and a flag where it is another than AMASS's own.

    Raises:
        InputError: they are no metres, and nothing tells what they are.
    """
    height = float(np.median(trans[:, 1]))
    speed = float(np.percentile(np.linalg.norm(np.diff(trans, axis=0), axis=1), 95) * rate) if len(trans) > 1 else 0.0
    if abs(height) <= _HIGHEST_M and speed <= quality.JUMP_M_S:
        return 1.0, ()
    for unit, metres in (("centimetres", 0.01), ("millimetres", 0.001)):
        if _PELVIS_M[0] <= metres * height <= _PELVIS_M[1]:
            said = f"{CAUTION}in metres the pelvis would be {height:.0f} m above the floor: trans is read as {unit}"
            return metres, (said,)
    raise InputError(
        f"{path}: in metres the pelvis would be {height:.0f} m above the floor and travel at {speed:.0f} m/s; give "
        "trans in metres"
    )


def _up(turn_T33: np.ndarray) -> tuple[str, tuple[str, ...]]:
    """Which axis of the world is up, as the pelvis stands, and a flag if it is not that of AMASS.

    SMPL's pelvis has y up. Programs that estimate poses from video write it in worlds whose y points up or, with the
    axes of a camera, down.
    """
    stands = np.median(turn_T33[:, :, 1], axis=0)
    second, most = np.argsort(np.abs(stands))[1:]
    axis = f"{'+' if stands[most] > 0 else '-'}{'XYZ'[most]}"
    if axis == "+Z" or axis not in _WORLDS or abs(stands[most]) < _CLEARLY * abs(stands[second]):
        return "+Z", ()
    return axis, (f"{CAUTION}+Z is up in AMASS, but the body stands along {axis}: the body is followed",)
