"""The 40-coordinate tree as a MuJoCo model, generated from the segment lengths of `kinematics`.

Writing it does not need MuJoCo. Knee flexion is negative, as in the field's MuJoCo models: `qpos` converts the sign.
"""

from dataclasses import dataclass, field
from xml.sax.saxutils import quoteattr

import numpy as np

from biomechgpt_jax.biomechanics.kinematics import FRACTIONS, Fractions
from biomechgpt_jax.biomechanics.skeleton import COORDINATE_COUNT, INDEX

_X, _Y, _Z = (1.0, 0.0, 0.0), (0.0, 1.0, 0.0), (0.0, 0.0, 1.0)
_KNEES = (INDEX["knee_angle_r"], INDEX["knee_angle_l"])

Axis = tuple[float, float, float]


@dataclass
class _Body:
    """A rigid segment: its position in its parent, its joints in order, the points it carries, and its children."""

    name: str
    at: Axis
    joints: tuple[tuple[str, Axis], ...]
    sites: dict[str, Axis] = field(default_factory=dict)
    children: list["_Body"] = field(default_factory=list)


def model(height_m: float, fractions: Fractions = FRACTIONS) -> str:
    """MJCF of a body of this height: bodies and sites are named as in `kinematics.POINTS`, joints as the coordinates.

    A point that is the origin of a segment becomes a body, any other a site; the joints are in the order of the
    coordinates. World as elsewhere: x forward, y up, z right; gravity points to -y. Masses are nominal: the model is
    kinematic.

    Args:
        height_m: body height in metres.
        fractions: segment lengths as fractions of it.
    """
    gravity = '<option gravity="0 -9.81 0"/>'
    compiler = '<compiler angle="radian" inertiafromgeom="false"/>'
    tree = _xml(_tree(fractions), height_m)
    return f'<mujoco model="body">{compiler}{gravity}<worldbody>{tree}</worldbody></mujoco>'


def qpos(coordinates: np.ndarray) -> np.ndarray:
    """Joint positions of `model` f32[..., 40] from coordinates f32[..., 40], or the reverse: flips the knees' sign."""
    sign = np.ones(COORDINATE_COUNT, np.float32)
    sign[list(_KNEES)] = -1
    return coordinates * sign


def _tree(f: Fractions) -> _Body:
    root = (("pelvis_tx", _X), ("pelvis_tz", _Z), ("pelvis_ty", _Y))
    turns = (("pelvis_tilt", _Z), ("pelvis_list", _X), ("pelvis_rotation", _Y))
    pelvis = _Body("pelvis", (0, 0, 0), (*root, *turns))
    spine = ("extension", _Z), ("bending", _X), ("rotation", _Y)
    thorax = _Body("lumbar", (-f.lumbar_back, f.lumbar_up, 0), tuple((f"lumbar_{n}", axis) for n, axis in spine))
    thorax.sites["neck"] = (0, f.trunk, 0)
    skull = _Body("skull", (0, f.trunk + f.neck_up, 0), tuple((f"neck_{n}", axis) for n, axis in spine))
    skull.sites["head"] = (0, f.head, 0)
    thorax.children = [skull, *(_arm(f, side) for side in "rl")]
    # This order of the children yields the joints in the order of the coordinates.
    pelvis.children = [*(_leg(f, side) for side in "rl"), thorax]
    return pelvis


def _leg(f: Fractions, side: str) -> _Body:
    out, x, y = _outward(side)
    toes = _Body(f"ball_{side}", (f.ball_forward, -f.ankle_height, 0), ((f"mtp_angle_{side}", _Z),))
    toes.sites[f"toe_{side}"] = (f.toe_forward, 0, 0)
    ankle = ((f"ankle_angle_{side}", _Z), (f"subtalar_angle_{side}", x))
    foot = _Body(f"ankle_{side}", (0, -f.shank, 0), ankle, children=[toes])
    foot.sites[f"heel_{side}"] = (-f.heel_back, -f.ankle_height, 0)
    shank = _Body(f"knee_{side}", (0, -f.thigh, 0), ((f"knee_angle_{side}", _Z),), children=[foot])
    hip = ((f"hip_flexion_{side}", _Z), (f"hip_adduction_{side}", x), (f"hip_rotation_{side}", y))
    return _Body(f"hip_{side}", (-f.hip_back, -f.hip_down, out * f.hip_side), hip, children=[shank])


def _arm(f: Fractions, side: str) -> _Body:
    out, x, y = _outward(side)
    wrist = ((f"wrist_flex_{side}", x), (f"wrist_dev_{side}", _Z))
    hand = _Body(f"wrist_{side}", (0, -f.forearm, 0), wrist)
    hand.sites[f"hand_{side}"] = (0, -f.hand, 0)
    elbow = ((f"elbow_flex_{side}", _Z), (f"pro_sup_{side}", y))
    fore = _Body(f"elbow_{side}", (0, -f.upper_arm, 0), elbow, children=[hand])
    shoulder = ((f"arm_flex_{side}", _Z), (f"arm_add_{side}", x), (f"arm_rot_{side}", y))
    return _Body(f"shoulder_{side}", (0, f.trunk, out * f.shoulder_side), shoulder, children=[fore])


def _outward(side: str) -> tuple[float, Axis, Axis]:
    """The sign of that side's z, and the axes of the rotations that are mirrored between the sides."""
    out = 1.0 if side == "r" else -1.0
    return out, (out, 0.0, 0.0), (0.0, out, 0.0)


def _xml(body: _Body, height_m: float) -> str:
    def triple(values: Axis, scale: float = 1.0) -> str:
        return quoteattr(" ".join(f"{value * scale:.9g}" for value in values))

    parts = [f"<body name={quoteattr(body.name)} pos={triple(body.at, height_m)}>"]
    parts.append('<inertial pos="0 0 0" mass="1" diaginertia="0.01 0.01 0.01"/>')
    for name, axis in body.joints:
        kind = "slide" if name in ("pelvis_tx", "pelvis_ty", "pelvis_tz") else "hinge"
        parts.append(f'<joint name={quoteattr(name)} type="{kind}" axis={triple(axis)}/>')
    parts += [f"<site name={quoteattr(name)} pos={triple(at, height_m)}/>" for name, at in body.sites.items()]
    parts += [_xml(child, height_m) for child in body.children]
    return "".join([*parts, "</body>"])
