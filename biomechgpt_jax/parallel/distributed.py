"""Several processes as one run: how they find each other, meet, and agree before they start.

`start` is called once, before any device is touched. What it needs is given by hand (configuration or
environment), or found by jax's own detection of SLURM, Open MPI, TPU VMs and Kubernetes. Without any of these a
process is alone, and every function here is a cheap no-op.

The coordination service of `jax.distributed` (a key-value store and barriers on process 0) has no public interface in
jax 0.10 to 0.11: `_client` is the one place that knows where it is.
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
_ROOM = "biomechgpt"  # of our keys in the store
_POLL_S = 2.0  # a process that waits for another looks so often whether it has given up
_RECORDED = (_PREFIX, "XLA_", "LIBTPU_", "JAX_", "NCCL_", "SLURM_JOB_ID", "SLURM_RESTART_COUNT", "MEGASCALE_NUM_SLICES")


class Place(NamedTuple):
    """Where a process stands."""

    found: str = "one process"  # what told it: configuration, environment, slurm, gketpu, ...
    coordinator: str = ""
    processes: int = 1
    process: int = 0
    local_devices: tuple[int, ...] | None = None  # of this host that are its own; None: all


_place = Place()
_current = config.Distributed()
_turns: dict[str, int] = {}


def settings(cfg: config.Distributed) -> config.Distributed:
    """The configuration with fields at their default filled from the environment.

    Raises:
        InputError: a variable holds no number where one is needed.
    """
    changes: dict[str, Any] = {}
    for field in dataclasses.fields(cfg):
        name = f"{_PREFIX}{field.name.upper()}"
        said = os.environ.get(name, "")
        if not said or getattr(cfg, field.name) != field.default:
            continue
        try:
            changes[field.name] = type(getattr(cfg, field.name))(said)
        except ValueError as error:
            raise InputError(f'{name} is "{said}"; give a number, or unset it') from error
    return dataclasses.replace(cfg, **changes)


def find(cfg: config.Distributed) -> Place:
    """Where this process stands, from what was given by hand or from the cluster it runs in.

    Raises:
        InputError: given by hand, but not whole.
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
        missing = " and ".join(f"distributed.{name}" for name, there in given.items() if not there)
        raise InputError(
            f"{missing} must be given as well (or {_PREFIX}{missing.rpartition('.')[2].upper()} in the environment); "
            "leave all three out to let the cluster be detected"
        )
    return _detected(cfg.start_timeout_s)


def _detected(timeout_s: int) -> Place:
    """What jax finds; it asks nobody outside unless this is a TPU VM or a pod."""
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
    """The device of a process that shares its host with others; None: all of the host's.

    jax gives every SLURM task one device, even where there is one task a node.
    """
    local = cluster.get_local_process_id()
    tasks = os.environ.get("SLURM_STEP_TASKS_PER_NODE", os.environ.get("OMPI_COMM_WORLD_LOCAL_SIZE", ""))
    if local is None or re.fullmatch(r"1(\(x\d+\))?", tasks):
        return None
    return (local,)


def start(cfg: config.Distributed) -> Place:
    """Join the other processes; returns at once where there are none.

    From here on C++ libraries that print on standard output (gloo does) reach standard error, so that `--json` stays
    clean; Python's `sys.stdout` is as it was.

    Raises:
        InputError: given by hand, but not whole.
        ClusterError: the coordinator cannot be reached, or not all processes came in time.
    """
    global _place, _current
    place, _current = find(cfg), cfg
    if place.processes == 1:
        _place = place
        return place
    import jax

    cfg = settings(cfg)
    _keep_standard_output()
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
            f"process {place.process} of {place.processes} could not start within {cfg.start_timeout_s} s with the "
            f"coordinator {place.coordinator}: {reason}"
        ) from error
    _place = place
    jax.local_devices()  # processes wait for each other here, and not for two minutes in the middle of a stage
    put(f"host/{place.process}", socket.gethostname())
    return place


def _keep_standard_output() -> None:
    """Let file descriptor 1, which C++ writes to, be standard error, and Python's standard output what it was."""
    sys.stdout.flush()
    kept = os.dup(1)
    os.dup2(2, 1)
    sys.stdout = os.fdopen(kept, "w", buffering=1, encoding=sys.stdout.encoding)


