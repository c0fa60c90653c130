"""Real recordings that no model was trained on: what a trained model answers about them, as counts.

    python benchmarks/real.py --workdir RUN [--labels ../shared/data/LABELS.csv] [--cache DIR] [--each] [--json]

The table names files beside it with their person, activity, whether the person is impaired (empty: acted or unknown),
and the walking speed where it is known. Activities that the run was not trained on are not counted. Whatever is fitted
to these people is fitted without the person who is asked about:

- `normals` takes out the offsets that the OTHER healthy people's walks show against the healthy people of the run
  (`data.normals`): as if all their laboratories were one, because no laboratory here has recordings of several people
  but one of two children;
- `threshold` calls a person impaired above the logit that a tenth of the other healthy people would reach
  (`answering.normal_range`) instead of above a probability of one half. With normals, each of these others is asked
  without the offsets that the rest of them show, so that nothing of the person who is judged is in it.

Two rows say whether the table of measurement systems is of the right size: the squared Mahalanobis distance, per
coordinate, of healthy real walkers' mean postures from the cohort's healthy people, once with the covariance between
people and once with that of systems added. It is 1 where they differ as much as is expected.
"""

import csv
import dataclasses
import hashlib
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from figures import Figure, parser, publish
from sklearn.metrics import roc_auc_score

from biomechgpt_jax import formats
from biomechgpt_jax.answering import normal_range
from biomechgpt_jax.biomechanics import systems
from biomechgpt_jax.biomechanics.skeleton import COORDINATES
from biomechgpt_jax.biomechanics.trajectory import Metadata, Trajectory, Trial
from biomechgpt_jax.codec.backends import MotionCodec
from biomechgpt_jax.data import movements, normals
from biomechgpt_jax.errors import InputError
from biomechgpt_jax.questions.registry import QUESTIONS
from biomechgpt_jax.questions.understanding import understand
from biomechgpt_jax.stages import ask as asking
from biomechgpt_jax.tokenizer import vocabulary
from biomechgpt_jax.workdir import Workdir

ASKED = ("activity", "impairment", "walking_speed")
# Angles that differ by what a system holds constant, rather than by people.
_NOT_COMPARED = ("pro_sup", "mtp_angle", "wrist", "neck")


@dataclass(frozen=True)
class Recording:
    """A real recording with what is known about it; an empty activity is none that the cohort has."""

    file: str
    person: str
    activity: str
    impaired: bool | None
    speed_m_s: float | None
    trajectory: Trajectory

    @property
    def trial(self) -> Trial:
        known = dataclasses.replace(self.trajectory.metadata, participant=self.person, activity=self.activity)
        return Trial(self.file, dataclasses.replace(self.trajectory, metadata=known))


@dataclass(frozen=True)
class Answer:
    """What the model says of one recording."""

    activity: str
    logit: float  # of impairment
    speed_m_s: float | None

    def line(self, recording: Recording) -> str:
        """One line beside the truth."""
        impaired = {True: "yes", False: "no", None: "?"}[recording.impaired]
        chance = 1 / (1 + np.exp(-self.logit))
        truth = "" if recording.speed_m_s is None else f"{recording.speed_m_s:.2f}"
        said = "" if self.speed_m_s is None else f"{self.speed_m_s:.2f}"
        seconds = f"{recording.trajectory.seconds:.1f} s"
        return (
            f"{recording.file:42}{seconds:>7}  {recording.activity:24}{self.activity:24}{impaired:4}{chance:5.2f}  "
            f"{truth:>5}{said:>6}"
        )


def read(labels: Path, cache: Path | None, trained: Collection[str]) -> tuple[list[Recording], int]:
    """Recordings of the table as a model sees them, and how many cannot be read.

    Args:
        trained: activities that count; those of other recordings become empty.
    """
    with labels.open(newline="") as file:
        rows = list(csv.DictReader(file))
    found = []
    for row in rows:
        trajectory = _canonical(labels.parent / row["file"], cache)
        if trajectory is not None:
            impaired = {"yes": True, "no": False}.get(row["impaired"])
            speed = float(row["walking_speed_m_s"]) if row["walking_speed_m_s"] else None
            activity = row["activity"] if row["activity"] in trained else ""
            found.append(Recording(row["file"], row["person"], activity, impaired, speed, trajectory))
    return found, len(rows) - len(found)


