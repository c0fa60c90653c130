"""Xsens MVN files, written here from known angles: joint angles, and positions of segments where there are none."""

import random
from collections.abc import Callable
from pathlib import Path

import jax
import numpy as np
import pytest
from marker_cloud import walk
from scipy.spatial.transform import Rotation

from biomechgpt_jax import formats
from biomechgpt_jax.biomechanics import kinematics
from biomechgpt_jax.biomechanics.kinematics import FRACTIONS
from biomechgpt_jax.biomechanics.skeleton import COORDINATES, INDEX
from biomechgpt_jax.errors import InputError
from biomechgpt_jax.formats import mvnx

HEIGHT_M, RATE_HZ = 1.8, 60
# Rows are our axes (forward, up, right) in MVN's (forward, left, up).
AXES = np.array([[1.0, 0, 0], [0, 0, 1], [0, -1, 0]])
# Where our body has the origins of MVN's segments.
ORIGINS = {
    **{"T8": "thorax", "Head": "head"},
    **{f"{w}{n}": f"{m}_{s}" for w, s in (("Right", "r"), ("Left", "l")) for n, m in (
        ("UpperArm", "upper_arm"), ("ForeArm", "forearm"), ("Hand", "hand"),
        ("UpperLeg", "thigh"), ("LowerLeg", "shank"), ("Foot", "foot"), ("Toe", "toes"),
    )},
}  # fmt: skip


def _walk(frames: int = 40) -> np.ndarray:
    q = walk(frames)
    for name in ("hip_rotation_r", "hip_rotation_l", "lumbar_extension", "lumbar_bending", "neck_extension"):
        q[:, INDEX[name]] = 0.02 * (1 + len(name))
    return q


def _angles(q: np.ndarray) -> np.ndarray:
    """Joint angles f64[T, 22, 3] in degrees as MVN defines them: abduction, internal rotation, flexion."""
    angles = np.zeros((len(q), len(mvnx.JOINTS), 3))

    def put(joint: str, *names: tuple[str, float]) -> None:
        for column, (name, sign) in enumerate(names):
            if name:
                angles[:, mvnx.JOINTS.index(joint), column] = sign * np.degrees(q[:, INDEX[name]])

    for word, s in (("Right", "r"), ("Left", "l")):
        put(f"j{word}Hip", (f"hip_adduction_{s}", -1), (f"hip_rotation_{s}", 1), (f"hip_flexion_{s}", 1))
        put(f"j{word}Knee", ("", 0), ("", 0), (f"knee_angle_{s}", 1))
        put(f"j{word}Ankle", ("", 0), ("", 0), (f"ankle_angle_{s}", 1))
        put(f"j{word}Elbow", ("", 0), ("", 0), (f"elbow_flex_{s}", 1))
    for joint in ("jL5S1", "jL4L3", "jL1T12", "jT9T8"):
        put(joint, ("lumbar_bending", 0.25), ("lumbar_rotation", 0.25), ("lumbar_extension", -0.25))
    put("jC1Head", ("neck_bending", 1), ("neck_rotation", 1), ("neck_extension", -1))
    return angles


