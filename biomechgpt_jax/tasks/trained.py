"""A trained language model's parameters, read from its checkpoints without what trains: no optimizer and no data."""

from dataclasses import asdict
from pathlib import Path
from typing import Any, Protocol

import jax

from biomechgpt_jax import config
from biomechgpt_jax.errors import InputError
from biomechgpt_jax.model import decoder
from biomechgpt_jax.training import checkpoint


class VocabularyLike(Protocol):
    """What a model's checkpoint says of its vocabulary."""

    @property
    def size(self) -> int: ...
    @property
    def digest(self) -> str: ...


def identity(model: config.Model, vocabulary: VocabularyLike) -> dict[str, Any]:
    """What a checkpoint and whoever reads its parameters must share."""
    fields = asdict(model)
    for name in ("remat", "attention"):  # memory against time, and the same result by another path
        del fields[name]
    return {"model": fields, "vocabulary": {"digest": vocabulary.digest, "size": vocabulary.size}}


def load_params(
    checkpoints_dir: str | Path,
    model: config.Model,
    vocabulary: VocabularyLike,
    mesh: jax.sharding.Mesh | None = None,
) -> decoder.Params:
    """Verified parameters of the newest good checkpoint; nothing in the directory is changed.

    Args:
        checkpoints_dir: written by `language.train`.
        model: that of the checkpoint.
        vocabulary: its digest must be that of the checkpoint.
        mesh: where to put them; None: the first device.

    Raises:
        InputError: there is no good checkpoint, or it belongs to another model or tokenizer.
    """
    shapes = decoder.abstract(model, vocabulary.size)
    if mesh is None:
        first = jax.sharding.SingleDeviceSharding(jax.local_devices()[0])
        shardings = jax.tree.map(lambda _: first, shapes)
    else:
        shardings = decoder.param_shardings(mesh, model, vocabulary.size)

    def place(leaf: jax.ShapeDtypeStruct, layout: jax.sharding.Sharding) -> jax.ShapeDtypeStruct:
        return jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=layout)

    abstract = {"params": jax.tree.map(place, shapes, shardings)}
    restored = checkpoint.restore(checkpoints_dir, abstract, identity(model, vocabulary))
    if restored is None:
        raise InputError(f"{checkpoints_dir} holds no good checkpoint; train first")
    return restored[1]["params"]
