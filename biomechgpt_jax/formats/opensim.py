"""OpenSim and OpenCap coordinate files (.mot, .sto).

Common problems and how they are handled: degrees or radians (inDegrees decides unless the movement contradicts it);
negative knee flexion (flipped); coordinates that a model lacks (masked); other results with the same extension, such as
ground reactions or joint speeds (refused, `parsing.quantities`); cells that are not numbers (short gaps filled and
flagged, whole columns masked); decimal commas, where no cell has a point; uneven time (resampled and flagged).
"""

import hashlib
import io
import math
import os
import re
import warnings
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from biomechgpt_jax.biomechanics.flags import CAUTION
from biomechgpt_jax.biomechanics.skeleton import COORDINATE_COUNT, COORDINATES, INDEX
from biomechgpt_jax.biomechanics.trajectory import Metadata, Trajectory
from biomechgpt_jax.errors import InputError
from biomechgpt_jax.files import write_atomically
from biomechgpt_jax.formats import quality
from biomechgpt_jax.formats.parsing import numbers, quantities, text, timing

# 40 coordinates at 100 Hz for more than an hour; reading takes about three times as much memory.
LARGEST_BYTES = 256 * 2**20
_SLOWEST_HZ, _FASTEST_HZ = 5.0, 5000.0
AMBIGUOUS_KNEE_RAD = np.radians(10.0)
# Angles of the legs are radians only below this, whatever the pose; a hip bends to 2.6.
_MOST_RADIANS = 3.3
# Legs that range over less may stand in radians and sway in degrees; over more they swing, if in radians.
_SWAY, _SWINGS = 0.1, 0.35
# The pelvis travels, or rises as in a squat, or moves at all, if it moves this far.
_TRAVELS_M, _RISES_M, _SWAYS_M = 0.5, 0.05, 0.01
FEWEST_FRAMES = 2
FARTHEST_M, FARTHEST_RAD = 1e5, 1e4  # larger values are not a person's, or not in metres and radians
HIGHEST_PELVIS_M = 50.0

_HEADER_BYTES = 2**16
_TRANSLATIONS = ("pelvis_tx", "pelvis_tz", "pelvis_ty")
_ANGLES = [index for index, name in enumerate(COORDINATES) if name not in _TRANSLATIONS]
_LEGS = [index for index, name in enumerate(COORDINATES) if name.startswith(("hip_", "knee_", "ankle_"))]
# Other names for the same rotation.
_ALIASES = {
    "trunk_extension": "lumbar_extension",
    "trunk_bending": "lumbar_bending",
    "trunk_rotation": "lumbar_rotation",
    "elbow_flexion_r": "elbow_flex_r",
    "elbow_flexion_l": "elbow_flex_l",
}
# How Windows programs print a NaN.
_WINDOWS_NAN = re.compile(r"[-+]?(?:nan\([a-z]*\)|\d\.?\d*#[a-z]+\d*)", re.IGNORECASE)


@dataclass(frozen=True)
class _Header:
    in_degrees: bool | None
    rows: int | None
    names: tuple[str, ...]
    lines: int  # number of lines up to and including the column names
    separator: str  # between the columns: "," or ";", or "" for white space
    decimal_comma: bool


def read(path: Path) -> Trajectory:
    """Read a file of joint coordinates over time.

    Returns:
        The trajectory at the file's own (mean) rate, with positive knee flexion, in radians and metres.

    Raises:
        InputError: the file is empty or truncated, holds no coordinates, or has gaps that are too long to fill.
    """
    digest, head = _scan(path)
    header = _header(path, head)
    columns = _columns(path, header.names)
    table, flags = _table(path, header)
    time = table[:, 0]
    if not np.isfinite(time).all():
        row = int(np.flatnonzero(~np.isfinite(time))[0]) + 1
        raise InputError(f"{path}: time does not increase at data row {row}; correct the time column")
    times = timing.timing(time, math.nan, str(path), fill=False)
    if not _SLOWEST_HZ <= times.rate_hz <= _FASTEST_HZ:
        raise InputError(f"{path}: {times.rate_hz:.3g} frames per second are implausible; is time in seconds?")
    q = np.full((len(table), COORDINATE_COUNT), np.nan)
    q[:, [INDEX[name] for name in columns]] = table[:, list(columns.values())]
    del table
    quantities.refuse_speeds(path, q)
    flags += _to_radians(q, header.in_degrees)
    quantities.refuse_by_content(path, q)
    heading = INDEX["pelvis_rotation"]
    seen = np.isfinite(q[:, heading])
    q[seen, heading] = np.unwrap(q[seen, heading])
    observed, gap_flags = _fill(path, q, time, tuple(columns))
    _check_size(path, q)
    q = _on_grid(q, times)
    flags += [*gap_flags, *times.flags]
    flags += _make_knee_flexion_positive(q, observed) + quality.flags(q, observed, times.rate_hz)
    metadata = Metadata(source=path.name, sha256=digest, flags=tuple(flags))
    return Trajectory(q.astype(np.float32), observed, times.rate_hz, metadata)


