"""Rotate a movement about the vertical, frame by frame."""

import numpy as np
from scipy.spatial.transform import Rotation

from biomechgpt_jax.biomechanics.skeleton import INDEX

_PELVIS = [INDEX[name] for name in ("pelvis_tilt", "pelvis_list", "pelvis_rotation")]


def rotate_heading(q: np.ndarray, heading: np.ndarray | float) -> np.ndarray:
    """Rotate the pelvis to the left by a heading, R' = Ry(heading) R, so that a lean turns with the body.

    The recorded angles are those of R = Rz(tilt) Rx(list) Ry(rotation): adding the heading to the rotation alone would
    leave the lean in its old direction.

    Args:
        q: [T, 40] radians.
        heading: [T], or one heading for all frames, in radians.

    Returns:
        [T, 40]; the path of the root is unchanged.
    """
    q = q.copy()
    before = Rotation.from_euler("ZXY", q[:, _PELVIS])
    turn = Rotation.from_euler("Y", np.broadcast_to(heading, len(q))[:, None])
    after = (turn * before).as_euler("ZXY")
    after[:, 2] = np.unwrap(after[:, 2])
    q[:, _PELVIS] = after
    return q


def rotate_heading_deg(q: np.ndarray, heading: np.ndarray | float) -> np.ndarray:
    """`rotate_heading` for angles and headings in degrees; root translations are unchanged."""
    q = q.copy()
    q[:, _PELVIS] = np.degrees(rotate_heading(np.radians(q), np.radians(heading))[:, _PELVIS])
    return q
