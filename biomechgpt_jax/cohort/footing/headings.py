"""Turning a movement about the vertical, frame by frame."""

import numpy as np
from scipy.spatial.transform import Rotation

from biomechgpt_jax.biomechanics.skeleton import INDEX

_PELVIS = [INDEX[name] for name in ("pelvis_tilt", "pelvis_list", "pelvis_rotation")]


def turned(q: np.ndarray, heading: np.ndarray | float) -> np.ndarray:
    """The pelvis turned to the left by a heading, R' = Ry(heading) R; a lean stays a lean of the body.

    The recorded angles are of R = Rz(tilt) Rx(list) Ry(rotation): adding to the rotation alone would leave the lean
    behind in the world.

    Args:
        q: [T, 40] radians.
        heading: [T] or one for all, radians.

    Returns:
        [T, 40]; the root's path is as it was.
    """
    q = q.copy()
    before = Rotation.from_euler("ZXY", q[:, _PELVIS])
    turn = Rotation.from_euler("Y", np.broadcast_to(heading, len(q))[:, None])
    after = (turn * before).as_euler("ZXY")
    after[:, 2] = np.unwrap(after[:, 2])
    q[:, _PELVIS] = after
    return q


def turned_deg(q: np.ndarray, heading: np.ndarray | float) -> np.ndarray:
    """`turned` of angles and headings in degrees; root translations, if any, stay as they are."""
    q = q.copy()
    q[:, _PELVIS] = np.degrees(turned(np.radians(q), np.radians(heading))[:, _PELVIS])
    return q