def _canonical(path: Path, cache: Path | None) -> Trajectory | None:
    """A file at 30 Hz, kept in a folder if one is given: inverse kinematics takes most of the time."""
    kept = None if cache is None else cache / f"{hashlib.sha256(path.read_bytes()).hexdigest()[:24]}.npz"
    if kept is not None and kept.is_file():
        with np.load(kept, allow_pickle=False) as stored:
            metadata = Metadata(source=path.name, flags=tuple(stored["flags"].tolist()))
            return Trajectory(stored["coordinates"], stored["observed"], float(stored["rate_hz"]), metadata)
    try:
        trajectory = formats.canonical(path)
    except InputError:
        return None
    if kept is not None:
        kept.parent.mkdir(parents=True, exist_ok=True)
        flags = np.array(trajectory.metadata.flags, dtype=np.str_)
        arrays = {"coordinates": trajectory.coordinates, "observed": trajectory.observed, "flags": flags}
        np.savez(kept, rate_hz=trajectory.rate_hz, **arrays)
    return trajectory


def ask(answerer: asking.Answerer, trajectory: Trajectory, names: Sequence[str] = ASKED) -> Answer:
    """Ask a model about one recording; "impairment" must be among the names."""
    wanted = [understand(QUESTIONS[name].templates[0]) for name in names]
    said = {one["name"]: one for one in asking.answer(answerer, trajectory, wanted).answers}
    logit = normal_range.logit(said["impairment"]["options"])
    speed = said.get("walking_speed", {}).get("answer")
    activity = said.get("activity", {}).get("answer", "")
    return Answer(str(activity), logit, None if speed is None else float(speed))


def healthy_walks(recordings: Sequence[Recording], without: str = "") -> list[Trial]:
    """Walks of healthy people, without one person's."""
    return [
        one.trial for one in recordings if one.activity == "walking" and one.impaired is False and one.person != without
    ]


def judge(
    name: str,
    recordings: Sequence[Recording],
    answers: Sequence[Answer],
    threshold: Callable[[str], float] | None = None,
) -> dict[str, Figure]:
    """The counts of one way of asking; `threshold` gives the logit from which a person is called impaired."""
    pairs = list(zip(recordings, answers, strict=True))
    known = [(one, said) for one, said in pairs if one.activity]
    right = sum(one.activity == said.activity for one, said in known)
    figures = {f"{name}: activity right": Figure(right, f"of {len(known)}", better="above")}
    judged = [(one, said.logit) for one, said in pairs if one.impaired is not None and one.activity]
    rules = [("", [0.0] * len(judged))]
    if threshold is not None:
        limits = {person: threshold(person) for person in {one.person for one, _ in judged}}
        rules.append((", threshold", [limits[one.person] for one, _ in judged]))
    for rule, thresholds in rules:
        called = [logit > limit for (_, logit), limit in zip(judged, thresholds, strict=True)]
        healthy = [yes for (one, _), yes in zip(judged, called, strict=True) if not one.impaired]
        impaired = [yes for (one, _), yes in zip(judged, called, strict=True) if one.impaired]
        figures[f"{name}{rule}: healthy called impaired"] = Figure(sum(healthy), f"of {len(healthy)}")
        figures[f"{name}{rule}: impaired missed"] = Figure(len(impaired) - sum(impaired), f"of {len(impaired)}")
    truth = [bool(one.impaired) for one, _ in judged]
    area = float(roc_auc_score(truth, [logit for _, logit in judged])) if 0 < sum(truth) < len(truth) else None
    people = len({one.person for one, _ in judged})
    figures[f"{name}: impairment, AUROC"] = Figure(area, better="above", note=f"{people} people, {len(judged)} files")
    errors = [
        abs(one.speed_m_s - said.speed_m_s)
        for one, said in pairs
        if one.speed_m_s is not None and said.speed_m_s is not None
    ]
    value = float(np.mean(errors)) if errors else None
    figures[f"{name}: walking speed, mean absolute error"] = Figure(value, "m/s", note=f"{len(errors)} recordings")
    return figures


