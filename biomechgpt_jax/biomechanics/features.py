"""Heading-invariant features of a movement, and their inverse.

The orientation of the pelvis is recorded as intrinsic Z tilt, X list, Y rotation: R = Rz(tilt) Rx(list) Ry(rotation).
Tilt and list change when the same movement is made in another direction, so R is decomposed again as
R = Ry(heading) Rz(tilt') Rx(list'): the heading is then a rotation about the vertical, and the others do not depend on
it.

Slots of the 40 features: 0 forward and 1 rightward velocity of the pelvis in the heading frame (m/s), 2 pelvis
height (m), 3 tilt', 4 list' (rad), 5 yaw rate (rad/s), 6..39 the joint angles unchanged. The left-right mirror of
the features is `skeleton.mirror`, as for coordinates. Shapes: T frames.

Rates are FORWARD differences times the frame rate; the last frame repeats the one before. Frame t holds the change to
frame t + 1, so that summation returns the exact path, and a crop differs from the whole in its last frame only.
"""

from typing import TypeVar

import jax
import jax.numpy as jnp
import numpy as np

from biomechgpt_jax.biomechanics.skeleton import COORDINATES, INDEX
from biomechgpt_jax.config import CANONICAL_RATE_HZ

Mask = TypeVar("Mask", np.ndarray, jax.Array)

FORWARD, RIGHTWARD, HEIGHT, TILT, LIST, YAW_RATE = range(6)
RATES = np.array([FORWARD, RIGHTWARD, YAW_RATE])
FEATURES: tuple[str, ...] = (
    "forward_velocity",
    "rightward_velocity",
    "pelvis_height",
    "tilt",
    "list",
    "yaw_rate",
    *COORDINATES[6:],
)

_TX, _TZ, _TY = INDEX["pelvis_tx"], INDEX["pelvis_tz"], INDEX["pelvis_ty"]
_TILT, _LIST, _ROTATION = INDEX["pelvis_tilt"], INDEX["pelvis_list"], INDEX["pelvis_rotation"]


def features(
    coordinates: jax.Array | np.ndarray, rate_hz: float = CANONICAL_RATE_HZ, length: jax.Array | int | None = None
) -> jax.Array:
    """Features f32[..., T, 40] of coordinates f32[..., T, 40] (radians, metres).

    Args:
        rate_hz: frames per second.
        length: i32[...] number of frames that are not padding; the features of the others are zero.
    """
    q = jnp.asarray(coordinates)
    frames = q.shape[-2]
    heading, tilt, list_ = _heading_tilt_list(q)
    cos, sin = jnp.cos(heading), jnp.sin(heading)
    forward_difference = jnp.diff(q, axis=-2, append=q[..., -1:, :]) * rate_hz
    vx, vz = forward_difference[..., _TX], forward_difference[..., _TZ]
    yaw_rate = jnp.diff(heading, axis=-1, append=heading[..., -1:]) * rate_hz
    rates = jnp.stack([cos * vx - sin * vz, sin * vx + cos * vz, yaw_rate], axis=-1)

    count = jnp.asarray(frames if length is None else length)[..., None]
    time = jnp.arange(frames)
    last = (time == count - 1) & (time > 0)
    rates = jnp.where(last[..., None], jnp.roll(rates, 1, axis=-2), rates)
    forward, rightward, yaw_rate = (rates[..., i] for i in range(3))
    root = jnp.stack([forward, rightward, q[..., _TY], tilt, list_, yaw_rate], axis=-1)
    result = jnp.concatenate([root, q[..., 6:]], axis=-1)
    return result if length is None else jnp.where((time < count)[..., None], result, 0.0)


def coordinates_from_features(
    features: jax.Array | np.ndarray, start: jax.Array | np.ndarray, rate_hz: float = CANONICAL_RATE_HZ
) -> jax.Array:
    """Coordinates f32[..., T, 40]: the inverse of `features`, exact up to rounding.

    Args:
        features: f32[..., T, 40].
        start: f32[..., 3], world x and z (metres) and heading (radians) of the first frame, as from `start_pose`.
        rate_hz: the rate at which the features were computed.
    """
    f = jnp.asarray(features)
    start = jnp.asarray(start)
    heading = start[..., 2:3] + _sum_before(f[..., YAW_RATE]) / rate_hz
    cos, sin = jnp.cos(heading), jnp.sin(heading)
    forward, rightward = f[..., FORWARD], f[..., RIGHTWARD]
    x = start[..., 0:1] + _sum_before(cos * forward + sin * rightward) / rate_hz
    z = start[..., 1:2] + _sum_before(cos * rightward - sin * forward) / rate_hz
    tilt, list_, rotation = _tilt_list_rotation(heading, f[..., TILT], f[..., LIST])
    root_values = {_TX: x, _TZ: z, _TY: f[..., HEIGHT], _TILT: tilt, _LIST: list_, _ROTATION: rotation}
    root = jnp.stack([root_values[index] for index in range(6)], axis=-1)
    return jnp.concatenate([root, f[..., 6:]], axis=-1)


