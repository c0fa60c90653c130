"""Read through other libraries, each in its own process, because a damaged file may crash, hang or bloat them.

The process runs this module; it writes plain arrays and JSON to a temporary file and ends.
"""

import importlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import warnings
import zipfile
from pathlib import Path
from typing import Any

import numpy as np

# Limit of the processor's time for a file: a constant, plus an allowance per mebibyte. On a busy machine the clock on
# the wall says little about the file: it may show so many times as much.
LIMIT_S, LIMIT_S_PER_MB = 4.0, 0.5
_BUSY = 15.0
# Limit of the process' address space, far above what the largest accepted file needs. For C3D also by the file's size:
# ezc3d's objects take many times the space of their numbers in the file, and a damaged count makes many of them.
_MOST_BYTES = 8 * 2**30
_C3D_BYTES, _C3D_BYTES_PER_BYTE = 512 * 2**20, 100
_FAILED, _NOT_INSTALLED = 3, 4
_LIMITS_TIME = hasattr(signal, "SIGXCPU")  # without it the clock on the wall is the limit
_FACTS = "facts"
# Groups of C3D parameters that are read.
_GROUPS = ("POINT", "EVENT", "ANALYSIS", "ROTATION")
# Those of them that the library c3d is asked for; it knows no rotations.
_ENTRIES = {"EVENT": ("LABELS", "CONTEXTS", "TIMES"), "ANALYSIS": ("NAMES", "CONTEXTS", "UNITS", "VALUES")}


class NativeError(RuntimeError):
    """The library did not read the file; the message is its reason, or says that it crashed."""


def load(library: str, path: Path) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """Read arrays and facts of a file with "ezc3d", "c3d" or "nimblephysics" in another process.

    Raises:
        ImportError: the library is not installed.
        NativeError: the library failed, crashed, or did not finish in time.
    """
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "result.npz"
        limit_s = LIMIT_S + LIMIT_S_PER_MB * path.stat().st_size / 2**20
        command = [sys.executable, "-m", __name__, library, str(path.resolve()), str(out), str(int(np.ceil(limit_s)))]
        wall_s = _BUSY * limit_s if _LIMITS_TIME else limit_s
        environment = os.environ | {"PYTHONPATH": os.pathsep.join(entry for entry in sys.path if entry)}
        environment |= {"OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"}  # threads reserve address space
        try:
            done = subprocess.run(
                command, capture_output=True, text=True, errors="replace", timeout=wall_s, env=environment, cwd=folder
            )
        except subprocess.TimeoutExpired as error:
            raise NativeError(f"{library} did not finish within {wall_s:.0f} s") from error
        if done.returncode == _NOT_INSTALLED:
            raise ImportError(f"{library} is not installed", name=library)
        if done.returncode == _FAILED:
            raise NativeError((done.stderr.strip().splitlines() or [f"{library} failed"])[-1])
        if _LIMITS_TIME and done.returncode == -signal.SIGXCPU:
            raise NativeError(f"{library} did not finish within {limit_s:.0f} s")
        if done.returncode:
            raise NativeError(f"{library} crashed")
        try:
            with np.load(out, allow_pickle=False) as stored:
                arrays = {name: stored[name] for name in stored.files if name != _FACTS}
                return arrays, json.loads(str(stored[_FACTS]))
        except (OSError, ValueError, KeyError, zipfile.BadZipFile) as error:
            raise NativeError(f"{library} wrote no readable result") from error


def _ezc3d(path: str) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    import ezc3d

    content = ezc3d.c3d(path)
    points = np.moveaxis(np.asarray(content["data"]["points"][:3], np.float64), (0, 1, 2), (2, 1, 0))
    residual = np.asarray(content["data"]["meta_points"]["residuals"], np.float64)[0].T
    parameters = {
        group: {
            name: np.asarray(entry["value"]).tolist()
            for name, entry in content["parameters"].get(group, {}).items()
            if isinstance(entry, dict) and "value" in entry
        }
        for group in _GROUPS
    }
    facts = {
        "parameters": parameters,
        "first_frame": int(content["header"]["points"]["first_frame"]),
        "analog_channels": int(np.shape(content["data"]["analogs"])[1]),
    }
    rotations = np.moveaxis(np.asarray(content["data"]["rotations"], np.float64), (0, 1, 2, 3), (2, 3, 1, 0))
    return {"points": points, "residual": residual, "rotations": rotations}, facts


