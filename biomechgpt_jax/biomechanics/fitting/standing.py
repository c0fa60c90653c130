"""Which way is up in a recording of markers."""

import dataclasses
import warnings

import numpy as np

from biomechgpt_jax.biomechanics.fitting.markers import Markers

_TURN = np.array([1.0, 1.0, -1.0])


def upright(markers: Markers) -> Markers:
    """The markers in a world with y up, whatever axis is up in their file.

    The file's own word decides; without one, a standing or walking person extends furthest along the vertical.
    """
    word = markers.vertical.upper()[-1:]
    if word == "Y" or (word != "Z" and _y_is_up(markers.positions)):
        return markers
    turned = markers.positions[..., [0, 2, 1]] * _TURN
    return dataclasses.replace(markers, positions=turned.astype(np.float32), vertical="+Y")


def _y_is_up(positions: np.ndarray) -> bool:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # frames in which no marker is seen
        spread = np.nanmedian(np.nanmax(positions, axis=1) - np.nanmin(positions, axis=1), axis=0)
    return bool(spread[1] >= spread[2])