def start_pose(coordinates: jax.Array | np.ndarray) -> jax.Array:
    """World x, z (metres) and heading (radians) of the first frame, f32[..., 3], of coordinates f32[..., T, 40]."""
    first = jnp.asarray(coordinates)[..., :1, :]
    heading, _, _ = _heading_tilt_list(first)
    return jnp.stack([first[..., 0, _TX], first[..., 0, _TZ], heading[..., 0]], axis=-1)


def feature_mask(observed: Mask) -> Mask:
    """Which features can be computed, bool[..., 40], from the mask of observed coordinates bool[..., 40].

    Heading, tilt' and list' need all three pelvis angles; a velocity needs the horizontal position as well.
    """
    namespace = np if isinstance(observed, np.ndarray) else jnp
    orientation = observed[..., [_TILT, _LIST, _ROTATION]].all(-1)
    velocity = orientation & observed[..., [_TX, _TZ]].all(-1)
    root = namespace.stack([velocity, velocity, observed[..., _TY], orientation, orientation, orientation], axis=-1)
    return namespace.concatenate([root, observed[..., 6:]], axis=-1)


def _sum_before(values: jax.Array) -> jax.Array:
    """Exclusive cumulative sum along the last axis."""
    return jnp.concatenate([jnp.zeros_like(values[..., :1]), jnp.cumsum(values[..., :-1], axis=-1)], axis=-1)


def _nearest_turn(angle: jax.Array, reference: jax.Array) -> jax.Array:
    """The angle plus the whole turns that bring it closest to the reference."""
    return angle + 2 * jnp.pi * jnp.round((reference - angle) / (2 * jnp.pi))


def _heading_tilt_list(q: jax.Array) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Angles of R = Ry(heading) Rz(tilt') Rx(list'); heading is unwrapped and within half a turn of the rotation."""
    tilt, list_, rotation = q[..., _TILT], q[..., _LIST], q[..., _ROTATION]
    cos_t, sin_t, cos_l, sin_l = jnp.cos(tilt), jnp.sin(tilt), jnp.cos(list_), jnp.sin(list_)
    cos_r, sin_r = jnp.cos(rotation), jnp.sin(rotation)
    # Row and column of R that hold the three new angles.
    r00 = cos_t * cos_r - sin_t * sin_l * sin_r
    r10 = sin_t * cos_r + cos_t * sin_l * sin_r
    r20 = -cos_l * sin_r
    r11 = cos_t * cos_l
    r12 = sin_t * sin_r - cos_t * sin_l * cos_r
    heading = _nearest_turn(jnp.arctan2(-r20, r00), rotation)
    # An arctangent of sine and cosine keeps its precision where an arcsine loses it, at large leans.
    return jnp.unwrap(heading, axis=-1), jnp.arctan2(r10, jnp.hypot(r00, r20)), jnp.arctan2(-r12, r11)


def _tilt_list_rotation(
    heading: jax.Array, tilt: jax.Array, list_: jax.Array
) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Angles of R = Rz(tilt) Rx(list) Ry(rotation), with the rotation within half a turn of the heading."""
    cos_t, sin_t, cos_l, sin_l = jnp.cos(tilt), jnp.sin(tilt), jnp.cos(list_), jnp.sin(list_)
    cos_h, sin_h = jnp.cos(heading), jnp.sin(heading)
    r01 = -cos_h * sin_t * cos_l + sin_h * sin_l
    r11 = cos_t * cos_l
    r20 = -sin_h * cos_t
    r21 = sin_h * sin_t * cos_l + cos_h * sin_l
    r22 = cos_h * cos_l - sin_h * sin_t * sin_l
    rotation = _nearest_turn(jnp.arctan2(-r20, r22), heading)
    return jnp.arctan2(-r01, r11), jnp.arctan2(r21, jnp.hypot(r20, r22)), jnp.unwrap(rotation, axis=-1)
