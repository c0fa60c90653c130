"""The training loss of the codec: reconstruction errors in clinical units, and errors of the feet.

Every feature has an error that counts as one unit, about what a clinician would just notice. An angle therefore weighs
the same in every joint, however wide its range. Shapes: B batch, T frames of a window, C features (40), P points (4).
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from biomechgpt_jax import config
from biomechgpt_jax.biomechanics import features as features_lib
from biomechgpt_jax.biomechanics import kinematics
from biomechgpt_jax.biomechanics.features import FORWARD, HEIGHT, LIST, RIGHTWARD, TILT, YAW_RATE
from biomechgpt_jax.biomechanics.skeleton import INDEX
from biomechgpt_jax.codec.windows import Batch

BETA = 1.0  # error in units at which smooth L1 turns from square to absolute
HIDDEN_WEIGHT = 0.1  # of features that are known but hidden from the encoder: the decoder learns to fill them in
UNITS_PER_SECOND = 10.0  # rate of change of an error that counts as one
PATH_UNITS = np.array([0.02, 0.02, np.radians(3.0)], np.float32)  # metres, metres, radians that count as one
FOOT_M, FOOT_M_S = 0.01, 0.1  # errors that count as one: a foot's position under the pelvis, its speed over the floor
RESTING_M_S = 0.3  # a point of the foot slower than this is taken to bear weight
# Distal joints vary widely between people, and few clinical questions rest on them. By prefix; other names weigh 1.
WEIGHTS = {("neck_", "wrist_", "pro_sup", "arm_", "elbow_", "mtp_"): 0.5}
_LEGS = {side: INDEX[f"hip_flexion_{side}"] + np.arange(7) for side in "rl"}
_FEET_FEATURES = np.concatenate([np.arange(6), *(leg[:-1] for leg in _LEGS.values())])


class Scale(NamedTuple):
    """A `Scaling` on the device: feature = scaled * spread + center, each f32[40]."""

    center: jax.Array
    spread: jax.Array


def units() -> np.ndarray:
    """The error f32[40] of each feature that counts as one: 1 degree, 3 cm/s, 5 mm, 5 degrees/s."""
    sizes = np.full(len(features_lib.FEATURES), np.radians(1.0), np.float32)
    sizes[[FORWARD, RIGHTWARD]], sizes[HEIGHT], sizes[YAW_RATE] = 0.03, 0.005, np.radians(5.0)
    return sizes


def weights() -> np.ndarray:
    """How much each feature counts, f32[40]."""
    weight_C = np.ones(len(features_lib.FEATURES), np.float32)
    for starts, weight in WEIGHTS.items():
        weight_C[[name.startswith(starts) for name in features_lib.FEATURES]] = weight
    return weight_C


def smooth_l1(error: jax.Array, beta: float) -> jax.Array:
    """error^2 / 2 beta within beta, |error| - beta / 2 outside."""
    size = jnp.abs(error)
    return jnp.where(size < beta, 0.5 * size**2 / beta, size - 0.5 * beta)


def reconstruction(
    cfg: config.Tokenizer, batch: Batch, decoded_BTC: jax.Array, scale: Scale
) -> tuple[jax.Array, dict[str, jax.Array]]:
    """The loss f32[] of decoded scaled features f32[B, T, 40], and its parts.

    Parts: reconstruction; velocity (errors of differences over time); path (errors of the root integrated over the
    window, which keep speed and turning unbiased); feet (positions under the pelvis); contact (speed over the floor of
    feet that bear weight).
    """
    weight_BTC = batch.known_BTC * jnp.where(batch.shown_BTC, 1.0, HIDDEN_WEIGHT) * weights()
    error_BTC = (decoded_BTC - batch.target_BTC) * batch.known_BTC * (scale.spread / units())
    change_BTC = jnp.diff(error_BTC, axis=1) * (config.CANONICAL_RATE_HZ / UNITS_PER_SECOND)
    rates = features_lib.RATES
    path_BT3 = jnp.cumsum(error_BTC[..., rates], axis=1) * (units()[rates] / config.CANONICAL_RATE_HZ / PATH_UNITS)
    feet, contact = _feet(
        batch, decoded_BTC * scale.spread + scale.center, batch.target_BTC * scale.spread + scale.center
    )
    parts = {
        "reconstruction": _mean(smooth_l1(error_BTC, BETA), weight_BTC),
        "velocity": _mean(smooth_l1(change_BTC, BETA), weight_BTC[:, 1:]),
        "path": _mean(smooth_l1(path_BT3, 1.0), weight_BTC[..., rates]),
        "feet": feet,
        "contact": contact,
    }
    total = (
        parts["reconstruction"]
        + cfg.velocity_weight * parts["velocity"]
        + cfg.path_weight * parts["path"]
        + cfg.foot_weight * (feet + contact)
    )
    return total, parts


def foot_points(features_BTC: jax.Array) -> jax.Array:
    """Heel and ball of both feet f32[B, T, 4, 3], in metres from the point of the floor below the pelvis.

    The axes follow the pelvis' heading.
    """
    still = jnp.zeros_like(features_BTC[..., 0])
    pelvis = kinematics.pelvis_frame(features_BTC[..., TILT], features_BTC[..., LIST], still)
    points = []
    for side, sign in (("r", 1.0), ("l", -1.0)):
        leg = kinematics.leg(pelvis, features_BTC[..., _LEGS[side]], sign, still + kinematics.DEFAULT_HEIGHT_M)
        points += [leg["heel"], leg["ball"]]
    return jnp.stack(points, axis=-2).at[..., 1].add(features_BTC[..., HEIGHT, None])


def foot_velocity(points_BTP3: jax.Array, features_BTC: jax.Array) -> jax.Array:
    """Velocity over the floor f32[B, T - 1, 4, 3] (m/s) of the points of `foot_points`, in the pelvis' heading."""
    here_BTP3 = points_BTP3[:, :-1]
    forward, rightward, yaw = (features_BTC[:, :-1, None, i] for i in (FORWARD, RIGHTWARD, YAW_RATE))
    carried_BTP3 = jnp.stack(
        [
            forward + yaw * here_BTP3[..., 2],
            jnp.zeros_like(here_BTP3[..., 1]),
            rightward - yaw * here_BTP3[..., 0],
        ],
        axis=-1,
    )
    return jnp.diff(points_BTP3, axis=1) * config.CANONICAL_RATE_HZ + carried_BTP3