def _scan(path: Path) -> tuple[str, str]:
    """SHA-256 of the file and its first 64 KiB as text, in one pass with bounded memory."""
    size = os.path.getsize(path)
    if size > LARGEST_BYTES:
        raise InputError(f"{path} has {size / 2**20:.0f} MiB, more than {LARGEST_BYTES // 2**20}; cut it into parts")
    sha, head, blank = hashlib.sha256(), b"", True
    with path.open("rb") as file:
        while block := file.read(2**20):
            if b"\x00" in block:
                raise InputError(f"{path} is not a plain text file; give an OpenSim .mot or .sto file")
            sha.update(block)
            head = head or block[:_HEADER_BYTES]
            blank = blank and not block.strip()
    if blank:
        raise InputError(f"{path} is empty; export it again")
    return sha.hexdigest(), head.decode("utf-8-sig", errors="replace")


def _cells(line: str, separator: str) -> list[str]:
    line = line.rstrip(f"{separator} \t")
    cells = [cell.strip() for cell in (line.split(separator) if separator else line.split())]
    return cells or [""]


def _key_value(line: str) -> tuple[str, str]:
    """Key and value of `nRows=5`, or of the older `datarows 5`; both are empty for other lines."""
    pair = re.match(r"(\w+)\s*[= ]\s*(\S.*)$", line)
    return (pair[1], pair[2]) if pair else ("", "")


def _header(path: Path, head: str) -> _Header:
    lines = re.split(r"\r\n|\r|\n", head)
    words = [line.strip(",; \t").lower() for line in lines]
    if "endheader" in words:
        start = words.index("endheader") + 1
    else:  # some programs omit it
        start = next((i for i, word in enumerate(words) if re.match(r"time[\s,;]", word)), -1)
    if start < 0:
        raise InputError(
            f"{path} has neither 'endheader' nor column names that start with 'time': not a .mot file; give a file of "
            "joint coordinates"
        )
    entries = {key: value for key, value in (_key_value(word) for word in words[:start]) if key}
    kind = entries.get("datatype", "double")
    if kind != "double":
        raise InputError(f"{path} holds {kind} values; give a file of joint coordinates (DataType=double)")
    if start > 0:
        quantities.refuse_by_title(path, lines[0].strip(",; \t"))
    first = next((i for i in range(start, len(lines)) if words[i]), None)
    if first is None:
        raise InputError(f"{path} ends after its header, so it is truncated; export it again")
    separator = text.separator(lines[first]).replace("\t", "")
    separator = separator if separator in lines[first] else ""
    names = tuple(_cells(lines[first], separator))
    if names[0].lower() != "time":
        raise InputError(f"{path}: the first column is {names[0][:40]!r}, not 'time'; give coordinates over time")
    degrees = {"yes": True, "true": True, "no": False, "false": False}.get(entries.get("indegrees", ""))
    rows = entries.get("nrows", entries.get("datarows", ""))
    cells = (cell for line in lines[first + 1 : first + 50] for cell in _cells(line, separator))
    decimal_comma = numbers.has_decimal_commas(cells, separator)
    return _Header(degrees, int(rows) if rows.isdigit() else None, names, first + 1, separator, decimal_comma)


def _columns(path: Path, names: tuple[str, ...]) -> dict[str, int]:
    """Column of each coordinate; full OpenSim 4 paths are shortened, and columns of other quantities are left out."""
    columns: dict[str, int] = {}
    for column, full in enumerate(names):
        parts = full.lower().strip("/").split("/")
        name = parts[-2] if len(parts) > 1 and parts[-1] == "value" else parts[-1]
        name = _ALIASES.get(name, name)
        if name in columns:
            raise InputError(f"{path} has two columns for {name}; keep one")
        if name in INDEX:
            columns[name] = column
    quantities.refuse_by_columns(path, names, tuple(columns))
    if not columns:
        raise InputError(
            f"{path} holds {quantities.what_else(names)} (columns {', '.join(names[1:4])}, ...); give a file of joint "
            "coordinates such as an inverse kinematics result"
        )
    return columns


