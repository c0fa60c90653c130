"""The synthetic cohort."""

from dataclasses import dataclass
from typing import Literal

from biomechgpt_jax.config.checks import require


@dataclass(frozen=True)
class Cohort:
    """The synthetic clinical cohort."""

    participants: int = 256
    hours: float = 6.2  # trials are added per participant until the cohort lasts at least this long
    seed: int = 0
    noise: Literal["none", "markerless"] = "markerless"
    activities: tuple[str, ...] = ()  # keys of the protocol to perform; empty: the whole protocol
    activities_per_person: int = 0  # how many of them each person performs, drawn at random; 0: all
    etiologies: tuple[str, ...] = ()  # beside healthy; empty: all
    # Sizes of markerless noise (see cohort/artefacts.py)
    joint_error_deg: float = 2.9  # root mean square, offset, drift and jitter together
    pelvis_drift_m: float = 0.010
    dropouts_per_minute: float = 1.0
    edge_glitches: float = 0.05  # share of trial ends with a filter's kick
    masked: float = 0.10  # probability that forearm, toe, subtalar or arm rotation is not reported

    def __post_init__(self) -> None:
        require(self.participants >= 1, f"cohort.participants is {self.participants}; give at least 1")
        require(
            self.activities_per_person >= 0,
            f"cohort.activities_per_person is {self.activities_per_person}; give 0 or more",
        )
        require(self.hours > 0, f"cohort.hours is {self.hours}; give a positive number")
        for name in ("joint_error_deg", "pelvis_drift_m", "dropouts_per_minute"):
            require(getattr(self, name) >= 0, f"cohort.{name} is {getattr(self, name)}; give 0 or more")
        for name in ("edge_glitches", "masked"):
            require(0 <= getattr(self, name) <= 1, f"cohort.{name} is {getattr(self, name)}; give a share of 0 to 1")
