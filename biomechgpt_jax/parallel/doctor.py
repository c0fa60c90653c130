"""What this machine and this cluster can do: checks, each with a verdict and how to mend it.

Every process runs all checks, for they meet in some of them; the first one tells what is worst of all.
"""

import contextlib
import importlib.metadata
import json
import os
import platform
import secrets
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
from biomechgpt_jax.parallel import agreement, distributed
from biomechgpt_jax.parallel import mesh as meshes

PACKAGES = ("jax", "jaxlib", "flax", "optax", "orbax-checkpoint", "grain", "array-record", "libtpu")
SKEW_S = 1.0  # more between two clocks makes logs hard to compare; nothing in the program depends on it
WRITTEN_MIB, SLOW_MIB_S = 64, 50.0
COLLECTIVE_MIB, REPEATS = 4, 7
_ORDER = ("ok", "warning", "failed")


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
    met = f"process {place.process} of {place.processes} ({place.found})"
    found += [
        Check("coordinator", "ok", met),
        _guarded("devices", _devices),
        _guarded("memory", _memory),
        _guarded("clocks", _clocks),
        _guarded("working directory", lambda: _directory(workdir)),
        _guarded("collective", _collective),
    ]
    return _of_all(found)


def _of_all(found: list[Check]) -> list[Check]:
    """The worst of all processes for each check, with the host it is of; what is as good everywhere, of this one."""
    if not distributed.several():
        return found
    place = distributed.place()
    distributed.put(f"doctor/{place.process}", json.dumps(found))
    try:
        distributed.barrier("doctor", distributed.current().barrier_timeout_s)
    except ClusterError as error:
        return [*found, Check("processes", "failed", f"{error}; look at that host's own output")]
    told = distributed.entries("doctor")
    everywhere = {process: [Check(*check) for check in json.loads(told[str(process)])] for process in range(len(told))}
    worst = []
    for index, own in enumerate(found):
        grade = max(_ORDER.index(checks[index].verdict) for checks in everywhere.values())
        at = [process for process, checks in everywhere.items() if _ORDER.index(checks[index].verdict) == grade]
        if grade == 0 or len(at) == place.processes:
            worst.append(own)
            continue
        more = f" (and {len(at) - 1} more)" if len(at) > 1 else ""
        check = everywhere[at[0]][index]
        worst.append(check._replace(words=f"{distributed.host(at[0])}{more}: {check.words}"))
    return worst


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
    """Write speed, whole renames, and whether all processes see the same directory; leaves nothing behind."""
    made: list[Path] = []
    try:
        made = [path for path in (workdir, *workdir.parents) if not path.exists()]
        found = _written(workdir)
    except OSError as error:
        words = f"{workdir}: {error.strerror or error}; give a directory that can be written (--workdir)"
        found = Check("working directory", "failed", words)
    same = _same(workdir)
    distributed.barrier("working directory", distributed.current().barrier_timeout_s)
    for path in made:  # the innermost first
        with contextlib.suppress(OSError):  # another process removed it, or something else lies there now
            path.rmdir()
    if same or found.verdict == "failed":
        return found
    words = f"{workdir.resolve()} is not the directory of process 0; give all hosts the same on a shared file system"
    return Check("working directory", "failed", words)


def _written(workdir: Path) -> Check:
    """Write a file and let it take the place of another in one step.

    Raises:
        OSError: the directory cannot be made or written.
    """
    own = f".doctor-{distributed.place().process}-{os.getpid()}"
    first, second = workdir / f"{own}.partial", workdir / own
    block = np.random.default_rng(0).bytes(WRITTEN_MIB * 2**20)
    try:
        workdir.mkdir(parents=True, exist_ok=True)
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
    finally:
        for path in (first, second):
            with contextlib.suppress(OSError):  # a read-only file system refuses even what is not there
                path.unlink()
    words = f"{workdir}: {speed:,.0f} MiB/s, renames are whole"
    if speed < SLOW_MIB_S:
        return Check("working directory", "warning", f"{words}; checkpoints of large models will be slow")
    return Check("working directory", "ok", words)


def _same(workdir: Path) -> bool:
    """Whether this process sees what process 0 puts there; process 0 does, and so does a process that is alone."""
    if not distributed.several():
        return True
    mark = workdir / f".doctor-{distributed.share('doctor', lambda: secrets.token_hex(8))}"
    timeout_s = distributed.current().barrier_timeout_s
    if distributed.first():
        with contextlib.suppress(OSError):  # its own finding says so
            mark.touch()
    distributed.barrier("mark", timeout_s)
    same = distributed.first() or agreement.seen(mark)
    distributed.barrier("mark was looked for", timeout_s)
    if distributed.first():
        with contextlib.suppress(OSError):
            mark.unlink()
    return same


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
