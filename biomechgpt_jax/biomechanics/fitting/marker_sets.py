"""The labels that marker sets give to landmarks, and which set a file follows.

Labels are folded (`synonyms.fold`), for the right side with {s} for the side, or for the midline. The same label may
mean different things in different sets, so the set that knows most of a file's landmarks decides; labels that it does
not know are then looked up among those on which all sets agree.

Sources: Plug-in Gait, Helen Hayes, OpenCap and the clusters of OpenSim's examples from files in public repositories;
IOR from Leardini 2007 (Gait Posture 26:560), the shoulder and arms as Qualisys exports them; the Human Body Model from
the marker list in nimblephysics; RRIS40 from the list of koonyook/rris40; CGM2 from the translators of pyCGM2; the
sports set of Qualisys and Motive's Baseline from labels in public files; Davis as BTS exports it, from BTKData; French
names, CAST (Cappozzo 1995), Cleveland Clinic and Visual3D [memory].
"""

from collections.abc import Iterable, Mapping, Sequence
from functools import cache

from biomechgpt_jax.biomechanics.fitting import keypoints, synonyms
from biomechgpt_jax.errors import InputError


def _numbered(stem: str, mark: str, first: int = 1, last: int = 4) -> dict[str, str]:
    """Labels of a cluster: the stem with numbers."""
    return {f"{stem}{number}": mark for number in range(first, last + 1)}


