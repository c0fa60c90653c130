"""Xsens MVN files (.mvnx): joint angles, or the positions of the segments' origins as joint centres.

Joint angles are in degrees, in columns of abduction, internal rotation and flexion for each joint (MVN User Manual,
"Joint angles", decomposed ZXY); those of the spine are bending, rotation and flexion of four joints, which are added.
Segments are read in MVN's world: x forward, y left, z up, quaternions with the scalar first. Shoulders are masked:
their angles are relative to a T-pose.
"""

import hashlib
import io
import re
from pathlib import Path
from typing import NamedTuple
from xml.etree import ElementTree

import numpy as np
from scipy.spatial.transform import Rotation

from biomechgpt_jax.biomechanics.fitting.markers import Markers
from biomechgpt_jax.biomechanics.flags import CAUTION
from biomechgpt_jax.biomechanics.kinematics import FRACTIONS
from biomechgpt_jax.biomechanics.skeleton import COORDINATE_COUNT, INDEX
from biomechgpt_jax.biomechanics.trajectory import Metadata, Trajectory
from biomechgpt_jax.errors import InputError
from biomechgpt_jax.formats import quality
from biomechgpt_jax.formats.parsing import points, text
from biomechgpt_jax.formats.parsing.timing import timing

FLAG = "xsens-joint-angles"
_DEEPEST, _MOST_FRAMES = 50, 2_000_000
_FARTHEST = 1e4  # metres or radians
# Axes of a knee differ from the line of the joint centres by less; other columns or units by more.
_CONTRADICTS_RAD = np.radians(15.0)
# Segments and joints of a full body in the order of MVN; files of older versions do not name them.
SEGMENTS = (
    *("Pelvis", "L5", "L3", "T12", "T8", "Neck", "Head"),
    *(f"{s}{n}" for s in ("Right", "Left") for n in ("Shoulder", "UpperArm", "ForeArm", "Hand")),
    *(f"{s}{n}" for s in ("Right", "Left") for n in ("UpperLeg", "LowerLeg", "Foot", "Toe")),
)
JOINTS = (
    *("jL5S1", "jL4L3", "jL1T12", "jT9T8", "jT1C7", "jC1Head"),
    *(f"j{s}{n}" for s in ("Right", "Left") for n in ("T4Shoulder", "Shoulder", "Elbow", "Wrist")),
    *(f"j{s}{n}" for s in ("Right", "Left") for n in ("Hip", "Knee", "Ankle", "BallFoot")),
)
_TRUNK, _NECK = ("jL5S1", "jL4L3", "jL1T12", "jT9T8"), ("jT1C7", "jC1Head")
_ABDUCTION, _ROTATION, _FLEXION = 0, 1, 2
# Joint, its column, the coordinate (without its side) and its sign there.
_ANGLES = (
    ("Hip", _FLEXION, "hip_flexion", 1.0),
    ("Hip", _ABDUCTION, "hip_adduction", -1.0),
    ("Hip", _ROTATION, "hip_rotation", 1.0),
    ("Knee", _FLEXION, "knee_angle", 1.0),
    ("Ankle", _FLEXION, "ankle_angle", 1.0),
    ("Elbow", _FLEXION, "elbow_flex", 1.0),
)
# Coordinate of trunk and neck, its column and its sign there: of the sum over the joints of a part [memory].
_SPINE = (("extension", _FLEXION, -1.0), ("bending", _ABDUCTION, 1.0), ("rotation", _ROTATION, 1.0))
# Rows are forward, up and right in MVN's axes.
_AXES = np.array([[1.0, 0, 0], [0, 0, 1], [0, -1, 0]])
_NOT_PLAIN = re.compile(rb"<!\s*(DOCTYPE|ENTITY)", re.IGNORECASE)
_WIDTHS = {"orientation": 4, "position": 3, "jointAngle": 3}


class _Content(NamedTuple):
    rate_hz: float
    segments: tuple[str, ...]
    joints: tuple[str, ...]
    time: np.ndarray  # f64[T] seconds, NaN where a frame has none
    values: dict[str, np.ndarray]  # f64[T, n, 4 or 3] by the name of their element


