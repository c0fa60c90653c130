"""C3D files: markers or segment poses, joint angles, events and measured gait parameters.

Two libraries read them, each in its own process: ezc3d, which is fast and strict, and the pure-Python c3d if ezc3d
fails. Both trust the sizes and offsets that the file states, so these are checked here first.
"""

import dataclasses
import hashlib
import struct
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from biomechgpt_jax.biomechanics.fitting.markers import Markers
from biomechgpt_jax.biomechanics.trajectory import LEFT, RIGHT, Contacts, Metadata
from biomechgpt_jax.errors import InputError
from biomechgpt_jax.formats import native, theia
from biomechgpt_jax.formats.parsing import points
from biomechgpt_jax.formats.recording import Recording

LARGEST_BYTES = 512 * 2**20
_BLOCK = 512
_MOST_POINTS, _MOST_FRAMES = 2_000, 1_000_000
_INTEL, _DEC, _MIPS = 84, 85, 86
_COUNTS = ("USED", "RATIO")
_BYTES_PER_ROTATION = 17 * 4  # a matrix of 4 x 4 and its reliability
# Model outputs that are not positions.
_ANGLE_ENDINGS = ("Angles", "Angle")
_OTHER_OUTPUTS = ("Force", "Forces", "Moment", "Moments", "Power", "Powers", "GroundReactionForce", "Progress")
# Events by the names that recording programs write [memory], without a side before or after them.
_STRIKES = ("foot strike", "heel strike", "initial contact", "foot contact", "foot on", "hs", "ic", "fs", "on")
_OFFS = ("foot off", "toe off", "to", "fo", "off")
_SIDES = {"right": RIGHT, "r": RIGHT, "left": LEFT, "l": LEFT}
# Measured parameters by the names of Vicon's programs and of French laboratories [memory]; the phases of double support
# are summed.
_PARAMETERS: dict[str, str] = {
    "walking speed": "walking_speed",
    "vitesse": "walking_speed",
    "cadence": "cadence",
    "stride time": "stride_time",
    "duree": "stride_time",
    "step time": "step_time",
    "step length": "step_length",
    "longueur demi-pas": "step_length",
    "stride length": "stride_length",
    "longueur pas": "stride_length",
    "step width": "step_width",
    "largeur pas": "step_width",
    "foot off": "stance",
    "phase d'appui": "stance",
    "double support": "double_support",
    "1er double appui": "double_support",
    "2eme double appui": "double_support",
}
_PHASES = ("stance", "double_support")  # in percent of the stride; some files give them in seconds
# Units other than metres, seconds and m/s.
_FACTORS = {"mm": 0.001, "cm": 0.01, "ms": 0.001, "cm/s": 0.01, "mm/s": 0.001, "m/min": 1 / 60, "km/h": 1 / 3.6}
_PER_STRIDE = ("pas/min", "strides/min")  # a French 'pas' is a stride


@dataclass
class _Content:
    """What either library reads from a file."""

    points: np.ndarray  # f64[T, N, 3], NaN where a point was not seen
    labels: list[str]
    rate_hz: float
    units: str
    first_frame: int  # 1 for the first frame of the recording
    vertical: str
    parameters: dict[str, dict[str, Any]] = field(default_factory=dict)
    poses: np.ndarray = field(default_factory=lambda: np.zeros((0, 0, 4, 4)))  # f64[T, S, 4, 4] of segments
    analog_channels: int | None = None


def read(path: Path) -> Markers | Recording:
    """Read a C3D file: raw markers (see `Markers`), or the movement if it holds segment poses of Theia3D.

    Raises:
        InputError: no library is installed (extra `c3d`), the file is damaged, or it holds neither.
    """
    size = path.stat().st_size
    if size > LARGEST_BYTES:
        raise InputError(f"{path} has {size / 2**20:.0f} MiB, more than {LARGEST_BYTES // 2**20}; cut it into parts")
    raw = path.read_bytes()
    _check(path, raw)
    content = _load(path, raw)
    metadata = Metadata(source=path.name, sha256=hashlib.sha256(raw).hexdigest())
    if theia.segment_names(_segments(content)):
        return _of_poses(path, content, metadata)
    if content.points.shape[1] == 0:
        raise InputError(f"{path} holds {_instead_of_markers(content, raw)}; give a file with marker positions")
    if len(content.points) < 2:
        raise InputError(f"{path} holds {len(content.points)} frames; at least 2 are needed")
    if not 1.0 <= content.rate_hz <= 10_000.0:
        raise InputError(f"{path}: its frame rate is {content.rate_hz:g} Hz; correct POINT:RATE")
    events = _events(content)
    if _is_average_cycle(content):
        raise InputError(
            f"{path} holds one average gait cycle in percent of the cycle, not movement over time; give the trials it "
            "was averaged from"
        )
    markers, angles = _sort_points(content)
    if not markers:
        raise InputError(f"{path} holds no named marker; give a file in which the markers are labelled")
    scale = points.metres(path, content.units)
    positions = points.seen(content.points[:, markers])
    if not np.isfinite(positions).any():
        raise InputError(f"{path}: none of its {len(markers)} markers is seen in any frame; export it again")
    names = [content.labels[index] for index in markers]
    chosen, flags = points.first_seen(names, positions)
    return Markers(
        (scale * positions[:, chosen]).astype(np.float32),
        tuple(names[index] for index in chosen),
        content.rate_hz,
        dataclasses.replace(metadata, flags=flags),
        events,
        _measured_parameters(content),
        angles,
        content.vertical,
        content.units or "mm",
    )


