"""A laboratory's own healthy recordings: the constant offsets of its measurement system, estimated to take them out.

The mean posture of the laboratory's people differs from that of the cohort's healthy people performing the same
activity, because the system measures differently and because people differ. The offsets are the best linear unbiased
prediction (Henderson 1975, Biometrics 31:423) of the first: S (S + C / n)^-1 d, where d is the median difference over n
people, S the covariance of offsets between systems (`biomechanics.systems`) and C that of mean postures between healthy
people. Few people shrink the offsets; both sides, and joints that follow the plane of the pelvis, are weighed together.
"""

import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from biomechgpt_jax.biomechanics import flags, systems
from biomechgpt_jax.biomechanics.skeleton import COORDINATES, MIRROR_PERMUTATION, MIRROR_SIGN
from biomechgpt_jax.biomechanics.systems import System
from biomechgpt_jax.biomechanics.trajectory import Trajectory, Trial, replace
from biomechgpt_jax.data import importing, labels, movements, store
from biomechgpt_jax.errors import InputError

# Activities in which healthy people hold themselves alike. In others (squats, chair rises) arms and trunk are a matter
# of habit, which would be taken for an offset.
COMPARABLE = ("walking", "standing balance")
LABELS = "labels.csv"
FEWEST_REFERENCES = 8
# Variance of a median of normal variables, relative to their mean's.
_MEDIAN = np.pi / 2
# Standard deviation of a mean posture that is taken for granted, so that C can be inverted.
_LEAST_RAD = np.radians(0.5)


@dataclass(frozen=True)
class Reference:
    """Mean postures of healthy people performing one activity.

    Attributes:
        mean: f64[40] as of `systems.posture`.
        covariance: f64[40, 40] between people.
    """

    mean: np.ndarray
    covariance: np.ndarray


@dataclass(frozen=True)
class Normals:
    """A laboratory's system as its own healthy people show it.

    Attributes:
        offset: f32[40] radians, what the system adds; 0 where it is unknown.
        people, recordings: how many it was estimated from.
        trials: the recordings themselves, as the system measured them.
        references: what they are compared with, by activity.
        unread: a line for each file that could not be read.
    """

    offset: np.ndarray
    people: int
    recordings: int
    trials: tuple[Trial, ...] = ()
    references: Mapping[str, Reference] = field(default_factory=dict)
    unread: tuple[str, ...] = ()

    @property
    def correction(self) -> System:
        """The system that takes the offsets out again."""
        return System(-self.offset)

    def take_out(self, trajectory: Trajectory) -> Trajectory:
        """The recording without the system's offsets."""
        moved = self.correction.apply(trajectory.coordinates, trajectory.observed)
        return replace(trajectory, coordinates=moved)

    def without(self, participant: str) -> "Normals":
        """What the others show; everybody, where there is nobody else."""
        others = [trial for trial in self.trials if trial.participant != participant]
        return estimate(others, self.references) if others else self

    def words(self) -> str:
        """What is taken out, on one line, and the files that could not be read on further ones."""
        people = f"{self.people} {'person' if self.people == 1 else 'people'}"
        recordings = f"{self.recordings} recording{'s' * (self.recordings != 1)}"
        taken = ", ".join(systems.largest(self.offset, 4)) or "nothing"
        return "\n".join([f"normals: {people}, {recordings}; taken out (degrees): {taken}", *self.unread])

    def facts(self) -> dict[str, Any]:
        """JSON-able, for the metadata of what was corrected."""
        degrees = {name: round(float(np.degrees(x)), 2) for name, x in zip(COORDINATES, self.offset, strict=True) if x}
        return {"people": self.people, "recordings": self.recordings, "offsets_deg": degrees}


def references(movements_dir: Path) -> dict[str, Reference]:
    """Mean postures of the healthy training people of a dataset, by activity; without those of too few people.

    Raises:
        InputError: there is no such dataset, or it has too few healthy people for any of `COMPARABLE`.
    """
    if not store.is_dataset(movements_dir):
        raise InputError(
            f"{movements_dir} is no dataset; normals are compared with the healthy people of a run: give --workdir"
        )
    found = from_trials(movements.read(movements_dir, "train"))
    if not found:
        raise InputError(
            f"{movements_dir} has fewer than {FEWEST_REFERENCES} healthy training people who walk or stand; name "
            "another run by --workdir"
        )
    return found


def from_trials(trials: Iterable[Trial]) -> dict[str, Reference]:
    """`references` of some trials; those of other activities or of patients are passed over."""
    by_person: dict[str, dict[str, list[np.ndarray]]] = {}
    for trial in trials:
        trajectory = trial.trajectory
        if trial.diagnosis == "healthy" and trajectory.metadata.activity in COMPARABLE:
            people = by_person.setdefault(trajectory.metadata.activity, {})
            posture = systems.posture(trajectory.coordinates, trajectory.observed)
            people.setdefault(trial.participant, []).append(posture)
    return {
        activity: _reference(list(people.values()))
        for activity, people in by_person.items()
        if len(people) >= FEWEST_REFERENCES
    }


