"""Animated skeletons (.bvh) against movements built from known angles, and AddBiomechanics files."""

from pathlib import Path

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from biomechgpt_jax import formats
from biomechgpt_jax.biomechanics.skeleton import INDEX
from biomechgpt_jax.errors import InputError
from biomechgpt_jax.formats.parsing import bones
from biomechgpt_jax.reports import recording

SHARED = Path(__file__).parents[3] / "shared" / "data"
FRAMES = 40
# Axes of the file (x left, y up, z forward) seen from ours (x forward, y up, z right).
OURS = np.array([[0.0, 0, 1], [0, 1, 0], [-1, 0, 0]])


def _angles() -> dict[str, np.ndarray]:
    """Values in degrees over time of the coordinates that the skeleton shows."""
    phase = np.linspace(0, 2 * np.pi, FRAMES)
    angles = {
        "pelvis_tilt": -8 + 3 * np.sin(phase),
        "pelvis_list": 4 * np.cos(phase),
        "pelvis_rotation": 30 * phase / 6,
    }
    for side, shift in (("r", 0.0), ("l", np.pi)):
        angles[f"hip_flexion_{side}"] = 20 + 25 * np.sin(phase + shift)
        angles[f"hip_adduction_{side}"] = 3 * np.cos(phase + shift)
        angles[f"hip_rotation_{side}"] = 5 * np.sin(2 * phase + shift)
        angles[f"knee_angle_{side}"] = 30 + 25 * np.cos(phase + shift)
        angles[f"ankle_angle_{side}"] = 8 * np.sin(phase + shift)
    for name in ("lumbar_extension", "lumbar_bending", "lumbar_rotation"):
        angles[name] = 6 * np.sin(phase + len(name))
    return angles


def _write_bvh(
    path: Path,
    names: str = "{}UpLeg {}Leg {}Foot {}Toe",
    scale: float = 100.0,
    order: str = "ZXY",
    thigh_out: float = 0.0,
) -> None:
    """Write `_angles` as a BVH file; `thigh_out` is the angle in degrees by which the rest pose spreads each leg."""
    a = {name: np.radians(values) for name, values in _angles().items()}

    def ours(*turns: tuple[str, np.ndarray]) -> Rotation:
        return Rotation.from_euler("ZXY", np.stack([values for _, values in turns], axis=1))

    def channels(rotation: Rotation) -> np.ndarray:
        """Values in the file's channels of a rotation in our axes."""
        return Rotation.from_matrix(OURS.T @ rotation.as_matrix() @ OURS).as_euler(order, degrees=True)

    zero = np.zeros(FRAMES)
    pelvis = ours(("Z", a["pelvis_tilt"]), ("X", a["pelvis_list"]), ("Y", a["pelvis_rotation"]))
    columns = [np.stack([zero, zero + 0.9 * scale, np.linspace(0, scale, FRAMES)], axis=1), channels(pelvis)]
    rotation = " ".join(f"{axis}rotation" for axis in order)
    text = [f"HIERARCHY\nROOT Hips\n{{\nOFFSET 0 0 0\nCHANNELS 6 Xposition Yposition Zposition {rotation}"]
    for word, side, sign in (("Left", "l", 1.0), ("Right", "r", -1.0)):
        hip, knee, ankle, toe = (name.format(word) for name in names.split())
        out = np.radians(thigh_out)
        drawn = Rotation.from_euler("X", -sign * -out)  # the leg of the rest pose, in our axes
        leg = scale * 0.42 * np.array([sign * np.sin(out), -np.cos(out), 0])
        part = f"JOINT {{}}\n{{{{\nOFFSET {{:.6f}} {{:.6f}} {{:.6f}}\nCHANNELS 3 {rotation}"
        text.append(part.format(hip, sign * 0.09 * scale, 0, 0) + "\n" + part.format(knee, *leg))
        text.append(part.format(ankle, *leg) + "\n" + part.format(toe, 0, -0.05 * scale, 0.15 * scale))
        text.append("End Site\n{\nOFFSET 0 0 0\n}\n}\n}\n}\n}")
        mirror = -1.0 if side == "l" else 1.0
        flex = ours(
            ("Z", a[f"hip_flexion_{side}"]),
            ("X", mirror * a[f"hip_adduction_{side}"]),
            ("Y", mirror * a[f"hip_rotation_{side}"]),
        )
        bend = ours(("Z", -a[f"knee_angle_{side}"]), ("X", zero), ("Y", zero))
        tip = ours(("Z", a[f"ankle_angle_{side}"]), ("X", zero), ("Y", zero))
        # Joint rotations carry the drawn segments, which differ from straight ones by `drawn`.
        columns += [channels(flex * drawn.inv()), channels(drawn * bend * drawn.inv()), channels(drawn * tip)]
        columns.append(np.zeros((FRAMES, 3)))
    spine = ours(("Z", a["lumbar_extension"]), ("X", a["lumbar_bending"]), ("Y", a["lumbar_rotation"]))
    half = Rotation.from_rotvec(0.5 * spine.as_rotvec())
    for name in ("Spine", "Spine1", "Neck", "Head"):
        text.append(f"JOINT {name}\n{{\nOFFSET 0 {0.15 * scale} 0\nCHANNELS 3 {rotation}")
    text.append("End Site\n{\nOFFSET 0 0 0\n}\n}\n}\n}\n}\n}")
    columns += [channels(half), channels(half), np.zeros((FRAMES, 6))]
    rows = "\n".join(" ".join(f"{value:.6f}" for value in row) for row in np.concatenate(columns, axis=1))
    path.write_text("\n".join(text) + f"\nMOTION\nFrames: {FRAMES}\nFrame Time: 0.01\n{rows}\n")


