"""Small folders of pretrained weights, and damages to them that every import must refuse.

Each damage is wrong whatever its random choice: a change that leaves a valid folder would not be one. Tests take some
of them, `pretrained.py` a thousand.
"""

import contextlib
import io
import json
import os
import pickle
import random
import shutil
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import numpy as np

from biomechgpt_jax import cli, config
from biomechgpt_jax.errors import InputError
from biomechgpt_jax.pretrained import description, families, loading, names
from biomechgpt_jax.pretrained.folder import CONFIG, INDEX, WEIGHTS
from biomechgpt_jax.pretrained.known_keys import UNSUPPORTED
from biomechgpt_jax.pretrained.safetensors import DTYPES, Writer

ROWS = 40
_SIZES = {"layers": 2, "model_size": 24, "heads": 4, "kv_heads": 2, "head_size": 8, "hidden_size": 56}
_LLAMA = {"qk_norm": False, "norm_epsilon": 1e-5, "rope_theta": 5e5}
_SCALED = {"rope_scaling": "llama3", "rope_factor": 4.0, "rope_length": 32}
_GEMMA = {"activation": "gelu", "post_norms": True, "unit_norms": True, "scale_embeddings": True, "query_size": 24.0}
_WINDOWS = {"window": 8, "global_every": 2, "rope_theta": 1e6, "local_rope_theta": 1e4, "rope_scaling": "linear"}
FAMILIES = {
    "llama": config.Model(**_SIZES, **_LLAMA, **_SCALED, tied_embeddings=False),
    "qwen3": config.Model(**_SIZES, rope_theta=1e6),
    "gemma3_text": config.Model(**_SIZES, **_GEMMA, **_WINDOWS),
}
CANARY = "executed"  # a file that appears if something in a folder is run


def random_tensors(model: config.Model, rows: int = ROWS, seed: int = 0) -> dict[str, np.ndarray]:
    """Tensors of a model by their names in transformers, f32, of which none is like another."""
    rng = np.random.default_rng(seed)
    places = [place for stacked in names.places(model, rows).values() for place in stacked]
    return {place.name: rng.normal(0, 0.3, place.shape).astype(np.float32) for place in places}


def write_folder(directory: Path, family: str, files: int = 2, dtype: str = "F32", seed: int = 0) -> config.Model:
    """A whole folder of a small random model, its weights in one file or in several with an index."""
    model = FAMILIES[family]
    write_model(directory, model, random_tensors(model, seed=seed), files, dtype)
    return model


def tensors_of(params: dict[str, Any], model: config.Model) -> dict[str, np.ndarray]:
    """Parameters of a plain decoder in float32 by their names in transformers, in their layout."""
    found = {}
    for path, stacked in names.places(model, len(params["embedding"])).items():
        leaf: Any = params
        for key in path.split("/"):
            leaf = leaf[key]
        for layer, place in enumerate(stacked):
            found[place.name] = place.to_theirs(np.asarray(leaf[layer] if path.startswith(names.LAYERS) else leaf))
    return found


def write_model(
    directory: Path, model: config.Model, tensors: dict[str, np.ndarray], files: int = 1, dtype: str = "F32"
) -> None:
    """A folder of the tensors of a model."""
    directory.mkdir(parents=True, exist_ok=True)
    rows = len(tensors[names.TABLE])
    facts = families.facts_of(model, rows, 512, {"bos_token_id": 1, "eos_token_id": 2}, "float32")
    (directory / CONFIG).write_text(json.dumps(facts, indent=1))
    where = {name: number % files for number, name in enumerate(tensors)}
    file_names = [f"model-{number + 1:05d}-of-{files:05d}.safetensors" for number in range(files)]
    for number, file_name in enumerate(file_names if files > 1 else [WEIGHTS]):
        mine = {name: tensor for name, tensor in tensors.items() if where[name] == number}
        declared = {name: (dtype, tensor.shape) for name, tensor in mine.items()}
        with Writer(directory / file_name, declared) as writer:
            for name, tensor in mine.items():
                writer.write(name, tensor)
    if files > 1:
        total = sum(tensor.size * DTYPES[dtype].itemsize for tensor in tensors.values())
        index = {"metadata": {"total_size": total}, "weight_map": {name: file_names[where[name]] for name in tensors}}
        (directory / INDEX).write_text(json.dumps(index))


