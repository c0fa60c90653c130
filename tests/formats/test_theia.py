"""C3D files with segment poses of Theia3D, written here: no such file may be passed on with this project."""

from collections.abc import Callable
from pathlib import Path

import jax
import numpy as np
import pytest
from marker_cloud import walk

from biomechgpt_jax import formats
from biomechgpt_jax.biomechanics import kinematics
from biomechgpt_jax.biomechanics.skeleton import COORDINATES, INDEX
from biomechgpt_jax.biomechanics.trajectory import Metadata
from biomechgpt_jax.errors import InputError
from biomechgpt_jax.formats import theia

HEIGHT_M, RATE_HZ = 1.62, 85.0
# Rows are our axes (forward, up, right) in those of Theia3D (right, forward, up).
AXES = np.array([[0.0, 1, 0], [0, 0, 1], [1, 0, 0]])
SEGMENTS = {
    **{"pelvis": "pelvis", "torso": "thorax", "head": "head"},
    **{f"{s}_{n}": f"{n}_{s}" for s in "rl" for n in ("thigh", "shank", "foot", "toes")},
    **{f"{s}_{n}": f"{m}_{s}" for s in "rl" for n, m in (("uarm", "upper_arm"), ("larm", "forearm"), ("hand", "hand"))},
}
LABELS = ["worldbody_4X4", *(f"{name}_4X4" for name in SEGMENTS)]


def _walk() -> np.ndarray:
    q = walk(60)
    for side in "rl":
        q[:, INDEX[f"hip_rotation_{side}"]] = 0.1
        q[:, INDEX[f"subtalar_angle_{side}"]] = 0.05
        q[:, INDEX[f"arm_add_{side}"]] = -0.2
    q[:, INDEX["lumbar_bending"]], q[:, INDEX["neck_extension"]] = 0.07, 0.12
    return q


def _poses(q: np.ndarray, unit: float = 1000.0) -> np.ndarray:
    """Poses f64[T, N, 4, 4] of the segments of LABELS as Theia3D gives them."""
    body = jax.device_get(kinematics.segments(q, HEIGHT_M))
    poses = np.tile(np.eye(4), (len(q), len(LABELS), 1, 1))
    for index, name in enumerate(SEGMENTS.values(), 1):
        poses[:, index, :3, :3] = AXES.T @ np.stack(body[name].frame, axis=-1) @ AXES
        poses[:, index, :3, 3] = unit * np.asarray(body[name].origin, np.float64) @ AXES
    return poses


def _write(
    path: Path, poses: np.ndarray, labels: list[str] = LABELS, subframes: int = 1, events: tuple[float, ...] = ()
) -> Path:
    """Write a C3D file without points whose rotations have so many frames for each frame of the (absent) points."""
    ezc3d = pytest.importorskip("ezc3d")
    file, frames = ezc3d.c3d(), len(poses) // subframes
    for group in ("POINT", "ANALOG"):
        file["parameters"][group]["RATE"]["value"] = [RATE_HZ / subframes]
    file["parameters"]["POINT"]["UNITS"]["value"] = ["mm"]
    file["data"]["points"], file["data"]["analogs"] = np.zeros((4, 0, frames)), np.zeros((1, 0, frames))
    file.add_parameter("ROTATION", "LABELS", labels)
    file.add_parameter("ROTATION", "RATE", [RATE_HZ])
    if events:
        file.add_parameter("EVENT", "LABELS", ["Foot Strike"] * len(events))
        file.add_parameter("EVENT", "CONTEXTS", ["Right"] * len(events))
        file.add_parameter("EVENT", "TIMES", np.stack([np.zeros(len(events)), np.array(events)]))
    file["data"]["rotations"] = np.moveaxis(poses, (0, 1, 2, 3), (3, 2, 0, 1))
    file.write(str(path))
    return path


@pytest.mark.parametrize("subframes", [1, 2])
def test_the_angles_that_made_the_poses_come_back(tmp_path: Path, subframes: int) -> None:
    q = _walk()
    read = formats.record(_write(tmp_path / "a.c3d", _poses(q), subframes=subframes, events=(0.2, 0.6)))
    movement = read.trajectory
    assert movement.rate_hz == pytest.approx(RATE_HZ) and movement.metadata.flags == ("approximate-rotations",)
    assert movement.metadata.height_m == pytest.approx(HEIGHT_M, rel=1e-3)
    masked = {name for name, seen in zip(COORDINATES, movement.observed, strict=True) if not seen}
    assert masked == {f"{name}_{s}" for s in "rl" for name in ("mtp_angle", "pro_sup", "wrist_flex", "wrist_dev")}
    for name in set(COORDINATES) - masked:
        tolerance = 1e-3 if name in ("pelvis_tx", "pelvis_ty", "pelvis_tz") else np.radians(0.1)
        found = movement.coordinates[:, INDEX[name]]
        np.testing.assert_allclose(found, q[:, INDEX[name]], atol=tolerance, err_msg=name)
    np.testing.assert_allclose(read.contacts.strike_time, [0.2, 0.6], atol=1e-5)


