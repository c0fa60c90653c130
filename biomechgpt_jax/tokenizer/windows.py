"""Random windows of the training movements, drawn on the device.

Shapes: N frames of all movements, M possible windows, R movements, B batch, T frames of a window, C features (40).
"""

from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from biomechgpt_jax.biomechanics import features as features_lib
from biomechgpt_jax.biomechanics.skeleton import (
    COORDINATE_COUNT,
    HORIZONTAL_ROOT,
    INDEX,
    MIRROR_PERMUTATION,
    MIRROR_SIGN,
    NECK_AND_WRISTS,
    OFTEN_ARTEFACTS,
)
from biomechgpt_jax.errors import InputError
from biomechgpt_jax.tokenizer.scaling import Scaling

MIRROR_PROBABILITY = 0.5
_PATCHES = 50_000
# How often each group of coordinates is hidden in a window.
_HIDDEN_GROUPS = ((NECK_AND_WRISTS, 0.4), (OFTEN_ARTEFACTS, 0.2), (HORIZONTAL_ROOT, 0.15))
_ANY_PROBABILITY, _ANY_SHARE = 0.2, 0.1  # of windows where any coordinate may be hidden; of the coordinates then
_SHORT_PROBABILITY, _SHORTEST = 0.2, 16  # of a window cut short at random, as real clips are; frames left at least


class Windows(NamedTuple):
    """All training movements end to end, and where windows may start.

    Attributes:
        scaled_NC: f32[N, 40] scaled features, zero where not observed.
        observed_RC: bool[R, 40] observed COORDINATES of each movement.
        starts_M: i32[M] first frame of each possible window.
        frames_M: i32[M] frames of it that lie in its movement, a multiple of the stride.
        movement_M: i32[M] its movement.
        stride: i32[] frames of a token.
    """

    scaled_NC: jax.Array
    observed_RC: jax.Array
    starts_M: jax.Array
    frames_M: jax.Array
    movement_M: jax.Array
    stride: jax.Array


class Batch(NamedTuple):
    """A batch of windows.

    Attributes:
        scaled_BTC: f32[B, T, 40] scaled features, zero where not known.
        known_BTC: bool[B, T, 40] features that were observed, within the length.
        shown_BTC: bool[B, T, 40] those of them that the encoder may see.
        lengths_B: i32[B] frames, a multiple of the stride.
    """

    scaled_BTC: jax.Array
    known_BTC: jax.Array
    shown_BTC: jax.Array
    lengths_B: jax.Array


def gather(
    features: Sequence[np.ndarray], observed: Sequence[np.ndarray], scaling: Scaling, window: int, stride: int
) -> Windows:
    """Put movements (features f32[T_i, 40], observed COORDINATES bool[40]) on the device.

    Every frame of a movement is about as likely to be drawn as any other; a movement shorter than the window is one
    window, padded.

    Raises:
        InputError: no movement is as long as one token.
    """
    scaled, starts, frames, movement, end = [], [], [], [], 0
    for number, (raw, seen) in enumerate(zip(features, observed, strict=True)):
        live = len(raw) // stride * stride
        if live:
            first = np.arange(max(1, live - window + 1))
            starts.append(end + first)
            frames.append(np.full(len(first), min(live, window)))
            movement.append(np.full(len(first), number))
        scaled.append(np.where(features_lib.feature_mask(seen), (raw - scaling.center) / scaling.spread, 0.0))
        end += len(raw)
    if not starts:
        raise InputError(f"tokenizer: every movement is shorter than {stride} frames; give longer ones")
    scaled.append(np.zeros((window, COORDINATE_COUNT)))  # so that a short last movement can be read past its end
    return Windows(
        jnp.asarray(np.concatenate(scaled), jnp.float32),
        jnp.asarray(np.stack(list(observed)), bool),
        jnp.asarray(np.concatenate(starts), jnp.int32),
        jnp.asarray(np.concatenate(frames), jnp.int32),
        jnp.asarray(np.concatenate(movement), jnp.int32),
        jnp.asarray(stride, jnp.int32),
    )


def patches(windows: Windows) -> np.ndarray:
    """The frames of a token at evenly spread places, and their mirror images, f32[P, stride, 40]."""
    starts = np.asarray(windows.starts_M)
    starts = starts[:: max(1, len(starts) // _PATCHES)]
    found = np.asarray(windows.scaled_NC)[starts[:, None] + np.arange(int(windows.stride))]
    return np.concatenate([found, found[..., MIRROR_PERMUTATION] * MIRROR_SIGN])


def draw(windows: Windows, window: int, batch_size: int, key: jax.Array) -> Batch:
    """Random windows, some mirrored, some short, with coordinates hidden at random."""
    key_window, key_mirror, key_short, key_hidden = jax.random.split(key, 4)
    drawn_B = jax.random.randint(key_window, (batch_size,), 0, len(windows.starts_M))
    lengths_B = _lengths(windows.frames_M[drawn_B], windows.stride, key_short)
    live_BT1 = (jnp.arange(window) < lengths_B[:, None])[..., None]

    scaled_BTC = windows.scaled_NC[windows.starts_M[drawn_B][:, None] + jnp.arange(window)]
    observed_BC = windows.observed_RC[windows.movement_M[drawn_B]]
    mirrored_B = jax.random.bernoulli(key_mirror, MIRROR_PROBABILITY, (batch_size,))
    # The scaling is the same for left and right, so the mirror of coordinates is also that of scaled features.
    scaled_BTC = jnp.where(mirrored_B[:, None, None], scaled_BTC[..., MIRROR_PERMUTATION] * MIRROR_SIGN, scaled_BTC)
    observed_BC = jnp.where(mirrored_B[:, None], observed_BC[:, MIRROR_PERMUTATION], observed_BC)

    known_BTC = features_lib.feature_mask(observed_BC)[:, None] & live_BT1
    shown_BC = features_lib.feature_mask(observed_BC & ~_hidden(batch_size, key_hidden))
    return Batch(jnp.where(known_BTC, scaled_BTC, 0.0), known_BTC, shown_BC[:, None] & live_BT1, lengths_B)


def _lengths(frames_B: jax.Array, stride: jax.Array, key: jax.Array) -> jax.Array:
    key_which, key_length = jax.random.split(key)
    short_B = jax.random.randint(key_length, frames_B.shape, jnp.minimum(_SHORTEST, frames_B), frames_B + 1)
    cut_B = jax.random.bernoulli(key_which, _SHORT_PROBABILITY, frames_B.shape)
    return jnp.maximum(jnp.where(cut_B, short_B // stride * stride, frames_B), stride)


def _hidden(batch_size: int, key: jax.Array) -> jax.Array:
    """Coordinates to hide, bool[B, 40]."""
    *key_groups, key_which, key_any = jax.random.split(key, len(_HIDDEN_GROUPS) + 2)
    which_B1 = jax.random.bernoulli(key_which, _ANY_PROBABILITY, (batch_size, 1))
    hidden_BC = which_B1 & jax.random.bernoulli(key_any, _ANY_SHARE, (batch_size, COORDINATE_COUNT))
    for (names, probability), key_group in zip(_HIDDEN_GROUPS, key_groups, strict=True):
        member_C = np.zeros(COORDINATE_COUNT, bool)
        member_C[[INDEX[name] for name in names]] = True
        hidden_BC |= jax.random.bernoulli(key_group, probability, (batch_size, 1)) & member_C
    return hidden_BC
