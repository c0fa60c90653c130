"""Whose marker a label names, where a file holds several people.

A name stands before the last ":" or before an underscore (Ann:RKNE, Ann_RKNE), or behind one (RKNE_2, RKNE:2), or is a
digit at the end of every landmark's label (RKNE1, RKNE2). What remains must be labels of landmarks, because underscores
and digits stand in the labels of one person as well.
"""

import re
from collections.abc import Sequence
from typing import NamedTuple

from biomechgpt_jax.biomechanics.fitting import marker_sets, synonyms

# A prefix with an underscore needs so many labels of landmarks; a group with so many, and a pelvis, is a person.
_FEWEST_SHARED = 3
FEWEST_OF_A_PERSON = 6
_SIDES = frozenset(("r", "l", "d", "g", "right", "left", "droite", "droit", "gauche"))
_DIGIT = re.compile(r"(.+?)[\s.\-]?(\d)")


class Label(NamedTuple):
    """A label in two parts; the person is empty where it names none."""

    person: str
    bare: str


def split(names: Sequence[str]) -> list[Label]:
    """Person and bare label of each label of a file."""
    found = [Label(before.strip(), after.strip()) for before, _, after in (name.rpartition(":") for name in names)]
    known = _known([label.bare for label in found])
    _split_prefixes(names, known, found)
    _split_suffixes(names, known, found)
    if not any(label.person for label in found):
        _split_digits(names, known, found)
    return found


def bare(name: str, person: str) -> str | None:
    """A label without the name of this person; None where it bears another name before a colon."""
    for mark in ":_" if person else "":
        if name.startswith(person + mark):
            return name[len(person) + 1 :].strip()
        if name.endswith(mark + person):
            return name[: -len(person) - 1].strip()
    return None if name.rpartition(":")[0].strip() else name.strip()


def is_person(landmarks: set[str]) -> bool:
    """Whether these landmarks are enough to be somebody's."""
    return len(landmarks) >= FEWEST_OF_A_PERSON and marker_sets.has_pelvis(landmarks)


def _split_prefixes(names: Sequence[str], known: Sequence[bool], found: list[Label]) -> None:
    """Split labels at an underscore behind a person's name, in place."""
    splits = {i: _at_underscores(names[i]) for i, whole in enumerate(known) if not whole and ":" not in names[i]}
    for prefix in sorted({before for pairs in splits.values() for before, _ in pairs}, key=len):
        members = {i: dict(pairs)[prefix] for i, pairs in splits.items() if prefix in dict(pairs)}
        members = {i: rest for i, rest in members.items() if not found[i].person}
        if prefix.casefold() not in _SIDES and sum(_known(list(members.values()))) >= _FEWEST_SHARED:
            for i, rest in members.items():
                found[i] = Label(prefix, rest.strip())


def _split_suffixes(names: Sequence[str], known: Sequence[bool], found: list[Label]) -> None:
    """Split labels at an underscore or colon before a person's name, in place.

    Numbers of a cluster's markers (RTHI_1) stand behind an underscore too: the labels must be a person's.
    """
    members: dict[str, dict[int, str]] = {}
    for i, name in enumerate(names):
        pairs = [name.rpartition(":")[::2]] if ":" in name else [] if found[i].person else _at_underscores(name)
        for stem, suffix in pairs:
            if suffix.strip() and suffix.strip().casefold() not in _SIDES:
                members.setdefault(suffix.strip(), {})[i] = stem.strip()
    for suffix in sorted(members, key=len):
        stems = {i: stem for i, stem in members[suffix].items() if not known[i]}
        if len(stems) < FEWEST_OF_A_PERSON or not is_person(_landmarks(list(stems.values()))):
            continue
        # A label that is known as it is (RTHI_2) is this person's as well if it is without the suffix.
        whole = {i: stem for i, stem in members[suffix].items() if known[i]}
        clear = _known(list(whole.values()))
        stems |= {i: stem for (i, stem), is_known in zip(whole.items(), clear, strict=True) if is_known}
        for i, stem in stems.items():
            found[i] = Label(suffix, stem)


def _split_digits(names: Sequence[str], known: Sequence[bool], found: list[Label]) -> None:
    """Split a digit off the end of labels, in place, if that leaves all landmarks of the file to people."""
    ends = {i: match for i, name in enumerate(names) if (match := _DIGIT.fullmatch(name.strip()))}
    clear = _known([match[1] for match in ends.values()])
    stems = {i: match for (i, match), is_known in zip(ends.items(), clear, strict=True) if is_known}
    if not stems or any(whole and i not in stems for i, whole in enumerate(known)):
        return
    for digit in {match[2] for match in stems.values()}:
        if not is_person(_landmarks([match[1] for match in stems.values() if match[2] == digit])):
            return
    for i, match in stems.items():
        found[i] = Label(match[2], match[1])


def _at_underscores(name: str) -> list[tuple[str, str]]:
    """What stands before and behind each underscore of a label."""
    places = [i for i, letter in enumerate(name) if letter == "_" and 0 < i < len(name) - 1]
    return [(name[:i].strip(), name[i + 1 :]) for i in places]


def _landmarks(labels: Sequence[str]) -> set[str]:
    return set(marker_sets.recognise(labels)[1].values())


def _known(labels: Sequence[str]) -> list[bool]:
    """Whether each label is that of a landmark in any marker set or of a keypoint."""
    folded = [synonyms.fold(label) for label in labels]
    file = frozenset(folded)
    return [any(table.landmark(label, file) for table in marker_sets.tables()) for label in folded]
