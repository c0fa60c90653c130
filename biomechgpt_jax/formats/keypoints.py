"""Joint centres of markerless systems: arrays of HumanML3D or MediaPipe (.npy), and tables of FreeMoCap (.csv).

They are read as markers whose labels are the names of the joints. None of these files names its rate (some of
FreeMoCap's do), so the usual one of the system is assumed and said.
"""

import hashlib
import io
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from biomechgpt_jax.biomechanics.fitting.markers import Markers
from biomechgpt_jax.biomechanics.flags import CAUTION
from biomechgpt_jax.biomechanics.trajectory import Metadata
from biomechgpt_jax.errors import InputError
from biomechgpt_jax.formats.parsing import numbers, points, text
from biomechgpt_jax.formats.parsing.timing import timing

_MOST_VALUES = 2**26
# Joints of SMPL, in its order; HumanML3D stores the positions of these 22 (Guo et al. 2022).
SMPL = (
    *("pelvis", "left_hip", "right_hip", "spine1", "left_knee", "right_knee", "spine2", "left_ankle", "right_ankle"),
    *("spine3", "left_foot", "right_foot", "neck", "left_collar", "right_collar", "head", "left_shoulder"),
    *("right_shoulder", "left_elbow", "right_elbow", "left_wrist", "right_wrist"),
)
# Landmarks of MediaPipe's body, in its order.
MEDIAPIPE = (
    *("nose", "left_eye_inner", "left_eye", "left_eye_outer", "right_eye_inner", "right_eye", "right_eye_outer"),
    *("left_ear", "right_ear", "mouth_left", "mouth_right"),
    *(f"{s}_{n}" for n in ("shoulder", "elbow", "wrist", "pinky", "index", "thumb") for s in ("left", "right")),
    *(f"{s}_{n}" for n in ("hip", "knee", "ankle", "heel", "foot_index") for s in ("left", "right")),
)
# By the number of points per frame: their names, their unit of length, and frames per second. The larger bodies of SMPL
# begin with the same 22 joints, FreeMoCap's arrays with the 33 of the body.
_ARRAYS = dict.fromkeys((22, 24, 52, 55), (SMPL, "m", 20.0)) | dict.fromkeys((33, 553), (MEDIAPIPE, "mm", 30.0))
_FEATURES = {263: "HumanML3D", 251: "KIT-ML"}
_FREEMOCAP_HZ = 30.0
_TIMES = ("timestamp", "timestamps", "time")
_UNITS_S = (1.0, 1e-3, 1e-6, 1e-9)


def read_array(path: Path) -> Markers:
    """Read a .npy array f[T, J, 3] of joint positions.

    Raises:
        InputError: the array is damaged, holds objects, or is no set of joint positions that is known.
    """
    raw = path.read_bytes()
    shape = _shape(path, raw)
    if len(shape) == 4 and shape[0] == 1:  # generators write a batch of one
        shape = shape[1:]
    if len(shape) == 2 and shape[1] in _FEATURES:
        raise InputError(
            f"{path} holds the features of {_FEATURES[shape[1]]} ({shape[1]} a frame), not positions; give new_joints"
        )
    if len(shape) != 3 or shape[2] != 3 or shape[1] not in _ARRAYS:
        counts = ", ".join(map(str, sorted(_ARRAYS)))
        raise InputError(f"{path} is an array {list(shape)}; give positions [T, J, 3] of {counts} joints")
    names, unit, rate = _ARRAYS[shape[1]]
    with np.errstate(all="ignore"):  # what is no number becomes unseen
        values = np.load(io.BytesIO(raw), allow_pickle=False).reshape(shape)[:, : len(names)].astype(np.float64)
    flag = f"{CAUTION}the file names no frame rate: {rate:g} Hz is assumed"
    return _markers(path, raw, points.seen(values), names, unit, rate, (flag,))


def _shape(path: Path, raw: bytes) -> tuple[int, ...]:
    """Shape of an array of numbers that is whole; nothing is unpickled."""
    file = io.BytesIO(raw)
    try:
        version = np.lib.format.read_magic(file)
        reader = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
        shape, _, dtype = reader(file)
        size = int(np.prod(shape, dtype=object)) if shape else 1
    except Exception as error:  # damaged headers raise many kinds of errors
        reason = str(error).partition("\n")[0][:80]
        raise InputError(f"{path} is not a NumPy array ({reason}); save it again with numpy.save") from error
    if dtype.hasobject or dtype.kind not in "fiu":
        raise InputError(f"{path} holds {'objects' if dtype.hasobject else dtype}, not numbers; save it as float32")
    if not 0 < size <= _MOST_VALUES:
        raise InputError(f"{path} holds {size} numbers; give 1 to {_MOST_VALUES}")
    if len(raw) - file.tell() < size * dtype.itemsize:
        raise InputError(f"{path} is cut off: it announces {list(shape)} numbers; export it again")
    return shape


def is_freemocap(head: str) -> bool:
    """Whether a table that begins with this line is one of FreeMoCap's."""
    names = {cell.strip().strip('"').lower() for cell in head.split(text.separator(head))}
    tidy = {"keypoint", "x", "y", "z"} <= names
    return tidy or any(f"{prefix}left_hip_x" in names for prefix in ("", "body_"))


