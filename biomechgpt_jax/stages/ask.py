"""Answer questions about a motion file or a folder of them with a trained model."""

import dataclasses
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from biomechgpt_jax import config
from biomechgpt_jax import workdir as workdirs
from biomechgpt_jax.answering import normal_range, predict
from biomechgpt_jax.answering.answers import Answers, FileAnswers, describe
from biomechgpt_jax.answering.predictions import Prediction
from biomechgpt_jax.biomechanics.gait import measured
from biomechgpt_jax.biomechanics.skeleton import HORIZONTAL_ROOT, INDEX
from biomechgpt_jax.biomechanics.trajectory import FRAGMENT, Trajectory
from biomechgpt_jax.calibration import applied
from biomechgpt_jax.calibration.stored import UNCALIBRATED, Calibration
from biomechgpt_jax.data import normals
from biomechgpt_jax.data.importing import files_in
from biomechgpt_jax.data.normals import Normals
from biomechgpt_jax.errors import InputError
from biomechgpt_jax.files import to_json
from biomechgpt_jax.packing import crops
from biomechgpt_jax.progress import Progress
from biomechgpt_jax.questions import scope
from biomechgpt_jax.questions.registry import QUESTIONS
from biomechgpt_jax.questions.understanding import Understood, understand
from biomechgpt_jax.reports import answers as rendering
from biomechgpt_jax.stages import calibrate
from biomechgpt_jax.stages.reading import Movement, Reading
from biomechgpt_jax.tasks import base, trained
from biomechgpt_jax.tasks.id_space import IdSpace
from biomechgpt_jax.tokenizer import vocabulary
from biomechgpt_jax.workdir import Workdir

Report = Callable[[int, int, str], None]


@dataclass(frozen=True)
class Answerer:
    """A trained model with everything it needs to answer.

    Attributes:
        model: the language model.
        encode: encoder of the motion codec, from coordinates and their observed masks to motion codes.
        longest_s: duration of the longest movement that the model sees at once.
        threshold: logit from which impairment is counted (`answering.normal_range`).
        calibration: what was fitted to the model's answers; nothing where the run has none.
        risk: share of wrong answers beyond which none is given.
    """

    model: predict.LanguageModel
    encode: Callable[[list[np.ndarray], list[np.ndarray]], list[np.ndarray]]
    longest_s: float
    threshold: float = 0.0
    calibration: Calibration = UNCALIBRATED
    risk: float = applied.RISK


_AS_IT_IS = Reading()


def run(
    path: Path,
    texts: Sequence[str],
    table: Path | None,
    workdir: Path,
    as_json: bool,
    greedy: bool = False,
    normals_in: Path | None = None,
    reading: Reading = _AS_IT_IS,
    risk: float = applied.RISK,
) -> int:
    """Answer questions about a motion file or a folder, print the answers, and return the exit code.

    Args:
        texts: the questions; none for every question that a movement supports.
        table: where a CSV of the answers goes, if anywhere.
        as_json: print one JSON object. One question about a file is its own object; several are under "answers", and
            those that the movement cannot show under "left_out"; a folder has both for each file under "files".
            "measured" of an answer is what the gait code measures, or null.
        greedy: as in `load`.
        normals_in: a folder of the same laboratory's healthy recordings, by which its offsets are taken out first and
            from whose answers impairment is counted.
        reading: how the file is read.
        risk: as in `load`.

    Raises:
        InputError: as `ask` and `ask_folder`, or the table cannot be written, or no file can be answered.
    """
    if table is not None and (table.is_dir() or not os.access(table.parent, os.W_OK)):
        raise InputError(f"--csv {table}: give the path of a file, in a folder that exists and can be written")
    if path.is_dir() and (reading.static or reading.person):
        raise InputError(f"--static and --person are for one file; {path} is a folder")
    names = list(dict.fromkeys(understand(text).question.name for text in texts)) or list(QUESTIONS)
    own = None
    if normals_in is not None:
        own = normals.of_folder(normals_in, Workdir(workdir).movements)
        print(own.words(), file=sys.stderr, flush=True)
    if path.is_dir():
        with Progress("ask") as progress:
            files = ask_folder(workdir, path, texts, progress.update, greedy, own, reading, risk)
    else:
        files = [FileAnswers(path.name, ask(workdir, path, texts, greedy, own, reading, risk))]
    if table is not None:
        rendering.write_table(table, files, names)
    answered = [file for file in files if file.found.answers]
    for file in files:
        if file not in answered or texts:  # with --all, what a movement does not show is no fault of the user's
            for why in [file.error] if file.error else rendering.refusals(file.found):
                print(f"biomechgpt: {file.file}: {why}", file=sys.stderr)
    if as_json:
        print(to_json(_as_json(path, files, texts)))
    elif table is not None:
        print(f"{len(answered)} of {len(files)} files answered, in {table}")
    else:
        for file in answered:
            lines = rendering.lines(file.found, with_left_out=not texts)
            print("\n  ".join([file.file, *lines]) if path.is_dir() else "\n".join(lines))
    if not answered:
        raise InputError(f"{path}: none of its {len(files)} files could be answered; the reasons are above")
    return 0


