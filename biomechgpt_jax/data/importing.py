"""Import a folder of motion files as a `movements` dataset: read in parallel, reported file by file."""

import dataclasses
import math
import multiprocessing
import sys
import unicodedata
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from biomechgpt_jax.biomechanics import flags
from biomechgpt_jax.biomechanics.fitting import people
from biomechgpt_jax.biomechanics.systems import System
from biomechgpt_jax.biomechanics.trajectory import FRAGMENT, Contacts, Metadata, Score, Trial
from biomechgpt_jax.config import Pack
from biomechgpt_jax.data import movements, splits, store
from biomechgpt_jax.data.label_use import LabelUse
from biomechgpt_jax.data.labels import Labels
from biomechgpt_jax.data.labels import read as read_labels
from biomechgpt_jax.errors import InputError
from biomechgpt_jax.questions import truth

# A movement shorter than this answers no question.
SHORTEST_S = 0.5
_LONGEST_TEST_S = Pack().longest_crop_s


@dataclass(frozen=True)
class Outcome:
    """The result of reading one file: a trial, or the reason why there is none."""

    file: str
    trial: Trial | None
    reason: str = ""

    def line(self) -> str:
        """The outcome as one line of text."""
        if self.trial is None:
            return f"left out  {self.file}: {self.reason}"
        trajectory = self.trial.trajectory
        raised = ", ".join(trajectory.metadata.flags)
        seen = f"{int(trajectory.observed.sum())} of {len(trajectory.observed)} coordinates"
        return f"read      {self.file}: {trajectory.seconds:.1f} s, {seen}" + (f" ({raised})" if raised else "")


def import_folder(
    directory: Path,
    out: Path,
    labels: Path | None,
    workers: int,
    correction: System | None = None,
    facts: Mapping[str, Any] | None = None,
    anyway: bool = False,
) -> dict[str, Any]:
    """Read a folder of motion files into a `movements` dataset; each file's outcome goes to standard error.

    Args:
        out: destination of the dataset. As `movements` of a working directory it replaces a simulated cohort.
        labels: CSV of `data.labels`, or None.
        correction: applied to each recording before anything is measured in it, as `data.normals` estimates it.
        facts: added to the metadata of the dataset.
        anyway: as in `read_folder`.

    Returns:
        {"files": [{"file", "read", "reason", "flags"}], "labels": report of `LabelUse`: what the labels can answer,
        "dataset": facts of the dataset}.

    Raises:
        InputError: no file could be read, or the labels cannot be used; then nothing is written.
    """
    if out.exists() and not (out.is_dir() and (store.is_dataset(out) or not any(out.iterdir()))):
        raise InputError(f"--out {out} exists and is not a dataset; give a path that is free")
    known = read_labels(labels) if labels else {}

    def report(outcome: Outcome) -> None:
        print(outcome.line(), file=sys.stderr, flush=True)

    outcomes = read_folder(directory, known, workers, report, correction, anyway)
    trials = [outcome.trial for outcome in outcomes if outcome.trial is not None]
    if not trials:
        raise InputError(f"{directory}: none of its {len(outcomes)} motion files could be read; the reasons are above")
    movements.write(trials, out, {"synthetic": False, **(facts or {})})
    files = [
        {
            "file": outcome.file,
            "read": outcome.trial is not None,
            "reason": outcome.reason,
            "flags": list(outcome.trial.trajectory.metadata.flags) if outcome.trial else [],
        }
        for outcome in outcomes
    ]
    use = LabelUse()
    for outcome in outcomes:
        given = known.get(outcome.file, Labels()).questions
        use.add(outcome.file, given, _can_be_asked(outcome.trial), partial(_why_not_asked, outcome))
    written = store.metadata(out)
    for line in (*(f"labels    {line}" for line in use.lines()), *splits.warnings(written)):
        print(line, file=sys.stderr, flush=True)
    return {"files": files, "labels": use.report(), "dataset": written}


def summary(imported: dict[str, Any], out: Path) -> str:
    """Summarize on one line what `import_folder` returned."""
    facts, labelled = imported["dataset"], imported["labels"]
    use = f"; {labelled['asked']} of {labelled['given']} labels can become questions" if labelled["given"] else ""
    people = ", ".join(f"{count} {split}" for split, count in facts["splits"].items())
    return (
        f"{facts['trials']} of {len(imported['files'])} files: {facts['participants']} participants ({people}), "
        f"{facts['hours']:.2f} h, in {out}{use}"
    )


