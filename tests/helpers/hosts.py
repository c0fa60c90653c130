"""Programs that ask what hosts of a mesh hold of a batch, each run by `test_hosts` in a process of its own."""

import hashlib
import json
import sys

import jax
import numpy as np

from biomechgpt_jax import config
from biomechgpt_jax.data import loader
from biomechgpt_jax.data.mixture import Part
from biomechgpt_jax.parallel import feed, sharding
from biomechgpt_jax.parallel import mesh as meshes

L, B, STEPS = 16, 24, (0, 98, 131, 1000)  # an epoch of the datasets below ends within steps 98 and 131
MESHES = {
    "data": {"data": 8},
    "tensor": {"data": 1, "tensor": 8},
    "sequence": {"data": 1, "sequence": 8},
    "data and tensor": {"data": 2, "tensor": 4},
    "fsdp and sequence": {"data": 1, "fsdp": 2, "sequence": 4},
    "all": {"data": 1, "fsdp": 2, "sequence": 2, "tensor": 2},
}


class Rows:
    """Rows whose tokens are all different; notes which were read."""

    def __init__(self, count: int, start: int) -> None:
        self.count, self.start = count, start
        self.read: list[int] = []

    def __len__(self) -> int:
        return self.count

    def __getitems__(self, keys):
        self.read += keys
        return [{key: (self.start + k) * L + np.arange(L) for key in loader.KEYS} for k in keys]


def parts() -> list[Part]:
    return [Part(Rows(790, 0), "one"), Part(Rows(2110, 1000), "two", 2.0)]


def digest(array) -> str:
    return hashlib.sha256(np.ascontiguousarray(array, np.int32).tobytes()).hexdigest()[:16]


def layout(name: str) -> jax.sharding.NamedSharding:
    return sharding.batch_sharding(meshes.make(config.Mesh(**{"data": 1} | MESHES[name])), (B, L))


def alone() -> None:
    """What each device of 8 is to hold, for every mesh and step, from batches that one process reads whole."""
    found: dict[str, dict[str, list[str]]] = {}
    whole = loader.Loader(parts(), B, 0)
    batches = {step: whole.rows(step, range(B))["tokens"] for step in STEPS}
    for name in MESHES:
        of_device = layout(name).devices_indices_map((B, L))
        for step, tokens in batches.items():
            found.setdefault(name, {})[str(step)] = [digest(tokens[of_device[device]]) for device in jax.devices()]
    batches = {str(step): digest(tokens) for step, tokens in batches.items()}
    print(json.dumps({"devices": found, "hosts": hosts(), "batches": batches}))


def hosts() -> dict[str, dict[str, dict[str, str]]]:
    """By mesh, number of hosts and step: the digest of the batch put together from what each host reads.

    A host has the next devices in order, as processes do, and a loader of its own.
    """
    found: dict[str, dict[str, dict[str, str]]] = {}
    for name in MESHES:
        of_device = layout(name).devices_indices_map((B, L))
        for count in (1, 2, 4, 8):
            for step in STEPS:
                batch = np.full((B, L), -1)
                for host in range(count):
                    mine = jax.devices()[host * 8 // count : (host + 1) * 8 // count]
                    rows = feed.needed_rows([of_device[device] for device in mine], B)
                    own = loader.Loader(parts(), B, 0)
                    tokens = own.rows(step, rows)["tokens"]
                    for device in mine:
                        held = feed.piece(tokens, rows, of_device[device], (B, L))
                        # What two hosts hold of one place must agree.
                        there = batch[of_device[device]]
                        assert np.all((there == -1) | (there == held))
                        batch[of_device[device]] = held
                found.setdefault(name, {}).setdefault(str(count), {})[str(step)] = digest(batch)
    return found


def together(process: int, count: int, port: str) -> None:
    """What the devices of this process hold, and which rows it read, as one of several that share the mesh."""
    jax.distributed.initialize(f"127.0.0.1:{port}", count, process)
    found: dict[str, dict[str, list[str]]] = {}
    read: dict[str, dict[str, list[int]]] = {}
    for name in MESHES:
        own = parts()
        rows = loader.Loader(own, B, 0, layout(name))
        for step in STEPS:
            for part in own:
                part.rows.read.clear()
            batch = rows.device_batch(step)
            held = {shard.device: digest(shard.data) for shard in batch["tokens"].addressable_shards}
            read.setdefault(name, {})[str(step)] = sorted(part.rows.start + k for part in own for k in part.rows.read)
            found.setdefault(name, {})[str(step)] = [held[device] for device in jax.local_devices()]
    print(json.dumps({"devices": found, "read": read}))
    jax.distributed.shutdown()


if __name__ == "__main__":
    alone() if len(sys.argv) == 1 else together(int(sys.argv[1]), int(sys.argv[2]), sys.argv[3])