def _as_json(path: Path, files: Sequence[FileAnswers], texts: Sequence[str]) -> dict[str, Any]:
    if path.is_dir():
        return {"files": [file.as_json() for file in files]}
    if len(texts) == 1:
        return files[0].found.answers[0] | {"flags": list(files[0].found.flags)}
    return files[0].found.as_json()


def load(workdir: Path, greedy: bool = False, risk: float = applied.RISK) -> Answerer:
    """Load the newest model of a run.

    Args:
        greedy: numbers are decoded greedily, which is faster; they have no intervals then.
        risk: share of wrong answers beyond which a calibrated model would rather not answer.

    Raises:
        InputError: the working directory holds no trained model, or its calibration is damaged.
    """
    work, cfg = Workdir(workdir), workdirs.load_experiment(workdir)
    codec, words = vocabulary.load(work.tokenizer)
    frozen = base.of(cfg.model).frozen.with_code_vectors(codec.code_vectors())
    params = trained.load_params(work.checkpoints, cfg.model, IdSpace.of(words), frozen=frozen)
    model = predict.LanguageModel(
        params, cfg.model, words, batch_size=1, one_shape=True, numbers="greedy" if greedy else "distribution"
    )
    rate = config.CANONICAL_RATE_HZ
    longest_s = crops.longest_frames(cfg, rate) / rate
    return Answerer(model, codec.encode, longest_s, calibration=calibrate.load(work), risk=risk)


def hold_to_normals(answerer: Answerer, own: Normals) -> Answerer:
    """Count impairment from where a laboratory's own healthy people lie; says so on standard error."""
    by_person: dict[str, list[float]] = {}
    # Nobody's own posture is taken out of their recordings, or a stranger would lie further from healthy than they do.
    without = {name: own.without(name) for name in {trial.participant for trial in own.trials}}
    for trial in own.trials:
        moved = without[trial.participant].take_out(trial.trajectory)
        found = answer(answerer, moved, [_ask_canonically("impairment")])
        by_person.setdefault(trial.participant, []).append(normal_range.logit(found.answers[0]["options"]))
    threshold = normal_range.threshold(list(by_person.values()))
    print(normal_range.words(threshold, own.people), file=sys.stderr, flush=True)
    return dataclasses.replace(answerer, threshold=threshold)


def answer(answerer: Answerer, trajectory: Trajectory, wanted: Sequence[Understood]) -> Answers:
    """Answer questions about a movement, except those that it cannot show.

    With a question about a clinical test, the activity is asked too: an answer about a test that the movement does not
    show carries a caution.
    """
    impossible = _explain_impossible(answerer, trajectory)
    possible = [one for one in wanted if one.question.name not in impossible]
    left_out = {one.question.name: impossible[one.question.name] for one in wanted if one not in possible}
    if not possible:
        return Answers([], left_out)
    tested = any(one.question.name in scope.NEEDS_WHOLE_TEST for one in possible)
    asked = [*possible, _ask_canonically("activity")] if tested else possible
    predictions = predict.ask(
        answerer.model,
        answerer.encode,
        trajectory.coordinates,
        trajectory.observed,
        [(one.question.name, one.phrasing) for one in asked],
        QUESTIONS,
        answerer.longest_s,
    )
    predictions = [applied.apply(answerer.calibration, one) for one in predictions]
    predictions = [_count_from(answerer.threshold, one) for one in predictions]
    activity = next((one for one in predictions if one["question"] == "activity"), None)
    answers = [
        describe(
            question,
            prediction,
            _caution(question.question.name, activity),
            applied.doubt(answerer.calibration, prediction, answerer.risk),
        )
        for question, prediction in zip(possible, predictions, strict=False)
    ]
    return Answers(answers, left_out)


def answer_all(answerer: Answerer, trajectory: Trajectory) -> Answers:
    """Answer every question that a movement supports.

    A question is left out if the activity that the model names does not show it (a chair rise has no step length), if
    it needs coordinates that are missing, or if it needs a whole test that is longer than the model sees at once.
    """
    from biomechgpt_jax.biomechanics.scores.walks import TIMED_M  # SciPy is slow to import and rarely needed here

    found = answer(answerer, trajectory, [_ask_canonically(name) for name in QUESTIONS])
    activity = next(one for one in found.answers if one["name"] == "activity")
    left_out = {name: _caution(name, activity) or reason for name, reason in found.left_out.items()}
    left_out |= {one["name"]: one["caution"] for one in found.answers if one["caution"]}
    walked_m = _walked_m(trajectory)
    if walked_m < TIMED_M:
        short = f"only {walked_m:.1f} m are walked, and at least {TIMED_M:.0f} m are needed"
        left_out.setdefault("ten_metre_walk_time", short)
    kept = [one for one in found.answers if one["name"] not in left_out]
    return Answers(kept, {name: left_out[name] for name in QUESTIONS if name in left_out})


