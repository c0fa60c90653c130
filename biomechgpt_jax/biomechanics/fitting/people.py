"""Several people, and objects, in one file of markers: whose markers are read.

Markers belong together by the name in their labels: before the last ":" or an underscore (Ann:RKNE, Ann_RKNE), behind
one (RKNE_2, RKNE:2), or as a digit at the end of every landmark's label (RKNE1, RKNE2). What remains must be labels of
landmarks, because underscores and digits stand in the labels of one person as well. No person's marker is ever filled
from another's.
"""

import dataclasses
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from biomechgpt_jax.biomechanics.fitting import marker_sets, synonyms
from biomechgpt_jax.biomechanics.fitting.markers import Markers
from biomechgpt_jax.biomechanics.flags import CAUTION
from biomechgpt_jax.errors import InputError

# A prefix with an underscore needs so many labels of landmarks; a group with so many, and a pelvis, is a person.
_FEWEST_SHARED = 3
_FEWEST_OF_A_PERSON = 6
_SIDES = frozenset(("r", "l", "d", "g", "right", "left", "droite", "droit", "gauche"))
_DIGIT = re.compile(r"(.+?)[\s.\-]?(\d)")
# A marker counts for a person if it is seen for this share of the time that the best seen one of the file is.
_SEEN_SHARE = 0.5
# Two people of whom this share of the fuller one's landmarks is seen are both whole.
_AS_FULL = 0.95
_SEVERAL = f"{CAUTION}several people in the file"


class Label(NamedTuple):
    """A label in two parts; the person is empty where it names none."""

    person: str
    bare: str


@dataclass(frozen=True)
class Choice:
    """The person whose markers are read.

    Attributes:
        index: of the person's markers among those of the file, each label once.
        names: their labels without the person's name.
        person: the name; empty if the labels have none.
        others: names of the other people, the fullest first; a person without a name is "unnamed".
    """

    index: tuple[int, ...]
    names: tuple[str, ...]
    person: str = ""
    others: tuple[str, ...] = ()

    @property
    def flags(self) -> tuple[str, ...]:
        """Flags that name the people; none if there is one."""
        if not self.others:
            return ()
        who = (
            f"of {len(self.others) + 1} people, {self.person or 'unnamed'} is read; left out: {', '.join(self.others)}"
        )
        return (f"{_SEVERAL}: {who}",)


def read(markers: Markers, person: str = "") -> Markers:
    """The markers of one person, with labels without the person's name; a flag names the others.

    Args:
        markers: raw, as a reader of a file gives them.
        person: as in `choose`.

    Raises:
        InputError: as in `choose`.
    """
    seen_M = np.isfinite(markers.positions).all(axis=2).mean(axis=0)
    choice = choose(markers.names, seen_M, person)
    named = {name: bare(name, choice.person) for name in markers.angles}
    angles = {name: markers.angles[label] for label, name in named.items() if name is not None}
    return dataclasses.replace(
        markers,
        positions=np.ascontiguousarray(markers.positions[:, list(choice.index)]),
        names=choice.names,
        metadata=dataclasses.replace(markers.metadata, flags=markers.metadata.flags + choice.flags),
        angles=angles,
    )


def are_several(flags: Iterable[str]) -> bool:
    """Whether these flags of a recording say that its file holds several people."""
    return any(flag.startswith(_SEVERAL) for flag in flags)


def without_names(flags: Iterable[str]) -> tuple[str, ...]:
    """Flags of a recording that name nobody, for what is stored of it."""
    return tuple(_SEVERAL if flag.startswith(_SEVERAL) else flag for flag in flags)


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


