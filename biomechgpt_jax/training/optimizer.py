"""AdamW (Loshchilov and Hutter, Decoupled weight decay regularization, 2019) and Muon, with warm-up and decay.

Muon (Jordan et al. 2024, by optax) makes the momentum of a matrix orthogonal. It updates the matrices inside the
layers, each projection of each layer on its own and its heads together, and both matrices of an adapter; AdamW updates
embedding, head and norms. Muon's
steps are scaled to AdamW's usual size by sqrt(max(in, out)) * 0.2 (Liu et al., Muon is scalable for LLM training, 2025,
arXiv 2502.16982), so that one learning rate and one weight decay serve both.
"""

import functools
import math
from typing import Any

import jax
import optax
from optax import contrib

from biomechgpt_jax import config
from biomechgpt_jax.errors import InputError

NOT_DECAYED = ("embedding", "scale", "bias", "rows", "head_rows")
ADAPTERS, ROWS = ("a", "b"), ("rows", "head_rows")  # names of parameters that have rates of their own
ADAM_SIZE = 0.2  # root mean square of AdamW's usual steps, in units of the learning rate

Axes = Any  # a tree like the parameters, of tuples of logical axis names (`decoder.logical_axes`)


def schedule(cfg: config.Optimizer, steps: int) -> optax.Schedule:
    """The learning rate of each step, counted from 0.

    Linear warm-up to the peak, then cosine or linear decay; or the peak held, and linear decay over the last steps
    (wsd; Hu et al., MiniCPM, 2024). The last step has `final_fraction` of the peak.

    Args:
        cfg: the optimizer's configuration.
        steps: total steps.

    Raises:
        InputError: there are no steps.
    """
    if steps < 1:
        raise InputError(f"the number of training steps is {steps}; give at least 1")
    peak, final = cfg.peak_learning_rate, cfg.peak_learning_rate * cfg.final_fraction
    warmup = warmup_steps(cfg, steps)
    # Step 0 is not at zero, or it would train nothing: the ramp starts at one part of warmup + 1.
    ramp = optax.linear_schedule(peak / (warmup + 1), peak, max(warmup, 1))
    start = _stable_end(cfg, steps) if cfg.schedule == "wsd" else warmup
    intervals = steps - 1 - start  # from the peak at step `start` to the end at the last step
    if intervals == 0:
        decay = optax.constant_schedule(final)
    elif cfg.schedule == "cosine":
        decay = optax.cosine_decay_schedule(peak, intervals, cfg.final_fraction)
    else:
        decay = optax.linear_schedule(peak, final, intervals)
    return optax.join_schedules([ramp, optax.constant_schedule(peak), decay], [warmup, start])


