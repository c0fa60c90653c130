"""Small folders of random pretrained weights, of each family that can be imported, and one on the way to be damaged."""

import json
import random
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import numpy as np

from biomechgpt_jax import config
from biomechgpt_jax.pretrained import families, loading, names
from biomechgpt_jax.pretrained.folder import CONFIG, INDEX, WEIGHTS
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


CANARY = "executed"  # a file that appears if something in a folder is run


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
