"""Poses that no person takes are flagged in words, and what people do is not."""

import dataclasses

import numpy as np
import pytest
from marker_cloud import LABELS, RATE_HZ, place, walk

from biomechgpt_jax.biomechanics import flags
from biomechgpt_jax.biomechanics.fitting import inverse, marker_sets, pose_checks
from biomechgpt_jax.biomechanics.fitting.markers import Markers
from biomechgpt_jax.biomechanics.skeleton import COORDINATE_COUNT, COORDINATES, INDEX
from biomechgpt_jax.biomechanics.trajectory import Metadata, Trajectory

FRAMES = 100
CHOSEN = marker_sets.recognise(LABELS)[1]


def _checked(positions: np.ndarray, labels: tuple[str, ...] = LABELS) -> tuple[str, ...]:
    return pose_checks.of_markers(Markers(positions, labels, RATE_HZ), CHOSEN)


def _walk() -> np.ndarray:
    return place(walk(FRAMES))


def _exchange(positions: np.ndarray, *labels: str) -> np.ndarray:
    """The positions with the markers of both sides of these labels exchanged."""
    exchanged = positions.copy()
    for label in labels:
        right, left = LABELS.index(f"R{label}"), LABELS.index(f"L{label}")
        exchanged[:, [right, left]] = positions[:, [left, right]]
    return exchanged


def _without(*labels: str) -> np.ndarray:
    positions = _walk()
    positions[:, [LABELS.index(label) for label in labels]] = np.nan
    return positions


def test_a_walk_has_no_flag() -> None:
    assert _checked(_walk()) == ()
    assert _checked(_without("RPSI", "LPSI")) == ()


@pytest.mark.parametrize("signs", [(-1, 1, 1), (1, 1, -1)])
def test_a_mirrored_file_is_left_handed(signs: tuple[int, int, int]) -> None:
    (said,) = flags.impossible(_checked(_walk() * np.array(signs)))
    assert "the axes of the file are left-handed" in said


def test_all_labels_on_the_wrong_side_are_noticed_with_and_without_the_back_of_the_pelvis() -> None:
    pairs = tuple(label[1:] for label in LABELS if label[0] == "R")
    for positions in (_walk(), _without("RPSI", "LPSI")):
        (said,) = flags.impossible(_checked(_exchange(positions, *pairs)))
        assert "left and right are exchanged" in said


def test_toes_behind_the_pelvis() -> None:
    positions = _walk()
    for side in "RL":
        heel, toe = LABELS.index(f"{side}HEE"), LABELS.index(f"{side}TOE")
        positions[:, [heel, toe]] = positions[:, [toe, heel]]
    assert flags.impossible(_checked(positions)) == ("the toes point behind the pelvis",)


@pytest.mark.parametrize("label", ["KNE", "ANK", "HEE", "TOE", "SHO", "PSI"])
def test_one_pair_on_the_wrong_side_is_named(label: str) -> None:
    assert flags.impossible(_checked(_exchange(_walk(), label))) == (f"R{label} and L{label} are exchanged",)


def test_a_whole_leg_on_the_wrong_side_is_noticed_in_walking() -> None:
    said = flags.impossible(_checked(_exchange(_walk(), "THI", "KNE", "TIB", "ANK", "HEE", "TOE")))
    assert "RKNE and LKNE are exchanged" in said


def test_who_stands_with_crossed_legs_is_a_person() -> None:
    q = np.zeros((FRAMES, COORDINATE_COUNT), np.float32)
    q[:, INDEX["pelvis_ty"]] = 0.95
    for side in "rl":
        q[:, INDEX[f"hip_adduction_{side}"]] = np.radians(22)
        q[:, INDEX[f"hip_flexion_{side}"]] = 0.02 * np.sin(np.arange(FRAMES) / 7)
    positions = place(q)
    ankles = positions[:, LABELS.index("RANK")] - positions[:, LABELS.index("LANK")]
    assert np.median(ankles[:, 2]) < -0.05, "the ankles are crossed"
    assert _checked(positions) == ()


def test_the_fit_to_markers_on_the_wrong_side_carries_the_flag_and_one_far_marker_is_named() -> None:
    exchanged = inverse.fit(Markers(_exchange(_walk(), "KNE"), LABELS, RATE_HZ)).trajectory
    assert "RKNE and LKNE are exchanged" in flags.impossible(exchanged.metadata.flags)
    far = _walk()
    far[:, LABELS.index("RELB")] += [0.0, 0.6, 0.5]
    found = inverse.fit(Markers(far, LABELS, RATE_HZ)).trajectory.metadata.flags
    assert not flags.impossible(found)
    (said,) = flags.cautions(found)
    assert said.startswith("markers far from their places on the body: RELB ")


def test_a_marker_on_another_segment_than_its_label_says_is_named() -> None:
    swapped = _walk()
    thigh, shank = LABELS.index("RTHI"), LABELS.index("RTIB")
    swapped[:, [thigh, shank]] = swapped[:, [shank, thigh]]
    for positions, named in ((swapped, True), (_walk(), False)):
        said = flags.cautions(inverse.fit(Markers(positions, LABELS, RATE_HZ)).trajectory.metadata.flags)
        assert any("their labels name: " in text and "RTHI" in text and "RTIB" in text for text in said) == named


