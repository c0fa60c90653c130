"""NumPy archives: round trip, MuJoCo's knee, AMASS against known rotations, and refusals."""

from pathlib import Path

import numpy as np
import pytest

from biomechgpt_jax import formats
from biomechgpt_jax.biomechanics.flags import cautions
from biomechgpt_jax.biomechanics.skeleton import COORDINATE_COUNT, COORDINATES, INDEX, observed_without
from biomechgpt_jax.biomechanics.trajectory import Trajectory
from biomechgpt_jax.errors import InputError
from biomechgpt_jax.formats import npz


def test_what_is_written_is_read_back(tmp_path: Path) -> None:
    values = np.random.default_rng(0).normal(0, 0.3, (50, COORDINATE_COUNT)).astype(np.float32)
    observed = observed_without(("neck_rotation",))
    values[:, ~observed] = 0
    npz.write(tmp_path / "a.npz", Trajectory(values, observed, 60.0))
    restored = formats.read(tmp_path / "a.npz")
    np.testing.assert_allclose(restored.coordinates, values, atol=1e-6)
    assert (restored.observed == observed).all() and restored.rate_hz == 60.0
    assert [path.name for path in tmp_path.iterdir()] == ["a.npz"]


def test_a_mujoco_knee_bends_the_other_way(tmp_path: Path) -> None:
    names = list(reversed(COORDINATES))
    qpos = np.zeros((10, COORDINATE_COUNT))
    qpos[:, names.index("knee_angle_r")] = np.linspace(0, -1, 10)
    np.savez(tmp_path / "m.npz", qpos=qpos, joint_names=np.array(names), fps=50.0)
    q = formats.read(tmp_path / "m.npz").coordinates
    np.testing.assert_allclose(q[:, INDEX["knee_angle_r"]], np.linspace(0, 1, 10), atol=1e-6)


def test_amass_rotations_become_the_right_joint_angles(tmp_path: Path) -> None:
    poses = np.zeros((5, 156))
    poses[:, 3 * 5] = 0.7  # right knee: about the leftward axis, so that the shank swings back
    poses[:, 3 * 1] = -0.4  # left hip: the thigh swings forward
    poses[:, 0] = np.pi / 2  # upright in a world whose z is up
    trans = np.tile([1.0, 2.0, 0.9], (5, 1))
    np.savez(tmp_path / "a.npz", poses=poses, trans=trans, mocap_framerate=120.0)
    trajectory = formats.read(tmp_path / "a.npz")
    first = dict(zip(COORDINATES, trajectory.coordinates[0], strict=True))
    assert first["knee_angle_r"] == pytest.approx(0.7, abs=1e-5)
    assert first["hip_flexion_l"] == pytest.approx(0.4, abs=1e-5)
    assert (first["pelvis_ty"], first["pelvis_tx"], first["pelvis_tz"]) == pytest.approx((0.9, 1.0, -2.0))
    assert [first["pelvis_tilt"], first["pelvis_list"]] == pytest.approx([0, 0], abs=1e-5)
    assert "approximate-rotations" in trajectory.metadata.flags
    assert not trajectory.observed[INDEX["arm_flex_r"]]


@pytest.mark.parametrize(("axis", "turn", "trans"), [("+Y", 0.0, (1, 0.9, 2)), ("-Y", np.pi, (1, -0.9, -2))])
def test_a_body_that_stands_along_another_axis_than_in_amass_is_followed(
    tmp_path: Path, axis: str, turn: float, trans: tuple[float, float, float]
) -> None:
    poses = np.zeros((5, 72))
    poses[:, 0] = turn + 0.1  # faces our z, and leans forward
    np.savez(tmp_path / "a.npz", poses=poses, trans=np.tile(np.array(trans, float), (5, 1)), fps=30.0)
    trajectory = formats.read(tmp_path / "a.npz")
    first = dict(zip(COORDINATES, trajectory.coordinates[0], strict=True))
    assert (first["pelvis_tx"], first["pelvis_ty"], first["pelvis_tz"]) == pytest.approx((1.0, 0.9, 2.0))
    assert (first["pelvis_tilt"], first["pelvis_list"]) == pytest.approx((0.0, 0.1), abs=1e-5)
    assert any(f"the body stands along {axis}" in flag for flag in trajectory.metadata.flags)


