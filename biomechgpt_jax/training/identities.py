"""What a checkpoint must share with a run that resumes from it, and what may change between them.

An identity is a nested dict of JSON values: model, optimizer, vocabulary, dataset, seed, global batch, and the digest
of frozen parameters if there are any. Mesh, hosts and everything in `config.Loop` are not part of it. The total number
of steps is, because the learning rate decays to the last step; it may change as long as no step so far depended on it,
which is until the step that `optimizer.stable_until` gives.
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
    """Refuse a checkpoint of another experiment, or of a state with other shapes.

    Raises:
        InputError: something differs; the message gives both values.
    """
    saved = json.loads((path / manifest.METADATA).read_bytes())
    if _both_stable(saved, identity):
        saved["identity"], identity = (_without_end(one) for one in (saved["identity"], identity))
    differences = compare(saved["identity"], identity)
    if not differences:
        differences = compare(saved.get("arrays", arrays(abstract)), arrays(abstract))
    if differences:
        more = f" and {len(differences) - 8} more" if len(differences) > 8 else ""
        raise InputError(
            f"{path} was trained with different settings: {'; '.join(differences[:8])}{more}; "
            f"restore these settings, or train into another --workdir"
        )


def compare(saved: dict[str, Any], current: dict[str, Any]) -> list[str]:
    """The differences between two nested dicts, each as `key: OLD in the checkpoint, NEW now`.

    Whoever reads a part of a checkpoint gives that part's identity alone: parts that only the checkpoint has, such as
    "optimizer", are left out.
    """
    old = _flat({name: part for name, part in saved.items() if name in current})
    new = _flat(json.loads(json.dumps(current)))
    changed = sorted(key for key in old | new if key not in old or key not in new or old[key] != new[key])
    return [f"{key}: {old.get(key, 'absent')} in the checkpoint, {new.get(key, 'absent')} now" for key in changed]


def _without_end(identity: dict[str, Any]) -> dict[str, Any]:
    return identity | {"optimizer": {k: v for k, v in identity["optimizer"].items() if k not in _END}}


def _flat(tree: Any, prefix: str = "") -> dict[str, Any]:
    if not isinstance(tree, dict):
        return {prefix: tree}
    flat: dict[str, Any] = {}
    for name, value in tree.items():
        flat |= _flat(value, f"{prefix}.{name}" if prefix else name)
    return flat


def _both_stable(saved: dict[str, Any], identity: dict[str, Any]) -> bool:
    """Whether neither schedule has begun to decay at the saved step, so that the two agree up to there."""
    ends = [part.get("optimizer", {}).get(STABLE_UNTIL, -1) for part in (saved["identity"], identity)]
    return bool(saved["step"] <= min(ends))


def arrays(tree: Any) -> dict[str, str]:
    """Type and shape of every array, such as `params/layers/up: float32[4,128,384]`."""
    leaves = jax.tree_util.tree_leaves_with_path(tree)
    return {
        jax.tree_util.keystr(path, simple=True, separator="/"): f"{leaf.dtype}[{','.join(map(str, leaf.shape))}]"
        for path, leaf in leaves
    }
