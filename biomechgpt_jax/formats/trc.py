"""Marker files of Motion Analysis and OpenSim (.trc): tab-separated text."""

import re
from pathlib import Path

import numpy as np

from biomechgpt_jax.biomechanics.fitting.markers import Markers
from biomechgpt_jax.biomechanics.flags import CAUTION
from biomechgpt_jax.biomechanics.trajectory import Metadata
from biomechgpt_jax.errors import InputError
from biomechgpt_jax.formats.parsing import numbers, points, text, timing

_HEADER_LINES = 6
# Numbers of frames that differ by more from what the times say jump; times are rounded and uneven.
_OFF_FRAMES = 0.6
_NAMES_LINE = re.compile(r"\W*frame\s*#", re.IGNORECASE)


def read(path: Path) -> Markers:
    """Read a .trc file: raw markers (see `Markers`). A blank cell or 0 0 0 is a marker that was not seen.

    Raises:
        InputError: the file is empty, truncated, or its header and rows cannot be read.
    """
    lines, digest = text.lines(path)
    head = next((i for i, line in enumerate(lines[:_HEADER_LINES]) if _NAMES_LINE.match(line)), -1)
    if head < 2:
        raise InputError(f"{path} has no line of marker names starting with 'Frame#'; give a .trc file")
    separator = text.separator(lines[head])
    rows = [line.split(separator) for line in lines[head + 2 :]]
    comma = numbers.has_decimal_commas((cell for row in rows for cell in row), separator)
    facts = _facts(path, lines[head - 2].split(separator), lines[head - 1].split(separator), comma)
    unit = facts.get("units", "mm")
    scale = points.metres(path, unit)
    whole, first = numbers.without_cut_cell(rows, comma, ended=not lines[-1])
    table, cells = _table(path, whole, head + 3, comma)
    columns, told = text.marker_columns(path, lines[head].split(separator)[2:], np.isfinite(table[:, 2:]).any(axis=0))
    kept, short = numbers.short_rows(cells, 5 + columns[-1][1], ended=not lines[-1])
    table, flags = table[:kept], (*first, *told, *short)
    if kept < 2:
        raise InputError(f"{path} holds {kept} frames of movement; at least 2 are needed")
    table = np.pad(table, ((0, 0), (0, max(0, 5 + columns[-1][1] - table.shape[1]))), constant_values=np.nan)
    positions = points.seen(np.stack([table[:, 2 + first : 5 + first] for _, first in columns], axis=1))
    if not np.isfinite(positions).any():
        raise InputError(f"{path}: none of its {len(columns)} markers is seen in any frame; export it again")
    times = timing.timing(table[:, 1], float(facts.get("datarate", "nan")), str(path), fill=True)
    chosen, twice = points.first_seen([name for name, _ in columns], positions)
    if len(table) != int(float(facts.get("numframes", len(table)))):
        flags += ("rows-not-as-in-header",)
    flags += times.flags + twice + _jumping_numbers(table[:, 0], times)
    return Markers(
        (scale * times.on_grid(positions[:, chosen])).astype(np.float32),
        tuple(columns[index][0] for index in chosen),
        times.rate_hz,
        Metadata(source=path.name, sha256=digest, flags=flags),
        unit=unit,
    )


def _facts(path: Path, keys: list[str], values: list[str], comma: bool) -> dict[str, str]:
    """Header values by lower-case key; some programs put empty cells between them. Numbers have a decimal point."""
    named, given = text.non_empty(keys), text.non_empty(values)
    if len(given) < len(named):  # a value was left empty: then each stands under its key
        pairs = [(key.strip(), value.strip()) for key, value in zip(keys, values, strict=False)]
        named, given = ([pair[i] for pair in pairs if all(pair)] for i in (0, 1))
    facts = dict(zip((key.lower() for key in named), given, strict=False))
    for key in ("datarate", "numframes"):
        if key not in facts:
            continue
        try:
            value = numbers.number(facts[key], comma)
        except ValueError:
            value = np.nan
        if not np.isfinite(value):
            raise InputError(f"{path}: {key} is {facts[key]!r}, not a number; correct the header")
        facts[key] = str(value)
    return facts


def _jumping_numbers(frame: np.ndarray, times: timing.Timing) -> tuple[str, ...]:
    """A flag if the numbers of the frames f64[R] jump, or do not rise, where the times run on."""
    steps = np.diff(frame)
    usual = float(np.nanmedian(steps)) if np.isfinite(steps).any() else 0.0
    if usual <= 0:
        return ()
    off = np.flatnonzero((steps / usual > np.diff(times.at_R) + _OFF_FRAMES) | (steps <= 0))
    if not len(off):
        return ()
    row, more = int(off[0]), f", and at {len(off) - 1} more rows" if len(off) > 1 else ""
    said = f"frame numbers go from {frame[row]:.0f} to {frame[row + 1]:.0f} after data row {row + 1}{more}"
    return (f"{CAUTION}the {said}, unlike the times: the times are followed",)


def _table(path: Path, lines: list[list[str]], first_line: int, comma: bool) -> tuple[np.ndarray, list[int]]:
    """Rows of frame, time and coordinates, f64[T, columns], blank cells as NaN; and the number of cells of each."""
    rows = []
    for number, cells in enumerate(lines, first_line):
        if not any(cell.strip() for cell in cells):
            continue
        try:
            rows.append([numbers.number(cell, comma) for cell in cells])
        except ValueError as error:
            raise InputError(f"{path}, line {number}: a cell is not a number ({error}); correct it") from error
    if len(rows) < 2:
        raise InputError(f"{path} holds {len(rows)} frames of movement; at least 2 are needed")
    table = np.full((len(rows), max(3, *map(len, rows))), np.nan)
    for row, values in zip(table, rows, strict=True):
        row[: len(values)] = values
    table[~np.isfinite(table)] = np.nan
    return table, [len(row) for row in rows]
