"""Which way is up in a recording of markers, and in which unit it is: as the body tells, not the header.

Exports lose the axis of their laboratory, and their units are typed by hand. A body shows both: the pelvis is above the
ankles, and a shank is a quarter of a person. Only markers on known landmarks are asked, so that chairs, cones and walls
among the markers turn nothing; a header decides where the body does not.
"""

import dataclasses
import warnings
from collections.abc import Mapping

import numpy as np

from biomechgpt_jax.biomechanics.fitting import marker_sets
from biomechgpt_jax.biomechanics.fitting.markers import METRES, Markers
from biomechgpt_jax.biomechanics.flags import CAUTION
from biomechgpt_jax.errors import InputError

FARTHEST_M = 1e4
# Stature in metres of any person.
SHORTEST_M, TALLEST_M = 0.5, 2.3
# Lengths as shares of stature: knee to ankle, and middle of the pelvis to the middle of the knees (Winter 2009,
# Biomechanics and Motor Control of Human Movement, 4.1; the second with the markers' places on the pelvis).
_SHANK, _THIGH = 0.246, 0.28
_FACTORS = (1e-3, 1e-2, 1e-1, 10.0, 100.0, 1000.0)
# One axis is up if it has so many times more of the way from ankles to pelvis than the next. Real walks, squats and
# stairs have 10 to 44 times.
_CLEARLY = 1.5
_TALL = 0.1  # share of the frames, those in which the pelvis is furthest from the ankles
_PELVIS = ("asis", "psis", "sacrum", "hip_centre", "pelvis_centre")
_LOW = (("ankle",), ("heel", "calcaneus", "metatarsal"), ("knee",))
_TRUNK = ("c7", "clavicle", "sternum", "acromion", "shoulder_centre", "neck_base")
_AXES = "XYZ"
# By the axis that is up: which axes become x, y and z, and their signs. Proper rotations, so that nothing is mirrored.
_TURNS = {
    "+X": ((1, 0, 2), (1.0, 1.0, -1.0)),
    "-X": ((1, 0, 2), (1.0, -1.0, 1.0)),
    "-Y": ((0, 1, 2), (1.0, -1.0, -1.0)),
    "+Z": ((0, 2, 1), (1.0, 1.0, -1.0)),
    "-Z": ((0, 2, 1), (1.0, -1.0, 1.0)),
}
_NAMES = {1e-3: "millimetres", 1e-2: "centimetres", 1.0: "metres"}


def upright(markers: Markers) -> Markers:
    """The markers in metres in a world with y up, whatever unit and axis their file has.

    Raises:
        InputError: no marker lies within 10 km.
    """
    seen = np.isfinite(markers.positions).all(axis=2).any(axis=0)
    chosen = {i: mark for i, mark in marker_sets.recognise(markers.names, seen)[1].items() if seen[i]}
    factor, flags = unit(markers, chosen)
    positions = (factor * markers.positions).astype(np.float32) if factor != 1.0 else markers.positions.copy()
    positions[(np.abs(positions) > FARTHEST_M).any(axis=2)] = np.nan
    if not np.isfinite(positions).any():
        raise InputError(f"no marker lies within {FARTHEST_M:g} m; correct its units, or export it again")
    up, told = _up(positions, chosen, markers.vertical)
    if up != "+Y":
        order, signs = _TURNS[up]
        positions = (positions[..., list(order)] * np.array(signs)).astype(np.float32)
    metadata = dataclasses.replace(markers.metadata, flags=markers.metadata.flags + flags + told)
    return dataclasses.replace(markers, positions=positions, metadata=metadata, vertical="+Y", unit="m")


def unit(markers: Markers, chosen: Mapping[int, str]) -> tuple[float, tuple[str, ...]]:
    """By what the positions must be multiplied for the body to be a person's size, and a flag if that is not 1.

    Only the one power of ten that makes it so is believed; where none does, the stature is judged after the fit.
    """
    stature_m = _stature(markers.positions, chosen)
    if not np.isfinite(stature_m) or SHORTEST_M <= stature_m <= TALLEST_M:
        return 1.0, ()
    fitting = [factor for factor in _FACTORS if SHORTEST_M <= factor * stature_m <= TALLEST_M]
    if len(fitting) != 1:
        return 1.0, ()
    factor = fitting[0]
    true_m = METRES[markers.unit.lower()] * factor
    name = next((name for metres, name in _NAMES.items() if np.isclose(metres, true_m)), "")
    read = f"these are {name}: read as {name}" if name else f"multiplied by {factor:g}: so they are read"
    said = f"the file says {markers.unit}, but its numbers give a body {factor * stature_m:.2f} m tall only if {read}"
    return factor, (f"{CAUTION}{said}",)


