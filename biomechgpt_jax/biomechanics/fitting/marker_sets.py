"""Where markers are attached: a table of anatomical landmarks, and the labels that marker sets give them.

Offsets are nominal positions of skin markers in metres on a body 1.75 m tall, in the frame of a segment (x forward,
y up, z to the right for the right side), from surface anatomy [memory]; that the line from the posterior to the
anterior iliac spines falls by 7.6 degrees where pelvis tilt is zero is the offset between the pelvic plane and the
OpenSim pelvis. Inverse kinematics adjusts each offset to the movement, within its spread. The offsets of C7 and the
calcaneus were chosen with one OpenCap walk in view; its agreement with the coordinates distributed with it is
therefore no independent evidence.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from biomechgpt_jax.errors import InputError

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
    "thigh_cluster_r": _on("thigh_r", (0.040, -0.220, 0.070), _CLUSTER),
    "knee_lateral_r": _on("shank_r", (0.0, 0.0, 0.052), _BONY, "thigh_r"),
    "knee_medial_r": _on("shank_r", (0.0, 0.0, -0.052), _BONY, "thigh_r"),
    "knee_centre_r": _on("shank_r", (0.0, 0.0, 0.0), _CENTRE),
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
}

# Labels of each set in lower case, for the right side with {s} for the side's letter, or for the midline.
_PLUG_IN_GAIT = {
    "{s}asi": "asis_r", "{s}psi": "psis_r", "sacr": "sacrum", "{s}thi": "thigh_cluster_r", "{s}thi2": "thigh_cluster_r",
    "{s}thi3": "thigh_cluster_r", "{s}kne": "knee_lateral_r", "{s}knem": "knee_medial_r", "{s}tib": "shank_cluster_r",
    "{s}tib2": "shank_cluster_r", "{s}tib3": "shank_cluster_r", "{s}ank": "ankle_lateral_r", "{s}med": "ankle_medial_r",
    "{s}hee": "heel_r", "{s}toe": "metatarsal_2_r", "{s}latfoot": "metatarsal_5_r", "{s}mt5": "metatarsal_5_r",
    "c7": "c7", "t10": "t10", "clav": "clavicle", "strn": "sternum", "{s}bak": "back_r", "{s}sho": "acromion_r",
    "{s}cla": "acromion_r", "{s}upa": "upper_arm_cluster_r", "{s}ua1": "upper_arm_cluster_r",
    "{s}ua2": "upper_arm_cluster_r", "{s}ua3": "upper_arm_cluster_r", "{s}elb": "elbow_lateral_r",
    "{s}frm": "forearm_cluster_r", "{s}fra": "forearm_cluster_r", "{s}la1": "forearm_cluster_r",
    "{s}la2": "forearm_cluster_r", "{s}la3": "forearm_cluster_r", "{s}wra": "wrist_radial_r", "{s}wrb": "wrist_ulnar_r",
    "{s}fin": "finger_r", "{s}fhd": "head_front_r", "{s}bhd": "head_back_r",
    # Waist and shin labels of another laboratory, which otherwise follows this set.
    "{s}fwt": "asis_r", "{s}bwt": "psis_r", "{s}shn": "shank_cluster_r", "{s}bac": "back_r",
}  # fmt: skip
_HELEN_HAYES = {
    "{s}.asis": "asis_r", "{s}.psis": "psis_r", "v.sacral": "sacrum", "s2": "sacrum", "{s}.thigh": "thigh_cluster_r",
    "{s}.thigh.upper": "thigh_cluster_r", "{s}.thigh.front": "thigh_cluster_r", "{s}.thigh.rear": "thigh_cluster_r",
    "{s}.knee": "knee_lateral_r", "{s}.knee.lat": "knee_lateral_r", "{s}.knee.medial": "knee_medial_r",
    "{s}.shank": "shank_cluster_r", "{s}.shank.upper": "shank_cluster_r", "{s}.shank.front": "shank_cluster_r",
    "{s}.shank.rear": "shank_cluster_r", "{s}.ankle": "ankle_lateral_r", "{s}.ankle.lat": "ankle_lateral_r",
    "{s}.ankle.medial": "ankle_medial_r", "{s}.heel": "heel_r", "{s}.toe": "metatarsal_2_r",
    "{s}.toe.tip": "toe_tip_r", "{s}.toe.lat": "metatarsal_5_r", "{s}.toe.med": "metatarsal_1_r",
    "{s}.foot.lateral": "metatarsal_5_r", "{s}.foot.medial": "metatarsal_1_r", "{s}.midfoot.sup": "midfoot_top_r",
    "{s}.midfoot.lat": "midfoot_lateral_r", "c7": "c7", "ij": "clavicle", "px": "sternum", "sternum": "sternum",
    "{s}.acromium": "acromion_r", "{s}.shoulder": "acromion_r", "{s}.clavicle": "clavicle_r",
    "{s}.biceps": "upper_arm_cluster_r", "{s}.bicep": "upper_arm_cluster_r", "{s}.elbow": "elbow_lateral_r",
    "{s}.forearm": "forearm_cluster_r", "{s}.wrist.lat": "wrist_radial_r", "{s}.wrist.med": "wrist_ulnar_r",
    "{s}.temple": "head_side_r", "top.head": "head_top", "{s}.th1": "thigh_cluster_r", "{s}.th2": "thigh_cluster_r",
    "{s}.th3": "thigh_cluster_r", "{s}.th4": "thigh_cluster_r", "{s}.sh1": "shank_cluster_r",
    "{s}.sh2": "shank_cluster_r", "{s}.sh3": "shank_cluster_r", "{s}.sh4": "shank_cluster_r",
}  # fmt: skip
_OPENCAP = {
    "{s}.asis": "asis_r", "{s}.psis": "psis_r", "{s}_hjc": "hip_centre_r", "{s}_hjc_reg": "hip_centre_r",
    **{f"{{s}}_thigh{i}": "thigh_cluster_r" for i in range(1, 6)}, "{s}_knee": "knee_lateral_r",
    "{s}_mknee": "knee_medial_r", "{s}_shank_antsup": "shank_front_r",
    **{f"{{s}}_sh{i}": "shank_cluster_r" for i in range(1, 5)}, "{s}_ankle": "ankle_lateral_r",
    "{s}_mankle": "ankle_medial_r", "{s}_calc": "calcaneus_r", "{s}_toe": "metatarsal_2_r",
    "{s}_5meta": "metatarsal_5_r", "c7": "c7", "{s}_sternum": "clavicle_r", "{s}_shoulder": "acromion_r",
    "{s}_humerus": "upper_arm_cluster_r", "{s}_elbow_lat": "elbow_lateral_r", "{s}_elbow_med": "elbow_medial_r",
    "{s}_forearm": "forearm_cluster_r", "{s}_wrist_radius": "wrist_radial_r", "{s}_wrist_ulna": "wrist_ulnar_r",
}  # fmt: skip
# Anatomical markers with clusters, as in the walking examples distributed with OpenSim.
_CLUSTERS = {
    "{s}asi": "asis_r", "{s}psi": "psis_r", "{s}hjc": "hip_centre_r", "{s}lfc": "knee_lateral_r",
    "{s}mfc": "knee_medial_r", "{s}kjc": "knee_centre_r", "{s}lmal": "ankle_lateral_r", "{s}mmal": "ankle_medial_r",
    "{s}ajc": "ankle_centre_r", "{s}cal": "calcaneus_r", "{s}mt1": "metatarsal_1_r", "{s}mt2": "metatarsal_2_r",
    "{s}mt5": "metatarsal_5_r", **{f"{{s}}th{i}": "thigh_cluster_r" for i in range(1, 5)},
    **{f"{{s}}tb{i}": "shank_cluster_r" for i in range(1, 5)}, "c7": "c7", "t10": "t10", "clav": "clavicle",
    "strn": "sternum", "{s}acr": "acromion_r", "{s}fhd": "head_front_r", "{s}bhd": "head_back_r",
    "{s}lel": "elbow_lateral_r", "{s}mel": "elbow_medial_r",
}  # fmt: skip
MARKER_SETS: Mapping[str, Mapping[str, str]] = {
    "Plug-in Gait": _PLUG_IN_GAIT,
    "Helen Hayes": _HELEN_HAYES,
    "OpenCap": _OPENCAP,
    "anatomical with clusters": _CLUSTERS,
}
_FEWEST = 8


def landmark(name: str) -> Landmark:
    """The landmark of this name, on either side, such as knee_lateral_l."""
    if name in LANDMARKS:
        return LANDMARKS[name]
    right = LANDMARKS[f"{name[:-2]}_r"]

    def mirrored(segment: str) -> str:
        return f"{segment[:-2]}_l" if segment.endswith("_r") else segment

    x, y, z = right.offset_m
    return Landmark(mirrored(right.at), mirrored(right.turns_with), (x, y, -z), right.spread_m)


def _labels(marker_set: Mapping[str, str]) -> dict[str, str]:
    """Name of the landmark of each label, for both sides."""
    landmarks = {}
    for label, name in marker_set.items():
        if "{s}" not in label:
            landmarks[label] = name
            continue
        for side in "rl":
            landmarks[label.format(s=side)] = f"{name[:-2]}_{side}"
    return landmarks


def is_known(label: str) -> bool:
    """Whether any marker set has this label."""
    return any(_clean(label) in _labels(marker_set) for marker_set in MARKER_SETS.values())


def recognise(names: Sequence[str], seen: Sequence[bool] | None = None) -> tuple[str, dict[int, str]]:
    """The marker set that contains most of a file's labels, and the landmark of each known label by its index.

    Args:
        seen: which markers are ever seen; those that are not are recognised too, but speak for no set.
    """
    seen = [True] * len(names) if seen is None else seen
    best, chosen, most = "", dict[int, str](), 0
    for name, marker_set in MARKER_SETS.items():
        known = _labels(marker_set)
        matched = {i: known[_clean(label)] for i, label in enumerate(names) if _clean(label) in known}
        count = sum(bool(seen[i]) for i in matched)
        if count > most:
            best, chosen, most = name, matched, count
    return best, chosen


def _clean(label: str) -> str:
    return label.lower().removesuffix("_study")


def match(names: Sequence[str], seen: Sequence[bool] | None = None) -> tuple[str, dict[int, str]]:
    """As `recognise`.

    Raises:
        InputError: no set contains the labels of the pelvis and both knees, or too few of them are seen: three of the
            pelvis, one knee and eight in all must be. A leg that is listed and never seen spoils nothing else.
    """
    best, chosen = recognise(names, seen)
    here = {mark for i, mark in chosen.items() if seen is None or seen[i]}
    count = sum(1 for i in chosen if seen is None or seen[i])
    pelvis = sum(mark.startswith(("asis", "psis", "sacrum", "hip_centre")) for mark in here)
    knees = [{f"knee_lateral_{s}", f"knee_centre_{s}"} for s in "rl"]
    legs = all(knee & set(chosen.values()) for knee in knees) and any(knee & here for knee in knees)
    if count < _FEWEST or pelvis < 3 or not legs:
        shown = ", ".join(names[:8]) + (" ..." if len(names) > 8 else "")
        raise InputError(
            f"no known marker set has pelvis and both knees among its labels ({shown}); known are "
            f"{', '.join(MARKER_SETS)}: rename the markers to one of them"
        )
    return best, chosen
