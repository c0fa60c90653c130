"""The training loop: from packed rows to trained parameters, resuming by itself."""

import functools
import signal
import threading
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any, Protocol

import jax
import numpy as np
from jax.experimental import multihost_utils

from biomechgpt_jax import config
from biomechgpt_jax.data import loader as data
from biomechgpt_jax.errors import InputError
from biomechgpt_jax.model import decoder
from biomechgpt_jax.parallel import mesh as meshes
from biomechgpt_jax.parallel import sharding
from biomechgpt_jax.training import checkpoint, metrics
from biomechgpt_jax.training import step as steps_lib

PREEMPTED = 75  # exit code: stopped after saving, run again
VALIDATION_BATCHES = 8  # the first rows of the split, the same every time

Progress = Callable[[int, dict[str, Any]], None]


class Diverged(RuntimeError):
    """More steps were skipped than `train.skip_limit` allows."""


class VocabularyLike(Protocol):
    """What training asks of the vocabulary."""

    @property
    def size(self) -> int: ...
    @property
    def motion_offset(self) -> int: ...
    @property
    def digest(self) -> str: ...


def train(
    experiment: config.Experiment,
    sequences_dir: str | Path,
    checkpoints_dir: str | Path,
    metrics_path: str | Path,
    codec_vectors: np.ndarray | None,
    vocabulary: VocabularyLike,
    steps: int,
    progress: Progress,
) -> decoder.Params:
    """Train the decoder for `steps` steps in all, from the newest good checkpoint if there is one.

    Args:
        experiment: model, optimizer, train and mesh are read.
        sequences_dir: packed rows, splits `train` and (if any) `validation`.
        checkpoints_dir: written and resumed from.
        metrics_path: metrics.jsonl; TensorBoard events go beside it.
        codec_vectors: f32[codes, K] that the embeddings of motion codes start from; None: random ones.
        vocabulary: the joint vocabulary.
        steps: total steps, over all runs.
        progress: called with (completed steps, the logged entry).

    Returns:
        Trained parameters, a nested dict of f32 arrays on the mesh.

    Raises:
        InputError: no packed rows, a mesh that does not fit, or checkpoints of another experiment.
        Diverged: too many skipped steps.
        SystemExit: code 75 after a SIGTERM, the state saved.
    """
    cfg, mesh = experiment.train, meshes.make(experiment.mesh)
    layout = functools.partial(sharding.batch_sharding, mesh)
    loader = data.open_loader(sequences_dir, "train", cfg.batch_size, cfg.seed, layout)
    checkpoints = checkpoint.Checkpoints(
        checkpoints_dir, identity(experiment, vocabulary, data.digest(sequences_dir), steps), cfg.keep_last
    )
    with _closing(checkpoints), Preemption() as preemption:
        restored = checkpoints.restore(steps_lib.abstract_state(experiment, vocabulary.size, mesh))
        if restored is None:
            done, state = 0, _fresh_state(experiment, codec_vectors, vocabulary, mesh)
        else:
            done, state = restored
        if done >= steps:
            return state["params"]

        train_step = steps_lib.make_step(experiment, vocabulary.size, mesh, steps)
        validate = _Validation(experiment, sequences_dir, mesh)
        meter = metrics.Meter(cfg.batch_size * loader.row_length)
        pending: tuple[int, dict[str, jax.Array]] | None = None

        with (
            jax.set_mesh(mesh),
            metrics.MetricsLog(metrics_path, done) as log,
            loader.prefetch(done, steps) as batches,
        ):

            def record(completed: int, device_metrics: dict[str, jax.Array]) -> None:
                """Fetch a step's metrics; log them if it is its turn."""
                values = {name: value.item() for name, value in jax.device_get(device_metrics).items()}
                meter.add(values.pop("answer_tokens"), values.pop("nonpadding_tokens"))
                if values.pop("skipped_total") > cfg.skip_limit:
                    raise Diverged(
                        f"step {completed}: more than train.skip_limit = {cfg.skip_limit} steps were skipped "
                        "(not finite, or a spike); lower optimizer.peak_learning_rate and train anew"
                    )
                if completed % cfg.log_every == 0 or completed in (1, steps):
                    progress(completed, log.write(completed, values | meter.read()))

            for batch in batches:
                state, device_metrics = train_step(state, batch)
                done += 1
                if pending is not None:
                    record(*pending)  # one step late: the device is never kept waiting
                pending = (done, device_metrics)
                checkpoints.check()

                stopping = preemption.requested(done)
                due = done == steps or done % cfg.checkpoint_every == 0
                if due or stopping:
                    record(*pending)
                    pending = None
                    if due:
                        for name, value in validate(state["params"]).items():
                            progress(done, log.write(done, {name: value}))
                    log.sync()
                    checkpoints.save(done, state)
                    meter.pause()
                if stopping and done < steps:
                    checkpoints.wait()
                    raise SystemExit(PREEMPTED)
        checkpoints.wait()
        return state["params"]


