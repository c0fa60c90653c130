"""What every training step shares: the state, and an update that a guard may refuse on the device.

State: {"params", "opt_state", "step": i32[], "guard": {"norm_mean": f32[], "accepted", "skipped": i32[]}}, plus
anything else the task trains (the codec's "codebook"). "params" holds the trained parameters alone; those that a run
only reads are an argument of their own (see `frozen`). The guard skips a step whose loss or gradient norm is not
finite, or whose gradient norm is a spike. It decides on the device, and a skipped step changes nothing but the step
number and the count of skips.
"""

import math
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import optax
from einops import rearrange
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from biomechgpt_jax.errors import InputError
from biomechgpt_jax.parallel import sharding

State = dict[str, Any]
Batch = Mapping[str, jax.Array]
Metrics = dict[str, jax.Array]
StepFunction = Callable[[State, Any, Batch], tuple[State, Metrics]]  # (state, frozen, batch)

NORM_MEMORY = 0.98  # of the running mean of the gradient norm
NORM_SETTLED = 20  # accepted steps before a large norm counts as a spike


def replicated(mesh: Mesh) -> NamedSharding:
    """The layout of an array that every device holds whole."""
    return NamedSharding(mesh, PartitionSpec())


def with_sharding(leaf: jax.ShapeDtypeStruct, layout: jax.sharding.Sharding) -> jax.ShapeDtypeStruct:
    """Attach a sharding to an abstract array."""
    return jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=layout)


def abstract_state(
    params: Any, shardings: Any, transform: optax.GradientTransformation, mesh: Mesh, **others: Any
) -> State:
    """The state as `jax.ShapeDtypeStruct` with shardings, as a restore takes it. Computes nothing.

    A moment has the sharding of its parameter; scalars and `others` are replicated.

    Args:
        params: tree of `jax.ShapeDtypeStruct`.
        shardings: the same tree of NamedSharding.
        transform: the optimizer.
        mesh: the mesh.
        others: further entries, trees of `jax.ShapeDtypeStruct`.
    """
    whole = replicated(mesh)
    rest = others | jax.eval_shape(_initial_counters)
    abstract = {name: jax.tree.map(lambda leaf: with_sharding(leaf, whole), entry) for name, entry in rest.items()}
    abstract["params"] = jax.tree.map(with_sharding, params, shardings)
    # The path of a moment ends with that of its parameter, whatever transforms the optimizer is chained from.
    layout = dict(jax.tree_util.tree_leaves_with_path(shardings))

    def like_parameter(path: tuple[Any, ...], leaf: jax.ShapeDtypeStruct) -> jax.ShapeDtypeStruct:
        ends = (path[start:] for start in range(len(path)))
        return with_sharding(leaf, next((layout[end] for end in ends if end in layout), whole))

    abstract["opt_state"] = jax.tree_util.tree_map_with_path(like_parameter, jax.eval_shape(transform.init, params))
    return abstract


def fresh_state(params: Any, transform: optax.GradientTransformation, layout: State, **others: Any) -> State:
    """The state before the first step.

    Args:
        params: tree of arrays in their final shardings.
        transform: the optimizer.
        layout: the abstract state.
        others: further entries, in their final shardings.
    """

    def rest(params: Any) -> State:
        return {"opt_state": transform.init(params)} | _initial_counters()

    layouts = {name: shardings_of(layout[name]) for name in ("opt_state", "step", "guard")}
    return {"params": params, **others, **jax.jit(rest, out_shardings=layouts)(params)}


def shardings_of(abstract: Any) -> Any:
    """The shardings of a tree of `jax.ShapeDtypeStruct`."""
    return jax.tree.map(lambda leaf: leaf.sharding, abstract)


def _initial_counters() -> State:
    guard = {"norm_mean": jnp.float32(0), "accepted": jnp.int32(0), "skipped": jnp.int32(0)}
    return {"step": jnp.int32(0), "guard": guard}