class Damage:
    """One folder, on the way to be damaged."""

    def __init__(self, directory: Path, rng: random.Random) -> None:
        self.directory, self.rng = directory, rng

    @property
    def weights(self) -> Path:
        """One of the files of weights."""
        return self.rng.choice(sorted(self.directory.glob("*.safetensors")))

    def facts(self) -> dict[str, Any]:
        return json.loads((self.directory / CONFIG).read_text())

    def set(self, **changes: Any) -> None:
        """Change keys of config.json; None is written as null."""
        self.write(CONFIG, json.dumps(self.facts() | changes))

    def write(self, name: str, text: str) -> None:
        (self.directory / name).write_text(text)

    def index(self, change: Callable[[dict[str, Any]], None]) -> None:
        """Change the map of the index."""
        index = json.loads((self.directory / INDEX).read_text())
        change(index["weight_map"])
        self.write(INDEX, json.dumps(index))

    def header(self, change: Callable[[dict[str, Any]], str | None]) -> None:
        """Change the header of a file; `change` may return the header as text instead."""
        path = self.weights
        data = path.read_bytes()
        (length,) = struct.unpack("<Q", data[:8])
        entries = json.loads(data[8 : 8 + length])
        text = (change(entries) or json.dumps(entries)).encode()
        path.write_bytes(struct.pack("<Q", len(text)) + text + data[8 + length :])

    def entry(self, change: Callable[[dict[str, Any]], Any]) -> None:
        """Change the entry of one tensor."""
        self.header(lambda entries: change(entries[self.rng.choice(sorted(entries))]))


# The header


