"""Rotary positions in config.json, in the spelling of transformers 4 (`rope_theta`, `rope_scaling`) and of 5
(`rope_parameters`)."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

from biomechgpt_jax import config
from biomechgpt_jax.errors import InputError
from biomechgpt_jax.pretrained.strict_json import shown

if TYPE_CHECKING:
    from biomechgpt_jax.pretrained.families import Facts

_FULL, _SLIDING = "full_attention", "sliding_attention"
_NEEDED = {
    "default": (),
    "linear": ("factor",),
    "llama3": ("factor", "low_freq_factor", "high_freq_factor", "original_max_position_embeddings"),
}


class _Rotation(NamedTuple):
    """One kind of layer: the base, the rule and the rule's numbers in the order of _NEEDED."""

    theta: float
    kind: str = "default"
    numbers: tuple[float, ...] = ()


def read(facts: "Facts", theta: float, local_theta: float | None) -> dict[str, Any]:
    """Fields of `config.Model` about rotary positions.

    Args:
        facts: of config.json.
        theta: the family's base where none is given.
        local_theta: the same for layers with a window; None: the family has none of its own.

    Raises:
        InputError: a rule that is not supported, a number that is missing or wrong, or two spellings that differ.
    """
    new, old = facts.get("rope_parameters"), facts.get("rope_scaling")
    has_theta = facts.get("rope_theta") is not None
    if new is not None and not isinstance(new, dict):
        raise facts.wrong("rope_parameters", "an object")
    if old is not None and not isinstance(old, dict):
        raise facts.wrong("rope_scaling", "an object")
    base = facts.number("rope_theta", theta)
    if local_theta is None:
        rotation = _rotation(facts, "rope_scaling", old or {}, base)
        if new is not None:
            spelled = _rotation(facts, "rope_parameters", new, base)
            _compare(facts, "rope_scaling", spelled, rotation, has_theta, old is not None)
            rotation = spelled
        return _fields(rotation)
    has_local = facts.get("rope_local_base_freq") is not None
    local_base = facts.number("rope_local_base_freq", local_theta)
    rotation, local = _rotation(facts, "rope_scaling", old or {}, base), _Rotation(local_base)
    if new is not None:
        if odd := sorted(new.keys() - {_FULL, _SLIDING}):
            raise InputError(f"{facts.where}: rope_parameters has {shown(odd[0])}; {_FULL} and {_SLIDING} are known")
        each = {kind: new.get(kind) or {} for kind in (_FULL, _SLIDING)}
        if not all(isinstance(entry, dict) for entry in each.values()):
            raise facts.wrong("rope_parameters", "an object of objects")
        spelled = _rotation(facts, f"rope_parameters.{_FULL}", each[_FULL], base)
        _compare(facts, "rope_scaling", spelled, rotation, has_theta, old is not None)
        spelled_local = _rotation(facts, f"rope_parameters.{_SLIDING}", each[_SLIDING], local_base)
        _compare(facts, "rope_local_base_freq", spelled_local, local, has_local, False)
        rotation, local = spelled, spelled_local
    if local.kind != "default":
        raise InputError(f"{facts.where}: layers with a window have rope_type {local.kind}; only default is supported")
    return _fields(rotation) | {"local_rope_theta": local.theta}


def _rotation(facts: "Facts", name: str, entry: Mapping[str, Any], theta: float) -> _Rotation:
    kinds = {entry[key] for key in ("rope_type", "type") if isinstance(entry.get(key), str)}
    wrong_kind = any(entry.get(key) is not None and not isinstance(entry[key], str) for key in ("rope_type", "type"))
    if wrong_kind or len(kinds) > 1:
        raise InputError(f"{facts.where}: {name} {shown(dict(entry))} names no one rope_type")
    kind = kinds.pop() if kinds else "default"
    if kind not in _NEEDED:
        raise InputError(
            f"{facts.where}: {name} has rope_type {shown(kind)}; {', '.join(_NEEDED)} are supported; give such a model"
        )
    numbers = [_number(facts, name, entry, key) for key in _NEEDED[kind]]
    if entry.get("rope_theta") is not None:
        theta = _number(facts, name, entry, "rope_theta")
    if entry.get("partial_rotary_factor", 1) != 1:
        raise InputError(
            f"{facts.where}: {name} has partial_rotary_factor; rotation of a part of a head is not supported"
        )
    known = {"rope_type", "type", "rope_theta", "partial_rotary_factor", *_NEEDED[kind]}
    if odd := sorted(entry.keys() - known):
        raise InputError(f"{facts.where}: {name} has {shown(odd[0])}, which rope_type {kind} does not know; remove it")
    return _Rotation(theta, kind, tuple(numbers))


def _number(facts: "Facts", name: str, entry: Mapping[str, Any], key: str) -> float:
    value = entry.get(key)
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 < value < 1e30:
        raise InputError(f"{facts.where}: {name} has {key} {shown(value)}; give a number above 0")
    return float(value)


def _compare(facts: "Facts", name: str, new: _Rotation, old: _Rotation, has_theta: bool, has_rule: bool) -> None:
    """Refuse a file whose two spellings differ, as far as it has the old one."""
    if (has_theta and new.theta != old.theta) or (has_rule and new[1:] != old[1:]):
        raise InputError(
            f"{facts.where}: rope_parameters says {tuple(new)}, and rope_theta or {name} says {tuple(old)}; remove the "
            "wrong one"
        )


def _fields(rotation: _Rotation) -> dict[str, Any]:
    fields: dict[str, Any] = {"rope_theta": rotation.theta}
    if rotation.kind != "default":
        fields |= {"rope_scaling": rotation.kind, "rope_factor": rotation.numbers[0]}
    if rotation.kind == "llama3":
        _, low, high, length = rotation.numbers
        fields |= {"rope_low": low, "rope_high": high, "rope_length": int(length)}
    return fields


def write(model: config.Model, is_gemma: bool) -> dict[str, Any]:
    """Rotary positions of a decoder in both spellings."""
    rule: dict[str, Any] = {"rope_type": "default" if model.rope_scaling == "none" else model.rope_scaling}
    if model.rope_scaling != "none":
        rule["factor"] = model.rope_factor
    if model.rope_scaling == "llama3":
        rule |= {
            "low_freq_factor": model.rope_low,
            "high_freq_factor": model.rope_high,
            "original_max_position_embeddings": model.rope_length,
        }
    full = {"rope_theta": model.rope_theta, **rule}
    facts: dict[str, Any] = {"rope_theta": model.rope_theta, "rope_scaling": None}
    if model.rope_scaling != "none":
        facts["rope_scaling"] = rule
    if not is_gemma:
        return facts | {"rope_parameters": full}
    local = model.local_rope_theta or model.rope_theta
    sliding = {"rope_theta": local, "rope_type": "default"}
    return facts | {"rope_local_base_freq": local, "rope_parameters": {_FULL: full, _SLIDING: sliding}}
