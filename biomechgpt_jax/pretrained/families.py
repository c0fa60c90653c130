"""config.json of the Llama, Qwen 3 and Gemma 3 (text) families as the decoder's configuration, and back.

Keys, defaults and both spellings of rotary positions are those of transformers 4.57 and 5.24 (configuration_llama,
configuration_qwen3, configuration_gemma3). A key that this module does not know is refused: it may change the
mathematics.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

from biomechgpt_jax import config
from biomechgpt_jax.errors import InputError
from biomechgpt_jax.pretrained import rotary
from biomechgpt_jax.pretrained.known_keys import IGNORED, UNSUPPORTED
from biomechgpt_jax.pretrained.strict_json import shown

_LARGEST = 2**24  # of a size
_MOST_LAYERS = 4096


class _Defaults(NamedTuple):
    """What transformers takes where config.json has no such key."""

    layers: int
    model_size: int
    hidden_size: int
    heads: int
    kv_heads: int
    head_size: int  # 0: the model's size over the heads
    rows: int
    positions: int
    tied: bool
    theta: float


_FAMILIES = {
    "llama": _Defaults(32, 4096, 11008, 32, 0, 0, 32_000, 2048, False, 10_000.0),
    "qwen3": _Defaults(32, 4096, 22016, 32, 32, 128, 151_936, 32_768, False, 10_000.0),
    "gemma3_text": _Defaults(26, 2304, 9216, 8, 4, 256, 262_208, 131_072, True, 1e6),
}
_GEMMA, _GEMMA_LOCAL_THETA = "gemma3_text", 10_000.0
_ACTIVATIONS = {"llama": "silu", "qwen3": "silu", _GEMMA: "gelu_pytorch_tanh"}
_FULL, _SLIDING = "full_attention", "sliding_attention"


@dataclass(frozen=True)
class Described:
    """What config.json says.

    Attributes:
        family: the model_type.
        model: the decoder.
        rows: of the table of embeddings.
        positions: as many as the model was made for.
        notes: what a user should know, a sentence each.
    """

    family: str
    model: config.Model
    rows: int
    positions: int
    notes: tuple[str, ...] = ()


class Facts:
    """Values of config.json by kind; remembers which keys were asked for."""

    def __init__(self, values: Mapping[str, Any], where: str) -> None:
        self.values, self.where, self.known = values, where, set(IGNORED)

    def get(self, name: str, default: Any = None) -> Any:
        """A value as it stands, the default where it is absent or null."""
        self.known.add(name)
        value = self.values.get(name)
        return default if value is None else value

    def size(self, name: str, default: int, largest: int = _LARGEST) -> int:
        """A whole number from 1 to `largest`."""
        value = self.get(name, default)
        if type(value) is not int or not 1 <= value <= largest:
            raise self.wrong(name, f"a whole number from 1 to {largest}")
        return value

    def number(self, name: str, default: float) -> float:
        """A finite number above 0; a default of 0 stands for none."""
        value = self.get(name)
        if value is None:
            return default
        if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 < value < 1e30:
            raise self.wrong(name, "a number above 0")
        return float(value)

    def flag(self, name: str, default: bool) -> bool:
        value = self.get(name, default)
        if not isinstance(value, bool):
            raise self.wrong(name, "true or false")
        return value

    def wrong(self, name: str, wanted: str) -> InputError:
        return InputError(f"{self.where} has {name} {shown(self.values.get(name))}; {wanted} is what it must be")

    def refuse_unsupported(self) -> None:
        """Refuse by name what changes the mathematics and is not implemented."""
        for name, (harmless, words) in UNSUPPORTED.items():
            value = self.get(name)
            if value is not None and value not in harmless:
                raise InputError(f"{self.where} has {name} {shown(value)}: {words}")

    def refuse_unknown(self) -> None:
        if unknown := sorted(self.values.keys() - self.known):
            raise InputError(
                f"{self.where} has {shown(unknown[0])}, which this version does not know; if it changes nothing, "
                "remove it"
            )


def model_of(facts: Mapping[str, Any], where: str) -> Described:
    """The decoder that config.json describes.

    Args:
        facts: the JSON object.
        where: the file, for messages.

    Raises:
        InputError: another family, a value of a wrong kind, a setting that changes the mathematics and is not
            supported, or a key that is not known.
    """
    if facts.get("model_type") == "gemma3":
        return _text_part(facts, where)
    read = Facts(facts, where)
    family = read.get("model_type")
    if not isinstance(family, str) or family not in _FAMILIES:
        raise InputError(
            f"{where} has model_type {shown(family)}; weights of {', '.join(_FAMILIES)} and gemma3 can be imported"
        )
    _check_architecture(read)
    read.refuse_unsupported()
    usual, is_gemma = _FAMILIES[family], family == _GEMMA
    name = "hidden_activation" if is_gemma else "hidden_act"
    activation = read.get(name, read.get("hidden_act") if is_gemma else None) or _ACTIVATIONS[family]
    if activation != _ACTIVATIONS[family]:
        raise InputError(
            f"{where} has {name} {shown(activation)}; only {_ACTIVATIONS[family]} is supported in {family}"
        )
    heads = read.size("num_attention_heads", usual.heads)
    size = read.size("hidden_size", usual.model_size)
    # transformers: an absent number of key-value heads is the family's default, null is that of heads.
    kv_default = (usual.kv_heads or heads) if "num_key_value_heads" not in facts else heads
    window = _window(read, read.size("num_hidden_layers", usual.layers, _MOST_LAYERS), is_gemma, family)
    positions = rotary.read(read, usual.theta, _GEMMA_LOCAL_THETA if is_gemma else None)
    fields: dict[str, Any] = {
        "layers": read.size("num_hidden_layers", usual.layers, _MOST_LAYERS),
        "model_size": size,
        "heads": heads,
        "kv_heads": read.size("num_key_value_heads", kv_default),
        "head_size": read.size("head_dim", usual.head_size or max(1, size // heads)),
        "hidden_size": read.size("intermediate_size", usual.hidden_size),
        "activation": "gelu" if is_gemma else "silu",
        "qk_norm": family != "llama",
        "post_norms": is_gemma,
        "unit_norms": is_gemma,
        "scale_embeddings": is_gemma,
        "norm_epsilon": read.number("rms_norm_eps", 1e-6),
        "tied_embeddings": read.flag("tie_word_embeddings", usual.tied),
        **window,
        **positions,
    }
    if is_gemma:
        fields["query_size"] = read.number("query_pre_attn_scalar", 256.0)
        fields["attention_soft_cap"] = read.number("attn_logit_softcapping", 0.0)
        fields["logit_soft_cap"] = read.number("final_logit_softcapping", 0.0)
    rows = read.size("vocab_size", usual.rows)
    longest = read.size("max_position_embeddings", usual.positions)
    notes = []
    if read.get("attention_dropout", 0.0) not in (0, 0.0):
        notes.append(f"attention_dropout {shown(facts['attention_dropout'])} is not applied")
    read.refuse_unknown()
    try:
        return Described(family, config.Model(**fields), rows, longest, tuple(notes))
    except InputError as error:
        raise InputError(f"{where}: {error}") from error


def _text_part(facts: Mapping[str, Any], where: str) -> Described:
    """Gemma 3 with a vision tower: its language model is read, the tower is left."""
    outer = Facts(facts, where)
    inner = outer.get("text_config")
    if not isinstance(inner, dict):
        raise outer.wrong("text_config", "an object")
    _check_architecture(outer)
    outer.refuse_unsupported()
    for name in (
        "model_type",
        "vision_config",
        "mm_tokens_per_image",
        "boi_token_index",
        "eoi_token_index",
        "image_token_index",
    ):
        outer.get(name)
    text = {"model_type": _GEMMA} | inner
    if text["model_type"] != _GEMMA:
        raise InputError(f"{where}: text_config has model_type {shown(text['model_type'])}, not {_GEMMA}")
    if "tie_word_embeddings" not in inner and "tie_word_embeddings" in facts:
        text["tie_word_embeddings"] = outer.get("tie_word_embeddings")
    outer.get("tie_word_embeddings")
    outer.refuse_unknown()
    found = model_of(text, f"{where}: text_config")
    return Described("gemma3", found.model, found.rows, found.positions, (*found.notes, "its vision tower is not read"))


def _check_architecture(facts: Facts) -> None:
    names = facts.get("architectures", [])
    fits = isinstance(names, list) and all(
        isinstance(name, str) and name.endswith(("ForCausalLM", "ForConditionalGeneration")) for name in names
    )
    if not fits:
        raise facts.wrong("architectures", "a list of ...ForCausalLM or ...ForConditionalGeneration")


def _window(facts: Facts, layers: int, is_gemma: bool, family: str) -> dict[str, int]:
    """`window` and `global_every` from the kinds of the layers."""
    types = facts.get("layer_types") if family != "llama" else None
    if types is not None and (not isinstance(types, list) or len(types) != layers):
        raise facts.wrong("layer_types", f"a list of {layers}, one for each layer")
    if not is_gemma:
        if family == "qwen3":
            facts.get("sliding_window")  # without use_sliding_window it changes nothing
        if types is not None and any(kind != _FULL for kind in types):
            raise InputError(f"{facts.where} has layer_types other than {_FULL}; windows are supported in gemma3 alone")
        return {}
    window = facts.size("sliding_window", 4096)
    pattern = facts.size("sliding_window_pattern", facts.size("_sliding_window_pattern", 6))
    if types is None:
        return {"window": window, "global_every": pattern} if pattern > 1 else {}
    for every in range(1, layers + 2):  # one more than there are layers: none of them sees everything
        if types == [_SLIDING if (layer + 1) % every else _FULL for layer in range(layers)]:
            return {"window": window, "global_every": every} if every > 1 else {}
    first = types.index(_FULL) + 1 if _FULL in types else 0
    odd = next(i for i, kind in enumerate(types) if kind != (_FULL if first and not (i + 1) % first else _SLIDING))
    raise InputError(
        f"{facts.where}: layer_types has {shown(types[odd])} at layer {odd}; supported is one layer of so many that "
        "sees everything, always the last of them"
    )


def facts_of(
    model: config.Model, rows: int, positions: int, tokens: Mapping[str, int | None], dtype: str
) -> dict[str, Any]:
    """config.json of a decoder, which transformers 4 and 5 read alike: rotary positions stand there in both spellings.

    Args:
        model: the decoder.
        rows: of its table of embeddings.
        positions: as many as it is made for.
        tokens: such as bos_token_id and eos_token_id.
        dtype: of the weights, such as "bfloat16".

    Raises:
        InputError: no family of transformers has such a model.
    """
    gemma = (model.activation == "gelu", model.post_norms, model.unit_norms, model.scale_embeddings)
    if any(gemma) != all(gemma) or (all(gemma) and not model.qk_norm):
        raise InputError("no family of transformers that can be exported has such a model: see model.post_norms")
    family = _GEMMA if all(gemma) else "qwen3" if model.qk_norm else "llama"
    plain = not (model.window or model.attention_soft_cap or model.logit_soft_cap)
    own_size = not model.query_size or model.query_size == model.head_size
    if family != _GEMMA and not (plain and own_size):
        raise InputError(f"{family} has no windows, soft caps or query size; it cannot be exported with them")
    if family == _GEMMA and model.window and not model.global_every:
        raise InputError("Gemma 3 with a window in every layer needs model.global_every, above the number of layers")
    architecture = {"llama": "Llama", "qwen3": "Qwen3", _GEMMA: "Gemma3"}[family]
    facts: dict[str, Any] = {
        "architectures": [f"{architecture}ForCausalLM"],
        "model_type": family,
        "num_hidden_layers": model.layers,
        "hidden_size": model.model_size,
        "intermediate_size": model.hidden_size,
        "num_attention_heads": model.heads,
        "num_key_value_heads": model.kv_heads,
        "head_dim": model.head_size,
        ("hidden_activation" if family == _GEMMA else "hidden_act"): _ACTIVATIONS[family],
        "rms_norm_eps": model.norm_epsilon,
        "tie_word_embeddings": model.tied_embeddings,
        "vocab_size": rows,
        "max_position_embeddings": positions,
        "attention_bias": False,
        "attention_dropout": 0.0,
        "use_cache": True,
        "torch_dtype": dtype,  # transformers 5 reads it as `dtype`
        **rotary.write(model, is_gemma=family == _GEMMA),
        **tokens,
    }
    if family == "llama":
        facts["mlp_bias"] = False
    if family == "qwen3":
        facts |= {"use_sliding_window": False, "sliding_window": None}
    if family == _GEMMA:
        every = model.global_every if model.window else 1
        facts |= {
            "query_pre_attn_scalar": _plain_number(model.query_size or model.head_size),
            "sliding_window": model.window or positions,
            "layer_types": [_SLIDING if (layer + 1) % every else _FULL for layer in range(model.layers)],
            "sliding_window_pattern": every,
            "attn_logit_softcapping": model.attention_soft_cap or None,
            "final_logit_softcapping": model.logit_soft_cap or None,
        }
    return facts


def _plain_number(value: float) -> float | int:
    return int(value) if math.isfinite(value) and value == int(value) else value
