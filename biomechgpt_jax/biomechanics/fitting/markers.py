"""A recording of skin markers, before inverse kinematics has turned it into coordinates."""

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from biomechgpt_jax.biomechanics.trajectory import Contacts, Metadata

# Metres in the units that files name.
METRES = {
    **dict.fromkeys(("mm", "millimeters", "millimetres"), 1e-3),
    **dict.fromkeys(("cm", "centimeters", "centimetres"), 1e-2),
    **dict.fromkeys(("m", "meters", "metres"), 1.0),
    "inches": 0.0254,
}


@dataclass(frozen=True)
class Markers:
    """Marker positions over time, with events, gait parameters and joint angles that the file holds as well.

    Attributes:
        positions: f32[T, M, 3] metres in a world with y up (x and z horizontal, right-handed, heading
            arbitrary); NaN where a marker was not seen.
        names: the labels of the M markers, without a subject's prefix.
        rate_hz: frames per second.
        events: foot strikes and toe offs listed in the file, in seconds from the first frame (they may lie before or
            after the recorded frames); `strike_xz` is NaN. Empty where there are none.
        parameters: measured gait parameters in the file by question name, such as walking_speed (m/s) and cadence
            (steps/min); `..._r` and `..._l` where they are given per side.
        angles: joint angles in the file by label, f32[T, 3] degrees as stored.
        vertical: the axis that the file says is up, such as "+Z"; "" where it says nothing.
        unit: the unit that the file names.

    A reader of a file gives its markers RAW: with full labels and in the file's own axes; `formats.read_markers` makes
    of them what is described here.
    """

    positions: np.ndarray
    names: tuple[str, ...]
    rate_hz: float
    metadata: Metadata = field(default_factory=Metadata)
    events: Contacts = field(default_factory=Contacts)
    parameters: Mapping[str, float] = field(default_factory=dict)
    angles: Mapping[str, np.ndarray] = field(default_factory=dict)
    vertical: str = ""
    unit: str = "m"

    def __post_init__(self) -> None:
        if self.positions.ndim != 3 or self.positions.shape[1:] != (len(self.names), 3):
            raise ValueError(f"positions must be [T, {len(self.names)}, 3], got {self.positions.shape}")

    @property
    def frames(self) -> int:
        return self.positions.shape[0]

    @property
    def seconds(self) -> float:
        """Duration: frames over rate."""
        return self.frames / self.rate_hz
