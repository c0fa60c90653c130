"""config.json of three families in both spellings, and what is refused by name."""

import dataclasses
import json

import pytest
import small_folders

from biomechgpt_jax import config
from biomechgpt_jax.errors import InputError
from biomechgpt_jax.pretrained.families import facts_of, model_of
from biomechgpt_jax.pretrained.known_keys import UNSUPPORTED

# As the makers publish them, cut to what matters (keys and values from the models' pages).
LLAMA = {
    "architectures": ["LlamaForCausalLM"],
    "attention_bias": False,
    "attention_dropout": 0.0,
    "bos_token_id": 128000,
    "eos_token_id": [128001, 128008, 128009],
    "head_dim": 64,
    "hidden_act": "silu",
    "hidden_size": 2048,
    "initializer_range": 0.02,
    "intermediate_size": 8192,
    "max_position_embeddings": 131072,
    "mlp_bias": False,
    "model_type": "llama",
    "num_attention_heads": 32,
    "num_hidden_layers": 16,
    "num_key_value_heads": 8,
    "pretraining_tp": 1,
    "rms_norm_eps": 1e-05,
    "rope_scaling": {
        "factor": 32.0,
        "high_freq_factor": 4.0,
        "low_freq_factor": 1.0,
        "original_max_position_embeddings": 8192,
        "rope_type": "llama3",
    },
    "rope_theta": 500000.0,
    "tie_word_embeddings": True,
    "torch_dtype": "bfloat16",
    "transformers_version": "4.45.0.dev0",
    "use_cache": True,
    "vocab_size": 128256,
}
QWEN = {
    "architectures": ["Qwen3ForCausalLM"],
    "attention_bias": False,
    "head_dim": 128,
    "hidden_act": "silu",
    "hidden_size": 1024,
    "intermediate_size": 3072,
    "max_position_embeddings": 40960,
    "max_window_layers": 28,
    "model_type": "qwen3",
    "num_attention_heads": 16,
    "num_hidden_layers": 28,
    "num_key_value_heads": 8,
    "rms_norm_eps": 1e-06,
    "rope_scaling": None,
    "rope_theta": 1000000,
    "sliding_window": None,
    "tie_word_embeddings": True,
    "use_sliding_window": False,
    "vocab_size": 151936,
}
GEMMA = {
    "architectures": ["Gemma3ForCausalLM"],
    "attn_logit_softcapping": None,
    "final_logit_softcapping": None,
    "head_dim": 256,
    "hidden_activation": "gelu_pytorch_tanh",
    "hidden_size": 640,
    "intermediate_size": 2048,
    "layer_types": (["sliding_attention"] * 5 + ["full_attention"]) * 3,
    "max_position_embeddings": 32768,
    "model_type": "gemma3_text",
    "num_attention_heads": 4,
    "num_hidden_layers": 18,
    "num_key_value_heads": 1,
    "query_pre_attn_scalar": 256,
    "rms_norm_eps": 1e-06,
    "rope_local_base_freq": 10000.0,
    "rope_scaling": None,
    "rope_theta": 1000000.0,
    "sliding_window": 512,
    "_sliding_window_pattern": 6,
    "use_bidirectional_attention": False,
    "vocab_size": 262144,
}


def without(facts: dict, *names: str, **changes) -> dict:
    return {name: value for name, value in facts.items() if name not in names} | changes


def test_llama() -> None:
    found = model_of(LLAMA, "config.json")
    want = config.Model(
        layers=16,
        model_size=2048,
        heads=32,
        kv_heads=8,
        head_size=64,
        hidden_size=8192,
        qk_norm=False,
        norm_epsilon=1e-5,
        rope_theta=5e5,
        rope_scaling="llama3",
        rope_factor=32.0,
        rope_length=8192,
    )
    assert (found.model, found.rows, found.positions) == (want, 128256, 131072)
    new = {"rope_parameters": LLAMA["rope_scaling"] | {"rope_theta": 5e5}}
    assert model_of(without(LLAMA, "rope_theta", "rope_scaling") | new, "config.json").model == want
    assert model_of(LLAMA | new, "config.json").model == want
    old_word = without(LLAMA["rope_scaling"], "rope_type", type="llama3")
    assert model_of(LLAMA | {"rope_scaling": old_word}, "config.json").model == want


def test_qwen() -> None:
    found = model_of(QWEN, "config.json").model
    assert found.qk_norm and found.tied_embeddings and not found.window
    assert (found.heads, found.kv_heads, found.head_size, found.rope_theta) == (16, 8, 128, 1e6)
    assert model_of(QWEN | {"layer_types": ["full_attention"] * 28}, "config.json").model == found


def test_gemma() -> None:
    found = model_of(GEMMA, "config.json").model
    assert found.unit_norms and found.post_norms and found.scale_embeddings and found.qk_norm and found.tied_embeddings
    assert (found.window, found.global_every, found.local_rope_theta, found.rope_theta) == (512, 6, 1e4, 1e6)
    assert (found.activation, found.query_size, found.rope_scaling) == ("gelu", 256, "none")
    assert model_of(without(GEMMA, "layer_types"), "config.json").model == found
    assert (
        model_of(without(GEMMA, "layer_types", "_sliding_window_pattern", sliding_window_pattern=6), "c").model == found
    )
    thetas = {"full_attention": {"rope_theta": 1e6}, "sliding_attention": {"rope_theta": 1e4, "rope_type": "default"}}
    new = without(GEMMA, "rope_theta", "rope_local_base_freq", rope_parameters=thetas)
    assert model_of(new, "config.json").model == found


