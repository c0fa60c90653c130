"""AdamW (Loshchilov and Hutter, Decoupled weight decay regularization, 2019) and Muon, with warm-up and decay.

Muon (Jordan et al. 2024, by optax) makes the momentum of a matrix orthogonal. It takes the matrices inside the layers,
each layer's and each projection's on its own, the heads of a projection together; embedding, head and norms are left
to AdamW. Its steps are scaled to AdamW's usual size, sqrt(max(in, out)) * 0.2 (Liu et al., Muon is scalable for LLM
training, 2025, arXiv 2502.16982), so that one learning rate and one weight decay serve both.
"""

import math
from typing import Any

import jax
import optax
from optax import contrib

from biomechgpt_jax import config
from biomechgpt_jax.errors import InputError

NOT_DECAYED = ("embedding", "scale", "bias")
ADAM_SIZE = 0.2  # root mean square of AdamW's usual steps, in units of the learning rate

Axes = Any  # a tree like the parameters, of tuples of logical axis names (`decoder.logical_axes`)


def schedule(cfg: config.Optimizer, steps: int) -> optax.Schedule:
    """The learning rate of each step: linear warm-up to the peak, then cosine or linear decay, or the peak and then
    linear decay over the last steps (wsd; Hu et al., MiniCPM, 2024).

    Args:
        cfg: the optimizer's configuration. The warm-up takes at most half of the run, so that short runs
            (controls, trials) can share a configuration with long ones.
        steps: total steps; the last ones reach `final_fraction` of the peak.

    Raises:
        InputError: there are no steps, or a negative warm-up.
    """
    if steps < 1 or cfg.warmup_steps < 0:
        raise InputError(f"optimizer.warmup_steps is {cfg.warmup_steps} and steps {steps}; give at least 0 and 1")
    warmup_steps = min(cfg.warmup_steps, steps // 2)
    final = cfg.peak_learning_rate * cfg.final_fraction
    # Step 0 already moves: the ramp starts at one part of warmup_steps + 1, not at zero.
    warmup = optax.linear_schedule(
        cfg.peak_learning_rate / (warmup_steps + 1), cfg.peak_learning_rate, max(warmup_steps, 1)
    )
    decay_steps = steps - warmup_steps
    if cfg.schedule == "wsd":
        decay_steps = steps - _stable_end(cfg, steps)
        decay = optax.linear_schedule(cfg.peak_learning_rate, final, decay_steps)
        peak = optax.constant_schedule(cfg.peak_learning_rate)
        return optax.join_schedules([warmup, peak, decay], [warmup_steps, steps - decay_steps])
    if cfg.schedule == "cosine":
        decay = optax.cosine_decay_schedule(cfg.peak_learning_rate, decay_steps, cfg.final_fraction)
    else:
        decay = optax.linear_schedule(cfg.peak_learning_rate, final, decay_steps)
    return optax.join_schedules([warmup, decay], [warmup_steps])


def stable_until(cfg: config.Optimizer, steps: int) -> int:
    """Up to which step the learning rate does not depend on the total of steps, so that it may change; -1: none."""
    return _stable_end(cfg, steps) if cfg.schedule == "wsd" and cfg.warmup_steps <= steps // 2 else -1


def _stable_end(cfg: config.Optimizer, steps: int) -> int:
    """The step from which wsd decays: after the warm-up, and at least the last step."""
    return min(max(min(cfg.warmup_steps, steps // 2), steps - round(cfg.decay_fraction * steps)), steps - 1)


def decayed(params: Any) -> Any:
    """True for the parameters that decay: matrices, not norms, biases or embeddings.

    Decay would pull the embedding of a rare motion code, which seldom gets a gradient, to zero.
    """

    def one(path: tuple[Any, ...], _: Any) -> bool:
        return str(path[-1].key) not in NOT_DECAYED

    return jax.tree_util.tree_map_with_path(one, params)


def make(cfg: config.Optimizer, axes: Axes = None) -> optax.GradientTransformation:
    """Clip by global norm, Adam or Muon, decoupled decay; WITHOUT the learning rate.

    The training step applies the rate of its own step count: a skipped step advances the schedule but not
    Adam's moments.

    Args:
        cfg: the optimizer's configuration.
        axes: logical axes of the parameters; Muon finds its matrices by them.
    """
    return optax.chain(
        optax.clip_by_global_norm(cfg.clip_norm),
        optax.scale_by_adam(b1=cfg.b1, b2=cfg.b2) if cfg.kind == "adamw" else _muon(cfg, axes),
        optax.add_decayed_weights(cfg.weight_decay, mask=decayed),
    )


def _muon(cfg: config.Optimizer, axes: Axes) -> optax.GradientTransformation:
    """Muon on the matrices inside the layers, Adam on the rest; like Adam's, its updates point uphill."""

    def is_found(leaf: Any) -> bool:
        return leaf is None or isinstance(leaf, contrib.MuonDimensionNumbers)

    found = matrices(axes)
    labels = jax.tree.map(lambda sides: "adam" if sides is None else "muon", found, is_leaf=is_found)
    sides = jax.tree.map(lambda sides: optax.MaskedNode() if sides is None else sides, found, is_leaf=is_found)

    def scaled(updates: Any, _: Any) -> Any:
        def one(update: jax.Array, sides: contrib.MuonDimensionNumbers) -> jax.Array:
            longer = max(math.prod(update.shape[axis] for axis in side) for side in sides)
            return update * (ADAM_SIZE * longer**0.5)

        return jax.tree.map(one, updates, sides)

    muon = contrib.scale_by_muon(beta=cfg.muon_momentum, weight_dimension_numbers=sides)
    adam = optax.scale_by_adam(b1=cfg.b1, b2=cfg.b2)
    return optax.partition({"muon": optax.chain(muon, optax.stateless(scaled)), "adam": adam}, labels)


def matrices(axes: Axes) -> Any:
    """Which axes of a parameter are the inputs and the outputs of a matrix, for those inside the layers; else None.

    The model dimension ("embed") is one side and all that is left, such as heads and head size, the other.
    """

    def one(names: tuple[str | None, ...]) -> contrib.MuonDimensionNumbers | None:
        own = [axis for axis, name in enumerate(names) if name != "layers"]
        if "embed" not in names or "vocabulary" in names or len(own) < 2:
            return None
        model = names.index("embed")
        others = tuple(axis for axis in own if axis != model)
        sides = ((model,), others) if model < others[0] else (others, (model,))
        return contrib.MuonDimensionNumbers(*sides)

    return jax.tree.map(one, axes, is_leaf=lambda leaf: isinstance(leaf, tuple))