def test_more_rotations_than_the_file_holds_are_refused_before_a_library_sees_them(tmp_path: Path) -> None:
    raw = _write(tmp_path / "a.c3d", _poses(_walk())).read_bytes()
    at = raw.index(b"USED", raw.index(b"ROTATION"))
    count = raw.index((len(LABELS)).to_bytes(2, "little"), at + 6)
    (tmp_path / "b.c3d").write_bytes(raw[:count] + (30_000).to_bytes(2, "little") + raw[count + 2 :])
    with pytest.raises(InputError, match="announces 30000 rotations in 60 frames but holds fewer"):
        formats.read(tmp_path / "b.c3d")


def _read(poses: np.ndarray, labels: list[str] = LABELS, metre: float = 1e-3) -> formats.Trajectory:
    return theia.trajectory(poses, labels, RATE_HZ, metre, Metadata())


def test_frames_in_which_a_segment_was_not_tracked_are_missing() -> None:
    q, poses = _walk(), _poses(_walk())
    poses[:8, LABELS.index("r_shank_4X4")] = np.nan
    poses[-5:, LABELS.index("l_foot_4X4")] = 0.0
    poses[10:55, LABELS.index("head_4X4")] = np.nan
    movement = _read(poses)
    knee, ankle = (movement.coordinates[:, INDEX[name]] for name in ("knee_angle_r", "ankle_angle_l"))
    assert np.isnan(knee[:8]).all() and np.isfinite(knee[8:]).all()
    assert np.isnan(ankle[-5:]).all() and np.isfinite(ankle[:-5]).all()
    np.testing.assert_allclose(movement.coordinates[:, INDEX["hip_flexion_r"]], q[:, INDEX["hip_flexion_r"]], atol=1e-3)
    assert not movement.observed[INDEX["neck_rotation"]] and movement.observed[INDEX["lumbar_rotation"]]


def test_another_vertical_unit_and_kind_of_foot_are_seen_on_the_body() -> None:
    q, poses = _walk(), _poses(_walk(), unit=1.0)
    turn = np.array([[1.0, 0, 0], [0, 0, 1], [0, -1, 0]])  # y is up in the file
    poses[..., :3, :] = turn @ poses[..., :3, :]
    for side in "rl":  # the foot's z axis from the toes to the heel
        index = LABELS.index(f"{side}_foot_4X4")
        poses[:, index, :3, :3] = poses[:, index, :3, :3] @ np.array([[1.0, 0, 0], [0, 0, -1], [0, 1, 0]])
    movement = _read(poses)
    assert [flag for flag in movement.metadata.flags if flag.startswith("caution: the legs would be 0.0007")]
    for name in ("knee_angle_r", "ankle_angle_r", "subtalar_angle_l", "pelvis_tilt", "pelvis_ty"):
        found = movement.coordinates[:, INDEX[name]]
        np.testing.assert_allclose(found, q[:, INDEX[name]], atol=2e-3, err_msg=name)


def _turn_thigh(poses: np.ndarray) -> np.ndarray:
    """Name the axes of a thigh in another order."""
    index = LABELS.index("r_thigh_4X4")
    poses[:, index, :3, :3] = poses[:, index, :3, :3][..., [1, 2, 0]]
    return poses


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda poses: poses * np.nan, "pelvis was tracked in no two frames"),
        (_turn_thigh, "the z axis of r_thigh upwards was expected"),
    ],
)
def test_poses_of_no_person_are_refused(change: Callable[[np.ndarray], np.ndarray], words: str) -> None:
    with pytest.raises(InputError, match=words):
        _read(change(_poses(_walk())))


def test_left_and_right_exchanged_are_refused() -> None:
    labels = [label.replace("r_", "?_").replace("l_", "r_").replace("?_", "l_") for label in LABELS]
    with pytest.raises(InputError, match="the pelvis' x axis to the right was expected"):
        _read(_poses(_walk()), labels)


def test_a_refusal_says_what_the_file_is(tmp_path: Path) -> None:
    poses = _poses(_walk())
    names = [f"segment {i}" for i in range(len(LABELS))]
    with pytest.raises(InputError, match="no markers but rotations of 18 segments with unknown names"):
        formats.read(_write(tmp_path / "a.c3d", poses, names))
    some = [label.replace("r_shank", "r_wheel") for label in LABELS]
    with pytest.raises(InputError, match=r"holds rotations of 18 segments \(.*\), but none of r_shank"):
        formats.read(_write(tmp_path / "b.c3d", poses, some))
    with pytest.raises(InputError, match="no markers but a movement"):
        formats.read_markers(_write(tmp_path / "c.c3d", poses))
    with pytest.raises(InputError, match="--static is for files of markers"):
        formats.record(tmp_path / "c.c3d", static=tmp_path / "c.c3d")
