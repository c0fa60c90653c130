"""Who takes part: demographics, etiology, side, device and one latent severity."""

from dataclasses import dataclass

import numpy as np

GRAVITY = 9.81

# Share of the cohort. Healthy is about a third.
ETIOLOGY_SHARE: dict[str, float] = {
    "healthy": 0.34,
    "stroke": 0.11,
    "Parkinson disease": 0.11,
    "cerebellar ataxia": 0.11,
    "cerebral palsy": 0.11,
    "transfemoral amputation": 0.11,
    "knee osteoarthritis": 0.11,
}

# Mean and SD of age in years, and its range [memory].
_AGE = {
    "healthy": (52, 20, 19, 88),
    "stroke": (63, 12, 30, 88),
    "Parkinson disease": (67, 9, 42, 88),
    "cerebellar ataxia": (52, 14, 22, 80),
    "cerebral palsy": (24, 9, 14, 50),
    "transfemoral amputation": (50, 16, 20, 82),
    "knee osteoarthritis": (65, 9, 42, 86),
}

# Comfortable speed in m/s by decade, men and women (Bohannon and Andrews 2011 [memory]).
_SPEED_BY_DECADE = {
    1: (1.36, 1.34),
    2: (1.36, 1.34),
    3: (1.43, 1.34),
    4: (1.43, 1.39),
    5: (1.43, 1.31),
    6: (1.34, 1.24),
    7: (1.26, 1.13),
    8: (0.97, 0.94),
}

# Probability of each device at severity 1, scaled by severity above 0.3 [memory]. A prosthesis is always worn.
_DEVICES: dict[str, dict[str, float]] = {
    "stroke": {"cane": 0.7, "walker": 0.15},
    "Parkinson disease": {"walker": 0.55, "cane": 0.2},
    "cerebellar ataxia": {"walker": 0.55, "cane": 0.2},
    "cerebral palsy": {"walker": 0.6, "cane": 0.1},
    "knee osteoarthritis": {"cane": 0.75},
    "healthy": {},
}

# Speed at severity 1 as a share of the healthy speed for age and sex, and the share lost by any severity
# (directions: section 2.3 of the clinical literature cited in README; sizes [memory]).
_SPEED_LOSS = {
    "healthy": 0.0,
    "stroke": 0.68,
    "Parkinson disease": 0.50,
    "cerebellar ataxia": 0.50,
    "cerebral palsy": 0.45,
    "transfemoral amputation": 0.40,
    "knee osteoarthritis": 0.45,
}

_SIDED = ("stroke", "transfemoral amputation", "knee osteoarthritis", "Parkinson disease")


@dataclass(frozen=True)
class Participant:
    """One synthetic person.

    Attributes:
        severity: latent 0..1; 0 for healthy people. It drives every test of a patient.
        fitness: standard normal; healthy people's pace, and a little of a patient's.
        effort: standard normal per test kind is drawn from this seed's stream, not stored.
        free_speed: intended comfortable speed in m/s; the measured one follows from the joint angles.
    """

    participant: str
    etiology: str
    severity: float
    side: str  # "right", "left", "both" or ""
    device: str
    age: float
    sex: str
    height_m: float
    mass_kg: float
    fitness: float
    free_speed: float

    @property
    def leg_length(self) -> float:
        """Hip to floor in metres (0.245 + 0.246 + 0.039 of height)."""
        return 0.53 * self.height_m

    def normalised(self, speed: float) -> float:
        """Speed over sqrt(g leg length)."""
        return speed / float(np.sqrt(GRAVITY * self.leg_length))


def _device(etiology: str, severity: float, rng: np.random.Generator) -> str:
    if etiology == "transfemoral amputation":
        return "prosthesis"
    draw = rng.random()
    for device, probability in _DEVICES[etiology].items():
        share = probability * max(0.0, severity - 0.3) / 0.7
        if draw < share:
            return device
        draw -= share
    return "none"


def draw(index: int, seed: int) -> Participant:
    """Participant number `index` of a cohort; a pure function of (seed, index)."""
    rng = np.random.default_rng([seed, index, 0])
    names = list(ETIOLOGY_SHARE)
    # A low-discrepancy draw keeps every etiology near its share in any prefix of the cohort.
    position = (index * 0.6180339887498949 + 0.5) % 1.0
    etiology = names[int(np.searchsorted(np.cumsum(list(ETIOLOGY_SHARE.values())), position, side="right"))]
    severity = 0.0 if etiology == "healthy" else float(0.15 + 0.85 * rng.beta(2.0, 1.8))
    mean, spread, low, high = _AGE[etiology]
    age = float(np.clip(rng.normal(mean, spread), low, high))
    sex = "F" if rng.random() < 0.5 else "M"
    height = float(np.clip(rng.normal(1.63 if sex == "F" else 1.76, 0.065), 1.45, 1.98))
    mass = float(np.clip(rng.normal(24.5, 3.5), 17, 38) * height**2)
    side = rng.choice(["right", "left"]) if etiology in _SIDED else ("" if etiology == "healthy" else "both")
    fitness = float(rng.normal())
    men, women = _SPEED_BY_DECADE[int(min(max(age, 10), 89) // 10)]
    healthy_speed = (women if sex == "F" else men) * (1 + 0.10 * fitness) + 0.06 * rng.normal()
    speed = max(0.25, healthy_speed * (1 - _SPEED_LOSS[etiology] * severity**0.9))
    device = _device(etiology, severity, rng)
    if device in ("cane", "walker"):
        speed = max(0.22, speed * (0.9 if device == "cane" else 0.85))
    return Participant(
        f"s{seed}p{index:04d}", etiology, severity, str(side), device, age, sex, height, mass, fitness, speed
    )
