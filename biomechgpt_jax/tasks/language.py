"""The language model as a task of the training loop: packed rows, cross-entropy, its step and its checkpoints."""

import functools
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any, Protocol

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.sharding import Mesh

from biomechgpt_jax import config
from biomechgpt_jax.data import loader as data
from biomechgpt_jax.errors import InputError
from biomechgpt_jax.model import decoder, flops
from biomechgpt_jax.parallel import feed, sharding
from biomechgpt_jax.tasks import trained
from biomechgpt_jax.tasks.objective import Objective, following
from biomechgpt_jax.training import loop, loss, optimizer
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
    def codes(self) -> int: ...
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

    counted = ("answer_tokens", "tokens", "nonpadding_tokens", "flops", "padded_flops")
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
        self._asked = (vocabulary.motion_offset, vocabulary.codes, data.families(sequences_dir))

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
        return make_step(self._experiment, self._vocabulary.size, mesh, steps, *self._asked)

    def batches(self, mesh: Mesh, start: int, stop: int) -> feed.Prefetch:
        """Packed rows of the training split, sent ahead."""
        return feed.Prefetch(self._rows(mesh, "train"), start, stop)

    def make_validation(self, mesh: Mesh) -> Callable[[State], dict[str, float]]:
        """Loss on the first rows of the validation split; nothing where there is no such split."""
        evaluate = make_evaluation(self._experiment, mesh, *self._asked)
        asks = Objective(self._experiment.train, self._experiment.model, *self._asked)
        try:
            loader = self._rows(mesh, "validation")
        except InputError:
            return lambda _: {}
        rows = VALIDATION_BATCHES * self._experiment.train.batch_size
        batches = [loader.device_batch(i) for i in range(-(-min(rows, len(loader)) // loader.global_batch))]

        def validate(state: State) -> dict[str, float]:
            found = [jax.device_get(evaluate(state["params"], batch)) for batch in batches]
            losses_G, weights_G = (np.sum(part, axis=0) for part in zip(*found, strict=True))
            if not weights_G.sum():
                return {}
            told = {"loss": losses_G.sum() / weights_G.sum()} | asks.told(losses_G, weights_G)
            return {f"validation_{name}": float(value) for name, value in told.items()}

        return validate

    def _rows(self, mesh: Mesh, split: str) -> data.Loader:
        cfg, layout = self._experiment.train, functools.partial(sharding.batch_sharding, mesh)
        if split == "train":
            return data.open_loader(self._sequences, split, cfg.batch_size, cfg.seed, layout, mixed=cfg.mixed)
        rows = cfg.batch_size // cfg.accumulation  # what fits into memory at once
        return data.open_loader(self._sequences, split, rows, 0, layout, shuffle=False)


def identity(experiment: config.Experiment, vocabulary: VocabularyLike, dataset: str, steps: int) -> dict[str, Any]:
    """What a checkpoint and a run that resumes from it must share; mesh, hosts and logging are free."""
    ends = {"steps": steps, "stable_until": optimizer.stable_until(experiment.optimizer, steps)}
    return trained.identity(experiment.model, vocabulary) | {
        "optimizer": asdict(experiment.optimizer) | ends,
        "dataset": {"digest": dataset},
        "train": experiment.train.teaches,
    }


def _optimizer(experiment: config.Experiment, vocabulary_size: int) -> optax.GradientTransformation:
    return optimizer.make(experiment.optimizer, decoder.logical_axes(experiment.model, vocabulary_size))


def init_state(key: jax.Array, experiment: config.Experiment, vocabulary_size: int, mesh: Mesh) -> State:
    """The state before the first step, born sharded."""
    params = decoder.init(key, experiment.model, vocabulary_size, mesh)
    layout = abstract_state(experiment, vocabulary_size, mesh)
    return steps_lib.fresh_state(params, _optimizer(experiment, vocabulary_size), layout)


def abstract_state(experiment: config.Experiment, vocabulary_size: int, mesh: Mesh) -> State:
    """The state with its layout; computes nothing.

    Raises:
        InputError: a size that the mesh does not divide.
    """
    params = decoder.abstract(experiment.model, vocabulary_size)
    shardings = decoder.param_shardings(mesh, experiment.model, vocabulary_size)
    return steps_lib.abstract_state(params, shardings, _optimizer(experiment, vocabulary_size), mesh)


def make_step(
    experiment: config.Experiment,
    vocabulary_size: int,
    mesh: Mesh,
    steps: int,
    ids: int | None = None,
    codes: int = 0,
    families: tuple[str, ...] = (),
) -> StepFunction:
    """The jitted training step; the state is donated.

    Args:
        experiment: model, optimizer and train.
        vocabulary_size: V.
        mesh: the mesh; call the step inside `jax.set_mesh(mesh)`.
        steps: total steps, for the schedule.
        ids, codes, families: as in `objective.Objective`.

    Returns:
        step(state, batch) -> (state, metrics). Metrics are device scalars: those of `step.advance` (the loss is the
        cross-entropy in nats per token that counts, without z-loss), those of `Objective.told`, answer_tokens (sum of
        the rows' loss weights), tokens (padding included), nonpadding_tokens, flops and padded_flops.
    """
    train = experiment.train
    asks = Objective(train, experiment.model, ids, codes, families)
    shardings = steps_lib.shardings_of(abstract_state(experiment, vocabulary_size, mesh))
    transform = _optimizer(experiment, vocabulary_size)
    learning_rate = optimizer.schedule(experiment.optimizer, steps)
    softmax_ids = asks.softmax_ids or vocabulary_size

    def step(state: State, batch: Batch) -> tuple[State, Metrics]:
        weights_BL, _ = asks.asked(batch)
        weight = jnp.sum(weights_BL)  # of the GLOBAL batch: its parts are no means of their own

        def share(params: Any, part: Batch) -> tuple[jax.Array, loss.Sums]:
            sums = asks.sums(params, part, mesh)
            return loss.mean(sums.objective, weight), sums

        judged = jax.value_and_grad(share, has_aux=True)
        (value, sums), gradients = steps_lib.summed(judged, state["params"], batch, train.accumulation, mesh)
        gradients = jax.lax.with_sharding_constraint(gradients, shardings["params"])
        rate = learning_rate(state["step"])
        state, metrics = steps_lib.advance(state, value, gradients, transform, rate, train.spike_factor)
        metrics |= asks.told(sums.losses_G, sums.weights_G)
        if train.z_loss:
            metrics |= {"loss": loss.mean(jnp.sum(sums.losses_G), weight), "objective": value}
        work = flops.of_batch(experiment.model, batch, jnp.count_nonzero(weights_BL), softmax_ids)
        counts = {
            "answer_tokens": jnp.sum(following(batch["loss_weights"])),
            "tokens": jnp.int32(batch["tokens"].size),
            "nonpadding_tokens": jnp.count_nonzero(batch["segments"]),
            "flops": work.needed,
            "padded_flops": work.padded,
        }
        return state, metrics | counts

    return jax.jit(step, donate_argnums=0, out_shardings=(shardings, steps_lib.everywhere(mesh)))


def make_evaluation(
    experiment: config.Experiment,
    mesh: Mesh,
    ids: int | None = None,
    codes: int = 0,
    families: tuple[str, ...] = (),
) -> Callable[[Any, Batch], tuple[jax.Array, jax.Array]]:
    """Jitted (params, batch) -> (losses_G, weights_G) of `loss.Sums`; `ids` and the others as in `make_step`."""
    asks = Objective(experiment.train, experiment.model, ids, codes, families)

    def evaluate(params: Any, batch: Batch) -> tuple[jax.Array, jax.Array]:
        sums = asks.sums(params, batch, mesh)
        outside = jnp.where(jnp.isnan(sums.objective), jnp.nan, 0.0)
        return sums.losses_G + outside, sums.weights_G

    return jax.jit(evaluate, out_shardings=steps_lib.everywhere(mesh))