def place() -> Place:
    """What `start` found."""
    return _place


def current() -> config.Distributed:
    """The settings in force: those given to `start`, or the defaults, with what the environment says."""
    return settings(_current)


def several() -> bool:
    """Whether this process is one of several."""
    return _place.processes > 1


def first() -> bool:
    """Whether this process speaks and writes for all."""
    return _place.process == 0


def environment() -> dict[str, str]:
    """Variables that decide how the program runs, the launcher's flags among them: for the record of a run."""
    names = [name for name in sorted(os.environ) if name.startswith(_RECORDED)]
    return {"launched": _place.found, "processes": str(_place.processes)} | {name: os.environ[name] for name in names}


def _client() -> Any:
    """The client of the coordination service, or None where a process is alone."""
    from jax._src import distributed

    return distributed.global_state.client


def put(key: str, value: str) -> None:
    """Write into the store that all processes share; an older value is replaced."""
    if several():
        _client().key_value_set(f"{_ROOM}/{key}", value, allow_overwrite=True)


def get(key: str, timeout_s: float) -> str | None:
    """A value of the store, waited for; None: it did not come in time."""
    try:
        return str(_client().blocking_key_value_get(f"{_ROOM}/{key}", int(timeout_s * 1000)))
    except RuntimeError as error:
        if "DEADLINE_EXCEEDED" in str(error):
            return None
        raise


def entries(key: str) -> dict[str, str]:
    """Everything in the store below a key, by the last part of its name."""
    if not several():
        return {}
    return {name.rpartition("/")[2]: value for name, value in _client().key_value_dir_get(f"{_ROOM}/{key}/")}


def forget(key: str) -> None:
    """Remove everything in the store below a key."""
    client = _client()
    if client is not None:
        client.key_value_delete(f"{_ROOM}/{key}/")


def host(process: int) -> str:
    """A process in words, with the host it runs on."""
    return f"process {process} ({entries('host').get(str(process), socket.gethostname())})"


def barrier(name: str, timeout_s: float) -> None:
    """Wait until every process is here. Not while the main thread sits in a collective.

    Args:
        name: of the meeting.
        timeout_s: how long to wait for the others.

    Raises:
        ClusterError: somebody did not come; the message names them.
    """
    if not several():
        return
    meeting = _turn(f"barrier/{name}")
    put(f"{meeting}/{_place.process}", "here")
    try:
        _client().wait_at_barrier(f"{_ROOM}/{meeting}", int(timeout_s * 1000))
    except RuntimeError as error:
        here = entries(meeting)
        missing = [host(process) for process in range(_place.processes) if str(process) not in here]
        if not missing:  # they came a moment too late, or one of them has died
            raise ClusterError(f"barrier {name}: {' '.join(str(error).split())[:300]}") from error
        raise ClusterError(f"barrier {name}: not here after {timeout_s:g} s: {', '.join(missing)}") from error


def share(key: str, make: Callable[[], str]) -> str:
    """What process 0 makes, on all processes; the others wait as long as it lives.

    A process 0 that dies without a word ends the others by its missing heartbeat.

    Raises:
        InputError, ClusterError: process 0 gave up, for its reason.
    """
    if not several():
        return make()
    shared = _turn(f"shared/{key}")
    if first():
        made = make()
        put(shared, made)
        return made
    while (found := get(shared, _POLL_S)) is None:
        given_up = entries("given_up").get("0")
        if given_up is not None:
            code, _, reason = given_up.partition(" ")
            raise (InputError if code == "2" else ClusterError)(f"{host(0)} gave up: {reason}")
    return found


def give_up(reason: str, code: int) -> None:
    """Tell the others, which wait in `share`, that this process ends."""
    with contextlib.suppress(RuntimeError):  # the store may be what failed
        put(f"given_up/{_place.process}", f"{code} {reason}")


def _turn(name: str) -> str:
    """A name for this meeting, and another for the next one of that name; processes meet in the same order."""
    _turns[name] = _turns.get(name, 0) + 1
    return f"{name}/{_turns[name]}"


def on_first(key: str, make: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    """What process 0 makes while the others wait for it; a JSON object."""
    return json.loads(share(key, lambda: json.dumps(make()))) if several() else make()
