"""How long the legs are, where a file does not say how tall the person is: from the height of the pelvis.

The speed of a belt and the place of every step are in proportion to the length of the legs. Programs that write
coordinates put the floor at height 0; legs that reach from the pelvis to the floor then have a known length.
"""

import numpy as np

from biomechgpt_jax.biomechanics.gait.contacts import feet
from biomechgpt_jax.biomechanics.skeleton import INDEX
from biomechgpt_jax.biomechanics.trajectory import Trajectory, replace

# A person with longer or shorter legs is not believed: their floor is not at height 0. Hardly anyone has longer ones.
_BELIEVED_M = (0.7, 1.98)
# Whenever a foot stands on the floor, the height of the pelvis over its reach is the same; in the air, and on stairs,
# it is more. This quantile lies within a stance of any walk, and no further than this above the least.
_STANDING, _LEVEL = 0.25, 1.08
_LEAST_REACH = 0.1  # of a body 1 m tall; a body that lies has none
_JOINTS = (f"{joint}_{side}" for joint in ("hip_flexion", "knee_angle", "ankle_angle") for side in "rl")
_NEEDED = [INDEX[name] for name in ("pelvis_ty", "pelvis_tilt", "pelvis_list", *_JOINTS)]


def leg_height(trajectory: Trajectory) -> float:
    """Height in metres of a person of usual proportions whose feet stand on a floor at height 0; NaN if none would."""
    known_TC = np.where(trajectory.observed, trajectory.coordinates, 0.0)
    whole_T = np.isfinite(known_TC).all(axis=1)
    if not trajectory.observed[_NEEDED].all() or not whole_T.any():
        return float("nan")
    sound = replace(trajectory, coordinates=known_TC[whole_T])
    pelvis_T = sound.coordinates[:, INDEX["pelvis_ty"]].astype(np.float64)
    reach_T = pelvis_T - np.min([point[..., 1].min(axis=1) for point in feet(sound, 1.0)], axis=0)
    if np.median(reach_T) < _LEAST_REACH:
        return float("nan")
    heights = pelvis_T[reach_T >= _LEAST_REACH] / reach_T[reach_T >= _LEAST_REACH]
    least, height = np.quantile(heights, [0.0, _STANDING])
    believed = _BELIEVED_M[0] <= height <= _BELIEVED_M[1] and height <= _LEVEL * least
    return float(height) if believed else float("nan")