def _stature(positions: np.ndarray, chosen: Mapping[int, str]) -> float:
    """Stature that the shanks imply, or the thighs where no ankle is seen; NaN where neither is."""
    lengths = []
    for side in "rl":
        knee = middle(positions, chosen, (f"knee_lateral_{side}", f"knee_centre_{side}"))
        ankle = middle(positions, chosen, (f"ankle_lateral_{side}", f"ankle_centre_{side}"))
        lengths.append(np.linalg.norm(knee - ankle, axis=1) / _SHANK)
    if not np.isfinite(lengths).any():
        apart = middle(positions, chosen, _PELVIS) - middle(positions, chosen, ("knee",))
        lengths = [np.linalg.norm(apart, axis=1) / _THIGH]
    return _quiet_median(np.concatenate(lengths))


def _up(positions: np.ndarray, chosen: Mapping[int, str], header: str) -> tuple[str, tuple[str, ...]]:
    """The axis that is up, such as "+Z", and a flag if it is guessed or is not the header's."""
    said = header.strip().upper()
    said = said if said[-1:] in ("X", "Y", "Z") else ""
    said = f"+{said}" if len(said) == 1 else said[-2:]
    body = _axis_of_the_body(positions, chosen)
    if body:
        if said and said != body:
            flag = f"{CAUTION}the file says {said} is up, the body stands along {body}: the body is followed"
            return body, (flag,)
        return body, ()
    if said in ("+Y", *_TURNS):
        return said, ()
    if body is None:  # nothing is fitted to such markers
        return "+Y" if _extends_along_y(positions) else "+Z", ()
    guess = "+Y" if _extends_along_y(positions[:, list(chosen)]) else "+Z"
    return guess, (f"{CAUTION}which axis is up is guessed ({guess}): the body does not show it",)


def _axis_of_the_body(positions: np.ndarray, chosen: Mapping[int, str]) -> str | None:
    """The axis along which the body stands, such as "+Z"; "" if none is clear, None without pelvis and legs."""
    pelvis, trunk = (middle(positions, chosen, starts) for starts in (_PELVIS, _TRUNK))
    candidates = (middle(positions, chosen, starts) for starts in _LOW)
    low = next((low for low in candidates if np.isfinite(low).any()), np.full_like(pelvis, np.nan))
    apart = np.linalg.norm(pelvis - low, axis=1)
    if not np.isfinite(apart).any():
        return None
    tall = apart >= np.nanquantile(apart, 1.0 - _TALL)
    # Who sits from start to end has the pelvis as far behind the ankles as above them; the trunk is above both.
    for way in (pelvis - low, (pelvis - low)[tall], trunk - low):
        if not np.isfinite(way).all(axis=1).any():
            continue
        along = np.nanmedian(way, axis=0)
        second, most = np.argsort(np.abs(along))[1:]
        if abs(along[most]) >= _CLEARLY * abs(along[second]):
            return f"{'+' if along[most] > 0 else '-'}{_AXES[most]}"
    return ""


def _extends_along_y(positions: np.ndarray) -> bool:
    """Whether the markers extend further along y than along z."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # frames in which no marker is seen
        spread = np.nanmedian(np.nanmax(positions, axis=1) - np.nanmin(positions, axis=1), axis=0)
    return bool(spread[1] >= spread[2])


def middle(positions: np.ndarray, chosen: Mapping[int, str], starts: tuple[str, ...], side: str = "") -> np.ndarray:
    """Mean of the seen markers on landmarks whose names begin so, f[T, 3]; NaN in frames without one.

    Args:
        chosen: the landmark of each known marker by its index.
        side: "r" or "l" for the landmarks of that side only.
    """
    index = [i for i, mark in chosen.items() if mark.startswith(starts) and mark.endswith(f"_{side}" if side else "")]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # frames in which none is seen
        return np.nanmean(positions[:, index], axis=1) if index else np.full((len(positions), 3), np.nan)


def _quiet_median(values: np.ndarray) -> float:
    known = values[np.isfinite(values)]
    return float(np.median(known)) if len(known) else float("nan")
