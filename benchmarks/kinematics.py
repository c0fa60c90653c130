"""Frames a second of forward kinematics against MJX, batched under vmap and jit on the same device."""

import time
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from figures import Figure, parser, publish

from biomechgpt_jax.biomechanics import kinematics
from biomechgpt_jax.biomechanics.skeleton import COORDINATE_COUNT

BAR = 5.0
HEIGHT_M = 1.75


def seconds_each(runs: dict[str, Callable[[], Any]], repeats: int) -> dict[str, float]:
    """Median seconds of each, measured in turns so that a busy machine slows all alike; compilation is left out."""
    for run in runs.values():
        jax.block_until_ready(run())
    taken: dict[str, list[float]] = {name: [] for name in runs}
    for _ in range(repeats):
        for name, run in runs.items():
            begin = time.perf_counter()
            jax.block_until_ready(run())
            taken[name].append(time.perf_counter() - begin)
    return {name: float(np.median(values)) for name, values in taken.items()}


def main() -> None:
    """Measure and print."""
    arguments = parser(__doc__ or "")
    arguments.add_argument("--frames", type=int, nargs="+", default=[1024, 8192], help="batch sizes (%(default)s)")
    arguments.add_argument("--repeats", type=int, default=15)
    options = arguments.parse_args()
    try:
        import mujoco
        from mujoco import mjx
        from mujoco_body import joint_order, mjcf
    except ImportError as error:
        note = f"{error.name} is not installed: pip install mujoco==3.17.0 mujoco-mjx==3.17.0"
        publish("kinematics", {"ratio to MJX": Figure(None, bar=BAR, better="above", note=note)}, options.json)
        return
    model = mujoco.MjModel.from_xml_string(mjcf(HEIGHT_M))
    order = joint_order(model)
    on_device, data = mjx.put_model(model), mjx.make_data(model)
    theirs = jax.jit(jax.vmap(lambda q: mjx.kinematics(on_device, data.replace(qpos=q)).site_xpos))
    figures: dict[str, Figure] = {}
    for frames in options.frames:
        poses = jnp.asarray(np.random.default_rng(0).uniform(-1, 1, (frames, COORDINATE_COUNT)), jnp.float32)
        ordered = poses[:, order]
        runs: dict[str, Callable[[], Any]] = {
            "ours": lambda poses=poses: kinematics.points_jit(poses, HEIGHT_M),
            "MJX": lambda ordered=ordered: theirs(ordered),
        }
        taken = seconds_each(runs, options.repeats)
        for name, value in taken.items():
            figures[f"{frames} frames, {name}"] = Figure(frames / value, "frames/s")
        figures[f"{frames} frames, ratio to MJX"] = Figure(taken["MJX"] / taken["ours"], "", BAR, "above")
        points = np.asarray(kinematics.points_jit(poses, HEIGHT_M))
        apart = np.abs(points - np.asarray(theirs(ordered))[:, _sites(model)]).max()
        figures[f"{frames} frames, largest difference"] = Figure(float(apart), "m", 1e-4)
    publish("kinematics", figures, options.json)


def _sites(model: Any) -> list[int]:
    import mujoco

    return [mujoco.mj_name2id(model, mujoco.mjtObj.mjOBJ_SITE, name) for name in kinematics.POINTS]


if __name__ == "__main__":
    main()
