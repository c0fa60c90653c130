"""Forward kinematics against MuJoCo on random poses."""

import importlib.util
from pathlib import Path

import numpy as np
import pytest

from biomechgpt_jax.biomechanics import kinematics
from biomechgpt_jax.biomechanics.skeleton import COORDINATE_COUNT

pytestmark = pytest.mark.parity
_BODY = Path(__file__).parents[2] / "benchmarks" / "mujoco_body.py"


def test_points_equal_those_of_mujoco() -> None:
    mujoco = pytest.importorskip("mujoco")
    spec = importlib.util.spec_from_file_location("mujoco_body", _BODY)
    assert spec is not None and spec.loader is not None
    mujoco_body = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(mujoco_body)
    height = 1.83
    model = mujoco.MjModel.from_xml_string(mujoco_body.mjcf(height))
    order, data = mujoco_body.joint_order(model), mujoco.MjData(model)
    poses = np.random.default_rng(1).uniform(-1.2, 1.2, (50, COORDINATE_COUNT)).astype(np.float32)
    ours = np.asarray(kinematics.points_jit(poses, height))
    sites = [mujoco.mj_name2id(model, mujoco.mjtObj.mjOBJ_SITE, name) for name in kinematics.POINTS]
    for pose, points in zip(poses, ours, strict=True):
        data.qpos[:] = pose[order]
        mujoco.mj_kinematics(model, data)
        np.testing.assert_allclose(points, data.site_xpos[sites], atol=1e-4)
