"""Treadmill or overground: the velocity of the belt, from feet that stand on it.

Shapes: T frames, F = 4 points (heel and ball, right and left).
"""

from typing import NamedTuple, TypeVar

import jax
import jax.numpy as jnp
import numpy as np

from biomechgpt_jax.biomechanics import kinematics
from biomechgpt_jax.biomechanics.skeleton import COORDINATE_COUNT, INDEX

Movement = TypeVar("Movement", np.ndarray, jax.Array)

# A foot point is taken to bear weight while it is the lowest of the four and this close to the level they rest on.
_NEAR_M = 0.03
# A belt slower than this cannot be told from feet that slide in the recording, ...
SLOWEST_BELT_M_S = 0.3
# ... the body moves by less than this share of it, ...
_DRIFT_SHARE = 0.35
# ... and half of the time the foot's velocity is within this share of the belt's.
_SPREAD_SHARE = 0.35
# Velocities within this of the median are averaged.
_INLIER_M_S = 0.3
SHORTEST_S = 0.8
_ALONG_X_C, _ALONG_Z_C = np.eye(COORDINATE_COUNT, dtype=np.float32)[[INDEX["pelvis_tx"], INDEX["pelvis_tz"]]]


class Feet(NamedTuple):
    """The lowest foot point of every frame.

    Attributes:
        height_T: f32[T] its height in metres.
        velocity_T3: f32[T, 3] its velocity, m/s.
        slowest_T: f32[T] speed of the slowest of the four points, m/s.
        slowest_height_T: f32[T] the height of that one.
    """

    height_T: jax.Array
    velocity_T3: jax.Array
    slowest_T: jax.Array
    slowest_height_T: jax.Array


class Belt(NamedTuple):
    """Whether a recording was made on a treadmill, and how it moved: bool[], f32[2] world x and z in m/s."""

    found: jax.Array
    velocity: jax.Array


def foot_points(coordinates: jax.Array, height_m: jax.Array) -> jax.Array:
    """Heel and ball of the right and of the left foot in the world, f32[..., 4, 3]."""
    q = coordinates
    height = jnp.broadcast_to(height_m, q.shape[:-1])
    turns = (q[..., INDEX[name]] for name in ("pelvis_tilt", "pelvis_list", "pelvis_rotation"))
    pelvis = kinematics.pelvis_frame(*turns)
    origin = jnp.stack([q[..., INDEX[name]] for name in ("pelvis_tx", "pelvis_ty", "pelvis_tz")], axis=-1)
    found = []
    for name, side in (("r", 1.0), ("l", -1.0)):
        first = INDEX[f"hip_flexion_{name}"]
        leg = kinematics.leg(pelvis, q[..., first : first + 7], side, height)
        found += [leg["heel"] + origin, leg["ball"] + origin]
    return jnp.stack(found, axis=-2)


def feet(coordinates_TC: jax.Array, height_m: jax.Array, count: jax.Array, rate_hz: jax.Array | float) -> Feet:
    """The lowest and the slowest foot point of every frame; speeds by central differences, one-sided at the ends."""
    points_TF3 = foot_points(coordinates_TC, height_m)
    frame_T = jnp.arange(len(points_TF3))
    later_T, earlier_T = jnp.minimum(frame_T + 1, count - 1), jnp.clip(frame_T - 1, 0, count - 1)
    seconds_T = jnp.maximum(later_T - earlier_T, 1) / rate_hz
    velocity_TF3 = (points_TF3[later_T] - points_TF3[earlier_T]) / seconds_T[:, None, None]
    speed_TF = jnp.sqrt((velocity_TF3**2).sum(-1))
    height_TF = points_TF3[..., 1]
    lowest_TF = height_TF == height_TF.min(-1, keepdims=True)
    slowest_TF = speed_TF == speed_TF.min(-1, keepdims=True)

    def chosen(mask_TF: jax.Array, values: jax.Array) -> jax.Array:
        weight = mask_TF / mask_TF.sum(-1, keepdims=True)
        return jnp.einsum("tf,tf...->t...", weight, values, precision=jax.lax.Precision.HIGHEST)

    return Feet(height_TF.min(-1), chosen(lowest_TF, velocity_TF3), speed_TF.min(-1), chosen(slowest_TF, height_TF))


def belt(
    coordinates_TC: jax.Array, lowest: Feet, count: jax.Array, known: jax.Array, rate_hz: jax.Array | float
) -> Belt:
    """The belt's velocity: that of the foot on it, by a mean about the median over the frames that bear weight.

    It is a treadmill if that foot moves, steadily and by the belt's velocity most of the time, and the body stays.

    Args:
        coordinates_TC: f32[T, 40].
        count: i32[] frames that count.
        known: bool[] whether the root's position was recorded; without it every walk would seem to be on a treadmill.
    """
    frame_T = jnp.arange(len(coordinates_TC))
    live_T = frame_T < count
    level = quantile(lowest.height_T, live_T, 0.1)
    bearing_T = live_T & (lowest.height_T < level + _NEAR_M)
    velocity_T2 = lowest.velocity_T3[:, jnp.array([0, 2])]
    median_2 = jax.vmap(quantile, (1, None, None))(velocity_T2, bearing_T, 0.5)
    apart_T = jnp.hypot(*(velocity_T2 - median_2).T)
    near_T = bearing_T & (apart_T < _INLIER_M_S)
    mean_2 = (velocity_T2 * near_T[:, None]).sum(0) / jnp.maximum(near_T.sum(), 1)
    speed = jnp.hypot(*mean_2)
    spread = quantile(apart_T, bearing_T, 0.5)
    horizontal = jnp.array([INDEX["pelvis_tx"], INDEX["pelvis_tz"]])
    last = jnp.maximum(count - 1, 0)
    moved = jnp.hypot(*(coordinates_TC[last, horizontal] - coordinates_TC[0, horizontal]))
    seconds = jnp.maximum(last, 1) / rate_hz
    steady = (spread < _SPREAD_SHARE * speed) & (moved < _DRIFT_SHARE * speed * seconds)
    found = known & steady & (speed > SLOWEST_BELT_M_S) & (seconds >= SHORTEST_S)
    return Belt(found, jnp.where(found, mean_2, 0.0))


def overground(coordinates_TC: Movement, velocity: Movement, rate_hz: jax.Array | float) -> Movement:
    """The movement as it would be over ground: the belt's velocity (f32[2], x and z, m/s) taken from the path."""
    namespace = np if isinstance(coordinates_TC, np.ndarray) else jnp
    time_T = namespace.arange(len(coordinates_TC), dtype=np.float32) / rate_hz
    x, z = namespace.asarray(velocity, np.float32)
    return coordinates_TC - time_T[:, None] * (x * _ALONG_X_C + z * _ALONG_Z_C)


def quantile(values_T: jax.Array, chosen_T: jax.Array, share: float) -> jax.Array:
    """The value below which a share of the chosen ones lies: the nearest one, not interpolated; 0 if none is chosen."""
    count = chosen_T.sum()
    ordered_T = jnp.sort(jnp.where(chosen_T, values_T, jnp.inf))
    rank = jnp.floor(share * jnp.maximum(count - 1, 0) + 0.5).astype(int)
    return jnp.where(count > 0, ordered_T[rank], 0.0)
