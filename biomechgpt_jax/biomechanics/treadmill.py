"""Treadmill or overground: the velocity of the belt, estimated from the feet that stand on it.

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
# A belt slower than this cannot be distinguished from feet that slide in the recording.
SLOWEST_BELT_M_S = 0.3
# On a treadmill the body moves by less than this share of the belt's speed, ...
_DRIFT_SHARE = 0.35
# ... and for half of the time the foot's velocity is within this share of the belt's.
_SPREAD_SHARE = 0.35
# Velocities this close to the median are averaged.
_INLIER_M_S = 0.3
SHORTEST_S = 0.8
_ALONG_X_C, _ALONG_Z_C = np.eye(COORDINATE_COUNT, dtype=np.float32)[[INDEX["pelvis_tx"], INDEX["pelvis_tz"]]]


class Feet(NamedTuple):
    """The lowest and the slowest of the four foot points in every frame.

    Attributes:
        height_T: f32[T] height of the lowest point, metres.
        velocity_T3: f32[T, 3] velocity of the lowest point, m/s.
        slowest_T: f32[T] speed of the slowest point, m/s.
        slowest_height_T: f32[T] height of the slowest point, metres.
    """

    height_T: jax.Array
    velocity_T3: jax.Array
    slowest_T: jax.Array
    slowest_height_T: jax.Array


class Belt(NamedTuple):
    """Whether a recording was made on a treadmill bool[], and its belt's velocity f32[2], world x and z in m/s."""

    found: jax.Array
    velocity: jax.Array


def foot_points(coordinates: jax.Array, height_m: jax.Array) -> jax.Array:
    """Heel and ball of the right and of the left foot in the world, f32[..., 4, 3] metres."""
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
    """The lowest and the slowest foot point in every frame; speeds by central differences, one-sided at the ends.

    Args:
        coordinates_TC: f32[T, 40].
        height_m: body height.
        count: i32[] frames that are not padding.
        rate_hz: frames per second.
    """
    points_TF3 = foot_points(coordinates_TC, height_m)
    frame_T = jnp.arange(len(points_TF3))
    later_T, earlier_T = jnp.minimum(frame_T + 1, count - 1), jnp.clip(frame_T - 1, 0, count - 1)
    seconds_T = jnp.maximum(later_T - earlier_T, 1) / rate_hz
    velocity_TF3 = (points_TF3[later_T] - points_TF3[earlier_T]) / seconds_T[:, None, None]
    speed_TF = jnp.sqrt((velocity_TF3**2).sum(-1))
    height_TF = points_TF3[..., 1]
    lowest_TF = height_TF == height_TF.min(-1, keepdims=True)
    slowest_TF = speed_TF == speed_TF.min(-1, keepdims=True)

    def mean_over(mask_TF: jax.Array, values: jax.Array) -> jax.Array:
        weight = mask_TF / mask_TF.sum(-1, keepdims=True)
        return jnp.einsum("tf,tf...->t...", weight, values, precision=jax.lax.Precision.HIGHEST)

    velocity_T3, slowest_height_T = mean_over(lowest_TF, velocity_TF3), mean_over(slowest_TF, height_TF)
    return Feet(height_TF.min(-1), velocity_T3, speed_TF.min(-1), slowest_height_T)


def belt(
    coordinates_TC: jax.Array, lowest: Feet, count: jax.Array, known: jax.Array, rate_hz: jax.Array | float
) -> Belt:
    """The belt's velocity: that of the weight-bearing foot, averaged over the frames close to its median.

    It is a treadmill if that foot moves steadily, close to the belt's velocity for most of the time, while the body
    stays in place.

    Args:
        coordinates_TC: f32[T, 40].
        lowest: the foot points of the same frames.
        count: i32[] frames that are not padding.
        known: bool[] whether the root's position was recorded; without it every walk would seem to be on a treadmill.
        rate_hz: frames per second.
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
    """Coordinates f32[T, 40] of the same movement over ground: the belt's travel is subtracted from the pelvis' path.

    Args:
        coordinates_TC: f32[T, 40].
        velocity: f32[2] of the belt, world x and z in m/s.
        rate_hz: frames per second.
    """
    namespace = np if isinstance(coordinates_TC, np.ndarray) else jnp
    time_T = namespace.arange(len(coordinates_TC), dtype=np.float32) / rate_hz
    x, z = namespace.asarray(velocity, np.float32)
    return coordinates_TC - time_T[:, None] * (x * _ALONG_X_C + z * _ALONG_Z_C)


def quantile(values_T: jax.Array, chosen_T: jax.Array, share: float) -> jax.Array:
    """Quantile of the chosen values: the nearest one, not interpolated; 0 where none is chosen."""
    count = chosen_T.sum()
    ordered_T = jnp.sort(jnp.where(chosen_T, values_T, jnp.inf))
    rank = jnp.floor(share * jnp.maximum(count - 1, 0) + 0.5).astype(int)
    return jnp.where(count > 0, ordered_T[rank], 0.0)