def _assert_recovered(path: Path) -> None:
    """Compare a file written by `_write_bvh` with its angles and its path of 1 m in 40 frames."""
    movement = formats.read(path)
    assert movement.rate_hz == pytest.approx(100.0) and movement.metadata.flags == ("approximate-rotations",)
    assert not movement.observed[INDEX["arm_flex_r"]]
    for name, expected in _angles().items():
        assert movement.observed[INDEX[name]]
        np.testing.assert_allclose(np.degrees(movement.coordinates[:, INDEX[name]]), expected, atol=0.05, err_msg=name)
    way = movement.coordinates[:, [INDEX[name] for name in ("pelvis_tx", "pelvis_ty", "pelvis_tz")]]
    np.testing.assert_allclose(way[-1] - way[0], [1.0, 0.0, 0.0], atol=1e-4)
    np.testing.assert_allclose(way[:, 1], 0.9, atol=1e-4)


@pytest.mark.parametrize(
    ("names", "scale", "order"),
    [
        ("{}UpLeg {}Leg {}Foot {}Toe", 100.0, "ZXY"),
        ("mixamorig:{}UpLeg mixamorig:{}Leg mixamorig:{}Foot mixamorig:{}ToeBase", 1.0, "ZYX"),
        ("{}Hip {}Knee {}Ankle {}Toe", 0.45 / 0.0254, "XYZ"),
    ],
)
def test_angles_of_a_skeleton_are_recovered(tmp_path: Path, names: str, scale: float, order: str) -> None:
    _write_bvh(tmp_path / "a.bvh", names, scale, order)
    _assert_recovered(tmp_path / "a.bvh")


def test_spread_legs_of_the_rest_pose_count_as_straight(tmp_path: Path) -> None:
    _write_bvh(tmp_path / "a.bvh", thigh_out=8.0)
    _assert_recovered(tmp_path / "a.bvh")


_LEGS = ("LeftUpLeg", "LeftLeg", "LeftFoot", "LeftToe", "RightUpLeg", "RightLeg", "RightFoot", "RightToe")