def _c3d(path: str) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    import c3d

    warnings.simplefilter("ignore")
    with open(path, "rb") as file:
        reader = c3d.Reader(file)
        frames = [frame for _, frame, _ in reader.read_frames(copy=True)]
        points = np.asarray(frames, np.float64)[..., :5]

    def text(name: str) -> str:
        entry = reader.get(f"POINT:{name}")
        return (
            entry.string_value.replace("\x00", "").strip()
            if entry is not None and entry.bytes_per_element == -1
            else ""
        )

    def entry(name: str) -> list[Any]:
        """Texts, or numbers with the dimensions that ezc3d gives them; empty where there are none."""
        found = reader.get(name)
        if found is None or not found.dimensions or 0 in found.dimensions:
            return []
        if found.bytes_per_element == -1:
            return [word.decode("utf-8", errors="replace").strip() for word in np.ravel(found.bytes_array).tolist()]
        numbers = found.float_array if found.bytes_per_element == 4 else found.int_array
        return list(numbers.T.tolist())

    facts = {
        "parameters": {group: {name: entry(f"{group}:{name}") for name in names} for group, names in _ENTRIES.items()},
        "labels": [label.replace("\x00", "").strip() for label in reader.point_labels] if reader.point_used else [],
        "rate_hz": float(reader.point_rate),
        "units": text("UNITS"),
        "first_frame": int(reader.first_frame),
        "vertical": text("Y_SCREEN"),
    }
    return {"points": points[..., :3], "residual": points[..., 3]}, facts


def _nimblephysics(path: str) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    nimble: Any = importlib.import_module("nimblephysics_libs._nimblephysics")
    subject = nimble.biomechanics.SubjectOnDisk(path)
    lengths = [subject.getTrialLength(trial) for trial in range(subject.getNumTrials())]
    longest = int(np.argmax(lengths))
    frames = subject.readFrames(longest, 0, lengths[longest], includeSensorData=False)
    skeleton = subject.readSkel(0, ignoreGeometry=True)
    names = [skeleton.getDofByIndex(index).getName() for index in range(skeleton.getNumDofs())]
    positions = np.stack([np.asarray(frame.processingPasses[0].pos, np.float64) for frame in frames])
    facts = {
        "names": names,
        "trials": len(lengths),
        "trial": longest,
        "seconds_per_frame": float(subject.getTrialTimestep(longest)),
        "height_m": float(subject.getHeightM()),
        "mass_kg": float(subject.getMassKg()),
        "age": float(subject.getAgeYears()),
        "sex": str(subject.getBiologicalSex()),
    }
    return {"positions": positions}, facts


def _main(library: str, path: str, out: str, limit_s: str) -> int:
    try:
        import resource

        most = _MOST_BYTES
        if library != "nimblephysics":
            most = min(most, _C3D_BYTES + _C3D_BYTES_PER_BYTE * os.path.getsize(path))
        resource.setrlimit(resource.RLIMIT_AS, (most, most))
        resource.setrlimit(resource.RLIMIT_CPU, (int(limit_s), int(limit_s) + 1))
    except (ImportError, ValueError, OSError):
        pass  # the system has no such limits
    try:
        arrays, facts = {"ezc3d": _ezc3d, "c3d": _c3d, "nimblephysics": _nimblephysics}[library](path)
    except ImportError:
        return _NOT_INSTALLED
    except Exception as error:  # any error of the library is reported as the reason, in one line
        print(" ".join(str(error).split())[:200] or type(error).__name__, file=sys.stderr)
        return _FAILED
    np.savez(out, allow_pickle=False, **arrays, **{_FACTS: np.array(json.dumps(facts))})
    return 0


if __name__ == "__main__":
    sys.exit(_main(*sys.argv[1:]))