def read(path: Path) -> Trajectory | Markers:
    """Read a .mvnx file: coordinates if it holds joint angles, otherwise segment positions as raw markers.

    Raises:
        InputError: the file is damaged, holds declarations of entities, or neither angles nor positions.
    """
    size = path.stat().st_size
    if not 0 < size <= text.LARGEST_BYTES:
        raise InputError(f"{path} has {size} bytes; give a file of 1 to {text.LARGEST_BYTES}")
    raw = path.read_bytes()
    if b"\x00" in raw or _NOT_PLAIN.search(raw):
        raise InputError(f"{path} is not plain XML in UTF-8, or declares entities; export it from MVN again")
    content = _parse(path, raw)
    if len(content.time) < 2:
        raise InputError(f"{path} holds {len(content.time)} frames of type 'normal'; at least 2 are needed")
    found = timing(content.time, content.rate_hz, str(path), fill=True)
    metadata = Metadata(source=path.name, sha256=hashlib.sha256(raw).hexdigest(), flags=found.flags)

    def spread(name: str) -> np.ndarray | None:
        """Values on the even frames, NaN in frames that the file lacks; None if it has none."""
        return found.on_grid(content.values[name]) if name in content.values else None

    angles, positions, turns = spread("jointAngle"), spread("position"), spread("orientation")
    if positions is not None:
        positions = points.seen(positions)
    if angles is not None and {"jRightKnee", "jLeftKnee"} <= set(content.joints):
        return _coordinates(path, content, angles, positions, turns, found.rate_hz, metadata)
    if positions is None or not np.isfinite(positions).all(axis=2).any():
        raise InputError(f"{path} holds neither joint angles nor positions of segments; export them from MVN")
    return Markers(positions.astype(np.float32), content.segments, found.rate_hz, metadata, vertical="+Z", unit="m")


def _parse(path: Path, raw: bytes) -> _Content:
    """The frames of a file; elements are dropped as soon as they have been read."""
    labels: dict[str, list[str]] = {"segment": [], "joint": []}
    rows: dict[str, list[list[float]]] = {name: [] for name in _WIDTHS}
    time: list[float] = []
    rate, open_elements, frame = np.nan, [], {}
    try:
        for event, element in ElementTree.iterparse(io.BytesIO(raw), ("start", "end")):
            name = element.tag.rpartition("}")[2]
            if event == "start":
                open_elements.append(element)
                if len(open_elements) > _DEEPEST:
                    raise ValueError("elements within elements")
                if name == "subject" and "frameRate" in element.attrib:
                    rate = float(element.attrib["frameRate"])
                if name in labels and "label" in element.attrib:
                    labels[name].append(" ".join(element.attrib["label"].split()))
                continue
            open_elements.pop()
            if name in _WIDTHS:
                frame[name] = [float(word) for word in (element.text or "").split()]
            if name == "frame":
                if element.attrib.get("type", "normal") == "normal":
                    time.append(float(element.attrib.get("time") or "nan") / 1000.0)
                    for kind in _WIDTHS:
                        rows[kind].append(frame.get(kind, []))
                frame = {}
                if len(time) > _MOST_FRAMES:
                    raise ValueError("more frames than any recording has")
            if open_elements:
                open_elements[-1].remove(element)
    except (ElementTree.ParseError, ValueError, LookupError) as error:
        raise InputError(f"{path} is damaged XML or cut off ({str(error)[:80]}); export it again") from error
    values = {kind: _stack(path, kind, rows[kind]) for kind in _WIDTHS if any(rows[kind])}
    names = {}
    for kind, key, usual in (("position", "segment", SEGMENTS), ("jointAngle", "joint", JOINTS)):
        count = values[kind].shape[1] if kind in values else 0
        names[key] = tuple(labels[key]) or usual[:count]
        if count and len(names[key]) != count:
            raise InputError(f"{path} names {len(names[key])} {key}s but gives {count} in a frame; export it again")
        if len(set(names[key])) < len(names[key]):
            raise InputError(f"{path} names a {key} twice; export it again")
    return _Content(rate, names["segment"], names["joint"], np.array(time), values)


def _stack(path: Path, kind: str, rows: list[list[float]]) -> np.ndarray:
    """Values f64[T, n, 3 or 4] of an element that every frame must have with the same count."""
    width = _WIDTHS[kind]
    counts = {len(row) for row in rows}
    if len(counts) > 1 or next(iter(counts)) % width:
        raise InputError(
            f"{path}: its frames hold {', '.join(map(str, sorted(counts)[:3]))} numbers of {kind}; mend them"
        )
    return np.array(rows).reshape(len(rows), -1, width)