def _can_be_asked(trial: Trial | None) -> set[str]:
    """Labels of a file that can become questions, with crops of the default length."""
    if trial is None:
        return set()
    usable = truth.labels(trial).keys() - truth.unanswerable(trial.trajectory.observed)
    return usable if trial.trajectory.seconds <= _LONGEST_TEST_S else usable - trial.scores.keys()


def _why_not_asked(outcome: Outcome, name: str) -> str:
    """Why a label of a file cannot become a question."""
    if outcome.trial is None:
        return outcome.reason
    if name in truth.unanswerable(outcome.trial.trajectory.observed):
        return "pelvis_tx or pelvis_tz is not recorded"
    if name not in truth.labels(outcome.trial):
        return (
            f"only {outcome.trial.trajectory.seconds:.1f} s of it can be used, between gaps and jumps, and a test is "
            "asked only of a recording that holds it whole"
        )
    return (
        f"it lasts {outcome.trial.trajectory.seconds:.1f} s; a test is asked only of crops that hold it whole, and "
        f"they last at most {_LONGEST_TEST_S:g} s unless pack.longest_crop_s says otherwise"
    )


def files_in(directory: Path) -> list[Path]:
    """Every motion file below a directory, sorted by name; hidden files are ignored.

    Raises:
        InputError: the path is not a directory, or it holds no motion file.
    """
    from biomechgpt_jax import formats

    if not directory.is_dir():
        what = "is a file" if directory.exists() else "does not exist"
        raise InputError(f"{directory} {what}; give a directory of motion files")
    files = [
        path
        for path in sorted(directory.rglob("*"))
        if path.is_file()
        and formats.is_motion(path)
        and not any(part.startswith(".") for part in path.relative_to(directory).parts)
    ]
    if not files:
        raise InputError(f"{directory} holds no motion file; readable are {', '.join(formats.READABLE)}")
    return files


def read_folder(
    directory: Path,
    labels: Mapping[str, Labels],
    workers: int,
    report: Callable[[Outcome], None],
    correction: System | None = None,
    anyway: bool = False,
) -> list[Outcome]:
    """Read every motion file below a directory; a bad one, or one whose pose is no person's, is reported and left out.

    Args:
        labels: the labels of each file, by its path within the directory (`data.labels.read`); a file that they name as
            the static trial of others is left out, unless it has labels itself.
        workers: number of reader processes; with 1, this process reads.
        report: called with each outcome, in name order.
        correction: applied to each recording as read.
        anyway: keep the files whose pose is no person's (`biomechanics.flags`), too.

    Returns:
        One outcome per file that is read or left out for a reason, in name order.
    """
    paths = files_in(directory)
    names = [path.relative_to(directory).as_posix() for path in paths]
    # File systems and spreadsheets may compose the same letters differently.
    composed = {unicodedata.normalize("NFC", name): name for name in names}

    def as_here(name: str) -> str:
        return name if name in names else composed.get(unicodedata.normalize("NFC", name), name)

    labels = {as_here(name): dataclasses.replace(given, static=as_here(given.static)) for name, given in labels.items()}
    statics = {given.static for given in labels.values()} - {""}
    for lacking in sorted(statics - set(names)):
        raise InputError(
            f"the labels name {lacking} as a static trial, which is no motion file in {directory}; correct the column "
            "static"
        )
    unknown = sorted(set(labels) - set(names))
    if unknown:
        raise InputError(
            f"the labels name {unknown[0]}, which is not a motion file in {directory}; correct the path (column file)"
        )
    # A static trial is no movement to learn from, unless the labels say what it is.
    names = [name for name in names if name in labels or name not in statics]
    jobs = [(directory, name, labels.get(name, Labels()), correction, anyway) for name in names]
    outcomes = []
    for outcome in map(_read_one, jobs) if workers == 1 else _in_parallel(jobs, workers):
        report(outcome)
        outcomes.append(outcome)
    return outcomes


_Job = tuple[Path, str, Labels, System | None, bool]


