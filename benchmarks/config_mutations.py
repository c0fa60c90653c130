"""Damages to the config.json of a folder of pretrained weights; see `folder_mutations`."""

import json
from collections.abc import Callable
from typing import Any

from small_folders import CANARY, Damage

from biomechgpt_jax.pretrained.folder import CONFIG
from biomechgpt_jax.pretrained.known_keys import UNSUPPORTED

_SIZE_KEYS = ("hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads", "head_dim", "vocab_size")


def _other_size(damage: Damage) -> None:
    key = damage.rng.choice(_SIZE_KEYS)
    value = damage.facts()[key]
    damage.set(**{key: damage.rng.choice([value + 1, value - 1, 2 * value, 10 * value])})


def _no_size(damage: Damage) -> None:
    facts = damage.facts()
    del facts[damage.rng.choice([key for key in _SIZE_KEYS if key != "head_dim"])]
    damage.write(CONFIG, json.dumps(facts))


def _wrong_kind(damage: Damage) -> None:
    key = damage.rng.choice([*_SIZE_KEYS, "num_key_value_heads", "rms_norm_eps", "max_position_embeddings"])
    wrong = ["24", [24], {"a": 1}, True, -3, 0, -1.5, "", float("nan"), float("inf"), 10**40]
    damage.set(**{key: damage.rng.choice(wrong)})


def _wrong_flag(damage: Damage) -> None:
    damage.set(tie_word_embeddings=damage.rng.choice(["true", 1, [], {}, 0, "false"]))


def _unsupported(damage: Damage) -> None:
    name = damage.rng.choice(sorted(UNSUPPORTED))
    harmless = UNSUPPORTED[name][0]
    damage.set(**{name: damage.rng.choice([bad for bad in (True, 2, {"a": 1}, "yes") if bad not in harmless])})


def _unknown(damage: Damage) -> None:
    damage.set(**{damage.rng.choice(["qk_scale", "n_routed_experts", "mamba_d", "x\ud800", ""]): 1})


def _other_family(damage: Damage) -> None:
    damage.set(model_type=damage.rng.choice(["mistral", "qwen2", "gemma2", "gpt2", "", None, 3, ["llama"], "Llama"]))


def _architecture(damage: Damage) -> None:
    damage.set(
        architectures=damage.rng.choice([["LlamaModel"], "LlamaForCausalLM", [1], ["BertForMaskedLM"], {"a": 1}])
    )


def _activation(damage: Damage) -> None:
    facts = damage.facts()
    name = "hidden_act" if "hidden_act" in facts else "hidden_activation"
    damage.set(**{name: damage.rng.choice(["relu", "gelu", "swish2", 3, ["silu"], True])})


def _rotation(damage: Damage) -> None:
    facts = damage.facts()
    damage.set(rope_parameters=damage.rng.choice([[], "default", 3, {"rope_type": "yarn", "factor": 2.0}, {"odd": {}}]))
    if damage.rng.random() < 0.5:
        kinds = [{"rope_type": kind, "factor": 2.0} for kind in ("yarn", "dynamic", "longrope", "proportional", "su")]
        kinds += [{"type": "linear", "rope_type": "llama3", "factor": 2.0}, {"rope_type": "linear"}, {"rope_type": 3}]
        kinds += [{"rope_type": "llama3", "factor": 8.0}, {"rope_type": "linear", "factor": -2.0}]
        damage.write(CONFIG, json.dumps(facts | {"rope_scaling": damage.rng.choice(kinds)}))


def _two_rotations(damage: Damage) -> None:
    damage.set(rope_theta=damage.facts()["rope_theta"] + 1)


def _layer_types(damage: Damage) -> None:
    facts = damage.facts()
    full, sliding = "full_attention", "sliding_attention"
    wrong: list[Any] = [[full], [full, "linear_attention"], "full_attention", [1, 2], [full, sliding], [sliding] * 3]
    # Llama has no such key, and Qwen no windows.
    damage.set(layer_types=damage.rng.choice(wrong), model_type=facts["model_type"])


def _no_config(damage: Damage) -> None:
    text = (damage.directory / CONFIG).read_text()
    wrong = ["", "[]", "null", text[:-3], f"{text}{text}", text.replace(":", ";", 1), "\x00", '{"model_type": NaN}']
    wrong += ['{"model_type": "llama", "model_type": "llama"}', text[:-2] + ', "hidden_size": 24}', '{"a":' * 5000]
    wrong += ['{"model_type": "llama", "vocab_size": ' + "9" * 5000 + "}"]
    damage.write(CONFIG, damage.rng.choice(wrong))


def _remote_code(damage: Damage) -> None:
    damage.write("modeling_own.py", f"import os\nos.mkdir({str(damage.directory / CANARY)!r})\n")
    damage.set(auto_map={"AutoModelForCausalLM": "modeling_own.OwnForCausalLM"})


DAMAGES: tuple[Callable[[Damage], None], ...] = (
    *(_other_size, _no_size, _wrong_kind, _wrong_flag, _unsupported, _unknown, _other_family, _architecture),
    *(_activation, _rotation, _two_rotations, _layer_types, _no_config, _remote_code),
)