def load_params(
    checkpoints_dir: str | Path,
    experiment: config.Experiment,
    vocabulary: VocabularyLike,
    mesh: jax.sharding.Mesh | None = None,
) -> decoder.Params:
    """Verified parameters of the newest good checkpoint; nothing in the directory is changed.

    Args:
        checkpoints_dir: written by `train`.
        experiment: its model must be that of the checkpoint.
        vocabulary: its digest must be that of the checkpoint.
        mesh: where to put them; None: the first device.

    Raises:
        InputError: there is no good checkpoint, or it belongs to another model or tokenizer.
    """
    shapes = decoder.abstract(experiment.model, vocabulary.size)
    if mesh is None:
        first = jax.sharding.SingleDeviceSharding(jax.local_devices()[0])
        shardings = jax.tree.map(lambda _: first, shapes)
    else:
        shardings = decoder.param_shardings(mesh, experiment.model, vocabulary.size)
    abstract = jax.tree.map(steps_lib.placed, shapes, shardings)
    asked = identity(experiment, vocabulary, dataset="", steps=0)
    restored = checkpoint.restore(
        checkpoints_dir, {"params": abstract}, {name: asked[name] for name in ("model", "vocabulary")}
    )
    if restored is None:
        raise InputError(f"{checkpoints_dir} holds no good checkpoint; train first")
    return restored[1]["params"]


def identity(experiment: config.Experiment, vocabulary: VocabularyLike, dataset: str, steps: int) -> dict[str, Any]:
    """What a checkpoint and a run that resumes from it must share; mesh, hosts and logging are free."""
    model = asdict(experiment.model)
    del model["remat"]  # memory against time, not another model
    return {
        "model": model,
        "optimizer": asdict(experiment.optimizer) | {"steps": steps},  # both schedules end at the last step
        "vocabulary": {"digest": vocabulary.digest, "size": vocabulary.size},
        "dataset": {"digest": dataset},
        "train": {"seed": experiment.train.seed, "batch_size": experiment.train.batch_size},
    }


def _fresh_state(
    experiment: config.Experiment,
    codec_vectors: np.ndarray | None,
    vocabulary: VocabularyLike,
    mesh: jax.sharding.Mesh,
) -> steps_lib.State:
    init_key, motion_key = jax.random.split(jax.random.key(experiment.train.seed))
    state = steps_lib.init_state(init_key, experiment, vocabulary.size, mesh)
    if codec_vectors is not None:

        def with_motion(params: decoder.Params, vectors: jax.Array) -> decoder.Params:
            return decoder.with_motion_embeddings(params, vocabulary.motion_offset, vectors, motion_key)

        place = jax.jit(
            with_motion,
            out_shardings=decoder.param_shardings(mesh, experiment.model, vocabulary.size),
            donate_argnums=0,
        )
        state["params"] = place(state["params"], np.asarray(codec_vectors, np.float32))
    return state


class _Validation:
    """Loss on the first rows of the validation split; nothing where there is no such split."""

    def __init__(self, experiment: config.Experiment, sequences_dir: str | Path, mesh: jax.sharding.Mesh) -> None:
        self._evaluate = steps_lib.make_evaluation(experiment, mesh)
        self._batches: list[dict[str, jax.Array]] = []
        rows, layout = experiment.train.batch_size, functools.partial(sharding.batch_sharding, mesh)
        try:
            loader = data.open_loader(sequences_dir, "validation", rows, 0, layout, shuffle=False)
        except InputError:
            return
        count = min(VALIDATION_BATCHES, -(-len(loader) // loader.global_batch))
        self._batches = [loader.device_batch(i) for i in range(count)]

    def __call__(self, params: decoder.Params) -> dict[str, float]:
        sums = np.sum([jax.device_get(self._evaluate(params, batch)) for batch in self._batches], axis=0)
        return {"validation_loss": float(sums[0] / sums[1])} if self._batches and sums[1] else {}


class Preemption:
    """Notices SIGTERM; with several processes, all of them notice it at the same step. A context manager."""

    def __init__(self) -> None:
        self._flag = threading.Event()
        self._previous: Any = None
        # Python delivers signals to the main thread only; with several processes jax listens itself.
        self._listens = threading.current_thread() is threading.main_thread() and jax.process_count() == 1

    def requested(self, step: int) -> bool:
        """Whether to save and stop after `step`; every process asks at every step."""
        if jax.process_count() > 1:
            return bool(multihost_utils.reached_preemption_sync_point(step))
        return self._flag.is_set()

    def __enter__(self) -> "Preemption":
        if self._listens:
            self._previous = signal.signal(signal.SIGTERM, lambda *_: self._flag.set())
        return self

    def __exit__(self, *_: object) -> None:
        if self._listens:
            signal.signal(signal.SIGTERM, self._previous)


class _closing:
    """Close the checkpoints in any case, without hiding the exception that ended the run."""

    def __init__(self, checkpoints: checkpoint.Checkpoints) -> None:
        self._checkpoints = checkpoints

    def __enter__(self) -> None: ...

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        try:
            self._checkpoints.close()
        except RuntimeError:
            if kind is None:
                raise
