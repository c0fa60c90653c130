"""Training of the motion codec on random windows of movement.

Everything random follows from the seed and the number of the step. Shapes: B batch, T frames of a window,
C features (40), S tokens, K size of a latent.
"""

import functools
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from biomechgpt_jax import config
from biomechgpt_jax.biomechanics import features as features_lib
from biomechgpt_jax.biomechanics.skeleton import (
    COORDINATE_COUNT,
    COORDINATES,
    HORIZONTAL_ROOT,
    MIRROR_PERMUTATION,
    MIRROR_SIGN,
    NECK_AND_WRISTS,
    OFTEN_ARTEFACTS,
)
from biomechgpt_jax.errors import InputError
from biomechgpt_jax.tokenizer import quantizers
from biomechgpt_jax.tokenizer.codec import Codec, Scaling, networks
from biomechgpt_jax.tokenizer.scaling import fit_scaling

STEPS_PER_CALL = 10  # steps run on the device between two looks by the host
BETA = 0.25  # where smooth L1 turns from square to absolute, in scaled units
HIDDEN_WEIGHT = 0.1  # of a feature hidden from the encoder but known: the decoder learns to fill it in
PATH_WEIGHT = 0.2  # of the path of the root summed over a window: keeps speed and turning unbiased
PATH_UNITS = np.array([0.05, 0.05, 0.1], np.float32)  # metres, metres, radians that count as one
SHORT_PROBABILITY = 0.2  # of a window cut short, as real clips are
RESET_EVERY_STEP_UNTIL = 0.9  # of the steps: later resets of dead codes would have no time to settle
WARMUP_FRACTION, FINAL_FRACTION = 0.05, 0.02
# How often each group of coordinates is hidden in a window.
_HIDDEN_GROUPS = ((NECK_AND_WRISTS, 0.4), (OFTEN_ARTEFACTS, 0.2), (HORIZONTAL_ROOT, 0.15))
_ANY_PROBABILITY, _ANY_SHARE = 0.2, 0.1  # windows in which any coordinate may be hidden, and the share that is

Trials = Sequence[tuple[np.ndarray, np.ndarray]]


class Windows(NamedTuple):
    """All training movements end to end, on the device, and where windows may start.

    Attributes:
        scaled_NC: f32[N, 40] scaled features, zero where not observed.
        observed_RC: bool[R, 40] observed COORDINATES of each movement.
        starts_M: i32[M] first frame of each possible window.
        frames_M: i32[M] frames that the window holds, a multiple of the stride; fewer than its size in short movements.
        movement_M: i32[M] the movement it belongs to.
    """

    scaled_NC: jax.Array
    observed_RC: jax.Array
    starts_M: jax.Array
    frames_M: jax.Array
    movement_M: jax.Array


class State(NamedTuple):
    """What a step changes. The codebook is None for FSQ."""

    step: jax.Array
    params: Any
    optimizer: Any
    codebook: quantizers.Codebook | None


def train(cfg: config.Tokenizer, trials: Trials, progress: Callable[[int, dict[str, float]], None]) -> Codec:
    """Train a codec.

    Args:
        cfg: what to train, and for how long.
        trials: (coordinates f32[T_i, 40] at 30 Hz, observed bool[40]) of TRAINING participants only: the scaling is
            measured on them too.
        progress: called now and then with the number of steps done and the mean losses since the last call.

    Raises:
        InputError: there is no movement long enough for a token, or the loss is no longer a number.
    """
    raw = [np.asarray(features_lib.features_on_host(q, seen)) for q, seen in trials]
    masks = [features_lib.feature_mask(seen) for _, seen in trials]
    scaling = fit_scaling(raw, masks)
    windows = _windows(cfg, scaling, raw, masks, [seen for _, seen in trials])
    state = _init(cfg, windows, scaling)
    many_steps = jax.jit(functools.partial(_many_steps, cfg), donate_argnums=0)
    for first in range(0, cfg.steps, STEPS_PER_CALL):
        state, logs = many_steps(state, windows, scaling, min(STEPS_PER_CALL, cfg.steps - first))
        losses = {name: float(value) for name, value in logs.items()}
        if not np.isfinite(losses["loss"]):
            raise InputError(
                f"tokenizer: the loss was not a number by step {int(state.step)}; lower tokenizer.learning_rate"
            )
        progress(int(state.step), losses)
    codebook = None if state.codebook is None else np.asarray(state.codebook.vectors)
    return Codec(cfg, scaling, state.params, codebook)
