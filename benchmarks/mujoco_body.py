"""Our body as a MuJoCo model, written from our own segment lengths: an independent judge of forward kinematics."""

import numpy as np

from biomechgpt_jax.biomechanics.kinematics import FRACTIONS as F
from biomechgpt_jax.biomechanics.skeleton import COORDINATES

_AXIS = {"x": (1, 0, 0), "y": (0, 1, 0), "z": (0, 0, 1)}


def _joints(names: tuple[str, ...], axes: str, side: float) -> str:
    """Hinges that turn one after another; about x and y the left side is mirrored, a capital turns the other way."""
    lines = []
    for name, letter in zip(names, axes, strict=True):
        sign = (side if letter.lower() in "xy" else 1.0) * (-1.0 if letter.isupper() else 1.0)
        axis = " ".join(str(sign * value) for value in _AXIS[letter.lower()])
        lines.append(f'<joint name="{name}" type="hinge" axis="{axis}"/>')
    return "".join(lines)


def mjcf(height_m: float) -> str:
    """MJCF of the tree; its sites are named as the points of `kinematics.POINTS`."""
    h = height_m

    def body(name: str, at: tuple[float, float, float], joints: str, inside: str) -> str:
        place = " ".join(str(value * h) for value in at)
        mass = '<inertial pos="0 0 0" mass="1" diaginertia="1 1 1"/>'
        return f'<body name="{name}" pos="{place}">{joints}{mass}{inside}</body>'

    def site(name: str, at: tuple[float, float, float] = (0.0, 0.0, 0.0)) -> str:
        return f'<site name="{name}" pos="{" ".join(str(value * h) for value in at)}"/>'

    def leg(s: str, side: float) -> str:
        toes = body(
            f"toes_{s}",
            (F.ball_forward, -F.ankle_height, 0),
            _joints((f"mtp_angle_{s}",), "z", side),
            site(f"ball_{s}") + site(f"toe_{s}", (F.toe_forward, 0, 0)),
        )
        heel = site(f"ankle_{s}") + site(f"heel_{s}", (-F.heel_back, -F.ankle_height, 0))
        ankle = _joints((f"ankle_angle_{s}", f"subtalar_angle_{s}"), "zx", side)
        foot = body(f"foot_{s}", (0, -F.shank, 0), ankle, heel + toes)
        knee = _joints((f"knee_angle_{s}",), "Z", side)
        shank = body(f"shank_{s}", (0, -F.thigh, 0), knee, site(f"knee_{s}") + foot)
        hip = _joints((f"hip_flexion_{s}", f"hip_adduction_{s}", f"hip_rotation_{s}"), "zxy", side)
        return body(f"thigh_{s}", (-F.hip_back, -F.hip_down, side * F.hip_side), hip, site(f"hip_{s}") + shank)

    def arm(s: str, side: float) -> str:
        wrist = _joints((f"wrist_flex_{s}", f"wrist_dev_{s}"), "xz", side)
        hand = body(f"hand_{s}", (0, -F.forearm, 0), wrist, site(f"wrist_{s}") + site(f"hand_{s}", (0, -F.hand, 0)))
        elbow = _joints((f"elbow_flex_{s}", f"pro_sup_{s}"), "zy", side)
        fore = body(f"forearm_{s}", (0, -F.upper_arm, 0), elbow, site(f"elbow_{s}") + hand)
        shoulder = _joints((f"arm_flex_{s}", f"arm_add_{s}", f"arm_rot_{s}"), "zxy", side)
        return body(f"arm_{s}", (0, F.trunk, side * F.shoulder_side), shoulder, site(f"shoulder_{s}") + fore)

    neck = _joints(("neck_extension", "neck_bending", "neck_rotation"), "zxy", 1.0)
    head = body("head", (0, F.trunk + F.neck_up, 0), neck, site("head", (0, F.head, 0)))
    lumbar = _joints(("lumbar_extension", "lumbar_bending", "lumbar_rotation"), "zxy", 1.0)
    upper = site("lumbar") + site("neck", (0, F.trunk, 0)) + head + arm("r", 1.0) + arm("l", -1.0)
    trunk = body("thorax", (-F.lumbar_back, F.lumbar_up, 0), lumbar, upper)
    slides = "".join(
        f'<joint name="{name}" type="slide" axis="{" ".join(map(str, _AXIS[axis]))}"/>'
        for name, axis in (("pelvis_tx", "x"), ("pelvis_tz", "z"), ("pelvis_ty", "y"))
    )
    turns = _joints(("pelvis_tilt", "pelvis_list", "pelvis_rotation"), "zxy", 1.0)
    pelvis = body("pelvis", (0, 0, 0), slides + turns, site("pelvis") + leg("r", 1.0) + leg("l", -1.0) + trunk)
    return f'<mujoco><compiler angle="radian"/><worldbody>{pelvis}</worldbody></mujoco>'


def joint_order(model: object) -> np.ndarray:
    """Index into our coordinates for each of the model's positions."""
    import mujoco

    names = [mujoco.mj_id2name(model, mujoco.mjtObj.mjOBJ_JOINT, i) for i in range(len(COORDINATES))]
    return np.array([COORDINATES.index(name) for name in names])
