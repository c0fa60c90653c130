"""One reader per family of motion files; each returns a `Trajectory`, or `Markers` that are fitted."""

import dataclasses
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from biomechgpt_jax.biomechanics.fitting.markers import Markers
from biomechgpt_jax.biomechanics.trajectory import Trajectory
from biomechgpt_jax.errors import InputError
from biomechgpt_jax.formats import recording
from biomechgpt_jax.formats.recording import Recording

COORDINATES = (".mot", ".sto", ".npz", ".b3d", ".bvh")
MARKERS = (".trc", ".c3d")
READABLE = (*COORDINATES, *MARKERS)


def read(path: str | Path) -> Trajectory:
    """The movement in a motion file; `record(path).trajectory`."""
    return record(path).trajectory


def record(path: str | Path, *, static: Path | None = None, person: str = "") -> Recording:
    """Read a motion file with the reader for its extension; markers go through inverse kinematics.

    Args:
        static: a quiet standing trial of the same person, from whose markers the body is sized.
        person: whose markers are read where a file holds those of several people: the prefix of their labels.

    Raises:
        InputError: the file is missing, a directory, of an unknown kind, or its content cannot be used; or `static` or
            `person` is given for a file that holds no markers.
    """
    path = Path(path)
    if path.suffix.lower() in MARKERS and path.is_file():
        markers = read_markers(path, person)
        standing = None if static is None else read_markers(static, person)
        try:
            return _checked(recording.of_markers(markers, standing))
        except InputError as error:
            raise InputError(f"{path}: {error}") from error
    _check(path, READABLE)
    for option, given in (("--static", static), ("--person", person)):
        if given:
            raise InputError(f"{option} is for files of markers ({', '.join(MARKERS)}); {path} holds none")
    with _name_os_errors(path):
        return _checked(Recording(_with_legs(_reader(path.suffix.lower())(path))))


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


def canonical(path: str | Path, *, static: Path | None = None, person: str = "") -> Trajectory:
    """Read a motion file as every model sees it: 40 coordinates at 30 Hz, gaps filled or trimmed.

    Args:
        static, person: as in `record`.

    Raises:
        InputError: as in `record`, or too little of the movement is usable.
    """
    from biomechgpt_jax.biomechanics import preprocess

    return preprocess.canonical(record(path, static=static, person=person).trajectory)


def _reader(ending: str) -> Callable[[Path], Trajectory]:
    """The reader of a family of coordinate files; it is imported only when needed."""
    if ending == ".npz":
        from biomechgpt_jax.formats import npz

        return npz.read
    if ending == ".b3d":
        from biomechgpt_jax.formats import addbiomechanics

        return addbiomechanics.read
    if ending == ".bvh":
        from biomechgpt_jax.formats import bvh

        return bvh.read
    from biomechgpt_jax.formats import opensim

    return opensim.read


def read_markers(path: str | Path, person: str = "") -> Markers:
    """Read the markers of one person in a .trc or .c3d file, with y up and without the prefix of their labels.

    Raises:
        InputError: the file is missing, a directory, of another kind, or its content cannot be used.
    """
    from biomechgpt_jax.biomechanics.fitting import standing

    path = Path(path)
    _check(path, MARKERS)
    with _name_os_errors(path):
        raw = _raw_reader(path.suffix.lower())(path)
    try:
        return standing.upright(_one_person(raw, person))
    except InputError as error:
        raise InputError(f"{path}: {error}") from error


def _raw_reader(ending: str) -> Callable[[Path], Markers]:
    """The reader of a family of marker files; it is imported only when needed."""
    if ending == ".trc":
        from biomechgpt_jax.formats import trc

        return trc.read
    from biomechgpt_jax.formats import c3d

    return c3d.read


# To be replaced by fitting.people.choose; synonyms.bone_axes is asked in marker_sets.recognise.
def _one_person(raw: Markers, person: str) -> Markers:
    """The markers whose labels have this prefix (all without one), with bare labels; of equal ones the first."""
    import numpy as np

    chosen: dict[str, int] = {}
    for index, label in enumerate(raw.names):
        prefix, _, bare = label.rpartition(":")
        if person in ("", prefix):
            chosen.setdefault(bare, index)
    if not chosen:
        raise InputError(f"no label begins with '{person}:'; give one of the prefixes in the file")
    angles = {label.rpartition(":")[2]: values for label, values in raw.angles.items()}
    positions = np.ascontiguousarray(raw.positions[:, list(chosen.values())])
    return dataclasses.replace(raw, positions=positions, names=tuple(chosen), angles=angles)


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