def _length(damage: Damage) -> None:
    path = damage.weights
    data = path.read_bytes()
    (length,) = struct.unpack("<Q", data[:8])
    wrong = damage.rng.choice([0, 1, length - 1, length + 1, length // 2, len(data), 2**31, 2**63, 2**64 - 1])
    path.write_bytes(struct.pack("<Q", wrong) + data[8:])


def _byte(damage: Damage) -> None:
    path = damage.weights
    data = bytearray(path.read_bytes())
    (length,) = struct.unpack("<Q", data[:8])
    places = [place for place in range(8, 8 + length) if not chr(data[place]).isspace()]
    place = damage.rng.choice(places)
    others = [byte for byte in range(33, 256) if byte != data[place]]
    data[place] = damage.rng.choice(others)
    path.write_bytes(data)


def _twice_in_header(damage: Damage) -> None:
    def change(entries: dict[str, Any]) -> str:
        name = damage.rng.choice(sorted(entries))
        text = json.dumps(entries)
        return f"{text[:-1]}, {json.dumps(name)}: {json.dumps(entries[name])}}}"

    damage.header(change)


def _dtype(damage: Damage) -> None:
    wrong = ["F64", "F8_E4M3", "F8_E5M2", "I64", "I8", "U8", "BOOL", "f32", "", None, 32, ["F32"], {"F32": 1}]
    damage.entry(lambda entry: entry.update(dtype=damage.rng.choice(wrong)))


def _shape(damage: Damage) -> None:
    def change(entry: dict[str, Any]) -> None:
        shape = entry["shape"]
        wrong: list[Any] = [[-size for size in shape], [0, *shape[1:]], [*shape, 2], [*shape[:-1], shape[-1] + 1]]
        wrong += [[float(size) for size in shape], [str(size) for size in shape], [True, *shape], None, 7, "24"]
        wrong += [[2**63, *shape[1:]], [shape], [10**4000, *shape], [*shape[:-1], 2**40]]
        entry["shape"] = damage.rng.choice(wrong)

    damage.entry(change)


def _offsets(damage: Damage) -> None:
    def change(entry: dict[str, Any]) -> None:
        begin, end = entry["data_offsets"]
        wrong: list[Any] = [
            [begin + 4, end + 4],
            [begin, end + 4],
            [begin, end - 4],
            [end, begin],
            [-4, end],
            [end, end],
        ]
        wrong += [[float(begin), float(end)], [begin], [begin, end, end], None, "0", [begin + 2**62, end + 2**62]]
        entry["data_offsets"] = damage.rng.choice(wrong)

    damage.entry(change)


def _entry(damage: Damage) -> None:
    def change(entry: dict[str, Any]) -> None:
        if damage.rng.random() < 0.5:
            entry["compression"] = "zip"
        else:
            del entry[damage.rng.choice(sorted(entry))]

    damage.entry(change)


def _no_entry(damage: Damage) -> None:
    def change(entries: dict[str, Any]) -> None:
        entries[damage.rng.choice(sorted(entries))] = damage.rng.choice([None, [], 1, "F32"])

    damage.header(change)


def _metadata(damage: Damage) -> None:
    wrong = [[], "pt", {"format": 1}, {"format": None}, {"format": {"a": "b"}}, 3]
    damage.header(lambda entries: entries.update(__metadata__=damage.rng.choice(wrong)))


def _deep_header(damage: Damage) -> None:
    depth = damage.rng.choice([2_000, 100_000])
    damage.header(lambda entries: json.dumps(entries)[:-1] + ', "x": ' + "[" * depth + "]" * depth + "}")


def _no_json(damage: Damage) -> None:
    damage.header(lambda entries: damage.rng.choice(["[]", "null", "{}", "{", '{"a": NaN}', " {}", "\x00\x01", '"{}"']))


# The file


def _cut(damage: Damage) -> None:
    path = damage.weights
    data = path.read_bytes()
    path.write_bytes(data[: damage.rng.randrange(len(data))])


def _trailing(damage: Damage) -> None:
    path = damage.weights
    path.write_bytes(path.read_bytes() + bytes(damage.rng.randint(1, 64)))


def _gone(damage: Damage) -> None:
    damage.weights.unlink()


def _a_directory(damage: Damage) -> None:
    path = damage.weights
    path.unlink()
    path.mkdir()


def _link_outside(damage: Damage) -> None:
    path = damage.rng.choice([damage.weights, damage.directory / CONFIG])
    outside = damage.directory.with_name(f"{damage.directory.name}-{path.name}")
    path.rename(outside)
    path.symlink_to(outside)


def _link_to_itself(damage: Damage) -> None:
    path = damage.weights
    path.unlink()
    path.symlink_to(path)


def _pickles(damage: Damage) -> None:
    for path in damage.directory.glob("model*"):
        path.unlink()
    name = damage.rng.choice(["pytorch_model.bin", "model.pt", "weights.pkl"])
    (damage.directory / name).write_bytes(pickle.dumps(_Bomb(str(damage.directory / CANARY))))


class _Bomb:
    """Leaves a file where it is unpickled."""

    def __init__(self, path: str) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (self.path,)


# The index


def _outside(damage: Damage) -> None:
    wrong = ["../model.safetensors", "/etc/passwd", "sub/model.safetensors", "model.bin", "", ".", 3, None, ["a"]]
    wrong += ["..\\model.safetensors", "model-00009-of-00002.safetensors", "a\x00.safetensors", "\ud800.safetensors"]
    damage.index(lambda entries: entries.update({damage.rng.choice(sorted(entries)): damage.rng.choice(wrong)}))


def _forgotten(damage: Damage) -> None:
    damage.index(lambda entries: entries.pop(damage.rng.choice(sorted(entries))) and None)


def _too_many(damage: Damage) -> None:
    damage.index(lambda entries: entries.update({"model.layers.9.mlp.up_proj.weight": min(entries.values())}))


def _exchanged(damage: Damage) -> None:
    def change(entries: dict[str, Any]) -> None:
        name = damage.rng.choice(sorted(entries))
        entries[name] = next(file for file in entries.values() if file != entries[name])

    damage.index(change)


def _no_index(damage: Damage) -> None:
    damage.write(INDEX, damage.rng.choice(["{}", "[]", "", '{"weight_map": []}', '{"weight_map": {}}', "null", "{"]))


def _unnamed_file(damage: Damage) -> None:
    shutil.copy(damage.weights, damage.directory / "adapter.safetensors")


# Names of tensors


def _renamed(damage: Damage) -> None:
    def change(entries: dict[str, Any]) -> None:
        name = damage.rng.choice(sorted(entries))
        entries[damage.rng.choice([f"{name}.bias", name.upper(), f"transformer.{name}", name[:-1]])] = entries.pop(name)

    _everywhere(damage, change)


def _dropped(damage: Damage) -> None:
    """A tensor that neither the index nor a file has, all else being right."""
    path = damage.weights
    data = path.read_bytes()
    (length,) = struct.unpack("<Q", data[:8])
    entries = json.loads(data[8 : 8 + length])
    last = max(entries, key=lambda name: entries[name]["data_offsets"][1])
    begin = entries.pop(last)["data_offsets"][0]
    text = json.dumps(entries).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text + data[8 + length :][:begin])
    damage.index(lambda names: names.pop(last) and None)


def _transposed(damage: Damage) -> None:
    def change(entries: dict[str, Any]) -> None:
        oblong = [name for name, entry in entries.items() if len(set(entry["shape"])) > 1]
        entry = entries[damage.rng.choice(oblong)]
        entry["shape"] = entry["shape"][::-1]

    damage.header(change)


def _everywhere(damage: Damage, change: Callable[[dict[str, Any]], None]) -> None:
    """Change names in a file, and the index so that it agrees."""
    before: set[str] = set()
    after: set[str] = set()

    def both(entries: dict[str, Any]) -> None:
        before.update(entries)
        change(entries)
        after.update(entries)

    damage.header(both)

    def follow(entries: dict[str, Any]) -> None:
        for old, new in zip(sorted(before - after), sorted(after - before), strict=True):
            entries[new] = entries.pop(old)

    damage.index(follow)


# config.json

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


# Weights


def _not_finite(damage: Damage) -> None:
    path = damage.weights
    data = bytearray(path.read_bytes())
    (length,) = struct.unpack("<Q", data[:8])
    bad = damage.rng.choice([float("nan"), float("inf"), float("-inf")])
    place = 8 + length + 4 * damage.rng.randrange((len(data) - 8 - length) // 4)
    data[place : place + 4] = struct.pack("<f", bad)
    path.write_bytes(data)


DAMAGES: tuple[Callable[[Damage], None], ...] = (
    *(_length, _byte, _twice_in_header, _dtype, _shape, _offsets, _entry, _no_entry, _metadata, _deep_header, _no_json),
    *(_cut, _trailing, _gone, _a_directory, _link_outside, _link_to_itself, _pickles),
    *(_outside, _forgotten, _too_many, _exchanged, _no_index, _unnamed_file),
    *(_renamed, _dropped, _transposed, _other_size, _no_size, _wrong_kind, _wrong_flag, _unsupported, _unknown),
    *(_other_family, _architecture, _activation, _rotation, _two_rotations, _layer_types, _no_config, _remote_code),
    _not_finite,
)


def damaged(number: int, whole: Path, directory: Path) -> str:
    """Make damage `number` of a folder in `directory`, which is to be new; returns its name.

    Args:
        number: chooses the damage and all that is random in it.
        whole: holds the folders of `write_folder`, one a family.
        directory: to write.
    """
    rng = random.Random(number)
    family = rng.choice(sorted(FAMILIES))
    shutil.copytree(whole / family, directory)
    change = DAMAGES[number % len(DAMAGES)]
    change(Damage(directory, rng))
    return f"{change.__name__[1:]} of {family}"


def fault(directory: Path) -> str:
    """What is wrong with how a damaged folder is refused; empty if it is refused as it must be.

    `inspect` has to end with code 2 and one line, or, where only weights are wrong, loading them has to raise; nothing
    may be executed or written.
    """
    before = sorted(path.name for path in directory.iterdir())
    printed, said = io.StringIO(), io.StringIO()
    try:
        with contextlib.redirect_stdout(printed), contextlib.redirect_stderr(said):
            code = cli.main(["inspect", str(directory)])
        line = said.getvalue()
        if code == 0:
            printed, code, line = io.StringIO(), *_load(directory)
    except Exception as error:
        return f"raised {type(error).__name__}: {error}"
    if code != 2:
        return f"ended with {code}: {line!r}"
    if line.count("\n") != 1 or not line.endswith("\n") or printed.getvalue():
        return f"said {line!r} and printed {printed.getvalue()!r}"
    after = sorted(path.name for path in directory.iterdir())
    return "" if after == before else f"left {set(after) ^ set(before)}"


def _load(directory: Path) -> tuple[int, str]:
    try:
        found, described, _ = description.opened(directory)
        load_whole(found, described)
    except InputError as error:
        return 2, f"{' '.join(str(error).split())}\n"
    return 0, ""


def load_whole(found: Any, described: Any) -> Any:
    """All parameters of a folder in float32 on the first device."""
    model, rows = described.model, described.rows
    shapes, layouts = {}, {}
    for path, stacked in names.places(model, rows).items():
        shape = stacked[0].inputs + stacked[0].outputs
        shape = (model.layers, *shape) if path.startswith(names.LAYERS) else shape
        shapes[path] = jax.ShapeDtypeStruct(shape, np.float32)
        layouts[path] = jax.sharding.SingleDeviceSharding(jax.local_devices()[0])
    return loading.load(found, model, rows, names.tree(shapes), names.tree(layouts))
