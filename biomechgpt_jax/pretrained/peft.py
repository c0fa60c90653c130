"""Adapters as peft stores them: `adapter_config.json` and `adapter_model.safetensors`, written and read.

The format is that of peft 0.21 (peft/tuners/lora/config.py, peft/utils/save_and_load.py). Its A is [rank, inputs] and
its B [outputs, rank], heads flattened head by head. The rows that are added to the table of embeddings are
"trainable tokens": despite the name `trainable_tokens_delta` they take the place of the table's rows. peft does not
make the table longer, so whoever loads the adapter does that first.

Which tensors stand in the file decides what is adapted: `target_modules` may be a pattern, and a pattern from a file is
not run.
"""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from biomechgpt_jax import config
from biomechgpt_jax.config.adapter import LINEAR
from biomechgpt_jax.errors import InputError
from biomechgpt_jax.files import write_json
from biomechgpt_jax.model.decoder import Params
from biomechgpt_jax.pretrained import names, safetensors, strict_json
from biomechgpt_jax.pretrained.names import LAYERS, Place
from biomechgpt_jax.pretrained.strict_json import shown

CONFIG_FILE, WEIGHTS_FILE = "adapter_config.json", "adapter_model.safetensors"
_PREFIX = "base_model.model."
_ROWS = {  # of ours, peft's name of the module
    "rows": ("embed_tokens", f"{_PREFIX}model.embed_tokens.token_adapter.trainable_tokens_delta"),
    "head_rows": ("lm_head", f"{_PREFIX}lm_head.token_adapter.trainable_tokens_delta"),
}
# The tables that are not trained, which peft stores again where they were made longer; ours are the base's.
_STORED_AGAIN = tuple(name.replace("trainable_tokens_delta", "base_layer.weight") for _, name in _ROWS.values())
_LARGEST_CONFIG = 4 * 2**20
# Settings that change nothing of what a stored adapter computes, whatever their value ...
_IGNORED = (
    "auto_mapping",
    "base_model_name_or_path",
    "corda_config",
    "ensure_weight_tying",
    "eva_config",
    "exclude_modules",
    "inference_mode",
    "layers_pattern",
    "lora_dropout",
    "megatron_core",
    "peft_version",
    "qalora_group_size",
    "revision",
    "runtime_config",
    "target_modules",
    "task_type",
)
# ... and those that are read below. Anything else is refused unless it is switched off.
_READ = ("alpha_pattern", "bias", "init_lora_weights", "lora_alpha", "peft_type", "r", "rank_pattern", "use_rslora")
# First values that leave the base as it is; others (PiSSA, OLoRA, CorDA) take away from it what adapters start with.
_PLAIN_STARTS = (None, True, False, "gaussian", "orthogonal", "eva")


class _Pair(NamedTuple):
    """An adapter of one matrix in one layer: where its halves stand, and where the matrix does."""

    path: str  # ours, without the name of the half
    layer: int
    place: Place

    def name(self, half: str) -> str:
        """Theirs; `half` is "a" or "b"."""
        return f"{_PREFIX}{self.place.name.removesuffix('weight')}lora_{half.upper()}.weight"

    def to_theirs(self, half: str, array: np.ndarray) -> np.ndarray:
        """A half of ours in their layout."""
        flat = array.reshape(-1, array.shape[-1]) if half == "a" else array.reshape(len(array), -1)
        return flat.T

    def to_ours(self, half: str, array: np.ndarray) -> np.ndarray:
        """A half of theirs, [rank, inputs] or [outputs, rank], in our layout."""
        if half == "a":
            return array.T.reshape(*self.place.inputs, len(array))
        return array.T.reshape(array.shape[1], *self.place.outputs)

    def shape(self, half: str, rank: int) -> tuple[int, int]:
        """Theirs."""
        outputs, inputs = self.place.shape
        return (rank, inputs) if half == "a" else (outputs, rank)


def _pairs(cfg: config.Model) -> Iterator[_Pair]:
    """Of every matrix of a layer that can be adapted, layer by layer."""
    for path, stacked in names.places(cfg, cfg.text_rows).items():
        if path.startswith(LAYERS) and path.endswith("/kernel"):
            yield from (_Pair(path.removesuffix("/kernel"), layer, place) for layer, place in enumerate(stacked))


def _name(pair: _Pair) -> str:
    """What `config.Adapter.on` calls the matrix."""
    return pair.path.rsplit("/", 1)[1]


