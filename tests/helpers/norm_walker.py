"""A walker whose joints move by the norm's own curves."""

import numpy as np
from scipy.spatial.transform import Rotation

from biomechgpt_jax.biomechanics.gait import contacts, indices, norms
from biomechgpt_jax.biomechanics.skeleton import COORDINATE_COUNT, INDEX
from biomechgpt_jax.biomechanics.trajectory import LEFT, RIGHT, Contacts, Trajectory, replace

SPEED, STRIDE_S, RATE_HZ = 0.43, 1.1, 100.0


def norm_walk(heading: float = 0.0, extra_deg: dict[str, float] | None = None) -> tuple[Trajectory, Contacts]:
    """The norm's curves in both legs, half a cycle apart, walked in some direction; 1.3 m/s."""
    time = np.arange(int(4.5 * RATE_HZ)) / RATE_HZ
    q = np.zeros((len(time), COORDINATE_COUNT))

    def put(name: str, curve: str, phase: np.ndarray, sign: float = 1.0, offset: float = 0.0) -> None:
        q[:, INDEX[name]] = np.radians(sign * norms.curve(curve, SPEED, phase) + offset)

    phase = {"r": time / STRIDE_S, "l": time / STRIDE_S + 0.5}
    put("pelvis_tilt", "pelvic_tilt", phase["r"], -1, indices.PELVIC_PLANE_DEG)
    put("pelvis_list", "pelvic_obliquity", phase["r"], -1)
    put("pelvis_rotation", "pelvic_rotation", phase["r"])
    for side in "rl":
        put(f"hip_flexion_{side}", "hip_flexion", phase[side], 1, -indices.PELVIC_PLANE_DEG)
        put(f"hip_adduction_{side}", "hip_adduction", phase[side])
        put(f"hip_rotation_{side}", "hip_rotation", phase[side])
        put(f"knee_angle_{side}", "knee_flexion", phase[side])
        put(f"ankle_angle_{side}", "ankle_dorsiflexion", phase[side])
    for name, value in (extra_deg or {}).items():
        q[:, INDEX[name]] += np.radians(value)
    pelvis = [INDEX[name] for name in ("pelvis_tilt", "pelvis_list", "pelvis_rotation")]
    turned = Rotation.from_euler("Y", [heading]) * Rotation.from_euler("ZXY", q[:, pelvis])
    q[:, pelvis] = turned.as_euler("ZXY")
    q[:, INDEX["pelvis_tx"]], q[:, INDEX["pelvis_tz"]] = np.outer([np.cos(heading), -np.sin(heading)], 1.3 * time)
    strikes = np.arange(0, 4.5, STRIDE_S / 2)
    way = np.stack([1.3 * strikes * np.cos(heading), -1.3 * strikes * np.sin(heading)], axis=1)
    foot = np.arange(len(strikes)) % 2
    contacts = Contacts(strikes.astype(np.float32), foot.astype(np.int32), way.astype(np.float32))
    return Trajectory(q.astype(np.float32), np.ones(COORDINATE_COUNT, bool), RATE_HZ), contacts


def grounded_walk(heading: float = 0.0) -> Trajectory:
    """The same walker carried by the feet: the lower point of the foot in stance stands still on the floor.

    Right strikes are at whole multiples of STRIDE_S, left ones half way; the speed is that of the pelvis.
    """
    trajectory, _ = norm_walk(heading)
    place = [INDEX[name] for name in ("pelvis_tx", "pelvis_ty", "pelvis_tz")]
    q = trajectory.coordinates.copy()
    q[:, place] = 0.0
    heel, ball = contacts.feet(replace(trajectory, coordinates=q))
    cycle = np.arange(len(q)) / RATE_HZ / STRIDE_S
    # Weight is on a foot from the middle of one double support to the middle of the next.
    foot = np.where((cycle - 0.06) % 1.0 < 0.5, RIGHT, LEFT)
    frames = np.arange(len(q))
    lower = heel[frames, foot, 1] < ball[frames, foot, 1]
    moved = np.stack([np.gradient(points, axis=0) for points in (heel, ball)])
    carried = -np.where(lower[:, None], moved[0][frames, foot], moved[1][frames, foot])
    q[:, place] = np.cumsum(carried, axis=0)
    q[:, INDEX["pelvis_ty"]] = -np.minimum(heel[frames, foot, 1], ball[frames, foot, 1])
    return replace(trajectory, coordinates=q)
