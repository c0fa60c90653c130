"""Forward kinematics against MuJoCo, on a model written from the same segment lengths."""

import jax
import numpy as np
import pytest

from biomechgpt_jax.biomechanics import kinematics, mjcf, skeleton
from biomechgpt_jax.biomechanics.kinematics import FRACTIONS, Fractions
from biomechgpt_jax.biomechanics.skeleton import COORDINATE_COUNT, COORDINATES, INDEX

mujoco = pytest.importorskip("mujoco")
pytestmark = pytest.mark.parity

# Another body: every length differs, by its own factor.
OTHER = Fractions(*(length * (0.85 + 0.02 * i) for i, length in enumerate(FRACTIONS)))


def random_poses(count: int, seed: int = 0) -> np.ndarray:
    """Poses anywhere within the limits of the program, the root anywhere in a room and turned anyhow."""
    rng = np.random.default_rng(seed)
    low, high = skeleton.limits().T
    q = rng.uniform(np.where(np.isfinite(low), low, -3), np.where(np.isfinite(high), high, 3), (count, COORDINATE_COUNT))
    q[:, INDEX["pelvis_rotation"]] = rng.uniform(-np.pi, np.pi, count)
    return q.astype(np.float32)


def mujoco_points(coordinates: np.ndarray, height_m: float, fractions: Fractions) -> np.ndarray:
    """The same points by MuJoCo in double precision, f64[N, P, 3]."""
    model = mujoco.MjModel.from_xml_string(mjcf.model(height_m, fractions))
    data = mujoco.MjData(model)
    assert [model.joint(i).name for i in range(model.njnt)] == list(COORDINATES)
    result = np.zeros((len(coordinates), len(kinematics.POINTS), 3))
    bodies = {model.body(i).name for i in range(model.nbody)}
    for frame, qpos in enumerate(mjcf.qpos(coordinates)):
        data.qpos[:] = qpos
        mujoco.mj_kinematics(model, data)
        for point, name in enumerate(kinematics.POINTS):
            result[frame, point] = data.body(name).xpos if name in bodies else data.site(name).xpos
    return result


@pytest.mark.parametrize(
    ("height_m", "fractions"), [(1.70, FRACTIONS), (1.05, FRACTIONS), (1.92, OTHER)], ids=["adult", "child", "other"]
)
def test_every_point_is_mujocos(height_m: float, fractions: Fractions) -> None:
    q = random_poses(300)
    found = np.asarray(jax.jit(kinematics.points)(q, height_m, fractions))
    np.testing.assert_allclose(found, mujoco_points(q, height_m, fractions), atol=1e-4)


def test_the_knee_of_the_mujoco_model_is_negative_in_flexion() -> None:
    q = np.zeros((1, COORDINATE_COUNT), np.float32)
    q[0, INDEX["knee_angle_l"]] = 1.0
    assert mjcf.qpos(q)[0, INDEX["knee_angle_l"]] == -1.0
    np.testing.assert_array_equal(mjcf.qpos(mjcf.qpos(q)), q)


def test_gradients_are_the_differences_of_mujocos_points() -> None:
    poses, step = random_poses(2, seed=1), 1e-5
    weight = np.random.default_rng(2).normal(size=(len(kinematics.POINTS), 3))
    gradient = jax.jit(jax.vmap(jax.grad(lambda q: (kinematics.points(q, 1.7) * weight).sum())))(poses)
    shifts = step * np.eye(COORDINATE_COUNT)
    for pose, found in zip(poses, np.asarray(gradient), strict=True):
        both = np.concatenate([pose + shifts, pose - shifts])
        values = (mujoco_points(both, 1.7, FRACTIONS) * weight).sum((1, 2))
        wanted = (values[:COORDINATE_COUNT] - values[COORDINATE_COUNT:]) / (2 * step)
        np.testing.assert_allclose(found, wanted, atol=1e-4)


def test_mjx_agrees_too() -> None:
    mjx = pytest.importorskip("mujoco.mjx")
    model = mujoco.MjModel.from_xml_string(mjcf.model(1.7))
    on_device, blank = mjx.put_model(model), mjx.make_data(model)
    q = random_poses(20, seed=3)
    found = jax.jit(jax.vmap(lambda qpos: mjx.kinematics(on_device, blank.replace(qpos=qpos)).xpos))(mjcf.qpos(q))
    ours = np.asarray(kinematics.points_jit(q, 1.7))
    for body in range(2, model.nbody):
        name = model.body(body).name
        if name in kinematics.POINT_INDEX:
            np.testing.assert_allclose(ours[:, kinematics.POINT_INDEX[name]], found[:, body], atol=1e-4)