_PLUG_IN_GAIT = {
    "{s}asi": "asis_r", "{s}psi": "psis_r", "sacr": "sacrum", "{s}kne": "knee_lateral_r", "{s}knem": "knee_medial_r",
    "{s}ank": "ankle_lateral_r", "{s}med": "ankle_medial_r", "{s}hee": "heel_r", "{s}toe": "metatarsal_2_r",
    "{s}latfoot": "metatarsal_5_r", "{s}mt5": "metatarsal_5_r", "c7": "c7", "t10": "t10", "clav": "clavicle",
    "strn": "sternum", "{s}bak": "back_r", "{s}sho": "acromion_r", "{s}cla": "acromion_r", "{s}elb": "elbow_lateral_r",
    "{s}wra": "wrist_radial_r", "{s}wrb": "wrist_ulnar_r", "{s}fin": "finger_r", "{s}fhd": "head_front_r",
    "{s}bhd": "head_back_r", "{s}thi": "thigh_cluster_r", **_numbered("{s}thi", "thigh_cluster_r", 2),
    "{s}tib": "shank_cluster_r", **_numbered("{s}tib", "shank_cluster_r", 2), "{s}upa": "upper_arm_cluster_r",
    **_numbered("{s}ua", "upper_arm_cluster_r"), "{s}frm": "forearm_cluster_r", "{s}fra": "forearm_cluster_r",
    **_numbered("{s}la", "forearm_cluster_r"),
    # Medial markers that many laboratories add, under the names that they give them.
    "{s}kneemed": "knee_medial_r", "{s}knemed": "knee_medial_r", "{s}mkne": "knee_medial_r",
    "{s}knein": "knee_medial_r",
    "{s}ankm": "ankle_medial_r", "{s}ankmed": "ankle_medial_r", "{s}mank": "ankle_medial_r",
    "{s}ankin": "ankle_medial_r", "{s}melb": "elbow_medial_r", "{s}elbm": "elbow_medial_r",
    # Waist and shin labels of another laboratory, which otherwise follows this set.
    "{s}fwt": "asis_r", "{s}bwt": "psis_r", "{s}shn": "shank_cluster_r", "{s}bac": "back_r",
}  # fmt: skip
_HELEN_HAYES = {
    "{s}asis": "asis_r", "{s}psis": "psis_r", "vsacral": "sacrum", "s2": "sacrum", "sacral": "sacrum",
    "{s}thigh": "thigh_cluster_r",
    **{f"{{s}}thigh{place}": "thigh_cluster_r" for place in ("upper", "front", "rear", "lower", "lat")},
    "{s}knee": "knee_lateral_r", "{s}kneelat": "knee_lateral_r", "{s}kneemedial": "knee_medial_r",
    "{s}kneemed": "knee_medial_r", "{s}shank": "shank_cluster_r",
    **{f"{{s}}shank{place}": "shank_cluster_r" for place in ("upper", "front", "rear", "lower", "lat")},
    "{s}ankle": "ankle_lateral_r", "{s}anklelat": "ankle_lateral_r", "{s}anklemedial": "ankle_medial_r",
    "{s}anklemed": "ankle_medial_r", "{s}heel": "heel_r", "{s}toe": "metatarsal_2_r", "{s}toetip": "toe_tip_r",
    "{s}toelat": "metatarsal_5_r", "{s}toemed": "metatarsal_1_r", "{s}footlateral": "metatarsal_5_r",
    "{s}footmedial": "metatarsal_1_r", "{s}mt5": "metatarsal_5_r", "{s}midfootsup": "midfoot_top_r",
    "{s}midfootlat": "midfoot_lateral_r", "{s}midfootmed": "midfoot_medial_r", "c7": "c7", "ij": "clavicle",
    "px": "sternum", "sternum": "sternum", "{s}acromium": "acromion_r", "{s}acromion": "acromion_r",
    "{s}shoulder": "acromion_r", "{s}clavicle": "clavicle_r", "{s}biceps": "upper_arm_cluster_r",
    "{s}bicep": "upper_arm_cluster_r", "{s}elbow": "elbow_lateral_r", "{s}elbowlat": "elbow_lateral_r",
    "{s}elbowmed": "elbow_medial_r", "{s}forearm": "forearm_cluster_r", "{s}wristlat": "wrist_radial_r",
    "{s}wristmed": "wrist_ulnar_r", "{s}temple": "head_side_r", "tophead": "head_top",
    **_numbered("{s}th", "thigh_cluster_r"), **_numbered("{s}sh", "shank_cluster_r"),
}  # fmt: skip
_HELEN_HAYES_SHORT = {  # cut to four letters, as C3D files of older systems hold them
    "{s}asi": "asis_r", "vsac": "sacrum", "{s}thi": "thigh_cluster_r", "{s}kne": "knee_lateral_r",
    "{s}sha": "shank_cluster_r", "{s}ank": "ankle_lateral_r", "{s}hee": "heel_r", "{s}toe": "metatarsal_2_r",
    "{s}sho": "acromion_r", "{s}elb": "elbow_lateral_r", "c7": "c7", "ij": "clavicle", "px": "sternum",
}  # fmt: skip
_OPENCAP = {
    "{s}asis": "asis_r", "{s}psis": "psis_r", "{s}hjc": "hip_centre_r", "{s}hjcreg": "hip_centre_r",
    **_numbered("{s}thigh", "thigh_cluster_r", 1, 5), "{s}knee": "knee_lateral_r", "{s}mknee": "knee_medial_r",
    "{s}shankantsup": "shank_front_r", **_numbered("{s}sh", "shank_cluster_r"), "{s}ankle": "ankle_lateral_r",
    "{s}mankle": "ankle_medial_r", "{s}calc": "calcaneus_r", "{s}toe": "metatarsal_2_r", "{s}5meta": "metatarsal_5_r",
    "c7": "c7", "{s}sternum": "clavicle_r", "{s}shoulder": "acromion_r", "{s}humerus": "upper_arm_cluster_r",
    "{s}elbowlat": "elbow_lateral_r", "{s}elbowmed": "elbow_medial_r", "{s}lelbow": "elbow_lateral_r",
    "{s}melbow": "elbow_medial_r", "{s}forearm": "forearm_cluster_r", "{s}wristradius": "wrist_radial_r",
    "{s}wristulna": "wrist_ulnar_r", "{s}lwrist": "wrist_radial_r", "{s}mwrist": "wrist_ulnar_r",
}  # fmt: skip
# Anatomical markers with clusters, as in the walking examples distributed with OpenSim.
_CLUSTERS = {
    "{s}asi": "asis_r", "{s}psi": "psis_r", "{s}hjc": "hip_centre_r", "{s}lfc": "knee_lateral_r",
    "{s}mfc": "knee_medial_r", "{s}kjc": "knee_centre_r", "{s}lmal": "ankle_lateral_r", "{s}mmal": "ankle_medial_r",
    "{s}ajc": "ankle_centre_r", "{s}cal": "calcaneus_r", "{s}toe": "metatarsal_2_r", "{s}mt1": "metatarsal_1_r",
    "{s}mt2": "metatarsal_2_r", "{s}mt5": "metatarsal_5_r", **_numbered("{s}th", "thigh_cluster_r"),
    **_numbered("{s}tb", "shank_cluster_r"), "c7": "c7", "t10": "t10", "clav": "clavicle", "strn": "sternum",
    "{s}acr": "acromion_r", "{s}fhd": "head_front_r", "{s}bhd": "head_back_r", "{s}lel": "elbow_lateral_r",
    "{s}mel": "elbow_medial_r", **_numbered("{s}ua", "upper_arm_cluster_r", 1, 3), "{s}faradius": "wrist_radial_r",
    "{s}faulna": "wrist_ulnar_r", "{s}fasuperior": "forearm_cluster_r",
}  # fmt: skip
_IOR = {
    "{s}ias": "asis_r", "{s}ips": "psis_r", "{s}asis": "asis_r", "{s}psis": "psis_r", "{s}gt": "trochanter_r",
    "{s}ftc": "trochanter_r", "{s}gtr": "trochanter_r", "{s}gtroc": "trochanter_r",
    "{s}iliaccrest": "iliac_crest_r", "{s}fle": "knee_lateral_r", "{s}le": "knee_lateral_r", "{s}fme": "knee_medial_r",
    "{s}me": "knee_medial_r", "{s}fax": "fibula_head_r", "{s}hf": "fibula_head_r", "{s}ttc": "shank_front_r",
    "{s}tt": "shank_front_r", "{s}fal": "ankle_lateral_r", "{s}lm": "ankle_lateral_r", "{s}tam": "ankle_medial_r",
    "{s}mm": "ankle_medial_r", "{s}fcc": "calcaneus_r", "{s}ca": "calcaneus_r", "{s}fm1": "metatarsal_1_r",
    "{s}fm": "metatarsal_1_r", "{s}fm2": "metatarsal_2_r", "{s}sm": "metatarsal_2_r", "{s}fm5": "metatarsal_5_r",
    "{s}vm": "metatarsal_5_r", "cv7": "c7", "c7": "c7", "tv2": "t2", "tv10": "t10", "sjn": "clavicle", "ij": "clavicle",
    "sxs": "sternum", "px": "sternum", "{s}sae": "acromion_r", "{s}sa": "acromion_r", "{s}caj": "acromion_r",
    "{s}hle": "elbow_lateral_r", "{s}hme": "elbow_medial_r", "{s}rsp": "wrist_radial_r", "{s}usp": "wrist_ulnar_r",
    "{s}hm2": "finger_r", "{s}hm3": "finger_r", "{s}acr": "acromion_r",
    "{s}fmt1": "metatarsal_1_r", "{s}fmt2": "metatarsal_2_r", "{s}fmt5": "metatarsal_5_r",
    "ster": "clavicle", "xpro": "sternum", "{s}temp": "head_side_r", "{s}icr": "iliac_crest_r", "{s}hmc2": "finger_r",
    "t10": "t10", "{s}sips": "psis_r", "{s}sias": "asis_r",
}  # fmt: skip
_HUMAN_BODY_MODEL = {
    "{s}asis": "asis_r", "{s}psis": "psis_r", "{s}gtro": "trochanter_r", "{s}lek": "knee_lateral_r",
    "{s}lke": "knee_lateral_r", "{s}mek": "knee_medial_r", "{s}lm": "ankle_lateral_r", "{s}mm": "ankle_medial_r",
    "{s}toe": "metatarsal_2_r", "{s}mt2": "metatarsal_2_r", "{s}mt5": "metatarsal_5_r", "{s}hee": "heel_r",
    "{s}sho": "acromion_r", "{s}lee": "elbow_lateral_r", "{s}mee": "elbow_medial_r", "{s}lw": "wrist_radial_r",
    "{s}mw": "wrist_ulnar_r", "{s}frm": "forearm_cluster_r", "{s}delt": "upper_arm_cluster_r", "{s}fin": "finger_r",
    "sacr": "sacrum", "c7": "c7", "t10": "t10", "strn": "sternum", "xyph": "sternum", "jn": "clavicle",
    "thead": "head_top", "{s}head": "head_side_r", "{s}lthi": "thigh_cluster_r", "{s}ati": "shank_cluster_r",
    "{s}lsha": "shank_cluster_r", "f{s}thi": "thigh_cluster_r",
}  # fmt: skip
_CGM2 = {
    "{s}asi": "asis_r", "{s}psi": "psis_r", "sacr": "sacrum", "{s}thi": "thigh_cluster_r", "{s}thap": "thigh_cluster_r",
    "{s}thad": "thigh_cluster_r", "{s}thlp": "thigh_cluster_r", "{s}thld": "thigh_cluster_r",
    "{s}kne": "knee_lateral_r",
    "{s}knm": "knee_medial_r", "{s}lepi": "knee_lateral_r", "{s}mepi": "knee_medial_r", "{s}tib": "shank_cluster_r",
    "{s}tiap": "shank_cluster_r", "{s}tiad": "shank_cluster_r", "{s}tilat": "shank_cluster_r",
    "{s}ank": "ankle_lateral_r", "{s}med": "ankle_medial_r", "{s}lmal": "ankle_lateral_r", "{s}mmal": "ankle_medial_r",
    "{s}hee": "heel_r", "{s}heel": "heel_r", "{s}toe": "metatarsal_2_r", "{s}smh": "metatarsal_2_r",
    "{s}fmh": "metatarsal_1_r", "{s}vmh": "metatarsal_5_r", "{s}p1mt": "metatarsal_1_r",
    "{s}p5mt": "metatarsal_5_r", "{s}mfs": "midfoot_top_r", "{s}mfl": "midfoot_lateral_r", "{s}sh": "acromion_r",
    "{s}sho": "acromion_r", "{s}elb": "elbow_lateral_r", "c7": "c7", "t10": "t10", "clav": "clavicle",
    "strn": "sternum",
}  # fmt: skip
_DAVIS = {
    "{s}asis": "asis_r", "{s}psis": "psis_r", "sacrum": "sacrum", "{s}thigh": "thigh_cluster_r",
    "{s}bar1": "thigh_cluster_r", "{s}knee1": "knee_lateral_r", "{s}knee2": "fibula_head_r",
    "{s}bar2": "shank_cluster_r",
    "{s}mall": "ankle_lateral_r", "{s}heel": "heel_r", "{s}met": "metatarsal_5_r", "{s}should": "acromion_r",
    "c7": "c7",
}  # fmt: skip
# Motive's Baseline skeletons (37, 41, 50, 57 markers) and the sports set of Qualisys share most of their labels.
_MOTIVE = {
    "waist{s}front": "asis_r", "waist{s}back": "psis_r", "waist{s}": "iliac_crest_r", "waistback": "sacrum",
    "waistcback": "sacrum", "{s}sips": "psis_r", "{s}thigh": "thigh_cluster_r",
    **{f"{{s}}thigh{place}": "thigh_cluster_r" for place in ("side", "frontlow", "fronthigh", "high", "low", "medial")},
    "{s}kneeout": "knee_lateral_r", "{s}kneein": "knee_medial_r", "{s}shin": "shank_cluster_r",
    **{f"{{s}}shin{place}": "shank_cluster_r" for place in ("side", "fronthigh", "frontlow")},
    "{s}ankleout": "ankle_lateral_r", "{s}anklein": "ankle_medial_r", "{s}heel": "heel_r", "{s}heelback": "heel_r",
    "{s}toein": "metatarsal_1_r", "{s}toeout": "metatarsal_5_r", "{s}forefootin": "metatarsal_1_r",
    "{s}forefootout": "metatarsal_5_r", "{s}forefoot1": "metatarsal_1_r", "{s}forefoot2": "metatarsal_2_r",
    "{s}forefoot5": "metatarsal_5_r", "{s}toetip": "toe_tip_r", "spinetop": "c7", "backtop": "c7",
    "spinethoracic2": "t2", "spinethoracic12": "t10", "chest": "sternum", "chestlow": "sternum", "chesttop": "clavicle",
    "back{s}": "back_r", "{s}shouldertop": "acromion_r", "{s}arm": "upper_arm_cluster_r",
    "{s}uarmhigh": "upper_arm_cluster_r", "{s}elbowout": "elbow_lateral_r", "{s}elbowin": "elbow_medial_r",
    "{s}wristin": "wrist_radial_r", "{s}wristout": "wrist_ulnar_r", "{s}hand2": "finger_r", "headtop": "head_top",
}  # fmt: skip
_VISUAL3D = {  # [memory]
    "{s}asis": "asis_r", "{s}psis": "psis_r", "{s}ic": "iliac_crest_r", "{s}gt": "trochanter_r",
    "{s}lk": "knee_lateral_r",
    "{s}mk": "knee_medial_r", "{s}la": "ankle_lateral_r", "{s}ma": "ankle_medial_r", "{s}heel": "heel_r",
    "{s}1mt": "metatarsal_1_r", "{s}2mt": "metatarsal_2_r", "{s}5mt": "metatarsal_5_r", "{s}mt1": "metatarsal_1_r",
    "{s}mt5": "metatarsal_5_r", "{s}toe": "metatarsal_2_r", **_numbered("{s}th", "thigh_cluster_r"),
    **_numbered("{s}sk", "shank_cluster_r"), **_numbered("{s}sh", "shank_cluster_r"), "{s}shoulder": "acromion_r",
    "c7": "c7",
}  # fmt: skip
_FRENCH = {  # [memory]; the side is d or g
    "eias{s}": "asis_r", "eips{s}": "psis_r", "sacrum": "sacrum", "genou{s}": "knee_lateral_r",
    "genouext{s}": "knee_lateral_r", "genouint{s}": "knee_medial_r", "condyleext{s}": "knee_lateral_r",
    "condyleint{s}": "knee_medial_r", "cuisse{s}": "thigh_cluster_r", "jambe{s}": "shank_cluster_r",
    "cheville{s}": "ankle_lateral_r", "chevilleext{s}": "ankle_lateral_r", "chevilleint{s}": "ankle_medial_r",
    "malleoleext{s}": "ankle_lateral_r", "malleoleint{s}": "ankle_medial_r", "talon{s}": "heel_r",
    "orteil{s}": "metatarsal_2_r", "meta1{s}": "metatarsal_1_r", "meta2{s}": "metatarsal_2_r",
    "meta5{s}": "metatarsal_5_r",
    "epaule{s}": "acromion_r", "coude{s}": "elbow_lateral_r", "c7": "c7",
}  # fmt: skip
_CLEVELAND = {  # [memory]; triads on thigh and shank, the joints' markers in a static trial
    "{s}asis": "asis_r", "sacral": "sacrum", "{s}thightriad": "thigh_cluster_r",
    **{f"{{s}}thigh{end}": "thigh_cluster_r" for end in ("sup", "inf", "post")},
    **{f"{{s}}shank{end}": "shank_cluster_r" for end in ("sup", "inf", "post")}, "{s}kneelateral": "knee_lateral_r",
    "{s}kneemedial": "knee_medial_r", "{s}anklelateral": "ankle_lateral_r", "{s}anklemedial": "ankle_medial_r",
    "{s}heel": "heel_r", "{s}toe": "metatarsal_2_r", "{s}shoulder": "acromion_r", "{s}elbow": "elbow_lateral_r",
}  # fmt: skip
MARKER_SETS: Mapping[str, Mapping[str, str]] = {
    "Plug-in Gait": _PLUG_IN_GAIT,
    "Helen Hayes": _HELEN_HAYES,
    "OpenCap": _OPENCAP,
    "anatomical with clusters": _CLUSTERS,
    "Helen Hayes, short names": _HELEN_HAYES_SHORT,
    "IOR": _IOR,
    "CGM2": _CGM2,
    "Human Body Model": _HUMAN_BODY_MODEL,
    "Davis": _DAVIS,
    "Motive or Qualisys": _MOTIVE,
    "Visual3D": _VISUAL3D,
    "Cleveland Clinic": _CLEVELAND,
    "French": _FRENCH,
}
_FEWEST = 6
_SHORTEST_STEM = 3  # two letters mean too many things to be known outside their set
_PELVIC = ("asis", "psis", "sacrum", "hip_centre")
# Parts of the body that a refusal names, with the beginnings of their landmarks.
_PARTS = {
    "pelvis": _PELVIC,
    "thighs": ("thigh", "trochanter"),
    "shanks": ("shank", "fibula"),
    "ankles": ("ankle",),
    "feet": ("heel", "calcaneus", "midfoot", "metatarsal", "toe"),
    "trunk": ("c7", "t2", "t10", "clavicle", "sternum", "back", "acromion"),
    "arms": ("upper_arm", "elbow", "forearm", "wrist"),
    "head": ("head",),
}


