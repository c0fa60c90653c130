"""BVH files: the skeleton of an animation with the rotations of its joints.

Joints are identified by the names that motion-capture archives and animation programs use (`parsing.bones`). Angles
are relative to the rest pose, in which the legs are assumed to stand straight and the feet to be flat, however they are
drawn.
"""

import hashlib
import re
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from scipy.spatial.transform import Rotation

from biomechgpt_jax.biomechanics.flags import CAUTION
from biomechgpt_jax.biomechanics.skeleton import INDEX
from biomechgpt_jax.biomechanics.trajectory import Metadata, Trajectory
from biomechgpt_jax.errors import InputError
from biomechgpt_jax.formats import rotations
from biomechgpt_jax.formats.parsing import bones

LARGEST_BYTES = 256 * 2**20
_MOST_JOINTS, _MOST_DEPTH = 500, 200
_FARTHEST = 1e5  # units from joint to joint
# Metres per unit of length: metres, centimetres, inches, inches divided by 0.45 as in the CMU archive, and millimetres.
# The first that gives a leg of this length is used.
_UNITS_M = (1.0, 0.01, 0.0254, 0.0254 / 0.45, 0.001)
_LEG_M = (0.55, 1.15)
# The body stands along an axis if its pelvis is this many times further from its ankles along it than along any other.
_CLEARLY = 1.5
_DECIMAL_COMMA = re.compile(r"(?<=\d),(?=\d)")


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
    if "." not in tail:  # numbers with decimal commas
        head, tail = (_DECIMAL_COMMA.sub(".", part) for part in (head, tail))
    joints = _hierarchy(path, head.replace("{", " { ").replace("}", " } ").split())
    motion, rate = _motion(path, tail.strip().splitlines(), sum(len(joint.channels) for joint in joints))
    joint_numbers = _identify_joints(path, joints)
    flags = [rotations.FLAG]
    q, observed = rotations.coordinates(_segments(path, joints, joint_numbers, motion, flags))
    if not np.isfinite(q).all():
        raise InputError(f"{path} holds numbers that are not finite; export it again")
    heading = INDEX["pelvis_rotation"]
    q[:, heading] = np.unwrap(q[:, heading])
    metadata = Metadata(source=path.name, sha256=hashlib.sha256(raw).hexdigest(), flags=tuple(flags))
    return Trajectory(q.astype(np.float32), observed, rate, metadata)


def _hierarchy(path: Path, words: list[str]) -> list[_Joint]:
    joints: list[_Joint] = []
    open_blocks: list[int] = []  # joints whose braces are still open; -1 for an end site
    columns, at, name = 0, 1, ""
    try:
        while at < len(words):
            word = words[at]
            if word in ("ROOT", "JOINT", "End"):
                brace = words.index("{", at)
                name, at = "" if word == "End" else " ".join(words[at + 1 : brace]) or "?", brace
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
                channels = [word.capitalize() for word in words[at + 2 : at + 2 + count]]
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


def _identify_joints(path: Path, joints: list[_Joint]) -> dict[str, int]:
    """Numbers of the joints by their role: pelvis, hip_r ... toe_l, neck, head."""
    candidates = bones.identify([joint.name for joint in joints])
    joint_numbers = {role: numbers[0] for role, numbers in candidates.items()}
    if {"hip_r", "hip_l"} <= set(joint_numbers):
        above = _chain(joints, joint_numbers["hip_l"])[:-1]
        shared = [number for number in _chain(joints, joint_numbers["hip_r"])[:-1] if number in above]
        # Of a root above the hips, the hips and the spine, the pelvis is the lowest that carries both legs.
        named = [number for number in shared if number in candidates.get("pelvis", [])]
        joint_numbers.update({"pelvis": (named or shared)[-1]} if shared else {})
    needed = ["pelvis", *(f"{part}_{side}" for part in ("hip", "knee", "ankle") for side in "rl")]
    missing = [name for name in needed if name not in joint_numbers]
    if missing:
        present = ", ".join(joint.name for joint in joints[:6])
        raise InputError(
            f"{path}: no joint is recognised as {missing[0]} (its joints are {present} ...); rename its joints"
        )
    return joint_numbers


def _chain(joints: list[_Joint], joint: int) -> list[int]:
    """The joints from the root down to this one."""
    chain = [joint]
    while joints[chain[-1]].parent >= 0:
        chain.append(joints[chain[-1]].parent)
    return chain[::-1]


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
    path: Path, joints: list[_Joint], joint_numbers: dict[str, int], motion: np.ndarray, flags: list[str]
) -> rotations.Segments:
    """Rotations of the body's segments and the path of the pelvis; flags are added."""
    axes = _axes(path, joints, joint_numbers)
    turns = _turns(joints, motion)
    world = _world_axes(joints, joint_numbers, motion, turns, axes, flags)
    to_world, to_rest = Rotation.from_matrix(world), Rotation.from_matrix(axes)
    ours = [to_world * turn * to_rest.inv() for turn in turns]
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
        _pelvis_path(joints, joint_numbers, motion, turns, world, flags),
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