def write(directory: Path, params: Params, cfg: config.Model, base: str) -> None:
    """Write an adapter and the added rows into a folder that exists.

    Args:
        directory: of the two files.
        params: all parameters, or the trained ones alone.
        cfg: the model, with adapters and text_rows.
        base: name of the model that is adapted, for adapter_config.json.

    Raises:
        InputError: the model has no adapters, or has trained the pretrained rows too, which peft's format cannot hold.
    """
    if not cfg.adapter.rank:
        raise InputError(
            "export: the run has no adapters (model.adapter.rank is 0); give --merged instead of --adapter"
        )
    if not cfg.table_is_frozen:
        raise InputError(
            "export: the run trained the pretrained rows too, which an adapter does not hold; give --merged"
        )
    added = {ours: np.asarray(params["rows"] if ours == "rows" else params["head_rows"].T) for ours in _own_rows(cfg)}
    rank, alpha = cfg.adapter.rank, cfg.adapter.alpha
    pairs = [pair for pair in _pairs(cfg) if _name(pair) in cfg.adapter.on]
    declared: dict[str, tuple[str, tuple[int, ...]]] = {
        pair.name(half): ("F32", pair.shape(half, rank)) for pair in pairs for half in ("a", "b")
    }
    declared |= {_ROWS[ours][1]: ("F32", rows.shape) for ours, rows in added.items()}
    with safetensors.Writer(directory / WEIGHTS_FILE, declared, {"format": "pt"}) as writer:
        for pair in pairs:
            held = _at(params, pair.path)
            for half in ("a", "b"):
                writer.write(pair.name(half), pair.to_theirs(half, np.asarray(held[half][pair.layer])))
        for ours, rows in added.items():
            writer.write(_ROWS[ours][1], rows)
    facts = {
        "peft_type": "LORA",
        "task_type": "CAUSAL_LM",
        "base_model_name_or_path": base,
        "r": rank,
        "lora_alpha": int(alpha) if alpha == int(alpha) else alpha,
        "use_rslora": cfg.adapter.rank_stabilised,
        "lora_dropout": cfg.adapter.dropout,
        "bias": "none",
        "target_modules": [_module(name, cfg) for name in cfg.adapter.on],
        "trainable_token_indices": {
            _ROWS[ours][0]: list(range(cfg.text_rows, cfg.text_rows + len(rows))) for ours, rows in added.items()
        },
        "inference_mode": True,
    }
    write_json(directory / CONFIG_FILE, facts)


def is_adapter(directory: Path | str) -> bool:
    """Whether a path, which may be empty, is that of a folder with an adapter."""
    return bool(directory) and (Path(directory) / CONFIG_FILE).is_file()


def read(directory: Path, cfg: config.Model, rows: int) -> Params:
    """Read an adapter, and the added rows if it has them.

    Args:
        directory: with the two files.
        cfg: the model; rank, scale and the matrices that are adapted must be the adapter's.
        rows: of the table of embeddings, those that are added among them.

    Returns:
        f32 arrays, a nested dict: `a` and `b` of every matrix, stacked, and `rows` (`head_rows`) where they are stored.

    Raises:
        InputError: a file is missing or damaged, the adapter is of another kind than LoRA on these matrices, or does
            not fit the configuration.
    """
    facts = strict_json.read(directory / CONFIG_FILE, _LARGEST_CONFIG)
    tensors = safetensors.read_header(directory / WEIGHTS_FILE).tensors
    tensors = {name: tensor for name, tensor in tensors.items() if name not in _STORED_AGAIN}
    twin = tensors.pop(_ROWS["head_rows"][1], None) if cfg.tied_embeddings else None
    kinds = _check(facts, cfg, rows, f"{directory / CONFIG_FILE}")
    wanted: dict[str, tuple[int, ...]] = {
        pair.name(half): pair.shape(half, cfg.adapter.rank)
        for pair in _pairs(cfg)
        if _name(pair) in cfg.adapter.on
        for half in ("a", "b")
    }
    wanted |= {_ROWS[ours][1]: (rows - cfg.text_rows, cfg.model_size) for ours in kinds}
    _check_names(tensors, wanted, cfg, directory / WEIGHTS_FILE)
    leaves: dict[str, Any] = {}
    with safetensors.Reader() as reader:

        def values(name: str) -> np.ndarray:
            if tensors[name].shape != wanted[name]:
                raise InputError(
                    f"{directory / WEIGHTS_FILE}: tensor {shown(name)} is {tensors[name].shape}; the configuration "
                    f"makes it {wanted[name]}"
                )
            found = reader.read(tensors[name]).astype(np.float32)
            if not np.isfinite(found).all():
                raise InputError(f"{directory / WEIGHTS_FILE}: tensor {shown(name)} holds NaN or infinities")
            return found

        for pair in _pairs(cfg):
            if _name(pair) in cfg.adapter.on:
                for half in ("a", "b"):
                    leaves.setdefault(f"{pair.path}/{half}", []).append(pair.to_ours(half, values(pair.name(half))))
        leaves = {path: np.stack(layers) for path, layers in leaves.items()}
        for ours in kinds:
            own = values(_ROWS[ours][1])
            leaves[ours] = own if ours == "rows" else own.T
        if twin is not None and not np.array_equal(reader.read(twin).astype(np.float32), leaves.get("rows", 0)):
            raise InputError(
                f"{directory / WEIGHTS_FILE}: the added rows of embedding and head differ, and the model's are tied; "
                "train the adapter with them tied (peft: ensure_weight_tying)"
            )
    return names.tree(leaves)


