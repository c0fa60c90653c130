"""The tokenizer stage: train the motion codec and the text tokenizer, and report on the codec."""

import dataclasses
import functools
import itertools
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from biomechgpt_jax import config
from biomechgpt_jax.biomechanics.trajectory import Trial
from biomechgpt_jax.codec import dct
from biomechgpt_jax.codec.backends import MotionCodec
from biomechgpt_jax.data import movements, splits, store
from biomechgpt_jax.errors import InputError
from biomechgpt_jax.evaluation.codec import reconstruction
from biomechgpt_jax.files import write_json
from biomechgpt_jax.parallel import distributed
from biomechgpt_jax.pretrained import peft
from biomechgpt_jax.progress import Progress
from biomechgpt_jax.questions import registry
from biomechgpt_jax.reports import codec_report, origin
from biomechgpt_jax.tasks import codec as codec_task
from biomechgpt_jax.tokenizer import vocabulary
from biomechgpt_jax.tokenizer.sentencepiece import SentencePieceTokenizer
from biomechgpt_jax.tokenizer.text import TextTokenizer
from biomechgpt_jax.training.loop import Places
from biomechgpt_jax.workdir import Workdir

# Maximum number of validation trials that the stage measures its codec on; `--report` uses all of them.
_STAGE_TRIALS = 80


def run(cfg: config.Experiment, work: Workdir, progress: Progress) -> dict[str, Any]:
    """Train the motion codec and the text tokenizer, and measure the codec on validation participants."""

    def report(step: int, logged: dict[str, Any]) -> None:
        loss = logged.get("loss")
        progress.update(step, cfg.tokenizer.steps, f"step {step}" + (f", loss {loss:.4f}" if loss is not None else ""))

    if cfg.train.start_from and not peft.is_adapter(cfg.train.start_from):
        return distributed.on_first("codec", functools.partial(_take_over, Path(cfg.train.start_from), work, progress))
    trials = list(movements.read(work.movements, "train"))
    train = [(trial.trajectory.coordinates, trial.trajectory.observed) for trial in trials]
    if not train:
        synthetic = store.metadata(work.movements).get("synthetic", True)
        raise InputError(f"nobody is in the training split; {splits.remedy('train', synthetic)}")
    if distributed.first():
        work.codec_report.unlink(missing_ok=True)  # it describes the codec that is being replaced
        if not work.checkpoints_codec.is_dir():
            work.metrics_codec.unlink(missing_ok=True)  # the log of a finished codec, not of one whose training resumes
    codec: MotionCodec
    if cfg.tokenizer.quantizer == "dct":
        codec = dct.fit(cfg.tokenizer, train, report)
    else:
        places = Places(work.checkpoints_codec, work.metrics_codec)
        policy = dataclasses.replace(cfg.train, keep_last=1)
        known = cfg.tokenizer.denoise and any(len(trial.clean) for trial in trials)
        targets = [trial.true_coordinates for trial in trials] if known else None
        codec = codec_task.train(cfg.tokenizer, train, report, policy, cfg.mesh, places, targets)
    return distributed.on_first("codec", functools.partial(_save_codec, cfg, work, progress, codec))


def _save_codec(cfg: config.Experiment, work: Workdir, progress: Progress, codec: MotionCodec) -> dict[str, Any]:
    """Make the text tokenizer, and save both."""
    text = _text_tokenizer(cfg)
    made = vocabulary.Vocabulary(text, codec.codes, codec.digest, codec.layers)
    outcome = _save(work, progress, codec, made)
    shutil.rmtree(work.checkpoints_codec, ignore_errors=True)  # training of a finished codec is never resumed
    return outcome


def _take_over(run: Path, work: Workdir, progress: Progress) -> dict[str, Any]:
    """Save the codec and the vocabulary of a run whose weights training starts from."""
    theirs = Workdir(run)
    if run.resolve() == work.root.resolve():
        raise InputError(f"train.start_from is {run}, this run itself; give another --workdir")
    if not theirs.tokenizer.is_dir():
        raise InputError(f"train.start_from: {run} holds no run; give the working directory of a trained one")
    return _save(work, progress, *vocabulary.load(theirs.tokenizer))


def _save(work: Workdir, progress: Progress, codec: MotionCodec, made: vocabulary.Vocabulary) -> dict[str, Any]:
    """Save codec and vocabulary, and measure the codec on validation participants.

    Test participants are not used, because these figures serve to choose between codecs.
    """
    vocabulary.save(work.tokenizer, codec, made)
    measured = _measure(codec, list(itertools.islice(movements.read(work.movements, "validation"), _STAGE_TRIALS)))
    write_json(work.codec_fidelity, measured)
    fidelity = _words(measured) if measured else "fidelity not measured: nobody is in the validation split"
    progress.done(f"{made.codes} motion codes, {made.text.size} pieces; {fidelity}")
    return {"digest": made.digest, "fidelity": measured}


def _text_tokenizer(cfg: config.Experiment) -> TextTokenizer:
    """That of the pretrained model if there is one, otherwise one that is trained on the questions."""
    if not cfg.model.pretrained:
        return SentencePieceTokenizer.train(registry.corpus(), cfg.tokenizer.text_pieces)
    from biomechgpt_jax.pretrained import folder, text

    opened = folder.open_folder(Path(cfg.model.pretrained))
    return text.tokenizer_of(opened, cfg.model.text_rows, cfg.tokenizer.chat_template)


def _measure(codec: MotionCodec, trials: Sequence[Trial]) -> dict[str, float]:
    """Measure the fidelity of the codec (see `reconstruction.measure`); empty without trials."""
    if not trials:
        return {}
    return reconstruction.measure(
        codec,
        [trial.trajectory.coordinates for trial in trials],
        [trial.trajectory.observed for trial in trials],
        [trial.diagnosis == "healthy" if trial.diagnosis else None for trial in trials],
        [trial.true_coordinates for trial in trials] if any(len(trial.clean) for trial in trials) else None,
    )


def report_codec(
    cfg: config.Experiment, workdir: Path, people: Path | None = None, show: bool = True
) -> dict[str, Any]:
    """Write `tokenizer/report.html` and `tokenizer/fidelity.json` about the stored codec.

    Args:
        cfg: the experiment that made the codec.
        workdir: working directory of that experiment.
        people: a `movements` dataset of other people, such as a development cohort, all of whom are used; if None, the
            validation participants of the run. The test participants of the run are reserved for `evaluate`.
        show: whether to show progress.

    Returns:
        The figures from `evaluation.codec.figures.figures`.

    Raises:
        InputError: there is nobody to measure, the codec was trained on somebody in `people`, or there is no codec or
            dataset.
    """
    work = Workdir(workdir)
    codec, _ = vocabulary.load(work.tokenizer)
    trials = (
        movements.read_other_people(people, work.movements)
        if people
        else list(movements.read(work.movements, "validation"))
    )
    with Progress("codec report", show) as progress:
        figures = codec_report.write(
            work.tokenizer,
            codec,
            trials,
            origin.from_facts(cfg.name, cfg.cohort.noise, store.metadata(people or work.movements)),
            cfg.evaluation.bootstrap,
            cfg.evaluation.seed,
            lambda done, whole: progress.update(done, whole, f"{done} of {whole} trials"),
        )
        progress.done(f"{figures['data']['participants']} participants, {work.codec_report}")
    return figures


def _words(measured: Mapping[str, float]) -> str:
    return ", ".join(f"{name.replace('_', ' ')} {value:.3g}" for name, value in list(measured.items())[:4])
