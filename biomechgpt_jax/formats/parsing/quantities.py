"""Tables that have the columns of a movement and are none: errors, speeds, accelerations, controls and forces.

OpenSim names the coordinates in all of them. The title says what a table holds; where it says nothing, the names of the
other columns and the sizes of the numbers do.
"""

import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from biomechgpt_jax.biomechanics.skeleton import INDEX
from biomechgpt_jax.errors import InputError

# Words that no title of a movement has.
_TELLING = frozenset(
    (
        *("errors", "speeds", "velocities", "accelerations", "activations", "excitations", "forces", "moments"),
        *("torques", "powers", "reactions", "residuals", "reserves", "stresses", "dudt"),
    )
)
# Words that a person may write into the name of a trial ("speed 2", "control group"); they tell only among others.
_VAGUE = frozenset(
    (
        *("error", "speed", "velocity", "acceleration", "activation", "excitation", "force", "moment", "torque"),
        *("power", "reaction", "residual", "reserve", "stress", "controls", "control", "actuation", "lengths"),
        *("length", "energy", "energies"),
    )
)
_FILLING = frozenset(
    (
        *("joint", "joints", "actuator", "actuators", "muscle", "muscles", "generalized", "generalised"),
        *("coordinate", "coordinates", "model", "analysis", "inverse", "dynamics", "normalized", "fiber", "fibre"),
        *("tendon", "active", "passive", "total", "ground", "body", "marker", "markers", "results", "rra", "cmc"),
        *("so", "ik", "id", "position", "positions", "load", "loads"),
    )
)
# Endings of columns that hold something else of a coordinate, an actuator, a muscle or the ground.
_OTHER = {
    "forces or moments (a ground-reaction file?)": (
        *("_moment", "_torque", "_force"),
        *(f"_{quantity}{axis}" for quantity in "vp" for axis in "xyz"),
    ),
    "reserve actuators": ("_reserve",),
    "speeds": ("/speed", "_u", "_speed", "_velocity"),
    "activations": tuple(f"{mark}{word}" for mark in "/_." for word in ("activation", "excitation")),
}
_FORCES = ("force", "moment", "torque", "grf")
_GIVE = "give joint coordinates (Kinematics_q, or an inverse kinematics result)"
_RESIDUALS = frozenset(("fx", "fy", "fz", "mx", "my", "mz"))
# A table of errors keeps the pelvis this low and the legs this still.
_LOWEST_PELVIS_M, _STILLEST_RAD = 0.05, 0.15
# From the 5th to the 95th percentile a knee or hip turns by less than this, and no knee bends this far both ways.
_WIDEST_RAD = {"knee_angle": np.radians(200.0), "hip_flexion": np.radians(220.0)}
_BOTH_WAYS_RAD = np.radians(45.0)
# Speeds: of all joints of the legs that are there, at least so many, the smaller swing from zero (5th or 95th
# percentile) is more than this share of the larger one, as of no knee, and a knee ranges over more than it sways in
# quiet standing, in degrees, or turns, in radians a second.
_BOTH_WAYS, _FEWEST_LEGS, _SLOWEST_KNEE = 0.3, 3, 1.5
_LOWEST_STANDING_M = 0.2


def refuse_by_title(path: Path, title: str) -> None:
    """Refuse a table whose title says that it is no movement.

    Raises:
        InputError: it does.
    """
    words = re.findall(r"[A-Z]+(?=[A-Z][a-z])|[A-Z]?[a-z]+|[A-Z]+|\d+", title)
    lower = [word.lower() for word in words]
    vague = any(word in _VAGUE for word in lower) and all(word in _VAGUE | _FILLING for word in lower)
    if vague or any(word in _TELLING for word in lower):
        raise InputError(f"{path} holds {' '.join(title.split())[:60]}, not coordinates; {_GIVE}")


def what_else(names: Sequence[str]) -> str:
    """What the columns of a table without known coordinates hold."""
    lower = [name.lower() for name in names]
    counts = {kind: sum(name.endswith(endings) for name in lower) for kind, endings in _OTHER.items()}
    kind = max(counts, key=lambda key: counts[key])
    if counts[kind]:
        return kind
    return next(iter(_OTHER)) if any(word in name for name in lower for word in _FORCES) else "no known coordinates"


