"""Split by participant, and check that nobody is in two splits."""

import hashlib
from collections.abc import Iterable, Mapping
from typing import Any

from biomechgpt_jax.biomechanics.trajectory import Trial
from biomechgpt_jax.errors import InputError

SPLITS = ("train", "validation", "test")
_PERCENT = {"train": 75, "validation": 5, "test": 20}


def split_of(participant: str) -> str:
    """The split of a participant: 75 % train, 5 % validation, 20 % test, by a hash of the id alone.

    A participant stays in the same split whoever the other participants of the dataset are.
    """
    place = int.from_bytes(hashlib.sha256(participant.encode()).digest()[:8], "little") % 100
    for split, percent in _PERCENT.items():
        if place < percent:
            return split
        place -= percent
    raise AssertionError("the percentages add up to 100")


def count(participants: Iterable[str]) -> dict[str, int]:
    """The number of participants in each split."""
    chosen = [split_of(participant) for participant in participants]
    return {split: chosen.count(split) for split in SPLITS}


def remedy(split: str, synthetic: bool) -> str:
    """How to get people into a split that lacks them, as the last part of a message."""
    share = f"{_PERCENT[split]} % of the participants are in it, chosen by a hash of their ids"
    if synthetic:
        return f"simulate more participants (cohort.participants): {share}"
    return (
        f"import recordings of more participants: {share}. Without labels all files of a folder are of one participant;"
        " the column participant of --labels tells them apart"
    )


def warnings(facts: Mapping[str, Any]) -> list[str]:
    """One line for each of the training and test splits of a `movements` dataset that has no participants."""
    people, synthetic = facts.get("splits", {}), facts.get("synthetic", True)
    return [
        f"nobody is in the {split} split, and {stage} needs somebody there; {remedy(split, synthetic)}"
        for split, stage in (("train", "tokenizer"), ("test", "evaluate"))
        if people.get(split) == 0
    ]


class LeakCheck:
    """Refuses a dataset in which a participant, a latent of the generator or a recording is in two splits."""

    def __init__(self) -> None:
        self._seen: dict[tuple[str, object], tuple[str, str]] = {}

    def add(self, split: str, trial: Trial) -> None:
        """Note that a trial is in a split.

        Raises:
            InputError: the trial names no participant, or something that identifies the person is in another split.
        """
        if not trial.participant:
            raise InputError(f"trial {trial.trial_id} names no participant; splits are by participant: give each an id")
        coordinates = trial.trajectory.coordinates
        self._note("participant", trial.participant, split, trial)
        # A latent drawn from a continuum belongs to one person; its ends (healthy, most severe) belong to many.
        if 0.0 < trial.severity < 1.0:
            self._note("latent severity", trial.severity, split, trial)
        self._note("recording", hashlib.sha256(coordinates.tobytes()).digest(), split, trial)

    def _note(self, what: str, value: object, split: str, trial: Trial) -> None:
        known_split, known_trial = self._seen.setdefault((what, value), (split, trial.trial_id))
        if known_split != split:
            raise InputError(
                f"leak: trial {trial.trial_id} ({split}) and trial {known_trial} ({known_split}) have the same {what};"
                " give everything of one person the same participant id"
            )


def check(trials: Mapping[str, Iterable[Trial]]) -> None:
    """Check a whole dataset, given as trials by split.

    Raises:
        InputError: a participant, a latent or a recording is in two splits.
    """
    leaks = LeakCheck()
    for split, members in trials.items():
        for trial in members:
            leaks.add(split, trial)
