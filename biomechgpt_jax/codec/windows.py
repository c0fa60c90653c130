"""Random windows of the training movements: where they lie is drawn on the host, how they are altered on the device.

Row i of the global batch of a step is a pure function of (seed, step), however many processes and devices there are.

Shapes: N frames of all movements, M possible windows, R movements, B batch, T frames of a window, C features (40).
"""

import functools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
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
from biomechgpt_jax.codec.scaling import Scaling
from biomechgpt_jax.errors import InputError
from biomechgpt_jax.parallel import feed

MIRROR_PROBABILITY = 0.5
# Of a window whose trunk and arms are those of another: real people combine what the training people do not.
MIX_PROBABILITY = 0.5
UPPER_BODY = slice(INDEX["lumbar_extension"], COORDINATE_COUNT)
_SHIFT, _GAIN = 0.3, 0.2  # of varied windows, standard deviations: a joint's shift in its spread; log of its range
_VARIED = ~np.isin(np.arange(COORDINATE_COUNT), [*features_lib.RATES, features_lib.HEIGHT])
_PATCHES = 50_000
# How often each group of coordinates is hidden in a window.
_HIDDEN_GROUPS = ((NECK_AND_WRISTS, 0.4), (OFTEN_ARTEFACTS, 0.2), (HORIZONTAL_ROOT, 0.15))
_ANY_PROBABILITY, _ANY_SHARE = 0.2, 0.1  # of windows where any coordinate may be hidden; of the coordinates then
_SHORT_PROBABILITY, _SHORTEST = 0.2, 16  # of a window cut short at random, as real clips are; frames left at least