def test_gemma_with_a_vision_tower_scales_its_global_layers_alone() -> None:
    text = {"hidden_size": 2560, "intermediate_size": 10240, "model_type": "gemma3_text", "num_hidden_layers": 34}
    text |= {"rope_scaling": {"factor": 8.0, "rope_type": "linear"}, "sliding_window": 1024}
    outer = {"architectures": ["Gemma3ForConditionalGeneration"], "model_type": "gemma3", "text_config": text}
    outer |= {"vision_config": {"hidden_size": 1152}, "mm_tokens_per_image": 256, "image_token_index": 262144}
    found = model_of(outer, "config.json")
    assert (found.model.rope_scaling, found.model.rope_factor, found.model.local_rope_theta) == ("linear", 8.0, 1e4)
    assert (found.rows, found.model.heads, found.model.kv_heads) == (262208, 8, 4)  # their defaults
    assert found.notes == ("its vision tower is not read",)


def test_absent_and_null_numbers_of_key_value_heads() -> None:
    assert model_of(without(LLAMA, "num_key_value_heads"), "config.json").model.kv_heads == 32
    assert model_of(LLAMA | {"num_key_value_heads": None}, "config.json").model.kv_heads == 32
    assert model_of(QWEN | {"num_key_value_heads": None}, "config.json").model.kv_heads == 16
    assert model_of(without(LLAMA, "head_dim"), "config.json").model.head_size == 64


def test_layers_without_any_that_sees_everything_keep_their_own_rotation() -> None:
    found = model_of(GEMMA | {"layer_types": ["sliding_attention"] * 18}, "config.json").model
    assert set(found.kinds) == {1} and found.windows == (0, 512)
    all_full = model_of(GEMMA | {"layer_types": ["full_attention"] * 18}, "config.json").model
    assert not all_full.window


@pytest.mark.parametrize("facts", [LLAMA, QWEN, GEMMA], ids=["llama", "qwen3", "gemma3"])
def test_there_and_back(facts) -> None:
    found = model_of(facts, "config.json")
    again = facts_of(found.model, found.rows, found.positions, {"eos_token_id": 2}, "bfloat16")
    assert model_of(json.loads(json.dumps(again)), "config.json") == found


@pytest.mark.parametrize("family", small_folders.FAMILIES)
def test_small_models_there_and_back(family) -> None:
    model = small_folders.FAMILIES[family]
    assert model_of(facts_of(model, 40, 64, {}, "float32"), "config.json").model == model


@pytest.mark.parametrize(
    "change",
    [{"post_norms": True}, {"window": 8}, {"query_size": 24.0}, {"logit_soft_cap": 30.0}, {"activation": "gelu"}],
)
def test_a_model_of_no_family_is_not_exported(change) -> None:
    model = dataclasses.replace(small_folders.FAMILIES["llama"], **change)
    with pytest.raises(InputError, match="export"):
        facts_of(model, 40, 64, {}, "float32")


@pytest.mark.parametrize("name", UNSUPPORTED)
def test_what_changes_the_mathematics_is_refused_by_name(name) -> None:
    with pytest.raises(InputError, match=f"config.json has {name} "):
        model_of(LLAMA | {name: {"some": "thing"}}, "config.json")


@pytest.mark.parametrize(
    ("facts", "words"),
    [
        (LLAMA | {"model_type": "mistral"}, "model_type 'mistral'; weights of llama, qwen3, gemma3_text and gemma3"),
        (LLAMA | {"hidden_act": "gelu"}, "hidden_act 'gelu'; only silu"),
        (LLAMA | {"rope_scaling": {"rope_type": "yarn", "factor": 4.0}}, "rope_type 'yarn'"),
        (LLAMA | {"rope_scaling": {"rope_type": "llama3", "factor": 4.0}}, "low_freq_factor None"),
        (LLAMA | {"rope_parameters": {"rope_theta": 1e4, "rope_type": "default"}}, "remove the wrong one"),
        (LLAMA | {"some_new_scale": 2}, "'some_new_scale', which this version does not know"),
        (LLAMA | {"num_key_value_heads": 5}, "config.json: model.heads 32 is not a multiple"),
        (LLAMA | {"hidden_size": "2048"}, "hidden_size '2048'; a whole number"),
        (QWEN | {"use_sliding_window": True}, "use_sliding_window True: windows"),
        (QWEN | {"layer_types": ["full_attention"] * 27 + ["sliding_attention"]}, "windows are supported in gemma3"),
        (GEMMA | {"layer_types": ["full_attention", *["sliding_attention"] * 17]}, "'sliding_attention' at layer 1"),
        (GEMMA | {"layer_types": GEMMA["layer_types"][:-1]}, "a list of 18"),
        (GEMMA | {"rope_parameters": {"rope_theta": 1e6}}, "rope_parameters has 'rope_theta'"),
        (
            without(GEMMA, rope_parameters={"sliding_attention": {"rope_type": "linear", "factor": 8.0}}),
            "layers with a window have rope_type linear",
        ),
        (GEMMA | {"architectures": ["Gemma3TextModel"]}, "architectures"),
    ],
)
def test_refusals(facts, words) -> None:
    with pytest.raises(InputError) as caught:
        model_of(facts, "config.json")
    assert words in str(caught.value) and "\n" not in str(caught.value)


def test_dropout_of_attention_is_read_and_said() -> None:
    found = model_of(LLAMA | {"attention_dropout": 0.1}, "config.json")
    assert found.notes == ("attention_dropout 0.1 is not applied",)
