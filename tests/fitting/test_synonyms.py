"""Labels of markers: spellings of one name, sides at either end, sets that agree, axes of bones, and refusals."""

import pytest

from biomechgpt_jax.biomechanics import kinematics
from biomechgpt_jax.biomechanics.fitting import keypoints, marker_sets, synonyms
from biomechgpt_jax.biomechanics.fitting.landmarks import landmark
from biomechgpt_jax.errors import InputError

_SETS = {**marker_sets.MARKER_SETS, **keypoints.KEYPOINT_SETS}
_PELVIS_AND_KNEES = ("RASI", "LASI", "RPSI", "LPSI", "RKNE", "LKNE", "RANK", "LANK", "RHEE", "LHEE")


def _both(form: str, sides: str, names: str) -> tuple[str, ...]:
    """Labels of both sides."""
    return tuple(form.format(side, name) for side in sides.split() for name in names.split())


def _expanded(marker_set: str) -> dict[str, str]:
    """The labels of both sides of a set, with their landmarks."""
    rows = [
        (label.format(s=side), f"{mark[:-2]}_{side}" if "{s}" in label else mark)
        for label, mark in _SETS[marker_set].items()
        for side in "rl"
    ]
    return dict(rows)


@pytest.mark.parametrize("marker_set", list(_SETS))
def test_every_label_is_folded_and_a_landmark(marker_set: str) -> None:
    for label, mark in _expanded(marker_set).items():
        assert synonyms.fold(label) == label
        assert landmark(mark).at in kinematics.SEGMENTS
        assert landmark(mark).turns_with in kinematics.SEGMENTS


@pytest.mark.parametrize("marker_set", list(marker_sets.MARKER_SETS))
def test_a_file_of_one_set_is_read_by_that_set_and_no_other_steals_a_label(marker_set: str) -> None:
    labels = _expanded(marker_set)
    name, chosen = marker_sets.recognise(tuple(labels))
    assert len(chosen) == len(labels)
    assert {label: chosen[i] for i, label in enumerate(labels)} == labels, name


def test_labels_common_to_all_sets_mean_one_thing() -> None:
    general = marker_sets.general_labels()
    for label, mark in general.items():
        assert {known[label] for known in marker_sets.MARKER_SETS.values() if label in known} == {mark}
    assert {"{s}asi", "{s}fle", "c7", "t10", "sacr", "{s}toe"} <= set(general)
    assert not {"{s}lm", "{s}hjc", "{s}kjc"} & set(general)  # too short, and joint centres by unknown rules


@pytest.mark.parametrize(
    "spelling",
    [
        "{n}", "{n} ", "subject", "lower", "dots", "hyphens", "end", "words", "study",
    ],
)  # fmt: skip
def test_spellings_of_one_name_are_the_same_marker(spelling: str) -> None:
    spell = {
        "{n}": lambda side, name: f"{side}{name}",
        "{n} ": lambda side, name: f" {side} {name} ",
        "subject": lambda side, name: f"{side}_{name}",
        "lower": lambda side, name: f"{side}{name}".lower(),
        "dots": lambda side, name: f"{side}.{name}",
        "hyphens": lambda side, name: f"{side}-{name}",
        "end": lambda side, name: f"{name}{side.lower()}",
        "words": lambda side, name: f"{ {'R': 'Right', 'L': 'Left'}[side] }_{name}",
        "study": lambda side, name: f"{side}_{name}_study",
    }[spelling]
    stems = {"ASIS": "asis", "PSIS": "psis", "Knee": "knee_lateral", "Ankle": "ankle_lateral", "Heel": "heel"}
    names = tuple(spell(side, stem) for stem in stems for side in "RL")
    _, chosen = marker_sets.match(names)
    expected = [f"{mark}_{side}" for mark in stems.values() for side in "rl"]
    assert [chosen[i] for i in range(len(names))] == expected


