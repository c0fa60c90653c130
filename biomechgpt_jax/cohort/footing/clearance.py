"""The last millimetres of anchoring: where a foot is still below the floor, raise the toes and then the body."""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np
from scipy.ndimage import gaussian_filter1d, maximum_filter1d

from biomechgpt_jax.biomechanics import kinematics
from biomechgpt_jax.biomechanics.kinematics import FRACTIONS
from biomechgpt_jax.biomechanics.skeleton import INDEX, limits
from biomechgpt_jax.cohort.footing.anchoring import Movement

# Smaller depths are left alone: human feet are soft.
ALLOWED_M = 0.006
_ANKLES = (INDEX["ankle_angle_r"], INDEX["ankle_angle_l"])
_LEGS = (INDEX["hip_flexion_r"], INDEX["hip_flexion_l"])
_PELVIS = [INDEX[name] for name in ("pelvis_tilt", "pelvis_list", "pelvis_rotation")]
_HIGHEST = limits()[_ANKLES[0], 1]
_MOST_RAD = 0.35
# Frames per call; movements of any length share one compilation.
_CHUNK = 4096


def clear_floor(movements: Sequence[Movement]) -> None:
    """Raise feet that are far below a level floor at height 0, in place.

    The ankle of a foot whose ball dips is dorsiflexed, and the pelvis is raised by what remains; both act smoothly over
    a few frames.
    """
    low = [m for m, heights in zip(movements, _heights(movements), strict=True) if heights.min() < -ALLOWED_M]
    for movement, heights in zip(low, _heights(low), strict=True):
        q = movement.coordinates
        for foot, column in enumerate(_ANKLES):
            # The angle is sized for the shortest lever arm, from the ankle to the ball.
            angle = _envelope(-heights[:, foot, 1], 2, 1.2) / (FRACTIONS.ball_forward * movement.height_m)
            room = np.maximum(0.0, _HIGHEST - q[:, column])
            q[:, column] += np.minimum(np.minimum(angle, _MOST_RAD), room).astype(q.dtype)
    for movement, heights in zip(low, _heights(low), strict=True):
        depth = -heights.reshape(len(heights), -1).min(axis=1)
        movement.coordinates[:, INDEX["pelvis_ty"]] += _envelope(depth, 3, 1.5).astype(np.float32)


def _heights(movements: Sequence[Movement]) -> list[np.ndarray]:
    """Height of heel and ball of each movement, f32[T, 2 feet, 2 points]."""
    if not movements:
        return []
    q = np.concatenate([m.coordinates for m in movements]).astype(np.float32)
    body = np.concatenate([np.full(len(m.coordinates), m.height_m, np.float32) for m in movements])
    short = -len(q) % _CHUNK
    q, body = np.concatenate([q, np.repeat(q[-1:], short, axis=0)]), np.pad(body, (0, short), mode="edge")
    parts = [np.asarray(_heel_and_ball(q[at : at + _CHUNK], body[at : at + _CHUNK])) for at in range(0, len(q), _CHUNK)]
    ends = np.cumsum([len(m.coordinates) for m in movements])
    return np.split(np.concatenate(parts)[: ends[-1]], ends[:-1])


@jax.jit
def _heel_and_ball(q_TC: jax.Array, height_m: jax.Array) -> jax.Array:
    pelvis = kinematics.pelvis_frame(*(q_TC[:, i] for i in _PELVIS))
    feet = []
    for start, side in zip(_LEGS, (1.0, -1.0), strict=True):
        leg = kinematics.leg(pelvis, q_TC[:, start : start + 7], side, height_m)
        feet.append(jnp.stack([leg["heel"][:, 1], leg["ball"][:, 1]], axis=1))
    return jnp.stack(feet, axis=1) + q_TC[:, INDEX["pelvis_ty"], None, None]


def _envelope(depth: np.ndarray, reach: int, smooth: float) -> np.ndarray:
    """A smooth curve that is close to the depth where it is too large and zero far from there, f64[T]."""
    too_deep = np.where(depth > ALLOWED_M, depth - 0.5 * ALLOWED_M, 0.0)
    if not too_deep.any():
        return too_deep
    return gaussian_filter1d(maximum_filter1d(too_deep, 2 * reach + 1), smooth, mode="nearest")
