"""The gait code against events and parameters that others measured, and against the exact truth of synthetic walks.

The constants of the detector were set on synthetic walks, but for one: the delay of toe off (`contacts.LIFT_DELAY_S`)
was set on the events of FILES, so their double support is no evidence for it. The floor is local to each foot and
moment because the floor of PlugInC3D drifts.
"""

import dataclasses
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from figures import Figure, parser, publish

from biomechgpt_jax import config, formats
from biomechgpt_jax.biomechanics import gait, preprocess
from biomechgpt_jax.biomechanics.fitting import inverse
from biomechgpt_jax.biomechanics.fitting.markers import Markers
from biomechgpt_jax.biomechanics.gait import indices, strides
from biomechgpt_jax.biomechanics.gait.contacts import contacts_from_points
from biomechgpt_jax.biomechanics.trajectory import LEFT, RIGHT, Contacts, Trial
from biomechgpt_jax.cohort.simulate import simulate
from biomechgpt_jax.errors import InputError

FILES = (
    "omcs_gait/exampleOverground.c3d",
    "biomechzoo_children/HC031A06.c3d",
    "biomechzoo_children/HC036A10.c3d",
    "btkdata/PlugInC3D.c3d",
    "field/btk_FunctionalWalk.c3d",
    "field/pig_full_with_bones.c3d",
)
EVENT_BAR_MS, SPEED_BAR, CADENCE_BAR = 30.0, 0.05, 3.0
# Points between double support by our events and by the file's.
DOUBLE_SUPPORT_BAR = 1.5
# An event further than this from the labelled one counts as a miss with this error.
MISS_S = 0.25
# Labelled strikes may be this far from the detected ones and still bound the same stride.
MARGIN_S = 0.12


@dataclass
class Errors:
    """Errors of one way of detecting events, over all files."""

    events_s: list[float] = field(default_factory=list)
    missed: int = 0
    speed: list[float] = field(default_factory=list)
    cadence: list[float] = field(default_factory=list)
    stance: list[float] = field(default_factory=list)


def from_markers(markers: Markers) -> tuple[Contacts, float]:
    """Contacts from heel and toe markers over the frames in which all four are seen, and the start of these frames."""
    columns = [[markers.names.index(f"{side}{name}") for side in "RL"] for name in ("HEE", "TOE")]
    seen = np.isfinite(markers.positions[:, np.ravel(columns)]).all(axis=(1, 2))
    first, last = np.flatnonzero(seen)[[0, -1]]
    heel, toe = (_fill_gaps(markers.positions[first : last + 1, column]) for column in columns)
    return contacts_from_points(heel, toe, markers.rate_hz), first / markers.rate_hz


def _fill_gaps(positions: np.ndarray) -> np.ndarray:
    frames = np.arange(len(positions))
    filled = positions.reshape(len(positions), -1).copy()
    for column in filled.T:
        known = np.isfinite(column)
        column[:] = np.interp(frames, frames[known], column[known])
    return filled.reshape(positions.shape)


def from_fit(markers: Markers) -> tuple[Contacts, float]:
    """Contacts from the coordinates of inverse kinematics over the usable frames, and the start of these frames."""
    fit = inverse.fit(markers)
    prepared = preprocess.prepare([fit.trajectory])[0]
    contacts = gait.detect_contacts(preprocess.at_own_rate(fit.trajectory, prepared))
    return contacts, (fit.first_frame + prepared.used.start) / markers.rate_hz


def _event_errors(labelled: Contacts, detected: Contacts, begin: float) -> Iterator[float]:
    """Distance in seconds from each labelled event to the nearest detected one of the same kind and foot."""
    for times, feet, ours, our_feet in (
        (labelled.strike_time, labelled.strike_foot, detected.strike_time, detected.strike_foot),
        (labelled.off_time, labelled.off_foot, detected.off_time, detected.off_foot),
    ):
        for time, foot in zip(times, feet, strict=True):
            mine = ours[our_feet == foot] + begin
            yield float(np.abs(mine - time).min()) if len(mine) else np.inf


