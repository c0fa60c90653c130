"""Marker tables of OptiTrack's Motive (.csv, format versions 1.1 to 1.2x).

The first line names the version, rates and units; rows of types, names and kinds of data stand above the axes.
Positions of labelled markers are read: rigid bodies, bones and markers without a label are none.
"""

from pathlib import Path

import numpy as np

from biomechgpt_jax.biomechanics.fitting.markers import Markers
from biomechgpt_jax.biomechanics.trajectory import Metadata
from biomechgpt_jax.errors import InputError
from biomechgpt_jax.formats.parsing import numbers, points, text
from biomechgpt_jax.formats.parsing.timing import timing

_HEADER_ROWS = 12
_FIRST = "format version"
# What Motive calls a labelled marker, the measured one first.
_TYPES = ("marker", "bone marker")
_UNLABELLED = ("unlabeled", "unlabelled")


def is_motive(head: str) -> bool:
    """Whether a table that begins with this line is one of Motive's."""
    return head.lstrip('"').lower().startswith(_FIRST)


def read(path: Path) -> Markers:
    """Read a table of Motive: raw markers (see `Markers`). A blank cell is a marker that was not seen.

    Raises:
        InputError: the table is damaged, or holds no positions of labelled markers.
    """
    lines, digest = text.lines(path)
    separator = text.separator(lines[0])
    rows = numbers.rows(path, lines, separator)
    facts = {key.strip().lower(): value.strip() for key, value in zip(rows[0][::2], rows[0][1::2], strict=False)}
    axes = next((i for i, row in enumerate(rows[:_HEADER_ROWS]) if _first_cell(row).startswith("frame")), -1)
    if axes < 1:
        raise InputError(f"{path} has no row of axes that starts with 'Frame'; export the take from Motive again")
    columns = _columns(path, rows[:axes], rows[axes])
    body, ended = rows[axes + 1 :], not lines[-1]
    comma = numbers.has_decimal_commas((cell for row in body[:200] for cell in row), separator)
    body, cut = numbers.without_cut_cell(body, comma, ended)
    kept, short = numbers.short_rows([len(row) for row in body], 1 + max(map(max, columns.values())), ended)
    body = body[:kept]
    table = numbers.table(path, body, len(rows[axes]), comma, first_row=axes + 2)
    if len(table) < 2:
        raise InputError(f"{path} holds {len(table)} frames of movement; at least 2 are needed")
    unit = facts.get("length units", "meters").lower()
    scale = points.metres(path, unit)
    positions = points.seen(table[:, list(columns.values())])
    if not np.isfinite(positions).any():
        raise InputError(f"{path}: none of its {len(columns)} markers is seen in any frame; export it again")
    found = timing(table[:, 1], _rate(facts, comma), str(path), fill=True)
    return Markers(
        (scale * found.on_grid(positions)).astype(np.float32),
        tuple(columns),
        found.rate_hz,
        Metadata(source=path.name, sha256=digest, flags=(*cut, *short, *found.flags)),
        unit=unit,
    )


def _first_cell(row: list[str]) -> str:
    return row[0].strip().lower() if row else ""


def _rate(facts: dict[str, str], comma: bool) -> float:
    """Frames per second as the first line says; NaN if it does not."""
    try:
        return numbers.number(facts.get("export frame rate") or facts.get("capture frame rate", ""), comma)
    except ValueError:
        return np.nan


def _columns(path: Path, rows: list[list[str]], axes: list[str]) -> dict[str, list[int]]:
    """Columns of x, y and z of each labelled marker, by its name."""
    named = {_label(row): row for row in rows if _label(row)}
    kinds = next((row for row in reversed(rows) if "Position" in row), [])
    types, names = named.get("type", []), named.get("name", [])
    found: dict[str, dict[str, dict[str, int]]] = {kind: {} for kind in _TYPES}
    for column, axis in enumerate(axes):
        cells = [row[column].strip() if column < len(row) else "" for row in (types, names, kinds)]
        kind, name, axis = cells[0].lower(), cells[1], axis.strip()
        if kind not in found or cells[2] != "Position" or axis not in ("X", "Y", "Z"):
            continue
        if name and not name.rpartition(":")[2].lower().startswith(_UNLABELLED):
            found[kind].setdefault(name, {}).setdefault(axis, column)
    for kind in _TYPES:
        whole = {name: [at[axis] for axis in "XYZ"] for name, at in found[kind].items() if len(at) == 3}
        if whole:
            return whole
    held = ", ".join(sorted({cell.strip() for cell in types if cell.strip()} - {"Type"})) or "none"
    raise InputError(
        f"{path} holds no positions of labelled markers (its columns are of the types: {held}); label the markers in "
        "Motive and export them"
    )


def _label(row: list[str]) -> str:
    """What a row above the axes holds, such as "type" or "name"."""
    return next((cell.strip().lower() for cell in row[:2] if cell.strip()), "")