def refuse_by_columns(path: Path, names: Sequence[str], coordinates: Sequence[str]) -> None:
    """Refuse a table that names coordinates among the residual forces or the actuators of a simulation.

    Raises:
        InputError: it does.
    """
    lower = {name.lower() for name in names}
    if len(lower & _RESIDUALS) >= 3:
        raise InputError(f"{path} holds forces of actuators (columns FX, FY, FZ ...), not joint coordinates; {_GIVE}")
    others = [name for name in names if name.lower().endswith(_OTHER["reserve actuators"])]
    if len(others) > len(coordinates):
        raise InputError(f"{path} holds reserve actuators (columns {', '.join(others[:3])} ...); {_GIVE}")


def refuse_speeds(path: Path, q: np.ndarray) -> None:
    """Refuse numbers that swing about zero in every joint of the legs and in the height of the pelvis: speeds.

    Knees bend one way, and a pelvis stands above the floor. Speeds in radians a second look like small angles in
    degrees once they are converted, so this asks before.

    Args:
        q: f64[T, 40] in the units of the file, NaN where unknown.

    Raises:
        InputError: they do.
    """
    height = q[:, INDEX["pelvis_ty"]]
    height = height[np.isfinite(height)]
    if len(height) and abs(np.median(height)) > _LOWEST_STANDING_M:
        return
    legs = [f"{joint}_{side}" for joint in ("hip_flexion", "knee_angle", "ankle_angle") for side in "rl"]
    swings = {}
    for name in legs:
        values = q[:, INDEX[name]]
        values = values[np.isfinite(values)]
        if len(values) and np.ptp(values) > 0:
            low, high = np.percentile(values, [5, 95])
            swings[name] = (low, high)
    knees = [high - low for name, (low, high) in swings.items() if name.startswith("knee")]
    if len(swings) < _FEWEST_LEGS or not knees or max(knees) < _SLOWEST_KNEE:
        return
    if all(min(-low, high) > _BOTH_WAYS * max(-low, high) for low, high in swings.values()):
        raise InputError(
            f"{path}: hips, knees and ankles swing as far below zero as above it, as no knee does: speeds or moments?; "
            f"{_GIVE}"
        )


def refuse_by_content(path: Path, q: np.ndarray) -> None:
    """Refuse numbers that are no joint angles of a person, f64[T, 40] radians and metres; NaN or 0 where unknown.

    Raises:
        InputError: they are errors, speeds or forces.
    """
    legs = [column for name, column in INDEX.items() if name.startswith(("hip_", "knee_", "ankle_"))]
    angles, pelvis = np.abs(q[:, legs]), q[:, INDEX["pelvis_ty"]]
    moved, placed = np.isfinite(angles) & (angles > 0), np.isfinite(pelvis)
    if placed.any() and moved.any():
        height = float(np.median(pelvis[placed]))
        if abs(height) < _LOWEST_PELVIS_M and pelvis[placed].any() and angles[moved].max() < _STILLEST_RAD:
            raise InputError(
                f"{path} keeps the pelvis {100 * height:.1f} cm above the floor and the legs within "
                f"{np.degrees(angles[moved].max()):.1f} degrees: errors of a fit, not a movement; {_GIVE}"
            )
    for joint, widest in _WIDEST_RAD.items():
        for side in "rl":
            name = f"{joint}_{side}"
            values = q[:, INDEX[name]]
            values = values[np.isfinite(values)]
            if not len(values):
                continue
            low, high = np.percentile(values, [5, 95])
            both = joint == "knee_angle" and low < -_BOTH_WAYS_RAD and high > _BOTH_WAYS_RAD
            if both or high - low > widest:
                raise InputError(
                    f"{path}: {name} goes from {np.degrees(low):.0f} to {np.degrees(high):.0f} degrees, as no joint "
                    f"does: speeds or moments?; {_GIVE}"
                )