@cache
def _table(name: str) -> synonyms.Table:
    return synonyms.Table(MARKER_SETS[name])


def general_labels() -> dict[str, str]:
    """Labels that mean the same landmark in every set that has them, and are long enough to mean nothing else.

    Joint centres are left out: beside skin markers they are computed, by rules that this program does not know.
    """
    meanings: dict[str, set[str]] = {}
    for marker_set in MARKER_SETS.values():
        for label, mark in marker_set.items():
            meanings.setdefault(label, set()).add(mark)
    return {
        label: next(iter(marks))
        for label, marks in meanings.items()
        if len(marks) == 1
        and len(label.replace("{s}", "")) >= (_SHORTEST_STEM if "{s}" in label else 1)
        and "_centre" not in next(iter(marks))
    }


@cache
def _general() -> synonyms.Table:
    return synonyms.Table(general_labels())


def tables() -> tuple[synonyms.Table, ...]:
    """The labels of every marker set and every set of keypoints."""
    return (*(_table(name) for name in MARKER_SETS), *keypoints.tables())


def is_known(label: str) -> bool:
    """Whether any marker set or set of keypoints has this label, on its own."""
    folded = synonyms.fold(label)
    return any(table.landmark(folded, frozenset()) for table in tables())


def recognise(names: Sequence[str], seen: Sequence[bool] | None = None) -> tuple[str, dict[int, str]]:
    """The marker set that knows most of a file's landmarks, and the landmark of each known label by its index.

    The set's name is empty, and no landmark known, where no label is. A file with hips and without markers of the
    pelvis holds keypoints.

    Args:
        seen: whether each marker is ever seen; those that are not count for nothing. All are, if None.
    """
    there = [True] * len(names) if seen is None else [bool(one) for one in seen]
    labels = _first_of_each(synonyms.folded(names), there)
    best, chosen, most = "", dict[int, str](), (0, 0)
    for name in MARKER_SETS:
        found = _known(_table(name), labels)
        count = len({mark for i, mark in found.items() if there[i]}), len(found)
        if count > most:
            best, chosen, most = name, found, count
    filled = {mark for i, mark in chosen.items() if there[i]}
    for i, mark in _known(_general(), labels).items():
        if i not in chosen and ("_cluster_" in mark or mark not in filled):
            chosen[i] = mark
            filled |= {mark} if there[i] else set()
    if not any(mark.startswith(("asis", "psis", "sacrum")) for mark in filled):
        centres = keypoints.find(labels, there)
        if {"hip_centre_r", "hip_centre_l"} <= set(centres[1].values()):
            return centres
    return best, dict(sorted(chosen.items()))