def ask(
    workdir: Path,
    file: Path,
    texts: Sequence[str],
    greedy: bool = False,
    own: Normals | None = None,
    reading: Reading = _AS_IT_IS,
    risk: float = applied.RISK,
) -> Answers:
    """Answer questions about a motion file; without texts, every question that it supports.

    Args:
        own: the laboratory's normals (see `run`).
        reading: how the file is read.
        risk: as in `load`.

    Raises:
        InputError: the file cannot be read or shows nothing of what is asked, a question is not understood, or nothing
            is trained here.
    """
    wanted = [understand(text) for text in texts]
    movement = reading.of(file, own)
    answerer = load(workdir, greedy, risk)
    if own and _asks_impairment(wanted):
        answerer = hold_to_normals(answerer, own)
    if not wanted:
        return _beside(answer_all(answerer, movement.seen), movement)
    found = _beside(answer(answerer, movement.seen, wanted), movement)
    if not found.answers:
        raise InputError(f"{file}: {'; '.join(rendering.refusals(found))}")
    return found


def ask_folder(
    workdir: Path,
    directory: Path,
    texts: Sequence[str],
    report: Report,
    greedy: bool = False,
    own: Normals | None = None,
    reading: Reading = _AS_IT_IS,
    risk: float = applied.RISK,
) -> list[FileAnswers]:
    """Answer the same questions about every motion file below a directory; without texts, all that each file supports.

    Args:
        report: called before each file with (files done, number of files, name of the next file).
        own: the laboratory's normals (see `run`).
        reading: how each file is read.
        risk: as in `load`.

    Returns:
        One entry per file, in name order. The entry of a file that cannot be read or answered holds the reason.

    Raises:
        InputError: the directory holds no motion file, a question is not understood, or there is no
            trained model.
    """
    wanted = [understand(text) for text in texts]
    files = files_in(directory)
    answerer = load(workdir, greedy, risk)
    if own and _asks_impairment(wanted):
        answerer = hold_to_normals(answerer, own)
    entries = []
    for number, file in enumerate(files):
        name = file.relative_to(directory).as_posix()
        report(number, len(files), name)
        try:
            movement = reading.of_any(file, own)
            seen = movement.seen
            found = answer(answerer, seen, wanted) if wanted else answer_all(answerer, seen)
            entries.append(FileAnswers(name, _beside(found, movement)))
        except InputError as error:
            entries.append(FileAnswers(name, error=str(error).removeprefix(str(file)).lstrip(": ")))
    return entries


def _ask_canonically(name: str) -> Understood:
    """Ask a question in its canonical words."""
    return understand(QUESTIONS[name].templates[0])


def _asks_impairment(wanted: Sequence[Understood]) -> bool:
    """Whether impairment is asked; without questions all are."""
    return not wanted or any(one.question.name == "impairment" for one in wanted)


def _count_from(threshold: float, one: Prediction) -> Prediction:
    """A prediction of impairment counted from a threshold; any other as it is."""
    if not threshold or one["question"] != "impairment":
        return one
    options = normal_range.shift(one["options"], threshold)
    best = max(options, key=lambda option: options[option])
    counted: Prediction = {**one, "answer": best, "probability": options[best], "options": options}
    counted.pop("set", None)  # it was fitted without the laboratory's threshold
    return counted


def _caution(name: str, activity: Mapping[str, Any] | None) -> str:
    """Why the activity that the model names does not show what a question asks for; empty if it does."""
    if activity is None or scope.shows(str(activity["answer"]), name):
        return ""
    return f"the movement is taken for {activity['answer']} (probability {activity['probability']:.2f})"


def _explain_impossible(answerer: Answerer, trajectory: Trajectory) -> dict[str, str]:
    """The reasons why the movement cannot answer questions, by question name."""
    hidden = "the file has no pelvis_tx or pelvis_tz"
    reasons = dict.fromkeys(crops.unanswerable(trajectory.observed) & set(QUESTIONS), hidden)
    too_long = predict.too_long_for_tests(trajectory.frames, answerer.longest_s)
    if FRAGMENT in trajectory.metadata.flags:
        cut = (
            f"only {trajectory.seconds:.1f} s of the file can be used, between gaps and jumps, and a test must be "
            "judged as a whole; fill the gaps, or cut the file to the test"
        )
        reasons |= dict.fromkeys(scope.NEEDS_WHOLE_TEST, cut)
    elif too_long:
        reasons |= dict.fromkeys(scope.NEEDS_WHOLE_TEST, too_long)
    return reasons


def _walked_m(trajectory: Trajectory) -> float:
    """Distance in metres that the pelvis travels over the floor; infinite if its path is unknown."""
    root = [INDEX[name] for name in HORIZONTAL_ROOT]
    if not np.asarray(trajectory.observed)[root].all():
        return float("inf")
    return float(np.linalg.norm(np.diff(trajectory.coordinates[:, root], axis=0), axis=1).sum())


def _beside(found: Answers, movement: Movement) -> Answers:
    """The answers with the flags of the movement that they are about, and with what the gait code measures in it."""
    asked = {one["name"] for one in found.answers} & measured.NAMES
    walk = measured.measure(movement.recorded, movement.prepared) if asked else None
    answers = [{**one, **measured.beside(walk, one["name"])} for one in found.answers]
    return dataclasses.replace(found, answers=answers, flags=movement.seen.metadata.flags)
