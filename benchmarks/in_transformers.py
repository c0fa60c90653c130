"""Our decoder as a Llama of transformers with the same parameters, for comparisons on the same machine."""

from typing import Any

import numpy as np

from biomechgpt_jax import config

try:
    import torch
    import transformers
except ImportError:
    torch = transformers = None  # type: ignore[assignment]

MISSING = "PyTorch and transformers are not installed here (pip install torch transformers)"
IGNORED = -100  # the label of a token that is not asked, in transformers

# Their name of a layer's matrix: part and name of ours.
_MATRICES = {
    "self_attn.q_proj": ("attention", "query"),
    "self_attn.k_proj": ("attention", "key"),
    "self_attn.v_proj": ("attention", "value"),
    "self_attn.o_proj": ("attention", "output"),
    "mlp.gate_proj": ("mlp", "gate"),
    "mlp.up_proj": ("mlp", "up"),
    "mlp.down_proj": ("mlp", "down"),
}


def llama(model: config.Model, params: Any, longest: int, caches: bool = False) -> Any:
    """LlamaForCausalLM with our parameters (tied embeddings, no QK-norm), SDPA attention, in float32.

    Args:
        model: dimensions; without QK-norm.
        params: host arrays from `decoder.init`; kernels [layers, in ..., out ...] become [out, in].
        longest: positions it must take.
        caches: whether it is to keep keys and values, for decoding.
    """
    ids, size = params["embedding"].shape
    made = transformers.LlamaForCausalLM(
        transformers.LlamaConfig(
            vocab_size=ids,
            hidden_size=size,
            intermediate_size=model.hidden_size,
            num_hidden_layers=model.layers,
            num_attention_heads=model.heads,
            num_key_value_heads=model.kv_heads,
            head_dim=model.head_size,
            rms_norm_eps=model.norm_epsilon,
            rope_parameters={"rope_type": "default", "rope_theta": model.rope_theta},
            tie_word_embeddings=True,
            max_position_embeddings=longest,
            attn_implementation="sdpa",
            use_cache=caches,
        )
    )
    block = params["layers"]["block"]
    state = {"model.norm.weight": params["final_norm"]["scale"]}
    state["model.embed_tokens.weight"] = state["lm_head.weight"] = params["embedding"]
    for layer in range(model.layers):
        name = f"model.layers.{layer}"
        for theirs, (part, ours) in _MATRICES.items():
            kernel = block[part][ours]["kernel"][layer]
            into_model = ours in ("output", "down")
            state[f"{name}.{theirs}.weight"] = (kernel.reshape(-1, size) if into_model else kernel.reshape(size, -1)).T
        state[f"{name}.input_layernorm.weight"] = block["attention_norm"]["scale"][layer]
        state[f"{name}.post_attention_layernorm.weight"] = block["mlp_norm"]["scale"][layer]
    made.load_state_dict({key: torch.from_numpy(np.array(value)) for key, value in state.items()}, strict=True)
    return made.train()
