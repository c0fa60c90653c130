"""Names that programs give to the bones of a skeleton, and which bone of the body each stands for.

A name is taken apart at dots, dashes, underscores, blanks and changes of case. One of its words may be a side, at
either end ("LeftUpLeg", "Bip01 L Thigh", "thigh.L", "KneeLeft"); words before the part's own are a prefix of the
program ("mixamorig:", "DEF-", "Character1_").
"""

import re
from collections.abc import Sequence

# Words of each part without separators, the likeliest first (CMU, Mixamo, LaFAN, 3ds Max Biped, Rigify, Unreal, VRM,
# Poser and Daz, Kinect, Xsens). A "hip" with a side is the thigh's joint, without one the pelvis.
_SIDED = {
    "hip": ("upleg", "upperleg", "thigh", "thighbend", "femur", "hip"),
    "knee": ("leg", "lowerleg", "lowleg", "shin", "calf", "shank", "tibia", "knee"),
    "ankle": ("ankle", "foot"),  # where both are named, the foot is its tip
    "toe": ("toebase", "toe", "toes", "toe0", "ball", "toeend"),
}
_MIDDLE = {
    "pelvis": ("hips", "hip", "pelvis", "root"),
    "neck": ("neck", "neck0", "neck01", "neck1", "necklower"),
    "head": ("head",),
}
_SIDES = {"r": "r", "right": "r", "rt": "r", "l": "l", "left": "l", "lt": "l"}
_PARTS = {word: part for part, words in _SIDED.items() for word in words}
# Prefixes that say nothing: a name that has no other is as good as one without any.
_PREFIXES = frozenset(("bip", "bip01", "bip001", "def", "mixamorig", "character1", "j", "b", "bone", "robot"))
_WORDS = re.compile(r"[A-Z]+(?=[A-Z][a-z])|[A-Z]?[a-z]+\d*|[A-Z]+\d*|\d+")


def identify(names: Sequence[str]) -> dict[str, list[int]]:
    """Bones by their role: "pelvis", "neck", "head", and "hip_r" ... "toe_l", each with its candidates, the best first.

    A candidate without a prefix goes before one with a prefix ("foot_l" before "ik_foot_l"), then the order of the
    parts' words decides, then that of the file.
    """
    found: dict[str, list[tuple[int, int, int]]] = {}
    for index, name in enumerate(names):
        reading = _read(name)
        if reading:
            role, prefixed, order = reading
            found.setdefault(role, []).append((prefixed, order, index))
    return {role: [index for *_, index in sorted(candidates)] for role, candidates in found.items()}


def _read(name: str) -> tuple[str, int, int] | None:
    """What a name stands for: its role, 1 if a word precedes the part's own, and the part's place in its row."""
    words = [word.lower() for word in _WORDS.findall(name.rpartition(":")[2])]
    if len(words) > 2 and words[-1].isdigit():
        words.pop()  # copies are numbered: "thigh.L.001"
    sides = [word for word in words if word in _SIDES]
    if len(sides) == 1:
        words.remove(sides[0])
        found = _match(words, _SIDED)
        return (f"{found[0]}_{_SIDES[sides[0]]}", *found[1:]) if found else None
    return None if sides else _match(words, _MIDDLE) or _joined(words)


def _match(words: list[str], table: dict[str, tuple[str, ...]]) -> tuple[str, int, int] | None:
    """The part whose name the last words are; the longest of several."""
    for start in range(len(words)):
        tail = "".join(words[start:])
        before = [word for word in words[:start] if word not in _PREFIXES and not word.startswith("mixamorig")]
        for part, known in table.items():
            if tail in known:
                return part, int(bool(before)), known.index(tail)
    return None


def _joined(words: list[str]) -> tuple[str, int, int] | None:
    """A name whose side is not set apart, such as "lthigh" or "footright"; only its last word is looked at."""
    last = words[-1] if words else ""
    for word, side in _SIDES.items():
        for rest in (last.removeprefix(word), last.removesuffix(word)):
            if rest != last and rest in _PARTS:
                return f"{_PARTS[rest]}_{side}", int(len(words) > 1), _SIDED[_PARTS[rest]].index(rest)
    return None
