"""A motion file as read: its movement, and what the file says of it beside."""

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from biomechgpt_jax.biomechanics import flags
from biomechgpt_jax.biomechanics.fitting.markers import Markers
from biomechgpt_jax.biomechanics.trajectory import Contacts, Trajectory
from biomechgpt_jax.errors import InputError

if TYPE_CHECKING:
    from biomechgpt_jax.biomechanics.fitting.inverse import Fit

_WORST = 3  # so many of the markers that fit worst are shown
# Markers of real recordings lie at most 0.15 m from their places.
_ASTRAY_M = 0.25


@dataclass(frozen=True)
class Recording:
    """What was read from one file. Everything but the trajectory is empty unless the file holds markers.

    Attributes:
        trajectory: the movement at the file's own rate.
        contacts: foot strikes and toe offs that the file lists, in seconds from the trajectory's first frame.
        parameters: gait parameters that the file states, as in `Markers.parameters`.
        marker_set: name of the marker set that the labels belong to.
        markers_used: labels to which the body was fitted.
        markers_unused: the file's other labels.
        marker_error_cm: by used label, the median distance of the marker from its place on the body.
    """

    trajectory: Trajectory
    contacts: Contacts = field(default_factory=Contacts)
    parameters: Mapping[str, float] = field(default_factory=dict)
    marker_set: str = ""
    markers_used: tuple[str, ...] = ()
    markers_unused: tuple[str, ...] = ()
    marker_error_cm: Mapping[str, float] = field(default_factory=dict)

    def marker_facts(self) -> dict[str, Any]:
        """What `inspect` shows of the markers, by name; empty if the file holds none.

        The marker set, the labels to which the body was fitted and the others, and the three markers that fit worst.
        """
        if not (self.markers_used or self.markers_unused):
            return {}
        worst = sorted(self.marker_error_cm.items(), key=lambda item: -item[1])[:_WORST]
        return {
            "marker_set": self.marker_set or "none",
            "markers_used": list(self.markers_used),
            "markers_not_used": list(self.markers_unused),
            "worst_markers_cm": {name: round(error, 1) for name, error in worst},
        }


def of_markers(markers: Markers, static: Markers | None = None) -> Recording:
    """Coordinates by inverse kinematics, or from the file's Plug-in-Gait angles if no known markers allow that.

    Raises:
        InputError: neither is possible.
    """
    from biomechgpt_jax.formats import plugin_gait

    try:
        fit = _fit(markers, static)
    except InputError:
        if not plugin_gait.supported(markers):
            raise
        first = plugin_gait.first_frame(markers)
        contacts = _later(markers.events, first / markers.rate_hz)
        return Recording(plugin_gait.trajectory(markers), contacts, markers.parameters, markers_unused=markers.names)
    seen = np.isfinite(fit.marker_error_m).any(axis=0)
    errors = {
        name: 100.0 * float(np.nanmedian(fit.marker_error_m[:, index]))
        for index, name in enumerate(fit.marker_names)
        if seen[index]
    }
    return Recording(
        fit.trajectory,
        _later(markers.events, fit.first_frame / markers.rate_hz),
        markers.parameters,
        fit.marker_set,
        tuple(errors),
        tuple(name for name in markers.names if name not in errors),
        errors,
    )


def _fit(markers: Markers, static: Markers | None) -> "Fit":
    """The body fitted without markers that are mostly further than a quarter of a metre from their place.

    One such marker bends a whole limb towards it, although its weight falls with its error. They are named in a flag,
    and are as if they had never been seen. Where the others do not suffice for a fit, or are as far off, the pose is
    nobody's.

    Raises:
        InputError: as in `inverse.fit`.
    """
    from biomechgpt_jax.biomechanics.fitting import inverse

    found = inverse.fit(markers, static=static)
    astray = _astray(found)
    if not astray or flags.impossible(found.trajectory.metadata.flags):
        return found
    said = ", ".join(f"{name} {100 * error:.0f} cm" for name, error in astray.items())
    unseen = np.array([name in astray for name in markers.names])
    positions = np.where(unseen[:, None], np.float32(np.nan), markers.positions)
    try:
        again = inverse.fit(dataclasses.replace(markers, positions=positions), static=static)
    except InputError:
        return _flagged(found, f"{flags.IMPOSSIBLE}far from their places, on a body that needs them: {said}")
    if _astray(again):
        return _flagged(
            found, f"{flags.IMPOSSIBLE}far from their places on the body, as others are without them: {said}"
        )
    return _flagged(again, f"{flags.CAUTION}left out, far from their places on the body: {said}")


def _astray(found: "Fit") -> dict[str, float]:
    """Metres by which each marker that is astray misses its place half of the time, by its label; the worst first."""
    seen = np.isfinite(found.marker_error_m).any(axis=0)
    errors = {
        name: float(np.nanmedian(found.marker_error_m[:, i])) for i, name in enumerate(found.marker_names) if seen[i]
    }
    far = {name: error for name, error in errors.items() if error > _ASTRAY_M}
    return dict(sorted(far.items(), key=lambda item: -item[1]))


def _flagged(found: "Fit", flag: str) -> "Fit":
    metadata = found.trajectory.metadata
    metadata = dataclasses.replace(metadata, flags=(*metadata.flags, flag))
    return dataclasses.replace(found, trajectory=dataclasses.replace(found.trajectory, metadata=metadata))


def _later(contacts: Contacts, begin_s: float) -> Contacts:
    """Contacts in seconds from a later moment."""
    return dataclasses.replace(
        contacts, strike_time=contacts.strike_time - begin_s, off_time=contacts.off_time - begin_s
    )
