"""The language model as a task of the training loop: packed rows, cross-entropy, its step and its checkpoints.

All it needs is a dataset of packed rows and an experiment:

    params = language.train(experiment, Path("runs/quickstart/sequences"), steps=100)
"""

import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.sharding import Mesh

from biomechgpt_jax import config
from biomechgpt_jax.data import loader as data
from biomechgpt_jax.files import write_json
from biomechgpt_jax.model import decoder, flops
from biomechgpt_jax.parallel import distributed, feed, sharding
from biomechgpt_jax.tasks import base as base_lib
from biomechgpt_jax.tasks import first_values, trained
from biomechgpt_jax.tasks.base import RANDOM, Start
from biomechgpt_jax.tasks.id_space import IdSpace
from biomechgpt_jax.tasks.objective import Objective, shift_left
from biomechgpt_jax.tasks.parameters import NOTHING, Frozen, Parameters
from biomechgpt_jax.training import frozen as frozen_lib
from biomechgpt_jax.training import loop, loss, optimizer
from biomechgpt_jax.training import step as steps_lib
from biomechgpt_jax.training.step import Batch, Metrics, State, StepFunction

_DROPOUT = 0x64726F70  # sets the keys of dropout apart from that of the first parameters


def train(
    experiment: config.Experiment,
    sequences_dir: str | Path,
    steps: int,
    places: loop.Places = loop.NOWHERE,
    progress: loop.Progress = lambda step, logged: None,
    ids: IdSpace | None = None,
    code_vectors: np.ndarray | None = None,
    frozen: Frozen = NOTHING,
    start: Start = RANDOM,
) -> decoder.Params:
    """Train the decoder until `steps` steps are complete, starting from the newest good checkpoint if there is one.

    Args:
        experiment: model, optimizer, train and mesh are read.
        sequences_dir: packed rows, with the splits `train` and, if any, `validation`.
        steps: total steps, those of earlier runs included.
        places: where checkpoints and metrics.jsonl are written; by default nothing is.
        progress: called with (completed steps, the logged entry).
        ids: how the ids are divided; None: as the rows say.
        code_vectors: f32[Q, N, C], of which the embeddings of motion codes are a learned map; None: those that were
            packed with the rows, and where there are none, codes have rows of the table of embeddings.
        frozen: parameters that are not trained.
        start: first values of others.

    Returns:
        All parameters, the frozen ones among them, a nested dict of arrays on the mesh.

    Raises:
        InputError: no packed rows, a mesh that does not fit, or checkpoints of another experiment.
        loop.Diverged: too many skipped steps.
        SystemExit: code 75 after a SIGTERM, once the state is saved.
    """
    task = Language(experiment, sequences_dir, ids, code_vectors, frozen, start)
    state, held = loop.train(task, experiment.train, experiment.mesh, steps, places, progress)
    return frozen_lib.merge(state["params"], held)


