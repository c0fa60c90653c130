"""The training step: one jitted function from (state, batch) to (state, metrics).

State: {"params", "opt_state", "step": i32[], "guard": {"norm_mean": f32[], "accepted", "skipped": i32[]}}.
The guard skips a step whose loss or gradient norm is not finite, or whose gradient norm is a spike, on the
device: parameters, optimizer and running mean stay as they were, and the step advances.
"""

from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import optax
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from biomechgpt_jax import config
from biomechgpt_jax.model import decoder
from biomechgpt_jax.training import loss, optimizer

State = dict[str, Any]
Batch = Mapping[str, jax.Array]
StepFunction = Callable[[State, Batch], tuple[State, dict[str, jax.Array]]]

NORM_MEMORY = 0.98  # of the running mean of the gradient norm
NORM_SETTLED = 20  # accepted steps before a spike can be told from a start


def init_state(key: jax.Array, experiment: config.Experiment, vocabulary_size: int, mesh: Mesh) -> State:
    """The state before the first step, born sharded."""
    params = decoder.init(key, experiment.model, vocabulary_size, mesh)
    shardings = state_shardings(experiment, vocabulary_size, mesh)
    transform = optimizer.make(experiment.optimizer)

    def rest(params: Any) -> State:
        guard = {"norm_mean": jnp.float32(0), "accepted": jnp.int32(0), "skipped": jnp.int32(0)}
        return {"opt_state": transform.init(params), "step": jnp.int32(0), "guard": guard}

    rest_shardings = {name: value for name, value in shardings.items() if name != "params"}
    return {"params": params, **jax.jit(rest, out_shardings=rest_shardings)(params)}


def abstract_state(experiment: config.Experiment, vocabulary_size: int, mesh: Mesh) -> State:
    """The state as `jax.ShapeDtypeStruct` with shardings: what a restore asks for. Computes nothing."""
    params = decoder.abstract(experiment.model, vocabulary_size)
    scalar_f32, scalar_i32 = jax.ShapeDtypeStruct((), jnp.float32), jax.ShapeDtypeStruct((), jnp.int32)
    shapes = {
        "params": params,
        "opt_state": jax.eval_shape(optimizer.make(experiment.optimizer).init, params),
        "step": scalar_i32,
        "guard": {"norm_mean": scalar_f32, "accepted": scalar_i32, "skipped": scalar_i32},
    }

    return jax.tree.map(placed, shapes, state_shardings(experiment, vocabulary_size, mesh))


def placed(leaf: jax.ShapeDtypeStruct, sharding: jax.sharding.Sharding) -> jax.ShapeDtypeStruct:
    """The abstract array with a sharding."""
    return jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=sharding)


def state_shardings(experiment: config.Experiment, vocabulary_size: int, mesh: Mesh) -> State:
    """Shardings of the state: Adam's moments lie as their parameters, scalars on every device.

    Raises:
        InputError: a size that the mesh does not divide.
    """
    everywhere = NamedSharding(mesh, PartitionSpec())
    params = decoder.param_shardings(mesh, experiment.model, vocabulary_size)
    transform = optimizer.make(experiment.optimizer)
    opt_state = optax.tree_utils.tree_map_params(
        transform,
        lambda _, sharding: sharding,
        jax.eval_shape(transform.init, decoder.abstract(experiment.model, vocabulary_size)),
        params,
        transform_non_params=lambda _: everywhere,
    )
    guard = {"norm_mean": everywhere, "accepted": everywhere, "skipped": everywhere}
    return {"params": params, "opt_state": opt_state, "step": everywhere, "guard": guard}


def loss_sums(params: Any, batch: Batch, cfg: config.Model, chunk: int, mesh: Mesh) -> tuple[jax.Array, jax.Array]:
    """(sum of weight * loss, sum of weights) of a batch of packed rows, over the global batch.

    `loss_weights[i]` belongs to `tokens[i]` as a target, predicted from row index i - 1; the last hidden
    state of a row predicts nothing.
    """
    hidden_BLD = decoder.hidden(params, batch, cfg)
    targets_BL = jnp.roll(batch["tokens"], -1, axis=1)
    weights_BL = jnp.roll(batch["loss_weights"], -1, axis=1).at[:, -1].set(0.0)
    head_DV = decoder.head(params)
    return loss.cross_entropy(hidden_BLD, head_DV, targets_BL, weights_BL, chunk, mesh, cfg.logit_soft_cap)


