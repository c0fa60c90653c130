"""Where markers and joint centres are on the body: a table of anatomical landmarks.

Offsets are nominal positions of skin markers in metres on a body 1.75 m tall, in the frame of a segment (x forward,
y up, z to the right for the right side), from surface anatomy [memory]; that the line from the posterior to the
anterior iliac spines falls by 7.6 degrees where pelvis tilt is zero is the offset between the pelvic plane and the
OpenSim pelvis. Inverse kinematics adjusts each offset to the movement, within its spread. The offsets of C7 and the
calcaneus were chosen with one OpenCap walk in view; its agreement with the coordinates distributed with it is
therefore no independent evidence. The joints of SMPL are those of its mean male body (Loper 2015, ACM TOG 34:248;
its tree of offsets: hips 18 mm behind and 86 mm below the pelvis joint, first spine joint 38 mm behind and 124 mm
above it).
"""

from dataclasses import dataclass

NOMINAL_HEIGHT_M = 1.75
_BONY, _CENTRE, _LOOSE, _CLUSTER = 0.010, 0.015, 0.030, 0.080  # spread of an offset, metres

_PELVIC = (0.030, 0.008, 0.010)


@dataclass(frozen=True)
class Landmark:
    """A marker's place on the body.

    Attributes:
        at: segment whose proximal joint the offset is measured from.
        turns_with: segment that carries the marker, in whose frame the offset is measured.
        offset_m: x, y, z for the right side or the middle.
        spread_m: standard deviation of the offset between people and examiners along x, y and z.
    """

    at: str
    turns_with: str
    offset_m: tuple[float, float, float]
    spread_m: tuple[float, float, float]


def _on(
    segment: str,
    offset: tuple[float, float, float],
    spread: float | tuple[float, float, float],
    turns_with: str = "",
) -> Landmark:
    each = spread if isinstance(spread, tuple) else (spread, spread, spread)
    return Landmark(segment, turns_with or segment, offset, each)


