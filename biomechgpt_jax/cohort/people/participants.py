"""The participants: demographics, etiology, side, device, falls and one latent severity."""

import difflib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from biomechgpt_jax.errors import InputError

GRAVITY = 9.81

# About a third of any cohort is healthy; the etiologies share the rest evenly.
HEALTHY_SHARE = 0.34


class Etiology(NamedTuple):
    """Typical characteristics of the people with an etiology.

    Attributes:
        age: mean, SD, lowest and highest in years [memory].
        speed_loss: share of the healthy speed for age and sex that is lost at severity 1 [memory; directions: the
            papers named beside each recipe].
        side: whether one side is affected or worse; otherwise both are affected alike.
        devices: probability of each device at severity 1; it grows linearly from 0 at severity 0.3 [memory].
        falls: expected falls per year at severity 1 beyond those due to age [memory].
        onset: exponent of the severity in the speed loss; above 1, mildly affected people walk nearly as usual.
    """

    age: tuple[float, float, float, float]
    speed_loss: float
    side: bool
    devices: dict[str, float]
    falls: float
    onset: float = 0.9


ETIOLOGIES: dict[str, Etiology] = {
    "stroke": Etiology((63, 12, 30, 88), 0.68, True, {"cane": 0.5, "ankle-foot orthosis": 0.25, "walker": 0.15}, 1.6),
    "Parkinson disease": Etiology((67, 9, 42, 88), 0.32, True, {"walker": 0.5, "cane": 0.2}, 3.0),
    "cerebellar ataxia": Etiology((52, 14, 22, 80), 0.50, False, {"walker": 0.5, "cane": 0.2}, 3.0),
    "cerebral palsy": Etiology(
        (24, 9, 14, 50), 0.45, False, {"walker": 0.35, "crutches": 0.3, "ankle-foot orthosis": 0.2}, 1.2
    ),
    "transfemoral amputation": Etiology((50, 16, 20, 82), 0.48, True, {}, 1.2),
    "knee osteoarthritis": Etiology((65, 9, 42, 86), 0.45, True, {"cane": 0.65, "crutches": 0.1}, 0.6),
    "traumatic brain injury": Etiology((38, 14, 18, 70), 0.45, False, {"cane": 0.3, "walker": 0.2}, 1.4),
    "multiple sclerosis": Etiology(
        (48, 11, 20, 75), 0.52, True, {"cane": 0.35, "walker": 0.2, "ankle-foot orthosis": 0.2, "crutches": 0.1}, 2.4
    ),
    "incomplete spinal cord injury": Etiology(
        (48, 15, 19, 78), 0.62, False, {"crutches": 0.35, "walker": 0.35, "cane": 0.15}, 1.8
    ),
    "peripheral neuropathy": Etiology((63, 11, 35, 86), 0.32, False, {"cane": 0.3, "ankle-foot orthosis": 0.3}, 1.5),
    "transtibial amputation": Etiology((54, 15, 20, 84), 0.30, True, {}, 1.0),
    "hip osteoarthritis": Etiology((65, 10, 40, 86), 0.42, True, {"cane": 0.55, "crutches": 0.2}, 0.6),
    "vestibular disorder": Etiology((58, 14, 25, 86), 0.30, False, {"cane": 0.2, "walker": 0.1}, 1.6),
    "frailty": Etiology((80, 6, 65, 92), 0.38, False, {"walker": 0.35, "cane": 0.35}, 1.6),
    "facioscapulohumeral dystrophy": Etiology(
        (47, 14, 18, 76), 0.52, False, {"cane": 0.25, "ankle-foot orthosis": 0.3, "walker": 0.1}, 1.4, 2.0
    ),
    "myotonic dystrophy": Etiology(
        (44, 12, 18, 70), 0.42, False, {"cane": 0.25, "ankle-foot orthosis": 0.2, "walker": 0.1}, 1.4, 1.6
    ),
}
_HEALTHY_AGE = (52, 20, 19, 88)
_PROSTHESES = ("transfemoral amputation", "transtibial amputation")
# Share of people with a device whose movement does not show it [assumption of this cohort]; no model can identify it.
DEVICE_BLIND = 0.2

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


@dataclass(frozen=True)
class Participant:
    """One synthetic person.

    Attributes:
        index: number of the participant in the cohort, from 0.
        participant: id, unique among cohorts of different seeds.
        severity: latent 0..1; 0 for healthy people. It drives every test of a patient.
        device_shows: whether the device changes the movement.
        fitness: standard normal; it sets healthy people's pace and, a little, a patient's.
        effort: standard normal; how hard a person works in a test against the clock, independent of fitness.
        free_speed: intended comfortable speed in m/s; the measured one follows from the joint angles.
        falls: number of falls in the past year.
    """

    index: int
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
    device_shows: bool = True
    falls: int = 0
    effort: float = 0.0

    @property
    def leg_length(self) -> float:
        """Hip to floor in metres (0.245 + 0.246 + 0.039 of the body height)."""
        return 0.53 * self.height_m

    def normalised(self, speed: float) -> float:
        """Speed in m/s divided by sqrt(g * leg length)."""
        return speed / float(np.sqrt(GRAVITY * self.leg_length))


