"""Labels of markers as one kind: the same name in capitals or not, with blanks or dots, with its side at either end.

A label is folded before it is compared: RASI, "R asi", R_ASI and r.asi are one. The side stands where a marker set puts
it (RKNE, WaistRFront), as a letter or a word, or at the end (ASISr), or in French (d and g). A letter at the end, and a
French one, is a side only if the mirrored label is in the file as well: HEEL is not the left HEE.
"""

import re
import unicodedata
from collections.abc import Iterable, Mapping

# Words for the right and the left side; those of `_SURE` need no mirrored label.
_SURE = (("r", "l"), ("right", "left"))
_IF_MIRRORED = (("r", "l"), ("right", "left"), ("d", "g"), ("droite", "gauche"), ("droit", "gauche"))
_SEPARATORS = re.compile(r"[\s._\-']+")
_AUGMENTED = "study"  # suffix of the markers that OpenCap and Pose2Sim estimate from keypoints
_FEWEST_AUGMENTED = 6
_AXES = "oalp"  # origin, anterior, lateral and proximal point of a segment's axes, Plug-in Gait


def fold(label: str) -> str:
    """A label without case, accents, blanks, dots, underscores, hyphens and the suffix of augmented markers."""
    plain = unicodedata.normalize("NFKD", label.casefold())
    plain = "".join(letter for letter in plain if not unicodedata.combining(letter))
    return _SEPARATORS.sub("", plain).removesuffix(_AUGMENTED)


class Table:
    """The labels of one or more marker sets, with the landmark of each.

    Args:
        marker_set: landmarks of the right side or the middle by folded label, with {s} in the place of the side.
    """

    def __init__(self, marker_set: Mapping[str, str]) -> None:
        self._sure: dict[str, str] = {}
        self._mirrored: dict[str, str] = {}  # labels of `_sure` by those of the other side
        self._if_mirrored: dict[str, dict[str, str]] = {}  # landmarks by label and by its mirrored label
        for label, landmark in marker_set.items():
            if "{s}" not in label:
                self._sure[label] = landmark
                continue
            for right, left in _SURE:
                self._sure.setdefault(label.format(s=right), f"{landmark[:-2]}_r")
                self._sure.setdefault(label.format(s=left), f"{landmark[:-2]}_l")
                for side, other in ((right, left), (left, right)):
                    self._mirrored.setdefault(label.format(s=side), label.format(s=other))
            for pair in _IF_MIRRORED:
                stem = label.replace("{s}", "")
                for form in (label, stem + "{s}", "{s}" + stem):
                    right, left = (form.format(s=word) for word in pair)
                    self._if_mirrored.setdefault(right, {}).setdefault(left, f"{landmark[:-2]}_r")
                    self._if_mirrored.setdefault(left, {}).setdefault(right, f"{landmark[:-2]}_l")

    def landmark(self, label: str, file: frozenset[str]) -> str:
        """The landmark of a folded label in a file with these folded labels; empty if the label is unknown."""
        if label in self._sure and not self._has_its_side_at_the_end(label, file):
            return self._sure[label]
        by_mirrored = self._if_mirrored.get(label, {})
        return next((landmark for mirrored, landmark in by_mirrored.items() if mirrored in file), "")

    def _has_its_side_at_the_end(self, label: str, file: frozenset[str]) -> bool:
        """Whether a label that could have its side at either end has it at the end, as its mirrored label does.

        LCAL beside RCAL is the left CAL, and beside LCAR the LCA of the left.
        """
        at_the_end = label[:-1] + {"r": "l", "l": "r"}.get(label[-1], "")
        return (
            label in self._mirrored
            and self._mirrored[label] not in file
            and at_the_end in file
            and at_the_end not in self._sure
        )

    def labels(self, landmark: str) -> tuple[str, ...]:
        """Folded labels of a landmark, the first and plainest ones first."""
        return tuple(label for label, name in self._sure.items() if name == landmark)


def folded(names: Iterable[str]) -> list[str]:
    """Folded labels of one person; empty for axes of bones, and for keypoints beside markers estimated from them.

    A file of OpenCap or Pose2Sim may hold both: RKnee is then a joint centre, r_knee_study a marker on the skin.
    """
    labels = list(names)
    axes = bone_axes(labels)
    augmented = [label.casefold().endswith(f"_{_AUGMENTED}") for label in labels]
    skip = sum(augmented) >= _FEWEST_AUGMENTED
    return [
        "" if label in axes or (skip and not mine) else fold(label)
        for label, mine in zip(labels, augmented, strict=True)
    ]


def bone_axes(names: Iterable[str]) -> frozenset[str]:
    """Labels that are axes of bones, which Plug-in Gait writes among the markers: names with O, A, L and P together.

    PELO, PELA, PELL and PELP are the origin and the ends of the axes of the pelvis. RCLA alone is a marker.
    """
    labels = tuple(names)
    lower = {label.strip().casefold() for label in labels}
    stems = {label[:-1] for label in lower if len(label.rpartition(":")[2]) > 2}
    whole = {stem for stem in stems if all(stem + end in lower for end in _AXES)}

    def is_axis(label: str) -> bool:
        clean = label.strip().casefold()
        return clean[:-1] in whole and clean[-1] in _AXES

    return frozenset(label for label in labels if is_axis(label))