def make_step(experiment: config.Experiment, vocabulary_size: int, mesh: Mesh, steps: int) -> StepFunction:
    """The jitted training step; the state is donated.

    Args:
        experiment: model, optimizer and the guard's spike factor.
        vocabulary_size: V.
        mesh: the mesh; call the step inside `jax.set_mesh(mesh)`.
        steps: total steps, for the schedule.

    Returns:
        step(state, batch) -> (state, metrics). Metrics are device scalars: loss (nats per answer token),
        answer_tokens (sum of loss weights), nonpadding_tokens, grad_norm (before clipping), learning_rate,
        skipped (1 where this step was), skipped_total.
    """
    cfg = experiment.model
    transform = optimizer.make(experiment.optimizer)
    learning_rate = optimizer.schedule(experiment.optimizer, steps)

    def mean_loss(params: Any, batch: Batch) -> tuple[jax.Array, jax.Array]:
        weighted_loss, weight = loss_sums(params, batch, cfg, experiment.train.loss_chunk, mesh)
        return loss.mean(weighted_loss, weight), weight

    def step(state: State, batch: Batch) -> tuple[State, dict[str, jax.Array]]:
        (value, weight), gradients = jax.value_and_grad(mean_loss, has_aux=True)(state["params"], batch)
        norm = optax.tree.norm(gradients)
        rate = learning_rate(state["step"])
        updates, opt_state = transform.update(gradients, state["opt_state"], state["params"])
        params = jax.tree.map(lambda p, u: p - rate * u, state["params"], updates)

        good, guard = _judge(state["guard"], value, norm, experiment.train.spike_factor)
        kept = jax.tree.map(
            lambda new, old: jnp.where(good, new, old),
            {"params": params, "opt_state": opt_state},
            {"params": state["params"], "opt_state": state["opt_state"]},
        )
        metrics = {
            "loss": value,
            "answer_tokens": weight,
            "nonpadding_tokens": jnp.count_nonzero(batch["segments"]),
            "grad_norm": norm,
            "learning_rate": rate,
            "skipped": 1 - good.astype(jnp.int32),
            "skipped_total": guard["skipped"],
        }
        return {**kept, "step": state["step"] + 1, "guard": guard}, metrics

    everywhere = NamedSharding(mesh, PartitionSpec())
    shardings = state_shardings(experiment, vocabulary_size, mesh)
    return jax.jit(step, donate_argnums=0, out_shardings=(shardings, everywhere))


def _judge(
    guard: dict[str, jax.Array], value: jax.Array, norm: jax.Array, spike_factor: float
) -> tuple[jax.Array, dict[str, jax.Array]]:
    """Whether to keep a step (bool[]), and the guard after it. `value` and `norm` are global."""
    spike = (guard["accepted"] >= NORM_SETTLED) & (norm > spike_factor * guard["norm_mean"])
    good = jnp.isfinite(value) & jnp.isfinite(norm) & ~spike
    # A plain mean while young, an exponential one later.
    memory = jnp.minimum(NORM_MEMORY, guard["accepted"] / (guard["accepted"] + 1.0))
    norm_mean = jnp.where(good, memory * guard["norm_mean"] + (1 - memory) * norm, guard["norm_mean"])
    kept = good.astype(jnp.int32)
    return good, {
        "norm_mean": norm_mean,
        "accepted": guard["accepted"] + kept,
        "skipped": guard["skipped"] + 1 - kept,
    }


def make_evaluation(experiment: config.Experiment, mesh: Mesh) -> Callable[[Any, Batch], tuple[jax.Array, jax.Array]]:
    """Jitted (params, batch) -> (sum of weight * loss, sum of weights)."""

    def evaluate(params: Any, batch: Batch) -> tuple[jax.Array, jax.Array]:
        return loss_sums(params, batch, experiment.model, experiment.train.loss_chunk, mesh)

    return jax.jit(evaluate)
