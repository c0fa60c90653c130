"""Quality flags: what is suspicious about a movement.

Shapes: T frames, C coordinates (40).
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from biomechgpt_jax.biomechanics import skeleton
from biomechgpt_jax.biomechanics.skeleton import COORDINATES, INDEX
from biomechgpt_jax.biomechanics.treadmill import Feet

# A coordinate that changes by less than this over _BLOCK frames at 30 Hz is frozen: nobody stands that still.
_STILL = 1e-5
_BLOCK = 16
# Excess over the limits of `skeleton` that is tolerated.
_MARGIN_RAD = np.radians(5.0)
# A foot point slower than this is at rest, and what it rests on is its support.
_REST_M_S = 0.4
# A body floats while all its foot points are higher above their support than this, for longer than any jump takes.
FLOATING_M = 0.08
FLOATING_S = 0.8
# Artefacts in most files, and joints that OpenSim models do not have: a flag would carry no information.
_IGNORED = np.array([name in skeleton.OFTEN_ARTEFACTS + skeleton.NECK_AND_WRISTS for name in COORDINATES])
_LEGS = np.array(
    [INDEX[name] for name in ("pelvis_ty", "pelvis_tilt", "pelvis_list", "pelvis_rotation")]
    + [
        INDEX[f"{name}_{side}"]
        for side in "rl"
        for name in ("hip_flexion", "hip_adduction", "knee_angle", "ankle_angle")
    ]
)


class Flags(NamedTuple):
    """Quality of one recording.

    Attributes:
        gap: bool[] short gaps were filled.
        trimmed: bool[] frames were cut off, because of a long gap or a jump.
        floating: bool[] for longer than a jump no foot is within 8 cm of its local support, or the whole movement
            rests on one level more than 8 cm above the floor.
        treadmill: bool[] the feet stood on a moving belt, whose travel was removed.
        spike_C: bool[C] coordinates with single outlying frames, which were filled as gaps.
        jump_C: bool[C] coordinates that change faster than people move.
        frozen_C: bool[C] coordinates that stand still for half a second or more.
        out_of_range_C: bool[C] coordinates that exceed the limits of `skeleton` by more than 5 degrees.
        lost_C: bool[C] coordinates that were masked because too much of them was missing.
    """

    gap: jax.Array
    trimmed: jax.Array
    floating: jax.Array
    treadmill: jax.Array
    spike_C: jax.Array
    jump_C: jax.Array
    frozen_C: jax.Array
    out_of_range_C: jax.Array
    lost_C: jax.Array

    def names(self) -> tuple[str, ...]:
        """Names of the raised flags as stored in the metadata, such as "gap" or "frozen:knee_angle_r"."""
        raised = []
        for name, value in zip(self._fields, self, strict=True):
            if not np.any(value):
                continue
            if name.endswith("_C"):
                word = name.removesuffix("_C").replace("_", "-")
                raised += [f"{word}:{COORDINATES[index]}" for index in np.flatnonzero(value)]
            else:
                raised.append(name)
        return tuple(raised)


def frozen(coordinates_TC: jax.Array, observed_C: jax.Array, count: jax.Array) -> jax.Array:
    """Observed coordinates that do not change over some block of 16 frames (0.5 s; blocks do not overlap), bool[C]."""
    frames, columns = coordinates_TC.shape
    blocks_NBC = coordinates_TC[: frames // _BLOCK * _BLOCK].reshape(-1, _BLOCK, columns)
    range_NC = blocks_NBC.max(axis=1) - blocks_NBC.min(axis=1)
    whole_N = (jnp.arange(len(range_NC)) + 1) * _BLOCK <= count
    return ((range_NC < _STILL) & whole_N[:, None]).any(axis=0) & observed_C & ~_IGNORED


def out_of_range(coordinates_TC: jax.Array, observed_C: jax.Array, count: jax.Array) -> jax.Array:
    """Observed coordinates that exceed the limits of `skeleton`, bool[C]."""
    low_C, high_C = skeleton.limits().T
    outside_TC = (coordinates_TC < low_C - _MARGIN_RAD) | (coordinates_TC > high_C + _MARGIN_RAD)
    live_T1 = (jnp.arange(len(coordinates_TC)) < count)[:, None]
    # The limits of pelvis tilt and list hold in the body's own heading only: at another heading they are other angles.
    return (outside_TC & live_T1).any(axis=0) & observed_C & ~_IGNORED


def floating(feet: Feet, observed_C: jax.Array, count: jax.Array, rate_hz: jax.Array | float) -> jax.Array:
    """Whether the body hangs in the air, bool[].

    A foot point at rest has support under it, at whatever height: standing on a step or a box is not floating. Between
    rests the support is the higher of the last and the next one; without any rest, and for a movement that rests on
    one level from start to end, it is the floor at height 0. Needs the pelvis and the legs; False without them.
    """
    frames = len(feet.height_T)
    frame_T = jnp.arange(frames)
    live_T = frame_T < count
    rest_T = live_T & (feet.slowest_T < _REST_M_S)
    last_T = jax.lax.cummax(jnp.where(rest_T, frame_T, -1))
    next_T = jax.lax.cummin(jnp.where(rest_T, frame_T, frames), reverse=True)
    level_T = jnp.where(rest_T, feet.slowest_height_T, -jnp.inf)
    padded = jnp.concatenate([level_T, jnp.array([-jnp.inf])])
    support_T = jnp.maximum(padded[last_T], padded[next_T])  # index -1 is the padding as well
    support_T = jnp.where(jnp.isfinite(support_T), support_T, 0.0)

    air_T = live_T & (feet.height_T > support_T + FLOATING_M)
    ground_T = jax.lax.cummax(jnp.where(air_T, -1, frame_T))
    long = (jnp.where(air_T, frame_T - ground_T, 0) > FLOATING_S * rate_hz).any()
    lowest = jnp.where(rest_T, level_T, jnp.inf).min()
    one_level = (level_T.max() - lowest < FLOATING_M) & (lowest > FLOATING_M) & rest_T.any()
    return (long | one_level) & observed_C[_LEGS].all()
