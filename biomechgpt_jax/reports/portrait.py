"""Draw one movement on one page: the body over time, its path, its joint angles and its foot contacts."""

import dataclasses
from pathlib import Path

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from biomechgpt_jax.biomechanics import gait, preprocess
from biomechgpt_jax.biomechanics.skeleton import HORIZONTAL_ROOT, INDEX
from biomechgpt_jax.biomechanics.trajectory import LEFT, RIGHT, Contacts, Trajectory
from biomechgpt_jax.errors import InputError
from biomechgpt_jax.files import write_atomically
from biomechgpt_jax.reports import bodies
from biomechgpt_jax.reports.plots import INK, MUTED, STYLE

_FIGURES = 9  # number of stick figures over the movement
# Rows of panels: coordinates of the right side or the midline, with their clinical names.
_PANELS = (
    (("hip_flexion", "Hip flexion"), ("knee_angle", "Knee flexion"), ("ankle_angle", "Ankle dorsiflexion")),
    (("hip_adduction", "Hip adduction"), ("arm_flex", "Shoulder flexion"), ("elbow_flex", "Elbow flexion")),
    (("pelvis_tilt", "Pelvis tilt"), ("pelvis_list", "Pelvis list"), ("lumbar_extension", "Trunk extension")),
)
_FORMATS = (".png", ".svg", ".pdf")


def save(trajectory: Trajectory, path: Path) -> None:
    """Draw a movement and save the picture.

    Coordinates absent from the file are shown as absent, not as zero; gaps stay empty.

    Args:
        path: destination, a .png, .svg or .pdf file.

    Raises:
        InputError: the suffix is another one, or the file cannot be written.
    """
    if path.suffix.lower() not in _FORMATS:
        raise InputError(f"--plot {path}: give a file that ends in {', '.join(_FORMATS)}")
    with matplotlib.rc_context(STYLE):
        figure = _draw(trajectory)
        try:
            with write_atomically(path) as file:
                figure.savefig(file, format=path.suffix[1:].lower(), dpi=130)
        except OSError as error:
            raise InputError(f"--plot {path}: {error.strerror}; give a place that can be written") from error


def _draw(trajectory: Trajectory) -> Figure:
    meta = trajectory.metadata
    figure = Figure(figsize=(11, 9.5))
    flags = f"  [{', '.join(meta.flags)}]" if meta.flags else ""
    figure.suptitle(f"{meta.source or 'movement'}: {trajectory.seconds:.1f} s at {trajectory.rate_hz:.4g} Hz{flags}")
    figure.text(0.5, 0.945, "right in red, left in blue; dots: foot strikes", ha="center", color=MUTED)
    top = figure.add_gridspec(1, 2, left=0.06, right=0.98, top=0.90, bottom=0.70, width_ratios=(3.5, 1), wspace=0.15)
    below = figure.add_gridspec(len(_PANELS), 3, left=0.06, right=0.98, top=0.62, bottom=0.06, hspace=0.35)
    has_root = bool(trajectory.observed[[INDEX[name] for name in HORIZONTAL_ROOT]].all())
    _sticks(figure.add_subplot(top[0]), trajectory)
    _path(figure.add_subplot(top[1]), trajectory, has_root)
    contacts = _contacts(trajectory) if has_root else Contacts()
    for row, names in enumerate(_PANELS):
        for column, (name, words) in enumerate(names):
            axes = figure.add_subplot(below[row, column])
            _angle(axes, trajectory, name, words)
            _strikes(axes, contacts)
            axes.set_xlim(0, trajectory.seconds)
            if column == 0:
                axes.set_ylabel("degrees")
            if row + 1 == len(_PANELS):
                axes.set_xlabel("time (s)")
    return figure


def _contacts(trajectory: Trajectory) -> Contacts:
    """Foot contacts in the part without long gaps, in seconds from the first frame; none if there is no such part."""
    try:
        prepared = preprocess.prepare([trajectory])[0]
    except InputError:
        return Contacts()
    contacts = gait.detect_contacts(preprocess.at_own_rate(trajectory, prepared))
    begin = np.float32(prepared.used.start / trajectory.rate_hz)
    return dataclasses.replace(contacts, strike_time=contacts.strike_time + begin, off_time=contacts.off_time + begin)


def _sticks(axes: Axes, trajectory: Trajectory) -> None:
    """Draw bodies from their right side, spread out over time."""
    frames = np.unique(np.linspace(0, trajectory.frames - 1, _FIGURES).round().astype(int))
    height = bodies.height_of(trajectory.metadata.height_m)
    for place, body in enumerate(bodies.from_the_right(trajectory.coordinates[frames], height)):
        bodies.draw(axes, body + np.array([0.62 * height * place, 0.0]))
        seconds = frames[place] / trajectory.rate_hz
        axes.annotate(f"{seconds:.1f} s", (0.62 * height * place, 0), (0, -14), textcoords="offset points", ha="center")
    axes.set_aspect("equal")
    axes.set_title("from the right, each facing its own way", loc="left", color=MUTED)
    axes.set_xticks([])
    axes.set_ylabel("height (m)")


def _path(axes: Axes, trajectory: Trajectory, has_root: bool) -> None:
    axes.set_title("pelvis from above (m)", loc="left", color=MUTED)
    if not has_root:
        axes.set_axis_off()
        axes.text(0.5, 0.5, "not in the file", transform=axes.transAxes, ha="center", color=MUTED)
        return
    x, z = (trajectory.coordinates[:, INDEX[name]] for name in HORIZONTAL_ROOT)
    axes.plot(x, z, color=INK)
    known = np.flatnonzero(np.isfinite(x) & np.isfinite(z))
    axes.plot(x[known[:1]], z[known[:1]], "o", color=INK, markersize=5)
    axes.set_aspect("equal", adjustable="datalim")
    axes.invert_yaxis()  # seen from above, left is up


def _angle(axes: Axes, trajectory: Trajectory, name: str, words: str) -> None:
    axes.set_title(words, loc="left")
    time = np.arange(trajectory.frames) / trajectory.rate_hz
    drawn = False
    for side in ("r", "l") if f"{name}_r" in INDEX else ("",):
        index = INDEX[f"{name}_{side}" if side else name]
        if trajectory.observed[index]:
            axes.plot(time, np.degrees(trajectory.coordinates[:, index]), color=bodies.COLOURS[side], linewidth=1.3)
            drawn = True
    if not drawn:
        axes.set_yticks([])
        axes.text(0.5, 0.5, "not in the file", transform=axes.transAxes, ha="center", color=MUTED)


def _strikes(axes: Axes, contacts: Contacts) -> None:
    for foot, side in ((RIGHT, "r"), (LEFT, "l")):
        times = contacts.strike_time[contacts.strike_foot == foot]
        axes.plot(
            times, np.zeros(len(times)), "o", color=bodies.COLOURS[side], markersize=4, clip_on=False,
            transform=axes.get_xaxis_transform(),
        )  # fmt: skip