def labelled_stride(markers: Markers) -> tuple[float, float]:
    """Speed (m/s) and cadence (steps/min) of the labelled strides.

    They are the file's own parameters if it holds them, otherwise computed from heel markers and labels.
    """
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
    """Figures of the labelled files."""
    figures: dict[str, Figure] = {}
    for way, detect in (("markers", from_markers), ("coordinates", from_fit)):
        errors = Errors()
        for name in FILES:
            markers = formats.read_markers(data / name)
            contacts, begin = detect(markers)
            event_errors = list(_event_errors(markers.events, contacts, begin))
            errors.events_s += [min(value, MISS_S) for value in event_errors]
            errors.missed += sum(value > MISS_S for value in event_errors)
            short = Path(name).stem
            median = 1000 * float(np.median(np.minimum(event_errors, MISS_S)))
            note = f"{len(event_errors)} events"
            figures[f"{short}, {way}: event error"] = Figure(median, "ms", EVENT_BAR_MS, note=note)
            strikes = markers.events.strike_time - begin
            measured = gait.parameters(contacts, strikes.min() - MARGIN_S, strikes.max() + MARGIN_S)
            speed, cadence = labelled_stride(markers)
            for key, truth, bar, unit, store in (
                ("walking_speed", speed, SPEED_BAR, "m/s", errors.speed),
                ("cadence", cadence, CADENCE_BAR, "steps/min", errors.cadence),
            ):
                value = abs(measured[key] - truth) if key in measured else None
                store.append(np.inf if value is None else value)
                figures[f"{short}, {way}: {key} error"] = Figure(
                    value, unit, bar, note=f"labelled {truth:.3g}" + ("" if key in measured else "; no stride detected")
                )
            theirs = labelled_double_support(markers)
            ours = measured.get("double_support")
            if np.isfinite(theirs):  # one stride is too little for it
                figures[f"{short}, {way}: double support error"] = Figure(
                    None if ours is None else abs(ours - theirs),
                    "points",
                    DOUBLE_SUPPORT_BAR,
                    note=f"labelled {theirs:.1f} %" + ("" if ours is None else f", ours {ours:.1f} %"),
                )
            stance = labelled_stance(markers)
            if stance and "stance" in measured:
                errors.stance.append(measured["stance"] - float(np.mean(stance)))
        note = f"detected minus labelled, mean of {len(errors.stance)} files"
        figures[f"all files, {way}: stance difference"] = _mean(errors.stance, "% of stride", None, note)
        note = f"{len(errors.events_s)} events in {len(FILES)} files, {errors.missed} missed (> {MISS_S} s)"
        figures[f"all files, {way}: event error"] = Figure(
            1000 * float(np.median(errors.events_s)), "ms", EVENT_BAR_MS, note=note
        )
    return figures


# Parameters other than speed and cadence, with their units; their mean absolute errors have no bar.
REPORTED = {
    "stride_time": "s",
    "stride_length": "m",
    "step_length": "m",
    "step_width": "m",
    "stance": "%",
    "double_support": "%",
    "step_time_asymmetry": "%",
    "step_length_asymmetry": "%",
    "stride_time_cv": "%",
    "stride_length_cv": "%",
    "step_width_sd": "m",
}
BARRED = {"walking_speed": ("m/s", 0.01), "cadence": ("steps/min", 0.5)}


def synthetic(participants: int, noise: str) -> dict[str, Figure]:
    """Figures of synthetic walks against the exact truth of their contact schedule."""
    events: list[float] = []
    walks = failed = extra = missed = 0
    errors: dict[str, list[float]] = {name: [] for name in (*BARRED, *REPORTED)}
    short: list[float] = []
    scores: dict[bool, list[float]] = {True: [], False: []}
    keys = ("walk_free", "walk_slow", "walk_fast")
    cohort = config.Cohort(participants=participants, hours=0.001, noise=noise, activities=keys)  # type: ignore[arg-type]
    for trial in simulate(cohort):
        contacts = gait.detect_contacts(trial.trajectory)
        event_errors = list(_event_errors(trial.contacts, contacts, 0.0))
        events += [min(value, MISS_S) for value in event_errors]
        missed += sum(value > MISS_S for value in event_errors)
        extra += sum(value > MISS_S for value in _event_errors(contacts, trial.contacts, 0.0))
        truth, measured = gait.parameters(trial.contacts), gait.parameters(contacts)
        walks += 1
        failed += bool(truth) and not measured
        for name, store in errors.items():
            if name in truth and name in measured:
                store.append(abs(measured[name] - truth[name]))
        if noise == "none":
            short += _toe_off_strides(trial)
            try:
                profile = indices.profile(trial.trajectory)
            except InputError:
                continue
            scores[trial.diagnosis == "healthy"].append(profile.gps)
    what = f"synthetic, {'clean' if noise == 'none' else 'with markerless noise'}"
    note = f"{len(events)} events, {missed} missed, {extra} false (> {MISS_S} s)"
    figures = {
        f"{what}: event error": Figure(1000 * float(np.median(events)), "ms", note=note),
        f"{what}: walks without a stride": Figure(failed, note=f"of {walks}"),
    }
    for name, (unit, bar) in BARRED.items():
        note = f"mean of {len(errors[name])} walks"
        figures[f"{what}: {name} error"] = _mean(errors[name], unit, bar if noise == "none" else None, note)
    for name, unit in REPORTED.items():
        figures[f"{what}: {name} error"] = _mean(errors[name], unit, None, f"mean of {len(errors[name])} walks")
    if noise == "none":
        note = f"mean of {len(short)} strides from toe off to toe off, compared with the stride time of their walk"
        figures[f"{what}: cadence error of one such stride"] = _mean(short, "steps/min", None, note)
        for healthy, name in ((True, "healthy"), (False, "patients")):
            values = [value for value in scores[healthy] if np.isfinite(value)]
            figures[f"{what}: Gait Profile Score, {name}"] = _mean(values, "degrees", None, f"{len(values)} walks")
    return figures