def estimate(recordings: Sequence[Trial], known: Mapping[str, Reference]) -> Normals:
    """Estimate a system's offsets from healthy people's recordings.

    Args:
        recordings: at least one, each of an activity in `known`.
    """
    by_person: dict[str, list[np.ndarray]] = {}
    for trial in recordings:
        trajectory = trial.trajectory
        difference = systems.posture(trajectory.coordinates, trajectory.observed)
        difference -= known[trajectory.metadata.activity].mean
        by_person.setdefault(trial.participant, []).append(difference)
    differences = _person_means(list(by_person.values()))
    count = np.isfinite(differences).sum(axis=0)
    seen = np.flatnonzero(count)
    offset = np.zeros(len(COORDINATES), np.float32)
    if len(seen):
        activities = [trial.trajectory.metadata.activity for trial in recordings]
        between_people = np.mean([known[activity].covariance for activity in activities], axis=0)
        effective = np.where(count > 2, count / _MEDIAN, count)[seen]
        block = np.ix_(seen, seen)
        between_systems = systems.covariance()[block]
        noise = between_people[block] / np.sqrt(np.outer(effective, effective))
        median = np.nanmedian(differences[:, seen], axis=0)
        offset[seen] = between_systems @ np.linalg.solve(between_systems + noise, median)
    return Normals(offset, len(by_person), len(recordings), tuple(recordings), known)


def of_folder(directory: Path, movements_dir: Path) -> Normals:
    """Estimate the offsets of a laboratory's system from a folder of its own healthy recordings.

    The files show level walking, and those of one folder one person, unless `labels.csv` in the directory says
    otherwise (the format of `import --labels`). A file that cannot be read is named in `unread`.

    Args:
        directory: the folder.
        movements_dir: the dataset whose healthy people are the reference.

    Raises:
        InputError: the folder has no motion file or none that can be read, a file shows another activity or a patient,
            or the reference cannot be used.
    """
    importing.files_in(directory)
    known = references(movements_dir)
    table = directory / LABELS
    given = labels.read(table) if table.is_file() else {}
    outcomes = importing.read_folder(directory, given, 1, lambda outcome: None, anyway=True)
    recordings = [_healthy(directory, outcome.trial, known) for outcome in outcomes if outcome.trial is not None]
    if not recordings:
        first = outcomes[0]
        raise InputError(
            f"--normals {directory}: none of its {len(outcomes)} motion files can be read; {first.file}: {first.reason}"
        )
    unread = [f"normals: {one.file} left out: {one.reason}" for one in outcomes if one.trial is None]
    return dataclasses.replace(estimate(recordings, known), unread=tuple(unread))


def _healthy(directory: Path, trial: Trial, known: dict[str, Reference]) -> Trial:
    """The recording of a healthy person with its activity, which is walking unless it is labelled."""
    metadata = trial.trajectory.metadata
    activity = metadata.activity or "walking"
    impossible = flags.impossible(metadata.flags)
    if impossible:
        raise InputError(f"--normals {directory}: {trial.trial_id}: {impossible[0]}; mend the file, or take it away")
    if trial.diagnosis not in ("", "healthy"):
        raise InputError(f"--normals {directory}: {trial.trial_id} is of {trial.diagnosis}; give healthy people's only")
    if activity not in known:
        raise InputError(
            f"--normals {directory}: {trial.trial_id} shows {activity}; give recordings of {' or '.join(known)} "
            f"and name the activity in {LABELS} (columns file, activity)"
        )
    moved = replace(trial.trajectory, metadata=dataclasses.replace(metadata, activity=activity))
    return Trial(trial.trial_id, moved, diagnosis="healthy")


def _person_means(by_person: Sequence[Sequence[np.ndarray]]) -> np.ndarray:
    """Mean posture of each person over recordings, f64[people, 40]; NaN where none of them observes a coordinate."""
    found = np.full((len(by_person), len(COORDINATES)), np.nan)
    for row, postures in enumerate(by_person):
        stacked = np.array(postures)
        seen = np.isfinite(stacked)
        count = seen.sum(axis=0)
        total = np.where(seen, stacked, 0.0).sum(axis=0)
        found[row, count > 0] = total[count > 0] / count[count > 0]
    return found


def _reference(by_person: Sequence[Sequence[np.ndarray]]) -> Reference:
    """The mean and covariance of people and their mirror images, so that both sides are the same."""
    people = _person_means(by_person)
    both = np.concatenate([people, people[:, MIRROR_PERMUTATION] * MIRROR_SIGN])
    known = np.isfinite(both)
    count = known.sum(axis=0)
    mean = np.where(count > 0, np.where(known, both, 0.0).sum(axis=0) / np.maximum(count, 1), np.nan)
    away = np.where(known, both - mean, 0.0)
    pairs = known.T.astype(float) @ known
    covariance = away.T @ away / np.maximum(pairs - 1, 1) + _LEAST_RAD**2 * np.eye(len(mean))
    return Reference(mean, covariance)
