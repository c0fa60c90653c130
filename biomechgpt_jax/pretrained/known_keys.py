"""Keys of config.json that change nothing here, and those that change the mathematics and are not supported."""

from typing import Any

IGNORED = frozenset(
    {
        "_name_or_path",
        "bos_token_id",
        "cache_implementation",
        "chunk_size_feed_forward",
        "dtype",
        "eos_token_id",
        "id2label",
        "initializer_range",
        "is_llama_config",  # SmolLM2
        "label2id",
        "max_window_layers",
        "output_attentions",
        "output_hidden_states",
        "pad_token_id",
        "problem_type",
        "return_dict",
        "torch_dtype",
        "transformers.js_config",
        "transformers_version",
        "unsloth_fixed",
        "unsloth_version",
        "use_cache",
    }
)

_NOT_HERE = "it changes the mathematics and is not supported; give a model without it"
_REMOTE = "code beside the weights is never run; give a model that transformers has built in"
# Name -> (values that change nothing, words for all others). Absent and null are harmless too.
UNSUPPORTED: dict[str, tuple[tuple[Any, ...], str]] = {
    "adapters": ((), _NOT_HERE),
    "add_cross_attention": ((False,), _NOT_HERE),
    "attention_bias": ((False,), "biases of queries, keys and values are not supported; give a model without them"),
    "attention_multiplier": ((), _NOT_HERE),
    "auto_map": ((), _REMOTE),
    "embedding_multiplier": ((), _NOT_HERE),
    "is_decoder": ((True, False), _NOT_HERE),
    "is_encoder_decoder": ((False,), _NOT_HERE),
    "kv_lora_rank": ((), _NOT_HERE),
    "logits_scaling": ((), _NOT_HERE),
    "mlp_bias": ((False,), "biases of the MLP are not supported; give a model without them"),
    "num_experts": ((), _NOT_HERE),
    "num_local_experts": ((), _NOT_HERE),
    "partial_rotary_factor": ((1, 1.0), "rotary positions of a part of a head are not supported"),
    "pretraining_tp": ((1,), "products cut into slices are not supported; give 1 if the model was not made with them"),
    "quantization_config": ((), "quantised weights are not read; give the unquantised model (model.base quantises it)"),
    "residual_multiplier": ((), _NOT_HERE),
    "rope_interleaved": ((False,), "rotary positions of neighbouring pairs are not supported"),
    "trust_remote_code": ((False,), _REMOTE),
    "use_bidirectional_attention": ((False,), _NOT_HERE),
    "use_sliding_window": ((False,), "windows are supported in gemma3 alone"),
}
