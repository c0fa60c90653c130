"""What recordings of strangers differ in beside who moves: the measurement system, habits of posture, and body size.

All are given to crops of simulated trials when they are packed, so that one cohort serves with and without them.
"""

import dataclasses

import numpy as np

from biomechgpt_jax.biomechanics import systems
from biomechgpt_jax.biomechanics.skeleton import COORDINATE_COUNT, HORIZONTAL_ROOT, INDEX
from biomechgpt_jax.biomechanics.systems import System
from biomechgpt_jax.biomechanics.trajectory import Contacts, Trial

# SD in degrees of habits that change nothing of what is asked: where people keep their arms, how wide they stand and
# how far they turn out their feet. The sizes are those of the squats and chair rises of three people among the public
# recordings beside the checkout, whose shoulders and elbows are 20 to 80 degrees and hips 10 to 28 away from the
# cohort's; both sides are held alike.
_ARMS = {"arm_flex": 20.0, "arm_add": 15.0, "arm_rot": 25.0, "elbow_flex": 35.0}
_STANCE = {"hip_adduction": 7.0, "hip_rotation": 9.0}
_HABITS = {
    "squat": _ARMS | _STANCE,
    "standing balance": _ARMS | _STANCE,
    "heel raise": _ARMS,
    "sit to stand": _ARMS,
    "five times sit to stand": _ARMS,
}
_COMMON_SHARE = 0.9
# Body size of a child relative to the adult's who was simulated: of 1.70 m, 0.94 to 1.53 m, ages 3 to 13 [memory].
_CHILD = (0.55, 0.9)
# Scores that do not change what a trial is; a trial against the clock has a course or a chair of fixed size.
_OPTIONAL_SCORES = frozenset({"ten_metre_walk_time"})
_ROOT = [INDEX[name] for name in (*HORIZONTAL_ROOT, "pelvis_ty")]


def draw_system(activity: str, rng: np.random.Generator) -> System:
    """Draw a measurement system together with the habits of a person who performs an activity."""
    system = systems.draw(rng)
    offset = system.offset.astype(np.float64)
    for name, spread in _HABITS.get(activity, {}).items():
        both = rng.normal()
        for side in "rl":
            own = np.sqrt(_COMMON_SHARE) * both + np.sqrt(1 - _COMMON_SHARE) * rng.normal()
            offset[INDEX[f"{name}_{side}"]] += np.radians(spread) * own
    return dataclasses.replace(system, offset=offset.astype(np.float32))


def can_be_of_a_child(trial: Trial) -> bool:
    """Whether a trial makes sense on a smaller body: not if a clock, a course or a chair belongs to it."""
    return not trial.throughout and set(trial.scores) <= _OPTIONAL_SCORES


def as_a_child(trial: Trial, rng: np.random.Generator) -> Trial:
    """The trial performed by a child: a smaller body with the same joint angles, in dynamically similar movement.

    Lengths shrink by a factor s and times by sqrt(s), so that the dimensionless speed v / sqrt(g L) stays as it was
    (Alexander and Jayes 1983, J Zool 201:135). The norms behind the cohort's walking are children's, by dimensionless
    speed (Schwartz et al. 2008). The ten-metre walk is dropped.

    Returns:
        A trial with its contacts, intervals and height, at the same frame rate.
    """
    size = rng.uniform(*_CHILD)
    time = float(np.sqrt(size))
    trajectory = trial.trajectory
    frames = max(2, int((trajectory.frames - 1) * time) + 1)
    at = np.minimum(np.arange(frames) / time, trajectory.frames - 1)
    contacts = trial.contacts
    metadata = trajectory.metadata
    return dataclasses.replace(
        trial,
        trajectory=dataclasses.replace(
            trajectory,
            coordinates=_resample(trajectory.coordinates, at, size),
            metadata=dataclasses.replace(metadata, height_m=metadata.height_m * size),
        ),
        contacts=Contacts(
            contacts.strike_time * np.float32(time),
            contacts.strike_foot,
            contacts.strike_xz * np.float32(size),
            contacts.off_time * np.float32(time),
            contacts.off_foot,
        ),
        defining=(trial.defining * time).astype(np.float32),
        scores={},
        clean=_resample(trial.clean, at, size) if len(trial.clean) else trial.clean,
    )


def _resample(coordinates: np.ndarray, at: np.ndarray, size: float) -> np.ndarray:
    """Coordinates f32[M, 40] at fractional frames `at`, with a body of another size."""
    from scipy.interpolate import CubicSpline  # slow to import

    moved = CubicSpline(np.arange(len(coordinates)), coordinates.astype(np.float64))(at)
    scale = np.ones(COORDINATE_COUNT)
    scale[_ROOT] = size
    return (moved * scale).astype(np.float32)
