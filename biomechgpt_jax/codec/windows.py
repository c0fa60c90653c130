"""Random windows of the training movements, drawn on the host and augmented on the device.

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
# Probability of mixing in another person's upper body: real people combine what the training people do not.
MIX_PROBABILITY = 0.5
UPPER_BODY = slice(INDEX["lumbar_extension"], COORDINATE_COUNT)
# Standard deviations, in varied windows, of a joint's shift (in its spread) and of the log of the gain on its range.
_SHIFT, _GAIN = 0.3, 0.2
_VARIED = ~np.isin(np.arange(COORDINATE_COUNT), [*features_lib.RATES, features_lib.HEIGHT])
_PATCHES = 50_000  # the principal components are taken of about this many
# Probability that each group of coordinates is hidden in a window.
_HIDDEN_GROUPS = ((NECK_AND_WRISTS, 0.4), (OFTEN_ARTEFACTS, 0.2), (HORIZONTAL_ROOT, 0.15))
_ANY_PROBABILITY, _ANY_SHARE = 0.2, 0.1  # that any coordinate may be hidden in a window; share of them hidden then
_SHORT_PROBABILITY, _SHORTEST = 0.2, 16  # that a window is cut short, as real clips are; frames that it keeps at least


@dataclass(frozen=True)
class Windows:
    """All training movements end to end, on the host, and the places where windows may start.

    Attributes:
        scaled_NC: f32[N, 40] scaled features, zero where not observed.
        target_NC: f32[N, 40] scaled features that the decoder should reconstruct; `scaled_NC` itself if no better ones
            are known.
        observed_RC: bool[R, 40] observed COORDINATES of each movement that holds a token.
        first_R: i64[R] first frame of each movement.
        frames_R: i32[R] frames of a window that lie within the movement, a multiple of the stride.
        ends_R: i64[R] number of windows of the movement and of all before it; the last is M.
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
        """Number M of possible windows."""
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
        target_BTC: f32[B, T, 40] scaled features that the decoder should reconstruct, zero where not known.
        known_BTC: bool[B, T, 40] features that were observed, within the length.
        shown_BTC: bool[B, T, 40] the known features that the encoder may see.
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

    Every frame is about equally likely to be drawn. A movement shorter than the window is one window, padded.

    Args:
        targets: features f32[T_i, 40] to reconstruct; None: those of the movements themselves.

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
        # The frames beyond the end let a short last movement be read as a whole window.
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
    """The frames f32[P, stride, 40] of tokens at evenly spread places, mixed and mirrored like windows of a batch."""
    rng = np.random.default_rng(seed)
    _, starts = windows.starts(np.arange(0, len(windows), max(1, len(windows) // _PATCHES)))
    patches_PTC = windows.scaled_NC[starts[:, None] + np.arange(windows.stride)]
    mixed = rng.random(len(patches_PTC)) < MIX_PROBABILITY
    patches_PTC[mixed, :, UPPER_BODY] = rng.permutation(patches_PTC)[mixed, :, UPPER_BODY]
    mirrored = (rng.random(len(patches_PTC)) < MIRROR_PROBABILITY)[:, None, None]
    return np.where(mirrored, patches_PTC[..., MIRROR_PERMUTATION] * MIRROR_SIGN, patches_PTC)


class Draws:
    """Random windows by step; a source of `feed.Prefetch`.

    Args:
        windows: all possible windows.
        batch_size: rows B of a step over all processes.
        seed: of the draws.
        sharding_of: maps the shape of a batch array to its layout.
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
            "scaled" f32[rows, T, 40] (values beyond the end of a short movement are not its own), "target"
            f32[rows, T, 40] if it differs, "observed" bool[rows, 40] COORDINATES, and "frames" i32[rows].
        """
        # A counter-based generator: seed and step are its key, so that no earlier step needs to have been drawn.
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
        windows = self._windows
        movement, starts = windows.starts(which)
        frames = starts[:, None] + np.arange(windows.window)
        arrays = {
            "scaled": windows.scaled_NC.take(frames, axis=0),
            "observed": windows.observed_RC[movement],
            "frames": windows.frames_R[movement],
        }
        if windows.target_NC is not windows.scaled_NC:
            arrays["target"] = windows.target_NC.take(frames, axis=0)
        return arrays

    def device_batch(self, step: int) -> dict[str, jax.Array]:
        """The global batch of a step on the devices; each process reads only its own rows."""
        arrays = self.rows(step, self._local)
        shapes = {name: (self._batch_size, *array.shape[1:]) for name, array in arrays.items()}
        return {
            name: feed.from_rows(array, self._local, shapes[name], self._sharding_of(shapes[name]))
            for name, array in arrays.items()
        }


def augment(drawn: Mapping[str, jax.Array], stride: int, key: jax.Array, varied: float = 0.0) -> Batch:
    """Mirror some windows of `Draws`, cut some short, and hide coordinates at random.

    The augmentation of a row depends on the key and the row's number alone, not on the device that holds the row.

    Args:
        drawn: a batch of `Draws`.
        stride: frames of a token.
        key: of the random choices.
        varied: probability that the joints of a window are shifted and their ranges changed, as in people unlike the
            training people; static.
    """
    rows = drawn["frames"].shape[0]
    keys_B = jax.vmap(jax.random.fold_in, (None, 0))(key, jnp.arange(rows))
    augment_rows = jax.vmap(functools.partial(_augment_window, stride=stride, varied=varied))
    scaled_BTC = drawn["scaled"]
    return augment_rows(scaled_BTC, drawn.get("target", scaled_BTC), drawn["observed"], drawn["frames"], keys_B)


def _augment_window(
    scaled_TC: jax.Array,
    target_TC: jax.Array,
    observed_C: jax.Array,
    frames: jax.Array,
    key: jax.Array,
    stride: int,
    varied: float,
) -> Batch:
    """`augment` for one window."""
    key_mirror, key_short, key_hidden, key_varied = jax.random.split(key, 4)
    length = _draw_length(frames, stride, key_short)
    live_T1 = (jnp.arange(scaled_TC.shape[0]) < length)[:, None]
    mirrored = jax.random.bernoulli(key_mirror, MIRROR_PROBABILITY)
    # Left and right are scaled alike, so that mirroring works on scaled features as it does on coordinates.
    scaled_TC, target_TC = (
        jnp.where(mirrored, x_TC[:, MIRROR_PERMUTATION] * MIRROR_SIGN, x_TC) for x_TC in (scaled_TC, target_TC)
    )
    observed_C = jnp.where(mirrored, observed_C[MIRROR_PERMUTATION], observed_C)

    if varied > 0:
        scaled_TC, target_TC = _vary_joints(scaled_TC, target_TC, live_T1, key_varied, varied)

    known_TC = features_lib.feature_mask(observed_C) & live_T1
    shown_TC = features_lib.feature_mask(observed_C & ~_draw_hidden(key_hidden)) & live_T1
    scaled_TC, target_TC = (jnp.where(known_TC, x_TC, 0.0) for x_TC in (scaled_TC, target_TC))
    return Batch(scaled_TC, target_TC, known_TC, shown_TC, length)


def _vary_joints(
    scaled_TC: jax.Array, target_TC: jax.Array, live_T1: jax.Array, key: jax.Array, share: float
) -> tuple[jax.Array, jax.Array]:
    """With probability `share`, shift the joints of a window and of its target and change their ranges."""
    key_which, key_shift, key_gain = jax.random.split(key, 3)
    which_C = jax.random.bernoulli(key_which, share) & _VARIED
    shift_C = jnp.where(which_C, _SHIFT * jax.random.normal(key_shift, (COORDINATE_COUNT,)), 0.0)
    gain_C = jnp.where(which_C, jnp.exp(_GAIN * jax.random.normal(key_gain, (COORDINATE_COUNT,))), 1.0)
    middle_C = jnp.sum(jnp.where(live_T1, target_TC, 0.0), axis=0) / live_T1.sum()
    moved_C = middle_C * (1.0 - gain_C) + shift_C
    return moved_C + gain_C * scaled_TC, moved_C + gain_C * target_TC


def _draw_length(frames: jax.Array, stride: int, key: jax.Array) -> jax.Array:
    """Frames to keep of a window, i32[]: a multiple of the stride."""
    key_which, key_length = jax.random.split(key)
    short = jax.random.randint(key_length, (), jnp.minimum(_SHORTEST, frames), frames + 1)
    cut = jax.random.bernoulli(key_which, _SHORT_PROBABILITY)
    return jnp.maximum(jnp.where(cut, short // stride * stride, frames), stride)


def _draw_hidden(key: jax.Array) -> jax.Array:
    """Coordinates to hide, bool[40]."""
    *key_groups, key_which, key_any = jax.random.split(key, len(_HIDDEN_GROUPS) + 2)
    which = jax.random.bernoulli(key_which, _ANY_PROBABILITY)
    hidden_C = which & jax.random.bernoulli(key_any, _ANY_SHARE, (COORDINATE_COUNT,))
    for (names, probability), key_group in zip(_HIDDEN_GROUPS, key_groups, strict=True):
        member_C = np.zeros(COORDINATE_COUNT, bool)
        member_C[[INDEX[name] for name in names]] = True
        hidden_C |= jax.random.bernoulli(key_group, probability) & member_C
    return hidden_C
