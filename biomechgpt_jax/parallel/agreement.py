"""Checks before training that all processes share the working directory, code, versions, configuration and data."""

import dataclasses
import hashlib
import importlib.metadata
import json
import platform
import secrets
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from biomechgpt_jax import config
from biomechgpt_jax.errors import InputError
from biomechgpt_jax.parallel import distributed

_VERSIONS = ("jax", "jaxlib", "flax", "optax", "orbax-checkpoint", "grain", "numpy")
_SHOWN = 3  # differences that a message lists
_NONCE_DELAY_S = 30.0  # network file systems show a new file to other hosts with a delay


def check_start(workdir: Path, cfg: config.Experiment) -> None:
    """Check at the start that every process sees this working directory and has this code and this configuration.

    Raises:
        InputError: a process differs; all processes raise the same message, which names the process and the difference.
        ClusterError: a process does not answer.
    """
    if not distributed.several():
        return
    nonce = workdir / f".start-{distributed.share('nonce', lambda: secrets.token_hex(8))}"
    timeout_s = distributed.current().barrier_timeout_s
    try:
        if distributed.first():
            nonce.write_text("written by process 0; read by the others\n")
        agree("code", code() | versions(), timeout_s)  # process 0 has written the file before it gets here
        agree("configuration", flatten(cfg), timeout_s)
        visible = distributed.first() or becomes_visible(nonce)
        verdict = "seen" if visible else f"not the one of process 0, at {workdir.resolve()}"
        agree("the working directory", {"--workdir": verdict}, timeout_s)
    finally:
        if distributed.first():
            nonce.unlink(missing_ok=True)


def agree(what: str, facts: Mapping[str, str], timeout_s: float) -> None:
    """Refuse if the facts of any process differ from those of process 0.

    Process 0 publishes its facts; each process compares its own and publishes only a verdict, so the traffic grows
    linearly with the number of processes instead of quadratically.

    Args:
        what: name of what is compared, for the message.
        facts: values by name, such as digests.
        timeout_s: how long to wait for the other processes.

    Raises:
        InputError: on every process; names the process that differs, the fact and both values.
        ClusterError: a process does not answer in time.
    """
    if not distributed.several():
        return
    place, key = distributed.place(), what.replace(" ", "_")
    expected = distributed.share(f"facts/{key}", lambda: json.dumps(dict(facts)))
    distributed.put(f"verdict/{key}/{place.process}", _difference(json.loads(expected), facts))
    distributed.barrier(f"agree/{key}", timeout_s)
    verdicts = distributed.entries(f"verdict/{key}")
    differing = [process for process in range(place.processes) if verdicts.get(str(process))]
    if differing:
        first = differing[0]
        others = f", nor do {len(differing) - 1} other processes" if len(differing) > 1 else ""
        raise InputError(
            f"{distributed.host(first)} does not agree with {distributed.host(0)} on {what}: {verdicts[str(first)]}"
            f"{others}; make them equal on every host and start again"
        )


def _difference(theirs: Mapping[str, str], ours: Mapping[str, str]) -> str:
    """The facts that differ, in words; empty if none does."""
    names = sorted(name for name in theirs.keys() | ours.keys() if theirs.get(name) != ours.get(name))
    words = [f"{name} is {ours.get(name, 'absent')}, not {theirs.get(name, 'absent')}" for name in names[:_SHOWN]]
    more = [f"{len(names) - _SHOWN} more"] if len(names) > _SHOWN else []
    return "; ".join(words + more)


def becomes_visible(nonce: Path) -> bool:
    """Whether a file that another host has written becomes visible within the delay of a network file system."""
    deadline = time.monotonic() + _NONCE_DELAY_S
    while not nonce.exists():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.2)
        if nonce.parent.is_dir():
            list(nonce.parent.iterdir())  # makes NFS refresh its cache
    return True


def code() -> dict[str, str]:
    """Digest of every source file of the package, by path relative to the package."""
    root = Path(__file__).parents[1]
    files = sorted(root.rglob("*.py"))
    return {str(file.relative_to(root)): hashlib.sha256(file.read_bytes()).hexdigest()[:12] for file in files}


def versions() -> dict[str, str]:
    """Versions of Python and of the packages that affect numerical results."""
    return {"python": platform.python_version()} | {name: importlib.metadata.version(name) for name in _VERSIONS}


def flatten(cfg: config.Experiment) -> dict[str, str]:
    """The configuration by dotted names, without the settings that may differ between hosts."""
    return dict(_leaves({k: v for k, v in dataclasses.asdict(cfg).items() if k != "distributed"}, ""))


def _leaves(tree: Mapping[str, Any], prefix: str) -> list[tuple[str, str]]:
    leaves = []
    for name, value in tree.items():
        inner = _leaves(value, f"{prefix}{name}.") if isinstance(value, dict) else [(f"{prefix}{name}", str(value))]
        leaves += inner
    return leaves