def _segments(content: _Content) -> list[str]:
    """Names of the segments whose poses the file holds."""
    labels = content.parameters.get("ROTATION", {}).get("LABELS", [])
    return [str(label).strip() for label in labels][: content.poses.shape[1]]


def _instead_of_markers(content: _Content, raw: bytes) -> str:
    """What a file without markers is."""
    if content.poses.shape[1]:
        names = ", ".join(_segments(content)[:4]) or "none"
        return f"no markers but rotations of {content.poses.shape[1]} segments with unknown names ({names} ...)"
    if content.analog_channels is None and b"ROTATION" in raw[: 100 * _BLOCK]:
        return "no markers but rotations of segments, which ezc3d alone reads, and it did not (pip install ezc3d?)"
    return "no markers and nothing else" if content.analog_channels == 0 else "no markers (analog channels only)"


def _of_poses(path: Path, content: _Content, metadata: Metadata) -> Recording:
    """The movement of a file with segment poses; their rate is a multiple of that of the (absent) points."""
    group = content.parameters["ROTATION"]
    said = float(np.ravel(group["RATE"])[0]) if np.size(group.get("RATE", ())) else 0.0
    subframes = len(content.poses) / len(content.points) if len(content.points) else 0.0
    rate = content.rate_hz * subframes or said
    if not 1.0 <= rate <= 10_000.0:
        raise InputError(f"{path}: the rate of its rotations is {rate:g} Hz; correct ROTATION:RATE")
    scale = points.metres(path, _first(group.get("UNITS")) or content.units)
    try:
        moved = theia.trajectory(content.poses, _segments(content), rate, scale, metadata)
    except InputError as error:
        raise InputError(f"{path} {error}") from error
    return Recording(moved, _events(content), _measured_parameters(content))


def _check(path: Path, raw: bytes) -> None:
    """Refuse a file whose stated sizes and offsets do not fit it: the libraries would crash or exhaust the memory."""
    if len(raw) < 2 * _BLOCK or raw[1] != 0x50:
        raise InputError(f"{path} is not a C3D file, or is cut off; export it again")
    start = (raw[0] - 1) * _BLOCK
    if not _BLOCK <= start < len(raw) - 4:
        raise InputError(f"{path} is damaged: its parameters lie outside the file; export it again")
    processor = raw[start + 3]
    order = ">" if processor == _MIPS else "<"
    if processor not in (_INTEL, _DEC, _MIPS):
        raise InputError(f"{path} is damaged: it names an unknown processor ({processor}); export it again")
    points, analog, first, last = struct.unpack(f"{order}4H", raw[2:10])
    frames = max(0, last - first + 1)
    data_block = struct.unpack(f"{order}H", raw[16:18])[0]
    words = frames * (4 * points + analog)
    # Data take 2 or 4 bytes per word. The frame count of long files overflows; a parameter then holds it instead.
    if points > _MOST_POINTS or frames > _MOST_FRAMES or data_block < 2:
        raise InputError(f"{path} is damaged: {points} points in {frames} frames; export it again")
    if last < 65_535 and 2 * words > len(raw) - (data_block - 1) * _BLOCK + _BLOCK:
        raise InputError(f"{path} is cut off: it announces {frames} frames but holds fewer; export it again")
    rotations = _check_parameters(path, raw, start + 4, order)
    if frames * rotations * _BYTES_PER_ROTATION > len(raw):
        raise InputError(f"{path} is cut off: it announces {rotations} rotations in {frames} frames but holds fewer")


