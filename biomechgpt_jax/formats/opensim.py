"""OpenSim and OpenCap coordinate files (.mot, .sto).

What goes wrong in them, and what is done: degrees or radians (inDegrees wins, else limb angles tell); a knee
that flexes negatively (flipped); coordinates a model lacks (masked); ground-reaction files of the same ending
(refused); columns and rows that are not numbers (short gaps filled and flagged, whole columns masked).
"""

import hashlib
import io
import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from biomechgpt_jax.biomechanics.skeleton import COORDINATE_COUNT, COORDINATES, INDEX, OFTEN_ARTEFACTS, limits
from biomechgpt_jax.biomechanics.trajectory import Metadata, Trajectory
from biomechgpt_jax.errors import InputError

LARGEST_BYTES = 512 * 2**20
# Gaps of up to this long are filled by interpolation.
LONGEST_GAP_S = 0.2
# An angle that changes faster than this is a jump, not movement.
JUMP_RAD_S = 40.0
FROZEN_RAD = 1e-6
AMBIGUOUS_KNEE_RAD = np.radians(10.0)
FEWEST_FRAMES = 2
_TRANSLATIONS = ("pelvis_tx", "pelvis_tz", "pelvis_ty")
_IGNORED = ("knee_angle_r_beta", "knee_angle_l_beta")
_FORCE_WORDS = ("force", "moment", "torque", "_vx", "_vy", "_vz", "_px", "_py", "_pz", "grf")


@dataclass(frozen=True)
class _Header:
    in_degrees: bool | None
    rows: int | None
    lines: int  # before the line of column names


def read(path: Path) -> Trajectory:
    """Read a file of joint coordinates over time.

    Returns:
        The trajectory at the file's own rate, knee flexion positive, in radians and metres.

    Raises:
        InputError: the file is empty, truncated, not of coordinates, or has gaps too long to fill.
    """
    size = os.path.getsize(path)
    if size > LARGEST_BYTES:
        raise InputError(f"{path} has {size / 2**20:.0f} MiB, more than {LARGEST_BYTES // 2**20}; cut it into parts")
    raw = path.read_bytes()
    if not raw.strip():
        raise InputError(f"{path} is empty; export it again")
    if b"\x00" in raw:
        raise InputError(f"{path} is not a text file; give an OpenSim .mot or .sto file")
    lines = raw.decode("utf-8", errors="replace").splitlines()
    header = _header(path, lines)
    names = [name.strip() for name in _fields(lines[header.lines])]
    table = _table(path, lines[header.lines + 1 :], names, header)
    columns = _columns(path, names)
    rate, table, flags = _uniform(path, names, table)
    q = np.zeros((len(table), COORDINATE_COUNT))
    observed = np.zeros(COORDINATE_COUNT, bool)
    for name, column in columns.items():
        values, note = _filled(path, name, table[:, column], rate)
        if note:
            flags.append(note)
        if values is not None:
            q[:, INDEX[name]], observed[INDEX[name]] = values, True
    _to_radians(q, observed, header.in_degrees)
    flags += _knees(q, observed)
    flags += _quality(q, observed, rate)
    digest = hashlib.sha256(raw).hexdigest()
    metadata = Metadata(source=path.name, sha256=digest, flags=tuple(flags))
    return Trajectory(q.astype(np.float32), observed, rate, metadata)


def _fields(line: str) -> list[str]:
    return line.replace(",", "\t").split("\t") if "\t" in line or "," in line else line.split()


def _header(path: Path, lines: list[str]) -> _Header:
    in_degrees: bool | None = None
    rows = None
    for number, line in enumerate(lines[:200]):
        key, _, value = line.partition("=")
        word = key.strip().lower()
        if word == "indegrees" and value:
            in_degrees = value.strip().lower() == "yes"
        if word == "nrows" and value.strip().isdigit():
            rows = int(value)
        if line.strip().lower() == "endheader":
            if number + 1 >= len(lines):
                raise InputError(f"{path} ends after its header; it is truncated: export it again")
            return _Header(in_degrees, rows, number + 1)
        if _fields(line)[:1] == ["time"]:
            return _Header(in_degrees, rows, number)
    raise InputError(f"{path} has neither 'endheader' nor column names that begin with 'time': not a .mot file")


def _table(path: Path, lines: list[str], names: list[str], header: _Header) -> np.ndarray:
    body = [line for line in lines if line.strip()]
    if names[:1] != ["time"]:
        raise InputError(f"{path}: the first column is {names[0]!r}, not 'time'; give a file of coordinates over time")
    if len(body) < FEWEST_FRAMES:
        raise InputError(f"{path} has {len(body)} rows of data; at least {FEWEST_FRAMES} are needed: export it again")
    last = len(_fields(body[-1].rstrip()))
    if last < len(names) or (header.rows is not None and len(body) < header.rows):
        raise InputError(
            f"{path} is truncated: {len(body)} rows of {header.rows or 'unknown'}, the last with {last} of "
            f"{len(names)} values; export it again"
        )
    text = "\n".join(body).replace(",", "\t")
    try:
        table = np.loadtxt(io.StringIO(text), ndmin=2, dtype=np.float64)
    except ValueError as error:
        raise InputError(f"{path}: {str(error).splitlines()[0]} (data rows count from 1); mend the row") from error
    if table.shape[1] != len(names):
        raise InputError(f"{path} has {len(names)} column names but {table.shape[1]} columns; export it again")
    return table