@dataclass(frozen=True)
class Windows:
    """All training movements end to end, on the host, and where windows may start.

    Attributes:
        scaled_NC: f32[N, 40] scaled features, zero where not observed.
        target_NC: f32[N, 40] those that the decoder is to give back; the same array where nothing better is known.
        observed_RC: bool[R, 40] observed COORDINATES of each movement that holds a token.
        first_R: i64[R] its first frame.
        frames_R: i32[R] frames of each of its windows that lie in it, a multiple of the stride.
        ends_R: i64[R] windows of it and of the movements before it; the last is M.
        window: frames T of a window.
        stride: frames of a token.
    """

    scaled_NC: np.ndarray
    target_NC: np.ndarray
    observed_RC: np.ndarray
    first_R: np.ndarray
    frames_R: np.ndarray
    ends_R: np.ndarray
    window: int
    stride: int

    def __len__(self) -> int:
        """Possible windows M."""
        return int(self.ends_R[-1])

    def starts(self, windows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """(movement, first frame) of each of these windows, i64[...]."""
        movement = np.searchsorted(self.ends_R, windows, side="right")
        before_R = np.concatenate([[0], self.ends_R[:-1]])
        return movement, self.first_R[movement] + windows - before_R[movement]


class Batch(NamedTuple):
    """A batch of windows.

    Attributes:
        scaled_BTC: f32[B, T, 40] scaled features, zero where not known.
        target_BTC: f32[B, T, 40] those that the decoder is to give back, zero where not known.
        known_BTC: bool[B, T, 40] features that were observed, within the length.
        shown_BTC: bool[B, T, 40] those of them that the encoder may see.
        lengths_B: i32[B] frames, a multiple of the stride.
    """

    scaled_BTC: jax.Array
    target_BTC: jax.Array
    known_BTC: jax.Array
    shown_BTC: jax.Array
    lengths_B: jax.Array


def gather(
    features: Sequence[np.ndarray],
    observed: Sequence[np.ndarray],
    scaling: Scaling,
    window: int,
    stride: int,
    targets: Sequence[np.ndarray] | None = None,
) -> Windows:
    """Put movements (features f32[T_i, 40], observed COORDINATES bool[40]) end to end.

    Every frame of a movement is about as likely to be drawn as any other; a movement shorter than the window is one
    window, padded. `targets` are the features f32[T_i, 40] to give back; None: the movements' own.

    Raises:
        InputError: no movement is as long as one token.
    """
    lengths = np.array([len(raw) for raw in features], np.int64)
    live = lengths // stride * stride
    whole = live > 0
    if not whole.any():
        raise InputError(f"tokenizer: every movement is shorter than {stride} frames; give longer ones")
    ends = np.cumsum(lengths)

    def end_to_end(movements: Sequence[np.ndarray]) -> np.ndarray:
        # Frames past the end, so that a short last movement can be read as a whole window.
        scaled_NC = np.zeros((lengths.sum() + window, COORDINATE_COUNT), np.float32)
        for raw, seen, end in zip(movements, observed, ends, strict=True):
            mask = features_lib.feature_mask(np.asarray(seen, bool))
            scaled_NC[end - len(raw) : end] = np.where(mask, (raw - scaling.center) / scaling.spread, 0.0)
        return scaled_NC

    scaled_NC = end_to_end(features)
    return Windows(
        scaled_NC,
        scaled_NC if targets is None else end_to_end(targets),
        np.stack(list(observed)).astype(bool)[whole],
        (ends - lengths)[whole],
        np.minimum(live, window)[whole].astype(np.int32),
        np.cumsum(np.maximum(1, live - window + 1)[whole]),
        window,
        stride,
    )


def patches(windows: Windows, seed: int) -> np.ndarray:
    """The frames of a token at evenly spread places, altered as the windows of a batch are, f32[P, stride, 40]."""
    rng = np.random.default_rng(seed)
    _, starts = windows.starts(np.arange(0, len(windows), max(1, len(windows) // _PATCHES)))
    found = windows.scaled_NC[starts[:, None] + np.arange(windows.stride)]
    mixed = rng.random(len(found)) < MIX_PROBABILITY
    found[mixed, :, UPPER_BODY] = rng.permutation(found)[mixed, :, UPPER_BODY]
    mirrored = (rng.random(len(found)) < MIRROR_PROBABILITY)[:, None, None]
    return np.where(mirrored, found[..., MIRROR_PERMUTATION] * MIRROR_SIGN, found)


class Draws:
    """Windows drawn at random, by step: a source of `feed.Prefetch`.

    Args:
        windows: all of them.
        batch_size: rows B of a step over all processes.
        seed: of the draws.
        sharding_of: from the shape of a batch array to its layout.
    """

    def __init__(
        self,
        windows: Windows,
        batch_size: int,
        seed: int,
        sharding_of: Callable[[tuple[int, ...]], jax.sharding.Sharding],
    ) -> None:
        self._windows, self._batch_size, self._seed, self._sharding_of = windows, batch_size, seed, sharding_of
        places = sharding_of((batch_size,)).addressable_devices_indices_map((batch_size,)).values()
        self._local = feed.needed_rows(places, batch_size)

    def rows(self, step: int, rows: np.ndarray) -> dict[str, np.ndarray]:
        """The given rows of a step's global batch.

        Returns:
            "scaled" f32[rows, T, 40] (what lies beyond a short movement is not its own), "target" f32[rows, T, 40]
            where it differs, "observed" bool[rows, 40] COORDINATES, and "frames" i32[rows].
        """
        # A generator that counts: its key is the place, so nothing needs to have been drawn before.
        key = np.array([self._seed % 2**64, step], np.uint64)
        raw = np.random.Philox(key=key).random_raw((3, self._batch_size))[:, rows]
        drawn = (raw[:2] % np.uint64(len(self._windows))).astype(np.int64)
        own, other = (self._window(which) for which in drawn)
        mixed = np.flatnonzero(raw[2] < np.uint64(MIX_PROBABILITY * 2.0**64))
        for name in own.keys() & {"scaled", "target"}:
            own[name][mixed, :, UPPER_BODY] = other[name][mixed, :, UPPER_BODY]
        own["observed"][mixed, UPPER_BODY] = other["observed"][mixed, UPPER_BODY]
        own["frames"][mixed] = np.minimum(own["frames"], other["frames"])[mixed]
        return own

    def _window(self, which: np.ndarray) -> dict[str, np.ndarray]:
        held = self._windows
        movement, starts = held.starts(which)
        frames = starts[:, None] + np.arange(held.window)
        found = {
            "scaled": held.scaled_NC.take(frames, axis=0),
            "observed": held.observed_RC[movement],
            "frames": held.frames_R[movement],
        }
        return found if held.target_NC is held.scaled_NC else found | {"target": held.target_NC.take(frames, axis=0)}

    def device_batch(self, step: int) -> dict[str, jax.Array]:
        """The global batch of a step on the devices; each process reads only its own rows."""
        arrays = self.rows(step, self._local)
        shapes = {name: (self._batch_size, *array.shape[1:]) for name, array in arrays.items()}
        return {
            name: feed.from_rows(array, self._local, shapes[name], self._sharding_of(shapes[name]))
            for name, array in arrays.items()
        }


def altered(drawn: Mapping[str, jax.Array], stride: int, key: jax.Array, varied: float = 0.0) -> Batch:
    """Windows of `Draws`, some mirrored, some cut short, with coordinates hidden at random.

    In a share `varied` (static) the joints are held otherwise and move more or less, as in people of other kinds than
    the training people.

    What happens to a row follows from the key and the row's number, not from where the row lies.
    """
    rows = drawn["frames"].shape[0]
    keys_B = jax.vmap(jax.random.fold_in, (None, 0))(key, jnp.arange(rows))
    one = jax.vmap(functools.partial(_altered, stride=stride, varied=varied))
    scaled_BTC = drawn["scaled"]
    return one(scaled_BTC, drawn.get("target", scaled_BTC), drawn["observed"], drawn["frames"], keys_B)


def _altered(
    scaled_TC: jax.Array,
    target_TC: jax.Array,
    observed_C: jax.Array,
    frames: jax.Array,
    key: jax.Array,
    stride: int,
    varied: float,
) -> Batch:
    """One window."""
    key_mirror, key_short, key_hidden, key_varied = jax.random.split(key, 4)
    length = _length(frames, stride, key_short)
    live_T1 = (jnp.arange(scaled_TC.shape[0]) < length)[:, None]
    mirrored = jax.random.bernoulli(key_mirror, MIRROR_PROBABILITY)
    # The scaling is the same for left and right, so the mirror of coordinates is also that of scaled features.
    scaled_TC, target_TC = (
        jnp.where(mirrored, x_TC[:, MIRROR_PERMUTATION] * MIRROR_SIGN, x_TC) for x_TC in (scaled_TC, target_TC)
    )
    observed_C = jnp.where(mirrored, observed_C[MIRROR_PERMUTATION], observed_C)

    if varied > 0:
        scaled_TC, target_TC = _varied(scaled_TC, target_TC, live_T1, key_varied, varied)

    known_TC = features_lib.feature_mask(observed_C) & live_T1
    shown_TC = features_lib.feature_mask(observed_C & ~_hidden(key_hidden)) & live_T1
    scaled_TC, target_TC = (jnp.where(known_TC, x_TC, 0.0) for x_TC in (scaled_TC, target_TC))
    return Batch(scaled_TC, target_TC, known_TC, shown_TC, length)


def _varied(
    scaled_TC: jax.Array, target_TC: jax.Array, live_T1: jax.Array, key: jax.Array, share: float
) -> tuple[jax.Array, jax.Array]:
    """A window and what is to be given back of it, now and then with angles shifted and their ranges changed."""
    key_which, key_shift, key_gain = jax.random.split(key, 3)
    which_C = jax.random.bernoulli(key_which, share) & _VARIED
    shift_C = jnp.where(which_C, _SHIFT * jax.random.normal(key_shift, (COORDINATE_COUNT,)), 0.0)
    gain_C = jnp.where(which_C, jnp.exp(_GAIN * jax.random.normal(key_gain, (COORDINATE_COUNT,))), 1.0)
    middle_C = jnp.sum(jnp.where(live_T1, target_TC, 0.0), axis=0) / live_T1.sum()
    moved_C = middle_C * (1.0 - gain_C) + shift_C
    return moved_C + gain_C * scaled_TC, moved_C + gain_C * target_TC


def _length(frames: jax.Array, stride: int, key: jax.Array) -> jax.Array:
    key_which, key_length = jax.random.split(key)
    short = jax.random.randint(key_length, (), jnp.minimum(_SHORTEST, frames), frames + 1)
    cut = jax.random.bernoulli(key_which, _SHORT_PROBABILITY)
    return jnp.maximum(jnp.where(cut, short // stride * stride, frames), stride)


def _hidden(key: jax.Array) -> jax.Array:
    """Coordinates to hide, bool[40]."""
    *key_groups, key_which, key_any = jax.random.split(key, len(_HIDDEN_GROUPS) + 2)
    which = jax.random.bernoulli(key_which, _ANY_PROBABILITY)
    hidden_C = which & jax.random.bernoulli(key_any, _ANY_SHARE, (COORDINATE_COUNT,))
    for (names, probability), key_group in zip(_HIDDEN_GROUPS, key_groups, strict=True):
        member_C = np.zeros(COORDINATE_COUNT, bool)
        member_C[[INDEX[name] for name in names]] = True
        hidden_C |= jax.random.bernoulli(key_group, probability) & member_C
    return hidden_C
