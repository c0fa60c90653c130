"""Several people, and objects, in one file of markers: whose markers are read.

Markers belong together by the prefix of their labels: what stands before the last ":", or before an underscore where
what follows is the label of a landmark and the whole is not. No person's marker is ever filled from another's.
"""

import dataclasses
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from biomechgpt_jax.biomechanics.fitting import marker_sets, synonyms
from biomechgpt_jax.biomechanics.fitting.markers import Markers
from biomechgpt_jax.biomechanics.flags import CAUTION
from biomechgpt_jax.errors import InputError

# A prefix with an underscore needs so many labels of landmarks; a group with so many, and a pelvis, is a person.
_FEWEST_SHARED = 3
_FEWEST_OF_A_PERSON = 6
# A marker counts for a person if it is seen for this share of the time that the best seen one of the file is.
_SEEN_SHARE = 0.5
# Two people of whom this share of the fuller one's landmarks is seen are both whole.
_AS_FULL = 0.95
_SEVERAL = f"{CAUTION}several people in the file"
_SIDES = frozenset(("r", "l", "d", "g", "right", "left", "droite", "droit", "gauche"))


@dataclass(frozen=True)
class Choice:
    """The person whose markers are read.

    Attributes:
        index: of the person's markers among those of the file, each label once.
        names: their labels without the prefix.
        person: the prefix; empty if the labels have none.
        others: prefixes of the other people, the fullest first; a person without a prefix is "unnamed".
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
    """The markers of one person, with labels without their prefix; a flag names the others.

    Args:
        markers: raw, as a reader of a file gives them.
        person: as in `choose`.

    Raises:
        InputError: as in `choose`.
    """
    seen_M = np.isfinite(markers.positions).all(axis=2).mean(axis=0)
    choice = choose(markers.names, seen_M, person)
    angles = {_bare(name): values for name, values in markers.angles.items() if _whose(name) in ("", choice.person)}
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


def prefixes(names: Sequence[str]) -> list[str]:
    """The prefix of each label; empty where it has none."""
    found = [_whose(name) for name in names]
    bare = [i for i, name in enumerate(names) if ":" not in name]
    whole = _known([names[i] for i in bare])
    splits = [_splits(names[i]) if not known else () for i, known in zip(bare, whole, strict=True)]
    candidates = sorted({prefix for each in splits for prefix, _ in each}, key=len)
    for prefix in candidates:
        members = [i for i, each in zip(bare, splits, strict=True) if prefix in dict(each) and not found[i]]
        known = _known([names[i][len(prefix) + 1 :] for i in members])
        if sum(known) >= _FEWEST_SHARED:
            for i in members:
                found[i] = prefix
    return found


def _splits(name: str) -> tuple[tuple[str, str], ...]:
    """Prefix and rest of a label at each of its underscores; a side is no prefix."""
    places = [i for i, letter in enumerate(name) if letter == "_" and 0 < i < len(name) - 1]
    pairs = ((name[:i].strip(), name[i + 1 :]) for i in places)
    return tuple((prefix, rest) for prefix, rest in pairs if prefix.casefold() not in _SIDES)


def _known(names: Sequence[str]) -> list[bool]:
    """Whether each label is that of a landmark in any marker set or of a keypoint."""
    folded = [synonyms.fold(name) for name in names]
    file = frozenset(folded)
    return [any(table.landmark(label, file) for table in marker_sets.tables()) for label in folded]


def choose(names: Sequence[str], seen_M: np.ndarray, person: str = "") -> Choice:
    """The markers of the person with most landmarks, or of the one who is named.

    Args:
        names: all labels of the file, with their prefixes.
        seen_M: f[M] share of the frames in which each marker is seen.
        person: prefix of the person to read, in any case of letters; empty for the fullest one.

    Raises:
        InputError: the file holds nobody of this name, or two whole people and none is named.
    """
    groups: dict[str, list[int]] = {}
    for i, prefix in enumerate(prefixes(names)):
        groups.setdefault(prefix, []).append(i)
    enough_M = np.asarray(seen_M) > _SEEN_SHARE * max(float(np.max(seen_M, initial=0.0)), 1e-9)
    bare = [_without(name, prefix) for prefix, name in zip(prefixes(names), names, strict=True)]
    marks = {prefix: _marks([bare[i] for i in group], enough_M[group]) for prefix, group in groups.items()}
    people = [
        prefix
        for prefix in groups
        if len(marks[prefix]) >= _FEWEST_OF_A_PERSON and marker_sets.has_pelvis(marks[prefix])
    ]
    people.sort(key=lambda prefix: (-len(marks[prefix]), -float(np.mean(np.asarray(seen_M)[groups[prefix]]))))
    if person:
        chosen = _named(person, groups, people)
    else:
        whole = [prefix for prefix in people if marker_sets.sizes_a_body(marks[prefix])]
        full = [prefix for prefix in whole if len(marks[prefix]) >= _AS_FULL * len(marks[whole[0]])]
        if len(full) > 1:
            shown = [prefix or "one without a name" for prefix in full]
            name = next(prefix for prefix in full if prefix)
            raise InputError(
                f"holds {len(full)} whole people, {' and '.join(shown)}; choose one with --person, such as "
                f"--person {_quoted(name)}"
            )
        if not people:  # nobody: prefixes tell nothing apart
            index = _each_once(list(range(len(names))), bare, np.asarray(seen_M))
            return Choice(tuple(index), tuple(bare[i] for i in index))
        chosen = (full or people)[0]
    index = _each_once(groups[chosen], bare, np.asarray(seen_M))
    if not person and not marker_sets.sizes_a_body(marks[chosen]):
        index = _joined(index, groups, bare, marks, np.asarray(seen_M))
    others = tuple(prefix or "unnamed" for prefix in people if prefix != chosen)
    return Choice(tuple(index), tuple(bare[i] for i in index), chosen, others)


def _whose(name: str) -> str:
    return name.rpartition(":")[0].strip()


def _bare(name: str) -> str:
    return name.rpartition(":")[2].strip()


def _without(name: str, prefix: str) -> str:
    return _bare(name) if ":" in name or not prefix else name[len(prefix) + 1 :].strip()


def _marks(names: Sequence[str], enough: np.ndarray) -> set[str]:
    """Landmarks that a group of markers shows."""
    _, chosen = marker_sets.recognise(names, list(enough))
    return {mark for i, mark in chosen.items() if enough[i]}


def _named(person: str, groups: dict[str, list[int]], people: list[str]) -> str:
    found = [prefix for prefix in groups if prefix.casefold() == person.strip().casefold()]
    if found:
        return found[0]
    there = [prefix for prefix in people if prefix]
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
    """The markers of the only person in a file, with those that lack the prefix if both together are one body.

    Labels added by hand often lack it. Two groups that share a landmark are two people.
    """
    if len(groups) != 2 or "" not in groups:
        return index
    one, other = marks.values()
    both = _each_once(sorted(i for group in groups.values() for i in group), bare, seen_M)
    repeated = max(Counter(bare[i] for group in groups.values() for i in group).values()) > 1
    return both if not repeated and not one & other and marker_sets.sizes_a_body(one | other) else index
