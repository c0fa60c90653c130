"""One reader per family of motion files; each returns a `Trajectory`, or `Markers` that are fitted."""

import dataclasses
import importlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from biomechgpt_jax.biomechanics.fitting.markers import Markers
from biomechgpt_jax.biomechanics.trajectory import Trajectory
from biomechgpt_jax.errors import InputError
from biomechgpt_jax.formats import recording
from biomechgpt_jax.formats.recording import Recording

COORDINATES = (".mot", ".sto", ".npz", ".b3d", ".bvh")
# Files of markers or joint centres; some of them hold segment poses or joint angles instead.
MARKERS = (".trc", ".c3d", ".csv", ".npy", ".mvnx")
READABLE = (*COORDINATES, *MARKERS)
# Module and function that read a family of files; a .csv is known by its first line.
_READERS = {
    ".mot": "opensim.read",
    ".sto": "opensim.read",
    ".npz": "npz.read",
    ".b3d": "addbiomechanics.read",
    ".bvh": "bvh.read",
    ".trc": "trc.read",
    ".c3d": "c3d.read",
    ".npy": "keypoints.read_array",
    ".mvnx": "mvnx.read",
}
_HEAD_BYTES = 2**16


def read(path: str | Path) -> Trajectory:
    """The movement in a motion file; `record(path).trajectory`."""
    return record(path).trajectory


def record(path: str | Path, *, static: Path | None = None, person: str = "") -> Recording:
    """Read a motion file with the reader for its extension; markers go through inverse kinematics.

    Args:
        static: a quiet standing trial of the same person, from whose markers the body is sized.
        person: whose markers are read where a file holds those of several people: the name in their labels.

    Raises:
        InputError: the file is missing, a directory, of an unknown kind, or its content cannot be used; or `static` or
            `person` is given for a file that holds no markers.
    """
    path = Path(path)
    found = load(path)
    if isinstance(found, Recording):
        for option, given in (("--static", static), ("--person", person)):
            if given:
                raise InputError(f"{option} is for files of markers ({', '.join(MARKERS)}); {path} holds none")
        return _checked(dataclasses.replace(found, trajectory=_with_legs(found.trajectory)))
    markers = _of_person(path, found, person)
    standing = None if static is None else _static_trial(static, person)
    try:
        return _checked(recording.of_markers(markers, standing))
    except InputError as error:
        raise InputError(f"{path}: {error}") from error


def load(path: str | Path) -> Recording | Markers:
    """What a motion file holds, with the reader for its extension: a movement, or raw markers that are to be fitted.

    Raises:
        InputError: as in `record`.
    """
    path = Path(path)
    _check(path, READABLE)
    with _name_os_errors(path):
        found = _reader(path)(path)
    return Recording(found) if isinstance(found, Trajectory) else found


def _with_legs(trajectory: Trajectory) -> Trajectory:
    """The trajectory with the length of its legs, where its file gives neither that nor a stature."""
    import math

    from biomechgpt_jax.biomechanics.gait import proportions

    known = trajectory.metadata
    if math.isfinite(known.height_m) or math.isfinite(known.leg_height_m):
        return trajectory
    metadata = dataclasses.replace(known, leg_height_m=proportions.leg_height(trajectory))
    return dataclasses.replace(trajectory, metadata=metadata)


def _checked(read: Recording) -> Recording:
    """The recording with flags of what no person's movement is."""
    from biomechgpt_jax.biomechanics.fitting import pose_checks

    metadata = read.trajectory.metadata
    flags = (*metadata.flags, *pose_checks.of_movement(read.trajectory))
    trajectory = dataclasses.replace(read.trajectory, metadata=dataclasses.replace(metadata, flags=flags))
    return dataclasses.replace(read, trajectory=trajectory)


def _static_trial(path: Path, person: str) -> Markers:
    """The markers of a static trial: of this person, or of the only one, who may bear another name there."""
    from biomechgpt_jax.biomechanics.fitting import people

    try:
        return read_markers(path, person)
    except InputError:
        markers = read_markers(path)
        if not person or people.are_several(markers.metadata.flags):
            raise
        return markers


def canonical(path: str | Path, *, static: Path | None = None, person: str = "") -> Trajectory:
    """Read a motion file as every model sees it: 40 coordinates at 30 Hz, gaps filled or trimmed.

    Args:
        static, person: as in `record`.

    Raises:
        InputError: as in `record`, or too little of the movement is usable.
    """
    from biomechgpt_jax.biomechanics import preprocess

    return preprocess.canonical(record(path, static=static, person=person).trajectory)