def _check_parameters(path: Path, raw: bytes, at: int, order: str) -> int:
    """Walk the chain of groups and parameters; every link must point forward and inside the file.

    Returns:
        The number of rotations that the file announces for each frame.
    """
    groups: dict[str, int] = {}
    counts: dict[tuple[int, str], int] = {}
    for _ in range(100_000):
        if at + 2 > len(raw):
            break
        letters, number = struct.unpack("bb", raw[at : at + 2])
        letters = abs(letters)
        if letters == 0 or number == 0:
            return _rotations(groups, counts)
        link = at + 2 + letters
        if link + 2 > len(raw):
            break
        step = struct.unpack(f"{order}h", raw[link : link + 2])[0]
        name = raw[at + 2 : link].decode("latin-1").strip().upper()
        if number < 0:
            groups[name] = -number
        elif name in _COUNTS and raw[link + 2 : link + 3] == b"\x02":  # 16-bit whole numbers
            first = link + 4 + raw[link + 3]  # behind their dimensions
            counts[number, name] = int.from_bytes(raw[first : first + 2], "big" if order == ">" else "little")
        if step == 0:
            return _rotations(groups, counts)
        if step < 2 or link + step > len(raw):
            break
        if number > 0 and not _fits(raw, link + 2, step - 2):
            break
        at = link + step
    raise InputError(f"{path} is damaged: its parameter section cannot be followed; export it again")


def _rotations(groups: dict[str, int], counts: dict[tuple[int, str], int]) -> int:
    """Rotations for each frame by the parameters ROTATION:USED and ROTATION:RATIO; 0 if there is no such group."""
    used, ratio = (counts.get((groups.get("ROTATION", 0), name)) for name in _COUNTS)
    return (used or 0) * max(1, ratio or 1)


def _fits(raw: bytes, at: int, room: int) -> bool:
    """Whether a parameter's data, sized by its stated dimensions, end before the next parameter."""
    if room < 3:
        return False
    kind = struct.unpack("b", raw[at : at + 1])[0]
    dimensions = raw[at + 1]
    if kind not in (-1, 1, 2, 4) or dimensions > 7 or 2 + dimensions > room:
        return False
    count = int(np.prod([raw[at + 2 + i] for i in range(dimensions)], dtype=np.int64)) if dimensions else 1
    return 2 + dimensions + abs(kind) * count <= room


def _load(path: Path, raw: bytes) -> _Content:
    reasons = []
    with_analog = any(raw[4:6])
    for load in (partial(_load_with_ezc3d, with_analog=with_analog), _load_with_c3d):
        try:
            return load(path)
        except ImportError as error:
            reasons.append(f"{error.name} is not installed")
        except Exception as error:  # any error of a library on a broken file is a reason to try the other one
            reasons.append(" ".join(str(error).split())[:120] or type(error).__name__)
    if all("not installed" in reason for reason in reasons):
        raise InputError(f"{path}: reading C3D files needs a library; pip install 'biomechgpt-jax[c3d]'")
    raise InputError(f"{path} cannot be read as C3D ({'; '.join(reasons)}); export it again")


def _load_with_ezc3d(path: Path, with_analog: bool) -> _Content:
    arrays, facts = native.load("ezc3d", path)
    if with_analog and not facts["analog_channels"]:
        # ezc3d takes the size of a frame from this group, and reads the points out of step.
        raise ValueError("its frames hold analog samples, which no group ANALOG describes")
    points, parameters = arrays["points"], facts["parameters"]
    points[arrays["residual"] < 0] = np.nan
    point = parameters["POINT"]
    return _Content(
        points,
        [str(label).strip() for label in point.get("LABELS", [])],
        float(np.ravel(point["RATE"])[0]),
        _first(point.get("UNITS")),
        int(facts["first_frame"]) + 1,
        _first(point.get("Y_SCREEN")),
        _arrays(parameters),
        arrays["rotations"],
        facts["analog_channels"],
    )


def _arrays(parameters: dict[str, dict[str, list[Any]]]) -> dict[str, dict[str, Any]]:
    """Parameters of each group: numbers as an array, a list of texts unchanged."""
    return {
        group: {
            name: value if value and isinstance(value[0], str) else np.asarray(value) for name, value in entries.items()
        }
        for group, entries in parameters.items()
    }


def _load_with_c3d(path: Path) -> _Content:
    arrays, facts = native.load("c3d", path)
    xyz = np.where((arrays["residual"] >= 0)[..., None], arrays["points"], np.nan)
    return _Content(
        xyz,
        [label.strip() for label in facts["labels"]],
        facts["rate_hz"],
        facts["units"],
        facts["first_frame"],
        facts["vertical"],
        _arrays(facts["parameters"]),
    )


def _first(value: Any) -> str:
    return str(value[0]).replace("\x00", "").strip() if value is not None and len(value) else ""