def _known(table: synonyms.Table, labels: Sequence[str]) -> dict[int, str]:
    file = frozenset(labels)
    found = ((i, table.landmark(label, file)) for i, label in enumerate(labels) if label)
    return {i: mark for i, mark in found if mark}


def _first_of_each(labels: list[str], there: list[bool]) -> list[str]:
    """The labels, empty where a label stands a second time: the first one that is seen counts."""
    first: dict[str, int] = {}
    for i, label in enumerate(labels):
        if label not in first or (there[i] and not there[first[label]]):
            first[label] = i
    return [label if first[label] == i else "" for i, label in enumerate(labels)]


def sizes_a_body(marks: Iterable[str], listed: Iterable[str] = ()) -> bool:
    """Whether these landmarks suffice to fit a body: both knees, and three of the pelvis or both hips.

    Args:
        marks: landmarks that are seen.
        listed: landmarks with a label that are never seen; one knee may be among them, with the leg that it belongs to.
    """
    here, there = set(marks), set(marks) | set(listed)
    knees = [{f"knee_lateral_{side}", f"knee_centre_{side}"} for side in "rl"]
    legs = all(knee & there for knee in knees) and any(knee & here for knee in knees)
    return legs and _places_pelvis(here) and len(here) >= _FEWEST


def _places_pelvis(marks: set[str]) -> bool:
    """Whether these landmarks suffice to place the pelvis: three of it, or both hips."""
    return sum(mark.startswith(_PELVIC) for mark in marks) >= 3 or {"hip_centre_r", "hip_centre_l"} <= marks


