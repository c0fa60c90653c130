"""The language model as a task of the training loop: packed rows, cross-entropy, its step and its checkpoints."""

import functools
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any, Protocol

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh

from biomechgpt_jax import config
from biomechgpt_jax.data import loader as data
from biomechgpt_jax.errors import InputError
from biomechgpt_jax.model import decoder
from biomechgpt_jax.parallel import sharding
from biomechgpt_jax.training import checkpoint, loop, loss, optimizer
from biomechgpt_jax.training import step as steps_lib
from biomechgpt_jax.training.step import Batch, Metrics, State, StepFunction

VALIDATION_BATCHES = 8  # the first rows of the split, the same every time


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
    progress: loop.Progress,
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
        loop.Diverged: too many skipped steps.
        SystemExit: code 75 after a SIGTERM, the state saved.
    """
    task = Language(experiment, sequences_dir, codec_vectors, vocabulary)
    places = loop.Places(Path(checkpoints_dir), Path(metrics_path))
    return loop.train(task, experiment.train, experiment.mesh, steps, places, progress)["params"]


class Language:
    """The task (see `loop.Task`); arguments as those of `train`."""

    counted = ("answer_tokens", "tokens", "nonpadding_tokens")
    remedy = "lower optimizer.peak_learning_rate"

    def __init__(
        self,
        experiment: config.Experiment,
        sequences_dir: str | Path,
        codec_vectors: np.ndarray | None,
        vocabulary: VocabularyLike,
    ) -> None:
        self._experiment = experiment
        self._sequences = sequences_dir
        self._vectors = codec_vectors
        self._vocabulary = vocabulary

    def identity(self, steps: int) -> dict[str, Any]:
        """What a checkpoint and a run that resumes from it must share."""
        content = data.mixture_digest(self._sequences, self._experiment.train.mixed)
        return identity(self._experiment, self._vocabulary, content, steps)

    def abstract_state(self, mesh: Mesh) -> State:
        """The state with its layout."""
        return abstract_state(self._experiment, self._vocabulary.size, mesh)

    def fresh_state(self, mesh: Mesh) -> State:
        """Random parameters, those of motion codes from the codec's vectors."""
        init_key, motion_key = jax.random.split(jax.random.key(self._experiment.train.seed))
        state = init_state(init_key, self._experiment, self._vocabulary.size, mesh)
        if self._vectors is not None:

            def with_motion(params: decoder.Params, vectors: jax.Array) -> decoder.Params:
                return decoder.with_motion_embeddings(params, self._vocabulary.motion_offset, vectors, motion_key)

            layout = decoder.param_shardings(mesh, self._experiment.model, self._vocabulary.size)
            place = jax.jit(with_motion, out_shardings=layout, donate_argnums=0)
            state["params"] = place(state["params"], np.asarray(self._vectors, np.float32))
        return state

    def make_step(self, mesh: Mesh, steps: int) -> StepFunction:
        """The jitted step."""
        return make_step(self._experiment, self._vocabulary.size, mesh, steps, self._vocabulary.motion_offset)

    def batches(self, mesh: Mesh, start: int, stop: int) -> data.Prefetch:
        """Packed rows of the training split, sent ahead."""
        return data.Prefetch(self._rows(mesh, "train"), start, stop)

    def make_validation(self, mesh: Mesh) -> Callable[[State], dict[str, float]]:
        """Loss on the first rows of the validation split; nothing where there is no such split."""
        evaluate = make_evaluation(self._experiment, mesh, self._vocabulary.motion_offset)
        try:
            loader = self._rows(mesh, "validation")
        except InputError:
            return lambda _: {}
        count = min(VALIDATION_BATCHES, -(-len(loader) // loader.global_batch))
        batches = [loader.device_batch(i) for i in range(count)]

        def validate(state: State) -> dict[str, float]:
            sums = np.sum([jax.device_get(evaluate(state["params"], batch)) for batch in batches], axis=0)
            return {"validation_loss": float(sums[0] / sums[1])} if sums[1] else {}

        return validate

    def _rows(self, mesh: Mesh, split: str) -> data.Loader:
        cfg, layout = self._experiment.train, functools.partial(sharding.batch_sharding, mesh)
        trains = split == "train"
        return data.open_loader(
            *(self._sequences, split, cfg.batch_size, cfg.seed if trains else 0, layout),
            shuffle=trains,
            mixed=cfg.mixed if trains else (),
        )


def load_params(
    checkpoints_dir: str | Path,
    experiment: config.Experiment,
    vocabulary: VocabularyLike,
    mesh: Mesh | None = None,
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


def init_state(key: jax.Array, experiment: config.Experiment, vocabulary_size: int, mesh: Mesh) -> State:
    """The state before the first step, born sharded."""
    params = decoder.init(key, experiment.model, vocabulary_size, mesh)
    layout = abstract_state(experiment, vocabulary_size, mesh)
    return steps_lib.fresh_state(params, optimizer.make(experiment.optimizer), layout)


def abstract_state(experiment: config.Experiment, vocabulary_size: int, mesh: Mesh) -> State:
    """The state with its layout; computes nothing.

    Raises:
        InputError: a size that the mesh does not divide.
    """
    params = decoder.abstract(experiment.model, vocabulary_size)
    shardings = decoder.param_shardings(mesh, experiment.model, vocabulary_size)
    return steps_lib.abstract_state(params, shardings, optimizer.make(experiment.optimizer), mesh)


def loss_sums(
    params: Any, batch: Batch, cfg: config.Model, chunk: int, mesh: Mesh, ids: int | None = None
) -> tuple[jax.Array, jax.Array]:
    """(sum of weight * loss, sum of weights) of a batch of packed rows, over the global batch.

    `loss_weights[i]` belongs to `tokens[i]` as a target, predicted from row index i - 1; the last hidden
    state of a row predicts nothing.

    Answers are text: with `ids` = `Vocabulary.motion_offset` the softmax runs over text and special ids ALONE, as if
    the logits of motion codes were -inf, and the many codes cost nothing. Answering normalises over the same ids
    (`generation`). A weighted token beyond them makes the loss NaN, so that the step is skipped.
    """
    hidden_BLD = decoder.hidden(params, batch, cfg)
    targets_BL = jnp.roll(batch["tokens"], -1, axis=1)
    weights_BL = jnp.roll(batch["loss_weights"], -1, axis=1).at[:, -1].set(0.0)
    head_DV = decoder.head(params, ids)
    total, weight = loss.cross_entropy(hidden_BLD, head_DV, targets_BL, weights_BL, chunk, mesh, cfg.logit_soft_cap)
    outside = jnp.any((targets_BL >= head_DV.shape[1]) & (weights_BL > 0))
    return jnp.where(outside, jnp.nan, total), weight


def make_step(
    experiment: config.Experiment, vocabulary_size: int, mesh: Mesh, steps: int, ids: int | None = None
) -> StepFunction:
    """The jitted training step; the state is donated.

    Args:
        experiment: model, optimizer and the guard's spike factor.
        vocabulary_size: V.
        mesh: the mesh; call the step inside `jax.set_mesh(mesh)`.
        steps: total steps, for the schedule.
        ids: that the softmax runs over, as in `loss_sums`; None: all.

    Returns:
        step(state, batch) -> (state, metrics). Metrics are device scalars: those of `step.advance` (the loss in nats
        per answer token), answer_tokens (sum of loss weights), tokens (padding included) and nonpadding_tokens.
    """
    cfg = experiment.model
    transform = optimizer.make(experiment.optimizer)
    learning_rate = optimizer.schedule(experiment.optimizer, steps)

    def mean_loss(params: Any, batch: Batch) -> tuple[jax.Array, jax.Array]:
        weighted_loss, weight = loss_sums(params, batch, cfg, experiment.train.loss_chunk, mesh, ids)
        return loss.mean(weighted_loss, weight), weight

    def step(state: State, batch: Batch) -> tuple[State, Metrics]:
        (value, weight), gradients = jax.value_and_grad(mean_loss, has_aux=True)(state["params"], batch)
        rate = learning_rate(state["step"])
        state, metrics = steps_lib.advance(state, value, gradients, transform, rate, experiment.train.spike_factor)
        counts = {
            "answer_tokens": weight,
            "tokens": jnp.int32(batch["tokens"].size),
            "nonpadding_tokens": jnp.count_nonzero(batch["segments"]),
        }
        return state, metrics | counts

    shardings = steps_lib.shardings_of(abstract_state(experiment, vocabulary_size, mesh))
    return jax.jit(step, donate_argnums=0, out_shardings=(shardings, steps_lib.everywhere(mesh)))


def make_evaluation(
    experiment: config.Experiment, mesh: Mesh, ids: int | None = None
) -> Callable[[Any, Batch], tuple[jax.Array, jax.Array]]:
    """Jitted (params, batch) -> (sum of weight * loss, sum of weights); `ids` as in `loss_sums`."""

    def evaluate(params: Any, batch: Batch) -> tuple[jax.Array, jax.Array]:
        return loss_sums(params, batch, experiment.model, experiment.train.loss_chunk, mesh, ids)

    return jax.jit(evaluate)
