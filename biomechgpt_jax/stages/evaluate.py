"""The evaluate stage: answer questions with the model and every control, compute metrics, and write the report."""

import json
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from biomechgpt_jax import config, provenance
from biomechgpt_jax import workdir as workdirs
from biomechgpt_jax.answering import predict
from biomechgpt_jax.answering.asked import Asked
from biomechgpt_jax.answering.predictions import Prediction, name_of, write_predictions
from biomechgpt_jax.biomechanics.trajectory import Trial
from biomechgpt_jax.calibration import applied
from biomechgpt_jax.calibration.stored import UNCALIBRATED, Calibration
from biomechgpt_jax.data import movements, splits, store
from biomechgpt_jax.data.label_use import LabelUse
from biomechgpt_jax.errors import InputError
from biomechgpt_jax.evaluation import bars, comparison, controls, metrics, sureness
from biomechgpt_jax.evaluation.codec import reconstruction
from biomechgpt_jax.files import clean, write_json
from biomechgpt_jax.packing import crops
from biomechgpt_jax.progress import Progress as ProgressBar
from biomechgpt_jax.questions.registry import QUESTIONS
from biomechgpt_jax.reports import origin as origins
from biomechgpt_jax.reports import report, stick
from biomechgpt_jax.reports.origin import Origin
from biomechgpt_jax.reports.sections import Material
from biomechgpt_jax.stages import calibrate, held_out
from biomechgpt_jax.tasks import base
from biomechgpt_jax.tokenizer import vocabulary
from biomechgpt_jax.training.metrics import read as read_log
from biomechgpt_jax.workdir import STAGES, TEXT_ONLY, Workdir

# Maximum number of test crops that the codec is measured on: more would only cost time.
MOST_CODEC_CROPS = 120

Progress = Callable[[str, int, int], None]


@dataclass(frozen=True)
class Inputs:
    """The inputs of an evaluation.

    Attributes:
        trials: trials by split, "train", "validation" and "test"; they are iterated more than once.
        model: the trained language model.
        text_only: the control that never saw a movement; if None, it is left out.
        codec: the motion codec, with encode, decode and codes.
        logs: path of metrics.jsonl by run, for the training curves.
        wall_seconds: duration of each earlier stage.
        origin: the origin of the data.
        programs: by stage, the version and revision of the program that made it (`workdir.programs`).
        people: digest of the dataset that holds the test participants.
        calibration: how sure the model's answers may be.
    """

    trials: Mapping[str, Iterable[Trial]]
    model: predict.LanguageModel
    text_only: predict.LanguageModel | None
    codec: Any
    logs: Mapping[str, Path]
    wall_seconds: Mapping[str, float]
    origin: Origin
    programs: Mapping[str, Mapping[str, str]]
    people: str = ""
    calibration: Calibration = UNCALIBRATED


def label_use(trials: Iterable[Trial], asked: Sequence[Asked], cfg: config.Experiment) -> LabelUse:
    """Count which labels of the trials are asked for."""
    names: dict[str, set[str]] = {}
    for item in asked:
        names.setdefault(item.trial, set()).add(item.question)
    use = LabelUse()
    for trial in trials:
        crops.count_labels(use, trial, names.get(trial.trial_id, ()), cfg)
    return use


def _cohort(trials: Mapping[str, Iterable[Trial]]) -> list[dict[str, Any]]:
    people: dict[str, dict[str, set[str]]] = {}
    totals: dict[str, list[float]] = {}
    for split, items in trials.items():
        for trial in items:
            name = trial.diagnosis or "unknown"
            people.setdefault(name, {}).setdefault(split, set()).add(trial.participant)
            total = totals.setdefault(name, [0, 0.0])
            total[0] += 1
            total[1] += trial.trajectory.seconds / 3600.0
    known = {option: rank for rank, option in enumerate(QUESTIONS["diagnosis"].options)}
    return [
        {"diagnosis": name, "trials": int(totals[name][0]), "hours": totals[name][1]}
        | {split: len(people[name].get(split, ())) for split in ("train", "validation", "test")}
        for name in sorted(people, key=lambda name: known.get(name, len(known)))
    ]