@pytest.mark.parametrize(
    "names",
    [
        "Bip01 Pelvis,Bip01 L Thigh,Bip01 L Calf,Bip01 L Foot,Bip01 L Toe0,"
        "Bip01 R Thigh,Bip01 R Calf,Bip01 R Foot,Bip01 R Toe0",
        "spine,DEF-thigh.L,DEF-shin.L,DEF-foot.L,DEF-toe.L,DEF-thigh.R,DEF-shin.R,DEF-foot.R,DEF-toe.R",
        "pelvis,thigh_l,calf_l,foot_l,ball_l,thigh_r,calf_r,foot_r,ball_r",
        "HipCenter,HipLeft,KneeLeft,AnkleLeft,FootLeft,HipRight,KneeRight,AnkleRight,FootRight",
        "J_Bip_C_Hips,J_Bip_L_UpperLeg,J_Bip_L_LowerLeg,J_Bip_L_Foot,J_Bip_L_ToeBase,"
        "J_Bip_R_UpperLeg,J_Bip_R_LowerLeg,J_Bip_R_Foot,J_Bip_R_ToeBase",
        "hip,lthigh,lshin,lfoot,ltoe,rthigh,rshin,rfoot,rtoe",
        "pelvis,thigh.L.001,shin.L.001,foot.L.001,toe.L.001,thigh.R.001,shin.R.001,foot.R.001,toe.R.001",
        "mixamorig9:Hips,mixamorig9:LeftUpLeg,mixamorig9:LeftLeg,mixamorig9:LeftFoot,mixamorig9:LeftToeBase,"
        "mixamorig9:RightUpLeg,mixamorig9:RightLeg,mixamorig9:RightFoot,mixamorig9:RightToeBase",
    ],
)
def test_bones_are_known_by_the_names_of_many_programs(tmp_path: Path, names: str) -> None:
    _write_bvh(tmp_path / "a.bvh")
    text = (tmp_path / "a.bvh").read_text()
    for old, new in zip(("Hips", *_LEGS), names.split(","), strict=True):
        text = text.replace(f"ROOT {old}\n", f"ROOT {new}\n").replace(f"JOINT {old}\n", f"JOINT {new}\n")
    (tmp_path / "a.bvh").write_text(text)
    _assert_recovered(tmp_path / "a.bvh")


def test_helper_bones_are_not_taken_for_those_of_the_body() -> None:
    names = ["root", "pelvis", "ik_foot_l", "thigh_twist_01_l", "thigh_l", "calf_l", "foot_l", "LHipJoint", "pelvis.L"]
    roles = {role: names[numbers[0]] for role, numbers in bones.identify(names).items()}
    assert roles == {"pelvis": "pelvis", "hip_l": "thigh_l", "knee_l": "calf_l", "ankle_l": "foot_l"}


def test_millimetres_and_decimal_commas(tmp_path: Path) -> None:
    _write_bvh(tmp_path / "a.bvh", scale=1000.0)
    _assert_recovered(tmp_path / "a.bvh")
    (tmp_path / "b.bvh").write_text((tmp_path / "a.bvh").read_text().replace(".", ","))
    _assert_recovered(tmp_path / "b.bvh")


def test_a_path_in_an_unknown_unit_is_left_out_and_said(tmp_path: Path) -> None:
    _write_bvh(tmp_path / "a.bvh", scale=7.0)
    movement = formats.read(tmp_path / "a.bvh")
    assert not movement.observed[INDEX["pelvis_tx"]]
    assert [flag for flag in movement.metadata.flags if "its legs are 5.88 long: the unit of its path" in flag]
    reasons = recording.describe(movement)["missing_because"]
    assert isinstance(reasons, dict)
    assert reasons["pelvis_tz"] == "the unit of the file's path cannot be told"
    assert reasons["elbow_flex_r"] == "the rotations of the arms do not show it"


def _with_root_above(path: Path, turn: Rotation, channels_of_hips: str = "") -> None:
    """Put a moving root above the hips, in a world turned by `turn`; the hips keep a fixed offset."""
    text = path.read_text()
    rows = np.array([line.split() for line in text.splitlines()[-FRAMES:]], np.float64)
    place, hips = rows[:, :3], Rotation.from_euler("ZXY", rows[:, 3:6], degrees=True)
    root = turn * Rotation.from_euler("Y", np.linspace(0, 40, FRAMES)[:, None], degrees=True)
    offset = np.array([5.0, 90.0, 0.0])
    moved = turn.apply(place) - root.apply(offset)
    local = (root.inv() * turn * hips).as_euler("ZXY", degrees=True)
    own = np.tile(offset, (FRAMES, 1)) if channels_of_hips else np.zeros((FRAMES, 0))
    rows = np.concatenate([moved, root.as_euler("XYZ", degrees=True), own, local, rows[:, 6:]], axis=1)
    count = 6 if channels_of_hips else 3
    head = text[: text.index("Frame Time")].replace("MOTION", "}\nMOTION")
    head = head.replace(
        "ROOT Hips\n{\nOFFSET 0 0 0\nCHANNELS 6 Xposition Yposition Zposition",
        "ROOT Reference\n{\nOFFSET 0 0 0\nCHANNELS 6 Xposition Yposition Zposition Xrotation Yrotation Zrotation\n"
        f"JOINT Hips\n{{\nOFFSET 5 90 0\nCHANNELS {count} {channels_of_hips}",
    )
    lines = "\n".join(" ".join(f"{value:.6f}" for value in row) for row in rows)
    path.write_text(f"{head}Frame Time: 0.01\n{lines}\n")