def _sort_points(content: _Content) -> tuple[list[int], dict[str, np.ndarray]]:
    """Indices of the points that are labelled markers, and the joint angles stored among the points by full label."""
    markers, angles = [], {}
    for index, label in enumerate(content.labels[: content.points.shape[1]]):
        name = label.rpartition(":")[2]
        if name.endswith(_ANGLE_ENDINGS):
            angles[label] = content.points[:, index].astype(np.float32)
        elif name and not name.startswith(("*", "#")) and not name.endswith(_OTHER_OUTPUTS):
            markers.append(index)
    return markers, angles


def _events(content: _Content) -> Contacts:
    """Foot strikes and toe offs in seconds from the first frame of the file."""
    group = content.parameters.get("EVENT", {})
    labels, contexts = list(group.get("LABELS", [])), list(group.get("CONTEXTS", []))
    minutes, seconds = _minutes_and_seconds(np.asarray(group.get("TIMES", []), np.float64))
    begin_s = (content.first_frame - 1) / content.rate_hz
    strikes, offs = [], []
    contexts += [""] * (len(labels) - len(contexts))
    for label, context, minute, second in zip(labels, contexts, minutes, seconds, strict=False):
        foot, kind = _side_and_kind(label, context)
        time = 60.0 * minute + second - begin_s
        if foot is None or not np.isfinite(time):
            continue
        if kind in _STRIKES:
            strikes.append((time, foot))
        elif kind in _OFFS:
            offs.append((time, foot))
    strikes.sort()
    offs.sort()
    return Contacts(
        np.array([t for t, _ in strikes], np.float32),
        np.array([foot for _, foot in strikes], np.int32),
        np.full((len(strikes), 2), np.nan, np.float32),
        np.array([t for t, _ in offs], np.float32),
        np.array([foot for _, foot in offs], np.int32),
    )


def _minutes_and_seconds(times: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The two rows of EVENT:TIMES, f64[n] each; some programs write them without their dimensions, in turn."""
    if times.ndim == 1:
        times = times[: len(times) // 2 * 2].reshape(-1, 2).T
    if times.ndim != 2 or times.shape[0] < 2:
        return np.zeros(0), np.zeros(0)
    return times[0], times[1]


def _side_and_kind(label: str, context: str) -> tuple[int | None, str]:
    """Foot and kind of an event; the side is the context, or is told by the label ("RHS", "Toe Off Left")."""
    kind = " ".join(label.lower().replace("_", " ").replace("-", " ").split())
    foot = _SIDES.get(context.strip().lower())
    for word, side in _SIDES.items():
        for bare in (kind.removeprefix(word).strip(), kind.removesuffix(word).strip()):
            if bare != kind and bare in (*_STRIKES, *_OFFS):
                return (side if foot is None else foot), bare
    return foot, kind


def _measured_parameters(content: _Content) -> dict[str, float]:
    """Gait parameters of the ANALYSIS group; cadence in steps per minute, phases in percent of the stride."""
    group = content.parameters.get("ANALYSIS", {})
    names, values = list(group.get("NAMES", [])), np.ravel(np.asarray(group.get("VALUES", []), np.float64))
    contexts, units = (list(group.get(name, [])) + [""] * len(names) for name in ("CONTEXTS", "UNITS"))
    parameters: dict[str, float] = {}
    phases: dict[tuple[str, str], dict[str, list[float]]] = {}
    for name, context, unit, value in zip(names, contexts, units, values, strict=False):
        key = _PARAMETERS.get(name.partition("(")[0].strip().lower())
        if key is None or not np.isfinite(value):
            continue
        unit, side = unit.strip().lower(), context.strip().lower()
        side = f"_{side[0]}" if side in ("right", "left") else ""
        if key in _PHASES:
            phases.setdefault((key, side), {}).setdefault(unit, []).append(float(value))
        else:
            factor = 2.0 if key == "cadence" and unit in _PER_STRIDE else _FACTORS.get(unit, 1.0)
            parameters[key + side] = float(value) * factor
    for (key, side), by_unit in phases.items():
        stride_s = parameters.get(f"stride_time{side}", np.nan)
        share = sum(by_unit["%"]) if "%" in by_unit else 100.0 * sum(by_unit.get("s", [np.nan])) / stride_s
        if np.isfinite(share):
            parameters[key + side] = share
    return parameters


def _is_average_cycle(content: _Content) -> bool:
    """Whether this is a time-normalised average: 0 to 100 % in 101 frames, with a count of the averaged cycles."""
    names = [name.strip().lower() for name in content.parameters.get("ANALYSIS", {}).get("NAMES", [])]
    return len(content.points) == 101 and any(name.startswith(("nbre cycle", "number of cycles")) for name in names)
