"""The cost of checkpoints: how long a save blocks training, and how fast a run resumes.

    python benchmarks/checkpoint.py [--quick] [--json] [--only save,start]

`save`: the state of `configs/sizes.py:100m` (batch 8 x 512), saved between steps. The blocking time is that of
`Checkpoints.save`, after which the next step begins; that step is timed too, because the threads that write and hash
use part of the machine. `start`: programs that train `configs/sizes.py:10m`, timed from their start to the end of their
first step, alternately fresh and resumed, with the compilation cache of an earlier run. `--quick` does both with 1m.
"""

import dataclasses
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from figures import Figure, parser, publish

from biomechgpt_jax import config, overrides

ROOT = Path(__file__).parents[1]
LENGTH, BATCH = 512, 8
IDS = {"size": 1600, "motion_offset": 600, "codes": 1000, "digest": "benchmark"}
BLOCKING_BAR, START_BAR = 0.10, 1.3
RESUMED_FROM = 2  # step of the checkpoint that the resumed runs find


def experiment(size: str) -> config.Experiment:
    """The configuration of a size with the batch of this benchmark and an ordinary schedule."""
    cfg = overrides.load(f"{ROOT / 'configs' / 'sizes.py'}:{size}", [])
    train = config.Train(batch_size=BATCH, log_every=1, checkpoint_every=1000)
    return dataclasses.replace(cfg, train=train, mesh=config.Mesh())


def row(seed: int) -> dict[str, Any]:
    """A packed row: a trunk of motion followed by one answer."""
    import numpy as np

    random, index = np.random.default_rng(seed), np.arange(LENGTH)
    trunk = index < LENGTH - 32
    tokens = np.where(trunk, random.integers(600, 1600, LENGTH), random.integers(3, 600, LENGTH))
    return {
        "tokens": tokens.astype(np.int32),
        "positions": index.astype(np.int32),
        "segments": np.ones(LENGTH, np.int32),
        "branches": (~trunk).astype(np.int32),
        "loss_weights": (index >= LENGTH - 16).astype(np.float32),
    }


def saving(size: str, directory: Path) -> dict[str, Figure]:
    """Blocking time of a save, compared with a step."""
    import jax
    import numpy as np

    from biomechgpt_jax.parallel import mesh as meshes
    from biomechgpt_jax.tasks import language
    from biomechgpt_jax.tasks.id_space import IdSpace
    from biomechgpt_jax.tasks.parameters import Parameters
    from biomechgpt_jax.training import checkpoint

    asked = experiment(size)
    mesh = meshes.make(asked.mesh)
    batch = {name: np.stack([row(i)[name] for i in range(BATCH)]) for name in row(0)}
    ids = IdSpace(**IDS)
    step = language.make_step(asked, ids, mesh, 100)
    state = language.init_state(jax.random.key(0), asked, Parameters(asked.model, ids), mesh)
    size_gb = sum(leaf.nbytes for leaf in jax.tree.leaves(state)) / 1e9
    checkpoints = checkpoint.Checkpoints(directory, {}, 1)

    def seconds_of_step() -> float:
        nonlocal state
        started = time.perf_counter()
        state, _ = step(state, {}, batch)
        jax.block_until_ready(state)
        return time.perf_counter() - started

    with jax.set_mesh(mesh):
        seconds_of_step()  # compiles
        plain, blocking, after, whole = [], [], [], []
        for number in range(3):
            plain.append(seconds_of_step())
            started = time.perf_counter()
            checkpoints.save(number, state)
            blocking.append(time.perf_counter() - started)
            after.append(seconds_of_step())
            checkpoints.wait()
            whole.append(time.perf_counter() - started)
    checkpoints.close()
    usual = statistics.median(plain)
    return {
        "state": Figure(size_gb, "GB", note=f"{size}: parameters and moments"),
        "step": Figure(usual, "s", note=f"batch {BATCH} x {LENGTH}"),
        "save_blocks": Figure(max(blocking), "s", note="the longest of three, including the first of a run"),
        "save_blocks_share": Figure(max(blocking) / usual, "", BLOCKING_BAR, note="of a step"),
        "step_beside_a_save": Figure(statistics.median(after) / usual, "", note="relative to a step alone"),
        "save_committed": Figure(max(whole), "s", note="written, hashed and committed, beside one step"),
    }