def _feet(batch: Batch, decoded_BTC: jax.Array, true_BTC: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Errors of the feet's positions and, while they bear weight, velocities, in frames whose legs the encoder sees."""
    shown_BT = (batch.known_BTC & batch.shown_BTC)[..., _FEET_FEATURES].all(-1)
    back_BTP3, true_BTP3 = foot_points(decoded_BTC), foot_points(true_BTC)
    place = _mean(smooth_l1((back_BTP3 - true_BTP3) / FOOT_M, 1.0), shown_BT[..., None, None])
    true_velocity, back_velocity = foot_velocity(true_BTP3, true_BTC), foot_velocity(back_BTP3, decoded_BTC)
    resting_BTP1 = jnp.linalg.norm(true_velocity, axis=-1, keepdims=True) < RESTING_M_S
    both_BT = shown_BT[:, :-1] & shown_BT[:, 1:]
    error_BTP3 = (back_velocity - true_velocity) / FOOT_M_S
    return place, _mean(smooth_l1(error_BTP3, 1.0), both_BT[..., None, None] & resting_BTP1)


def _mean(values: jax.Array, weights: jax.Array) -> jax.Array:
    weights = jnp.broadcast_to(weights, values.shape)
    return (values * weights).sum() / jnp.maximum(weights.sum(), 1.0)