def read_table(path: Path) -> Markers:
    """Read a table of FreeMoCap: a column for each axis of each joint, or a row for each joint and frame.

    Raises:
        InputError: the table is damaged or holds no joints of a body.
    """
    lines, digest = text.lines(path)
    separator = text.separator(lines[0])
    rows = numbers.rows(path, lines, separator)
    names = [cell.strip().lower() for cell in rows[0]]
    comma = numbers.has_decimal_commas((cell for row in rows[1:200] for cell in row), separator)
    tidy, ended = "keypoint" in names, not lines[-1]
    body, cut = (rows[1:], ()) if tidy else numbers.without_cut_cell(rows[1:], comma, ended)
    kept, short = numbers.short_rows([len(row) for row in body], len(names), ended)
    time, labels, positions = (_tidy if tidy else _wide)(path, names, body[:kept], comma)
    if len(positions) < 2:
        raise InputError(f"{path} holds {len(positions)} frames of movement; at least 2 are needed")
    positions = points.seen(positions)
    if time is None or not np.isfinite(time).all():
        said = f"{CAUTION}the file names no frame rate: {_FREEMOCAP_HZ:g} Hz is assumed"
        return _markers(path, digest, positions, labels, "mm", _FREEMOCAP_HZ, (*cut, *short, said))
    found = timing(_seconds(time), np.nan, str(path), fill=True)
    return _markers(path, digest, found.on_grid(positions), labels, "mm", found.rate_hz, (*cut, *short, *found.flags))


def _wide(
    path: Path, names: list[str], rows: list[list[str]], comma: bool
) -> tuple[np.ndarray | None, list[str], np.ndarray]:
    """Times, names of the joints and positions f64[T, J, 3] of a table with three columns for each joint."""
    place = {name: column for column, name in enumerate(names)}
    stems = [name[:-2] for name in names if name.endswith("_x") and {name[:-2] + "_y", name[:-2] + "_z"} <= set(place)]
    body = [stem for stem in stems if stem.removeprefix("body_") in MEDIAPIPE]
    columns = [place[f"{stem}_{axis}"] for stem in body for axis in "xyz"]
    table = numbers.table(path, rows, len(names), comma, first_row=2)
    time = next((table[:, place[name]] for name in _TIMES if name in place), None)
    return time, [stem.removeprefix("body_") for stem in body], table[:, columns].reshape(len(table), len(body), 3)


def _tidy(
    path: Path, names: list[str], rows: list[list[str]], comma: bool
) -> tuple[np.ndarray | None, list[str], np.ndarray]:
    """The same of a table with a row for each joint and frame."""
    place = {name: column for column, name in enumerate(names)}
    model = place.get("model")
    rows = [row + [""] * (len(names) - len(row)) for row in rows]
    words = [row[place["keypoint"]].strip().lower().removeprefix("body_") for row in rows]
    chosen = [i for i, word in enumerate(words) if word in MEDIAPIPE and (model is None or "body" in rows[i][model])]
    if not chosen or "frame" not in place:
        raise InputError(f"{path} names no joint of a body; give FreeMoCap's table of the body")
    kept = [name for name in ("frame", *_TIMES, "x", "y", "z") if name in place]
    cells = [[rows[i][place[name]] for name in kept] for i in chosen]
    table = numbers.table(path, cells, len(kept), comma, first_row=2)
    if not np.isfinite(table[:, 0]).all():
        raise InputError(f"{path}: a frame has no number; correct the column frame")
    frames, row = np.unique(table[:, 0], return_inverse=True)
    labels = [name for name in MEDIAPIPE if name in {words[i] for i in chosen}]
    column = np.array([labels.index(words[i]) for i in chosen])
    positions = np.full((len(frames), len(labels), 3), np.nan)
    positions[row, column] = table[:, -3:]
    time = None
    if kept[1] in _TIMES:
        time = np.full(len(frames), np.nan)
        time[row] = table[:, 1]
    return time, labels, positions


def _seconds(time: np.ndarray) -> np.ndarray:
    """Times since the first in seconds; FreeMoCap's versions write seconds, milliseconds or nanoseconds."""
    step = float(np.median(np.diff(time)))
    unit = next((unit for unit in _UNITS_S if 5.0 <= 1.0 / max(step * unit, 1e-12) <= 1000.0), 1.0)
    return (time - time[0]) * unit


def _markers(
    path: Path,
    content: bytes | str,
    positions: np.ndarray,
    names: Sequence[str],
    unit: str,
    rate: float,
    flags: tuple[str, ...],
) -> Markers:
    """Markers of positions f64[T, J, 3] in a unit of length."""
    if len(positions) < 2 or not np.isfinite(positions).all(axis=2).any():
        raise InputError(f"{path} holds no positions in its {len(positions)} frames; export it again")
    digest = content if isinstance(content, str) else hashlib.sha256(content).hexdigest()
    metadata = Metadata(source=path.name, sha256=digest, flags=flags)
    positions = (points.metres(path, unit) * positions).astype(np.float32)
    return Markers(positions, tuple(names), rate, metadata, unit=unit)