def _fitted(height_m: float = 1.7, tilt: float = 0.0) -> Trajectory:
    q = np.zeros((FRAMES, COORDINATE_COUNT), np.float32)
    q[:, INDEX["pelvis_tilt"]] = tilt
    return Trajectory(q, np.ones(COORDINATE_COUNT, bool), RATE_HZ, Metadata(height_m=height_m))


def test_size_posture_and_errors_of_a_fit() -> None:
    names = tuple("abcdefgh")
    good = np.full((FRAMES, 8), 0.01)
    assert pose_checks.of_fit(_fitted(), good, names) == ()
    assert "0.15 m tall: is the unit right?" in pose_checks.of_fit(_fitted(0.15), good, names)[0]
    assert "the pelvis lies" in pose_checks.of_fit(_fitted(tilt=np.radians(-90)), good, names)[0]
    assert pose_checks.of_fit(_fitted(tilt=np.radians(-60)), good, names) == ()
    one, some = good.copy(), good.copy()
    one[:, 2] = 0.31
    some[:, 2:4] = 0.31
    assert pose_checks.of_fit(_fitted(), one, names) == (
        f"{flags.CAUTION}markers far from their places on the body: c 31 cm",
    )
    (said,) = flags.impossible(pose_checks.of_fit(_fitted(), some, names))
    assert said.startswith("the markers do not fit a body: 2 of 8")


@pytest.mark.parametrize(("change", "still"), [({}, True), ({"swing": 0.2}, False), ({"metres": 0.5}, False)])
def test_legs_that_do_not_move_while_the_body_travels(change: dict[str, float], still: bool) -> None:
    given = {"swing": 0.01, "metres": 3.0} | change
    q = np.zeros((FRAMES, COORDINATE_COUNT), np.float32)
    q[:, INDEX["pelvis_tx"]] = np.linspace(0, given["metres"], FRAMES)
    q[:, INDEX["knee_angle_r"]] = given["swing"] * np.sin(np.arange(FRAMES))
    q[5, INDEX["pelvis_tx"]] = np.nan
    observed = np.isin(COORDINATES, ("pelvis_tx", "pelvis_tz", "hip_flexion_r", "knee_angle_r"))
    movement = Trajectory(q, observed, RATE_HZ)
    assert bool(flags.impossible(pose_checks.of_movement(movement))) == still
    one = dataclasses.replace(movement, observed=np.isin(COORDINATES, ("pelvis_tx", "pelvis_tz", "knee_angle_r")))
    assert pose_checks.of_movement(one) == ()


@pytest.mark.parametrize(
    ("knees", "words"), [((0.2, -1.0), "the left knee"), ((-0.2, 1.0), ""), ((-0.9, -0.9), "right")]
)
def test_knees_that_bend_backwards(knees: tuple[float, float], words: str) -> None:
    q = np.zeros((FRAMES, COORDINATE_COUNT), np.float32)
    for side, bend in zip("rl", knees, strict=True):
        q[:, INDEX[f"knee_angle_{side}"]] = bend * (1 + np.sin(np.arange(FRAMES) / 9)) / 2
    observed = np.isin(COORDINATES, ("knee_angle_r", "knee_angle_l"))
    said = flags.impossible(pose_checks.of_movement(Trajectory(q, observed, RATE_HZ)))
    assert len(said) == bool(words) and words in "".join(said)
    assert pose_checks.of_movement(Trajectory(q, np.zeros(COORDINATE_COUNT, bool), RATE_HZ)) == ()


def test_mirrored_keypoints_point_their_toes_backwards() -> None:
    sides = {"hip_centre": 0.09, "knee_centre": 0.09, "ankle_centre": 0.09, "heel": 0.09, "big_toe": 0.09}
    ahead, high = {"heel": -0.05, "big_toe": 0.18}, {"hip_centre": 0.9, "knee_centre": 0.5, "ankle_centre": 0.1}
    marks = [f"{name}_{side}" for name in sides for side in "rl"]
    positions = np.zeros((FRAMES, len(marks), 3), np.float32)
    for i, mark in enumerate(marks):
        name, side = mark[:-2], mark[-1]
        positions[:, i] = (ahead.get(name, 0.0), high.get(name, 0.0), sides[name] if side == "r" else -sides[name])
    chosen = dict(enumerate(marks))
    assert pose_checks.of_markers(Markers(positions, tuple(marks), RATE_HZ), chosen) == ()
    mirrored = Markers(positions * np.array([1, 1, -1], np.float32), tuple(marks), RATE_HZ)
    assert "left-handed" in flags.impossible(pose_checks.of_markers(mirrored, chosen))[0]


def test_mirrored_joint_centres_without_feet_bend_their_knees_backwards() -> None:
    labels = tuple(f"{s}{n}" for s in "RL" for n in ("Hip", "Knee", "Ankle", "Shoulder", "Elbow", "Wrist"))
    positions, chosen = place(walk(FRAMES), labels=labels), marker_sets.recognise(labels)[1]
    assert pose_checks.of_markers(Markers(positions, labels, RATE_HZ), chosen) == ()
    mirrored = Markers(positions * np.array([1, 1, -1], np.float32), labels, RATE_HZ)
    assert "left-handed" in flags.impossible(pose_checks.of_markers(mirrored, chosen))[0]