def _mean(values: list[float], unit: str, bar: float | None, note: str) -> Figure:
    return Figure(float(np.mean(values)) if values else None, unit, bar, note=note)


def _toe_off_strides(trial: Trial) -> list[float]:
    """Errors of the cadence of single strides between detected toe offs, as measured on a short recording."""
    contacts = gait.detect_contacts(trial.trajectory)
    single = strides.between_toe_offs(contacts, gait.pelvis_heading(trial.trajectory))
    truth = gait.parameters(trial.contacts)
    if "cadence" not in truth:
        return []
    return [abs(value - truth["cadence"]) for value in 120.0 / (single.end_s - single.start_s)[single.straight]]


def labelled_stance(markers: Markers) -> list[float]:
    """Stance in percent of the stride, for the labelled strides that contain a labelled toe off."""
    events, shares = markers.events, []
    for foot in (RIGHT, LEFT):
        strikes = events.strike_time[events.strike_foot == foot]
        offs = events.off_time[events.off_foot == foot]
        for start, end in zip(strikes[:-1], strikes[1:], strict=True):
            inside = offs[(offs > start) & (offs < end)]
            shares += [float(100 * (inside[0] - start) / (end - start))] if len(inside) else []
    return shares


def labelled_double_support(markers: Markers) -> float:
    """Double support in percent of the stride, of the labelled strides that contain their toe offs."""
    events = markers.events
    along = np.stack([events.strike_time, np.zeros_like(events.strike_time)], axis=1)  # straight on; only times matter
    return gait.parameters(dataclasses.replace(events, strike_xz=along)).get("double_support", np.nan)


PROFILED = ("opencap_subject4/walking1_ik.mot", "opensim_core/walking2.c3d", "btkdata/PlugInC3D.c3d")


def profiles(data: Path) -> dict[str, Figure]:
    """Gait Profile Score of each leg with a complete stride: two healthy adults and a flexed-knee gait."""
    figures = {}
    for name in PROFILED:
        recorded = formats.read(data / name)
        profile = indices.profile(preprocess.at_own_rate(recorded, preprocess.prepare([recorded])[0]))
        for side, leg in (("right", profile.right), ("left", profile.left)):
            if leg is not None:
                note = f"{leg.strides} strides; GDI from it {leg.gdi_from_gps:.0f}; at v/sqrt(gL) {profile.speed:.2f}"
                figures[f"{Path(name).stem}: Gait Profile Score, {side}"] = Figure(leg.gps, "degrees", note=note)
    return figures


def main() -> None:
    """Measure and print."""
    arguments = parser(__doc__ or "")
    arguments.add_argument("--data", type=Path, default=Path("../shared/data"), help="real files (%(default)s)")
    arguments.add_argument("--participants", type=int, default=48, help="synthetic walkers (%(default)s)")
    options = arguments.parse_args()
    figures = synthetic(options.participants, "none") | synthetic(options.participants, "markerless")
    try:
        figures = real(options.data) | profiles(options.data) | figures
    except InputError as error:
        figures["real files"] = Figure(None, bar=EVENT_BAR_MS, note=str(error))
    publish("gait", figures, options.json)


if __name__ == "__main__":
    main()