@pytest.mark.parametrize("channels", ["", "Xposition Yposition Zposition"])
def test_a_moving_root_carries_the_hips(tmp_path: Path, channels: str) -> None:
    _write_bvh(tmp_path / "a.bvh")
    _with_root_above(tmp_path / "a.bvh", Rotation.identity(), channels)
    _assert_recovered(tmp_path / "a.bvh")


def test_a_skeleton_drawn_along_y_in_a_world_whose_z_is_up_follows_the_body(tmp_path: Path) -> None:
    _write_bvh(tmp_path / "a.bvh")
    _with_root_above(tmp_path / "a.bvh", Rotation.from_euler("X", 90, degrees=True))
    said = "caution: the skeleton rests along +Y, but the body stands along +Z: the body is followed"
    movement = formats.read(tmp_path / "a.bvh")
    assert movement.metadata.flags == ("approximate-rotations", said)
    for name, expected in _angles().items():
        if name != "pelvis_rotation":  # the heading in the world is arbitrary
            found = np.degrees(movement.coordinates[:, INDEX[name]])
            np.testing.assert_allclose(found, expected, atol=0.05, err_msg=name)
    np.testing.assert_allclose(movement.coordinates[:, INDEX["pelvis_ty"]], 0.9, atol=1e-4)


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("MOTION", "MOVEMENT", "not a BVH file"),
        ("LeftUpLeg", "Tail", "hip_l"),
        ("CHANNELS 3", "CHANNELS 4", "damaged HIERARCHY"),
        ("Frames: 40", "Frames: 41", "41 frames"),
        ("Frame Time: 0.01", "Frame Time: 0", "frame time"),
        ("OFFSET 0 0 0", "OFFSET nan 0 0", "not numbers"),
        ("}\n}\nMOTION", "}\nMOTION", "does not end"),
    ],
)
def test_damaged_skeletons_are_refused(tmp_path: Path, old: str, new: str, words: str) -> None:
    path = tmp_path / "a.bvh"
    _write_bvh(path)
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, 1))
    with pytest.raises(InputError, match=words):
        formats.read(path)


@pytest.mark.skipif(not SHARED.is_dir(), reason="the folder of real files is not beside the checkout")
class TestRealFiles:
    def test_a_dancer_moves_like_a_person(self) -> None:
        movement = formats.read(SHARED / "bvh" / "template.bvh")
        knee = np.degrees(movement.coordinates[:, INDEX["knee_angle_r"]])
        assert -5 < knee.min() < 20 and 40 < knee.max() < 110
        assert movement.seconds == pytest.approx(12.0, abs=0.01)

    def test_an_addbiomechanics_file_is_read(self) -> None:
        pytest.importorskip("nimblephysics_libs")
        movement = formats.read(SHARED / "addbiomechanics" / "results.b3d")
        assert movement.observed.sum() == 33 and movement.rate_hz == pytest.approx(100.0)
        assert (movement.metadata.mass_kg, movement.metadata.height_m) == (68.0, pytest.approx(1.7))
        assert formats.describe(movement)["net_speed_m_s"] == pytest.approx(1.3, abs=0.1)


def test_a_crash_of_the_library_is_reported(tmp_path: Path) -> None:
    pytest.importorskip("nimblephysics_libs")
    (tmp_path / "a.b3d").write_bytes(bytes(range(256)) * 8)
    with pytest.raises(InputError, match=r"cannot be read as AddBiomechanics"):
        formats.read(tmp_path / "a.b3d")