def _table(path: Path, header: _Header) -> tuple[np.ndarray, list[str]]:
    """All numbers of the file, f64[rows, names], and flags."""
    cut = _last_row_is_cut(path, header)
    try:
        table = _numbers(path, header)
    except ValueError as error:
        if cut:
            raise InputError(f"{path} is truncated: its last row ends early; export it again") from error
        reason = str(error).splitlines()[0].split("; use `usecols`")[0]
        raise InputError(f"{path}: {reason} (data rows count from 1); correct that row") from error
    if len(table) < FEWEST_FRAMES:
        raise InputError(f"{path} has {len(table)} rows of data but needs at least {FEWEST_FRAMES}; export it again")
    if table.shape[1] != len(header.names):
        raise InputError(f"{path} has {len(header.names)} column names but {table.shape[1]} columns; export it again")
    if header.rows is None or header.rows == len(table):
        return table, []
    # Files edited by hand are often one row off; a truncated file lacks many rows, or the end of its last line.
    if header.rows - len(table) > 1 or cut:
        raise InputError(f"{path} is truncated: {len(table)} of {header.rows} rows are present; export it again")
    return table, ["rows-not-as-in-header"]


def _numbers(path: Path, header: _Header) -> np.ndarray:
    delimiter = header.separator or None
    columns = range(len(header.names)) if header.separator else None  # spreadsheets add empty columns

    def parse(source: Path | io.StringIO) -> np.ndarray:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # a table without rows gets its own message below
            # Latin-1 decodes every byte, and comments in the header may have any encoding.
            return np.loadtxt(
                source,
                comments=None,
                delimiter=delimiter,
                usecols=columns,
                skiprows=header.lines,
                ndmin=2,
                encoding="latin-1",
            )

    def content() -> str:
        written = path.read_text(encoding="latin-1")
        return written.replace(",", ".") if header.decimal_comma else written

    try:
        return parse(io.StringIO(content()) if header.decimal_comma else path)
    except ValueError:
        written = content()
        readable = _WINDOWS_NAN.sub("nan", written)
        if readable == written:
            raise
        return parse(io.StringIO(readable))


def _last_row_is_cut(path: Path, header: _Header) -> bool:
    """Whether the last line has fewer values than there are columns."""
    with path.open("rb") as file:
        file.seek(max(0, os.path.getsize(path) - _HEADER_BYTES))
        lines = file.read().decode("latin-1").rstrip().splitlines()
    return len(_cells(lines[-1], header.separator)) < len(header.names)


def _to_radians(q: np.ndarray, in_degrees: bool | None) -> list[str]:
    """Convert angles in place, from the unit that the header names unless the movement contradicts it.

    Without an entry in the header, leg angles above 2 pi imply degrees.
    """
    with np.errstate(all="ignore"):
        legs = np.nanmax(np.abs(q[:, _LEGS]), initial=0.0)
        # Never use the heading, which may count whole turns, and use arms only without legs, because they may wrap.
        others = [index for index in _ANGLES if COORDINATES[index] != "pelvis_rotation"]
        largest = legs if np.isfinite(q[:, _LEGS]).any() else np.nanmax(np.abs(q[:, others]), initial=0.0)
    flags = []
    if in_degrees is None:
        in_degrees = bool(largest > 2 * np.pi)
        flags.append("units-guessed")
    elif not in_degrees and largest > 2 * np.pi:
        in_degrees = True
        said = f"the file says radians, but its leg angles reach {largest:.0f}: read as degrees"
        flags += ["units-implausible", f"{CAUTION}{said}"]
    elif in_degrees and 0 < legs <= _MOST_RADIANS:
        if _moves_like_radians(q):
            in_degrees = False
            said = f"the file says degrees, but in degrees its legs hardly move (at most {legs:.1f}): read as radians"
            flags.append(f"{CAUTION}{said}")
        elif _arms_fit_radians(q):
            flags.append(f"{CAUTION}the file says degrees, but its angles are so small that they may be radians")
    if in_degrees:
        q[:, _ANGLES] = np.radians(q[:, _ANGLES])
    return flags


def _moves_like_radians(q: np.ndarray) -> bool:
    """Whether leg angles that were degrees, if 3 of them at most, would not fit what the pelvis does."""
    legs = float(np.nanmax(_ranges(q[:, _LEGS])))
    if legs <= _SWAY:
        return False
    across, up = (q[:, [INDEX[name] for name in names]] for names in (("pelvis_tx", "pelvis_tz"), ("pelvis_ty",)))
    travels = float(np.nanmax(_ranges(across), initial=0.0)) > _TRAVELS_M
    rises = float(np.nanmax(_ranges(up), initial=0.0))
    unknown = not np.isfinite(up).any()
    return travels or rises > _RISES_M or (legs > _SWINGS and (unknown or rises > _SWAYS_M))


