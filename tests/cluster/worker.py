"""One process of a toy training run: python worker.py PLAN, a JSON object; see `ground.Ground.start`."""

import contextlib
import hashlib
import json
import os
import signal
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1] / "helpers"))

import ground

from biomechgpt_jax import config
from biomechgpt_jax.errors import ClusterError, InputError
from biomechgpt_jax.parallel import distributed

PLAN: dict[str, Any] = json.loads(sys.argv[1])
WORKDIR = Path(PLAN["workdir"])


def experiment() -> config.Experiment:
    """Two layers of 32, four rows per step, every step logged, a checkpoint every fourth step."""
    return config.Experiment(
        model=config.Model(layers=2, model_size=32, heads=2, kv_heads=2, head_size=16, hidden_size=64),
        optimizer=config.Optimizer(warmup_steps=3, peak_learning_rate=1e-2),
        train=config.Train(
            **({"batch_size": ground.BATCH, "log_every": 1, "checkpoint_every": 4, "loss_chunk": 16} | PLAN["train"])
        ),
        mesh=config.Mesh(**PLAN["mesh"]),
    )


def befall(step: int, process: int) -> None:
    """Cause, once, the fault that the plan holds for this process at this step."""
    for number, fault in enumerate(PLAN["faults"]):
        done = WORKDIR / f"fault-{number}.done"
        if fault["process"] != process or step < fault["step"] or done.exists():
            continue
        done.write_text(f"{step}\n")
        print(f"fault: {fault['do']} at step {step}", file=sys.stderr, flush=True)
        if fault["do"] == "stick":
            time.sleep(3600)
        if fault["do"] == "clock back":
            Path(os.environ["FAKETIME_TIMESTAMP_FILE"]).write_text("-3600")
            return
        if fault["do"] == "raise":
            raise RuntimeError("a fault of the plan")
        if fault["do"] == "kill in save":
            threading.Thread(target=kill_in_save, args=(fault.get("delay_s", 0.0),), daemon=True).start()
            return
        os.kill(os.getpid(), {"kill": signal.SIGKILL, "term": signal.SIGTERM, "stop": signal.SIGSTOP}[fault["do"]])


def kill_in_save(delay_s: float) -> None:
    """Kill this process `delay_s` after the next checkpoint appears, while it is not yet committed."""
    while True:
        open_saves = [path for path in WORKDIR.glob("checkpoints/step_*") if not (path / "manifest.json").exists()]
        if open_saves:
            time.sleep(delay_s)
            os.kill(os.getpid(), signal.SIGKILL)
        time.sleep(0.0005)


def main() -> int:
    """Train and return the exit code that the command line would return."""
    cfg = experiment()
    try:
        place = distributed.start(cfg.distributed)
        return train(cfg, place)
    except (InputError, ClusterError) as error:
        print(f"biomechgpt: {error}", file=sys.stderr)
        return 2 if isinstance(error, InputError) else 1


def train(cfg: config.Experiment, place: distributed.Place) -> int:
    import jax
    import numpy as np

    from biomechgpt_jax.tasks import language
    from biomechgpt_jax.tasks.id_space import IdSpace
    from biomechgpt_jax.training import loop

    class Recorded(language.Language):
        """Records the rows that this process receives."""

        @contextlib.contextmanager
        def batches(self, mesh: Any, start: int, stop: int) -> Iterator[Any]:
            with (
                super().batches(mesh, start, stop) as inner,
                (WORKDIR / f"rows-{os.getpid()}.jsonl").open("a") as file,
            ):

                def recorded() -> Iterator[Any]:
                    for step, batch in enumerate(inner, start):
                        for shard in batch["tokens"].addressable_shards:
                            first = shard.index[0].start or 0
                            for row, tokens in enumerate(np.asarray(shard.data), first):
                                entry = [step, row, hashlib.sha256(tokens.tobytes()).hexdigest()[:16]]
                                file.write(json.dumps(entry) + "\n")
                        file.flush()
                        yield batch

                yield recorded()

    vectors = np.random.default_rng(0).normal(size=(1, ground.CODES, 6)).astype(np.float32)
    ids = IdSpace(ground.VOCABULARY, ground.OFFSET, ground.CODES, "toy")
    task = Recorded(cfg, PLAN["sequences"], ids, vectors)
    places = loop.Places(WORKDIR / "checkpoints", WORKDIR / "metrics.jsonl")

    def progress(step: int, values: dict[str, Any]) -> None:
        if "loss" in values:
            print(f"step {step}", file=sys.stderr, flush=True)
            befall(step, place.process)

    state, _ = loop.train(task, cfg.train, cfg.mesh, PLAN["steps"], places, progress)
    mesh = state["step"].sharding.mesh
    everywhere = jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec())
    whole = jax.device_get(jax.jit(lambda tree: tree, out_shardings=everywhere)(state["params"]))
    digest = hashlib.sha256(b"".join(np.ascontiguousarray(leaf).tobytes() for leaf in jax.tree.leaves(whole)))
    if place.process == 0:
        result = {"params": digest.hexdigest(), "steps": PLAN["steps"]}
        result |= {"processes": jax.process_count(), "devices": jax.device_count()}
        (WORKDIR / "result.json").write_text(json.dumps(result))
    return 0


if __name__ == "__main__":
    sys.exit(main())
