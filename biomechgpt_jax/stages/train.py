"""The train stage: train the language model and its text-only control."""

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

from biomechgpt_jax import config
from biomechgpt_jax import workdir as workdirs
from biomechgpt_jax.data import loader, store
from biomechgpt_jax.errors import InputError
from biomechgpt_jax.parallel import agreement, distributed
from biomechgpt_jax.pretrained import peft
from biomechgpt_jax.progress import Progress
from biomechgpt_jax.tasks import base as base_lib
from biomechgpt_jax.tasks import language
from biomechgpt_jax.tasks.id_space import IdSpace
from biomechgpt_jax.tokenizer import vocabulary
from biomechgpt_jax.training.loop import Places
from biomechgpt_jax.workdir import TEXT_ONLY, Workdir


def _check_vocabulary(sequences: Path, digest: str) -> None:
    packed = store.metadata(sequences)["vocabulary"]
    if packed != digest:
        raise InputError(
            f"{sequences} was packed with vocabulary {packed}, the tokenizer here makes {digest}; "
            "run `biomechgpt pack` again or give another --workdir"
        )


def run(cfg: config.Experiment, work: Workdir, progress: Progress) -> dict[str, Any]:
    _, words = vocabulary.load(work.tokenizer)
    _check_vocabulary(work.sequences, words.digest)
    agreement.agree(
        "data",
        {"tokenizer": words.digest}
        | {rows.name: loader.digest(rows) for rows in (work.sequences, work.sequences_text_only)}
        | {f"{directory}": loader.digest(directory) for directory, _ in cfg.train.mixed}
        | base_lib.digests(cfg.model),
        distributed.current().barrier_timeout_s,
    )
    runs = (
        (cfg.train.steps, work.sequences, work.checkpoints, work.metrics, "model"),
        (
            *(cfg.text_only_steps, work.sequences_text_only, work.checkpoints_text_only, work.metrics_text_only),
            "text-only control",
        ),
    )
    base = base_lib.of(cfg.model)
    for steps, rows, checkpoints, log, what in runs:
        report = _reporter(progress, steps, what)
        part = cfg if rows == work.sequences else _with_twins(cfg)
        places, start = Places(checkpoints, log), base.start
        if peft.is_adapter(cfg.train.start_from):
            start = dataclasses.replace(start, adapter=Path(cfg.train.start_from))
        elif cfg.train.start_from:
            theirs = Path(cfg.train.start_from) / checkpoints.name
            start = dataclasses.replace(
                start, checkpoints=theirs, note=checkpoints.with_name(f"{checkpoints.name}.json")
            )
        language.train(part, rows, steps, places, report, IdSpace.of(words), frozen=base.frozen, start=start)
    progress.done(f"{cfg.train.steps} steps, text-only control {cfg.text_only_steps} steps")
    return {"digest": workdirs.digest([cfg.train.steps, words.digest])}


def _with_twins(cfg: config.Experiment) -> config.Experiment:
    """The experiment with each dataset of its mixture replaced by the text-only twin that `pack` writes beside it."""
    twins = tuple(f"{directory.rstrip('/')}_{TEXT_ONLY}={weight}" for directory, weight in cfg.train.mixed)
    return dataclasses.replace(cfg, train=dataclasses.replace(cfg.train, mixture=twins))


def _reporter(progress: Progress, steps: int, what: str) -> Callable[[int, dict[str, Any]], None]:
    def report(step: int, logged: dict[str, Any]) -> None:
        loss, speed = logged.get("loss"), logged.get("nonpadding_tokens_per_second")
        words = f"{what}: step {step}"
        words += f", loss {loss:.3f}" if loss is not None else ""
        words += f", {speed:,.0f} tokens/s" if speed is not None else ""
        progress.update(step, steps, words)

    return report
