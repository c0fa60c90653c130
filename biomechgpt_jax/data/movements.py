"""The `movements` dataset: one record per trial, with its labels and measured truth."""

import json
import math
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np

from biomechgpt_jax.biomechanics.skeleton import COORDINATE_COUNT
from biomechgpt_jax.biomechanics.trajectory import Contacts, Metadata, Score, Trajectory, Trial
from biomechgpt_jax.data import splits, store
from biomechgpt_jax.errors import InputError

_TEXT = ("trial_id", "participant", "activity", "side", "sex", "source", "sha256", "flags", "diagnosis", "device")
_NUMBERS = ("rate_hz", "height_m", "mass_kg", "age", "severity", "falls")
FEATURES: dict[str, Any] = {
    **dict.fromkeys(_TEXT, "text"),
    **{name: ((), np.float64) for name in _NUMBERS},
    "coordinates": ((None, COORDINATE_COUNT), np.float32),
    "clean": ((None, COORDINATE_COUNT), np.float32),
    "observed": ((COORDINATE_COUNT,), np.bool_),
    "strike_time": ((None,), np.float32),
    "strike_foot": ((None,), np.int32),
    "strike_xz": ((None, 2), np.float32),
    "off_time": ((None,), np.float32),
    "off_foot": ((None,), np.int32),
    "defining": ((None, 2), np.float32),
    "throughout": ((), np.bool_),
    "score_names": "text",
    "scores": ((None, 3), np.float64),  # value, start, end in seconds
}


def record(trial: Trial) -> store.Record:
    """The stored record of a trial."""
    meta, contacts = trial.trajectory.metadata, trial.contacts
    return {
        "trial_id": trial.trial_id,
        "participant": meta.participant,
        "activity": meta.activity,
        "side": meta.side,
        "sex": meta.sex,
        "source": meta.source,
        "sha256": meta.sha256,
        "flags": json.dumps(meta.flags),
        "diagnosis": trial.diagnosis,
        "device": trial.device,
        "rate_hz": np.float64(trial.trajectory.rate_hz),
        "height_m": np.float64(meta.height_m),
        "mass_kg": np.float64(meta.mass_kg),
        "age": np.float64(meta.age),
        "severity": np.float64(trial.severity),
        "falls": np.float64(trial.falls),
        "coordinates": np.asarray(trial.trajectory.coordinates, np.float32),
        "clean": np.asarray(trial.clean, np.float32),
        "observed": np.asarray(trial.trajectory.observed, bool),
        "strike_time": np.asarray(contacts.strike_time, np.float32),
        "strike_foot": np.asarray(contacts.strike_foot, np.int32),
        "strike_xz": np.asarray(contacts.strike_xz, np.float32).reshape(-1, 2),
        "off_time": np.asarray(contacts.off_time, np.float32),
        "off_foot": np.asarray(contacts.off_foot, np.int32),
        "defining": np.asarray(trial.defining, np.float32).reshape(-1, 2),
        "throughout": np.bool_(trial.throughout),
        "score_names": json.dumps(list(trial.scores)),
        "scores": np.array([[s.value, s.start_s, s.end_s] for s in trial.scores.values()], np.float64).reshape(-1, 3),
    }


def _trial(record: store.Record) -> Trial:
    # Datasets of older versions lack this field; in those, only imported recordings have no severity.
    if "throughout" not in record:
        record = {**record, "throughout": not math.isfinite(record.get("severity", math.nan))}
    missing = sorted(FEATURES.keys() - record.keys())
    if missing:
        raise InputError(
            f"the movements dataset has no {', '.join(missing)}: an older version wrote it; "
            "write it again with `run` or `import`"
        )
    text = {name: _decode(record[name]) for name in (*_TEXT, "score_names")}
    metadata = Metadata(
        participant=text["participant"],
        activity=text["activity"],
        side=text["side"],
        height_m=float(record["height_m"]),
        mass_kg=float(record["mass_kg"]),
        age=float(record["age"]),
        sex=text["sex"],
        source=text["source"],
        sha256=text["sha256"],
        flags=tuple(json.loads(text["flags"])),
    )
    names = json.loads(text["score_names"])
    return Trial(
        text["trial_id"],
        Trajectory(record["coordinates"], record["observed"], float(record["rate_hz"]), metadata),
        diagnosis=text["diagnosis"],
        device=text["device"],
        severity=float(record["severity"]),
        contacts=Contacts(
            *(record[name] for name in ("strike_time", "strike_foot", "strike_xz", "off_time", "off_foot"))
        ),
        defining=record["defining"],
        throughout=bool(record["throughout"]),
        scores={name: Score(*map(float, row)) for name, row in zip(names, record["scores"], strict=True)},
        falls=float(record["falls"]),
        clean=record["clean"],
    )


def _decode(value: Any) -> str:
    return value.decode() if isinstance(value, bytes) else str(value)


def write(trials: Iterable[Trial], directory: Path, facts: dict[str, Any]) -> str:
    """Write trials, split by participant; returns the digest.

    Trials, participants, hours and splits (participants in each) are added to the metadata. All records are held in
    memory until they are written, some 40 MB per hour of movement; use `beam.write` for a cohort of hundreds of hours.

    Raises:
        InputError: two trials have the same id, or a participant is in two splits.
    """
    records: dict[str, list[tuple[str, store.Record]]] = {split: [] for split in splits.SPLITS}
    hours, people = 0.0, set[str]()
    leaks, ids = splits.LeakCheck(), set[str]()
    for trial in trials:
        split = splits.split_of(trial.participant)
        leaks.add(split, trial)
        if trial.trial_id in ids:
            raise InputError(f"two trials are called {trial.trial_id}; give each an id of its own")
        ids.add(trial.trial_id)
        records[split].append((trial.trial_id, record(trial)))
        hours += trial.trajectory.seconds / 3600
        people.add(trial.participant)
    count = sum(map(len, records.values()))
    filled = {split: rows for split, rows in records.items() if rows}
    counted = {"trials": count, "participants": len(people), "hours": round(hours, 3), "splits": splits.count(people)}
    facts = {**facts, **counted}
    return store.write(directory, "movements", FEATURES, filled, facts)


def read(directory: Path, split: str) -> store.Source:
    """The trials of one split as a sequence of `Trial`, read on access."""
    return store.source(directory, split, _trial)


def read_other_people(people: Path, known: Path) -> list[Trial]:
    """All trials of a dataset, `--people`, that shares no participant with the training split of another one.

    Raises:
        InputError: a participant of the dataset is in that training split.
    """
    trials = [trial for split in splits.SPLITS for trial in read(people, split)]
    trained = {trial.participant for trial in read(known, "train")}
    shared = sorted(trained & {trial.participant for trial in trials})
    if shared:
        raise InputError(
            f"--people {people}: participant {shared[0]} is in the training split of {known}; "
            "simulate people with another seed (configs/development.py)"
        )
    return trials