def _measure_codec(codec: Any, asked: Sequence[Asked]) -> dict[str, Any]:
    crop_of = {id(item.coordinates): item for item in asked}
    healthy = {id(item.coordinates): item.truth == "healthy" for item in asked if item.question == "diagnosis"}
    chosen = list(crop_of.values())
    step = max(1, len(chosen) // MOST_CODEC_CROPS)
    chosen = chosen[::step][:MOST_CODEC_CROPS]
    return reconstruction.measure(
        codec,
        [item.coordinates for item in chosen],
        [item.observed for item in chosen],
        [healthy.get(id(item.coordinates)) for item in chosen],
    )


def _clips(
    asked: Sequence[Asked], predictions: Sequence[Prediction], heights: Mapping[str, float], count: int
) -> list[stick.Clip]:
    """Clips of different activities and diagnoses, where known; movements with the most questions come first."""
    crops_of: dict[tuple[str, float], list[int]] = {}
    for index, item in enumerate(asked):
        crops_of.setdefault((item.trial, item.start_s), []).append(index)
    candidates = []
    for members in crops_of.values():
        known = {asked[i].question: str(asked[i].truth) for i in members}
        candidates.append((known.get("activity", "movement"), known.get("diagnosis", "diagnosis unknown"), members))
    candidates.sort(key=lambda candidate: (-len(candidate[2]), asked[candidate[2][0]].trial))
    made: list[stick.Clip] = []
    seen: set[str] = set()
    while len(made) < count and candidates:
        fresh = [c for c in candidates if c[0] not in seen and c[1] not in seen]
        activity, diagnosis, members = (fresh or [c for c in candidates if c[1] not in seen] or candidates)[0]
        candidates = [c for c in candidates if c[2] is not members]
        seen |= {activity, diagnosis}
        item = asked[members[0]]
        title = f"{activity.capitalize()}: {diagnosis}"
        height = heights.get(item.trial, float("nan"))
        made.append(stick.clip(title, item.coordinates, item.rate_hz, height, [predictions[i] for i in members]))
    return made


def _explain_no_questions(inputs: Inputs) -> str:
    """Why no question can be asked about the test participants, and how to fix it."""
    if not any(True for _ in inputs.trials["test"]):
        return f"nobody is in the test split; {splits.remedy('test', inputs.origin.synthetic)}"
    if inputs.origin.synthetic:
        return f"no question can be asked of the test participants; {splits.remedy('test', True)}"
    return (
        "no question can be asked of the recordings of the test participants: they have no labels and show no whole "
        "stride; import them again with --labels"
    )


def evaluate(cfg: config.Experiment, inputs: Inputs, directory: Path, progress: Progress) -> dict[str, Any]:
    """Answer every question about held-out participants and write the three files of an evaluation.

    Args:
        cfg: the experiment; `evaluation` and `pack` are read.
        directory: destination of predictions.jsonl, report.html and, last, metrics.json, each written atomically.
        progress: called with (what, done, total).

    Returns:
        The content of metrics.json.

    Raises:
        InputError: there is no question about held-out participants.
    """
    started = time.monotonic()
    resamples, seed = cfg.evaluation.bootstrap, cfg.evaluation.seed
    test = held_out.questions_of(inputs.trials["test"], cfg)
    if not test:
        raise InputError(_explain_no_questions(inputs))
    train = held_out.questions_of(inputs.trials["train"], cfg)

    said = held_out.answers(inputs.model, inputs.codec, test, lambda done, total: progress("model", done, total))
    predictions = {"model": [applied.apply(inputs.calibration, one) for one in said]}
    if inputs.text_only is not None:
        predictions["text_only"] = predict.answers(inputs.text_only, test, None, QUESTIONS)
    predictions |= controls.answer_all(list(inputs.trials["train"]), train, test, inputs.codec, cfg, progress)

    families = {}
    for number, (name, answered) in enumerate(predictions.items()):
        families[name] = metrics.summarise(answered, resamples, seed)
        progress("intervals", number + 1, len(predictions))
    results: dict[str, Any] = {
        "people": inputs.people,
        "test_participants": len({item.participant for item in test}),
        "families": families["model"],
        "controls": {name: found for name, found in families.items() if name != "model"},
        "summary": comparison.summarise(predictions, resamples, seed),
        "comparisons": comparison.compare_with_controls(predictions, resamples, seed),
        "bars": bars.check(families, predictions, resamples, seed) if cfg.evaluation.bars == "quickstart" else [],
        "text_only_check": bars.check_text_only(families, predictions, resamples, seed),
        "calibration": sureness.summarise(predictions["model"], seed),
        "codec": _measure_codec(inputs.codec, test),
        "labels": label_use(inputs.trials["test"], test, cfg).report(),
    }
    directory.mkdir(parents=True, exist_ok=True)
    write_predictions(directory / "predictions.jsonl", predictions)
    heights = {trial.trial_id: trial.trajectory.metadata.height_m for trial in inputs.trials["test"]}
    results["made"] = {**inputs.programs, "evaluate": provenance.program()}
    results["wall_seconds"] = {**inputs.wall_seconds, "evaluate": round(time.monotonic() - started, 1)}
    results = clean(results)
    progress("report", 0, 1)
    report.write(
        directory / "report.html",
        Material(
            origin=inputs.origin,
            metrics=results,
            predictions=predictions,
            curves={name: read_log(path) for name, path in inputs.logs.items()},
            cohort=_cohort(inputs.trials),
            fidelity=results["codec"],
            clips=_clips(test, predictions["model"], heights, cfg.evaluation.stick_figures),
            orders={name_of(row): QUESTIONS[row["question"]].options for row in predictions["model"]},
            made=provenance.versions({"git revision": provenance.git_revision()[:12]}),
        ),
    )
    results["wall_seconds"]["evaluate"] = round(time.monotonic() - started, 1)
    write_json(directory / "metrics.json", results)
    progress("report", 1, 1)
    return results


def load_inputs(
    cfg: config.Experiment, work: Workdir, trials: Mapping[str, list[Trial]], movements_dir: Path
) -> Inputs:
    """The inputs of an evaluation of a run on some trials, whose origin a dataset tells."""
    codec, words = vocabulary.load(work.tokenizer)
    text_only, below = work.checkpoints_text_only, base.of(cfg.model).frozen
    return Inputs(
        trials=trials,
        model=held_out.load_model(cfg, words, work.checkpoints, below.with_code_vectors(codec.code_vectors())),
        text_only=held_out.load_model(cfg, words, text_only, below) if text_only.is_dir() else None,
        codec=codec,
        logs={"model": work.metrics, TEXT_ONLY: work.metrics_text_only},
        wall_seconds={stage: workdirs.read_marker(work, stage).get("seconds", 0.0) for stage in STAGES[:-1]},
        origin=origins.from_facts(cfg.name, cfg.cohort.noise, store.metadata(movements_dir)),
        programs=workdirs.programs(work),
        people=store.metadata(movements_dir)["digest"],
        calibration=calibrate.load(work),
    )


def run(cfg: config.Experiment, work: Workdir, progress: ProgressBar) -> dict[str, Any]:
    """Evaluate a run on its own test participants."""
    trials = {split: list(movements.read(work.movements, split)) for split in splits.SPLITS}
    results = _evaluate(cfg, load_inputs(cfg, work, trials, work.movements), work.evaluation, progress)
    return {"digest": workdirs.digest(results["families"])}


def run_on_people(
    cfg: config.Experiment, workdir: Path, people: Path, show: bool = True
) -> tuple[dict[str, Any], Path]:
    """Evaluate a finished run on everybody in another `movements` dataset; the controls are fitted on its own people.

    The run and its own evaluation stay as they are.

    Args:
        cfg: the experiment that trained the run.
        workdir: working directory of that run.
        people: a dataset that shares no participant with the training split of the run, such as a development cohort.
        show: whether to show progress.

    Returns:
        The content of metrics.json and the directory that holds it, `evaluation_NAME` with the name of the dataset.

    Raises:
        InputError: there is no such run or dataset, the run was trained on somebody in the dataset, or the directory
            holds the evaluation of another dataset of the same name.
    """
    work = Workdir(workdir)
    others = movements.read_other_people(people, work.movements)
    trials = {"train": list(movements.read(work.movements, "train")), "validation": [], "test": others}
    directory = work.evaluation_of(people)
    asked = store.metadata(people)["digest"]
    if (directory / "metrics.json").is_file():
        before = json.loads((directory / "metrics.json").read_text()).get("people")
        if before != asked:
            raise InputError(f"{directory} holds the evaluation of other people; move it away, or rename {people}")
    with ProgressBar("evaluate", show) as progress:
        return _evaluate(cfg, load_inputs(cfg, work, trials, people), directory, progress), directory


def _evaluate(cfg: config.Experiment, inputs: Inputs, directory: Path, progress: ProgressBar) -> dict[str, Any]:
    results = evaluate(cfg, inputs, directory, lambda what, done, whole: progress.update(done, whole, what))
    use = LabelUse(**results["labels"])
    words = (f"{results['test_participants']} held-out participants", use.words())
    progress.done("; ".join(filter(None, words)), use.lines())
    return results
