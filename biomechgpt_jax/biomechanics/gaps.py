"""Missing and implausible frames of one padded recording: unwrap angles, fill short gaps, report what stays unknown.

The caller jits all functions and vectorises them over recordings. Shapes: T frames, C coordinates (40), K of them.
"""

from typing import TypeVar

import jax
import jax.numpy as jnp
import numpy as np

from biomechgpt_jax.biomechanics.skeleton import COORDINATES, INDEX, NECK_AND_WRISTS, OFTEN_ARTEFACTS

Rate = TypeVar("Rate", np.ndarray, jax.Array)

# Longer gaps are not filled: a fifth of a second is the usual limit of marker-based gait analysis [memory].
LONGEST_GAP_S = 0.2
# A coordinate is masked if unfilled gaps take more than this share of the recording; otherwise that is trimmed. Those
# at the ends of limbs, which few markers show and often falsely, are given up sooner: the turn of a forearm that is
# hidden for a third of a second is no reason to cut a walk in two.
LOST_SHARE = np.where(np.isin(COORDINATES, OFTEN_ARTEFACTS + NECK_AND_WRISTS), 0.05, 0.25).astype(np.float32)
# Coordinates without an end stop, which a file may wrap at half a turn.
_WRAPPING = np.array(
    [INDEX[name] for name in COORDINATES if name.startswith(("pelvis_rotation", "arm_flex", "arm_add", "arm_rot"))]
)

# Fastest changes that people make (metres or radians per second), well above sprinting; anything faster is a jump from
# one solution to another. Shoulders have no limit: they flip near their singular pose without spoiling the movement.
_FASTEST = {
    "pelvis_t": 15.0,
    "pelvis_tilt": 25.0,
    "pelvis_list": 25.0,
    "pelvis_rotation": 25.0,
    "hip_": 35.0,
    "knee_": 40.0,
    "ankle_": 40.0,
    "lumbar_": 30.0,
}
# ... and a step smaller than this is noise, however high the rate.
_SMALLEST_JUMP = 0.15
_SPEEDS = np.array(
    [next((speed for name, speed in _FASTEST.items() if c.startswith(name)), np.inf) for c in COORDINATES], np.float32
)
_NOISE = np.where(np.isfinite(_SPEEDS), np.float32(_SMALLEST_JUMP), np.float32(np.inf))


def unwrap(values_TC: jax.Array, live_T: jax.Array) -> jax.Array:
    """Remove jumps by whole turns from the coordinates that a file may wrap, also across missing frames (NaN).

    Args:
        values_TC: f32[T, C] radians and metres.
        live_T: bool[T] frames that are not padding.
    """
    angle_TK = values_TC[:, _WRAPPING]
    held_TK = _hold_last(angle_TK, jnp.isfinite(angle_TK) & live_T[:, None])
    steps_TK = jnp.round(jnp.diff(held_TK, axis=0, prepend=held_TK[:1]) / (2 * jnp.pi))
    return values_TC.at[:, _WRAPPING].add(-2 * jnp.pi * jnp.cumsum(steps_TK, axis=0))


def _hold_last(values_TK: jax.Array, known_TK: jax.Array) -> jax.Array:
    """Replace each missing value by the last known one; before the first by that one; by 0 where none is known."""
    frame_T1 = jnp.arange(len(values_TK))[:, None]
    last_TK = jax.lax.cummax(jnp.where(known_TK, frame_T1, -1))
    first_K = jnp.argmax(known_TK, axis=0)
    held_TK = jnp.take_along_axis(values_TK, jnp.where(last_TK < 0, first_K, last_TK), axis=0)
    return jnp.where(known_TK.any(axis=0), held_TK, 0.0)


def limits(rate_hz: Rate) -> Rate:
    """Largest plausible change of each coordinate between consecutive frames, f32[..., C], at rates f32[...] in Hz."""
    namespace = np if isinstance(rate_hz, np.ndarray) else jnp
    return namespace.maximum(_SPEEDS / rate_hz[..., None], _NOISE)


def is_sound(values_TC: np.ndarray, rate_hz: float, observed_C: np.ndarray) -> bool:
    """Whether the observed coordinates of a recording have no gap, no jump and no angle to unwrap."""
    with np.errstate(invalid="ignore"):  # of an infinite value less another; NaN is not sound
        change_TC = np.abs(np.diff(values_TC[:, observed_C].astype(np.float32, copy=False), axis=0))
    largest_C = np.minimum(limits(np.asarray(rate_hz, np.float32)), np.float32(np.pi))
    return bool((change_TC <= largest_C[observed_C]).all())


