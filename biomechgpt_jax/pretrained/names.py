"""Parameters from the tensors of a Llama 3, Qwen 3 or Gemma 3 (text) checkpoint, by their names in transformers."""

from collections.abc import Mapping
from typing import Any

import jax
import numpy as np

from biomechgpt_jax import config
from biomechgpt_jax.errors import InputError
from biomechgpt_jax.model import decoder

_OUTSIDE = {
    "embedding": "model.embed_tokens.weight",
    "head": "lm_head.weight",
    "final_norm/scale": "model.norm.weight",
}
_LAYER = {
    "attention_norm/scale": "input_layernorm",
    "attention/query/kernel": "self_attn.q_proj",
    "attention/key/kernel": "self_attn.k_proj",
    "attention/value/kernel": "self_attn.v_proj",
    "attention/query_norm/scale": "self_attn.q_norm",
    "attention/key_norm/scale": "self_attn.k_norm",
    "attention/output/kernel": "self_attn.o_proj",
    "attention_post_norm/scale": "post_attention_layernorm",
    "mlp_norm/scale": "post_attention_layernorm",
    "mlp_post_norm/scale": "post_feedforward_layernorm",
    "mlp/gate/kernel": "mlp.gate_proj",
    "mlp/up/kernel": "mlp.up_proj",
    "mlp/down/kernel": "mlp.down_proj",
}


def params(tensors: Mapping[str, np.ndarray], cfg: config.Model) -> decoder.Params:
    """The decoder's parameters, f32, from a checkpoint's tensors (matrices are [outputs, inputs]).

    Args:
        tensors: by name; those that the configuration has no place for are left.
        cfg: the model; the vocabulary is the checkpoint's.

    Raises:
        InputError: a tensor is missing or has another size than the configuration's.
    """

    def found(name: str, shape: tuple[int, ...], is_matrix: bool) -> np.ndarray:
        if name not in tensors:
            raise InputError(f"the checkpoint has no tensor '{name}'; the configuration is of another family")
        tensor = np.asarray(tensors[name], np.float32)
        if tensor.size != np.prod(shape):
            raise InputError(f"tensor '{name}' is {tensor.shape}; the configuration makes it {shape}")
        return (tensor.T if is_matrix else tensor).reshape(shape)

    def one(path: tuple[Any, ...], leaf: Any) -> np.ndarray:
        name = "/".join(key.key for key in path)
        if name in _OUTSIDE:
            return found(_OUTSIDE[name], leaf.shape, name == "head")
        inner = name.removeprefix("layers/block/")
        theirs = "pre_feedforward_layernorm" if cfg.post_norms and inner == "mlp_norm/scale" else _LAYER[inner]
        each = [f"model.layers.{layer}.{theirs}.weight" for layer in range(cfg.layers)]
        return np.stack([found(name, leaf.shape[1:], inner.endswith("kernel")) for name in each])

    table = _OUTSIDE["embedding"]
    if table not in tensors:
        raise InputError(f"the checkpoint has no tensor '{table}'; it is not of the Llama, Qwen or Gemma family")
    return jax.tree_util.tree_map_with_path(one, decoder.abstract(cfg, len(tensors[table])))
