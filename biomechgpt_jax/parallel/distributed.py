"""Several processes as one run: how they find each other, synchronise, and agree before they start.

`start` is called once, before any device is touched. Its parameters are given by hand (configuration or environment)
or detected by jax, which knows SLURM, Open MPI, TPU VMs and Kubernetes. Without any of these a process is alone, and
every function here is a cheap no-op.

The coordination service of `jax.distributed` (a key-value store and barriers on process 0) has no public interface in
jax 0.10 to 0.11; only `_client` knows where to find it.
"""

import contextlib
import dataclasses
import json
import os
import re
import socket
import sys
from collections.abc import Callable
from typing import Any, NamedTuple

from biomechgpt_jax import config
from biomechgpt_jax.errors import ClusterError, InputError
from biomechgpt_jax.parallel import rendezvous

_PREFIX = "BIOMECHGPT_"
_ROOM = "biomechgpt"  # prefix of our keys in the store
_POLL_S = 2.0  # interval at which a waiting process checks whether the other has given up
_RECORDED = (_PREFIX, "XLA_", "LIBTPU_", "JAX_", "NCCL_", "SLURM_JOB_ID", "SLURM_RESTART_COUNT", "MEGASCALE_NUM_SLICES")


class Place(NamedTuple):
    """The place of a process in the run."""

    launcher: str = "one process"  # where the place comes from: "by hand", slurm, gketpu, ...
    coordinator: str = ""
    processes: int = 1
    process: int = 0
    local_devices: tuple[int, ...] | None = None  # the devices of this host that belong to the process; None means all


_place = Place()
_current = config.Distributed()
_uses: dict[str, int] = {}


def settings(cfg: config.Distributed) -> config.Distributed:
    """The configuration, with fields that have their default value filled from the environment.

    Raises:
        InputError: a variable that must be a number is not one.
    """
    changes: dict[str, Any] = {}
    for field in dataclasses.fields(cfg):
        name = f"{_PREFIX}{field.name.upper()}"
        text = os.environ.get(name, "")
        if not text or getattr(cfg, field.name) != field.default:
            continue
        try:
            changes[field.name] = type(getattr(cfg, field.name))(text)
        except ValueError as error:
            raise InputError(f'{name} is "{text}"; give a number, or unset it') from error
    return dataclasses.replace(cfg, **changes)


def find(cfg: config.Distributed) -> Place:
    """The place of this process, as given by hand or as detected from its cluster.

    Raises:
        InputError: the place is given by hand, but incompletely.
    """
    cfg = settings(cfg)
    given = {"coordinator": cfg.coordinator != "", "processes": cfg.processes > 0, "process_id": cfg.process_id >= 0}
    if cfg.processes == 1:
        return Place("by hand")
    if all(given.values()):
        if cfg.process_id >= cfg.processes:
            raise InputError(
                f"distributed.process_id is {cfg.process_id}, but there are {cfg.processes} processes; "
                f"give 0 to {cfg.processes - 1}"
            )
        return Place("by hand", cfg.coordinator, cfg.processes, cfg.process_id)
    if any(given.values()):
        missing = " and ".join(f"distributed.{name}" for name, present in given.items() if not present)
        raise InputError(
            f"{missing} must be given as well (or {_PREFIX}{missing.rpartition('.')[2].upper()} in the environment); "
            "leave all three out to let the cluster be detected"
        )
    return _detect(cfg.start_timeout_s)


def _detect(timeout_s: int) -> Place:
    """Detect the place with jax, which contacts other services only on a TPU VM or in a pod."""
    from jax._src import clusters

    kinds = [kind for kind in clusters.ClusterEnv._cluster_types if not kind.opt_in_only_method]
    cluster = next((kind for kind in kinds if kind.is_env_present()), None)
    if cluster is None:
        return Place()
    name = getattr(cluster, "name", "") or cluster.__name__
    processes = cluster.get_process_count()
    if processes == 1:
        return Place(f"{name}, one process")
    address = cluster.get_coordinator_address(
        timeout_secs=timeout_s, override_coordinator_port=os.environ.get("JAX_COORDINATOR_PORT")
    )
    return Place(name, address, processes, cluster.get_process_id(), _own_devices(cluster))


def _own_devices(cluster: Any) -> tuple[int, ...] | None:
    """The device of a process that shares its host with others; None means all devices of the host.

    jax would give every SLURM task one device, even if there is only one task per node.
    """
    local = cluster.get_local_process_id()
    tasks = os.environ.get("SLURM_STEP_TASKS_PER_NODE", os.environ.get("OMPI_COMM_WORLD_LOCAL_SIZE", ""))
    if local is None or re.fullmatch(r"1(\(x\d+\))?", tasks):
        return None
    return (local,)


