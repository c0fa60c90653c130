"""Run the stages of an experiment in order. A complete stage whose inputs have not changed is skipped."""

from __future__ import annotations

import dataclasses
import functools
import importlib
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from biomechgpt_jax import config
from biomechgpt_jax import workdir as workdirs
from biomechgpt_jax.errors import InputError
from biomechgpt_jax.parallel import distributed, records
from biomechgpt_jax.progress import Progress
from biomechgpt_jax.questions import registry, truth
from biomechgpt_jax.workdir import STAGES, Workdir

Body = Callable[..., dict[str, Any]]
# In multi-process runs, every process takes part in these stages; in the others, all wait for process 0.
_EVERYWHERE = ("tokenizer", "train")


def run(
    cfg: config.Experiment, workdir: Path, until: str = "evaluate", show: bool = True, beam: Sequence[str] = ()
) -> dict[str, Any]:
    """Run every unfinished stage up to `until`, and return the outcome of the last stage.

    `beam` holds options of an Apache Beam pipeline, such as "--runner=DirectRunner", that then simulates the cohort.

    A stage is done when its marker holds the digest of its inputs: its part of the configuration, the questions and the
    rules of their true answers where it depends on them, and the outcome of the previous stages. A stage removes its
    marker when it starts.

    In a multi-process run every process calls this (see `parallel.distributed`): all train together, and process 0 does
    the rest.

    Raises:
        InputError: the input is wrong, or the processes differ in code, configuration, data or working directory.
    """
    if until in ("calibrate", "evaluate"):
        refuse_several(until)
    work = workdirs.open_workdir(cfg, workdir)
    with records.record_run(workdir, until):
        return _run_stages(cfg, work, until, show and distributed.first(), beam)


def refuse_several(stage: str) -> None:
    """Raise InputError in a multi-process run, where every process would write what the stage makes."""
    if distributed.several():
        raise InputError(f"{stage} runs on one process: start it without the launcher, on the same --workdir")


def _run_stages(cfg: config.Experiment, work: Workdir, until: str, show: bool, beam: Sequence[str]) -> dict[str, Any]:
    outcome: dict[str, Any] = {}
    inputs = ""
    for stage in STAGES[: STAGES.index(until) + 1]:
        inputs = workdirs.digest([inputs, stage, _inputs_of(cfg, stage)])
        with Progress(stage, show) as progress:
            marker = distributed.on_first(f"marker/{stage}", functools.partial(_read_valid_marker, work, stage, inputs))
            if marker:
                progress.skip(f"done before in {marker['seconds']:.0f} s")
                outcome = marker["outcome"]
            else:
                if distributed.first():
                    work.marker(stage).unlink(missing_ok=True)
                started = time.monotonic()
                make = functools.partial(_load_body(stage), cfg, work, progress)
                if stage == "simulate" and beam:
                    make = functools.partial(make, beam)
                outcome = make() if stage in _EVERYWHERE else distributed.on_first(f"outcome/{stage}", make)
                seconds = round(time.monotonic() - started, 1)
                if distributed.first():
                    workdirs.write_marker(work, stage, inputs, seconds, outcome)
        inputs = workdirs.digest([inputs, outcome.get("digest", "")])
    return outcome


def _load_body(stage: str) -> Body:
    """Import the function of a stage when it is needed, so that a finished stage costs nothing."""
    return importlib.import_module(f"biomechgpt_jax.stages.{stage}").run


def _read_valid_marker(work: Workdir, stage: str, inputs: str) -> dict[str, Any]:
    """The marker of a stage that is done with these inputs; otherwise empty."""
    marker = workdirs.read_marker(work, stage)
    return marker if marker.get("inputs") == inputs and _is_intact(work, stage, marker) else {}


def _inputs_of(cfg: config.Experiment, stage: str) -> Any:
    """The inputs of a stage, other than the previous stages: configuration, questions, other datasets."""
    model = dataclasses.replace(cfg.model, pretrained="")  # its digests stand for it, wherever it lies
    parts_of: dict[str, list[Any]] = {
        "simulate": [cfg.cohort],
        "tokenizer": [cfg.tokenizer, registry.digest()],  # the text tokenizer is trained on the questions
        "pack": [cfg.pack, registry.digest(), truth.digest()],
        "train": [model, cfg.optimizer, cfg.train.steps, cfg.text_only_steps, *cfg.train.teaches.values()],
        "calibrate": [cfg.evaluation.numbers],
        "evaluate": [cfg.evaluation],
    }
    parts: list[Any] = [
        part if isinstance(part, int | float | str) else config.described(part) for part in parts_of[stage]
    ]
    if stage in ("tokenizer", "train") and cfg.model.pretrained:
        from biomechgpt_jax.tasks import base

        parts.append(base.digests(cfg.model))
    if stage in ("tokenizer", "train") and cfg.train.start_from:
        parts.append(["start_from", cfg.train.start_from])
    if stage == "train" and cfg.train.mixture:
        from biomechgpt_jax.data import loader

        parts.append([(loader.digest(directory), weight) for directory, weight in cfg.train.mixed])
    return parts


def _is_intact(work: Workdir, stage: str, marker: Mapping[str, Any]) -> bool:
    """Whether the output of a finished stage still exists and is unchanged."""
    from biomechgpt_jax.calibration.stored import digest as calibration_digest
    from biomechgpt_jax.data import store
    from biomechgpt_jax.tokenizer import vocabulary

    digest = marker.get("outcome", {}).get("digest", "")
    if stage == "simulate":
        return store.is_dataset(work.movements) and store.metadata(work.movements)["digest"] == digest
    if stage == "tokenizer":
        return work.tokenizer.is_dir() and vocabulary.load(work.tokenizer)[1].digest == digest
    if stage == "pack":
        return store.is_dataset(work.sequences) and store.metadata(work.sequences)["digest"] == digest
    if stage == "train":
        return work.checkpoints.is_dir() and work.checkpoints_text_only.is_dir()
    if stage == "calibrate":
        return work.calibration.is_file() and calibration_digest(work.calibration) == digest
    return (work.evaluation / "metrics.json").is_file() and (work.evaluation / "report.html").is_file()
