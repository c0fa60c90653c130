"""What laboratories do to files of markers, for `field.py`; see `field_changes.py`."""

import itertools
import random
import re

import numpy as np
from field_changes import Change, Mutation, capitals, rows_without, written
from field_sources import BONES, Sheet, copy

# Labels of the same landmark in several marker sets; {s} is the side.
_SYNONYMS = (
    ("{s}ASI", "{s}.ASIS", "{s}_IAS", "{s}ASIS"),
    ("{s}PSI", "{s}.PSIS", "{s}_IPS", "{s}PSIS"),
    ("{s}KNE", "{s}.Knee", "{s}_FLE", "{s}_knee"),
    ("{s}ANK", "{s}.Ankle", "{s}_FAL", "{s}_ankle"),
    ("{s}HEE", "{s}.Heel", "{s}HEEL"),
    ("C7", "CV7"),
    ("T10", "TV10"),
)
_PAIRS = ("asi", "kne", "ank", "hee", "lfc", "fwt")  # beginnings of labels behind the side
_FOOT = re.compile(
    r"(?i)^[lr][._ ]?(ank|hee|toe|mt|cal|met|5met|foo|mal|lmal|mmal|latf|lca|stl|nav|p1m|p5m|d5m|hlx|cpg|ajc)"
)
_COMPUTED = re.compile("(?i)angle|moment|power|force")
_NEVER = ("RKNM", "LKNM", "RMED", "LMED", "LELB", "RELB", "STRN", "T10", "R.MT5", "L.MT5", "RFM1", "LFM1", "Head")


def mirrored(label: str, labels: list[str]) -> str:
    """The label in the file of the same place on the other side; "" if there is none."""
    swapped = label.translate(str.maketrans("LRlr", "RLrl"))
    by_small = {name.casefold(): name for name in labels}
    candidates = (swapped[:1] + label[1:], label[:-1] + swapped[-1:])
    return next((by_small[name.casefold()] for name in candidates if name != label and name.casefold() in by_small), "")


# Axes, units and headers


def turn(sheet: Sheet, rng: random.Random) -> Change:
    """Any of the 24 proper rotations between axes, and another origin on the floor."""
    turns = [
        (order, signs)
        for order in itertools.permutations(range(3))
        for signs in itertools.product((1.0, -1.0), repeat=3)
        if np.linalg.det(np.eye(3)[list(order)] * signs) > 0
    ]
    order, signs = rng.choice(turns)
    agrees = sheet.said_up == sheet.up
    up = np.zeros(3)
    up[sheet.height_axis] = sheet.upwards
    shift = np.array([rng.uniform(-5, 5) * (axis != sheet.height_axis) for axis in range(3)])
    sheet.positions = (sheet.positions + shift)[..., list(order)] * signs
    up = up[list(order)] * signs
    axis = int(np.argmax(np.abs(up)))
    sheet.up = ("+" if up[axis] > 0 else "-") + "XYZ"[axis]
    sheet.said_up = sheet.up if agrees else sheet.said_up
    sheet.ending = rng.choice((".trc", ".c3d"))
    return Change()


def other_unit(sheet: Sheet, rng: random.Random) -> Change:
    """Header and numbers in another unit."""
    sheet.unit, sheet.unit_m = rng.choice((("cm", 1e-2), ("m", 1.0)))
    sheet.ending = rng.choice((".trc", ".c3d"))
    return Change()


def wrong_vertical(sheet: Sheet, rng: random.Random) -> Change:
    """A header that names another axis."""
    sheet.ending, axis = ".c3d", rng.choice([axis for axis in "XYZ" if axis != sheet.up[1]])
    sheet.said_up = f"+{axis}"
    return Change("told", "is up")


def no_vertical(sheet: Sheet, rng: random.Random) -> Change:
    """A header without the axis."""
    sheet.ending, sheet.said_up = ".c3d", None
    return Change()


def lying_unit(sheet: Sheet, rng: random.Random) -> Change:
    """A unit in the header that is not that of the numbers."""
    said, true_m = rng.choice((("mm", 1.0), ("m", 1e-3), ("mm", 1e-2), ("cm", 1e-3), ("cm", 1.0)))
    sheet.unit, sheet.unit_m, sheet.ending = said, true_m, rng.choice((".trc", ".c3d"))
    return Change("lie", "metres|unit")


# Names