def _coordinates(
    path: Path,
    content: _Content,
    angles: np.ndarray,
    positions: np.ndarray | None,
    turns: np.ndarray | None,
    rate_hz: float,
    metadata: Metadata,
) -> Trajectory:
    """Coordinates from joint angles f64[T, J, 3] in degrees, and from where the pelvis is."""
    q = np.full((len(angles), COORDINATE_COUNT), np.nan)
    joint = {name: np.radians(angles[:, index]) for index, name in enumerate(content.joints)}
    for side, word in (("r", "Right"), ("l", "Left")):
        for part, column, coordinate, sign in _ANGLES:
            if f"j{word}{part}" in joint:
                q[:, INDEX[f"{coordinate}_{side}"]] = sign * joint[f"j{word}{part}"][:, column]
    for part, names in (("lumbar", _TRUNK), ("neck", _NECK)):
        if set(names) <= set(joint):
            whole = np.sum([joint[name] for name in names], axis=0)
            for coordinate, column, sign in _SPINE:
                q[:, INDEX[f"{part}_{coordinate}"]] = sign * whole[:, column]
    place = {name: index for index, name in enumerate(content.segments)}
    height = np.nan
    pelvis = _turn(turns[:, place["Pelvis"]]) if turns is not None and "Pelvis" in place else None
    if pelvis is not None:
        known = np.isfinite(pelvis).all(axis=(1, 2))
        euler = np.full((len(q), 3), np.nan)
        if known.any():
            euler[known] = Rotation.from_matrix(pelvis[known]).as_euler("ZXY")
            euler[known, 2] = np.unwrap(euler[known, 2])
        q[:, [INDEX[f"pelvis_{name}"] for name in ("tilt", "list", "rotation")]] = euler
    if positions is not None and pelvis is not None:
        height = _height(positions, place)
        middle = positions[:, place["Pelvis"]] @ _AXES.T
        offset = (height if np.isfinite(height) else 1.7) * np.array([FRACTIONS.hip_back, FRACTIONS.hip_down, 0.0])
        q[:, [INDEX[f"pelvis_{axis}"] for axis in ("tx", "ty", "tz")]] = middle + pelvis @ offset
    largest = np.nanmax(np.abs(q), initial=0.0)
    if not largest <= _FARTHEST:
        raise InputError(f"{path} holds angles or positions up to {largest:.3g}; correct them")
    known = np.isfinite(q)
    observed = known.mean(axis=0) > 0.5
    if not observed[[INDEX["knee_angle_r"], INDEX["knee_angle_l"]]].any():
        raise InputError(f"{path} holds no numbers for the knees; export it again")
    q[:, ~observed] = 0.0
    flags = (*metadata.flags, FLAG, *_contradiction(q, positions, place))
    if known[:, observed].all():
        flags += tuple(quality.flags(q, observed, rate_hz))
    described = Metadata(height_m=height, source=metadata.source, sha256=metadata.sha256, flags=flags)
    return Trajectory(q.astype(np.float32), observed, rate_hz, described)


def _contradiction(q: np.ndarray, positions: np.ndarray | None, place: dict[str, int]) -> tuple[str, ...]:
    """A flag if the positions of hip, knee and ankle show other bends of a knee than its joint angles."""
    for side, word in (("r", "Right"), ("l", "Left")):
        names = [f"{word}{part}" for part in ("UpperLeg", "LowerLeg", "Foot")]
        if positions is None or not set(names) <= set(place):
            continue
        hip, knee, ankle = (positions[:, place[name]] for name in names)
        thigh, shank = knee - hip, ankle - knee
        with np.errstate(all="ignore"):
            cosine = (thigh * shank).sum(axis=1) / np.linalg.norm(thigh, axis=1) / np.linalg.norm(shank, axis=1)
            shown = np.arccos(np.clip(cosine, -1.0, 1.0))
            off = np.abs(shown - np.abs(q[:, INDEX[f"knee_angle_{side}"]]))
        if np.isfinite(off).any() and np.nanmedian(off) > _CONTRADICTS_RAD:
            degrees = np.degrees(np.nanmedian(off))
            return (
                f"{CAUTION}the positions of hip, knee and ankle show the {word.lower()} knee bent otherwise than its "
                f"joint angle, by {degrees:.0f} degrees",
            )
    return ()


def _turn(quaternion_T4: np.ndarray) -> np.ndarray:
    """Rotation matrices f64[T, 3, 3] in our axes of quaternions with the scalar first; NaN where they are none."""
    turn = np.full((len(quaternion_T4), 3, 3), np.nan)
    with np.errstate(all="ignore"):
        known = np.abs(np.linalg.norm(quaternion_T4, axis=1) - 1.0) < 0.05
    if known.any():
        turn[known] = _AXES @ Rotation.from_quat(quaternion_T4[known][:, [1, 2, 3, 0]]).as_matrix() @ _AXES.T
    return turn


def _height(positions: np.ndarray, place: dict[str, int]) -> float:
    """Body height in metres whose legs, by the usual fractions, are as long as these; NaN if they are not given."""
    lengths = []
    for side in ("Right", "Left"):
        names = [f"{side}{part}" for part in ("UpperLeg", "LowerLeg", "Foot")]
        if set(names) <= set(place):
            hip, knee, ankle = (positions[:, place[name]] for name in names)
            lengths.append(np.linalg.norm(knee - hip, axis=1) + np.linalg.norm(ankle - knee, axis=1))
    seen = np.isfinite(lengths).any() if lengths else False
    return float(np.nanmedian(lengths)) / (FRACTIONS.thigh + FRACTIONS.shank) if seen else np.nan
