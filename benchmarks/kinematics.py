"""Forward kinematics: agreement with MuJoCo, and frames per second beside MJX in the same run.

    python benchmarks/kinematics.py [--batches 256 4096 65536] [--repeats 15] [--json]

Both sides give the same 24 points of the same 40-joint body, in single precision, under jit; MJX as
`vmap(mjx.kinematics)`, the least of it that gives them. The two are timed in turn and the medians compared; compilation
is not counted. The loop over frames in MuJoCo's own C library is there for information. The ratio that is held
against the bar is the worst of the batch sizes. Needs the extra `mujoco`.
"""

import logging
import time
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from figures import Figure, parser, publish

from biomechgpt_jax.biomechanics import kinematics, mjcf, skeleton

BAR_SPEED, BAR_METRES = 5.0, 1e-4
HEIGHT_M = 1.70
C_FRAMES = 4096


def poses(count: int) -> np.ndarray:
    """Random poses within the limits of every coordinate, f32[count, 40]."""
    rng = np.random.default_rng(0)
    low, high = skeleton.limits().T
    bounds = np.where(np.isfinite(low), low, -2), np.where(np.isfinite(high), high, 2)
    return rng.uniform(*bounds, (count, skeleton.COORDINATE_COUNT)).astype(np.float32)


def seconds(run: Callable[[], object]) -> float:
    begin = time.perf_counter()
    jax.block_until_ready(run())
    return time.perf_counter() - begin


def main() -> None:
    command = parser(__doc__ or "")
    command.add_argument("--batches", type=int, nargs="+", default=[256, 4096, 65536], help="frames in a batch")
    command.add_argument("--repeats", type=int, default=15, help="timings of each, of which the median is taken")
    arguments = command.parse_args()
    logging.getLogger().setLevel(logging.ERROR)  # MJX tells of back ends that are not installed
    import mujoco
    from mujoco import mjx

    model = mujoco.MjModel.from_xml_string(mjcf.model(HEIGHT_M))
    on_device, blank = mjx.put_model(model), mjx.make_data(model)

    def mjx_points(qpos: jax.Array) -> tuple[jax.Array, jax.Array]:
        data = mjx.kinematics(on_device, blank.replace(qpos=qpos))
        return data.xpos, data.site_xpos

    theirs = jax.jit(jax.vmap(mjx_points))
    ours = jax.jit(lambda coordinates: kinematics.points(coordinates, HEIGHT_M))

    figures, ratios = {}, []
    for batch in arguments.batches:
        q = poses(batch)
        there, here = jnp.asarray(mjcf.qpos(q)), jnp.asarray(q)
        compiled = seconds(lambda there=there: theirs(there)), seconds(lambda here=here: ours(here))
        times = np.array(
            [(seconds(lambda: theirs(there)), seconds(lambda: ours(here))) for _ in range(arguments.repeats)]
        )
        slow, fast = np.median(times, axis=0)
        ratios.append(slow / fast)
        figures[f"frames_per_s_{batch}"] = Figure(batch / fast, "frames/s", note=f"compiled in {compiled[1]:.1f} s")
        figures[f"mjx_frames_per_s_{batch}"] = Figure(batch / slow, "frames/s", note=f"compiled in {compiled[0]:.1f} s")
        figures[f"ratio_{batch}"] = Figure(slow / fast, "x")
    figures["ratio"] = Figure(min(ratios), "x", BAR_SPEED, "above", "frames/s over those of MJX, worst batch size")

    # MuJoCo itself: the truth of the points, and the speed of its loop.
    data = mujoco.MjData(model)
    q = poses(C_FRAMES)
    bodies, sites = np.zeros((C_FRAMES, model.nbody, 3)), np.zeros((C_FRAMES, model.nsite, 3))
    begin = time.perf_counter()
    for frame, qpos in enumerate(mjcf.qpos(q)):
        data.qpos[:] = qpos
        mujoco.mj_kinematics(model, data)
        bodies[frame], sites[frame] = data.xpos, data.site_xpos
    loop = time.perf_counter() - begin
    place = {model.body(i).name: bodies[:, i] for i in range(model.nbody)}
    place |= {model.site(i).name: sites[:, i] for i in range(model.nsite)}
    truth = np.stack([place[name] for name in kinematics.POINTS], axis=1)
    error = float(np.abs(np.asarray(ours(jnp.asarray(q))) - truth).max())
    figures["c_frames_per_s"] = Figure(C_FRAMES / loop, "frames/s", note="MuJoCo's C library in a Python loop, one core")
    figures["largest_difference"] = Figure(error, "m", BAR_METRES, "below", f"from MuJoCo, {C_FRAMES} random poses")
    publish("kinematics", figures, arguments.json)


if __name__ == "__main__":
    main()