def _reader(path: Path) -> Callable[[Path], Trajectory | Recording | Markers]:
    """The reader of a family of files; it is imported only when needed."""
    ending = path.suffix.lower()
    if ending == ".csv":
        return _table_reader(path)
    module, _, function = _READERS[ending].partition(".")
    reader: Callable[[Path], Trajectory | Recording | Markers] = getattr(
        importlib.import_module(f"{__name__}.{module}"), function
    )
    return reader


def _table_reader(path: Path) -> Callable[[Path], Markers]:
    """The reader of a .csv file, by its first line."""
    from biomechgpt_jax.formats import keypoints, motive

    head = _first_line(path)
    if motive.is_motive(head):
        return motive.read
    if keypoints.is_freemocap(head):
        return keypoints.read_table
    raise InputError(
        f"{path} is a table of something else (it begins with {head.strip()[:40]!r}); give a .csv of Motive or "
        "FreeMoCap, or another kind of motion file"
    )


def is_motion(path: Path) -> bool:
    """Whether a file is one of movement, by its extension, and a .csv by its first line: labels are tables as well."""
    if path.suffix.lower() != ".csv":
        return path.suffix.lower() in READABLE
    from biomechgpt_jax.formats import keypoints, motive

    try:
        head = _first_line(path)
    except OSError:
        return False
    return motive.is_motive(head) or keypoints.is_freemocap(head)


def _first_line(path: Path) -> str:
    with path.open("rb") as file:
        head = file.read(_HEAD_BYTES)
    return next(iter(head.decode("utf-8-sig", errors="replace").splitlines()), "")


def read_markers(path: str | Path, person: str = "") -> Markers:
    """Read the markers of one person, with y up and without the person's name in their labels.

    Raises:
        InputError: the file is missing, a directory, of another kind, or its content cannot be used.
    """
    path = Path(path)
    _check(path, MARKERS)
    found = load(path)
    if isinstance(found, Recording):
        raise InputError(f"{path} holds no markers but a movement that needs none; give a file with marker positions")
    return _of_person(path, found, person)


def _of_person(path: Path, raw: Markers, person: str) -> Markers:
    """The markers of one person, with y up and bare labels."""
    from biomechgpt_jax.biomechanics.fitting import people, standing

    try:
        return standing.upright(people.read(raw, person))
    except InputError as error:
        raise InputError(f"{path}: {error}") from error


def _check(path: Path, readable: tuple[str, ...]) -> None:
    endings = ", ".join(readable)
    if not path.exists():
        raise InputError(f"{path}: there is no such file; check the path")
    if path.is_dir():
        raise InputError(f"{path} is a directory; give one motion file ({endings})")
    if path.suffix.lower() not in readable:
        raise InputError(f"{path}: files ending in '{path.suffix}' cannot be read; give one of {endings}")
    if not path.is_file():
        raise InputError(f"{path} is not a regular file; give one motion file ({endings})")


@contextmanager
def _name_os_errors(path: Path) -> Iterator[None]:
    """Turn errors of the operating system into an `InputError` that names the file."""
    try:
        yield
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror}; check its permissions") from error


def describe(trajectory: Trajectory) -> dict[str, object]:
    """Summarise a motion file: rate, seconds, coordinates present and missing, flags, and net walking speed."""
    from biomechgpt_jax.biomechanics.skeleton import COORDINATES, INDEX

    observed = trajectory.observed
    summary: dict[str, object] = {
        "file": trajectory.metadata.source,
        "sha256": trajectory.metadata.sha256,
        "rate_hz": round(trajectory.rate_hz, 3),
        "seconds": round(trajectory.seconds, 3),
        "frames": trajectory.frames,
        "present": [name for name in COORDINATES if observed[INDEX[name]]],
        "missing": [name for name in COORDINATES if not observed[INDEX[name]]],
        "flags": list(trajectory.metadata.flags),
    }
    speed = net_speed(trajectory)
    if speed is not None:
        summary["net_speed_m_s"] = speed
    return summary


def net_speed(trajectory: Trajectory) -> float | None:
    """Metres per second between the first and last known place of the pelvis; None if its path is not observed."""
    import numpy as np

    from biomechgpt_jax.biomechanics.skeleton import HORIZONTAL_ROOT, INDEX

    root = [INDEX[name] for name in HORIZONTAL_ROOT]
    path = trajectory.coordinates[:, root]
    known = np.flatnonzero(np.isfinite(path).all(axis=1))
    if not trajectory.observed[root].all() or len(known) < 2:
        return None
    first, last = known[[0, -1]]
    distance_m = np.linalg.norm(path[last] - path[first])
    return round(float(distance_m) * trajectory.rate_hz / int(last - first), 3)
