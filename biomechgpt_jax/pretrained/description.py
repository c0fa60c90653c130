"""What a folder of pretrained weights holds, and which accelerators train it, without reading a weight."""

import math
from pathlib import Path
from typing import Any

from biomechgpt_jax.config.adapter import LINEAR
from biomechgpt_jax.parallel import chips
from biomechgpt_jax.pretrained import folder as folders
from biomechgpt_jax.pretrained import names
from biomechgpt_jax.pretrained.families import Described, model_of
from biomechgpt_jax.pretrained.folder import CONFIG, Folder

CHIPS = ("TPU v5e", "TPU v5", "TPU v6", "NVIDIA H100", "NVIDIA L4")
_SHARE = 0.75  # of a device's memory; the rest is for activations
_STATE = 16  # bytes of a trained parameter in float32: itself, its gradient, two moments
_NF4 = 0.516  # bytes of a parameter with scales that are quantised as well
_TABLE = 2  # bytes of a parameter of the table and head in bfloat16
_RANK = 16


def opened(path: Path) -> tuple[Folder, Described, names.Matched]:
    """A folder with what its config.json describes, and its tensors, each of which has its place.

    Raises:
        InputError: as in `folder.open_folder`, `families.model_of` and `names.match`.
    """
    found = folders.open_folder(path)
    described = model_of(found.facts, str(found.path / CONFIG))
    return found, described, names.match(found.tensors, described.model, described.rows)


def describe(path: Path) -> dict[str, Any]:
    """Facts about a folder, as JSON can hold them; errors as those of `opened`."""
    found, described, matched = opened(path)
    model = described.model
    places = [place for stacked in names.places(model, described.rows).values() for place in stacked]
    total = sum(math.prod(place.shape) for place in places)
    rotary = f"base {model.rope_theta:g}"
    if model.rope_scaling != "none":
        rotary += f", {model.rope_scaling} by {model.rope_factor:g}"
    if model.global_every:
        rotary += f"; base {model.local_rope_theta:g} in layers with a window"
    window = f"{model.window} positions, but one layer in {model.global_every}" if model.window else "none"
    tensors = found.tensors.values()
    facts: dict[str, Any] = {
        "kind": "pretrained weights",
        "family": described.family,
        "parameters": total,
        "layers": model.layers,
        "model_size": model.model_size,
        "heads": [model.heads, model.kv_heads, model.head_size],
        "hidden_size": model.hidden_size,
        "rows": described.rows,
        "token_ids": _token_ids(found),
        "positions": described.positions,
        "tied_embeddings": model.tied_embeddings,
        "window": window,
        "rotary": rotary,
        "dtypes": sorted({tensor.dtype for tensor in tensors}),
        "files": sorted({tensor.file.name for tensor in tensors}),
        "bytes": sum(tensor.nbytes for tensor in tensors),
        "licence": found.licence,
        "chat_template": _has_template(found),
        "digest": found.digest,
        "notes": [*described.notes, *([f"{len(matched.left)} tensors are not read"] if matched.left else [])],
    }
    return facts | {"training": _training(described, total)}


def _token_ids(found: Folder) -> int:
    """Number of ids of tokenizer.json; 0 without one."""
    tokenizer = found.json("tokenizer.json", folders.LARGEST_TOKENIZER)
    model = tokenizer.get("model")
    vocabulary = model.get("vocab", ()) if isinstance(model, dict) else ()
    added = tokenizer.get("added_tokens")
    own = vocabulary.values() if isinstance(vocabulary, dict) else range(len(vocabulary))
    ids = {*own, *(token.get("id") for token in added or () if isinstance(token, dict))}
    return 1 + max((number for number in ids if isinstance(number, int)), default=-1)


def _has_template(found: Folder) -> bool:
    return found.text("chat_template.jinja") is not None or "chat_template" in found.json("tokenizer_config.json")


def _training(described: Described, total: int) -> dict[str, str]:
    """Of each chip, the smallest mesh that holds the state of full training and of QLoRA with rank 16."""
    model = described.model
    places = names.places(model, described.rows)
    matrices = [place for stacked in places.values() for place in stacked if place.inputs and place.name != names.HEAD]
    adapters = _RANK * sum(sum(place.shape) for place in matrices)
    assert len(matrices) == len(LINEAR) * model.layers
    layers = sum(math.prod(place.shape) for place in matrices)
    qlora = _NF4 * layers + _TABLE * (total - layers) + _STATE * adapters
    full = float(_STATE * total)
    found = {}
    for name in CHIPS:
        chip = chips.of(name)
        assert chip is not None and chip.memory is not None
        room = _SHARE * chip.memory
        found[name] = f"full {_mesh(full, room)}, QLoRA {_mesh(qlora, room)}"
    return {"bytes": f"full {full / chips.GIB:.2f} GiB, QLoRA {qlora / chips.GIB:.2f} GiB, without activations"} | found


def _mesh(needed: float, room: float) -> str:
    devices = 1 << max(0, math.ceil(math.log2(needed / room)))
    return "1 device" if devices == 1 else f"mesh.fsdp {devices}"