def prefix(sheet: Sheet, rng: random.Random) -> Change:
    """The name of a person or a session before every label."""
    before = rng.choice(("Sub:", "P01_", "Session 3:Sub:"))
    sheet.labels = [before + label for label in sheet.labels]
    sheet.ending = rng.choice((".trc", ".c3d"))
    return Change()


def letters(sheet: Sheet, rng: random.Random) -> Change:
    """Other capitals."""
    other = rng.choice((str.lower, str.upper, str.title))
    sheet.labels = [other(label) for label in sheet.labels]
    return Change()


def marks(sheet: Sheet, rng: random.Random) -> Change:
    """A blank, a dot or a line behind the side."""
    mark = rng.choice((" ", ".", "_", "-"))
    sheet.labels = [
        label[0] + mark + label[1:].lstrip("._ ") if mirrored(label, sheet.labels) and label[0] in "LRlr" else label
        for label in sheet.labels
    ]
    return Change()


def side_last(sheet: Sheet, rng: random.Random) -> Change:
    """The side at the end; LLCA stays, because LCAL is the calcaneus of the left side."""
    mark, small = rng.choice(("", "_", ".")), rng.random() < 0.5
    labels = []
    for label in sheet.labels:
        stem = label[1:].lstrip("._ ")
        if mirrored(label, sheet.labels) and label[0] in "LRlr" and stem[:1] not in "LRlr":
            label = f"{stem}{mark}{label[0].lower() if small else label[0].upper()}"
        labels.append(label)
    sheet.labels = labels
    return Change()


def synonyms(sheet: Sheet, rng: random.Random) -> Change | None:
    """Labels of another marker set for one to three landmarks."""
    found = []
    for names in _SYNONYMS:
        for name in names:
            sides = ("L", "R") if "{s}" in name else ("",)
            have = [next((x for x in sheet.labels if x.casefold() == name.format(s=s).casefold()), "") for s in sides]
            if all(have):
                found.append((have, sides, [other for other in names if other != name]))
                break
    for have, sides, others in rng.sample(found, min(len(found), rng.randint(1, 3))):
        other = rng.choice(others)
        renamed = {label: other.format(s=side) for label, side in zip(have, sides, strict=True)}
        sheet.labels = [renamed.get(label, label) for label in sheet.labels]
    return Change() if found else None


def study(sheet: Sheet, rng: random.Random) -> Change:
    """The suffix of markers that were estimated from keypoints."""
    sheet.labels = [f"{label}_study" for label in sheet.labels]
    return Change()


def _insert(sheet: Sheet, at: int, labels: list[str], positions: np.ndarray) -> None:
    """Insert markers f64[T, N, 3]."""
    sheet.labels[at:at] = labels
    sheet.positions = np.concatenate([sheet.positions[:, :at], positions, sheet.positions[:, at:]], axis=1)


def unused(sheet: Sheet, rng: random.Random) -> Change:
    """Columns of nothing known: without a name, twice the same name, or a name of nobody's."""
    names = rng.choice(([""], ["Aux", "Aux"], ["Marker77"], ["V_Mid", "V_Mid.2"]))
    place = sheet.positions[:, [rng.randrange(len(sheet.labels))]] + [0.03, 0.05, 0.02]
    _insert(sheet, rng.randrange(1, len(sheet.labels)), names, np.repeat(place, len(names), axis=1))
    sheet.ending = ".trc" if names == [""] else rng.choice((".trc", ".c3d"))
    return Change()


def bones(sheet: Sheet, rng: random.Random) -> Change:
    """The axes of bones that Plug-in Gait writes among the markers."""
    stems = [stem for stem in BONES if not any(stem + end in sheet.labels for end in "OALP")]
    stems = stems if rng.random() < 0.5 else rng.sample(stems, min(len(stems), 6))
    places = []
    for _ in stems:
        origin = np.nanmean(sheet.positions[:, rng.sample(range(len(sheet.labels)), 3)], axis=1)
        places += [origin, *(origin + 0.1 * axis for axis in np.eye(3))]
    _insert(sheet, len(sheet.labels), [stem + end for stem in stems for end in "OALP"], np.stack(places, axis=1))
    sheet.ending = rng.choice((".trc", ".c3d"))
    return Change()