def has_pelvis(marks: Iterable[str]) -> bool:
    """Whether any of these landmarks is on the pelvis."""
    return any(mark.startswith(_PELVIC) for mark in marks)


def match(names: Sequence[str], seen: Sequence[bool] | None = None) -> tuple[str, dict[int, str]]:
    """As `recognise`, for a file that suffices to fit a body.

    Raises:
        InputError: the labels of the pelvis or of a knee are lacking; it says which, and what they may be called.
    """
    name, chosen = recognise(names, seen)
    there = [True] * len(names) if seen is None else seen
    marks = {mark for i, mark in chosen.items() if there[i]}
    if not sizes_a_body(marks, chosen.values()):
        never = [names[i] for i, mark in chosen.items() if not there[i] and mark.startswith(("knee", *_PELVIC))]
        raise InputError(_refusal(names, marks, never))
    return name, chosen


def _refusal(names: Sequence[str], marks: set[str], never: list[str]) -> str:
    """What lacks for a fit, the labels that are taken for it, which of them are never seen, and what is there."""
    sets = f"known are {', '.join(MARKER_SETS)}, and keypoints ({', '.join(keypoints.KEYPOINT_SETS)})"
    has = [part for part, stems in _PARTS.items() if any(mark.startswith(stems) for mark in marks)]
    if not has:
        return (
            f"its labels ({_shown(names, 8)}) belong to no known marker set; {sets}: rename the markers to one of them"
        )
    lacking = []
    if not _places_pelvis(marks):
        lacking.append(f"three markers of the pelvis (such as {_examples('asis_r', 'psis_r', 'sacrum')})")
    knees = [s for s in "rl" if not {f"knee_lateral_{s}", f"knee_centre_{s}"} & marks]
    if knees:
        which = "both knees" if len(knees) == 2 else "the right knee" if knees == ["r"] else "the left knee"
        lacking.append(f"{which} (such as {_examples(*(f'knee_lateral_{side}' for side in knees[:1]))})")
    if not lacking:
        lacking.append(f"markers: {len(marks)} known ones are too few")
    text = f"lacks {' and '.join(lacking)}"
    text += f"; {_shown(never, 4)} are listed, but never seen" if never else ""
    text += f"; it has markers of {', '.join(has)}"
    if knees and all(
        any(mark.startswith(f"{part}_cluster_{s}") for mark in marks) for part in ("thigh", "shank") for s in knees
    ):
        return f"{text}; its clusters can carry the knees of a static trial: give that with --static FILE"
    return f"{text}; {sets}: name them as one of these sets does"


def _shown(names: Sequence[str], most: int) -> str:
    return ", ".join(names[:most]) + (" ..." if len(names) > most else "")


def _examples(*marks: str) -> str:
    """Labels that different sets give to landmarks, in capitals."""
    labels: dict[str, None] = {}
    for mark in marks:
        for name in MARKER_SETS:
            labels |= dict.fromkeys(label.upper() for label in _table(name).labels(mark)[:1])
    return ", ".join(list(labels)[:6])