def threshold_without(recordings: Sequence[Recording], person: str, logit_of: Callable[[Recording], float]) -> float:
    """The threshold that the healthy people other than `person` set."""
    by_person: dict[str, list[float]] = {}
    for one in recordings:
        if one.impaired is False and one.activity and one.person != person:
            by_person.setdefault(one.person, []).append(logit_of(one))
    return normal_range.threshold(list(by_person.values()))


def postures(recordings: Sequence[Recording], reference: normals.Reference) -> dict[str, Figure]:
    """How far real walkers stand from the cohort's healthy people, with and without systems between them."""
    figures: dict[str, Figure] = {}
    for title, impaired in (("healthy", False), ("impaired", True)):
        chosen = [one for one in recordings if one.activity == "walking" and one.impaired is impaired]
        for words, extra in (("people", 0.0), ("people and systems", 1.0)):
            covariance = reference.covariance + extra * systems.covariance()
            far = [_distance(one, reference.mean, covariance) for one in chosen]
            note = f"{min(far):.2g} to {max(far):.2g} over {len(far)} walks" if far else "there are none"
            value = float(np.median(far)) if far else None
            figures[f"{title} walkers, squared distance in SD of {words}"] = Figure(value, "a coordinate", note=note)
    return figures


def _distance(one: Recording, mean: np.ndarray, covariance: np.ndarray) -> float:
    away = systems.posture(one.trajectory.coordinates, one.trajectory.observed) - mean
    compared = np.array([not name.startswith(_NOT_COMPARED) for name in COORDINATES]) & np.isfinite(away)
    chosen = away[compared]
    return float(chosen @ np.linalg.solve(covariance[np.ix_(compared, compared)], chosen)) / len(chosen)


def estimated(reference: normals.Reference, trials: Sequence[Trial], systems_drawn: int = 20) -> dict[str, Figure]:
    """How much of drawn systems' offsets people who were not the reference leave, after they are taken out."""
    walks: dict[str, list[Trial]] = {}
    for trial in trials:
        if trial.diagnosis == "healthy" and trial.trajectory.metadata.activity == "walking":
            walks.setdefault(trial.participant, []).append(trial)
    people = list(walks.values())
    angles = [
        i for i, name in enumerate(COORDINATES) if name.startswith(("hip", "knee", "ankle", "lumbar", "pelvis_ti"))
    ]
    figures: dict[str, Figure] = {}
    rng = np.random.default_rng(0)
    for count in (1, 3, 10):
        if count > len(people):
            continue
        left, before = [], []
        for _ in range(systems_drawn):
            system = systems.System(systems.draw(rng).offset)
            chosen = [people[i] for i in rng.choice(len(people), count, replace=False)]
            seen = [_through(system, trial) for one in chosen for trial in one]
            own = normals.estimate(seen, {"walking": reference})
            known = [i for i in angles if own.offset[i]]
            left.append(np.degrees(own.offset - system.offset)[known])
            before.append(np.degrees(system.offset)[known])
        value, size = (float(np.sqrt(np.mean(np.concatenate(x) ** 2))) for x in (left, before))
        note = f"of {size:.1f} put in; pelvis, legs and trunk, {systems_drawn} systems, synthetic people held out"
        figures[f"offset left by {count} normal{'s' * (count > 1)}, RMS"] = Figure(value, "deg", note=note)
    return figures