def never_seen(sheet: Sheet, rng: random.Random) -> Change:
    """Labels of a protocol whose markers were not put on."""
    small = {label.casefold() for label in sheet.labels}
    names = [name for name in rng.sample(_NEVER, 5) if name.casefold() not in small]
    _insert(sheet, rng.randrange(len(sheet.labels)), names, np.full((len(sheet.positions), len(names), 3), np.nan))
    sheet.ending = rng.choice((".trc", ".c3d"))
    return Change()


# Objects and people


def objects(sheet: Sheet, rng: random.Random) -> Change:
    """Markers of a chair, a cone, a box or a wand."""
    names = rng.choice((
        ["chair1", "chair2", "chair3", "chair4"], ["Chair:FL", "Chair:FR", "Chair:BL", "Chair:BR"], ["cone"],
        [f"Box_{i}" for i in range(8)], ["Wand:A", "Wand:B", "Wand:C"],
    ))  # fmt: skip
    middle = np.nanmedian(sheet.positions, axis=(0, 1))
    place = middle + [rng.uniform(-3, 3) for _ in range(3)]
    place[sheet.height_axis] = sheet.upwards * rng.choice((0.05, 0.5, 2.0, 4.2))
    corners = place + np.array([[rng.uniform(0, 0.5) for _ in range(3)] for _ in names])
    moves = np.linspace(0, rng.uniform(0.5, 2.0) if names[0].startswith("Wand") else 0.0, len(sheet.positions))
    _insert(sheet, rng.choice((0, len(sheet.labels))), names, corners[None] + moves[:, None, None])
    sheet.ending = rng.choice((".trc", ".c3d"))
    return Change()