def _columns(path: Path, names: list[str]) -> dict[str, int]:
    """Column of each coordinate; full OpenSim 4 paths are shortened."""
    found: dict[str, int] = {}
    for column, full in enumerate(names):
        parts = full.strip("/").split("/")
        name = parts[-2] if len(parts) > 1 and parts[-1] == "value" else parts[-1]
        if name in INDEX and name not in _IGNORED:
            if name in found:
                raise InputError(f"{path} has two columns for {name}; keep one")
            found[name] = column
    if len(found) < 6:
        forces = any(word in name.lower() for name in names for word in _FORCE_WORDS)
        what = "ground-reaction forces" if forces else "no known coordinates"
        raise InputError(
            f"{path} holds {what} (columns {', '.join(names[1:4])}, ...); give a file of joint coordinates "
            "such as an inverse kinematics result"
        )
    return found


def _uniform(path: Path, names: list[str], table: np.ndarray) -> tuple[float, np.ndarray, list[str]]:
    """Rate, rows at that constant rate, and flags."""
    time = table[:, 0]
    steps = np.diff(time)
    if not np.all(np.isfinite(time)) or not np.all(steps > 0):
        row = int(np.flatnonzero(~(steps > 0))[0]) + 2 if np.any(~(steps > 0)) else 1
        raise InputError(f"{path}: time does not increase at data row {row}; mend the time column")
    rate = 1.0 / float(np.median(steps))
    if not 5.0 <= rate <= 5000.0:
        raise InputError(f"{path}: {rate:.3g} frames per second is not plausible; is time in seconds?")
    mean_rate = (len(time) - 1) / (time[-1] - time[0])
    if np.max(np.abs(steps * rate - 1)) < 0.02:
        return round(mean_rate, 3), table, []
    uniform = np.arange(time[0], time[-1] + 0.5 / rate, 1.0 / rate)
    resampled = np.stack([np.interp(uniform, time, table[:, c]) for c in range(len(names))], axis=1)
    return rate, resampled, ["uneven-time"]


def _filled(path: Path, name: str, values: np.ndarray, rate: float) -> tuple[np.ndarray | None, str]:
    """Values without gaps and a flag, or None for a column that holds nothing."""
    bad = ~np.isfinite(values)
    if not bad.any():
        return values, ""
    if bad.all():
        return None, f"empty:{name}"
    edges = np.flatnonzero(np.diff(np.concatenate([[0], bad.astype(int), [0]])))
    longest = int((edges[1::2] - edges[::2]).max())
    if longest / rate > LONGEST_GAP_S:
        row = int(np.flatnonzero(bad)[0]) + 1
        raise InputError(
            f"{path}: {name} has no number for {longest / rate:.2f} s from data row {row} on; cut the file there "
            "or fill the gap"
        )
    index = np.arange(len(values))
    return np.interp(index, index[~bad], values[~bad]), f"filled:{name}"


def _to_radians(q: np.ndarray, observed: np.ndarray, in_degrees: bool | None) -> None:
    """Convert angles in place. Without a header line, limb angles above 2 pi tell degrees (never the heading)."""
    angles = [i for i, name in enumerate(COORDINATES) if name not in _TRANSLATIONS]
    if in_degrees is None:
        limbs = [i for i in angles if observed[i] and COORDINATES[i] != "pelvis_rotation"]
        in_degrees = bool(np.abs(q[:, limbs]).max(initial=0.0) > 2 * np.pi)
    if in_degrees:
        q[:, angles] = np.radians(q[:, angles])


def _knees(q: np.ndarray, observed: np.ndarray) -> list[str]:
    """Make knee flexion positive, in place, by the sign of the larger of the outer percentiles."""
    columns = [i for i in (INDEX["knee_angle_r"], INDEX["knee_angle_l"]) if observed[i]]
    if not columns:
        return []
    low, high = np.percentile(q[:, columns], [5, 95])
    if np.abs(q[:, columns]).max() < AMBIGUOUS_KNEE_RAD:
        return ["knee-sign-ambiguous"]
    if abs(low) > abs(high):
        q[:, columns] *= -1
        return ["knee-sign-flipped"]
    return []


def _quality(q: np.ndarray, observed: np.ndarray, rate: float) -> list[str]:
    """Flags of what looks wrong: jumps, values out of range, joints that never move."""
    flags = []
    bounds = limits()
    for i, name in enumerate(COORDINATES):
        if not observed[i] or name in _TRANSLATIONS:
            continue
        values = q[:, i]
        if np.abs(np.diff(np.unwrap(values))).max() * rate > JUMP_RAD_S:
            flags.append(f"jump:{name}")
        if values.min() < bounds[i, 0] or values.max() > bounds[i, 1]:
            flags.append(f"out-of-range:{name}")
        if np.ptp(values) < FROZEN_RAD and name not in OFTEN_ARTEFACTS:
            flags.append(f"frozen:{name}")
    return flags


def write(path: Path, trajectory: Trajectory) -> None:
    """Write the observed coordinates as an OpenSim .mot file in degrees, whole or not at all."""
    names = [name for name, seen in zip(COORDINATES, trajectory.observed, strict=True) if seen]
    q = np.array(trajectory.coordinates[:, [INDEX[name] for name in names]], np.float64)
    angles = [i for i, name in enumerate(names) if name not in _TRANSLATIONS]
    q[:, angles] = np.degrees(q[:, angles])
    time = np.arange(trajectory.frames) / trajectory.rate_hz
    body = io.StringIO()
    np.savetxt(body, np.column_stack([time, q]), fmt="%.8g", delimiter="\t")
    head = f"Coordinates\nversion=1\nnRows={len(q)}\nnColumns={len(names) + 1}\ninDegrees=yes\nendheader\n"
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    temporary.write_text(head + "\t".join(["time", *names]) + "\n" + body.getvalue())
    temporary.replace(path)
