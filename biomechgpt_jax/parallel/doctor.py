"""Checks of this machine and this cluster, each with a verdict and how to fix what it finds.

Every process runs all checks, because some of them synchronise; process 0 reports the worst finding of all processes.
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
SKEW_S = 1.0  # a larger difference between clocks makes logs hard to compare; nothing in the program depends on it
WRITTEN_MIB, SLOW_MIB_S = 64, 50.0
COLLECTIVE_MIB, REPEATS = 4, 7
_ORDER = ("ok", "warning", "failed")


class Check(NamedTuple):
    """One finding."""

    name: str
    verdict: Literal["ok", "warning", "failed"]
    words: str


def examine(cfg: config.Distributed, workdir: Path) -> list[Check]:
    """All checks, in order; if the processes do not find each other, the checks that need them are left out."""
    checks = [_versions()]
    try:
        distributed.start(cfg)
    except ClusterError as error:
        return [*checks, Check("coordinator", "failed", f"{error}"), _directory(workdir)]
    place = distributed.place()
    words = f"process {place.process} of {place.processes} ({place.launcher})"
    checks += [
        Check("coordinator", "ok", words),
        _guard("devices", _devices),
        _guard("memory", _memory),
        _guard("clocks", _clocks),
        _guard("working directory", lambda: _directory(workdir)),
        _guard("collective", _collective),
    ]
    return _worst_of_all(checks)


def _worst_of_all(own_checks: list[Check]) -> list[Check]:
    """For each check the worst finding of all processes, with its host; this process' own if all are equally good."""
    if not distributed.several():
        return own_checks
    place = distributed.place()
    distributed.put(f"doctor/{place.process}", json.dumps(own_checks))
    try:
        distributed.barrier("doctor", distributed.current().barrier_timeout_s)
    except ClusterError as error:
        return [*own_checks, Check("processes", "failed", f"{error}; see the output of that host")]
    reports = distributed.entries("doctor")
    everywhere = {
        process: [Check(*check) for check in json.loads(reports[str(process)])] for process in range(len(reports))
    }
    worst = []
    for index, own in enumerate(own_checks):
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
    versions = [f"biomechgpt {__version__}", f"Python {platform.python_version()}"]
    for package in PACKAGES:
        try:
            versions.append(f"{package} {importlib.metadata.version(package)}")
        except importlib.metadata.PackageNotFoundError:
            continue
    return Check("versions", "ok", ", ".join(versions))


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
    device = f", {min(limits) / 2**30:.1f} GiB per device" if limits else ""
    return Check("memory", "ok", f"{gib:.1f} GiB on this host{device}")


def _clocks() -> Check:
    """The spread of the hosts' clocks, read right after a barrier."""
    if not distributed.several():
        return Check("clocks", "ok", "one process: nothing to compare")
    timeout_s = distributed.current().barrier_timeout_s
    distributed.barrier("clocks", timeout_s)
    distributed.put(f"clock/{distributed.place().process}", repr(time.time()))
    distributed.barrier("clocks were read", timeout_s)
    clocks = {process: float(value) for process, value in distributed.entries("clock").items()}
    median = statistics.median(clocks.values())
    far = max(clocks, key=lambda process: abs(clocks[process] - median))
    spread = max(clocks.values()) - min(clocks.values())
    words = f"within {spread:.3f} s"
    if spread > SKEW_S:
        remedy = "set it by NTP (durations are not affected, but times in logs are)"
        return Check("clocks", "warning", f"{words}; {distributed.host(int(far))} is farthest off: {remedy}")
    return Check("clocks", "ok", words)


def _directory(workdir: Path) -> Check:
    """Write speed, atomic renames, and whether all processes see the same directory; leaves nothing behind."""
    missing: list[Path] = []
    try:
        missing = [path for path in (workdir, *workdir.parents) if not path.exists()]
        check = _test_writing(workdir)
    except OSError as error:
        words = f"{workdir}: {error.strerror or error}; give a directory that can be written (--workdir)"
        check = Check("working directory", "failed", words)
    same = _sees_shared_file(workdir)
    distributed.barrier("working directory", distributed.current().barrier_timeout_s)
    for path in missing:  # remove what was created, the innermost directory first
        with contextlib.suppress(OSError):  # another process has removed it, or it is no longer empty
            path.rmdir()
    if same or check.verdict == "failed":
        return check
    words = f"{workdir.resolve()} is not the directory of process 0; give all hosts one on a shared file system"
    return Check("working directory", "failed", words)


def _test_writing(workdir: Path) -> Check:
    """Write a file and rename it onto another one.

    Raises:
        OSError: the directory cannot be created or written.
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
            return Check("working directory", "failed", f"{workdir}: renames are not atomic; use another file system")
    finally:
        for path in (first, second):
            with contextlib.suppress(OSError):  # a read-only file system refuses to remove even a missing file
                path.unlink()
    words = f"{workdir}: {speed:,.0f} MiB/s, renames are atomic"
    if speed < SLOW_MIB_S:
        return Check("working directory", "warning", f"{words}; checkpoints of large models will be slow")
    return Check("working directory", "ok", words)


def _sees_shared_file(workdir: Path) -> bool:
    """Whether this process sees a file that process 0 creates; True for process 0 and for a process that is alone."""
    if not distributed.several():
        return True
    mark = workdir / f".doctor-{distributed.share('doctor', lambda: secrets.token_hex(8))}"
    timeout_s = distributed.current().barrier_timeout_s
    if distributed.first():
        with contextlib.suppress(OSError):  # process 0 reports that in its own finding
            mark.touch()
    distributed.barrier("mark", timeout_s)
    same = distributed.first() or agreement.becomes_visible(mark)
    distributed.barrier("mark was checked", timeout_s)
    if distributed.first():
        with contextlib.suppress(OSError):
            mark.unlink()
    return same


def _collective() -> Check:
    """The time of a sum over all devices, and whether its value is correct."""
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
    seconds = []
    for _ in range(REPEATS):
        begin = time.perf_counter()
        add(x).block_until_ready()
        seconds.append(time.perf_counter() - begin)
    median = statistics.median(seconds)
    words = f"a sum of {COLLECTIVE_MIB} MiB over {count} devices takes {1000 * median:.1f} ms"
    if total != count:
        return Check(
            "collective", "failed", f"{words} but gives {total:g} instead of {count}: a device computes wrong results"
        )
    return Check("collective", "ok", words)


def _guard(name: str, check: Callable[[], Check]) -> Check:
    """Run a check and report its failure as a finding, so that the other checks still run."""
    try:
        return check()
    except Exception as error:  # a broken driver or network may raise anything
        return Check(name, "failed", " ".join(f"{type(error).__name__}: {error}".split())[:300])


def as_json(checks: list[Check]) -> dict[str, Any]:
    """The checks as an object for `--json`."""
    return {"passed": passed(checks), "checks": [check._asdict() for check in checks]}
