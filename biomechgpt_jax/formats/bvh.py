"""BVH files: the skeleton of an animation with the rotations of its joints.

Joints are identified by the names that motion-capture archives and animation programs use. Angles are relative to the
rest pose, in which the legs are assumed to stand straight and the feet to be flat, however they are drawn.
"""

import hashlib
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from scipy.spatial.transform import Rotation

from biomechgpt_jax.biomechanics.skeleton import INDEX
from biomechgpt_jax.biomechanics.trajectory import Metadata, Trajectory
from biomechgpt_jax.errors import InputError
from biomechgpt_jax.formats import rotations

LARGEST_BYTES = 256 * 2**20
_MOST_JOINTS, _MOST_DEPTH = 500, 200
_FARTHEST = 1e5  # units from joint to joint
# Names of joints without the program's prefix, as lower-case letters and digits (CMU, Mixamo, LaFAN, 3ds Max).
_PELVIS = ("hips", "hip", "pelvis", "root")
_LEG = {
    "hip": ("{}upleg", "{}hip", "{}thigh", "{}upperleg"),
    "knee": ("{}leg", "{}knee", "{}shin", "{}calf", "{}lowleg", "{}lowerleg"),
    "ankle": ("{}foot", "{}ankle"),
    "toe": ("{}toe", "{}toebase", "{}toe0", "{}ball"),
}
_SIDES = {"r": ("right", "r"), "l": ("left", "l")}
_NECK, _HEAD = ("neck", "neck0", "neck1"), ("head",)
_PREFIXES = ("mixamorig", "bip01", "bip001", "b")
# Metres per unit of length: metres, centimetres, inches, and inches divided by 0.45 as in the CMU archive. The first
# that gives a leg of this length is used.
_UNITS_M = (1.0, 0.01, 0.0254, 0.0254 / 0.45)
_LEG_M = (0.55, 1.15)


@dataclass
class _Joint:
    name: str
    parent: int
    offset: np.ndarray
    channels: list[str] = field(default_factory=list)
    first: int = 0  # the joint's first column of the motion


def read(path: Path) -> Trajectory:
    """Read a BVH file.

    Raises:
        InputError: the file is damaged, or has no pelvis or legs with known names.
    """
    size = path.stat().st_size
    if not 0 < size <= LARGEST_BYTES:
        raise InputError(f"{path} has {size} bytes; give a file of 1 to {LARGEST_BYTES}")
    raw = path.read_bytes()
    head, keyword, tail = raw.decode("utf-8-sig", errors="replace").partition("MOTION")
    if not head.lstrip().startswith("HIERARCHY") or not keyword:
        raise InputError(f"{path} has no HIERARCHY followed by a MOTION: not a BVH file, or cut off; export it again")
    joints = _hierarchy(path, head.split())
    motion, rate = _motion(path, tail.strip().splitlines(), sum(len(joint.channels) for joint in joints))
    joint_numbers = _identify_joints(path, joints)
    axes = _axes(path, joints, joint_numbers)
    q, observed = rotations.coordinates(_segments(joints, joint_numbers, motion, axes))
    if not np.isfinite(q).all():
        raise InputError(f"{path} holds numbers that are not finite; export it again")
    heading = INDEX["pelvis_rotation"]
    q[:, heading] = np.unwrap(q[:, heading])
    metadata = Metadata(source=path.name, sha256=hashlib.sha256(raw).hexdigest(), flags=(rotations.FLAG,))
    return Trajectory(q.astype(np.float32), observed, rate, metadata)


