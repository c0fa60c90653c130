"""A trained decoder as a folder in the format of Hugging Face: adapters merged, and rounded once.

An adapter is added in f32 to the base as it was trained on: quantised weights are widened first, and what the folder
holds is not the original base. The base itself stays as it is, so to unmerge is to drop the adapter.
"""

import functools
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from biomechgpt_jax import config
from biomechgpt_jax.files import write_json
from biomechgpt_jax.model import adapters, decoder, quantized
from biomechgpt_jax.model.decoder import Params
from biomechgpt_jax.pretrained import families, names, safetensors
from biomechgpt_jax.pretrained.folder import CONFIG, WEIGHTS
from biomechgpt_jax.pretrained.names import HEAD, LAYERS, TABLE

TYPES = {"bfloat16": "BF16", "float32": "F32"}


def merged(params: Params, cfg: config.Model, ids: int) -> Iterator[tuple[str, np.ndarray]]:
    """Every tensor of the merged model by its name in transformers, f32, in their layout; one layer is in memory.

    Args:
        params: all parameters.
        cfg: the model.
        ids: rows of embedding and head that are kept, the first ones.
    """
    yield TABLE, np.asarray(decoder.embeddings(params, ids))
    if not cfg.tied_embeddings:
        yield HEAD, np.asarray(decoder.head(params, ids)).T
    places = names.places(cfg, ids)
    yield places["final_norm/scale"][0].name, np.asarray(params["final_norm"]["scale"])
    for layer in range(cfg.layers):
        weights = _layer(params["layers"]["block"], layer, cfg.adapter)
        for path, stacked in places.items():
            if path.startswith(LAYERS):
                yield stacked[layer].name, stacked[layer].to_theirs(np.asarray(_at(weights, path)))


@functools.partial(jax.jit, static_argnames="cfg")
def _layer(stacked: Params, layer: int, cfg: config.Adapter) -> Params:
    """The weights of one layer, f32, adapters merged."""

    def merge(held: quantized.Held, contracted: int) -> Params:
        kernel = quantized.dequantize(held, jnp.float32, contracted)
        return {"kernel": adapters.merged(kernel, held["a"], held["b"], cfg) if "a" in held else kernel}

    return quantized.laid_out(jax.tree.map(lambda leaf: leaf[layer], stacked), merge)


def _at(weights: Params, path: str) -> Any:
    for key in path.removeprefix(LAYERS).split("/"):
        weights = weights[key]
    return weights


def write(directory: Path, params: Params, cfg: config.Model, ids: int, facts: dict[str, Any], dtype: str) -> None:
    """Write `config.json` and `model.safetensors` into a folder that exists.

    Args:
        directory: of the two files.
        params: all parameters.
        cfg: the model.
        ids: rows of embedding and head: those of the saved tokenizer, without the unused ones that fill the table.
        facts: `positions` and `tokens` of `families.facts_of`.
        dtype: a key of TYPES.

    Raises:
        InputError: no family of transformers has such a model.
    """
    described = families.facts_of(cfg, ids, dtype=dtype, **facts)
    declared = {
        place.name: (TYPES[dtype], place.shape) for stacked in names.places(cfg, ids).values() for place in stacked
    }
    with safetensors.Writer(directory / WEIGHTS, declared, {"format": "pt"}) as writer:
        for name, tensor in merged(params, cfg, ids):
            writer.write(name, tensor)
    write_json(directory / CONFIG, described)
