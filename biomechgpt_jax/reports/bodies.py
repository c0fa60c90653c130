"""Draw bodies as stick figures in a plot, seen from their right side."""

import numpy as np
from matplotlib.axes import Axes

from biomechgpt_jax.biomechanics import kinematics
from biomechgpt_jax.reports.plots import BLUE, INK, VERMILION

COLOURS = {"r": VERMILION, "l": BLUE, "": INK}
_HEAD = kinematics.POINT_INDEX["head"]


def height_of(height_m: float) -> float:
    """A body height in metres; 1.70 if it is unknown."""
    return height_m if np.isfinite(height_m) else kinematics.DEFAULT_HEIGHT_M


def from_the_right(coordinates: np.ndarray, height_m: float) -> np.ndarray:
    """Points f64[T, P, 2] (forward of the pelvis, up; metres) of coordinates f32[T, 40], per-frame heading removed."""
    points = np.asarray(kinematics.points_jit(coordinates.astype(np.float32), height_m), np.float64)
    across = points[:, kinematics.POINT_INDEX["hip_r"]] - points[:, kinematics.POINT_INDEX["hip_l"]]
    forward = np.stack([across[:, 2], -across[:, 0]], axis=1)  # up x right
    forward /= np.maximum(np.linalg.norm(forward, axis=1, keepdims=True), 1e-9)
    from_pelvis = points[:, :, [0, 2]] - points[:, [kinematics.POINT_INDEX["pelvis"]]][:, :, [0, 2]]
    return np.stack([np.einsum("tpk,tk->tp", from_pelvis, forward), points[:, :, 1]], axis=-1)


def draw(
    axes: Axes, body: np.ndarray, colour: str = "", linewidth: float = 1.6, head: float = 6.0, alpha: float = 1.0
) -> None:
    """Draw one body, points f64[P, 2]: right side red, left side blue, or the whole body in one colour."""
    for a, b in kinematics.BONES:
        name = kinematics.POINTS[b]
        side = name[-1] if name.endswith(("_r", "_l")) else ""
        axes.plot(*body[[a, b]].T, color=colour or COLOURS[side], linewidth=linewidth, alpha=alpha)
    axes.plot(*body[_HEAD], "o", color=colour or INK, markersize=head, markeredgewidth=0, alpha=alpha)