def _in_parallel(jobs: Sequence[_Job], workers: int) -> Iterator[Outcome]:
    """Outcomes in the order of the jobs. A reader that crashes ends its process, but never the import."""
    done = 0
    while done < len(jobs):
        with _pool(min(workers, len(jobs) - done)) as pool:
            try:
                for outcome in pool.map(_read_one, jobs[done:]):
                    yield outcome
                    done += 1
                return
            except BrokenProcessPool:
                pass
        # Which file crashed its reader is not known, so the next one is read in a separate process.
        with _pool(1) as pool:
            try:
                yield pool.submit(_read_one, jobs[done]).result()
            except BrokenProcessPool:
                yield Outcome(jobs[done][1], None, "its reader died; the file is damaged or needs too much memory")
        done += 1


def _pool(workers: int) -> ProcessPoolExecutor:
    # Spawn, do not fork: jax runs threads, and a fork would copy their locks.
    return ProcessPoolExecutor(workers, mp_context=multiprocessing.get_context("spawn"))


def _read_one(job: _Job) -> Outcome:
    directory, name, *_ = job
    try:
        return Outcome(name, _trial(*job))
    except InputError as error:
        return Outcome(name, None, str(error).removeprefix(f"{directory / name}").lstrip(": "))
    except Exception as error:  # an unforeseen failure of a reader is reported and must not end the import
        return Outcome(name, None, f"reading failed: {type(error).__name__}: {error}")


def _trial(directory: Path, name: str, labels: Labels, correction: System | None, anyway: bool) -> Trial:
    from biomechgpt_jax import formats
    from biomechgpt_jax.biomechanics import preprocess
    from biomechgpt_jax.biomechanics.gait import measured

    static = directory / labels.static if labels.static else None
    recorded = formats.record(directory / name, static=static, person=labels.person).trajectory
    refused = flags.impossible(recorded.metadata.flags)
    if refused and not anyway:
        raise InputError(f"{refused[0]}; --anyway imports it all the same")
    if correction is not None:
        moved = correction.apply(recorded.coordinates, recorded.observed)
        recorded = dataclasses.replace(recorded, coordinates=moved)
    if recorded.seconds < SHORTEST_S:
        raise InputError(f"it lasts {recorded.seconds:.2f} s; at least {SHORTEST_S} s are needed")
    prepared = preprocess.prepare([recorded])[0]
    trajectory = prepared.trajectory
    if trajectory.seconds < SHORTEST_S:
        raise InputError(
            f"{trajectory.seconds:.2f} s of it can be used, between gaps and jumps; {SHORTEST_S} s are needed"
        )
    known = _metadata(trajectory.metadata, labels, _participant(directory, name))
    # Legs that were measured say more than the stature that a label gives.
    told = math.isfinite(known.height_m) and not math.isfinite(known.leg_height_m)
    found = measured.measure(recorded, prepared, known.height_m if told else None)
    contacts = (
        found.walk.contacts if found.walk else Contacts()
    )  # of a run, a jump or no person's pose, none are learnt
    if found.walk and found.walk.single_stride:
        known = dataclasses.replace(known, flags=(*known.flags, "single-stride"))
    trajectory = dataclasses.replace(trajectory, metadata=known)
    seconds = (trajectory.frames - 1) / trajectory.rate_hz
    whole = FRAGMENT not in known.flags
    return Trial(
        trial_id=name,
        trajectory=trajectory,
        diagnosis=labels.diagnosis,
        device=labels.device,
        contacts=contacts,
        # The labels apply to the whole file.
        defining=np.array([[0.0, seconds]], np.float32),
        throughout=True,
        scores={question: Score(value, 0.0, seconds) for question, value in labels.scores.items() if whole},
        falls=labels.falls,
    )


def _participant(directory: Path, name: str) -> str:
    """Without labels, all files of a folder are attributed to one person, so that nobody can be in two splits."""
    folder = Path(name).parent.as_posix()
    return directory.resolve().name if folder == "." else folder


def _metadata(recorded: Metadata, labels: Labels, folder: str) -> Metadata:
    """The metadata of a recording; labels override the file's own."""

    def prefer(label: float, from_file: float) -> float:
        return label if math.isfinite(label) else from_file

    return dataclasses.replace(
        recorded,
        participant=labels.participant or folder,
        activity=labels.activity or recorded.activity,
        side=labels.side or recorded.side,
        height_m=prefer(labels.height_m, recorded.height_m),
        mass_kg=prefer(labels.mass_kg, recorded.mass_kg),
        age=prefer(labels.age, recorded.age),
        sex=labels.sex or recorded.sex,
        flags=people.without_names(recorded.flags),
    )
