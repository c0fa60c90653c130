"""Keypoints of markerless systems and joints of skeletons: labels that name joint centres.

Labels are folded (`synonyms.fold`), with {s} for the side. What a label means differs between systems: `foot` is the
ball of the foot in SMPL, and the ankle in Human3.6M; hence one table for each, and the one that knows most decides.

Sources: HALPE_26, BODY_25 and COCO as Pose2Sim, Sports2D and OpenPose name them; MediaPipe's names as FreeMoCap writes
them; the joints of SMPL as in HumanML3D; segments of Xsens MVN, whose origins are their proximal joints (MVN manual);
Kinect and Human3.6M from files in public repositories; skeletons as animation programs name them.
"""

from collections.abc import Mapping, Sequence
from functools import cache

from biomechgpt_jax.biomechanics.fitting import synonyms
from biomechgpt_jax.biomechanics.skeleton import COORDINATES

_LIMBS = {
    "{s}hip": "hip_centre_r", "{s}knee": "knee_centre_r", "{s}ankle": "ankle_centre_r", "{s}heel": "heel_r",
    "{s}shoulder": "shoulder_centre_r", "{s}elbow": "elbow_centre_r", "{s}wrist": "wrist_centre_r",
    "{s}ear": "ear_r", "nose": "nose",
}  # fmt: skip
_POSE = {
    **_LIMBS, "{s}bigtoe": "big_toe_r", "{s}smalltoe": "small_toe_r", "hip": "pelvis_centre", "midhip": "pelvis_centre",
    "chip": "pelvis_centre", "neck": "neck_base", "head": "head_centre",
}  # fmt: skip
_MEDIAPIPE = {
    **_LIMBS, "{s}footindex": "big_toe_r", "hipscenter": "pelvis_centre", "neckcenter": "neck_base",
    "headcenter": "head_centre",
}  # fmt: skip
_SMPL = {
    **_LIMBS, "pelvis": "pelvis_joint", "spine1": "spine_low", "{s}foot": "ball_centre_r", "neck": "neck_base",
    "head": "head_centre", "{s}bigtoe": "big_toe_r", "{s}smalltoe": "small_toe_r",
}  # fmt: skip
_MVN = {
    "pelvis": "pelvis_centre", "l5": "l5s1", "neck": "neck_base", "head": "head_centre", "{s}upperleg": "hip_centre_r",
    "{s}lowerleg": "knee_centre_r", "{s}foot": "ankle_centre_r", "{s}toe": "ball_centre_r",
    "{s}upperarm": "shoulder_centre_r", "{s}forearm": "elbow_centre_r", "{s}hand": "wrist_centre_r",
}  # fmt: skip
_KINECT = {
    "spinebase": "pelvis_centre", "hip{s}": "hip_centre_r", "knee{s}": "knee_centre_r", "ankle{s}": "ankle_centre_r",
    "foot{s}": "ball_centre_r", "spineshoulder": "neck_base", "shoulder{s}": "shoulder_centre_r",
    "elbow{s}": "elbow_centre_r", "wrist{s}": "wrist_centre_r", "head": "head_centre",
}  # fmt: skip
_H36M = {
    "hip": "pelvis_centre", "{s}hip": "hip_centre_r", "{s}knee": "knee_centre_r", "{s}foot": "ankle_centre_r",
    "thorax": "neck_base", "neck": "neck_base", "head": "head_centre", "{s}shoulder": "shoulder_centre_r",
    "{s}elbow": "elbow_centre_r", "{s}wrist": "wrist_centre_r",
}  # fmt: skip
_SKELETON = {
    "hips": "pelvis_centre", "{s}upleg": "hip_centre_r", "{s}leg": "knee_centre_r", "{s}foot": "ankle_centre_r",
    "{s}toebase": "ball_centre_r", "{s}arm": "shoulder_centre_r", "{s}forearm": "elbow_centre_r",
    "{s}hand": "wrist_centre_r", "neck": "neck_base", "head": "head_centre",
}  # fmt: skip
KEYPOINT_SETS: Mapping[str, Mapping[str, str]] = {
    "HALPE_26, BODY_25 or COCO": _POSE,
    "MediaPipe": _MEDIAPIPE,
    "SMPL": _SMPL,
    "Xsens MVN": _MVN,
    "Kinect": _KINECT,
    "Human3.6M": _H36M,
    "skeleton": _SKELETON,
}
# What joint centres do not tell: turns about the long axis of a limb, and what moves none of these points.
_UNTOLD = ("hip_rotation", "subtalar", "mtp", "arm_rot", "pro_sup", "wrist", "neck")
UNTOLD: tuple[str, ...] = tuple(name for name in COORDINATES if name.startswith(_UNTOLD))
# Points of the pelvis off the line through the hips, which show how far it is tilted.
_SHOW_TILT = ("pelvis_joint", "spine_low", "l5s1")
# Where none shows it, the pelvis is taken to share this part of the lean of the trunk: 36 degrees of the 52 by which
# people lean when they rise from a chair, in OpenCap's five chair rises.
TILT_SHARE = 0.7


@cache
def _table(name: str) -> synonyms.Table:
    return synonyms.Table(KEYPOINT_SETS[name])


def tables() -> tuple[synonyms.Table, ...]:
    """The labels of every set."""
    return tuple(_table(name) for name in KEYPOINT_SETS)


def find(labels: Sequence[str], there: Sequence[bool]) -> tuple[str, dict[int, str]]:
    """The set that knows most of these folded labels, and the landmark of each known one by its index.

    Args:
        there: whether each point is ever seen; the others count for nothing.
    """
    file = frozenset(labels)
    best, chosen, most = "", dict[int, str](), 0
    for name in KEYPOINT_SETS:
        found = {i: _table(name).landmark(label, file) for i, label in enumerate(labels) if label}
        found = {i: mark for i, mark in found.items() if mark}
        count = len({mark for i, mark in found.items() if there[i]})
        if count > most:
            best, chosen, most = name, found, count
    return best, chosen


def show_tilt(marks: Sequence[str]) -> bool:
    """Whether these landmarks show the tilt of the pelvis."""
    return any(mark in _SHOW_TILT for mark in marks)
