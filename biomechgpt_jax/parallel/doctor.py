"""What this machine and this cluster can do: checks, each with a verdict and how to mend it.

Every process runs all checks, for they meet in some of them; the first one tells.
"""

import importlib.metadata
import os
import platform
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import NamedSharding, PartitionSpec

from biomechgpt_jax import __version__, config
from biomechgpt_jax.errors import ClusterError
from biomechgpt_jax.parallel import distributed
from biomechgpt_jax.parallel import mesh as meshes

PACKAGES = ("jax", "jaxlib", "flax", "optax", "orbax-checkpoint", "grain", "array-record", "libtpu")
SKEW_S = 1.0  # more between two clocks makes logs hard to compare; nothing in the program depends on it
WRITTEN_MIB, SLOW_MIB_S = 64, 50.0
COLLECTIVE_MIB, REPEATS = 4, 7


class Check(NamedTuple):
    """One finding."""

    name: str
    verdict: Literal["ok", "warning", "failed"]
    words: str


def examine(cfg: config.Distributed, workdir: Path) -> list[Check]:
    """All checks, in order; where the processes do not find each other, those that need them are left out."""
    found = [_versions()]
    try:
        distributed.start(cfg)
    except ClusterError as error:
        return [*found, Check("coordinator", "failed", f"{error}"), _directory(workdir)]
    place = distributed.place()
    met = f"process {place.process} of {place.processes}, found by {place.found}"
    found += [Check("coordinator", "ok", met), _devices(), _memory(), _clocks(), _directory(workdir)]
    return [*found, _guarded("collective", _collective)]


def passed(checks: list[Check]) -> bool:
    """Whether nothing failed."""
    return all(check.verdict != "failed" for check in checks)


def _versions() -> Check:
    known = [f"biomechgpt {__version__}", f"Python {platform.python_version()}"]
    for package in PACKAGES:
        try:
            known.append(f"{package} {importlib.metadata.version(package)}")
        except importlib.metadata.PackageNotFoundError:
            continue
    return Check("versions", "ok", ", ".join(known))


def _devices() -> Check:
    own, everywhere = jax.local_devices(), jax.devices()
    words = f"{len(everywhere)} x {everywhere[0].device_kind}, {len(own)} of them here"
    if everywhere[0].platform == "cpu":
        return Check(
            "devices", "warning", f"{words}: no accelerator; large models need one (pip install 'jax[tpu]', ...)"
        )
    return Check("devices", "ok", words)


def _memory() -> Check:
    gib = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    limits = [
        stats["bytes_limit"] for d in jax.local_devices() if (stats := d.memory_stats()) and "bytes_limit" in stats
    ]
    device = f", {min(limits) / 2**30:.1f} GiB a device" if limits else ""
    return Check("memory", "ok", f"{gib:.1f} GiB on this host{device}")


def _clocks() -> Check:
    """The spread of the hosts' clocks, read right after they have met."""
    if not distributed.several():
        return Check("clocks", "ok", "one process: nothing to compare")
    timeout_s = distributed.current().barrier_timeout_s
    distributed.barrier("clocks", timeout_s)
    distributed.put(f"clock/{distributed.place().process}", repr(time.time()))
    distributed.barrier("clocks were read", timeout_s)
    told = {process: float(value) for process, value in distributed.entries("clock").items()}
    middle = statistics.median(told.values())
    far = max(told, key=lambda process: abs(told[process] - middle))
    spread = max(told.values()) - min(told.values())
    words = f"within {spread:.3f} s"
    if spread > SKEW_S:
        mend = "set it by NTP; durations are not affected, times in logs are"
        return Check("clocks", "warning", f"{words}; farthest off is {distributed.host(int(far))}: {mend}")
    return Check("clocks", "ok", words)


def _directory(workdir: Path) -> Check:
    """Write speed, and whether a file takes the place of another in one step; leaves nothing behind."""
    own = f".doctor-{distributed.place().process}-{os.getpid()}"
    first, second = workdir / f"{own}.partial", workdir / own
    made = not workdir.exists()
    try:
        workdir.mkdir(parents=True, exist_ok=True)
        block = np.random.default_rng(0).bytes(WRITTEN_MIB * 2**20)
        begin = time.perf_counter()
        with first.open("wb") as file:
            file.write(block)
            file.flush()
            os.fsync(file.fileno())
        speed = WRITTEN_MIB / (time.perf_counter() - begin)
        second.write_bytes(b"old")
        first.rename(second)
        if second.stat().st_size != len(block) or first.exists():
            return Check("working directory", "failed", f"{workdir}: a rename is not whole; use another file system")
    except OSError as error:
        words = f"{workdir}: {error.strerror or error}; give a directory that can be written (--workdir)"
        return Check("working directory", "failed", words)
    finally:
        for path in (first, second):
            path.unlink(missing_ok=True) if workdir.is_dir() else None
        if made and workdir.is_dir() and not any(workdir.iterdir()):
            workdir.rmdir()
    words = f"{workdir}: {speed:,.0f} MiB/s, renames are whole"
    if speed < SLOW_MIB_S:
        return Check("working directory", "warning", f"{words}; checkpoints of large models will be slow")
    return Check("working directory", "ok", words)


def _collective() -> Check:
    """Seconds of a sum over all devices."""
    mesh = meshes.make(config.Mesh())
    count = mesh.size
    if count == 1:
        return Check("collective", "ok", "one device: nothing to sum")
    values = COLLECTIVE_MIB * 2**20 // 4
    split = NamedSharding(mesh, PartitionSpec(mesh.axis_names))
    make = jax.jit(lambda: jnp.ones((count, values), jnp.float32), out_shardings=split)
    add = jax.jit(lambda x: x.sum(axis=0), out_shardings=NamedSharding(mesh, PartitionSpec()))
    x = make()
    total = float(add(x).addressable_data(0)[0])
    taken = []
    for _ in range(REPEATS):
        begin = time.perf_counter()
        add(x).block_until_ready()
        taken.append(time.perf_counter() - begin)
    median = statistics.median(taken)
    words = f"a sum of {COLLECTIVE_MIB} MiB over {count} devices takes {1000 * median:.1f} ms"
    if total != count:
        return Check(
            "collective", "failed", f"{words} but gives {total:g} instead of {count}: a device computes wrongly"
        )
    return Check("collective", "ok", words)


def _guarded(name: str, check: Callable[[], Check]) -> Check:
    """A check whose failure is a finding and not the end."""
    try:
        return check()
    except Exception as error:  # whatever a broken driver or network raises
        return Check(name, "failed", " ".join(f"{type(error).__name__}: {error}".split())[:300])


def as_json(checks: list[Check]) -> dict[str, Any]:
    """For `--json`."""
    return {"passed": passed(checks), "checks": [check._asdict() for check in checks]}
