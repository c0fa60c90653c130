"""The stages of an experiment, in order. Each is skipped when it is complete and its inputs have not changed."""

from __future__ import annotations

import dataclasses
import functools
import itertools
import json
import shutil
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from biomechgpt_jax import config
from biomechgpt_jax import workdir as workdirs
from biomechgpt_jax.errors import InputError
from biomechgpt_jax.parallel import agreement, distributed, records
from biomechgpt_jax.progress import Progress
from biomechgpt_jax.workdir import Workdir

if TYPE_CHECKING:
    from biomechgpt_jax.tokenizer.backends import MotionCodec

STAGES = ("simulate", "tokenizer", "pack", "train", "evaluate")
# Stages that every process of several takes part in; in the others they wait for process 0.
_EVERYWHERE = ("tokenizer", "train")
TEXT_ONLY = "text_only"
# Longer cohorts are written by Apache Beam.
IN_MEMORY_HOURS = 200.0
# Held-out trials that the tokenizer stage measures its codec on; `--report` takes all.
_STAGE_TRIALS = 80


def _alone(key: str, make: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    """What process 0 makes while the others wait for it."""
    return json.loads(distributed.share(key, lambda: json.dumps(make()))) if distributed.several() else make()


def run(
    cfg: config.Experiment, workdir: Path, until: str = "evaluate", show: bool = True, beam: Sequence[str] = ()
) -> dict[str, Any]:
    """Run every stage up to `until` that is not done yet, and return the last stage's outcome.

    With `beam`, options of an Apache Beam pipeline such as "--runner=DirectRunner", that pipeline simulates the cohort.

    A stage is done when its marker names the digest of its inputs: its part of the configuration and the
    outcome of the stages before it. A stage that starts removes its marker first.

    Of several processes all call this (see `parallel.distributed`): they train together, and process 0 does the rest.

    Raises:
        InputError: the input is wrong, or the processes differ in code, configuration, data or working directory.
    """
    if distributed.several() and until == "evaluate":
        raise InputError("evaluate runs on one process: start it without the launcher, on the same --workdir")
    work = workdirs.open_workdir(cfg, workdir)
    with records.recorded(workdir, until):
        return _run_stages(cfg, work, until, show and distributed.first(), beam)


def _run_stages(cfg: config.Experiment, work: Workdir, until: str, show: bool, beam: Sequence[str]) -> dict[str, Any]:
    outcome: dict[str, Any] = {}
    inputs = ""
    for stage in STAGES[: STAGES.index(until) + 1]:
        inputs = workdirs.digest([inputs, stage, _relevant(cfg, stage)])
        with Progress(stage, show) as progress:
            marker = _alone(f"marker/{stage}", functools.partial(_finished, work, stage, inputs))
            if marker:
                progress.skip(f"done before in {marker['seconds']:.0f} s")
                outcome = marker["outcome"]
            else:
                if distributed.first():
                    work.marker(stage).unlink(missing_ok=True)
                started = time.monotonic()
                make = functools.partial(_STAGES[stage], cfg, work, progress)
                if stage == "simulate" and beam:
                    make = functools.partial(_simulate, cfg, work, progress, beam)
                outcome = make() if stage in _EVERYWHERE else _alone(f"outcome/{stage}", make)
                seconds = round(time.monotonic() - started, 1)
                if distributed.first():
                    workdirs.write_json(work.marker(stage), {"inputs": inputs, "seconds": seconds, "outcome": outcome})
        inputs = workdirs.digest([inputs, outcome.get("digest", "")])
    return outcome


def _finished(work: Workdir, stage: str, inputs: str) -> dict[str, Any]:
    """The marker of a stage that is done, with these inputs; else empty."""
    marker = workdirs.read_marker(work, stage)
    return marker if marker.get("inputs") == inputs and _intact(work, stage, marker) else {}


def _relevant(cfg: config.Experiment, stage: str) -> Any:
    parts_of: dict[str, list[Any]] = {
        "simulate": [cfg.cohort],
        "tokenizer": [cfg.tokenizer],
        "pack": [cfg.pack],
        "train": [cfg.model, cfg.optimizer, cfg.train.steps, cfg.text_only_steps, *cfg.train.teaches.values()],
        "evaluate": [cfg.evaluation],
    }
    parts: list[Any] = [part if isinstance(part, int | float) else dataclasses.asdict(part) for part in parts_of[stage]]
    if stage == "train" and cfg.train.mixture:
        from biomechgpt_jax.data import loader

        parts.append([(loader.digest(directory), weight) for directory, weight in cfg.train.mixed])
    return parts


def _intact(work: Workdir, stage: str, marker: Mapping[str, Any]) -> bool:
    """Whether what a finished stage left is still there, and is what it left."""
    from biomechgpt_jax.data import store
    from biomechgpt_jax.tokenizer import vocabulary

    digest = marker.get("outcome", {}).get("digest", "")
    if stage == "simulate":
        return work.movements.is_dir() and store.metadata(work.movements)["digest"] == digest
    if stage == "tokenizer":
        return work.tokenizer.is_dir() and vocabulary.load(work.tokenizer)[1].digest == digest
    if stage == "pack":
        return work.sequences.is_dir() and store.metadata(work.sequences)["digest"] == digest
    if stage == "train":
        return work.checkpoints.is_dir() and work.checkpoints_text_only.is_dir()
    return (work.evaluation / "metrics.json").is_file() and (work.evaluation / "report.html").is_file()


def _simulate(cfg: config.Experiment, work: Workdir, progress: Progress, beam: Sequence[str] = ()) -> dict[str, Any]:
    from biomechgpt_jax.cohort.simulate import simulate
    from biomechgpt_jax.data import movements, store

    if store.is_dataset(work.movements):
        facts = store.metadata(work.movements)
        if not facts.get("synthetic", True):
            # What a person imported is never replaced by a simulation.
            progress.done(f"imported: {facts['participants']} participants, {facts['trials']} trials")
            return facts

    def report(trials: int, hours: float) -> None:
        progress.update(min(hours, cfg.cohort.hours), cfg.cohort.hours, f"{trials} trials, {hours:.1f} h")

    made = {"synthetic": True, "seed": cfg.cohort.seed}
    if beam:
        from biomechgpt_jax.data import beam as pipelines

        progress.update(0, cfg.cohort.hours, f"{' '.join(beam)}: {cfg.cohort.hours:g} h")
        digest = pipelines.write(cfg.cohort, work.movements, made, beam)
    elif cfg.cohort.hours > IN_MEMORY_HOURS:
        raise InputError(
            f"cohort.hours is {cfg.cohort.hours:g}: one process would hold it all in memory, some 40 MB an hour; let "
            "Apache Beam write it: biomechgpt simulate ... --runner DirectRunner (or the runner of your cluster)"
        )
    else:
        digest = movements.write(simulate(cfg.cohort, report), work.movements, made)
    facts = store.metadata(work.movements)
    progress.done(f"{facts['participants']} participants, {facts['trials']} trials, {facts['hours']:.1f} h")
    return {"digest": digest, **facts}


def _tokenizer(cfg: config.Experiment, work: Workdir, progress: Progress) -> dict[str, Any]:
    from biomechgpt_jax.data import movements
    from biomechgpt_jax.tokenizer import dct, training
    from biomechgpt_jax.training.loop import Places

    def report(step: int, logged: dict[str, Any]) -> None:
        loss = logged.get("loss")
        progress.update(step, cfg.tokenizer.steps, f"step {step}" + (f", loss {loss:.4f}" if loss is not None else ""))

    trials = list(movements.read(work.movements, "train"))
    train = [(trial.trajectory.coordinates, trial.trajectory.observed) for trial in trials]
    if not train:
        raise InputError("no participant is in the training split; simulate more (cohort.participants)")
    if distributed.first():
        work.codec_report.unlink(missing_ok=True)  # it tells of the codec that is replaced
        if not work.checkpoints_codec.is_dir():
            work.metrics_codec.unlink(missing_ok=True)  # of a codec that was finished, not of one that goes on
    codec: MotionCodec
    if cfg.tokenizer.quantizer == "dct":
        codec = dct.fit(cfg.tokenizer, train, report)
    else:
        places = Places(work.checkpoints_codec, work.metrics_codec)
        policy = dataclasses.replace(cfg.train, keep_last=1)
        known = cfg.tokenizer.denoise and any(len(trial.clean) for trial in trials)
        targets = [trial.true_coordinates for trial in trials] if known else None
        codec = training.train(cfg.tokenizer, train, report, policy, cfg.mesh, places, targets)
    return _alone("codec", functools.partial(_keep_codec, cfg, work, progress, codec))


def _keep_codec(cfg: config.Experiment, work: Workdir, progress: Progress, codec: MotionCodec) -> dict[str, Any]:
    """Train the text tokenizer, write both, and measure the codec."""
    from biomechgpt_jax.data import movements
    from biomechgpt_jax.evaluation import reconstruction
    from biomechgpt_jax.evaluation.predictions import write_json
    from biomechgpt_jax.questions import registry
    from biomechgpt_jax.tokenizer import vocabulary
    from biomechgpt_jax.tokenizer.text import TextTokenizer

    text = TextTokenizer.train(registry.corpus(), cfg.tokenizer.text_pieces)
    made = vocabulary.Vocabulary(text, codec.codes, codec.digest, codec.layers)
    vocabulary.save(work.tokenizer, codec, made)
    shutil.rmtree(work.checkpoints_codec, ignore_errors=True)  # a codec that is done is never resumed
    test = list(itertools.islice(movements.read(work.movements, "test"), _STAGE_TRIALS))
    measured = reconstruction.measure(
        codec,
        [trial.trajectory.coordinates for trial in test],
        [trial.trajectory.observed for trial in test],
        [trial.diagnosis == "healthy" if trial.diagnosis else None for trial in test],
        [trial.true_coordinates for trial in test] if any(len(trial.clean) for trial in test) else None,
    )
    write_json(work.codec_fidelity, measured)
    progress.done(f"{made.codes} motion codes, {text.size} pieces; " + _words(measured))
    return {"digest": made.digest, "fidelity": measured}


def report_codec(cfg: config.Experiment, workdir: Path, show: bool = True) -> dict[str, Any]:
    """Write `tokenizer/report.html` and `tokenizer/fidelity.json` about the stored codec, on the test participants.

    Returns:
        The figures, as of `evaluation.codec_figures.figures`.

    Raises:
        InputError: nobody is in the test split, or there is no codec or no data set.
    """
    from biomechgpt_jax.data import movements, store
    from biomechgpt_jax.evaluation import codec_report
    from biomechgpt_jax.tokenizer import vocabulary

    work = Workdir(workdir)
    codec, _ = vocabulary.load(work.tokenizer)
    facts = store.metadata(work.movements)
    noise = cfg.cohort.noise if facts.get("synthetic", True) else ""
    trials = movements.read(work.movements, "test")
    with Progress("codec report", show) as progress:
        found = codec_report.write(
            work.tokenizer,
            codec,
            trials,
            codec_report.Origin(cfg.name, facts.get("synthetic", True), noise, facts["participants"], facts["trials"]),
            cfg.evaluation.bootstrap,
            cfg.evaluation.seed,
            lambda done, whole: progress.update(done, whole, f"{done} of {whole} trials"),
        )
        progress.done(f"{found['data']['participants']} held-out participants, {work.codec_report}")
    return found


def _words(measured: Mapping[str, float]) -> str:
    return ", ".join(f"{name.replace('_', ' ')} {value:.3g}" for name, value in list(measured.items())[:4])


def _pack(cfg: config.Experiment, work: Workdir, progress: Progress) -> dict[str, Any]:
    from biomechgpt_jax.data import sequences, store
    from biomechgpt_jax.tokenizer import vocabulary

    codec, words = vocabulary.load(work.tokenizer)
    report = sequences.pack(
        work.movements,
        work.sequences,
        work.sequences_text_only,
        codec,
        words,
        cfg,
        lambda what, done, whole: progress.update(done, whole, what),
    )
    fill = 100 * report["fill"].get("train", 0.0)
    rows, questions = report["rows"].get("train", 0), report["questions"].get("train", 0)
    left_out = sequences.left_out_words(report["left_out"])
    progress.done(f"{rows} rows, {questions} questions, {fill:.1f} % full" + (left_out and f"; left out: {left_out}"))
    return {"digest": store.metadata(work.sequences)["digest"], **report}


def _check_vocabulary(sequences: Path, digest: str) -> None:
    from biomechgpt_jax.data import store

    found = store.metadata(sequences)["vocabulary"]
    if found != digest:
        raise InputError(
            f"{sequences} was packed with vocabulary {found}, the tokenizer here makes {digest}; "
            "run `biomechgpt pack` again or give another --workdir"
        )


def _train(cfg: config.Experiment, work: Workdir, progress: Progress) -> dict[str, Any]:
    from biomechgpt_jax.data import loader
    from biomechgpt_jax.tokenizer import vocabulary
    from biomechgpt_jax.training import language

    codec, words = vocabulary.load(work.tokenizer)
    _check_vocabulary(work.sequences, words.digest)
    agreement.agree(
        "data",
        {"tokenizer": words.digest}
        | {rows.name: loader.digest(rows) for rows in (work.sequences, work.sequences_text_only)}
        | {f"{directory}": loader.digest(directory) for directory, _ in cfg.train.mixed},
        distributed.current().barrier_timeout_s,
    )
    runs = (
        (cfg.train.steps, work.sequences, work.checkpoints, work.metrics, codec.code_vectors(), "model"),
        (
            *(cfg.text_only_steps, work.sequences_text_only, work.checkpoints_text_only, work.metrics_text_only),
            *(None, "text-only control"),
        ),
    )
    for steps, rows, checkpoints, log, vectors, what in runs:
        report = _training_report(progress, steps, what)
        part = cfg if rows == work.sequences else _with_twins(cfg)
        language.train(part, rows, checkpoints, log, vectors, words, steps, report)
    progress.done(f"{cfg.train.steps} steps, text-only control {cfg.text_only_steps} steps")
    return {"digest": workdirs.digest([cfg.train.steps, words.digest])}


def _with_twins(cfg: config.Experiment) -> config.Experiment:
    """The experiment with the text-only twins of the datasets that are mixed in: `pack` leaves them beside each."""
    twins = tuple(f"{directory.rstrip('/')}_{TEXT_ONLY}={weight}" for directory, weight in cfg.train.mixed)
    return dataclasses.replace(cfg, train=dataclasses.replace(cfg.train, mixture=twins))


def _training_report(progress: Progress, steps: int, what: str) -> Callable[[int, dict[str, Any]], None]:
    def report(step: int, logged: dict[str, Any]) -> None:
        loss, speed = logged.get("loss"), logged.get("nonpadding_tokens_per_second")
        words = f"{what}: step {step}"
        words += f", loss {loss:.3f}" if loss is not None else ""
        words += f", {speed:,.0f} tokens/s" if speed is not None else ""
        progress.update(step, steps, words)

    return report


def _evaluate(cfg: config.Experiment, work: Workdir, progress: Progress) -> dict[str, Any]:
    from biomechgpt_jax.data import movements
    from biomechgpt_jax.data.splits import SPLITS
    from biomechgpt_jax.evaluation import run as evaluation
    from biomechgpt_jax.evaluation.predict import LanguageModel
    from biomechgpt_jax.tokenizer import vocabulary
    from biomechgpt_jax.training import language

    codec, words = vocabulary.load(work.tokenizer)

    def model(checkpoints: Path) -> LanguageModel:
        return LanguageModel(language.load_params(checkpoints, cfg, words), cfg.model, words, cfg.evaluation.batch_size)

    inputs = evaluation.Inputs(
        trials={split: list(movements.read(work.movements, split)) for split in SPLITS},
        model=model(work.checkpoints),
        text_only=model(work.checkpoints_text_only),
        codec=codec,
        logs={"model": work.metrics, TEXT_ONLY: work.metrics_text_only},
        wall_seconds={stage: workdirs.read_marker(work, stage).get("seconds", 0.0) for stage in STAGES[:-1]},
        made={"git revision": workdirs.git_revision()[:12]},
    )
    found = evaluation.evaluate(
        cfg, inputs, work.evaluation, lambda what, done, whole: progress.update(done, whole, what)
    )
    progress.done(f"{found['test_participants']} held-out participants")
    return {"digest": workdirs.digest(found["families"])}


_STAGES: dict[str, Callable[[config.Experiment, Workdir, Progress], dict[str, Any]]] = {
    "simulate": _simulate,
    "tokenizer": _tokenizer,
    "pack": _pack,
    "train": _train,
    "evaluate": _evaluate,
}


def ask(workdir: Path, file: Path, text: str) -> dict[str, Any]:
    """Answer a question about a motion file with a trained model.

    Returns:
        "question", "answer", "probability", "unit", "text" (the answer in words, empty if it is no number), and
        "options" for a closed question.

    Raises:
        InputError: the file cannot be read, the question is not understood, or nothing is trained here.
    """
    from biomechgpt_jax import formats
    from biomechgpt_jax.biomechanics import preprocess
    from biomechgpt_jax.data import crops
    from biomechgpt_jax.evaluation import predict
    from biomechgpt_jax.questions.registry import QUESTIONS, match
    from biomechgpt_jax.tokenizer import vocabulary
    from biomechgpt_jax.training import language

    question = match(text)
    if question is None:
        known = "; ".join(one.templates[0] for one in QUESTIONS.values())
        raise InputError(f"the question {text!r} is not understood; ask one of: {known}")
    trajectory = preprocess.canonical(formats.read(file))
    if question.name in crops.unanswerable(trajectory.observed):
        what = question.name.replace("_", " ")
        raise InputError(f"{file} has no pelvis_tx or pelvis_tz: {what} cannot be asked of it")
    work = Workdir(workdir)
    cfg = workdirs.load_experiment(workdir)
    codec, words = vocabulary.load(work.tokenizer)
    model = predict.LanguageModel(language.load_params(work.checkpoints, cfg, words), cfg.model, words, 1)
    exact = text if text in question.templates else question.templates[0]
    said = predict.ask(
        model,
        codec.encode,
        trajectory.coordinates,
        trajectory.observed,
        question.name,
        exact,
        QUESTIONS,
        crops.longest_frames(cfg, trajectory.rate_hz) / trajectory.rate_hz,
    )
    return said | {"text": "" if said["answer"] is None else question.answer_text(said["answer"])}
