"""Several people, and objects, in one file of markers: whose markers are read.

Markers belong together by the name before or behind their labels (`owners`). No person's marker is ever filled from
another's.
"""

import dataclasses
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from biomechgpt_jax.biomechanics.fitting import marker_sets, owners
from biomechgpt_jax.biomechanics.fitting.markers import Markers
from biomechgpt_jax.biomechanics.flags import CAUTION
from biomechgpt_jax.errors import InputError

# A marker counts for a person if it is seen for this share of the time that the best seen one of the file is.
_SEEN_SHARE = 0.5
# Two people of whom this share of the fuller one's landmarks is seen are both whole.
_AS_FULL = 0.95
_SEVERAL = f"{CAUTION}several people in the file"


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
    named = {name: owners.bare(name, choice.person) for name in markers.angles}
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
    labels = owners.split(names)
    for i, label in enumerate(labels):
        groups.setdefault(label.person, []).append(i)
    enough_M = np.asarray(seen_M) > _SEEN_SHARE * max(float(np.max(seen_M, initial=0.0)), 1e-9)
    bare = [label.bare for label in labels]
    marks = {name: _marks([bare[i] for i in group], enough_M[group]) for name, group in groups.items()}
    people = [name for name in groups if owners.is_person(marks[name])]
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
