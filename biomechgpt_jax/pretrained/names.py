"""The decoder's parameters by their names in transformers, and the layout of each.

Their matrices are [outputs, inputs] with heads flattened, head by head; ours are [*inputs, *outputs].
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from biomechgpt_jax import config
from biomechgpt_jax.errors import InputError
from biomechgpt_jax.model.decoder import Params
from biomechgpt_jax.pretrained.safetensors import Index, Tensor
from biomechgpt_jax.pretrained.strict_json import shown

TABLE, HEAD = "model.embed_tokens.weight", "lm_head.weight"
LAYERS = "layers/block/"
_OUTSIDE = {"embedding": TABLE, "head": HEAD, "final_norm/scale": "model.norm.weight"}
_D, _QUERIES, _GROUPS, _F = ("model_size",), ("heads", "head_size"), ("kv_heads", "head_size"), ("hidden_size",)
# Of a layer's matrix: their name, inputs and outputs.
_MATRICES = {
    "attention/query/kernel": ("self_attn.q_proj", _D, _QUERIES),
    "attention/key/kernel": ("self_attn.k_proj", _D, _GROUPS),
    "attention/value/kernel": ("self_attn.v_proj", _D, _GROUPS),
    "attention/output/kernel": ("self_attn.o_proj", _QUERIES, _D),
    "mlp/gate/kernel": ("mlp.gate_proj", _D, _F),
    "mlp/up/kernel": ("mlp.up_proj", _D, _F),
    "mlp/down/kernel": ("mlp.down_proj", _F, _D),
}
_NORMS = {
    "attention_norm/scale": "input_layernorm",
    "attention/query_norm/scale": "self_attn.q_norm",
    "attention/key_norm/scale": "self_attn.k_norm",
    "attention_post_norm/scale": "post_attention_layernorm",
    "mlp_norm/scale": "post_attention_layernorm",
    "mlp_post_norm/scale": "post_feedforward_layernorm",
}
# Beginnings of the language model's names, and what they are without a vision tower beside it.
_PREFIXES = {"": "", "language_model.": "", "model.language_model.": "model."}
_LEFT = ("vision_tower.", "model.vision_tower.", "multi_modal_projector.", "model.multi_modal_projector.")
_BUFFERS = (".rotary_emb.inv_freq",)


@dataclass(frozen=True)
class Place:
    """One of their tensors, and how it lies in one layer of ours.

    Attributes:
        name: theirs.
        inputs, outputs: ours, of a matrix; of anything else `outputs` is its shape in both.
    """

    name: str
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]

    @property
    def shape(self) -> tuple[int, ...]:
        """Theirs."""
        return (math.prod(self.outputs), math.prod(self.inputs)) if self.inputs else self.outputs

    def to_ours(self, tensor: np.ndarray, shape: tuple[int, ...] | None = None) -> np.ndarray:
        """Their tensor in our layout; `shape` is that of a part, if it is one (`part`)."""
        shape = self.inputs + self.outputs if shape is None else shape
        return (tensor.T if self.inputs else tensor).reshape(shape)

    def to_theirs(self, array: np.ndarray) -> np.ndarray:
        """Our array in their layout."""
        return array.reshape(self.shape[::-1]).T if self.inputs else array

    def part(self, index: Index) -> Index:
        """Which part of their tensor a part of ours is.

        Raises:
            ValueError: it is no rectangle of theirs: an axis behind the first of its side is cut.
        """
        if not self.inputs:
            return index
        split = len(self.inputs)
        return _flat(self.outputs, index[split:]), _flat(self.inputs, index[:split])


def _flat(shape: tuple[int, ...], index: Index) -> slice:
    """The slice of flattened axes of which the first alone may be cut."""
    inner = math.prod(shape[1:])
    if any(part.indices(size)[:2] != (0, size) for part, size in zip(index[1:], shape[1:], strict=True)):
        raise ValueError(f"slices {index} of axes {shape} do not lie together")
    start, stop, _ = index[0].indices(shape[0])
    return slice(start * inner, stop * inner)


def place(path: str, layer: int, cfg: config.Model, rows: int) -> Place:
    """Where a parameter of a whole-precision decoder stands.

    Args:
        path: ours, such as "layers/block/mlp/up/kernel".
        layer: which of the stacked ones.
        cfg: the model.
        rows: of the table of embeddings.
    """
    if path in _OUTSIDE:
        width = cfg.model_size
        inputs, outputs = {"embedding": ((), (rows, width)), "head": ((width,), (rows,))}.get(path, ((), (width,)))
        return Place(_OUTSIDE[path], inputs, outputs)
    inner = path.removeprefix(LAYERS)
    if inner in _MATRICES:
        theirs, *sides = _MATRICES[inner]
        inputs, outputs = (tuple(getattr(cfg, name) for name in side) for side in sides)
    else:
        # Of two norms after attention Gemma's first belongs to it, and the MLP's own has another name.
        theirs = "pre_feedforward_layernorm" if cfg.post_norms and inner == "mlp_norm/scale" else _NORMS[inner]
        inputs, outputs = (), (cfg.head_size if inner.startswith("attention/") else cfg.model_size,)
    return Place(f"model.layers.{layer}.{theirs}.weight", inputs, outputs)


def places(cfg: config.Model, rows: int) -> dict[str, list[Place]]:
    """Of every parameter, where each of its layers stands; one that is not stacked has one place."""
    optional = {"query_norm": cfg.qk_norm, "key_norm": cfg.qk_norm}
    optional |= {"attention_post_norm": cfg.post_norms, "mlp_post_norm": cfg.post_norms}
    norms = [path for path in _NORMS if optional.get(path.split("/")[-2], True)]
    outside = [path for path in _OUTSIDE if path != "head" or not cfg.tied_embeddings]
    found = {path: [place(path, 0, cfg, rows)] for path in outside}
    for inner in (*_MATRICES, *norms):
        found[LAYERS + inner] = [place(LAYERS + inner, layer, cfg, rows) for layer in range(cfg.layers)]
    return found


class Matched(NamedTuple):
    """The tensors of a checkpoint by their names without a prefix, and the names of those that are left."""

    tensors: dict[str, Tensor]
    left: tuple[str, ...]


def match(tensors: Mapping[str, Tensor], cfg: config.Model, rows: int) -> Matched:
    """Find every parameter of a model among the tensors of a folder, and a place for every tensor.

    Raises:
        InputError: a tensor is missing, has another shape than the configuration's, or has no place; the message names
            it.
    """
    prefix = next((theirs for theirs, ours in _PREFIXES.items() if theirs + TABLE.removeprefix(ours) in tensors), None)
    if prefix is None:
        raise InputError(f"the checkpoint has no tensor '{TABLE}'; it is not of the Llama, Qwen or Gemma family")
    found: dict[str, Tensor] = {}
    left = []
    for name, tensor in tensors.items():
        if name.startswith(_LEFT) or name.endswith(_BUFFERS):
            left.append(name)
            continue
        own = _PREFIXES[prefix] + name.removeprefix(prefix) if name.startswith(prefix) else name
        if own in found:
            raise InputError(f"the checkpoint has tensor {shown(own)} twice, as {shown(name)} too; take one away")
        found[own] = tensor
    wanted = {place.name: place for stacked in places(cfg, rows).values() for place in stacked}
    for name, place in wanted.items():
        if name not in found:
            raise InputError(f"the checkpoint has no tensor '{name}'; the configuration is of another family")
        _check_shape(name, found[name].shape, place)
    if cfg.tied_embeddings and HEAD in found:  # it must be the table once more, which `loading` checks
        _check_shape(HEAD, found[HEAD].shape, Place(HEAD, (), wanted[TABLE].shape))
    if extra := sorted(found.keys() - wanted.keys() - ({HEAD} if cfg.tied_embeddings else set())):
        raise InputError(
            f"the checkpoint has tensor {shown(extra[0])}, which has no place in this model; its config.json is of "
            "another"
        )
    return Matched(found, tuple(left))


def _check_shape(name: str, shape: tuple[int, ...], place: Place) -> None:
    if tuple(shape) != place.shape:
        raise InputError(f"tensor '{name}' is {tuple(shape)}; the configuration makes it {place.shape}")


def params(tensors: Mapping[str, np.ndarray], cfg: config.Model) -> Params:
    """The decoder's parameters, f32, from a checkpoint's tensors in memory (matrices are [outputs, inputs]).

    Args:
        tensors: by name; those that the configuration has no place for are left.
        cfg: the model; the vocabulary is the checkpoint's.

    Raises:
        InputError: a tensor is missing or has another shape than the configuration's.
    """
    if TABLE not in tensors:
        raise InputError(f"the checkpoint has no tensor '{TABLE}'; it is not of the Llama, Qwen or Gemma family")
    rows = len(tensors[TABLE])

    def found(place: Place) -> np.ndarray:
        if place.name not in tensors:
            raise InputError(f"the checkpoint has no tensor '{place.name}'; the configuration is of another family")
        tensor = np.asarray(tensors[place.name], np.float32)
        _check_shape(place.name, tensor.shape, place)
        return place.to_ours(tensor)

    return tree(
        {
            path: np.stack([found(place) for place in stacked]) if path.startswith(LAYERS) else found(stacked[0])
            for path, stacked in places(cfg, rows).items()
        }
    )


def tree(leaves: Mapping[str, Any]) -> dict[str, Any]:
    """A nested dict from leaves by path."""
    made: dict[str, Any] = {}
    for path, leaf in leaves.items():
        *above, name = path.split("/")
        inside = made
        for key in above:
            inside = inside.setdefault(key, {})
        inside[name] = leaf
    return made
