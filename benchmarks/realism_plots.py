"""Pictures of `realism.py`: waveforms against norms, ranges of motion, timed tests, spectra."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt
import numpy as np
import realism_measures as measures
from realism_tables import PUBLISHED
from scipy.signal import welch

from biomechgpt_jax.biomechanics.skeleton import INDEX
from biomechgpt_jax.biomechanics.trajectory import Trajectory
from biomechgpt_jax.cohort.people import waveforms

_NORM, _OURS = "0.6", "tab:blue"


def write(
    directory: Path,
    curves: np.ndarray,
    speeds: Sequence[float],
    groups: Mapping[str, Sequence[Mapping[str, float]]],
    times: Mapping[str, tuple[np.ndarray, np.ndarray]],
    walks: tuple[Sequence[Trajectory], Sequence[Trajectory]],
) -> None:
    """Write the four pictures."""
    directory.mkdir(parents=True, exist_ok=True)
    for name, figure in (
        ("healthy_waveforms", waveform_figure(curves, speeds)),
        ("range_of_motion", range_figure(groups)),
        ("timed_tests", times_figure(times)),
        ("spectra", spectra_figure(*walks)),
    ):
        figure.savefig(directory / f"{name}.png", dpi=120)
        plt.close(figure)


def waveform_figure(curves: np.ndarray, speeds: Sequence[float]) -> plt.Figure:
    """Mean and SD of healthy people, drawn over the norms' mean and SD at the same speeds."""
    figure, axes = plt.subplots(2, 5, figsize=(15, 6), sharex=True, layout="constrained")
    norm = np.mean([measures.norm_curves(speed) for speed in speeds], axis=0)
    percent = 100 * measures.PHASE
    for index, (name, ax) in enumerate(zip(measures.JOINTS, axes.flat, strict=True)):
        sd = waveforms.SUBJECT_SD[name]
        mean, spread = curves[..., index].mean(axis=0), curves[..., index].std(axis=0, ddof=1)
        ax.fill_between(percent, norm[:, index] - sd, norm[:, index] + sd, color=_NORM, alpha=0.4, lw=0)
        ax.plot(percent, norm[:, index], color="0.35", label="Schwartz 2008, SD")
        ax.plot(percent, mean, color=_OURS, label="cohort, SD")
        for edge in (mean - spread, mean + spread):
            ax.plot(percent, edge, color=_OURS, lw=0.8, ls="--")
        ax.set_title(name.replace("_", " "))
    for ax in axes[-1]:
        ax.set_xlabel("gait cycle (%)")
    for ax in axes[:, 0]:
        ax.set_ylabel("degrees")
    axes[0, 0].legend(frameon=False, fontsize=8)
    return figure


def range_figure(groups: Mapping[str, Sequence[Mapping[str, float]]]) -> plt.Figure:
    """One row per etiology: every person, mean and SD of each range or peak, drawn over the published spread."""
    shown = ("walking_speed", "knee_swing_peak", "knee_stance_min", "knee_range", "hip_range", "ankle_range")
    units = {"walking_speed": "m/s"}
    names = sorted(groups, key=lambda name: (name != "healthy", name), reverse=True)
    figure, axes = plt.subplots(1, len(shown), figsize=(16, 1.5 + 0.3 * len(names)), sharey=True, layout="constrained")
    for measure, ax in zip(shown, axes, strict=True):
        for etiology, published, low, high, _, _ in PUBLISHED:
            if published == measure and etiology in names:
                ax.barh(names.index(etiology), high - low, left=low, height=0.7, color="tab:orange", alpha=0.25)
        for row, name in enumerate(names):
            values = [person[measure] for person in groups[name] if measure in person]
            if values:
                ax.plot(values, np.full(len(values), row), "o", color=_NORM, ms=3, alpha=0.6)
                ax.errorbar(np.mean(values), row, xerr=np.std(values), fmt="o", color=_OURS, ms=5, capsize=2)
        ax.set_title(measure.replace("_", " "))
        ax.set_xlabel(units.get(measure, "degrees"))
    axes[0].set_yticks(range(len(names)), names)
    return figure


def times_figure(times: Mapping[str, tuple[np.ndarray, np.ndarray]]) -> plt.Figure:
    """Chair rise against timed up and go, people and cohort, one panel per group."""
    figure, axes = plt.subplots(
        1, max(1, len(times)), figsize=(5 * max(1, len(times)), 4.2), squeeze=False, layout="constrained"
    )
    for ax, (name, (people, ours)) in zip(axes[0], times.items(), strict=False):
        ax.plot(people[:, 0], people[:, 1], "o", color="0.45", ms=4, label=f"people ({len(people)} visits)")
        ax.plot(ours[:, 0], ours[:, 1], "x", color=_OURS, ms=5, label=f"cohort ({len(ours)})")
        ax.set(title=name, xlabel="timed up and go (s)", ylabel="five times sit to stand (s)")
        ax.legend(frameon=False)
    return figure


def spectra_figure(synthetic: Sequence[Trajectory], real: Sequence[Trajectory]) -> plt.Figure:
    """Power spectra of leg angles in walking, as a model sees them."""
    shown = ("hip_flexion_r", "knee_angle_r", "ankle_angle_r")
    figure, axes = plt.subplots(1, len(shown), figsize=(13, 4), sharey=True, layout="constrained")
    for name, ax in zip(shown, axes, strict=True):
        for group, colour, label in ((synthetic, _OURS, "cohort, markerless noise"), (real, "k", "OpenCap files")):
            lines = [_spectrum(trajectory, name) for trajectory in group]
            for frequency, density in lines[:20]:
                ax.semilogy(frequency, density, color=colour, alpha=0.2, lw=0.7)
            if lines:
                median = np.median([density for _, density in lines], axis=0)
                ax.semilogy(lines[0][0], median, color=colour, lw=2, label=f"{label} ({len(lines)})")
        ax.axvline(8, color="0.6", ls=":", lw=1)
        ax.set(title=name.replace("_", " "), xlabel="frequency (Hz)")
    axes[0].set_ylabel("power (deg²/Hz)")
    axes[0].legend(frameon=False)
    return figure


def _spectrum(trajectory: Trajectory, name: str) -> tuple[np.ndarray, np.ndarray]:
    """Frequency (Hz) and power density, from segments of one second."""
    angle = np.degrees(trajectory.coordinates[:, INDEX[name]].astype(np.float64))
    return welch(angle, trajectory.rate_hz, nperseg=30, detrend="linear")