def _own_rows(cfg: config.Model) -> tuple[str, ...]:
    return ("rows",) if cfg.tied_embeddings else ("rows", "head_rows")


def _module(name: str, cfg: config.Model) -> str:
    """What peft calls a matrix, such as q_proj."""
    pair = next(pair for pair in _pairs(cfg) if _name(pair) == name)
    return pair.place.name.split(".")[-2]


def _at(params: Params, path: str) -> Mapping[str, Any]:
    held: Any = params
    for key in path.split("/"):
        held = held[key]
    return held


def _check(facts: dict[str, Any], cfg: config.Model, rows: int, where: str) -> tuple[str, ...]:
    """Refuse another kind of adapter than the configuration's; return which added rows the adapter brings."""
    if facts.get("peft_type") != "LORA":
        raise InputError(f"{where}: peft_type is {shown(facts.get('peft_type'))}; only LORA is read")
    if facts.get("bias", "none") != "none":
        raise InputError(f"{where}: bias is {shown(facts['bias'])}; only adapters without biases are read")
    if facts.get("init_lora_weights") not in _PLAIN_STARTS:
        raise InputError(
            f"{where}: init_lora_weights is {shown(facts['init_lora_weights'])}, which changes the base; convert the "
            "adapter to plain LoRA (peft: path_initial_model_for_weight_conversion)"
        )
    for name in sorted(facts.keys() - {*_IGNORED, *_READ, "trainable_token_indices"}):
        if facts[name] not in (None, False, [], {}, "", 0):
            raise InputError(
                f"{where}: {shown(name)} is {shown(facts[name])}, which is not supported; only plain LoRA is"
            )
    stated = {"r": cfg.adapter.rank, "lora_alpha": cfg.adapter.alpha, "use_rslora": cfg.adapter.rank_stabilised}
    ours = {"r": "rank", "lora_alpha": "alpha", "use_rslora": "rank_stabilised"}
    for name, value in stated.items():
        given = facts.get(name, {"r": 8, "lora_alpha": 8, "use_rslora": False}[name])  # peft's own defaults
        if isinstance(given, bool) != isinstance(value, bool) or given != value:
            raise InputError(
                f"{where}: {name} is {shown(given)}, and model.adapter.{ours[name]} is {value}; make them equal"
            )
    for name, usual in (("rank_pattern", "r"), ("alpha_pattern", "lora_alpha")):
        pattern = facts.get(name) or {}
        if not isinstance(pattern, dict) or any(value != stated[usual] for value in pattern.values()):
            raise InputError(f"{where}: {name} is {shown(pattern)}; only one rank and one alpha for all are read")
    return _check_rows(facts.get("trainable_token_indices"), cfg, rows, where)


def _check_rows(given: Any, cfg: config.Model, rows: int, where: str) -> tuple[str, ...]:
    if not given:
        return ()
    given = {"embed_tokens": given} if isinstance(given, list) else given
    known = {_ROWS[ours][0]: ours for ours in _own_rows(cfg)}
    if not isinstance(given, dict) or given.keys() - known.keys():
        raise InputError(f"{where}: trainable_token_indices has {shown(given)}; only {', '.join(known)} can have rows")
    for module, ids in given.items():
        if ids != list(range(cfg.text_rows, rows)):
            raise InputError(
                f"{where}: trainable_token_indices of {module} are not the rows {cfg.text_rows} to {rows - 1}, which "
                "this vocabulary adds; the adapter is of another one"
            )
    return tuple(known[module] for module in given)


def _check_names(tensors: Mapping[str, Any], wanted: Mapping[str, Any], cfg: config.Model, path: Path) -> None:
    """Refuse a file that lacks a tensor or has one without a place."""
    if tensors.keys() == wanted.keys():
        return
    adapted = [name for name in LINEAR if f".{_module(name, cfg)}.lora_A." in " ".join(tensors)]
    if adapted and set(adapted) != set(cfg.adapter.on):
        raise InputError(
            f"{path} adapts {', '.join(adapted)}, and model.adapter.on is {', '.join(cfg.adapter.on)}; give --model."
            f"adapter.on {' '.join(adapted)}"
        )
    odd = min(tensors.keys() ^ wanted.keys())
    fact = "a tensor without a place in this model" if odd in tensors else "missing"
    raise InputError(f"{path}: {shown(odd)} is {fact}; the adapter is of another model")