def choose(names: Sequence[str], seen_M: np.ndarray, person: str = "") -> Choice:
    """The markers of the person with most landmarks, or of the one who is named.

    Args:
        names: all labels of the file, with the people's names.
        seen_M: f[M] share of the frames in which each marker is seen.
        person: name of the person to read, in any case of letters; empty for the fullest one.

    Raises:
        InputError: the file holds nobody of this name, or two whole people and none is named.
    """
    groups: dict[str, list[int]] = {}
    labels = split(names)
    for i, label in enumerate(labels):
        groups.setdefault(label.person, []).append(i)
    enough_M = np.asarray(seen_M) > _SEEN_SHARE * max(float(np.max(seen_M, initial=0.0)), 1e-9)
    bare = [label.bare for label in labels]
    marks = {name: _marks([bare[i] for i in group], enough_M[group]) for name, group in groups.items()}
    people = [name for name in groups if _is_person(marks[name])]
    people.sort(key=lambda name: (-len(marks[name]), -float(np.mean(np.asarray(seen_M)[groups[name]]))))
    if person:
        chosen = _named(person, groups, people)
    else:
        whole = [name for name in people if marker_sets.sizes_a_body(marks[name])]
        full = [name for name in whole if len(marks[name]) >= _AS_FULL * len(marks[whole[0]])]
        if len(full) > 1:
            shown = [name or "one without a name" for name in full]
            name = next(name for name in full if name)
            raise InputError(
                f"holds {len(full)} whole people, {' and '.join(shown)}; choose one with --person, such as "
                f"--person {_quoted(name)}"
            )
        if not people:  # nobody: names tell nothing apart
            index = _each_once(list(range(len(names))), bare, np.asarray(seen_M))
            return Choice(tuple(index), tuple(bare[i] for i in index))
        chosen = (full or people)[0]
    index = _each_once(groups[chosen], bare, np.asarray(seen_M))
    if not person and not marker_sets.sizes_a_body(marks[chosen]):
        index = _joined(index, groups, bare, marks, np.asarray(seen_M))
    others = tuple(name or "unnamed" for name in people if name != chosen)
    return Choice(tuple(index), tuple(bare[i] for i in index), chosen, others)


def _marks(names: Sequence[str], enough: np.ndarray) -> set[str]:
    """Landmarks that a group of markers shows."""
    _, chosen = marker_sets.recognise(names, list(enough))
    return {mark for i, mark in chosen.items() if enough[i]}


def _named(person: str, groups: dict[str, list[int]], people: list[str]) -> str:
    found = [name for name in groups if name.casefold() == person.strip().casefold()]
    if found:
        return found[0]
    there = [name for name in people if name]
    if not there:
        raise InputError(f"names nobody, so --person {_quoted(person)} cannot be found; leave --person out")
    raise InputError(f"holds nobody named {person!r}; it holds {', '.join(there)}")


def _quoted(name: str) -> str:
    return f"'{name}'" if " " in name else name


def _each_once(group: list[int], bare: list[str], seen_M: np.ndarray) -> list[int]:
    """The markers of a group, each label once: of several the first one that is ever seen."""
    kept: dict[str, int] = {}
    for i in group:
        if bare[i] not in kept or (seen_M[i] > 0 and seen_M[kept[bare[i]]] == 0):
            kept[bare[i]] = i
    return sorted(kept.values())


def _joined(
    index: list[int], groups: dict[str, list[int]], bare: list[str], marks: dict[str, set[str]], seen_M: np.ndarray
) -> list[int]:
    """The markers of the only person in a file, with those that lack the name if both together are one body.

    Labels added by hand often lack it. Two groups that share a landmark are two people.
    """
    if len(groups) != 2 or "" not in groups:
        return index
    one, other = marks.values()
    both = _each_once(sorted(i for group in groups.values() for i in group), bare, seen_M)
    repeated = max(Counter(bare[i] for group in groups.values() for i in group).values()) > 1
    return both if not repeated and not one & other and marker_sets.sizes_a_body(one | other) else index


def _is_person(landmarks: set[str]) -> bool:
    """Whether these landmarks are enough to be somebody's."""
    return len(landmarks) >= _FEWEST_OF_A_PERSON and marker_sets.has_pelvis(landmarks)


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
        if len(stems) < _FEWEST_OF_A_PERSON or not _is_person(_landmarks(list(stems.values()))):
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
        if not _is_person(_landmarks([match[1] for match in stems.values() if match[2] == digit])):
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