def _segments(q: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Orientations f64[T, 23, 4] (scalar first) and positions f64[T, 23, 3] in MVN's world."""
    body = jax.device_get(kinematics.segments(q, HEIGHT_M))
    pelvis = np.stack(body["pelvis"].frame, axis=-1).astype(np.float64)
    hips = body["pelvis"].origin - pelvis @ (HEIGHT_M * np.array([FRACTIONS.hip_back, FRACTIONS.hip_down, 0.0]))
    positions = np.tile(hips[:, None], (1, len(mvnx.SEGMENTS), 1))
    for name, ours in ORIGINS.items():
        positions[:, mvnx.SEGMENTS.index(name)] = body[ours].origin
    turns = Rotation.from_matrix(AXES.T @ pelvis @ AXES).as_quat()[:, [3, 0, 1, 2]]
    return np.tile(turns[:, None], (1, len(mvnx.SEGMENTS), 1)), positions @ AXES


def _write(path: Path, q: np.ndarray, angles: bool = True, labels: bool = True, skip: slice | None = None) -> Path:
    orientation, positions = _segments(q)
    joint = _angles(q)
    names = [
        *(f'<segment label="{name}" id="{i + 1}"><points/></segment>' for i, name in enumerate(mvnx.SEGMENTS)),
        *(f'<joint label="{name}"><connector1>x</connector1></joint>' for name in mvnx.JOINTS),
    ]
    text = ['<?xml version="1.0" encoding="UTF-8"?><mvnx xmlns="http://www.xsens.com/mvn/mvnx" version="4">']
    text.append(f'<subject label="Ann Miller" frameRate="{RATE_HZ}" segmentCount="23">')
    text += [*(names if labels else []), "<frames>"]
    for kind in ("identity", "tpose"):
        text.append(f'<frame time="0" index="" type="{kind}"><orientation>{"1 0 0 0 " * 23}</orientation></frame>')
    for t in range(len(q)):
        if skip is not None and skip.start <= t < skip.stop:
            continue
        values = {"orientation": orientation[t], "position": positions[t]} | (
            {"jointAngle": joint[t]} if angles else {}
        )
        cells = "".join(f"<{k}>{' '.join(f'{x:.6f}' for x in v.ravel())}</{k}>" for k, v in values.items())
        text.append(f'<frame time="{round(1000 * t / RATE_HZ)}" index="{t}" type="normal">{cells}</frame>')
    path.write_text("\n".join([*text, "</frames></subject></mvnx>"]))
    return path


@pytest.mark.parametrize("labels", [True, False])
def test_joint_angles_become_coordinates(tmp_path: Path, labels: bool) -> None:
    q = _walk()
    movement = formats.read(_write(tmp_path / "a.mvnx", q, labels=labels))
    assert movement.rate_hz == RATE_HZ and "xsens-joint-angles" in movement.metadata.flags
    assert "Ann" not in str(movement.metadata)
    if not labels:  # without names of segments the usual order is theirs
        assert movement.metadata.height_m == pytest.approx(HEIGHT_M, rel=1e-3)
    seen = {name for name, known in zip(COORDINATES, movement.observed, strict=True) if known}
    assert {name for name in COORDINATES if name.startswith(("arm_", "subtalar", "mtp", "wrist", "pro_"))}.isdisjoint(
        seen
    )
    assert len(seen) == 6 + 2 * 5 + 6 + 2
    for name in seen:
        found = movement.coordinates[:, INDEX[name]]
        np.testing.assert_allclose(found, q[:, INDEX[name]], atol=2e-4, err_msg=name)


def test_positions_are_the_joint_centres_of_a_file_without_angles(tmp_path: Path) -> None:
    q = _walk()
    markers = formats.read_markers(_write(tmp_path / "a.mvnx", q, angles=False))
    assert markers.names == mvnx.SEGMENTS and markers.rate_hz == RATE_HZ
    at = {name: markers.positions[:, i].astype(np.float64) for i, name in enumerate(markers.names)}
    # The knee that the positions show bends as the angles of the same movement say, and forwards.
    thigh, shank = at["RightUpperLeg"] - at["RightLowerLeg"], at["RightFoot"] - at["RightLowerLeg"]
    cosine = (thigh * shank).sum(axis=1) / np.linalg.norm(thigh, axis=1) / np.linalg.norm(shank, axis=1)
    np.testing.assert_allclose(np.pi - np.arccos(cosine), q[:, INDEX["knee_angle_r"]], atol=1e-3)
    assert (at["Head"] - at["RightFoot"])[:, 1].min() > 1.2, "y is up"


def test_joint_angles_that_the_positions_contradict_are_told(tmp_path: Path) -> None:
    q = _walk()
    path = _write(tmp_path / "a.mvnx", q)
    assert not [flag for flag in formats.read(path).metadata.flags if flag.startswith("caution")]
    path.write_text(path.read_text().replace("jRightKnee", "jRightX").replace("jRightHip", "jRightKnee"))
    said = [flag for flag in formats.read(path).metadata.flags if flag.startswith("caution")]
    assert len(said) == 1 and "the right knee bent otherwise than its joint angle" in said[0]


def test_frames_that_are_missing_are_unseen(tmp_path: Path) -> None:
    q = _walk()
    movement = formats.read(_write(tmp_path / "a.mvnx", q, skip=slice(10, 25)))
    knee = movement.coordinates[:, INDEX["knee_angle_r"]]
    assert movement.frames == 40 and np.isnan(knee[10:25]).all()
    np.testing.assert_allclose(knee[25:], q[25:, INDEX["knee_angle_r"]], atol=1e-4)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda t: t[: len(t) // 2], "damaged XML or cut off"),
        (lambda t: t.replace("<mvnx", '<!DOCTYPE mvnx [<!ENTITY a "b">]><mvnx', 1), "declares entities"),
        (lambda t: t.replace('type="normal"', 'type="npose"'), "0 frames of type 'normal'"),
        (lambda t: t.replace("<jointAngle>", "<jointAngle>7 ", 1), "numbers of jointAngle"),
        (lambda t: t.replace("<position>", "<position>x", 1), "damaged XML or cut off"),
        (lambda t: t.replace('label="jL5S1"', 'label="jLeftHip"'), "names a joint twice"),
        (
            lambda t: t.replace("jointAngle", "jointAngleXZY").replace("position", "elsewhere"),
            "neither joint angles nor",
        ),
        (lambda t: "<mvnx>" + "<a>" * 2000 + "</a>" * 2000 + "</mvnx>", "elements within elements"),
        (lambda t: "hello", "damaged XML or cut off"),
    ],
)
def test_damaged_files_are_refused(tmp_path: Path, change: Callable[[str], str], words: str) -> None:
    path = _write(tmp_path / "a.mvnx", _walk(8))
    path.write_text(change(path.read_text()))
    with pytest.raises(InputError, match=words) as refused:
        formats.load(path)
    assert "\n" not in str(refused.value)


def test_words_replaced_at_random_never_break_the_reader(tmp_path: Path) -> None:
    path = _write(tmp_path / "a.mvnx", _walk(6))
    words, outcomes = path.read_text().split(" "), []
    for seed in range(80):
        rng, damaged = random.Random(seed), list(words)
        for _ in range(2):
            damaged[rng.randrange(len(words) if seed % 2 else 60)] = rng.choice(
                ("nan", "inf", "1e300", "", "x", "<", "0")
            )
        path.write_text(" ".join(damaged))
        try:
            formats.load(path)
            outcomes.append("read")
        except InputError as error:
            outcomes.append(str(error))
    assert "read" in outcomes and not any("\n" in outcome for outcome in outcomes)
    assert len(set(outcomes)) > 3
