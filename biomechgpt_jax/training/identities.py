"""What a checkpoint and a run that resumes from it must share, and what may change between them.

An identity is a nested dict of JSON values: model, optimizer, vocabulary, dataset, seed and global batch. Mesh, hosts,
logging and the policy of checkpoints are not in it. The total number of steps is, as a schedule that decays to the
last step is another one with another number of them; but where `optimizer.stable_until` says up to which step the
learning rate does not depend on it, it may change until then.
"""

import json
from pathlib import Path
from typing import Any

import jax

from biomechgpt_jax.errors import InputError
from biomechgpt_jax.training import manifest

STABLE_UNTIL = "stable_until"
_END = ("steps", STABLE_UNTIL)


def require_same(path: Path, identity: dict[str, Any], abstract: Any) -> None:
    """Refuse a checkpoint of another experiment, or of a state of other shapes.

    Raises:
        InputError: it differs; both values are given.
    """
    saved = json.loads((path / manifest.METADATA).read_bytes())
    if _both_stable(saved, identity):
        identity = identity | {"optimizer": {k: v for k, v in identity["optimizer"].items() if k not in _END}}
    differences = compare(saved["identity"], identity)
    if not differences:
        differences = compare(saved.get("arrays", arrays(abstract)), arrays(abstract))
    if differences:
        more = f" and {len(differences) - 8} more" if len(differences) > 8 else ""
        raise InputError(
            f"{path} was trained otherwise: {'; '.join(differences[:8])}{more}; "
            f"restore these settings, or train into another --workdir"
        )


def compare(saved: dict[str, Any], current: dict[str, Any]) -> list[str]:
    """Differences of two nested dicts, one text each: `key: OLD in the checkpoint, NEW now`."""
    old, new = _flat(saved), _flat(json.loads(json.dumps(current)))
    changed = sorted(key for key in new if key not in old or old[key] != new[key])
    return [f"{key}: {old.get(key, 'absent')} in the checkpoint, {new[key]} now" for key in changed]


def _flat(tree: Any, prefix: str = "") -> dict[str, Any]:
    if not isinstance(tree, dict):
        return {prefix: tree}
    flat: dict[str, Any] = {}
    for name, value in tree.items():
        flat |= _flat(value, f"{prefix}.{name}" if prefix else name)
    return flat


def _both_stable(saved: dict[str, Any], identity: dict[str, Any]) -> bool:
    """Whether neither schedule has begun to decay at the saved step, so that up to it both are the same."""
    ends = [part.get("optimizer", {}).get(STABLE_UNTIL, -1) for part in (saved["identity"], identity)]
    return bool(saved["step"] <= min(ends))


def arrays(tree: Any) -> dict[str, str]:
    """Type and shape of every array, such as `params/layers/up: float32[4,128,384]`."""
    leaves = jax.tree_util.tree_leaves_with_path(tree)
    return {
        jax.tree_util.keystr(path, simple=True, separator="/"): f"{leaf.dtype}[{','.join(map(str, leaf.shape))}]"
        for path, leaf in leaves
    }
