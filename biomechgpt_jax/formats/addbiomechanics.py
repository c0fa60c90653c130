"""AddBiomechanics files (.b3d): joint angles fitted to markers, of the Rajagopal model or a similar one."""

import hashlib
import math
from pathlib import Path

import numpy as np

from biomechgpt_jax.biomechanics.skeleton import COORDINATE_COUNT, INDEX
from biomechgpt_jax.biomechanics.trajectory import Metadata, Trajectory
from biomechgpt_jax.errors import InputError
from biomechgpt_jax.formats import native

LARGEST_BYTES = 4 * 2**30
_FEWEST_COORDINATES = 6


def read(path: Path) -> Trajectory:
    """Read the longest trial of a subject; only the subject's height, mass, age and sex are kept.

    Angles are those of the first processing pass, in radians and with OpenSim's signs.

    Raises:
        InputError: no library is installed (extra `b3d`), the file is damaged, or its joints are unknown.
    """
    size = path.stat().st_size
    if not 0 < size <= LARGEST_BYTES:
        raise InputError(f"{path} has {size} bytes; give a file of 1 to {LARGEST_BYTES}")
    try:
        arrays, facts = native.load("nimblephysics", path)
    except ImportError as error:
        raise InputError(
            f"{path}: reading .b3d files needs nimblephysics; pip install --no-deps 'nimblephysics>=0.10.52'"
        ) from error
    except native.NativeError as error:
        raise InputError(f"{path} cannot be read as AddBiomechanics data ({error}); download it again") from error
    positions, names = arrays["positions"], facts["names"]
    rate = 1.0 / facts["seconds_per_frame"] if facts["seconds_per_frame"] > 0 else math.nan
    if positions.ndim != 2 or len(positions) < 2 or not 1.0 <= rate <= 10_000.0:
        raise InputError(f"{path} holds {len(positions)} frames at {rate:g} Hz; give a trial of movement")
    q, observed = np.zeros((len(positions), COORDINATE_COUNT)), np.zeros(COORDINATE_COUNT, bool)
    for column, name in enumerate(names[: positions.shape[1]]):
        if name in INDEX and np.isfinite(positions[:, column]).all():
            q[:, INDEX[name]], observed[INDEX[name]] = positions[:, column], True
    if observed.sum() < _FEWEST_COORDINATES:
        raise InputError(f"{path}: its joints are unknown ({', '.join(names[:4])}, ...); give a Rajagopal model")
    heading = INDEX["pelvis_rotation"]
    q[:, heading] = np.unwrap(q[:, heading])
    flags = (f"trial-{facts['trial'] + 1}-of-{facts['trials']}",) if facts["trials"] > 1 else ()
    metadata = Metadata(
        height_m=_if_plausible(facts["height_m"], 0.5, 2.5),
        mass_kg=_if_plausible(facts["mass_kg"], 5, 400),
        age=_if_plausible(facts["age"], 0.5, 120),
        sex=facts["sex"] if facts["sex"] in ("female", "male") else "",
        source=path.name,
        sha256=hashlib.sha256(path.read_bytes()).hexdigest(),
        flags=flags,
    )
    return Trajectory(q.astype(np.float32), observed, rate, metadata)


def _if_plausible(value: float, low: float, high: float) -> float:
    """The value, or NaN for values that no person has, which stand for unknown ones."""
    return value if low <= value <= high else math.nan