def child(size: str, sequences: Path, workdir: Path, stop_at: int) -> None:
    """Train until step `stop_at` has been logged, then exit immediately; with 0, save step RESUMED_FROM and exit."""
    from biomechgpt_jax.tasks import language
    from biomechgpt_jax.tasks.id_space import IdSpace
    from biomechgpt_jax.training.loop import Places

    asked = experiment(size)
    if not stop_at:
        asked = dataclasses.replace(asked, train=dataclasses.replace(asked.train, checkpoint_every=RESUMED_FROM))

    def progress(step: int, values: dict[str, Any]) -> None:
        if "loss" not in values:
            return
        if stop_at and step >= stop_at:
            os._exit(0)
        if not stop_at and (workdir / "checkpoints" / f"step_{RESUMED_FROM:08d}" / "manifest.json").exists():
            os._exit(0)

    places = Places(workdir / "checkpoints", workdir / "metrics.jsonl")
    language.train(asked, sequences, 1000, places, progress, IdSpace(**IDS))


def starting(size: str, directory: Path, turns: int) -> dict[str, Figure]:
    """Seconds from the start of a program to the end of its first step, fresh and resumed."""
    from biomechgpt_jax.data import store

    sequences = directory / "sequences"
    rows = [(f"{i}", row(i)) for i in range(64)]
    store.write(
        sequences,
        "benchmark_rows",
        {name: (value.shape, value.dtype) for name, value in rows[0][1].items()},
        {"train": rows},
        {},
    )

    def seconds(workdir: Path, stop_at: int) -> float:
        command = [sys.executable, __file__, "--child", json.dumps([size, str(sequences), str(workdir), stop_at])]
        environment = os.environ | {
            "JAX_COMPILATION_CACHE_DIR": str(directory / "compiled"),
            "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
            "PYTHONPATH": str(ROOT),
            "TF_CPP_MIN_LOG_LEVEL": "3",
        }
        started = time.perf_counter()
        subprocess.run(command, env=environment, check=True)
        return time.perf_counter() - started

    resumed_from = directory / "saved"
    cold = seconds(resumed_from, 0)
    seconds(directory / "warm", 1)
    fresh, resumed = [], []
    for turn in range(turns):
        fresh.append(seconds(directory / f"fresh-{turn}", 1))
        resumed.append(seconds(resumed_from, RESUMED_FROM + 1))
    return {
        "first_run": Figure(cold, "s", note="with compilation, some steps and a save"),
        "fresh_start": Figure(statistics.median(fresh), "s", note=f"{size}: to the end of step 1"),
        "resumed_start": Figure(statistics.median(resumed), "s", note=f"to the end of step {RESUMED_FROM + 1}"),
        "resumed_against_fresh": Figure(statistics.median(resumed) / statistics.median(fresh), "", START_BAR),
    }


def main() -> None:
    options = parser(__doc__.splitlines()[0])
    options.add_argument("--quick", action="store_true", help="both with the 1m model, each measured once")
    options.add_argument("--only", default="save,start", help="what to measure (%(default)s)")
    options.add_argument("--child", help="used by the script itself")
    given = options.parse_args()
    if given.child:
        size, sequences, workdir, stop_at = json.loads(given.child)
        child(size, Path(sequences), Path(workdir), stop_at)
        return
    figures: dict[str, Figure] = {}
    with tempfile.TemporaryDirectory() as directory:
        if "save" in given.only.split(","):
            figures |= saving("1m" if given.quick else "100m", Path(directory) / "checkpoints")
            shutil.rmtree(Path(directory) / "checkpoints")
        if "start" in given.only.split(","):
            figures |= starting("1m" if given.quick else "10m", Path(directory), 1 if given.quick else 3)
    publish("checkpoint", figures, given.json)


if __name__ == "__main__":
    main()