# Names that end in _r exist on both sides; the left is the mirror image.
LANDMARKS: dict[str, Landmark] = {
    "asis_r": _on("pelvis", (0.005, 0.0, 0.125), _BONY),
    # The depth of the pelvis under the skin differs between people far more than the slope of its plane.
    "psis_r": _on("pelvis", (-0.165, 0.022, 0.045), _PELVIC),
    "sacrum": _on("pelvis", (-0.170, 0.020, 0.0), _PELVIC),
    "iliac_crest_r": _on("pelvis", (-0.060, 0.090, 0.140), _LOOSE),
    "hip_centre_r": _on("thigh_r", (0.0, 0.0, 0.0), _CENTRE),
    "trochanter_r": _on("thigh_r", (-0.010, 0.0, 0.090), _LOOSE),
    "thigh_cluster_r": _on("thigh_r", (0.040, -0.220, 0.070), _CLUSTER),
    "knee_lateral_r": _on("shank_r", (0.0, 0.0, 0.052), _BONY, "thigh_r"),
    "knee_medial_r": _on("shank_r", (0.0, 0.0, -0.052), _BONY, "thigh_r"),
    "knee_centre_r": _on("shank_r", (0.0, 0.0, 0.0), _CENTRE),
    "fibula_head_r": _on("shank_r", (-0.020, -0.045, 0.050), _LOOSE),
    "shank_front_r": _on("shank_r", (0.050, -0.080, 0.010), _LOOSE),
    "shank_cluster_r": _on("shank_r", (0.030, -0.200, 0.050), _CLUSTER),
    "ankle_lateral_r": _on("foot_r", (-0.010, -0.005, 0.042), _BONY, "shank_r"),
    "ankle_medial_r": _on("foot_r", (0.002, 0.008, -0.040), _BONY, "shank_r"),
    "ankle_centre_r": _on("foot_r", (0.0, 0.0, 0.0), _CENTRE),
    "heel_r": _on("foot_r", (-0.060, -0.040, 0.0), _BONY),
    "calcaneus_r": _on("foot_r", (-0.060, -0.028, 0.0), _BONY),  # at the Achilles tendon, above a heel marker's place
    "midfoot_top_r": _on("foot_r", (0.080, 0.0, 0.0), _LOOSE),
    "midfoot_lateral_r": _on("foot_r", (0.060, -0.035, 0.045), _LOOSE),
    "midfoot_medial_r": _on("foot_r", (0.060, -0.030, -0.030), _LOOSE),
    "metatarsal_1_r": _on("foot_r", (0.135, -0.042, -0.035), _BONY),
    "metatarsal_2_r": _on("foot_r", (0.140, -0.035, 0.0), _BONY),
    "metatarsal_5_r": _on("foot_r", (0.110, -0.045, 0.050), _BONY),
    "toe_tip_r": _on("toes_r", (0.055, 0.018, 0.0), _CENTRE),
    "c7": _on("thorax", (-0.095, 0.455, 0.0), _CENTRE),
    "t2": _on("thorax", (-0.110, 0.415, 0.0), _LOOSE),
    "t10": _on("thorax", (-0.100, 0.220, 0.0), _LOOSE),
    "clavicle": _on("thorax", (0.040, 0.400, 0.0), _LOOSE),
    "clavicle_r": _on("thorax", (0.040, 0.400, 0.030), _LOOSE),
    "sternum": _on("thorax", (0.075, 0.270, 0.0), _LOOSE),
    "back_r": _on("thorax", (-0.130, 0.300, 0.060), _CLUSTER),
    "acromion_r": _on("thorax", (-0.030, 0.440, 0.165), _LOOSE),
    "upper_arm_cluster_r": _on("upper_arm_r", (0.0, -0.150, 0.050), _CLUSTER),
    "elbow_lateral_r": _on("forearm_r", (0.0, 0.0, 0.042), _CENTRE, "upper_arm_r"),
    "elbow_medial_r": _on("forearm_r", (0.0, 0.0, -0.042), _CENTRE, "upper_arm_r"),
    "forearm_cluster_r": _on("forearm_r", (0.0, -0.120, 0.040), _CLUSTER),
    "wrist_radial_r": _on("hand_r", (0.0, 0.0, 0.032), _CENTRE, "forearm_r"),
    "wrist_ulnar_r": _on("hand_r", (0.0, 0.0, -0.032), _CENTRE, "forearm_r"),
    "finger_r": _on("hand_r", (0.0, -0.090, 0.0), _CENTRE),
    "head_front_r": _on("head", (0.090, 0.100, 0.070), _LOOSE),
    "head_back_r": _on("head", (-0.090, 0.100, 0.070), _LOOSE),
    "head_side_r": _on("head", (0.010, 0.110, 0.080), _LOOSE),
    "head_top": _on("head", (0.0, 0.190, 0.0), _LOOSE),
    # Joint centres and points of the face that pose estimation and suits give in the place of skin markers.
    "pelvis_centre": _on("pelvis", (-0.058, -0.081, 0.0), _CENTRE),  # midway between the hips
    "pelvis_joint": _on("pelvis", (-0.040, 0.008, 0.0), _CENTRE),  # the root of SMPL
    "spine_low": _on(
        "pelvis", (-0.079, 0.136, 0.0), _CENTRE
    ),  # the first spine joint of SMPL, which the pelvis carries
    "l5s1": _on("pelvis", (-0.058, 0.017, 0.0), _CENTRE),  # of MVN, above the middle of the hips [memory]
    "ball_centre_r": _on("toes_r", (0.0, 0.0, 0.0), _CENTRE, "foot_r"),
    "big_toe_r": _on("toes_r", (0.045, 0.0, -0.020), _CENTRE, "foot_r"),
    "small_toe_r": _on("foot_r", (0.125, -0.050, 0.050), _CENTRE),
    "shoulder_centre_r": _on("upper_arm_r", (0.0, 0.0, 0.0), _CENTRE, "thorax"),
    "elbow_centre_r": _on("forearm_r", (0.0, 0.0, 0.0), _CENTRE, "upper_arm_r"),
    "wrist_centre_r": _on("hand_r", (0.0, 0.0, 0.0), _CENTRE, "forearm_r"),
    "neck_base": _on("thorax", (0.0, 0.400, 0.0), _LOOSE),
    "head_centre": _on("head", (0.0, 0.100, 0.0), _CLUSTER),
    "nose": _on("head", (0.110, 0.080, 0.0), _LOOSE),
    "ear_r": _on("head", (0.0, 0.080, 0.075), _LOOSE),
}


def landmark(name: str) -> Landmark:
    """The landmark of this name, on either side, such as knee_lateral_l."""
    if name in LANDMARKS:
        return LANDMARKS[name]
    right = LANDMARKS[f"{name[:-2]}_r"]

    def mirrored(segment: str) -> str:
        return f"{segment[:-2]}_l" if segment.endswith("_r") else segment

    x, y, z = right.offset_m
    return Landmark(mirrored(right.at), mirrored(right.turns_with), (x, y, -z), right.spread_m)