def test_a_side_at_either_end_of_a_label_is_where_its_mirrored_label_has_it() -> None:
    """LCAL is the left CAL, but beside LCAR the left LCA (of the calcaneus, its side), which no set knows."""
    body = tuple(name for name in _PELVIS_AND_KNEES if "HEE" not in name)
    _, alone = marker_sets.recognise((*body, "LCAL"))
    _, at_the_start = marker_sets.recognise((*body, "LCAL", "RCAL"))
    _, at_the_end = marker_sets.recognise((*body, "LCAL", "LCAR"))
    assert alone[len(body)] == at_the_start[len(body)] == "calcaneus_l"
    assert not {len(body), len(body) + 1} & set(at_the_end)


def test_a_letter_at_the_end_is_a_side_only_beside_its_mirror_image() -> None:
    _, chosen = marker_sets.recognise((*_PELVIS_AND_KNEES, "HEEL"))
    assert 10 not in chosen  # not the left HEE, and of no side
    _, chosen = marker_sets.recognise(("EIAS_D", "EIAS_G", "GENOU_D", "GENOU_G", "TALON_D", "TALON_G"))
    assert chosen == {
        0: "asis_r", 1: "asis_l", 2: "knee_lateral_r", 3: "knee_lateral_l", 4: "heel_r", 5: "heel_l",
    }  # fmt: skip
    _, alone = marker_sets.recognise(("EIAS_G", "GENOU_G"))
    assert alone == {}


def test_a_side_inside_a_name_and_cut_names_are_known() -> None:
    _, motive = marker_sets.match(
        ("WaistLFront", "WaistRFront", "WaistLBack", "WaistRBack", "LKneeOut", "RKneeOut", "LAnkleOut", "RAnkleOut")
    )
    assert [motive[i] for i in range(4)] == ["asis_l", "asis_r", "psis_l", "psis_r"]
    _, cut = marker_sets.match(("RASI", "LASI", "VSAC", "RKNE", "LKNE", "RSHA", "LSHA", "RFOO", "LFOO", "LFOO"))
    assert cut[2] == "sacrum" and cut[5] == "shank_cluster_r" and 7 not in cut


def test_a_repeated_label_counts_once_and_the_one_that_is_seen() -> None:
    names = (*_PELVIS_AND_KNEES, "RKNE", "rkne")
    _, chosen = marker_sets.recognise(names)
    assert 10 not in chosen and 11 not in chosen
    _, chosen = marker_sets.recognise(names, [i != 4 for i in range(len(names))])
    assert chosen[10] == "knee_lateral_r" and 4 not in chosen and 11 not in chosen


def test_keypoints_beside_augmented_markers_are_no_skin_markers() -> None:
    study = [f"{s}{n}_study" for s in ("r", "L") for n in (".ASIS", ".PSIS", "_knee", "_mknee", "_ankle", "_calc")]
    names = ("RKnee", "LKnee", "RHeel", "LHeel", "RHip", "LHip", "Neck", *study)
    name, chosen = marker_sets.match(names)
    assert name == "OpenCap" and min(chosen) == 7 and len(chosen) == 12


def test_markers_that_are_never_seen_choose_no_set() -> None:
    """Of two sets in one file the one that was worn decides."""
    upper = tuple(f"{s}{n}" for s in "RL" for n in ("FHD", "BHD", "SHO", "UPA", "ELB", "FRM", "WRA", "WRB", "FIN"))
    lower = ("R_IAS", "L_IAS", "R_IPS", "L_IPS", "R_FLE", "L_FLE", "R_FAL", "L_FAL", "R_FCC", "L_FCC", "R_FM2", "L_FM2")
    names = upper + lower
    assert marker_sets.recognise(names)[0] == "Plug-in Gait"
    name, chosen = marker_sets.match(names, [i >= len(upper) for i in range(len(names))])
    assert name == "IOR" and chosen[len(upper)] == "asis_r"


def test_axes_of_bones_are_known_by_their_four_points() -> None:
    stems = ("PEL", "LFE", "RTI", "LTO", "HED", "RCL", "TRX")
    axes = [f"Ann:{stem}{end}" for stem in stems for end in "OALP"]
    markers = ["Ann:LTOE", "Ann:RTIB", "Ann:LFEM", "Ben:PELA", "RCLA", "C7", "O", "A", "L", "P", "", " "]
    assert synonyms.bone_axes(axes + markers) == frozenset(axes)
    assert synonyms.bone_axes(["RCLA", "LCLA", "RCLO"]) == frozenset()
    assert synonyms.bone_axes(["pelo", "PELA", "Pell", "pelP"]) == {"pelo", "PELA", "Pell", "pelP"}


