"""The gait code against events and parameters that others measured, and against the exact truth of synthetic walks.

The constants of the detector were fixed on synthetic walks; none was tuned on the real files. Its floor is local to
each foot and moment because one of them (PlugInC3D) showed that the floor of a recording can drift.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from figures import Figure, parser, publish

from biomechgpt_jax import config, formats
from biomechgpt_jax.biomechanics import gait, inverse
from biomechgpt_jax.biomechanics.markers import Markers
from biomechgpt_jax.biomechanics.trajectory import Contacts
from biomechgpt_jax.cohort.simulate import simulate
from biomechgpt_jax.errors import InputError

FILES = (
    "omcs_gait/exampleOverground.c3d",
    "biomechzoo_children/HC031A06.c3d",
    "biomechzoo_children/HC036A10.c3d",
    "btkdata/PlugInC3D.c3d",
)
EVENT_BAR_MS, SPEED_BAR, CADENCE_BAR = 30.0, 0.05, 3.0
# An event further than this from the labelled one is a miss, counted at this distance.
MISS_S = 0.25
# Labelled strikes may lie this far from ours and still bound the same stride.
MARGIN_S = 0.12


@dataclass
class Errors:
    """Errors of one way of finding events, over all files."""

    events_s: list[float] = field(default_factory=list)
    missed: int = 0
    speed: list[float] = field(default_factory=list)
    cadence: list[float] = field(default_factory=list)


def from_markers(markers: Markers) -> tuple[Contacts, float]:
    """Contacts from heel and toe markers over the frames in which all four are seen, and when those begin."""
    columns = [[markers.names.index(f"{side}{name}") for side in "RL"] for name in ("HEE", "TOE")]
    seen = np.isfinite(markers.positions[:, np.ravel(columns)]).all(axis=(1, 2))
    first, last = np.flatnonzero(seen)[[0, -1]]
    heel, toe = (_filled(markers.positions[first : last + 1, column]) for column in columns)
    return gait.contacts_from_points(heel, toe, markers.rate_hz), first / markers.rate_hz


def _filled(positions: np.ndarray) -> np.ndarray:
    frames = np.arange(len(positions))
    filled = positions.reshape(len(positions), -1).copy()
    for column in filled.T:
        known = np.isfinite(column)
        column[:] = np.interp(frames, frames[known], column[known])
    return filled.reshape(positions.shape)


def from_fit(markers: Markers) -> tuple[Contacts, float]:
    """Contacts from the coordinates that inverse kinematics finds."""
    found = inverse.fit(markers)
    return gait.detect_contacts(found.trajectory), found.first_frame / markers.rate_hz


def _pairs(labelled: Contacts, found: Contacts, begin: float) -> Iterator[float]:
    for times, feet, ours, our_feet in (
        (labelled.strike_time, labelled.strike_foot, found.strike_time, found.strike_foot),
        (labelled.off_time, labelled.off_foot, found.off_time, found.off_foot),
    ):
        for time, foot in zip(times, feet, strict=True):
            mine = ours[our_feet == foot] + begin
            yield float(np.abs(mine - time).min()) if len(mine) else np.inf


def labelled_stride(markers: Markers) -> tuple[float, float]:
    """Speed (m/s) and cadence (steps/min) of the labelled strides: the file's own parameters, else heel marker and
    labels."""
    own = [markers.parameters.get(f"{name}_r") for name in ("walking_speed", "cadence")]
    if own[0] is not None and own[1] is not None:
        return own[0], own[1]
    time = np.arange(markers.frames) / markers.rate_hz
    lengths, durations = [], []
    for foot, name in enumerate(("RHEE", "LHEE")):
        heel = markers.positions[:, markers.names.index(name)]
        known = np.isfinite(heel).all(axis=1)
        strikes = markers.events.strike_time[markers.events.strike_foot == foot]
        for start, end in zip(strikes[:-1], strikes[1:], strict=True):
            a, b = (
                np.array([np.interp(t + 0.05, time[known], heel[known, axis]) for axis in (0, 2)]) for t in (start, end)
            )
            lengths.append(float(np.linalg.norm(b - a)))
            durations.append(float(end - start))
    return sum(lengths) / sum(durations), 120.0 * len(durations) / sum(durations)


def real(data: Path) -> dict[str, Figure]:
    """Figures of the files with labels."""
    figures: dict[str, Figure] = {}
    for way, find in (("markers", from_markers), ("coordinates", from_fit)):
        errors = Errors()
        for name in FILES:
            markers = formats.read_markers(data / name)
            found, begin = find(markers)
            apart = list(_pairs(markers.events, found, begin))
            errors.events_s += [min(value, MISS_S) for value in apart]
            errors.missed += sum(value > MISS_S for value in apart)
            short = Path(name).stem
            median = 1000 * float(np.median(np.minimum(apart, MISS_S)))
            note = f"{len(apart)} events"
            figures[f"{short}, {way}: event error"] = Figure(median, "ms", EVENT_BAR_MS, note=note)
            strikes = markers.events.strike_time - begin
            said = gait.parameters(found, strikes.min() - MARGIN_S, strikes.max() + MARGIN_S)
            speed, cadence = labelled_stride(markers)
            for key, truth, bar, unit, store in (
                ("walking_speed", speed, SPEED_BAR, "m/s", errors.speed),
                ("cadence", cadence, CADENCE_BAR, "steps/min", errors.cadence),
            ):
                value = abs(said[key] - truth) if key in said else None
                store.append(np.inf if value is None else value)
                figures[f"{short}, {way}: {key} error"] = Figure(
                    value, unit, bar, note=f"labelled {truth:.3g}" + ("" if key in said else "; no stride found")
                )
        note = f"{len(errors.events_s)} events in {len(FILES)} files, {errors.missed} missed (> {MISS_S} s)"
        figures[f"all files, {way}: event error"] = Figure(
            1000 * float(np.median(errors.events_s)), "ms", EVENT_BAR_MS, note=note
        )
    return figures


def synthetic(participants: int, noise: str) -> dict[str, Figure]:
    """Figures of synthetic walks against the exact truth of their contact schedule."""
    events, missed, speed, cadence = [], 0, [], []
    walks = ("walk_free", "walk_slow", "walk_fast")
    cohort = config.Cohort(participants=participants, hours=0.001, noise=noise, activities=walks)  # type: ignore[arg-type]
    for trial in simulate(cohort):
        found = gait.detect_contacts(trial.trajectory)
        apart = list(_pairs(trial.contacts, found, 0.0))
        events += [min(value, MISS_S) for value in apart]
        missed += sum(value > MISS_S for value in apart)
        truth, said = gait.parameters(trial.contacts), gait.parameters(found)
        if truth and said:
            speed.append(abs(said["walking_speed"] - truth["walking_speed"]))
            cadence.append(abs(said["cadence"] - truth["cadence"]))
    what = f"synthetic, {'clean' if noise == 'none' else 'with markerless noise'}"
    barred = noise == "none"
    note = f"{len(events)} events, {missed} missed"
    return {
        f"{what}: event error": Figure(1000 * float(np.median(events)), "ms", note=note),
        f"{what}: walking_speed error": Figure(
            float(np.mean(speed)), "m/s", 0.01 if barred else None, note=f"mean of {len(speed)} walks"
        ),
        f"{what}: cadence error": Figure(float(np.mean(cadence)), "steps/min", 0.5 if barred else None),
    }


def main() -> None:
    """Measure and print."""
    arguments = parser(__doc__ or "")
    arguments.add_argument("--data", type=Path, default=Path("../shared/data"), help="real files (%(default)s)")
    arguments.add_argument("--participants", type=int, default=48, help="synthetic walkers (%(default)s)")
    options = arguments.parse_args()
    figures = synthetic(options.participants, "none") | synthetic(options.participants, "markerless")
    try:
        figures = real(options.data) | figures
    except InputError as error:
        figures["real files"] = Figure(None, bar=EVENT_BAR_MS, note=str(error))
    publish("gait", figures, options.json)


if __name__ == "__main__":
    main()