def jumps(values_TC: jax.Array, rate_hz: jax.Array) -> jax.Array:
    """Whether a coordinate jumps from frame t - 1 to frame t, bool[T, C]."""
    change_TC = jnp.abs(jnp.diff(values_TC, axis=0, prepend=values_TC[:1]))
    return change_TC > limits(rate_hz)


def spikes(values_TC: jax.Array, rate_hz: jax.Array) -> jax.Array:
    """Single frames far from both neighbours, which agree with each other, bool[T, C]."""
    limit_C = limits(rate_hz)
    change_TC = jnp.diff(values_TC, axis=0)
    there_TC, back_TC = change_TC[:-1], change_TC[1:]
    out_TC = (jnp.abs(there_TC) > limit_C) & (jnp.abs(back_TC) > limit_C) & (jnp.abs(there_TC + back_TC) <= limit_C)
    return jnp.pad(out_TC, [(1, 1), (0, 0)])


def fill(
    values_TC: jax.Array, known_TC: jax.Array, count: jax.Array, rate_hz: jax.Array
) -> tuple[jax.Array, jax.Array]:
    """Fill gaps with the cubic that leaves and enters them at the slope of the two frames on each side.

    Where a side has only one frame the slope is that of the straight line. Before the first known frame and after the
    last one the nearest value is held.

    Returns:
        values f32[T, C], and bool[T, C] where they are still unknown: in gaps longer than 0.2 s, before the first
        known frame and after the last one.
    """
    frames = len(values_TC)
    frame_T1 = jnp.arange(frames)[:, None]
    known_TC &= frame_T1 < count
    before_TC = jax.lax.cummax(jnp.where(known_TC, frame_T1, -1))
    after_TC = jax.lax.cummin(jnp.where(known_TC, frame_T1, frames), reverse=True)
    inside_TC = (before_TC >= 0) & (after_TC < frames)

    def at(index_TC: jax.Array) -> jax.Array:
        return jnp.take_along_axis(values_TC, jnp.clip(index_TC, 0, frames - 1), axis=0)

    start_TC, end_TC = at(before_TC), at(after_TC)
    start_TC = jnp.where(before_TC < 0, end_TC, start_TC)
    end_TC = jnp.where(after_TC >= frames, start_TC, end_TC)
    width_TC = jnp.where(inside_TC, after_TC - before_TC, 1)
    chord_TC = (end_TC - start_TC) / width_TC

    earlier_TC = jnp.take_along_axis(known_TC, jnp.clip(before_TC - 1, 0, frames - 1), axis=0) & (before_TC > 0)
    later_TC = jnp.take_along_axis(known_TC, jnp.clip(after_TC + 1, 0, frames - 1), axis=0) & (after_TC < frames - 1)
    leaving_TC = jnp.where(earlier_TC, start_TC - at(before_TC - 1), chord_TC)
    entering_TC = jnp.where(later_TC, at(after_TC + 1) - end_TC, chord_TC)
    u_TC = (frame_T1 - before_TC) / width_TC
    bend_TC = (leaving_TC - chord_TC) * (1 - u_TC) - (entering_TC - chord_TC) * u_TC
    curve_TC = start_TC + (end_TC - start_TC) * u_TC + width_TC * u_TC * (1 - u_TC) * bend_TC
    made_TC = jnp.where(inside_TC, curve_TC, jnp.where(before_TC < 0, end_TC, start_TC))
    filled_TC = jnp.where(known_TC, values_TC, jnp.where(jnp.isfinite(made_TC), made_TC, 0.0))
    short_TC = inside_TC & (width_TC - 1 <= jnp.floor(LONGEST_GAP_S * rate_hz + 1e-3))
    return filled_TC, ~known_TC & ~short_TC


def longest_stretch(whole_T: jax.Array, broken_T: jax.Array) -> tuple[jax.Array, jax.Array]:
    """First frame and number of frames of the longest run of usable frames without a break.

    Args:
        whole_T: bool[T] usable frames.
        broken_T: bool[T] whether there is a break between a frame and the one before.
    """
    frame_T = jnp.arange(len(whole_T))
    # The run that a frame belongs to starts at the last break, or after the last unusable frame.
    start_T = jax.lax.cummax(jnp.where(whole_T, jnp.where(broken_T, frame_T, 0), frame_T + 1))
    length_T = jnp.where(whole_T, frame_T - start_T + 1, 0)
    last = jnp.argmax(length_T)
    return start_T[last], length_T[last]
