"""A recorded or simulated movement, and a trial: a movement with its labels and measured truth."""

import dataclasses
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from biomechgpt_jax.biomechanics.skeleton import COORDINATE_COUNT, COORDINATES, INDEX
from biomechgpt_jax.errors import InputError

RIGHT, LEFT = 0, 1

# Flag of a recording of which too much was cut off to read the result of a timed test off the rest.
FRAGMENT = "fragment"


@dataclass(frozen=True)
class Metadata:
    """What is known about a recording. It never holds names or birth dates of people."""

    participant: str = ""
    activity: str = ""
    side: str = ""  # affected side: "right", "left", "both", or "" for none or unknown
    height_m: float = math.nan
    mass_kg: float = math.nan
    age: float = math.nan
    sex: str = ""
    source: str = ""  # name of the file it was read from, without its folder
    sha256: str = ""
    flags: tuple[str, ...] = ()  # quality flags, such as "single-stride" or "jump"
    # Height of a person of usual proportions with legs as long as this person's, where they were measured. Not stored.
    leg_height_m: float = math.nan


@dataclass(frozen=True)
class Trajectory:
    """Coordinates over time.

    Attributes:
        coordinates: f32[T, 40], radians and metres, in the order of `skeleton.COORDINATES`. Coordinates that were not
            observed are zero, which has no meaning. NaN where an observed coordinate is missing in a frame: in
            trajectories as read, never after `preprocess`.
        observed: bool[40] coordinates that were measured.
        rate_hz: frames per second.
    """

    coordinates: np.ndarray
    observed: np.ndarray
    rate_hz: float
    metadata: Metadata = field(default_factory=Metadata)

    def __post_init__(self) -> None:
        if self.coordinates.ndim != 2 or self.coordinates.shape[1] != COORDINATE_COUNT:
            raise ValueError(f"coordinates must be [T, {COORDINATE_COUNT}], got {self.coordinates.shape}")

    @property
    def frames(self) -> int:
        return self.coordinates.shape[0]

    @property
    def seconds(self) -> float:
        """Duration: frames over rate."""
        return self.frames / self.rate_hz

    def require_complete(self, names: Sequence[str] = COORDINATES) -> None:
        """Check that no observed coordinate among `names` is missing in any frame.

        Raises:
            InputError: one is.
        """
        gaps = [name for name in names if not np.isfinite(self.coordinates[:, INDEX[name]]).all()]
        if gaps:
            raise InputError(
                f"{self.metadata.source or 'movement'}: {', '.join(gaps[:3])} missing in some frames; fill or cut the "
                "gaps first, as preprocess.prepare does"
            )


@dataclass(frozen=True)
class Contacts:
    """When and where the feet met and left the floor, in order of time; times in seconds from the first frame.

    Attributes:
        strike_time: f32[n] sub-frame times of initial contact.
        strike_foot: i32[n], 0 right and 1 left.
        strike_xz: f32[n, 2] position on the floor (world x, z in metres) of that foot's heel at initial contact.
        off_time: f32[m] sub-frame times of toe off.
        off_foot: i32[m].
    """

    strike_time: np.ndarray = field(default_factory=lambda: np.zeros(0, np.float32))
    strike_foot: np.ndarray = field(default_factory=lambda: np.zeros(0, np.int32))
    strike_xz: np.ndarray = field(default_factory=lambda: np.zeros((0, 2), np.float32))
    off_time: np.ndarray = field(default_factory=lambda: np.zeros(0, np.float32))
    off_foot: np.ndarray = field(default_factory=lambda: np.zeros(0, np.int32))


@dataclass(frozen=True)
class Score:
    """Result of a clinical test: its value in the unit of the question, and the part of the trial that shows it."""

    value: float
    start_s: float
    end_s: float


@dataclass(frozen=True)
class Trial:
    """One trial with its labels and measured truth. An empty label means unknown.

    Attributes:
        trial_id: unique in a dataset.
        trajectory: the movement as shown to a model (with measurement noise, if any).
        diagnosis: one of the cohort's etiologies; "healthy" where there is none.
        device: assistive device; "none" where there is none.
        severity: latent severity 0..1 of a synthetic participant; NaN for a real one. Never shown to a model.
        contacts: contact schedule on the clean trajectory.
        defining: f32[k, 2] intervals in seconds; a crop shows which activity this is only if it contains one of them.
        throughout: activity, diagnosis, device and falls hold for every part of the trial, as a person says of a whole
            file; otherwise a crop must hold a defining interval.
        scores: timed tests by question name.
        falls: falls in the past year; NaN where unknown.
        clean: f32[T, 40] the same movement without measurement noise; [0, 40] where there is none or it is unknown.
            Never shown to a model.
    """

    trial_id: str
    trajectory: Trajectory
    diagnosis: str = ""
    device: str = ""
    severity: float = math.nan
    contacts: Contacts = field(default_factory=Contacts)
    defining: np.ndarray = field(default_factory=lambda: np.zeros((0, 2), np.float32))
    throughout: bool = False
    scores: Mapping[str, Score] = field(default_factory=dict)
    falls: float = math.nan
    clean: np.ndarray = field(default_factory=lambda: np.zeros((0, COORDINATE_COUNT), np.float32))

    @property
    def true_coordinates(self) -> np.ndarray:
        """What a codec should reconstruct, f32[T, 40]: the clean movement where it is known, else the recorded one."""
        return self.clean if len(self.clean) else self.trajectory.coordinates

    @property
    def participant(self) -> str:
        return self.trajectory.metadata.participant


def replace(trajectory: Trajectory, **changes: object) -> Trajectory:
    """A copy with some fields changed."""
    return dataclasses.replace(trajectory, **changes)  # type: ignore[arg-type]
