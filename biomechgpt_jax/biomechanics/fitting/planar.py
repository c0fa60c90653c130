"""Keypoints from one camera, such as those of Sports2D: points that move in one upright plane only.

The distances from that plane are then constant, and often zero, so that left and right coincide. They are filled from
the proportions of a body before it is fitted, and what one camera cannot tell is hidden.

Shapes: T frames, M points.
"""

from collections.abc import Sequence

import jax.numpy as jnp
import numpy as np

from biomechgpt_jax.biomechanics import kinematics
from biomechgpt_jax.biomechanics.fitting.landmarks import NOMINAL_HEIGHT_M, landmark
from biomechgpt_jax.biomechanics.skeleton import COORDINATE_COUNT, COORDINATES
from biomechgpt_jax.errors import InputError

# Across the plane every point stays within this of its median, while the fastest ones move this far along it, metres.
_STILL_M, _MOVES_M = 1e-3, 0.05
# Hips closer than this across the plane are one point of it.
_ONE_POINT_M = 0.02
# What happens across the plane, or about an axis in it.
_ACROSS = ("hip_adduction", "lumbar_bending", "lumbar_rotation", "arm_add")
ACROSS: tuple[str, ...] = tuple(name for name in COORDINATES if name.startswith(_ACROSS))


def across(seen_TM3: np.ndarray) -> np.ndarray | None:
    """Horizontal unit vector f64[3] across the plane of the points (y up); None if they move in three dimensions."""
    ever_TM3 = seen_TM3[:, np.isfinite(seen_TM3).all(axis=2).any(axis=0)]
    apart = ever_TM3[..., [0, 2]] - np.nanmedian(ever_TM3[..., [0, 2]], axis=0)
    known = apart[np.isfinite(apart).all(axis=2)]
    if len(known) < 2:
        return None
    _, axes = np.linalg.eigh(known.T @ known)
    still, moving = (np.abs(known @ axes[:, i]) for i in (0, 1))
    if still.max() > _STILL_M or moving.max() < _MOVES_M:
        return None
    return np.array([axes[0, 0], 0.0, axes[1, 0]])


def filled(seen_TM3: np.ndarray, marks: Sequence[str], plane: np.ndarray) -> np.ndarray:
    """The points with their distances from the plane, where the hips have none: those of a body of the same stature.

    Args:
        seen_TM3: y up, metres.
        marks: landmark of each point.
        plane: unit vector across the plane, as `across` gives it.

    Raises:
        InputError: which way the person faces is not seen, because the points hold no toes and the knees do not bend.
    """
    hips = (np.nanmedian(seen_TM3[:, marks.index(f"hip_centre_{side}")] @ plane) for side in "rl")
    if abs(float(np.subtract(*hips))) > _ONE_POINT_M:
        return seen_TM3
    forward = _forward(seen_TM3, marks, plane)
    right = np.cross(forward, [0.0, 1.0, 0.0])
    body = kinematics.segments(jnp.zeros(COORDINATE_COUNT), 1.0)
    thighs_m = [_apart(seen_TM3, marks, f"hip_centre_{side}", f"knee_centre_{side}") for side in "rl"]
    height_m = float(np.nanmean(thighs_m)) / kinematics.FRACTIONS.thigh  # one leg may never be seen
    out = seen_TM3.copy()
    for i, mark in enumerate(marks):
        place = landmark(mark)
        side = float(np.asarray(body[place.at].origin)[2]) + place.offset_m[2] / NOMINAL_HEIGHT_M
        out[:, i] += height_m * side * right
    return out


def _apart(seen_TM3: np.ndarray, marks: Sequence[str], one: str, other: str) -> float:
    """Median distance of two landmarks; NaN where they are never seen together."""
    if not {one, other} <= set(marks):
        return float("nan")
    apart = np.linalg.norm(seen_TM3[:, marks.index(one)] - seen_TM3[:, marks.index(other)], axis=1)
    return float(np.nanmedian(apart)) if np.isfinite(apart).any() else float("nan")


def _forward(seen_TM3: np.ndarray, marks: Sequence[str], plane: np.ndarray) -> np.ndarray:
    """Unit vector in the plane to where the toes point, or to where knees bend if no toes are seen."""
    along = np.cross([0.0, 1.0, 0.0], plane)
    ahead: list[np.ndarray] = []
    for side in "rl":
        place = {mark: seen_TM3[:, i] @ along for i, mark in enumerate(marks) if mark.endswith(f"_{side}")}
        toes = [
            place[name]
            for name in (f"{toe}_{side}" for toe in ("big_toe", "ball_centre", "small_toe"))
            if name in place
        ]
        if toes and f"ankle_centre_{side}" in place:
            ahead.append(toes[0] - place[f"ankle_centre_{side}"])
        elif f"ankle_centre_{side}" in place:
            hip, knee, ankle = (place[f"{joint}_centre_{side}"] for joint in ("hip", "knee", "ankle"))
            ahead.append(knee - 0.5 * (hip + ankle))
    sign = np.sign(np.nanmedian(np.concatenate(ahead))) if ahead else 0.0
    if not sign:
        raise InputError("its points lie in one plane and do not show which way the person faces; give ankles and toes")
    return np.asarray(sign * along)
