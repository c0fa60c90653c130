"""Forward kinematics of the 40-coordinate tree, in JAX: differentiable, batched over any leading axes.

A rotation is stored as its three columns (x forward, y up, z right of the body), so that a rotation about a body axis
mixes two columns: plain fused arithmetic instead of batches of 3x3 products.

Joint axes follow Rajagopal 2016 simplified to orthogonal axes: the subtalar joint turns about the long axis
of the foot. Segment lengths are fractions of body height (Drillis and Contini 1966, from memory), except the
hip centres, the lumbar joint and the shoulders, which are those of Rajagopal 2016 scaled by height (from memory):
half the pelvic breadth of Drillis and Contini would put the feet 0.3 m apart.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from biomechgpt_jax.biomechanics.skeleton import INDEX


class Fractions(NamedTuple):
    """Segment lengths as fractions of body height."""

    hip_back: float = 0.0331  # hip centre behind the pelvis origin
    hip_down: float = 0.0464
    hip_side: float = 0.0457
    thigh: float = 0.245
    shank: float = 0.246
    ankle_height: float = 0.039
    heel_back: float = 0.030  # heel contact point behind the ankle
    ball_forward: float = 0.082  # ball (metatarsal heads) in front of the ankle
    toe_forward: float = 0.040  # toe tip in front of the ball
    lumbar_back: float = 0.0592  # lumbar joint behind the pelvis origin
    lumbar_up: float = 0.048
    trunk: float = 0.2185  # lumbar joint to the height of the shoulders
    shoulder_side: float = 0.100
    neck_up: float = 0.030
    head: float = 0.110
    upper_arm: float = 0.186
    forearm: float = 0.146
    hand: float = 0.060


FRACTIONS = Fractions()

# Names of the points that `points` returns, in its order.
_SIDED = ("hip", "knee", "ankle", "heel", "ball", "toe", "shoulder", "elbow", "wrist", "hand")
POINTS: tuple[str, ...] = (
    "pelvis",
    "lumbar",
    "neck",
    "head",
    *(f"{name}_r" for name in _SIDED),
    *(f"{name}_l" for name in _SIDED),
)
POINT_INDEX: dict[str, int] = {name: index for index, name in enumerate(POINTS)}
_BONE_NAMES = (
    ("pelvis", "lumbar"),
    ("lumbar", "neck"),
    ("neck", "head"),
    *(
        (f"{a}_{side}" if a not in ("pelvis", "neck") else a, f"{b}_{side}")
        for side in "rl"
        for a, b in (
            ("pelvis", "hip"),
            ("hip", "knee"),
            ("knee", "ankle"),
            ("ankle", "heel"),
            ("heel", "ball"),
            ("ankle", "ball"),
            ("ball", "toe"),
            ("neck", "shoulder"),
            ("shoulder", "elbow"),
            ("elbow", "wrist"),
            ("wrist", "hand"),
        )
    ),
)
BONES: tuple[tuple[int, int], ...] = tuple((POINT_INDEX[a], POINT_INDEX[b]) for a, b in _BONE_NAMES)

DEFAULT_HEIGHT_M = 1.70

Frame = tuple[jax.Array, jax.Array, jax.Array]  # columns, each f32[..., 3]


def _identity(shape: tuple[int, ...]) -> Frame:
    eye = jnp.eye(3, dtype=jnp.float32)
    return tuple(jnp.broadcast_to(eye[i], (*shape, 3)) for i in range(3))  # type: ignore[return-value]


def _turn(a: jax.Array, b: jax.Array, angle: jax.Array) -> tuple[jax.Array, jax.Array]:
    cos, sin = jnp.cos(angle)[..., None], jnp.sin(angle)[..., None]
    return a * cos + b * sin, b * cos - a * sin


def _about_x(frame: Frame, angle: jax.Array) -> Frame:
    y, z = _turn(frame[1], frame[2], angle)
    return frame[0], y, z


def _about_y(frame: Frame, angle: jax.Array) -> Frame:
    z, x = _turn(frame[2], frame[0], angle)
    return x, frame[1], z


def _about_z(frame: Frame, angle: jax.Array) -> Frame:
    x, y = _turn(frame[0], frame[1], angle)
    return x, y, frame[2]


def _at(frame: Frame, x: float | jax.Array, y: float | jax.Array, z: float | jax.Array) -> jax.Array:
    return frame[0] * x + frame[1] * y + frame[2] * z


def pelvis_frame(tilt: jax.Array, list_: jax.Array, rotation: jax.Array) -> Frame:
    """Pelvis orientation R = Rz(tilt) Rx(list) Ry(rotation) as columns f32[..., 3]."""
    return _about_y(_about_x(_about_z(_identity(tilt.shape), tilt), list_), rotation)


class Segment(NamedTuple):
    """A rigid segment: the position of its proximal joint and its orientation."""

    origin: jax.Array  # f32[..., 3] metres
    frame: Frame


def _leg_segments(
    pelvis: Frame, angles: jax.Array, side: float, h: jax.Array, f: Fractions
) -> tuple[Segment, Segment, Segment, Segment]:
    """Thigh, shank, foot and toes of one leg, relative to the pelvis origin; `h` is f32[..., 1]."""
    hip = _at(pelvis, -_wide(f.hip_back), -_wide(f.hip_down), side * _wide(f.hip_side)) * h
    thigh = _about_z(pelvis, angles[..., 0])
    thigh = _about_y(_about_x(thigh, side * angles[..., 1]), side * angles[..., 2])
    knee = hip - thigh[1] * _wide(f.thigh) * h
    shank = _about_z(thigh, -angles[..., 3])
    ankle = knee - shank[1] * _wide(f.shank) * h
    foot = _about_x(_about_z(shank, angles[..., 4]), side * angles[..., 5])
    ball = ankle + _at(foot, _wide(f.ball_forward), -_wide(f.ankle_height), 0.0) * h
    toes = _about_z(foot, angles[..., 6])
    return Segment(hip, thigh), Segment(knee, shank), Segment(ankle, foot), Segment(ball, toes)


def _wide(length: float | jax.Array) -> float | jax.Array:
    """A length that may differ from body to body, ready to scale vectors."""
    return length if isinstance(length, float | int) else length[..., None]


def leg(
    pelvis: Frame, angles: jax.Array, side: float, height_m: jax.Array, fractions: Fractions = FRACTIONS
) -> dict[str, jax.Array]:
    """Points of one leg relative to the pelvis origin.

    Args:
        pelvis: columns of the pelvis orientation.
        angles: f32[..., 7] hip flexion, adduction, rotation, knee, ankle, subtalar, mtp in radians.
        side: +1 right, -1 left.
        height_m: f32[...] body height.

    Returns:
        hip, knee, ankle, heel, ball, toe: f32[..., 3] in metres.
    """
    f, h = fractions, height_m[..., None]
    thigh, shank, foot, toes = _leg_segments(pelvis, angles, side, h, f)
    heel = foot.origin + _at(foot.frame, -_wide(f.heel_back), -_wide(f.ankle_height), 0.0) * h
    toe = toes.origin + toes.frame[0] * _wide(f.toe_forward) * h
    points = {"hip": thigh.origin, "knee": shank.origin, "ankle": foot.origin, "heel": heel}
    return points | {"ball": toes.origin, "toe": toe}


def _arm_segments(
    thorax: Frame, neck: jax.Array, angles: jax.Array, side: float, h: jax.Array, f: Fractions
) -> tuple[Segment, Segment, Segment]:
    """Upper arm, forearm and hand of one arm."""
    shoulder = neck + thorax[2] * (side * _wide(f.shoulder_side) * h)
    upper = _about_z(thorax, angles[..., 0])
    upper = _about_y(_about_x(upper, side * angles[..., 1]), side * angles[..., 2])
    elbow = shoulder - upper[1] * _wide(f.upper_arm) * h
    fore = _about_y(_about_z(upper, angles[..., 3]), side * angles[..., 4])
    wrist = elbow - fore[1] * _wide(f.forearm) * h
    hand = _about_z(_about_x(fore, side * angles[..., 5]), angles[..., 6])
    return Segment(shoulder, upper), Segment(elbow, fore), Segment(wrist, hand)


_LEG_SEGMENTS, _ARM_SEGMENTS = ("thigh", "shank", "foot", "toes"), ("upper_arm", "forearm", "hand")
SEGMENTS: tuple[str, ...] = (
    "pelvis",
    "thorax",
    "head",
    *(f"{name}_{side}" for side in "rl" for name in (*_LEG_SEGMENTS, *_ARM_SEGMENTS)),
)


def segments(
    coordinates: jax.Array, height_m: jax.Array | float = DEFAULT_HEIGHT_M, fractions: Fractions = FRACTIONS
) -> dict[str, Segment]:
    """Position and orientation of every rigid segment in the world, by the names in `SEGMENTS`.

    Args:
        coordinates: f32[..., 40] radians and metres.
        height_m: body height, broadcast against the leading axes.
        fractions: segment lengths as fractions of it; each may be an array that broadcasts against the leading axes.
    """
    q, f = coordinates, fractions
    h = jnp.broadcast_to(jnp.asarray(height_m, jnp.float32), q.shape[:-1])[..., None]
    pelvis = pelvis_frame(q[..., INDEX["pelvis_tilt"]], q[..., INDEX["pelvis_list"]], q[..., INDEX["pelvis_rotation"]])
    origin = jnp.stack([q[..., INDEX[name]] for name in ("pelvis_tx", "pelvis_ty", "pelvis_tz")], axis=-1)
    lumbar = _at(pelvis, -_wide(f.lumbar_back), _wide(f.lumbar_up), 0.0) * h
    i = INDEX["lumbar_extension"]
    thorax = _about_y(_about_x(_about_z(pelvis, q[..., i]), q[..., i + 1]), q[..., i + 2])
    neck = lumbar + thorax[1] * _wide(f.trunk) * h
    i = INDEX["neck_extension"]
    skull = _about_y(_about_x(_about_z(thorax, q[..., i]), q[..., i + 1]), q[..., i + 2])
    parts = {
        "pelvis": Segment(jnp.zeros_like(neck), pelvis),
        "thorax": Segment(lumbar, thorax),
        "head": Segment(neck + thorax[1] * _wide(f.neck_up) * h, skull),
    }
    for name, side in (("r", 1.0), ("l", -1.0)):
        i, j = INDEX[f"hip_flexion_{name}"], INDEX[f"arm_flex_{name}"]
        legs = _leg_segments(pelvis, q[..., i : i + 7], side, h, f)
        arms = _arm_segments(thorax, neck, q[..., j : j + 7], side, h, f)
        limb = zip((*_LEG_SEGMENTS, *_ARM_SEGMENTS), (*legs, *arms), strict=True)
        parts |= {f"{segment}_{name}": value for segment, value in limb}
    return {name: Segment(origin + parts[name].origin, parts[name].frame) for name in SEGMENTS}


def points(
    coordinates: jax.Array, height_m: jax.Array | float = DEFAULT_HEIGHT_M, fractions: Fractions = FRACTIONS
) -> jax.Array:
    """World positions of the points of the body.

    Args:
        coordinates: f32[..., 40] radians and metres.
        height_m: body height, broadcast against the leading axes.
        fractions: segment lengths as fractions of it; each may be an array that broadcasts against the leading axes.

    Returns:
        f32[..., P, 3] metres, x forward, y up, z right, in the order of `POINTS`.
    """
    f = fractions
    h = jnp.broadcast_to(jnp.asarray(height_m, jnp.float32), coordinates.shape[:-1])[..., None]
    body = segments(coordinates, height_m, f)
    thorax, head = body["thorax"], body["head"]
    positions = {
        "pelvis": body["pelvis"].origin,
        "lumbar": thorax.origin,
        "neck": thorax.origin + thorax.frame[1] * _wide(f.trunk) * h,
        "head": head.origin + head.frame[1] * _wide(f.head) * h,
    }
    for side in "rl":
        foot, toes, hand = (body[f"{name}_{side}"] for name in ("foot", "toes", "hand"))
        limb = {name: body[f"{segment}_{side}"].origin for name, segment in _JOINTS}
        limb["heel"] = foot.origin + _at(foot.frame, -_wide(f.heel_back), -_wide(f.ankle_height), 0.0) * h
        limb["toe"] = toes.origin + toes.frame[0] * _wide(f.toe_forward) * h
        limb["hand"] = hand.origin - hand.frame[1] * _wide(f.hand) * h
        positions |= {f"{point}_{side}": value for point, value in limb.items()}
    return jnp.stack([positions[name] for name in POINTS], axis=-2)


# Points that are the proximal joint of a segment.
_JOINTS = (
    ("hip", "thigh"),
    ("knee", "shank"),
    ("ankle", "foot"),
    ("ball", "toes"),
    ("shoulder", "upper_arm"),
    ("elbow", "forearm"),
    ("wrist", "hand"),
)


points_jit = jax.jit(points)
