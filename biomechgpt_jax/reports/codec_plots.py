"""Plots for the codec's report: movements over time, bodies, and the meaning of codes."""

from collections.abc import Sequence
from dataclasses import dataclass

import matplotlib
import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from biomechgpt_jax.biomechanics.features import coordinates_from_features
from biomechgpt_jax.biomechanics.skeleton import INDEX
from biomechgpt_jax.config import CANONICAL_RATE_HZ
from biomechgpt_jax.reports import bodies
from biomechgpt_jax.reports.plots import BLUE, INK, MUTED, STYLE, VERMILION, svg

JOINTS = (("hip_flexion", "Hip flexion"), ("knee_angle", "Knee flexion"), ("ankle_angle", "Ankle dorsiflexion"))
INPUT = "#a9b3bc"
_MOMENTS = 8


@dataclass(frozen=True)
class Shown:
    """A part of a trial and its reconstruction, both as coordinates f32[T, 40] at 30 Hz."""

    title: str
    true: np.ndarray
    back: np.ndarray
    observed: np.ndarray
    height_m: float
    start_s: float


def _figure(width: float, height: float) -> Figure:
    with matplotlib.rc_context(STYLE):
        return Figure(figsize=(width, height), layout="constrained")


def angle(shown: Shown, name: str, words: str) -> str:
    """Plot an angle of both sides over time: the movement wide and grey, its reconstruction in the side's colour."""
    figure = _figure(3.5, 2.5)
    with matplotlib.rc_context(STYLE):
        axes = figure.add_subplot()
    axes.grid(axis="both")
    time = shown.start_s + np.arange(len(shown.back)) / CANONICAL_RATE_HZ
    drawn = False
    for side, colour in (("r", VERMILION), ("l", BLUE)):
        column = INDEX[f"{name}_{side}"]
        if shown.observed[column]:
            axes.plot(time, np.degrees(shown.true[: len(time), column]), color=INPUT, linewidth=3.2)
            axes.plot(time, np.degrees(shown.back[:, column]), color=colour, linewidth=1.2)
            drawn = True
    if not drawn:
        axes.text(0.5, 0.5, "not in the file", transform=axes.transAxes, ha="center", color=MUTED)
    axes.set_title(words, loc="left", fontsize=9.5, fontweight="bold")
    axes.set_xlabel("time (s)")
    axes.set_ylabel("degrees")
    axes.xaxis.set_major_locator(MaxNLocator(6))
    axes.yaxis.set_major_locator(MaxNLocator(5))
    axes.margins(x=0.01)
    return svg(figure, f"{shown.title}: {words.lower()} over time, movement and reconstruction")


def sticks(shown: Shown) -> str:
    """Draw bodies from their right side at several moments: the movement above, its reconstruction below."""
    frames = np.unique(np.linspace(0, len(shown.back) - 1, _MOMENTS).round().astype(int))
    height = bodies.height_of(shown.height_m)
    rows = [bodies.from_the_right(movement[frames], height) for movement in (shown.true, shown.back)]
    floor = rows[0][:, :, 1].min(axis=1)  # on stairs the ground rises
    step, reach = 0.72 * height, 1.16 * height
    figure = _figure(7.6, 3.1)
    with matplotlib.rc_context(STYLE):
        axes = figure.add_subplot()
    for number, (row, words) in enumerate(zip(rows, ("movement", "reconstruction"), strict=True)):
        for place, body in enumerate(row):
            at = np.array([step * place, -reach * number - floor[place]])
            if number:
                bodies.draw(axes, rows[0][place] + at, colour=INPUT, linewidth=3.0, head=8.0)
            bodies.draw(axes, body + at, linewidth=1.4, head=5.0)
        middle = -reach * number + 0.5 * height
        axes.text(-0.5 * step, middle, words, rotation=90, va="center", ha="right", color=MUTED, fontsize=7)
    for place, frame in enumerate(frames):
        seconds = shown.start_s + frame / CANONICAL_RATE_HZ
        axes.text(step * place, -reach - 0.12, f"{seconds:.1f} s", ha="center", va="top", color=MUTED, fontsize=7)
    axes.set_aspect("equal")
    axes.set_axis_off()
    return svg(figure, f"{shown.title}: stick figures, movement and reconstruction, at {len(frames)} moments")


def code(movement: np.ndarray, label: str) -> str:
    """Draw the mean movement of a code, features f64[stride, 40]: middle frame in colour, first and last in grey.

    The drawn bodies are offset by the distance travelled, so that a walking code visibly walks to the right.
    """
    coordinates = np.asarray(coordinates_from_features(movement.astype(np.float32), np.zeros(3, np.float32)))
    chosen = [0, len(coordinates) - 1, len(coordinates) // 2]
    points = bodies.from_the_right(coordinates[chosen], bodies.height_of(np.nan))
    floor = points[:, :, 1].min()
    along = coordinates[chosen, INDEX["pelvis_tx"]] - coordinates[chosen[-1], INDEX["pelvis_tx"]]
    figure = _figure(1.6, 2.0)
    with matplotlib.rc_context(STYLE):
        axes = figure.add_subplot()
    axes.plot([-0.75, 0.75], [0, 0], color=INPUT, linewidth=0.8)
    for body, x, shade in zip(points, along, ("#ccd3d9", "#8f9aa4", ""), strict=True):
        bodies.draw(axes, body + np.array([x, -floor]), colour=shade, linewidth=1.0 if shade else 1.7, head=5.0)
    axes.set_xlim(-0.75, 0.75)
    axes.set_ylim(-0.08, 1.82)
    axes.set_aspect("equal")
    axes.set_axis_off()
    return svg(figure, label)


def by_coordinate(names: Sequence[str], healthy: np.ndarray, impaired: np.ndarray) -> str:
    """Plot the median (filled) and 95th percentile (open) error of each angle, f64[n, 2] degrees, by health."""
    figure = _figure(7.6, 0.6 + 0.19 * len(names))
    with matplotlib.rc_context(STYLE):
        axes = figure.add_subplot()
    axes.grid(axis="x")
    place = np.arange(len(names))
    for values, colour, shift in ((healthy, BLUE, -0.17), (impaired, VERMILION, 0.17)):
        axes.hlines(place + shift, values[:, 0], values[:, 1], color=colour, linewidth=1.0, alpha=0.5)
        axes.plot(values[:, 0], place + shift, "o", color=colour, markersize=4.2, markeredgewidth=0)
        axes.plot(values[:, 1], place + shift, "o", color=colour, markersize=3.6, markerfacecolor="white")
    axes.set_yticks(place, names, color=INK, fontsize=7.5)
    axes.set_ylim(len(names) - 0.4, -0.6)
    axes.set_xlim(left=0)
    axes.tick_params(axis="x", labelsize=7.5)
    axes.set_xlabel("absolute error (degrees)", fontsize=7.5)
    return svg(figure, "Median and 95th percentile of the absolute error of each joint angle, healthy and impaired")