def returned(codec: MotionCodec, trials: Sequence[Trial], frames: int = 128) -> dict[str, Figure]:
    """The share of drawn offsets that comes back from the codec: less than 1 where it takes a posture for noise.

    It is the slope of the decoded change of the mean posture on the change that was put in, over walks.
    """
    rng = np.random.default_rng(0)
    walks = [one.trajectory for one in trials if one.trajectory.metadata.activity == "walking"]
    shown = [walk.coordinates[:frames] for walk in walks[:40]]
    observed = [walk.observed for walk in walks[:40]]
    drawn = [systems.System(systems.draw(rng).offset) for _ in shown]
    shifted = [system.apply(q, seen) for system, q, seen in zip(drawn, shown, observed, strict=True)]
    before, after = (codec.decode(codec.encode(some, observed)) for some in (shown, shifted))

    def change(first: Sequence[np.ndarray], second: Sequence[np.ndarray]) -> np.ndarray:
        pairs = zip(first, second, observed, strict=True)
        return np.array([systems.posture(b, seen) - systems.posture(a, seen) for a, b, seen in pairs])

    put, back = change(shown, shifted), change(before, after)
    figures: dict[str, Figure] = {}
    for joint in ("pelvis_tilt", "hip_flexion", "hip_adduction", "knee_angle", "ankle_angle", "subtalar_angle"):
        columns = [i for i, name in enumerate(COORDINATES) if name.startswith(joint)]
        x, y = (values[:, columns][np.isfinite(put[:, columns])] for values in (put, back))
        title = f"share of an offset that comes back from the codec, {joint.replace('_', ' ')}"
        figures[title] = Figure(float((x * y).sum() / (x**2).sum()), better="above", note=f"{len(shown)} walks")
    return figures


def _through(system: systems.System, trial: Trial) -> Trial:
    trajectory = trial.trajectory
    moved = system.apply(trajectory.coordinates, trajectory.observed)
    return dataclasses.replace(trial, trajectory=dataclasses.replace(trajectory, coordinates=moved))


def main() -> None:
    """Read, ask and print."""
    command = parser(__doc__ or "")
    command.add_argument("--labels", type=Path, default=Path("../shared/data/LABELS.csv"), help="(%(default)s)")
    command.add_argument("--workdir", type=Path, default=Path("runs/quickstart"), help="a finished run (%(default)s)")
    command.add_argument("--cache", type=Path, help="a folder that keeps recordings as read, for the next time")
    command.add_argument("--each", action="store_true", help="print a line for each recording as well")
    given = command.parse_args()
    if not given.labels.is_file():
        reason = f"{given.labels} is absent: give --labels"
        publish("real", {"real recordings": Figure(None, note=reason)}, given.json)
        return
    dataset = Workdir(given.workdir).movements
    held_out = list(movements.read(dataset, "test"))
    performed = {trial.trajectory.metadata.activity for trial in held_out}
    recordings, unread = read(given.labels, given.cache, performed)
    known = normals.references(dataset)
    answerer = asking.load(given.workdir)
    figures = {"recordings": Figure(len(recordings), "files", note=f"{unread} more cannot be read")}
    plain = [ask(answerer, one.trajectory) for one in recordings]
    logits = {one.file: said.logit for one, said in zip(recordings, plain, strict=True)}
    figures |= judge(
        "as they are", recordings, plain, lambda who: threshold_without(recordings, who, lambda one: logits[one.file])
    )
    own = {person: _others(recordings, person, known) for person in {one.person for one in recordings}}
    corrected = [ask(answerer, own[one.person].take_out(one.trajectory)) for one in recordings]

    def without_both(who: str, one: Recording) -> float:
        """The logit of a recording by the normals of everybody but its person and `who`."""
        shown = own[who].without(one.person).take_out(one.trajectory)
        return ask(answerer, shown, ("impairment",)).logit

    figures |= judge(
        "normals",
        recordings,
        corrected,
        lambda who: threshold_without(recordings, who, lambda one: without_both(who, one)),
    )
    figures |= postures(recordings, known["walking"])
    figures |= estimated(known["walking"], held_out)
    figures |= returned(vocabulary.load(Workdir(given.workdir).tokenizer)[0], held_out)
    if given.each:
        for title, answers in (("as they are", plain), ("normals", corrected)):
            print(title, *(said.line(one) for one, said in zip(recordings, answers, strict=True)), "", sep="\n")
    publish("real", figures, given.json)


def _others(recordings: Sequence[Recording], person: str, known: dict[str, normals.Reference]) -> normals.Normals:
    """The normals that all healthy people but one make."""
    return normals.estimate(healthy_walks(recordings, person), known)


if __name__ == "__main__":
    main()
