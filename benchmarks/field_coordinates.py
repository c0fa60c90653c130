"""What programs do to tables of coordinates and to skeletons, for `field.py`; see `field_changes.py`."""

import random
import re

import numpy as np
from field_changes import Change, Mutation, capitals, rows_without, written
from field_sources import Skeleton, Table


def lying_degrees(table: Table, rng: random.Random) -> Change:
    """Radians called degrees, or the reverse."""
    table.says_degrees = not table.degrees
    return Change("lie", "radian|degree")


def other_angles(table: Table, rng: random.Random) -> Change:
    """Degrees instead of radians, or the reverse, and said so."""
    angles = [i for i, name in enumerate(table.columns) if name not in ("pelvis_tx", "pelvis_ty", "pelvis_tz")]
    table.values[:, angles] *= np.radians(1.0) if table.degrees else np.degrees(1.0)
    table.degrees = table.says_degrees = not table.degrees
    return Change()


def columns_moved(table: Table, rng: random.Random) -> Change:
    """Columns in another order, and one of something else among them."""
    order = rng.sample(range(len(table.columns)), len(table.columns))
    table.columns, table.values = [table.columns[i] for i in order], table.values[:, order]
    table.columns.append(rng.choice(("knee_angle_r_beta", "patella_l", "comment_index")))
    table.values = np.c_[table.values, np.linspace(0, 0.1, len(table.values))]
    return Change()


def table_rows_lost(table: Table, rng: random.Random) -> Change:
    """Rows removed: a tenth of a second, or a third of the file."""
    step_s = float(np.median(np.diff(table.times)))
    seconds = rng.choice((0.1, len(table.times) * step_s / 3))
    rows = rows_without(len(table.times), seconds, 1 / step_s, rng)
    gone = tuple(np.setdiff1d(np.arange(len(table.times)), rows))
    table.values, table.times = table.values[rows], table.times[rows]
    return Change(gone=gone) if seconds <= 0.1 else Change("gap", "missing|row", gone=gone)


def table_times(table: Table, rng: random.Random) -> Change:
    """Times that count the frames, or are in milliseconds: a .mot file has no rate to compare them with."""
    counted = rng.random() < 0.5
    table.times = np.arange(1.0, len(table.times) + 1) if counted else 1000.0 * table.times
    return Change("lie", "second|count|frame|ms")


def errors_or_speeds(table: Table, rng: random.Random) -> Change:
    """The title of a table that has the columns of a movement and is none, with its values or without them."""
    step_s = float(np.median(np.diff(table.times)))
    table.title = rng.choice(("PositionErrors", "Speeds", "Accelerations", "Coordinates", "Controls"))
    if table.title in ("Coordinates", "Speeds"):
        table.values = np.gradient(table.values, axis=0) / step_s
    return Change("damage")


_STYLES: dict[str, dict[str, str]] = {
    "Bip01 {s} {b}": {"UpLeg": "Thigh", "Leg": "Calf", "Foot": "Foot", "Toe": "Toe0", "Arm": "UpperArm",
                      "ForeArm": "Forearm", "Hand": "Hand", "Shoulder": "Clavicle", "Hips": "Bip01 Pelvis"},
    "{b}.{s}": {"UpLeg": "thigh", "Leg": "shin", "Foot": "foot", "Toe": "toe", "Arm": "upper_arm", "ForeArm": "forearm",
                "Hand": "hand", "Shoulder": "shoulder", "Hips": "hips"},
    "{b}_{l}": {"UpLeg": "thigh", "Leg": "calf", "Foot": "foot", "Toe": "ball", "Arm": "upperarm",
                "ForeArm": "lowerarm", "Hand": "hand", "Shoulder": "clavicle", "Hips": "pelvis"},
    "mixamorig:{word}{b}": {"Toe": "ToeBase", "Hips": "mixamorig:Hips"},
}  # fmt: skip


def joint_names(skeleton: Skeleton, rng: random.Random) -> Change:
    """Names of joints of another program."""
    form = rng.choice(sorted(_STYLES))
    style = _STYLES[form]
    for number, line in enumerate(skeleton.hierarchy):
        found = re.fullmatch(r"(\s*(?:ROOT|JOINT)\s+)(Left|Right)?(\w+?)(Base)?\s*", line)
        if not found:
            continue
        head, word, base, _ = found.groups()
        if word and base in ("UpLeg", "Leg", "Foot", "Toe", "Arm", "ForeArm", "Hand", "Shoulder"):
            name = form.format(s=word[0], l=word[0].lower(), word=word, b=style.get(base, base))
            skeleton.hierarchy[number] = head + name
        elif base == "Hips":
            skeleton.hierarchy[number] = head + style["Hips"]
    return Change()


def skeleton_unit(skeleton: Skeleton, rng: random.Random) -> Change:
    """Millimetres, centimetres or metres: told by the length of the legs."""
    leg = max(np.linalg.norm(np.array(line.split()[1:], np.float64)) for line in skeleton.hierarchy if "OFFSET" in line)
    now = 1e-3 if leg > 100 else 1e-2 if leg > 10 else 1.0
    factor = now / rng.choice([unit for unit in (1e-3, 1e-2, 1.0) if unit != now])
    for number, line in enumerate(skeleton.hierarchy):
        if "OFFSET" in line:
            skeleton.hierarchy[number] = "OFFSET " + " ".join(f"{float(x) * factor:.6f}" for x in line.split()[1:])
    skeleton.frames[:, :3] *= factor
    return Change()


def root_above(skeleton: Skeleton, rng: random.Random) -> Change:
    """A root above the hips that carries the path, all of it or that over the floor."""
    hierarchy = skeleton.hierarchy
    hips = next(i for i, line in enumerate(hierarchy) if line.startswith("ROOT"))
    channels = next(i for i, line in enumerate(hierarchy) if "CHANNELS" in line)
    rotations = hierarchy[channels].split()[5:]
    name = hierarchy[hips].split(maxsplit=1)[1]
    above = [f"ROOT {rng.choice(('Root', 'reference', 'Armature'))}", "{", "OFFSET 0 0 0"]
    above += ["CHANNELS 6 Xposition Yposition Zposition Zrotation Yrotation Xrotation", f"JOINT {name}"]
    path, still = skeleton.frames[:, :3], np.zeros((len(skeleton.frames), 3))
    if rng.random() < 0.5:
        hierarchy[channels] = "CHANNELS 3 " + " ".join(rotations)
        offset = next(i for i, line in enumerate(hierarchy) if "OFFSET" in line)
        hierarchy[offset] = "OFFSET 0 0 0"
        skeleton.frames = np.c_[path, still, skeleton.frames[:, 3:]]
    else:
        level = path * [1.0, 0.0, 1.0]
        skeleton.frames = np.c_[level, still, path - level, skeleton.frames[:, 3:]]
    hierarchy[hips : hips + 1] = above
    hierarchy.append("}")
    return Change()


def line_ends(skeleton: Skeleton, rng: random.Random) -> Change:
    """Line ends of Windows, and a byte order mark."""
    skeleton.text.newline, skeleton.text.mark = "\r\n", rng.choice(("", "\ufeff"))
    return Change()


OF_TABLES: tuple[Mutation, ...] = (
    lying_degrees, other_angles, columns_moved, table_rows_lost, table_times, errors_or_speeds, written, capitals,
)  # fmt: skip
OF_SKELETONS: tuple[Mutation, ...] = (joint_names, skeleton_unit, root_above, line_ends, capitals)