def microbatches(batch: Batch, parts: int, mesh: Mesh) -> Batch:
    """Split the rows [B, ...] of a batch into parts [parts, B / parts, ...].

    Each part takes as many rows from every device, so that no row moves between devices.

    Raises:
        InputError: the parts cannot be divided over the devices.
    """
    spread = math.prod(mesh.shape[axis] for axis in sharding.RULES["batch"])

    def one(rows: jax.Array) -> jax.Array:
        if rows.shape[0] % (parts * spread):
            raise InputError(
                f"train.batch_size {rows.shape[0]} cannot be split into train.accumulation {parts} parts over "
                f"{spread} devices; give a multiple of {parts * spread} rows"
            )
        split = rearrange(rows, "(d p r) ... -> p (d r) ...", d=spread, p=parts)
        return sharding.constrain(split, (None, "batch", "length", *[None] * (rows.ndim - 2)))

    return {name: one(rows) for name, rows in batch.items()}


def accumulate(compute: Callable[[Any, Batch, Any], Any], params: Any, batch: Batch, parts: int, mesh: Mesh) -> Any:
    """Sum `compute(params, part, index)`, a tree of arrays, over the parts of a batch, one part after another.

    The index counts the parts from 0, so that their randomness may differ. Where `compute` divides by the weight of the
    global batch, the sum equals its value for the whole batch, in the memory that one part takes.
    """
    if parts == 1:
        return compute(params, batch, 0)
    split = microbatches(batch, parts, mesh)
    first = jax.tree.map(lambda rows: rows[0], split)
    zero = jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), jax.eval_shape(compute, params, first, 0))

    def add(total: Any, inputs: tuple[Batch, jax.Array]) -> tuple[Any, None]:
        return jax.tree.map(jnp.add, total, compute(params, *inputs)), None

    return jax.lax.scan(add, zero, (split, jnp.arange(parts)))[0]


def advance(
    state: State,
    value: jax.Array,
    gradients: Any,
    transform: optax.GradientTransformation,
    learning_rate: jax.Array,
    spike_factor: float,
    **others: Any,
) -> tuple[State, Metrics]:
    """Apply the gradients if the guard agrees.

    Args:
        state: before the step.
        value: the loss f32[], global.
        gradients: a tree like `state["params"]`, of the global batch.
        transform: from `optimizer.make`.
        learning_rate: f32[] of this step.
        spike_factor: as in `config.Loop`.
        others: new values of further entries of the state, taken only if the step is kept.

    Returns:
        The state after the step, and the metrics loss, grad_norm (before clipping), learning_rate, skipped (1 if this
        step was skipped, else 0) and skipped_total.
    """
    norm = optax.tree.norm(gradients)
    updates, opt_state = transform.update(gradients, state["opt_state"], state["params"])
    params = jax.tree.map(lambda p, u: p - learning_rate * u, state["params"], updates)

    good, guard = judge(state["guard"], value, norm, spike_factor)
    updated = {"params": params, "opt_state": opt_state} | others
    kept = jax.tree.map(lambda new, old: jnp.where(good, new, old), updated, {name: state[name] for name in updated})
    metrics = {
        "loss": value,
        "grad_norm": norm,
        "learning_rate": learning_rate,
        "skipped": 1 - good.astype(jnp.int32),
        "skipped_total": guard["skipped"],
    }
    return {**kept, "step": state["step"] + 1, "guard": guard}, metrics


def judge(
    guard: dict[str, jax.Array], value: jax.Array, norm: jax.Array, spike_factor: float
) -> tuple[jax.Array, dict[str, jax.Array]]:
    """Decide whether to keep a step: (bool[], the guard after it). `value` and `norm` are global."""
    spike = (guard["accepted"] >= NORM_SETTLED) & (norm > spike_factor * guard["norm_mean"])
    good = jnp.isfinite(value) & jnp.isfinite(norm) & ~spike
    # The plain mean of the first norms, an exponential moving average from then on.
    memory = jnp.minimum(NORM_MEMORY, guard["accepted"] / (guard["accepted"] + 1.0))
    norm_mean = jnp.where(good, memory * guard["norm_mean"] + (1 - memory) * norm, guard["norm_mean"])
    kept = good.astype(jnp.int32)
    return good, {
        "norm_mean": norm_mean,
        "accepted": guard["accepted"] + kept,
        "skipped": guard["skipped"] + 1 - kept,
    }
