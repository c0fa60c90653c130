"""Marker files of Motion Analysis and OpenSim (.trc): tab-separated text."""

from pathlib import Path

import numpy as np

from biomechgpt_jax.biomechanics.fitting.markers import Markers
from biomechgpt_jax.biomechanics.trajectory import Metadata
from biomechgpt_jax.errors import InputError
from biomechgpt_jax.formats.parsing import text

METRES = {"mm": 1e-3, "cm": 1e-2, "m": 1.0, "meters": 1.0, "metres": 1.0, "millimeters": 1e-3, "inches": 0.0254}
_HEADER_LINES = 6
FARTHEST_M = 1e4


def read(path: Path) -> Markers:
    """Read a .trc file: raw markers (see `Markers`). A blank cell is a marker that was not seen.

    Raises:
        InputError: the file is empty, truncated, or its header and rows cannot be read.
    """
    lines, digest = text.lines(path)
    head = next((i for i, line in enumerate(lines[:_HEADER_LINES]) if line.startswith("Frame#")), -1)
    if head < 2:
        raise InputError(f"{path} has no line of marker names starting with 'Frame#'; give a .trc file")
    separator = text.separator(lines[head])
    facts = _facts(path, *(lines[i].split(separator) for i in (head - 2, head - 1)))
    names = text.non_empty(lines[head].split(separator)[2:])
    if not names or len(set(names)) < len(names):
        raise InputError(f"{path} names no marker, or one twice; correct the line starting with 'Frame#'")
    table = _table(path, [line.split(separator) for line in lines[head + 2 :]], len(names), head + 3)
    scale = METRES.get(facts.get("units", "mm").lower())
    if scale is None:
        raise InputError(f"{path} is in units of {facts['units']!r}; give one of {', '.join(METRES)}")
    rate = _rate(path, facts, table[:, 1])
    positions = (scale * table[:, 2:]).reshape(len(table), len(names), 3)
    positions[np.abs(positions) > FARTHEST_M] = np.nan
    if not np.isfinite(positions).all(axis=2).any():
        raise InputError(f"{path}: no marker lies within {FARTHEST_M:g} m; correct its units, or export it again")
    flags = () if len(table) == int(float(facts.get("numframes", len(table)))) else ("rows-not-as-in-header",)
    metadata = Metadata(source=path.name, sha256=digest, flags=flags)
    return Markers(positions.astype(np.float32), tuple(names), rate, metadata)


def _facts(path: Path, keys: list[str], values: list[str]) -> dict[str, str]:
    """Header values by lower-case key; some programs put empty cells between them."""
    facts = dict(zip((key.lower() for key in text.non_empty(keys)), text.non_empty(values), strict=False))
    for key in ("datarate", "numframes"):
        try:
            sound = np.isfinite(float(facts.get(key, "1")))
        except ValueError:
            sound = False
        if not sound:
            raise InputError(f"{path}: {key} is {facts[key]!r}, not a number; correct the header")
    return facts


def _table(path: Path, lines: list[list[str]], markers: int, first_line: int) -> np.ndarray:
    """Rows of frame, time and coordinates, f64[T, 2 + 3 M]; blank cells become NaN."""
    width = 2 + 3 * markers
    rows = []
    for number, cells in enumerate(lines, first_line):
        if not any(cell.strip() for cell in cells):
            continue
        try:
            row = [float(cell) if cell.strip() else np.nan for cell in cells[:width]]
        except ValueError as error:
            raise InputError(f"{path}, line {number}: a cell is not a number ({error}); correct it") from error
        rows.append(row + [np.nan] * (width - len(row)))
    if len(rows) < 2:
        raise InputError(f"{path} holds {len(rows)} frames of movement; at least 2 are needed")
    table = np.array(rows)
    table[~np.isfinite(table)] = np.nan
    return table


def _rate(path: Path, facts: dict[str, str], time: np.ndarray) -> float:
    """Frames per second: from the time column if it increases throughout, otherwise from the header."""
    steps = np.diff(time)
    if np.isfinite(time).all() and (steps > 0).all():
        rate = (len(time) - 1) / (time[-1] - time[0])
    else:
        rate = float(facts.get("datarate", "nan"))
    if not 1.0 <= rate <= 10_000.0:
        raise InputError(f"{path}: neither the time column nor DataRate gives a rate ({rate:g} Hz); correct them")
    return float(rate)
