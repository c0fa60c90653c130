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
from biomechgpt_jax.errors import InputError
from biomechgpt_jax.tokenizer import codes, quantizers
from biomechgpt_jax.tokenizer.batching import features_of
from biomechgpt_jax.tokenizer.codec import Codec
from biomechgpt_jax.tokenizer.loss import Scale, reconstruction, units, weights
from biomechgpt_jax.tokenizer.network import from_components, initial_parameters, networks
from biomechgpt_jax.tokenizer.scaling import Scaling, fit_scaling
from biomechgpt_jax.tokenizer.windows import Batch, Windows, draw, gather, patches

LOOK_EVERY = 20  # steps between two looks at the losses, which wait for the device
WARMUP_FRACTION, FINAL_FRACTION = 0.05, 0.02  # of the steps; of the peak learning rate
B1, B2, WEIGHT_DECAY, CLIP_NORM = 0.9, 0.99, 1e-4, 10.0

Trials = Sequence[tuple[np.ndarray, np.ndarray]]


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
    observed = [np.asarray(seen, bool) for _, seen in trials]
    raw = features_of([movement for movement, _ in trials], observed)
    scaling = fit_scaling(raw, [features_lib.feature_mask(seen) for seen in observed])
    windows = gather(raw, observed, scaling, cfg.window_frames, cfg.stride)
    state = init(cfg, windows, scaling.spread)
    scale = Scale(jnp.asarray(scaling.center), jnp.asarray(scaling.spread))
    recent: list[dict[str, jax.Array]] = []
    for number in range(1, cfg.steps + 1):
        state, parts = step(cfg, state, windows, scale)
        recent.append(parts)
        if number % LOOK_EVERY == 0 or number == cfg.steps:
            losses = {name: float(np.mean([one[name] for one in recent])) for name in parts}
            recent = []
            if not np.isfinite(losses["loss"]):
                raise InputError(f"tokenizer: the loss diverged by step {number}; lower tokenizer.learning_rate")
            progress(number, losses)
    return finish(cfg, scaling, state)


def init(cfg: config.Tokenizer, windows: Windows, spread: np.ndarray) -> State:
    """The state before the first step. A VQ codebook starts as latents of a first batch."""
    params = from_components(
        cfg, initial_parameters(cfg, cfg.seed), patches(windows), weights() * (spread / units()) ** 2
    )
    params = jax.tree.map(jnp.asarray, params)
    codebook = None
    if cfg.quantizer == "vq":
        key_batch, key_codes = jax.random.split(jax.random.key(cfg.seed))
        batch = jax.jit(draw, static_argnums=(1, 2))(windows, cfg.window_frames, cfg.batch_size, key_batch)
        z_MK = jax.jit(_latents, static_argnums=0)(cfg, params, batch).reshape(-1, cfg.code_size)
        codebook = codes.first_codebook(cfg, z_MK, key_codes)
    return State(jnp.zeros((), jnp.int32), params, _optimizer(cfg).init(params), codebook)


def _latents(cfg: config.Tokenizer, params: Any, batch: Batch) -> jax.Array:
    """Latents f32[B, S, K] of what a batch shows of its windows."""
    shown_BTC = batch.shown_BTC.astype(jnp.float32)
    latents: Any = networks(cfg)[0].apply(
        {"params": params["encoder"]}, batch.scaled_BTC * shown_BTC, shown_BTC, batch.lengths_B
    )
    return latents


def finish(cfg: config.Tokenizer, scaling: Scaling, state: State) -> Codec:
    """The codec of a state."""
    return Codec(cfg, scaling, state.params, None if state.codebook is None else np.asarray(state.codebook.vectors))


def loss(
    params: Any,
    codebook: quantizers.Codebook | None,
    cfg: config.Tokenizer,
    batch: Batch,
    scale: Scale,
    kept_B: jax.Array,
) -> tuple[jax.Array, tuple[dict[str, jax.Array], codes.Quantized]]:
    """The training loss of a batch, its parts, and its quantized latents; kept_B as in `codes.kept_layers`."""
    z_BSK = _latents(cfg, params, batch)
    seen = codes.quantized(cfg, z_BSK, codebook, kept_B, _whole(cfg, batch, z_BSK.shape[1]))
    decoded_BTC: Any = networks(cfg)[1].apply({"params": params["decoder"]}, seen.values, batch.lengths_B)

    total, parts = reconstruction(cfg, batch, decoded_BTC, scale)
    total += cfg.commitment_weight * seen.commitment
    return total, ({"loss": total} | parts | ({} if codebook is None else {"commitment": seen.commitment}), seen)


def _whole(cfg: config.Tokenizer, batch: Batch, tokens: int) -> jax.Array:
    """Tokens that are movement and not padding, bool[B, S]."""
    return jnp.arange(tokens) < batch.lengths_B[:, None] // cfg.stride


# One step a call: on CPU XLA runs convolutions inside a loop of its own tens of times slower.
@functools.partial(jax.jit, static_argnums=0, donate_argnums=1)
def step(cfg: config.Tokenizer, state: State, windows: Windows, scale: Scale) -> tuple[State, dict[str, jax.Array]]:
    """One update; returns the new state and the parts of the loss."""
    key_batch, key_reset, key_kept = jax.random.split(jax.random.fold_in(jax.random.key(cfg.seed + 1), state.step), 3)
    batch = draw(windows, cfg.window_frames, cfg.batch_size, key_batch)
    kept_B = codes.kept_layers(cfg, cfg.batch_size, key_kept)
    gradient, (parts, seen) = jax.grad(loss, has_aux=True)(state.params, state.codebook, cfg, batch, scale, kept_B)
    updates, optimizer = _optimizer(cfg).update(gradient, state.optimizer, state.params)
    codebook = state.codebook
    if codebook is not None:
        tokens = cfg.window_frames // cfg.stride
        codebook = codes.moved(cfg, codebook, seen, kept_B, _whole(cfg, batch, tokens), key_reset)
    return State(state.step + 1, optax.apply_updates(state.params, updates), optimizer, codebook), parts


def _optimizer(cfg: config.Tokenizer) -> optax.GradientTransformation:
    schedule = optax.warmup_cosine_decay_schedule(
        0.0,
        cfg.learning_rate,
        max(1, int(WARMUP_FRACTION * cfg.steps)),
        max(2, cfg.steps),
        FINAL_FRACTION * cfg.learning_rate,
    )
    return optax.chain(
        optax.clip_by_global_norm(CLIP_NORM), optax.adamw(schedule, b1=B1, b2=B2, weight_decay=WEIGHT_DECAY)
    )