def _second(sheet: Sheet, keep: list[int], rng: random.Random) -> str:
    """Add another person with these markers, who walks beside the first and later; the name of the first."""
    first, second = rng.choice((("Ann:", "Ben:"), ("", "Ben:"), ("Ann_", "Ben_")))
    aside = np.array([0.9 * (axis != sheet.height_axis) for axis in range(3)])
    other = np.roll(sheet.positions, len(sheet.positions) // 7, axis=0)[:, keep] + aside
    labels = [second + sheet.labels[i] for i in keep]
    sheet.labels = [first + label for label in sheet.labels]
    _insert(sheet, rng.choice((0, len(sheet.labels))), labels, other)
    sheet.ending = rng.choice((".trc", ".c3d"))
    return first.rstrip(":_")


def second_person(sheet: Sheet, rng: random.Random) -> Change:
    """Another person, of whom some markers are lacking."""
    count = len(sheet.labels)
    keep = sorted(rng.sample(range(count), round(count * rng.uniform(0.5, 0.8))))
    gone = {i for i, label in enumerate(sheet.labels) if _FOOT.match(label) and label[0] in "Ll"}
    keep = [i for i in keep if i not in gone]
    _second(sheet, keep, rng)
    return Change("told", "people")


def two_people(sheet: Sheet, rng: random.Random) -> Change:
    """Two whole people."""
    name = _second(sheet, list(range(len(sheet.labels))), rng)
    return Change("ambiguous", "--person", person=name)


# What was not seen


def unseen(sheet: Sheet, rng: random.Random) -> Change:
    """5 to 20 % of the markers not seen, in runs, written as zeros, blanks or words."""
    share, frames = rng.uniform(0.05, 0.20), len(sheet.positions)
    for marker in range(len(sheet.labels)):
        lost = 0
        while lost < share * frames:
            run = rng.randint(2, max(3, round(0.2 * sheet.rate_hz)))
            begin = rng.randrange(frames)
            sheet.positions[begin : begin + run, marker] = np.nan
            lost += run
    reference = copy(sheet)
    sheet.ending = rng.choice((".trc", ".trc", ".c3d"))
    reference.ending = ".c3d" if sheet.ending == ".trc" else ".trc"
    sheet.text.zeros = sheet.ending == ".c3d" or rng.random() < 0.4
    sheet.text.blank = rng.choice(("", "NaN", "   NaN"))
    return Change(reference=reference)  # type: ignore[arg-type]


def foot_lost(sheet: Sheet, rng: random.Random) -> Change:
    """The markers of a foot listed and never seen."""
    side = rng.choice("rl")
    foot = [i for i, label in enumerate(sheet.labels) if _FOOT.match(label) and label[0].lower() == side]
    sheet.positions[:, foot] = np.nan
    sheet.ending = rng.choice((".trc", ".c3d"))
    reference = copy(sheet)
    reference.labels = [label for i, label in enumerate(sheet.labels) if i not in foot]  # type: ignore[union-attr]
    reference.positions = np.delete(sheet.positions, foot, axis=1)  # type: ignore[union-attr]
    return Change("told", f"ankle_angle_{side}", reference=reference, masked=(f"ankle_angle_{side}",))  # type: ignore[arg-type]


# Time


def rows_lost(sheet: Sheet, rng: random.Random) -> Change:
    """Rows removed: a tenth of a second, or one to three seconds."""
    whole_s = len(sheet.rows) / sheet.rate_hz
    seconds = rng.choice((0.1, min(rng.uniform(1.0, 3.0), 0.6 * whole_s)))
    reference = copy(sheet)
    sheet.rows = rows_without(len(sheet.rows), seconds, sheet.rate_hz, rng)
    reference.positions[np.setdiff1d(reference.rows, sheet.rows)] = np.nan  # type: ignore[union-attr]
    reference.ending = ".c3d"
    kind, says = ("harmless", "") if seconds <= 0.1 else ("gap", "missing|row")
    return Change(kind, says, reference=reference)  # type: ignore[arg-type]


def frames_as_times(sheet: Sheet, rng: random.Random) -> Change:
    """A column of times that counts the frames."""
    sheet.time_scale = 0.0
    return Change("lie", "counts|frames")


def milliseconds(sheet: Sheet, rng: random.Random) -> Change:
    """Times in milliseconds."""
    sheet.time_scale = 1000.0
    return Change("lie", "millisecond|ms")


def wrong_rate(sheet: Sheet, rng: random.Random) -> Change:
    """A rate in the header that the times contradict."""
    sheet.said_hz = sheet.rate_hz * rng.choice((0.5, 0.6, 2.0))
    return Change("lie", "Hz|rate")


# Damage


def mirror(sheet: Sheet, rng: random.Random) -> Change:
    """One axis negated: a left-handed world."""
    axis = rng.randrange(3)
    sheet.positions[..., axis] *= -1
    if axis == sheet.height_axis:
        sheet.up = ("-" if sheet.upwards > 0 else "+") + sheet.up[1]
    sheet.said_up = sheet.up
    sheet.ending = rng.choice((".trc", ".c3d"))
    return Change("damage")


def sides_exchanged(sheet: Sheet, rng: random.Random) -> Change:
    """Right called left and left called right."""
    sheet.labels = [mirrored(label, sheet.labels) or label for label in sheet.labels]
    return Change("damage")


def _used(sheet: Sheet, starts: tuple[str, ...]) -> list[int]:
    """Markers of both sides whose labels go on so behind the side; what a model computed (LKneeAngles) is none."""
    return [
        i
        for i, label in enumerate(sheet.labels)
        if label[1:].lstrip("._ ").lower().startswith(starts)
        and mirrored(label, sheet.labels)
        and not _COMPUTED.search(label)
    ]


def pair_exchanged(sheet: Sheet, rng: random.Random) -> Change | None:
    """One marker of each side with the label of the other."""
    pairs = _used(sheet, _PAIRS)
    one = rng.choice(pairs)
    other = sheet.labels.index(mirrored(sheet.labels[one], sheet.labels))
    sheet.labels[one], sheet.labels[other] = sheet.labels[other], sheet.labels[one]
    return Change("damage")


def foreign_marker(sheet: Sheet, rng: random.Random) -> Change:
    """A label on a marker half a metre away."""
    one = rng.choice(_used(sheet, _PAIRS))
    level = rng.choice([axis for axis in range(3) if axis != sheet.height_axis])
    sheet.positions[:, one, level] += rng.choice((-0.5, 0.5))
    return Change("damage")


# Two harmless mutations of different kinds may come together; those that decide on the format come last.
PAIRED: dict[Mutation, str] = {
    unseen: "seen", turn: "axes", no_vertical: "axes", other_unit: "unit", unused: "columns", bones: "columns",
    never_seen: "columns", objects: "columns", prefix: "names", letters: "names", marks: "names", side_last: "names",
    synonyms: "names", study: "names", written: "text", capitals: "ending",
}  # fmt: skip
OF_MARKERS: tuple[Mutation, ...] = (
    *PAIRED, turn, turn, objects, unseen, synonyms, mirror, wrong_vertical, lying_unit, second_person, two_people,
    foot_lost, rows_lost, frames_as_times, milliseconds, wrong_rate, sides_exchanged, pair_exchanged, foreign_marker,
)  # fmt: skip