def _walk_of_amass(path: Path, unit: float, height_m: float = 0.93) -> Path:
    poses = np.zeros((60, 72))
    poses[:, 0] = np.pi / 2
    trans = np.stack([np.arange(60) / 25, np.zeros(60), np.full(60, height_m)], axis=1)
    np.savez(path, poses=poses, trans=unit * trans, fps=30.0)
    return path


@pytest.mark.parametrize(("unit", "word"), [(100.0, "centimetres"), (1000.0, "millimetres")])
def test_translations_of_amass_in_another_unit_are_read_in_it(tmp_path: Path, unit: float, word: str) -> None:
    plain = formats.canonical(_walk_of_amass(tmp_path / "a.npz", 1.0))
    other = formats.canonical(_walk_of_amass(tmp_path / "b.npz", unit))
    np.testing.assert_allclose(other.coordinates, plain.coordinates, atol=1e-4)
    assert not cautions(plain.metadata.flags)
    (said,) = cautions(other.metadata.flags)
    assert said.endswith(f"above the floor: trans is read as {word}")


@pytest.mark.parametrize("height_m", [0.02, 0.22])
def test_translations_that_are_no_metres_are_refused_for_their_unit(tmp_path: Path, height_m: float) -> None:
    """The pelvis is too low to tell the unit."""
    with pytest.raises(InputError, match=r"would be \d+ m above the floor and travel at 120 m/s; give trans in metres"):
        formats.read(_walk_of_amass(tmp_path / "a.npz", 100.0, height_m))


def test_a_pelvis_in_millimetres_is_refused_for_its_unit(tmp_path: Path) -> None:
    qpos = np.zeros((10, COORDINATE_COUNT))
    qpos[:, INDEX["pelvis_ty"]] = 930.0
    np.savez(tmp_path / "a.npz", qpos=qpos, fps=50.0)
    with pytest.raises(InputError, match="pelvis_ty is about 930; give metres"):
        formats.read(tmp_path / "a.npz")


class _Opened(Exception):
    pass


def _open() -> None:
    raise _Opened


class _Trap:
    """An object that raises when it is unpickled."""

    def __reduce__(self) -> tuple[object, tuple[()]]:
        return _open, ()


@pytest.mark.parametrize("layout", ["poses", "root_orient and pose_body"])
def test_amass_as_downloaded_is_read_without_opening_its_objects(tmp_path: Path, layout: str) -> None:
    poses = np.zeros((4, 165))
    poses[:, 3 * 4] = 0.5  # left knee
    apart = {"root_orient": poses[:, :3], "pose_body": poses[:, 3:66]}
    trap = np.array([_Trap()], dtype=object)
    np.savez(
        tmp_path / "walk_stageii.npz",
        allow_pickle=True,
        markers_latent_vids=trap,
        gender=np.array("neutral"),
        mocap_frame_rate=np.float64(120),
        trans=np.zeros((4, 3)),
        betas=np.zeros(16),
        **(apart if layout != "poses" else {"poses": poses}),
    )
    trajectory = formats.read(tmp_path / "walk_stageii.npz")
    assert trajectory.rate_hz == 120.0
    np.testing.assert_allclose(trajectory.coordinates[:, INDEX["knee_angle_l"]], 0.5, atol=1e-6)


def test_an_object_among_the_arrays_that_are_read_is_refused_unopened(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", allow_pickle=True, qpos=np.array([_Trap()], dtype=object), fps=np.float64(30))
    with pytest.raises(InputError, match="plain arrays"):
        formats.read(tmp_path / "a.npz")


@pytest.mark.parametrize(
    ("arrays", "words"),
    [
        ({"qpos": np.zeros((4, 40))}, "names no frame rate"),
        (
            {
                "root_orient": np.zeros((4, 3)),
                "pose_body": np.zeros((3, 63)),
                "trans": np.zeros((4, 3)),
                "fps": np.float64(30),
            },
            "differ in length",
        ),
        ({"other": np.zeros(3), "fps": np.float64(30)}, "holds other"),
        ({"coordinates": np.zeros((4, 7)), "rate_hz": np.float64(30)}, "give numbers"),
        ({"coordinates": np.full((4, 40), np.nan), "rate_hz": np.float64(30)}, "gaps"),
        ({"qpos": np.array([{}], dtype=object), "fps": np.float64(30)}, "plain arrays"),
    ],
)
def test_unusable_archives_are_refused(tmp_path: Path, arrays: dict[str, np.ndarray], words: str) -> None:
    np.savez(tmp_path / "a.npz", **arrays)
    with pytest.raises(InputError, match=words):
        formats.read(tmp_path / "a.npz")