def start(cfg: config.Distributed) -> Place:
    """Join the other processes; returns immediately if there are none.

    From here on, output that C++ libraries such as gloo print to standard output goes to standard error, so that
    `--json` stays clean; Python's `sys.stdout` is unaffected.

    Raises:
        InputError: the place is given by hand, but incompletely.
        ClusterError: the coordinator cannot be reached, or not all processes arrived in time.
    """
    global _place, _current
    place, _current = find(cfg), cfg
    if place.processes == 1:
        _place = place
        return place
    import jax

    cfg = settings(cfg)
    _redirect_standard_output()
    if place.process:
        rendezvous.report(place.coordinator, place.process, cfg.start_timeout_s)
    else:
        rendezvous.hold(int(place.coordinator.rpartition(":")[2]), place.processes, cfg.start_timeout_s)
    jax.config.update("jax_cpu_collectives_implementation", "gloo")
    try:
        jax.distributed.initialize(
            place.coordinator,
            place.processes,
            place.process,
            local_device_ids=place.local_devices,
            cluster_detection_method="deactivate",
            initialization_timeout=cfg.start_timeout_s,
            heartbeat_timeout_seconds=cfg.heartbeat_timeout_s,
            shutdown_timeout_seconds=cfg.shutdown_timeout_s,
        )
    except RuntimeError as error:
        reason = " ".join(str(error).split())[:200]
        raise ClusterError(
            f"process {place.process} of {place.processes} could not join the coordinator {place.coordinator} within "
            f"{cfg.start_timeout_s} s: {reason}"
        ) from error
    _place = place
    jax.local_devices()  # processes wait for each other here rather than for two minutes in the middle of a stage
    put(f"host/{place.process}", socket.gethostname())
    return place


def _redirect_standard_output() -> None:
    """Make file descriptor 1, to which C++ writes, standard error, while Python keeps the original standard output."""
    sys.stdout.flush()
    kept = os.dup(1)
    os.dup2(2, 1)
    sys.stdout = os.fdopen(kept, "w", buffering=1, encoding=sys.stdout.encoding)


def place() -> Place:
    """The place that `start` determined."""
    return _place


def current() -> config.Distributed:
    """The settings in force: those given to `start`, or the defaults, completed from the environment."""
    return settings(_current)


def several() -> bool:
    """Whether this process is one of several."""
    return _place.processes > 1


def first() -> bool:
    """Whether this is process 0, which prints and writes on behalf of all."""
    return _place.process == 0


def environment() -> dict[str, str]:
    """Variables that affect how the program runs, including the launcher's flags, for the record of a run."""
    names = [name for name in sorted(os.environ) if name.startswith(_RECORDED)]
    return {"launched": _place.launcher, "processes": str(_place.processes)} | {
        name: os.environ[name] for name in names
    }


def _client() -> Any:
    """The client of the coordination service, or None if the process is alone."""
    from jax._src import distributed

    return distributed.global_state.client


def put(key: str, value: str) -> None:
    """Write to the store that all processes share, replacing an earlier value."""
    if several():
        _client().key_value_set(f"{_ROOM}/{key}", value, allow_overwrite=True)


def get(key: str, timeout_s: float) -> str | None:
    """Wait for a value of the store; None if it does not appear in time."""
    try:
        return str(_client().blocking_key_value_get(f"{_ROOM}/{key}", int(timeout_s * 1000)))
    except RuntimeError as error:
        if "DEADLINE_EXCEEDED" in str(error):
            return None
        raise


def entries(key: str) -> dict[str, str]:
    """All values in the store below a key, by the last part of their names."""
    if not several():
        return {}
    return {name.rpartition("/")[2]: value for name, value in _client().key_value_dir_get(f"{_ROOM}/{key}/")}


def forget(key: str) -> None:
    """Remove all values in the store below a key."""
    client = _client()
    if client is not None:
        client.key_value_delete(f"{_ROOM}/{key}/")


def host(process: int) -> str:
    """A process in words, with the name of its host."""
    return f"process {process} ({entries('host').get(str(process), socket.gethostname())})"


def barrier(name: str, timeout_s: float) -> None:
    """Wait until every process has arrived. Must not be called while the main thread is in a collective.

    Args:
        name: name of the barrier.
        timeout_s: how long to wait for the other processes.

    Raises:
        ClusterError: a process did not arrive; the message names those that are missing.
    """
    if not several():
        return
    key = _next_key(f"barrier/{name}")
    put(f"{key}/{_place.process}", "here")
    try:
        _client().wait_at_barrier(f"{_ROOM}/{key}", int(timeout_s * 1000))
    except RuntimeError as error:
        arrived = entries(key)
        missing = [host(process) for process in range(_place.processes) if str(process) not in arrived]
        if not missing:  # they arrived a moment too late, or one of them has died
            raise ClusterError(f"barrier {name}: {' '.join(str(error).split())[:300]}") from error
        raise ClusterError(f"barrier {name}: missing after {timeout_s:g} s: {', '.join(missing)}") from error


def share(key: str, make: Callable[[], str]) -> str:
    """Make a value on process 0 and return it on all processes; the others wait as long as process 0 lives.

    If process 0 dies without a message, its missing heartbeat ends the others.

    Raises:
        InputError, ClusterError: process 0 gave up; the message holds its reason.
    """
    if not several():
        return make()
    shared = _next_key(f"shared/{key}")
    if first():
        value = make()
        put(shared, value)
        return value
    while (received := get(shared, _POLL_S)) is None:
        given_up = entries("given_up").get("0")
        if given_up is not None:
            code, _, reason = given_up.partition(" ")
            raise (InputError if code == "2" else ClusterError)(f"{host(0)} gave up: {reason}")
    return received


def give_up(reason: str, code: int) -> None:
    """Tell the other processes, which may wait in `share`, that this process ends."""
    with contextlib.suppress(RuntimeError):  # the store may be what failed
        put(f"given_up/{_place.process}", f"{code} {reason}")


def _next_key(name: str) -> str:
    """A new key for each use of a name; it is the same on all processes because they use names in the same order."""
    _uses[name] = _uses.get(name, 0) + 1
    return f"{name}/{_uses[name]}"


def on_first(key: str, make: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    """Make a JSON object on process 0 while the others wait for it, and return it on all processes."""
    return json.loads(share(key, lambda: json.dumps(make()))) if several() else make()
