"""One reader per family of motion files; each gives a `Trajectory`."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from biomechgpt_jax.biomechanics.markers import Markers
from biomechgpt_jax.biomechanics.trajectory import Trajectory
from biomechgpt_jax.errors import InputError

COORDINATES = (".mot", ".sto", ".npz", ".b3d", ".bvh")
MARKERS = (".trc", ".c3d")
READABLE = (*COORDINATES, *MARKERS)


def read(path: str | Path) -> Trajectory:
    """Read a motion file by its ending; markers go through inverse kinematics.

    Raises:
        InputError: it is missing, a directory, of an unknown kind, or its content cannot be used.
    """
    path = Path(path)
    if path.suffix.lower() in MARKERS and path.is_file():
        return _from_markers(path)
    _check(path, READABLE)
    with _named(path):
        return _reader(path.suffix.lower())(path)


def _from_markers(path: Path) -> Trajectory:
    """By inverse kinematics; where no known markers allow that, from Plug-in-Gait angles if the file holds them."""
    from biomechgpt_jax.biomechanics import inverse
    from biomechgpt_jax.formats import plugin_gait

    markers = read_markers(path)
    try:
        return inverse.fit(markers).trajectory
    except InputError as error:
        if plugin_gait.supported(markers):
            return plugin_gait.trajectory(markers)
        raise InputError(f"{path}: {error}") from error


def _reader(ending: str) -> Callable[[Path], Trajectory]:
    """The reader of a family of coordinates; imported when it is needed."""
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
        InputError: it is missing, a directory, of another kind, or its content cannot be used.
    """
    path = Path(path)
    _check(path, MARKERS)
    with _named(path):
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
def _named(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror}; check its permissions") from error


def describe(trajectory: Trajectory) -> dict[str, object]:
    """What a motion file holds: rate, seconds, coordinates present and missing, flags, and net walking speed."""
    import numpy as np

    from biomechgpt_jax.biomechanics.skeleton import COORDINATES, HORIZONTAL_ROOT, INDEX

    observed = trajectory.observed
    found: dict[str, object] = {
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
    if observed[root].all():
        moved = np.linalg.norm(trajectory.coordinates[-1, root] - trajectory.coordinates[0, root])
        found["net_speed_m_s"] = round(float(moved) * trajectory.rate_hz / (trajectory.frames - 1), 3)
    return found