def _hierarchy(path: Path, words: list[str]) -> list[_Joint]:
    joints: list[_Joint] = []
    open_blocks: list[int] = []  # joints whose braces are still open; -1 for an end site
    columns, at, name = 0, 1, ""
    try:
        while at < len(words):
            word = words[at]
            if word in ("ROOT", "JOINT"):
                name, at = words[at + 1], at + 2
            elif word == "End":
                name, at = "", at + 2
            elif word == "{":
                parent = open_blocks[-1] if open_blocks else -1
                if name:
                    joints.append(_Joint(name, parent, np.zeros(3)))
                open_blocks.append(len(joints) - 1 if name else -1)
                at += 1
            elif word == "}":
                open_blocks.pop()
                at += 1
            elif word == "OFFSET":
                if open_blocks[-1] >= 0:
                    joints[open_blocks[-1]].offset = np.array([float(x) for x in words[at + 1 : at + 4]])
                at += 4
            elif word == "CHANNELS":
                count = int(words[at + 1])
                channels = words[at + 2 : at + 2 + count]
                if count != len(channels) or not all(
                    c[:1] in "XYZ" and c[1:] in ("position", "rotation") for c in channels
                ):
                    raise ValueError(f"channels {' '.join(channels[:6])}")
                if open_blocks[-1] < 0 or joints[open_blocks[-1]].channels:
                    raise ValueError("channels given twice, or for an end site")
                joint = joints[open_blocks[-1]]
                joint.channels, joint.first = channels, columns
                columns, at = columns + count, at + 2 + count
            else:
                raise ValueError(f"the word {word[:40]!r}")
            if len(joints) > _MOST_JOINTS or len(open_blocks) > _MOST_DEPTH:
                raise ValueError("more joints than any body has")
    except (ValueError, IndexError) as error:
        raise InputError(f"{path} has a damaged HIERARCHY ({error}); export it again") from error
    if (
        open_blocks
        or not joints
        or not all(joint.offset.shape == (3,) and np.abs(joint.offset).max() < _FARTHEST for joint in joints)
    ):
        raise InputError(f"{path} has a HIERARCHY that does not end, or offsets that are not numbers; export it again")
    return joints


def _motion(path: Path, lines: list[str], columns: int) -> tuple[np.ndarray, float]:
    """Values f64[T, columns] and frames per second."""
    try:
        frames = int(lines[0].split(":")[1])
        seconds = float(lines[1].split(":")[1])
        table = np.array([line.split() for line in lines[2 : 2 + frames] if line.strip()], np.float64)
    except (ValueError, IndexError) as error:
        raise InputError(f"{path} has a damaged MOTION ({str(error)[:80]}); export it again") from error
    if table.ndim != 2 or table.shape[1] != columns or len(table) < 2 or len(table) != frames:
        raise InputError(
            f"{path} announces {frames} frames of {columns} numbers but holds {list(table.shape)}; export it again"
        )
    rate = 1.0 / seconds if seconds > 0 else 0.0
    if not 1.0 <= rate <= 10_000.0 or not np.isfinite(table).all():
        raise InputError(f"{path}: its frame time is {seconds:g} s, or numbers are not finite; correct MOTION")
    return table, rate


def _normalise_name(name: str) -> str:
    """A joint's name without its prefix, as lower-case letters and digits."""
    word = "".join(c for c in name.rpartition(":")[2].lower() if c.isalnum())
    for prefix in _PREFIXES:
        if word.startswith(prefix) and len(word) > len(prefix) + 2 and prefix != "b":
            return word[len(prefix) :]
    return word


def _identify_joints(path: Path, joints: list[_Joint]) -> dict[str, int]:
    """Numbers of the joints by their role: pelvis, hip_r ... toe_l, neck, head."""
    by_name: dict[str, int] = {}
    for index, joint in enumerate(joints):
        by_name.setdefault(_normalise_name(joint.name), index)

    def first(names: tuple[str, ...]) -> int | None:
        return next((by_name[name] for name in names if name in by_name), None)

    candidates = {"pelvis": first(_PELVIS), "neck": first(_NECK), "head": first(_HEAD)}
    for side, words in _SIDES.items():
        for part, names in _LEG.items():
            candidates[f"{part}_{side}"] = first(tuple(name.format(word) for word in words for name in names))
    joint_numbers = {name: index for name, index in candidates.items() if index is not None}
    needed = ["pelvis", *(f"{part}_{side}" for part in ("hip", "knee", "ankle") for side in "rl")]
    missing = [name for name in needed if name not in joint_numbers]
    if missing:
        present = ", ".join(joint.name for joint in joints[:6])
        raise InputError(
            f"{path}: no joint is recognised as {missing[0]} (its joints are {present} ...); rename its joints"
        )
    return joint_numbers


def _axes(path: Path, joints: list[_Joint], joint_numbers: dict[str, int]) -> np.ndarray:
    """Our axes (forward, up, right) as rows in the axes of the file, from the hips and legs of its rest pose."""
    place = _rest_positions(joints)
    right = place[joint_numbers["hip_r"]] - place[joint_numbers["hip_l"]]
    up = 0.5 * (
        place[joint_numbers["hip_r"]]
        + place[joint_numbers["hip_l"]]
        - place[joint_numbers["ankle_r"]]
        - place[joint_numbers["ankle_l"]]
    )
    # Skeletons are drawn along the file's axes, so each direction is rounded to the nearest axis.
    axis = np.zeros((2, 3))
    for row, vector in enumerate((up, right)):
        axis[row, np.argmax(np.abs(vector))] = np.sign(vector[np.argmax(np.abs(vector))])
    forward = np.cross(axis[0], axis[1])
    if not np.isclose(np.linalg.norm(forward), 1.0):
        raise InputError(f"{path}: its rest pose does not stand upright; export it in a T-pose")
    return np.stack([forward, axis[0], axis[1]])


