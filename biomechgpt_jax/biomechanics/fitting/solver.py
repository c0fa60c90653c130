"""Compiled parts of inverse kinematics: marker positions of a pose, their derivatives, and the poses by least squares.

Levenberg-Marquardt on every frame by itself, with joint limits and Cauchy weights; frames go in chunks of one shape, so
that files of any length share one compilation.

Shapes: T frames, M markers (padded to one number), C coordinates (40).
"""

import jax
import jax.numpy as jnp
import numpy as np

from biomechgpt_jax.biomechanics import kinematics
from biomechgpt_jax.biomechanics.kinematics import SEGMENTS, Fractions
from biomechgpt_jax.biomechanics.skeleton import limits

# A marker error of this size has half its weight; soft tissue moves markers by 1 to 2 cm.
OUTLIER_M = 0.05
_CHUNK = 32  # frames solved together
_ITERATIONS = 12
_SETTLED = 1e-4  # a chunk is solved when no step moves a coordinate further than this, radians or metres


def predict(
    q_C: jax.Array, at_M: jax.Array, turns_M: jax.Array, offset_M3: jax.Array, height: jax.Array, fractions: jax.Array
) -> jax.Array:
    """Marker positions f32[M, 3] of one frame."""
    body = kinematics.segments(q_C, height, Fractions(*fractions))
    origin_S3 = jnp.stack([body[name].origin for name in SEGMENTS])
    frame_S33 = jnp.stack([jnp.stack(body[name].frame, axis=-1) for name in SEGMENTS])
    return origin_S3[at_M] + jnp.einsum("mij,mj->mi", frame_S33[turns_M], offset_M3)


@jax.jit
def _solve(q_TC, wanted_TC, pull_C, seen_TM3, at, turns, offset, height, fractions, iterations):  # type: ignore[no-untyped-def]
    """Levenberg-Marquardt on every frame; returns coordinates and the distance of each marker, NaN where unseen."""
    bounds = jnp.asarray(limits())
    known_TM = jnp.isfinite(seen_TM3).all(axis=2)
    target_TM3 = jnp.where(known_TM[..., None], seen_TM3, 0.0)

    def residual(q_C, target_M3, known_M):  # type: ignore[no-untyped-def]
        placed_M3 = predict(q_C, at, turns, offset, height, fractions)
        return (placed_M3 - target_M3) * known_M[:, None]

    def cost(q_C, wanted_C, target_M3, known_M):  # type: ignore[no-untyped-def]
        squared_M = (residual(q_C, target_M3, known_M) ** 2).sum(axis=1)
        return jnp.sum(OUTLIER_M**2 * jnp.log1p(squared_M / OUTLIER_M**2)) + jnp.sum((pull_C * (q_C - wanted_C)) ** 2)

    def step(state, wanted_C, target_M3, known_M):  # type: ignore[no-untyped-def]
        q_C, damping = state
        value_M3 = residual(q_C, target_M3, known_M)
        jacobian = jax.jacfwd(residual)(q_C, target_M3, known_M)  # [M, 3, C]
        weight_M = 1.0 / (1.0 + (value_M3**2).sum(axis=1) / OUTLIER_M**2)
        weighted = jacobian * weight_M[:, None, None]
        normal = jnp.einsum("mic,mid->cd", weighted, jacobian) + jnp.diag(pull_C**2 + 1e-9)
        right = jnp.einsum("mic,mi->c", weighted, value_M3) + pull_C**2 * (q_C - wanted_C)
        change = jax.scipy.linalg.solve(normal + damping * jnp.diag(jnp.diag(normal)), right, assume_a="pos")
        tried = jnp.clip(q_C - jnp.clip(change, -0.6, 0.6), bounds[:, 0], bounds[:, 1])
        better = cost(tried, wanted_C, target_M3, known_M) < cost(q_C, wanted_C, target_M3, known_M)
        damping = jnp.where(better, damping * 0.3, damping * 5.0).clip(1e-6, 1e3)
        return jnp.where(better, tried, q_C), damping, jnp.abs(tried - q_C).max()

    def unsettled(state):  # type: ignore[no-untyped-def]
        round_, _, _, moved_T = state
        return (round_ < iterations) & (moved_T.max() > _SETTLED)

    def iterate(state):  # type: ignore[no-untyped-def]
        round_, q_TC, damping_T, _ = state
        return round_ + 1, *jax.vmap(step)((q_TC, damping_T), wanted_TC, target_TM3, known_TM)

    begin = (0, q_TC, jnp.full(len(q_TC), 1e-2), jnp.full(len(q_TC), jnp.inf))
    _, q_TC, _, _ = jax.lax.while_loop(unsettled, iterate, begin)
    off_TM = jnp.linalg.norm(jax.vmap(residual)(q_TC, target_TM3, known_TM), axis=2)
    return q_TC, jnp.where(known_TM, off_TM, jnp.nan)


@jax.jit
def sensitivities(q, seen, at, turns, offset, height, fractions, nominal):  # type: ignore[no-untyped-def]
    """Derivatives of every marker with respect to coordinates and sizes, and its error.

    Sizes are log stature, log segment lengths and marker offsets.
    """
    known = jnp.isfinite(seen).all(axis=2)

    def place(q_C, sizes):  # type: ignore[no-untyped-def]
        stature = jnp.exp(sizes[0])
        lengths = fractions * jnp.exp(sizes[1 : 1 + len(fractions)])
        moved = offset + nominal * height * (stature - 1) + sizes[1 + len(fractions) :].reshape(offset.shape)
        return predict(q_C, at, turns, moved, height * stature, lengths)

    def frame(q_C, seen_M3, known_M):  # type: ignore[no-untyped-def]
        zero = jnp.zeros(1 + len(fractions) + offset.size)
        by_q, by_size = jax.jacfwd(place, argnums=(0, 1))(q_C, zero)
        error = jnp.where(known_M[:, None], place(q_C, zero) - jnp.where(known_M[:, None], seen_M3, 0.0), 0.0)
        return by_q, by_size, error

    return jax.vmap(frame)(q, seen, known)


def in_chunks(q, wanted, pull, seen, args, iterations=_ITERATIONS) -> tuple[np.ndarray, np.ndarray]:  # type: ignore[no-untyped-def]
    """Run `_solve` on chunks of one shape, so that files of any length share a compilation."""
    solved, errors = [], []
    for begin in range(0, len(q), _CHUNK):
        part = [x[begin : begin + _CHUNK] for x in (q, wanted, seen)]
        count = len(part[0])
        start, towards, marks = (np.concatenate([x, np.repeat(x[-1:], _CHUNK - count, axis=0)]) for x in part)
        q_part, error = _solve(start, towards, pull, marks, *args, iterations)
        solved.append(np.asarray(q_part)[:count])
        errors.append(np.asarray(error)[:count])
    return np.concatenate(solved), np.concatenate(errors)
