"""What a checkpoint holds and whether it is intact, read from its files alone, without devices or arrays."""

import json
import math
from pathlib import Path
from typing import Any

from biomechgpt_jax.errors import InputError
from biomechgpt_jax.training import manifest


def is_checkpoint(path: Path) -> bool:
    """Whether a path is a step of a run, or the directory of its steps."""
    if not path.is_dir():
        return False
    if manifest.step_of(_plain(path)) >= 0:
        return True
    return any(manifest.step_of(_plain(inner)) >= 0 for inner in path.iterdir())


def describe(path: Path) -> dict[str, Any]:
    """Facts about a step, or about a directory of steps and its newest good one.

    Every file of every step is hashed and compared with the manifest.

    Returns:
        "steps": {"name", "step", "state", "files", "bytes"} of each, where the state is good, uncommitted, quarantined,
        `damaged: why` or `unreadable: why`; and of the newest good one "step", "identity", "written_by", "parameters"
        (number of trained ones), "state_bytes" (parameters, optimizer and guard in memory) and "arrays" (type and shape
        of each).

    Raises:
        InputError: there is no checkpoint.
    """
    if not is_checkpoint(path):
        raise InputError(f"{path} holds no checkpoint; give a directory such as runs/quickstart/checkpoints")
    one = manifest.step_of(_plain(path)) >= 0
    steps = [path] if one else [inner for inner in path.iterdir() if manifest.step_of(_plain(inner)) >= 0]
    steps.sort(key=lambda inner: (manifest.step_of(_plain(inner)), inner.name))
    listed = [_step(inner) for inner in steps]
    facts: dict[str, Any] = {
        "checkpoint" if one else "checkpoints": str(path),
        "bytes": sum(step["bytes"] for step in listed),
        "steps": listed,
    }
    good = [inner for inner, step in zip(steps, listed, strict=True) if step["state"] == "good"]
    return facts | (_contents(good[-1]) if good else {})


def lines(facts: dict[str, Any]) -> list[str]:
    """The facts for a person to read."""
    name = "checkpoint" if "checkpoint" in facts else "checkpoints"
    said = [f"{name:<17}{facts[name]}", f"{'on disk':<17}{_size(facts['bytes'])}", "steps"]
    said += [f"  {step['name']:<30}{_size(step['bytes']):>9}  {step['state']}" for step in facts["steps"]]
    if "step" not in facts:
        return [*said, "no step is good: nothing can be restored"]
    said += [f"of step {facts['step']}"]
    if "parameters" in facts:
        said += [f"  {'parameters':<30}{facts['parameters']:,}", f"  {'state':<30}{_size(facts['state_bytes'])}"]
    said += [f"  {key.replace('_', ' '):<30}{value}" for key, value in facts.get("written_by", {}).items()]
    for part, values in facts["identity"].items():
        said += [part, *(f"  {key:<30}{value}" for key, value in values.items())]
    if "arrays" in facts:
        width = max(30, *(len(array) + 2 for array in facts["arrays"]))
        said += ["arrays", *(f"  {array:<{width}}{shape}" for array, shape in facts["arrays"].items())]
    return said


def _plain(path: Path) -> Path:
    """The path, with the name that a quarantined step had before."""
    name = path.resolve().name
    return Path(name.removeprefix(manifest.DAMAGED).partition("-")[0])


def _step(path: Path) -> dict[str, Any]:
    sizes = manifest.sizes(path)
    return {
        "name": path.resolve().name,
        "step": manifest.step_of(_plain(path)),
        "state": _state(path),
        "files": len(sizes),
        "bytes": sum(sizes.values()),
    }


def _state(path: Path) -> str:
    if path.resolve().name.startswith(manifest.DAMAGED):
        return "quarantined"
    try:
        manifest.verify(path)
    except FileNotFoundError:
        return "uncommitted"
    except manifest.Damaged as error:
        return f"damaged: {error}"
    except OSError as error:
        return f"unreadable: {error.strerror}"
    return "good"


def _contents(path: Path) -> dict[str, Any]:
    saved = json.loads((path / manifest.METADATA).read_bytes())
    facts = {key: saved[key] for key in ("step", "identity", "written_by") if key in saved}
    if "arrays" in saved:  # absent from checkpoints of version 0.1.0
        arrays = saved["arrays"]
        of_params = [name for name in arrays if name.startswith("params/")]
        facts["parameters"] = sum(_elements(arrays[name])[0] for name in of_params)
        facts["state_bytes"] = sum(math.prod(_elements(shape)) for shape in arrays.values())
        facts["arrays"] = arrays
    return facts


def _elements(shape: str) -> tuple[int, int]:
    """Elements of an array, and bytes of each, from text such as `float32[4,128]`."""
    kind, _, extent = shape.rstrip("]").partition("[")
    bits = "".join(digit for digit in kind if digit.isdecimal())
    return math.prod(int(size) for size in extent.split(",") if size), max(1, int(bits or 8) // 8)


def _size(count: float) -> str:
    for unit in ("B", "kB", "MB", "GB"):
        if count < 1000:
            return f"{count:.3g} {unit}"
        count /= 1000
    return f"{count:.3g} TB"
