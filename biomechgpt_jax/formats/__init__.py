"""One reader per family of motion files; each returns a `Trajectory`."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from biomechgpt_jax.biomechanics.fitting.markers import Markers
from biomechgpt_jax.biomechanics.trajectory import Trajectory
from biomechgpt_jax.errors import InputError

COORDINATES = (".mot", ".sto", ".npz", ".b3d", ".bvh")
MARKERS = (".trc", ".c3d")
READABLE = (*COORDINATES, *MARKERS)


def read(path: str | Path) -> Trajectory:
    """Read a motion file with the reader for its extension; markers go through inverse kinematics.

    Raises:
        InputError: the file is missing, a directory, of an unknown kind, or its content cannot be used.
    """
    path = Path(path)
    if path.suffix.lower() in MARKERS and path.is_file():
        return _from_markers(path)
    _check(path, READABLE)
    with _name_os_errors(path):
        return _reader(path.suffix.lower())(path)


def canonical(path: str | Path) -> Trajectory:
    """Read a motion file as every model sees it: 40 coordinates at 30 Hz, gaps filled or trimmed.

    Raises:
        InputError: as in `read`, or too little of the movement is usable.
    """
    from biomechgpt_jax.biomechanics import preprocess

    return preprocess.canonical(read(path))


def _from_markers(path: Path) -> Trajectory:
    """Coordinates by inverse kinematics, or from the file's Plug-in-Gait angles if no known markers allow that."""
    from biomechgpt_jax.biomechanics.fitting import inverse
    from biomechgpt_jax.formats import plugin_gait

    markers = read_markers(path)
    try:
        try:
            return inverse.fit(markers).trajectory
        except InputError:
            if not plugin_gait.supported(markers):
                raise
            return plugin_gait.trajectory(markers)
    except InputError as error:
        raise InputError(f"{path}: {error}") from error


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


def read_markers(path: str | Path) -> Markers:
    """Read the markers of a .trc or .c3d file.

    Raises:
        InputError: the file is missing, a directory, of another kind, or its content cannot be used.
    """
    path = Path(path)
    _check(path, MARKERS)
    with _name_os_errors(path):
        if path.suffix.lower() == ".trc":
            from biomechgpt_jax.formats import trc

            return trc.read(path)
        from biomechgpt_jax.formats import c3d

        return c3d.read(path)


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
    import numpy as np

    from biomechgpt_jax.biomechanics.skeleton import COORDINATES, HORIZONTAL_ROOT, INDEX

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
    root = [INDEX[name] for name in HORIZONTAL_ROOT]
    path = trajectory.coordinates[:, root]
    known = np.flatnonzero(np.isfinite(path).all(axis=1))
    if observed[root].all() and len(known) > 1:
        first, last = known[[0, -1]]
        distance_m = np.linalg.norm(path[last] - path[first])
        summary["net_speed_m_s"] = round(float(distance_m) * trajectory.rate_hz / int(last - first), 3)
    return summary