def _arms_fit_radians(q: np.ndarray) -> bool:
    """Whether arms are recorded and all their angles are small enough for radians."""
    arms = [index for index, name in enumerate(COORDINATES) if name.startswith(("arm_", "elbow_"))]
    return 0.0 < float(np.nanmax(np.abs(q[:, arms]), initial=0.0)) <= _MOST_RADIANS


def _ranges(columns: np.ndarray) -> np.ndarray:
    """Largest less smallest value of each column that has any, 0 of others."""
    known = columns[:, np.isfinite(columns).any(axis=0)]
    return np.nanmax(known, axis=0) - np.nanmin(known, axis=0) if known.size else np.zeros(1)


def _fill(path: Path, q: np.ndarray, time: np.ndarray, names: tuple[str, ...]) -> tuple[np.ndarray, list[str]]:
    """Fill short gaps in place and set unobserved coordinates to zero; return the mask bool[40] and flags."""
    observed, flags = np.zeros(COORDINATE_COUNT, bool), []
    frame_s = float(np.median(np.diff(time)))
    for name in names:
        values = q[:, INDEX[name]]
        good = np.isfinite(values)
        if not good.any():
            flags.append(f"empty:{name}")
            continue
        observed[INDEX[name]] = True
        if good.all():
            continue
        edges = np.flatnonzero(np.diff(np.concatenate([[0], ~good, [0]]).astype(int)))
        first, end = edges[::2], edges[1::2]
        longest = int((end - first).argmax())
        seconds = (end - first)[longest] * frame_s
        if seconds >= timing.LONGEST_GAP_S - 1e-9:
            raise InputError(
                f"{path}: {name} has no number in data rows {first[longest] + 1} to {end[longest]} ({seconds:.2f} s); "
                "fill the gap or cut the file there"
            )
        values[~good] = np.interp(time[~good], time[good], values[good])
        flags.append(f"filled:{name}")
    if not observed.any():
        raise InputError(f"{path} holds no numbers for {', '.join(names[:3])}; export it again")
    q[:, ~observed] = 0.0
    return observed, flags


def _check_size(path: Path, q: np.ndarray) -> None:
    """Refuse values that no person reaches in metres and radians."""
    largest = np.abs(q).max(axis=0)
    for index, name in enumerate(COORDINATES):
        metres = name in _TRANSLATIONS
        if largest[index] > (FARTHEST_M if metres else FARTHEST_RAD):
            unit = "m" if metres else "rad"
            raise InputError(f"{path}: {name} reaches {largest[index]:.3g} {unit}; correct that column")
    height = float(np.median(q[:, INDEX["pelvis_ty"]]))
    if abs(height) > HIGHEST_PELVIS_M:
        raise InputError(f"{path}: pelvis_ty is about {height:.0f}; give metres (is the file in millimetres?)")


def _on_grid(q: np.ndarray, times: timing.Timing) -> np.ndarray:
    """Coordinates at every frame, [frames, 40]: uneven rows and short gaps are interpolated."""
    if times.even and times.frames == len(q):
        return q
    frame = np.arange(times.frames)
    return np.stack([np.interp(frame, times.at_R, column) for column in q.T], axis=1)


def _make_knee_flexion_positive(q: np.ndarray, observed: np.ndarray) -> list[str]:
    """Make knee flexion positive in place, by the sign of the larger of the 5th and 95th percentiles; returns flags."""
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


def write_mot(path: str | Path, trajectory: Trajectory) -> None:
    """Write the observed coordinates as an OpenSim .mot file in degrees, whole or not at all.

    Raises:
        InputError: nothing was observed, or the file cannot be written there.
    """
    path = Path(path)
    names = [name for name, seen in zip(COORDINATES, trajectory.observed, strict=True) if seen]
    if not names:
        raise InputError(f"{path}: the movement has no observed coordinate to write")
    q = np.array(trajectory.coordinates[:, [INDEX[name] for name in names]], np.float64)
    angles = [i for i, name in enumerate(names) if name not in _TRANSLATIONS]
    q[:, angles] = np.degrees(q[:, angles])
    time = np.arange(trajectory.frames) / trajectory.rate_hz
    head = f"Coordinates\nversion=1\nnRows={len(q)}\nnColumns={len(names) + 1}\ninDegrees=yes\nendheader\n"
    try:
        with write_atomically(path) as file:
            file.write((head + "\t".join(["time", *names]) + "\n").encode())
            np.savetxt(file, np.column_stack([time, q]), fmt="%.10g", delimiter="\t")
    except OSError as error:
        raise InputError(f"{path} cannot be written: {error.strerror}; choose another place") from error