def _device(etiology: str, severity: float, rng: np.random.Generator) -> str:
    if etiology in _PROSTHESES:
        return "prosthesis"
    draw = rng.random()
    devices = ETIOLOGIES[etiology].devices if etiology in ETIOLOGIES else {}
    for device, probability in devices.items():
        share = probability * max(0.0, severity - 0.3) / 0.7
        if draw < share:
            return device
        draw -= share
    return "none"


def _etiology(index: int, chosen: Sequence[str]) -> str:
    """A low-discrepancy draw keeps every etiology near its share in any prefix of the cohort."""
    position = (index * 0.6180339887498949 + 0.5) % 1.0
    if position < HEALTHY_SHARE or not chosen:
        return "healthy"
    return chosen[int(len(chosen) * (position - HEALTHY_SHARE) / (1 - HEALTHY_SHARE))]


def check(etiologies: Sequence[str]) -> None:
    """Refuse the name of an etiology that does not exist.

    Raises:
        InputError: an etiology does not exist; the message suggests the nearest name that does.
    """
    for name in etiologies:
        if name not in ETIOLOGIES:
            near = difflib.get_close_matches(name, ETIOLOGIES, n=1, cutoff=0.4)
            hint = f"did you mean {near[0]!r}?" if near else f"give some of {', '.join(ETIOLOGIES)}"
            raise InputError(f"cohort.etiologies: there is no etiology {name!r}; {hint}")


def draw(index: int, seed: int, etiologies: Sequence[str] = ()) -> Participant:
    """Draw participant number `index` of a cohort; a pure function of its arguments.

    Args:
        etiologies: the etiologies to draw from besides healthy people; empty means all.

    Raises:
        InputError: an etiology that does not exist.
    """
    check(etiologies)
    rng = np.random.default_rng([seed, index, 0])
    etiology = _etiology(index, tuple(etiologies) or tuple(ETIOLOGIES))
    profile = ETIOLOGIES.get(etiology)
    severity = 0.0 if profile is None else float(0.08 + 0.92 * rng.beta(2.0, 1.8))
    mean, spread, low, high = _HEALTHY_AGE if profile is None else profile.age
    age = float(np.clip(rng.normal(mean, spread), low, high))
    sex = "F" if rng.random() < 0.5 else "M"
    height = float(np.clip(rng.normal(1.63 if sex == "F" else 1.76, 0.065), 1.45, 1.98))
    mass = float(np.clip(rng.normal(24.5, 3.5), 17, 38) * height**2)
    side = "" if profile is None else (str(rng.choice(["right", "left"])) if profile.side else "both")
    fitness = float(rng.normal())
    men, women = _SPEED_BY_DECADE[int(min(max(age, 10), 89) // 10)]
    healthy_speed = (women if sex == "F" else men) * (1 + 0.10 * fitness) + 0.06 * rng.normal()
    loss = 0.0 if profile is None else profile.speed_loss * severity**profile.onset
    speed = max(0.25, healthy_speed * (1 - loss))
    device = _device(etiology, severity, rng)
    slower = {"cane": 0.9, "crutches": 0.85, "walker": 0.85}
    if device in slower:
        speed = max(0.22, speed * slower[device])
    shows = device == "prosthesis" or bool(rng.random() >= DEVICE_BLIND)
    return Participant(
        index=index,
        participant=f"s{seed}p{index:04d}",
        etiology=etiology,
        severity=severity,
        side=side,
        device=device,
        age=age,
        sex=sex,
        height_m=height,
        mass_kg=mass,
        fitness=fitness,
        free_speed=speed,
        device_shows=shows,
        falls=_falls(age, severity, 0.0 if profile is None else profile.falls, rng),
        effort=float(rng.normal()),
    )


def _falls(age: float, severity: float, at_full_severity: float, rng: np.random.Generator) -> int:
    """Draw the falls of one year: over-dispersed counts (negative binomial, shape 1).

    The mean grows with age and severity: about 0.1 per year below 65 and 0.5 at 80, as in community samples [memory].
    """
    mean = 0.1 + 0.4 * max(0.0, (age - 60) / 20) + at_full_severity * severity**1.5
    return int(rng.negative_binomial(1, 1 / (1 + mean)))