def _rest_positions(joints: list[_Joint]) -> np.ndarray:
    """Positions of the joints in the rest pose, f64[J, 3]."""
    place = np.zeros((len(joints), 3))
    for index, joint in enumerate(joints):
        place[index] = joint.offset + (place[joint.parent] if joint.parent >= 0 else 0.0)
    return place


def _segments(
    joints: list[_Joint], joint_numbers: dict[str, int], motion: np.ndarray, axes: np.ndarray
) -> rotations.Segments:
    world: list[Rotation] = []
    for joint in joints:
        local = Rotation.identity(len(motion))
        turns = [(c[0], joint.first + i) for i, c in enumerate(joint.channels) if c.endswith("rotation")]
        if turns:
            # Channels apply from left to right, each about the axes as rotated so far.
            angles = np.radians(motion[:, [column for _, column in turns]])
            local = Rotation.from_euler("".join(letter for letter, _ in turns), angles)
        world.append(world[joint.parent] * local if joint.parent >= 0 else local)
    to_ours = Rotation.from_matrix(axes)
    ours = [to_ours * rotation * to_ours.inv() for rotation in world]
    place = _rest_positions(joints) @ axes.T

    def from_straight(upper: str, lower: str) -> Rotation:
        """Rotation from a vertical segment to the segment as it is drawn in the rest pose."""
        drawn = place[joint_numbers[lower]] - place[joint_numbers[upper]]
        return Rotation.align_vectors(drawn[None] / np.linalg.norm(drawn), [[0.0, -1.0, 0.0]])[0]

    pelvis = ours[joint_numbers["pelvis"]]
    legs = {}
    for side in "rl":
        thigh = ours[joint_numbers[f"hip_{side}"]] * from_straight(f"hip_{side}", f"knee_{side}")
        shank = ours[joint_numbers[f"knee_{side}"]] * from_straight(f"knee_{side}", f"ankle_{side}")
        foot = ours[joint_numbers[f"ankle_{side}"]] * _toe_out(place, joint_numbers, side)
        legs[side] = (pelvis.inv() * thigh, thigh.inv() * shank, shank.inv() * foot)
    neck = joint_numbers.get("neck")
    thorax = ours[joints[neck].parent] if neck is not None and joints[neck].parent >= 0 else None
    head = ours[joint_numbers["head"]] if "head" in joint_numbers else None
    return rotations.Segments(
        pelvis,
        _pelvis_path(joints[joint_numbers["pelvis"]], place, joint_numbers, motion, axes),
        legs,
        None if thorax is None else pelvis.inv() * thorax,
        None if thorax is None or head is None else thorax.inv() * head,
    )


def _toe_out(place: np.ndarray, joint_numbers: dict[str, int], side: str) -> Rotation:
    """Rotation about the vertical by which the foot of the rest pose is turned out."""
    toe = joint_numbers.get(f"toe_{side}")
    if toe is None:
        return Rotation.identity()
    drawn = place[toe] - place[joint_numbers[f"ankle_{side}"]]
    return Rotation.from_euler("Y", np.arctan2(-drawn[2], drawn[0]))


def _pelvis_path(
    pelvis: _Joint, place: np.ndarray, joint_numbers: dict[str, int], motion: np.ndarray, axes: np.ndarray
) -> np.ndarray | None:
    """The pelvis' path in metres, f64[T, 3]; None if the file has none or its unit cannot be inferred."""
    columns = [pelvis.first + pelvis.channels.index(f"{c}position") for c in "XYZ" if f"{c}position" in pelvis.channels]
    leg = sum(
        float(np.linalg.norm(place[joint_numbers[a]] - place[joint_numbers[b]]))
        for a, b in (("hip_r", "knee_r"), ("knee_r", "ankle_r"))
    )
    fitting = [unit for unit in _UNITS_M if _LEG_M[0] <= unit * leg <= _LEG_M[1]]
    if len(columns) < 3 or not fitting:
        return None
    return fitting[0] * motion[:, columns] @ axes.T
