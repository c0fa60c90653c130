"""AdamW with warm-up and decay (Loshchilov and Hutter, Decoupled weight decay regularization, 2019)."""

from typing import Any

import jax
import optax

from biomechgpt_jax import config
from biomechgpt_jax.errors import InputError

NOT_DECAYED = ("embedding", "scale", "bias")


def schedule(cfg: config.Optimizer, steps: int) -> optax.Schedule:
    """The learning rate of each step: linear warm-up to the peak, then cosine or linear decay.

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
    if cfg.schedule == "cosine":
        decay = optax.cosine_decay_schedule(cfg.peak_learning_rate, decay_steps, cfg.final_fraction)
    else:
        decay = optax.linear_schedule(cfg.peak_learning_rate, final, decay_steps)
    return optax.join_schedules([warmup, decay], [warmup_steps])


def decayed(params: Any) -> Any:
    """True for the parameters that decay: matrices, not norms, biases or embeddings.

    Decay would pull the embedding of a rare motion code, which seldom gets a gradient, to zero.
    """

    def one(path: tuple[Any, ...], _: Any) -> bool:
        return str(path[-1].key) not in NOT_DECAYED

    return jax.tree_util.tree_map_with_path(one, params)


def make(cfg: config.Optimizer) -> optax.GradientTransformation:
    """Clip by global norm, Adam, decoupled decay; WITHOUT the learning rate.

    The training step applies the rate of its own step count: a skipped step advances the schedule but not
    Adam's moments.
    """
    return optax.chain(
        optax.clip_by_global_norm(cfg.clip_norm),
        optax.scale_by_adam(b1=cfg.b1, b2=cfg.b2),
        optax.add_decayed_weights(cfg.weight_decay, mask=decayed),
    )