class Language:
    """The task (see `loop.Task`); arguments as those of `train`."""

    counted = ("answer_tokens", "tokens", "nonpadding_tokens", "flops", "padded_flops")
    remedy = "lower optimizer.peak_learning_rate"

    def __init__(
        self,
        experiment: config.Experiment,
        sequences_dir: str | Path,
        ids: IdSpace | None = None,
        code_vectors: np.ndarray | None = None,
        frozen: Frozen = NOTHING,
        start: Start = RANDOM,
    ) -> None:
        self._experiment, self._start = experiment, start
        self._sequences = Path(sequences_dir)
        self._ids = IdSpace.of_rows(self._sequences) if ids is None else ids
        vectors = data.code_vectors(self._sequences) if code_vectors is None else code_vectors
        self._parameters = Parameters(experiment.model, self._ids, frozen.with_code_vectors(vectors))
        self._families = data.families(self._sequences)

    def identity(self, steps: int) -> dict[str, Any]:
        """What a checkpoint must share with a run that resumes from it."""
        content = data.mixture_digest(self._sequences, self._experiment.train.mixed)
        return identity(self._experiment, self._ids, content, steps)

    def frozen(self, mesh: Mesh) -> decoder.Params:
        """The parameters that are not trained."""
        return self._parameters.load_frozen(mesh)

    def abstract_state(self, mesh: Mesh) -> State:
        """The state with its shardings."""
        return abstract_state(self._experiment, self._parameters, mesh)

    def fresh_state(self, mesh: Mesh, frozen: decoder.Params) -> State:
        """Random parameters, fitted to a pretrained table if there is one; those whose values are given have these."""
        state = init_state(jax.random.key(self._experiment.train.seed), self._experiment, self._parameters, mesh)
        layouts = self._parameters.shardings(mesh).trained
        params = self._start.base.over(state["params"], layouts, frozen)
        if self._experiment.model.has_base:
            params = jax.jit(first_values.beside_table, out_shardings=layouts)(params, frozen)
        if self._start.adapter is not None:
            model, rows = self._experiment.model, self._parameters.rows
            params = base_lib.adapted(params, self._start.adapter, model, rows, layouts)
        if self._start.checkpoints is not None:
            step, params = trained.restore(self._start.checkpoints, self._parameters, mesh, frozen)
            if self._start.note is not None and distributed.first():
                write_json(self._start.note, {"checkpoints": str(self._start.checkpoints.resolve()), "step": step})
        return state | {"params": params}

    def make_step(self, mesh: Mesh, steps: int) -> StepFunction:
        """The jitted step."""
        return make_step(self._experiment, self._ids, mesh, steps, self._families, self._parameters.frozen)

    def batches(self, mesh: Mesh, start: int, stop: int) -> feed.Prefetch:
        """Packed rows of the training split, sent ahead."""
        return feed.Prefetch(self._rows(mesh, "train"), start, stop)

    def make_validation(self, mesh: Mesh) -> loop.Validation:
        """Loss on the first `train.validation_rows` rows of the validation split; nothing if it has none."""
        if not data.has_rows(self._sequences, "validation"):
            return lambda state, frozen: {}
        objective = Objective(self._experiment.train, self._experiment.model, self._ids, self._families)
        evaluate, loader = make_evaluation(objective, mesh), self._rows(mesh, "validation")
        batches = [loader.device_batch(i) for i in range(-(-len(loader) // loader.global_batch))]

        def validate(state: State, frozen: decoder.Params) -> dict[str, float]:
            sums = [jax.device_get(evaluate(state["params"], frozen, batch)) for batch in batches]
            losses_G, weights_G = (np.sum(part, axis=0) for part in zip(*sums, strict=True))
            if not weights_G.sum():
                return {}
            losses = {"loss": losses_G.sum() / weights_G.sum()} | objective.named_losses(losses_G, weights_G)
            return {f"validation_{name}": float(value) for name, value in losses.items()}

        return validate

    def _rows(self, mesh: Mesh, split: str) -> data.Loader:
        cfg, layout = self._experiment.train, functools.partial(sharding.batch_sharding, mesh)
        if split == "train":
            return data.open_loader(self._sequences, split, cfg.batch_size, cfg.seed, layout, mixed=cfg.mixed)
        rows = cfg.batch_size // cfg.accumulation  # what fits into memory at once
        return data.open_loader(self._sequences, split, rows, 0, layout, shuffle=False, at_most=cfg.validation_rows)


def identity(experiment: config.Experiment, ids: IdSpace, dataset: str, steps: int) -> dict[str, Any]:
    """What a checkpoint must share with a run that resumes from it, frozen parameters left out."""
    return trained.identity(experiment.model, ids) | {
        "optimizer": optimizer.described(experiment.optimizer, steps),
        "dataset": {"digest": dataset},
        "train": experiment.train.teaches,
    }


def _optimizer(experiment: config.Experiment, parameters: Parameters) -> optax.GradientTransformation:
    return optimizer.make(experiment.optimizer, parameters.axes().trained)


def init_state(key: jax.Array, experiment: config.Experiment, parameters: Parameters, mesh: Mesh) -> State:
    """The state before the first step, created with its shardings."""
    params = parameters.init(key, mesh)
    layout = abstract_state(experiment, parameters, mesh)
    return steps_lib.fresh_state(params, _optimizer(experiment, parameters), layout)


def abstract_state(experiment: config.Experiment, parameters: Parameters, mesh: Mesh) -> State:
    """The state with its shardings; computes nothing.

    Raises:
        InputError: a size that the mesh does not divide.
    """
    shapes, shardings = parameters.shapes().trained, parameters.shardings(mesh).trained
    return steps_lib.abstract_state(shapes, shardings, _optimizer(experiment, parameters), mesh)


def make_step(
    experiment: config.Experiment,
    ids: IdSpace,
    mesh: Mesh,
    steps: int,
    families: tuple[str, ...] = (),
    frozen: Frozen = NOTHING,
) -> StepFunction:
    """The jitted training step; the state is donated.

    Args:
        experiment: model, optimizer and train are read.
        ids: how the ids are divided.
        mesh: the mesh; call the step inside `jax.set_mesh(mesh)`.
        steps: total steps, for the schedule.
        families: as in `objective.Objective`.
        frozen: parameters that are not trained.

    Returns:
        step(state, frozen, batch) -> (state, metrics). Metrics are device scalars: those of `step.advance` (the loss is
        the cross-entropy in nats per weighted token, without z-loss), those of `Objective.named_losses`, answer_tokens
        (sum of the rows' loss weights), tokens (padding included), nonpadding_tokens, flops and padded_flops.
    """
    train = experiment.train
    objective = Objective(train, experiment.model, ids, families)
    parameters = Parameters(experiment.model, ids, frozen)
    shardings = steps_lib.shardings_of(abstract_state(experiment, parameters, mesh))
    transform = _optimizer(experiment, parameters)
    learning_rate = optimizer.schedule(experiment.optimizer, steps)
    weights = flops.weights(experiment.model, parameters.shapes().trained)

    def step(state: State, frozen: decoder.Params, batch: Batch) -> tuple[State, Metrics]:
        weights_BL, _ = objective.weigh(batch)
        weight = jnp.sum(weights_BL)  # of the GLOBAL batch: its parts are no means of their own

        def share(params: Any, part: Batch, index: Any) -> tuple[jax.Array, loss.Sums]:
            key = dropout_key(experiment, state["step"], index)
            sums = objective.sums(frozen_lib.merge(params, frozen), part, mesh, key)
            return loss.mean(sums.objective, weight), sums

        differentiate = jax.value_and_grad(share, has_aux=True)
        (value, sums), gradients = steps_lib.accumulate(differentiate, state["params"], batch, train.accumulation, mesh)
        gradients = jax.lax.with_sharding_constraint(gradients, shardings["params"])
        rate = learning_rate(state["step"])
        state, metrics = steps_lib.advance(state, value, gradients, transform, rate, train.spike_factor)
        metrics |= objective.named_losses(sums.losses_G, sums.weights_G)
        if train.z_loss:
            metrics |= {"loss": loss.mean(jnp.sum(sums.losses_G), weight), "objective": value}
        softmaxes = objective.softmaxes(batch, weights_BL)
        work = flops.of_batch(
            experiment.model,
            batch,
            [(jnp.count_nonzero(one.weights_BL).astype(jnp.float32), one.size) for one in softmaxes],
            weights,
        )
        counts = {
            "answer_tokens": jnp.sum(shift_left(batch["loss_weights"])),
            "tokens": jnp.int32(batch["tokens"].size),
            "nonpadding_tokens": jnp.count_nonzero(batch["segments"]),
            "flops": work.needed,
            "padded_flops": work.padded,
        }
        return state, metrics | counts

    return jax.jit(step, donate_argnums=0, out_shardings=(shardings, steps_lib.replicated(mesh)))


def dropout_key(experiment: config.Experiment, step: Any, part: Any) -> jax.Array | None:
    """The key of what the adapters leave out in a part of a step's batch; None where they leave nothing out."""
    if not experiment.model.adapter.dropout:
        return None
    key = jax.random.fold_in(jax.random.key(experiment.train.seed), _DROPOUT)
    return jax.random.fold_in(jax.random.fold_in(key, step), part)


def make_evaluation(
    objective: Objective, mesh: Mesh
) -> Callable[[decoder.Params, decoder.Params, Batch], tuple[jax.Array, jax.Array]]:
    """Jitted (params, frozen, batch) -> (losses_G, weights_G) of `loss.Sums`."""

    def evaluate(params: decoder.Params, frozen: decoder.Params, batch: Batch) -> tuple[jax.Array, jax.Array]:
        sums = objective.sums(frozen_lib.merge(params, frozen), batch, mesh)
        outside = jnp.where(jnp.isnan(sums.objective), jnp.nan, 0.0)
        return sums.losses_G + outside, sums.weights_G

    return jax.jit(evaluate, out_shardings=steps_lib.replicated(mesh))
