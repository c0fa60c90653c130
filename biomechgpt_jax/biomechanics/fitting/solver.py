"""Poses from marker positions by least squares.

Levenberg-Marquardt on every frame by itself, with joint limits and Cauchy weights. A frame that has settled leaves the
iteration, and frames go in chunks whose derivatives stay in the processor's cache.

Shapes: T frames, M markers, C coordinates (40).
"""

import numpy as np

from biomechgpt_jax.biomechanics.fitting import chain
from biomechgpt_jax.biomechanics.skeleton import limits

# A marker error of this size has half its weight; soft tissue moves markers by 1 to 2 cm.
OUTLIER_M = 0.05
_CHUNK = 64  # frames solved together
_ITERATIONS = 12
_SETTLED = 1e-4  # a frame is solved when a step moves no coordinate further than this, radians or metres
_LONGEST_STEP = 0.6  # radians or metres
_LIMITS = limits().astype(np.float64)


def solve(
    q_TC: np.ndarray,
    wanted_TC: np.ndarray,
    pull_C: np.ndarray,
    seen_TM3: np.ndarray,
    body: chain.Body,
    iterations: int = _ITERATIONS,
) -> tuple[np.ndarray, np.ndarray]:
    """Coordinates f64[T, C], and the distance of each marker from its place f64[T, M], NaN where unseen.

    Args:
        q_TC: coordinates to start from.
        wanted_TC: coordinates towards which `pull_C` draws, metres per radian.
        seen_TM3: marker positions, NaN where unseen.
    """
    known_TM = np.isfinite(seen_TM3).all(axis=2)
    target_TM3 = np.where(known_TM[..., None], seen_TM3, 0.0).astype(np.float64)
    solved = q_TC.astype(np.float64)
    off_TM = np.empty(known_TM.shape)
    for begin in range(0, len(solved), _CHUNK):
        part = slice(begin, begin + _CHUNK)
        frames = _Frames(wanted_TC[part].astype(np.float64), target_TM3[part], known_TM[part])
        _settle(solved[part], frames, pull_C.astype(np.float64), body, iterations)
        off_TM[part] = np.linalg.norm(chain.place(solved[part], body) - frames.target_TM3, axis=2)
    return solved, np.where(known_TM, off_TM, np.nan)


class _Frames:
    """What the poses of some frames are held to."""

    def __init__(self, wanted_TC: np.ndarray, target_TM3: np.ndarray, known_TM: np.ndarray) -> None:
        self.wanted_TC, self.target_TM3, self.known_TM = wanted_TC, target_TM3, known_TM

    def only(self, active: np.ndarray) -> "_Frames":
        return _Frames(self.wanted_TC[active], self.target_TM3[active], self.known_TM[active])

    def cost(self, q_TC: np.ndarray, placed_TM3: np.ndarray, pull_C: np.ndarray) -> np.ndarray:
        """Cauchy cost of the markers and squared pull, f64[T] square metres."""
        squared_TM = ((placed_TM3 - self.target_TM3) ** 2).sum(axis=2) * self.known_TM
        robust_T = OUTLIER_M**2 * np.log1p(squared_TM / OUTLIER_M**2).sum(axis=1)
        return np.asarray(robust_T + ((pull_C * (q_TC - self.wanted_TC)) ** 2).sum(axis=1))

    def step(
        self, q_TC: np.ndarray, placed_TM3: np.ndarray, jacobian: np.ndarray, damping_T: np.ndarray, pull_C: np.ndarray
    ) -> np.ndarray:
        """The coordinates that a damped step leads to, f64[T, C]."""
        value_TM3 = (placed_TM3 - self.target_TM3) * self.known_TM[..., None]
        weight_TM = self.known_TM / (1.0 + (value_TM3**2).sum(axis=2) / OUTLIER_M**2)
        rows = jacobian.reshape(len(q_TC), -1, q_TC.shape[1])
        across = (rows * weight_TM.repeat(3, axis=1)[..., None]).transpose(0, 2, 1)
        normal = across @ rows
        right = (across @ value_TM3.reshape(len(q_TC), -1, 1))[..., 0] + pull_C**2 * (q_TC - self.wanted_TC)
        diagonal = np.arange(len(pull_C))
        normal[:, diagonal, diagonal] += pull_C**2 + 1e-9
        normal[:, diagonal, diagonal] *= 1.0 + damping_T[:, None]
        change = np.linalg.solve(normal, right[..., None])[..., 0].clip(-_LONGEST_STEP, _LONGEST_STEP)
        return np.asarray((q_TC - change).clip(_LIMITS[:, 0], _LIMITS[:, 1]))


def _settle(q_TC: np.ndarray, frames: _Frames, pull_C: np.ndarray, body: chain.Body, iterations: int) -> None:
    """Iterate until each frame has settled, in place."""
    damping_T = np.full(len(q_TC), 1e-2)
    active = np.arange(len(q_TC))
    for _ in range(iterations):
        here = frames.only(active)
        before = q_TC[active]
        placed, jacobian = chain.with_derivatives(before, body)
        tried = here.step(before, placed, jacobian, damping_T[active], pull_C)
        better = here.cost(tried, chain.place(tried, body), pull_C) < here.cost(before, placed, pull_C)
        q_TC[active] = np.where(better[:, None], tried, before)
        damping_T[active] = (damping_T[active] * np.where(better, 0.3, 5.0)).clip(1e-6, 1e3)
        active = active[np.abs(tried - before).max(axis=1) > _SETTLED]
        if not len(active):
            return