def _turns(joints: list[_Joint], motion: np.ndarray) -> list[Rotation]:
    """Rotation of each joint over T frames, relative to the world of the file."""
    world: list[Rotation] = []
    for joint in joints:
        local = Rotation.identity(len(motion))
        turns = [(c[0], joint.first + i) for i, c in enumerate(joint.channels) if c.endswith("rotation")]
        if turns:
            # Channels apply from left to right, each about the axes as rotated so far.
            angles = np.radians(motion[:, [column for _, column in turns]])
            local = Rotation.from_euler("".join(letter for letter, _ in turns), angles)
        world.append(world[joint.parent] * local if joint.parent >= 0 else local)
    return world


def _positions(joints: list[_Joint], motion: np.ndarray, turns: list[Rotation], joint: int) -> np.ndarray:
    """Where a joint is in the world of the file, f64[T, 3] in its unit of length."""
    place = np.zeros((len(motion), 3))
    for number in _chain(joints, joint):
        link = joints[number]
        local = np.tile(link.offset, (len(motion), 1))
        columns = _path_columns(link)
        if columns:
            moved = motion[:, columns]
            # Positions of a root replace its offset. Those of a joint below it do in some programs; in others they are
            # added to it.
            away = np.linalg.norm(np.median(moved, axis=0) - link.offset)
            local = moved if link.parent < 0 or away <= 0.2 * np.linalg.norm(link.offset) else link.offset + moved
        place += turns[link.parent].apply(local) if link.parent >= 0 else local
    return place


def _path_columns(joint: _Joint) -> list[int]:
    """Columns of a joint's position in the motion; none unless it has all three."""
    names = [f"{axis}position" for axis in "XYZ"]
    return [joint.first + joint.channels.index(name) for name in names] if set(names) <= set(joint.channels) else []


def _world_axes(
    joints: list[_Joint],
    joint_numbers: dict[str, int],
    motion: np.ndarray,
    turns: list[Rotation],
    axes: np.ndarray,
    flags: list[str],
) -> np.ndarray:
    """Our axes as rows in the world of the file: those of the rest pose, unless the moving body stands along another.

    Programs in which z is up write skeletons at rest along y and turn their root.
    """
    place = {name: _positions(joints, motion, turns, joint_numbers[name]) for name in ("pelvis", "ankle_r", "ankle_l")}
    over = np.median(place["pelvis"] - 0.5 * (place["ankle_r"] + place["ankle_l"]), axis=0)
    second, first = np.argsort(np.abs(over))[-2:]
    up = np.sign(over[first]) * np.eye(3)[first]
    if np.abs(over[first]) < _CLEARLY * np.abs(over[second]) or (up == axes[1]).all():
        return axes
    drawn, stands = (f"{'-' if row.sum() < 0 else '+'}{'XYZ'[np.abs(row).argmax()]}" for row in (axes[1], up))
    flags.append(f"{CAUTION}the skeleton rests along {drawn}, but the body stands along {stands}: the body is followed")
    right = axes[2] if up @ axes[2] == 0 else axes[0]
    return np.stack([np.cross(up, right), up, right])


def _pelvis_path(
    joints: list[_Joint],
    joint_numbers: dict[str, int],
    motion: np.ndarray,
    turns: list[Rotation],
    world: np.ndarray,
    flags: list[str],
) -> np.ndarray | None:
    """The pelvis' path in metres, f64[T, 3]; None if nothing carries it or its unit cannot be inferred."""
    if not any(_path_columns(joints[number]) for number in _chain(joints, joint_numbers["pelvis"])):
        return None
    rest = _rest_positions(joints)
    leg = sum(
        float(np.linalg.norm(rest[joint_numbers[a]] - rest[joint_numbers[b]]))
        for a, b in (("hip_r", "knee_r"), ("knee_r", "ankle_r"))
    )
    fitting = [unit for unit in _UNITS_M if _LEG_M[0] <= unit * leg <= _LEG_M[1]]
    if not fitting:
        flags.append(
            f"{CAUTION}its legs are {leg:.3g} long: the unit of its path cannot be told, so the path is left out"
        )
        return None
    return fitting[0] * _positions(joints, motion, turns, joint_numbers["pelvis"]) @ world.T