def warmup_steps(cfg: config.Optimizer, steps: int) -> int:
    """Steps of the warm-up: at most half of all, so that short runs can share a configuration with long ones."""
    wanted = int(cfg.warmup_fraction * steps) if cfg.warmup_fraction else cfg.warmup_steps
    return min(wanted, steps // 2)


def stable_until(cfg: config.Optimizer, steps: int) -> int:
    """The step until which the learning rate does not depend on the total of steps, so that it may change; -1: none."""
    depends = cfg.schedule != "wsd" or cfg.warmup_fraction or cfg.warmup_steps > steps // 2
    return -1 if depends else _stable_end(cfg, steps)


def described(cfg: config.Optimizer, steps: int) -> dict[str, Any]:
    """The optimizer as a part of a run's identity, with the warm-up in steps, however it was given."""
    return {name: value for name, value in config.described(cfg).items() if name != "warmup_fraction"} | {
        "warmup_steps": warmup_steps(cfg, steps),
        "steps": steps,
        "stable_until": stable_until(cfg, steps),
    }


def _stable_end(cfg: config.Optimizer, steps: int) -> int:
    """The last step that wsd holds at the peak; the decay takes at least the last step of all."""
    return min(max(warmup_steps(cfg, steps), steps - round(cfg.decay_fraction * steps)), steps - 1)


def decayed(params: Any) -> Any:
    """True for the parameters that weight decay applies to: matrices, not norms, biases or embeddings.

    It would pull the embedding of a rare motion code, which seldom gets a gradient, to zero.
    """

    def one(path: tuple[Any, ...], _: Any) -> bool:
        return str(path[-1].key) not in NOT_DECAYED

    return jax.tree_util.tree_map_with_path(one, params)


def make(cfg: config.Optimizer, axes: Axes = None) -> optax.GradientTransformation:
    """Clip by global norm, Adam or Muon, and decoupled weight decay, WITHOUT the learning rate.

    The training step multiplies by the rate of its own step number, because a skipped step advances the schedule but
    not Adam's moments.

    Args:
        cfg: the optimizer's configuration.
        axes: logical axes of the parameters, by which Muon recognises its matrices.
    """
    own_rates = [] if cfg.adapter_rate == cfg.row_rate == 1.0 else [optax.stateless(functools.partial(_rated, cfg))]
    return optax.chain(
        optax.clip_by_global_norm(cfg.clip_norm),
        optax.scale_by_adam(b1=cfg.b1, b2=cfg.b2) if cfg.kind == "adamw" else _muon(cfg, axes),
        optax.add_decayed_weights(cfg.weight_decay, mask=decayed),
        *own_rates,
    )


def _rated(cfg: config.Optimizer, updates: Any, _: Any) -> Any:
    """Updates at the rates of adapters and of added rows."""
    rates = dict.fromkeys(ADAPTERS, cfg.adapter_rate) | dict.fromkeys(ROWS, cfg.row_rate)
    return jax.tree_util.tree_map_with_path(lambda path, leaf: leaf * rates.get(str(path[-1].key), 1.0), updates)


def _muon(cfg: config.Optimizer, axes: Axes) -> optax.GradientTransformation:
    """Muon on the matrices inside the layers, Adam on the rest. Updates have the sign of the gradient, as Adam's do."""

    def is_leaf(leaf: Any) -> bool:
        return leaf is None or isinstance(leaf, contrib.MuonDimensionNumbers)

    every = matrices(axes)
    labels = jax.tree.map(lambda sides: "adam" if sides is None else "muon", every, is_leaf=is_leaf)
    sides = jax.tree.map(lambda sides: optax.MaskedNode() if sides is None else sides, every, is_leaf=is_leaf)

    def rescale(updates: Any, _: Any) -> Any:
        def one(update: jax.Array, sides: contrib.MuonDimensionNumbers) -> jax.Array:
            longer = max(math.prod(update.shape[axis] for axis in side) for side in sides)
            return update * (ADAM_SIZE * longer**0.5)

        return jax.tree.map(one, updates, sides)

    muon = contrib.scale_by_muon(beta=cfg.muon_momentum, weight_dimension_numbers=sides)
    adam = optax.scale_by_adam(b1=cfg.b1, b2=cfg.b2)
    return optax.partition({"muon": optax.chain(muon, optax.stateless(rescale)), "adam": adam}, labels)


def matrices(axes: Axes) -> Any:
    """The axes of inputs and of outputs of every matrix inside the layers; None for any other parameter.

    The rank of an adapter is one side, or the model dimension ("embed", or "statistics" where these are mapped); all
    other axes, such as heads and head size, are the other.
    """

    def one(names: tuple[str | None, ...]) -> contrib.MuonDimensionNumbers | None:
        own = [axis for axis, name in enumerate(names) if name != "layers"]
        side = next((name for name in ("rank", "embed", "statistics") if name in names), None)
        if side is None or {"vocabulary", "rows"} & set(names) or len(own) < 2:
            return None
        model = names.index(side)
        others = tuple(axis for axis in own if axis != model)
        sides = ((model,), others) if model < others[0] else (others, (model,))
        return contrib.MuonDimensionNumbers(*sides)

    return jax.tree.map(one, axes, is_leaf=lambda leaf: isinstance(leaf, tuple))