@pytest.mark.parametrize(
    ("names", "words"),
    [
        (tuple("abcdefghi"), r"labels \(a, b, c, d, e, f, g, h \.\.\.\) belong to no .*Plug-in Gait, Helen Hayes"),
        (
            ("RASI", "LASI", "SACR", "RANK", "LANK", "C7"),
            r"lacks both knees \(such as RKNE.*RFLE.*has markers of pelvis, ankles, trunk",
        ),
        (("RASI", "LASI", "SACR", "RKNE", "RANK", "LANK"), "lacks the left knee"),
        (("RKNE", "LKNE", "RANK", "LANK", "RHEE", "LHEE"), "lacks three markers of the pelvis"),
        (
            ("RASI", "LASI", "SACR", *(f"{s}{n}" for s in "RL" for n in ("TH1", "TH2", "TH3", "TB1", "TB2", "TB3"))),
            "lacks both knees.*clusters can carry the knees of a static trial.*--static",
        ),
        (("RASI", "LASI", "SACR", "RKNE", "LKNE"), "5 known ones are too few"),
        (("RHip", "LHip", "RKnee", "LKnee", "Nose"), "lacks markers: 5 known ones are too few"),
    ],
)  # fmt: skip
def test_a_refusal_names_what_lacks(names: tuple[str, ...], words: str) -> None:
    with pytest.raises(InputError, match=words):
        marker_sets.match(names)


def test_a_refusal_names_the_knees_that_are_listed_and_never_seen() -> None:
    with pytest.raises(InputError, match=r"lacks both knees.*RKNE, LKNE are listed, but never seen"):
        marker_sets.match(_PELVIS_AND_KNEES, ["KNE" not in name for name in _PELVIS_AND_KNEES])


def test_a_leg_that_is_listed_and_never_seen_spoils_nothing_else() -> None:
    right = [not name.startswith("L") or name in ("LASI", "LPSI") for name in _PELVIS_AND_KNEES]
    _, chosen = marker_sets.match(_PELVIS_AND_KNEES, right)
    assert chosen[_PELVIS_AND_KNEES.index("LKNE")] == "knee_lateral_l"


@pytest.mark.parametrize(
    ("names", "marker_set"),
    [
        (("Hip", "RHip", "RKnee", "RAnkle", "LHip", "LKnee", "LAnkle", "Neck"), "HALPE_26, BODY_25 or COCO"),
        (_both("{}_{}", "left right", "hip knee ankle foot_index"), "MediaPipe"),
        (("pelvis", "spine1", *_both("{}_{}", "left right", "hip knee ankle foot")), "SMPL"),
        (("Pelvis", "L5", *_both("{}{}", "Right Left", "UpperLeg LowerLeg Foot")), "Xsens MVN"),
    ],
)  # fmt: skip
def test_joint_centres_are_keypoints_where_no_marker_of_the_pelvis_is(names: tuple[str, ...], marker_set: str) -> None:
    name, chosen = marker_sets.match(names)
    assert name == marker_set and len(chosen) == len(names)
    assert {"hip_centre_r", "knee_centre_l", "ankle_centre_r"} <= set(chosen.values())
    name, chosen = marker_sets.recognise((*names, "RASI", "LASI", "SACR"))
    assert name not in keypoints.KEYPOINT_SETS and not any("_centre" in mark for mark in chosen.values())


def test_french_words_for_a_side_agree_with_their_nouns() -> None:
    masculine = ("EIAS droit", "EIAS gauche", "Genou droit", "Genou gauche", "Talon droit", "Talon gauche")
    feminine = ("Cheville droite", "Cheville gauche", "Cuisse droite", "Cuisse gauche")
    name, chosen = marker_sets.recognise((*masculine, *feminine))
    assert name == "French" and len(chosen) == len(masculine) + len(feminine)
    assert (chosen[3], chosen[7]) == ("knee_lateral_l", "ankle_lateral_l")
