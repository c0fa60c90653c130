"""A trained language model's parameters, read from its checkpoints without optimizer, data or loop."""

from pathlib import Path
from typing import Any

import jax
from jax.sharding import Mesh

from biomechgpt_jax import config
from biomechgpt_jax.errors import InputError
from biomechgpt_jax.model import decoder
from biomechgpt_jax.tasks.id_space import IdSpace
from biomechgpt_jax.tasks.parameters import NOTHING, Frozen, Parameters
from biomechgpt_jax.training import checkpoint
from biomechgpt_jax.training import frozen as frozen_lib


def identity(model: config.Model, ids: IdSpace) -> dict[str, Any]:
    """What a checkpoint must share with whoever reads its parameters, frozen ones left out."""
    fields = config.described(model)
    # Memory against time; the same result by another path; where a base lies, which its own digest stands for.
    for name in ("remat", "attention", "pretrained"):
        fields.pop(name, None)
    return {"model": fields, "vocabulary": {"digest": ids.digest, "size": ids.size}}


def load_params(
    checkpoints_dir: str | Path,
    model: config.Model,
    ids: IdSpace,
    mesh: Mesh | None = None,
    frozen: Frozen = NOTHING,
) -> decoder.Params:
    """Verified parameters of the newest good checkpoint; nothing in the directory is changed.

    Args:
        checkpoints_dir: written by `language.train`.
        model: that of the checkpoint.
        ids: their digest must be that of the checkpoint.
        mesh: where to put them; None: on the first device.
        frozen: the parameters that were not trained, the vectors of motion codes among them; their digest must be that
            of the checkpoint.

    Returns:
        All parameters, the frozen ones among them.

    Raises:
        InputError: there is no good checkpoint, or it belongs to another model, tokenizer or base.
    """
    parameters = Parameters(model, ids, frozen)
    held = parameters.load_frozen(mesh)
    return frozen_lib.merge(restore(checkpoints_dir, parameters, mesh, held)[1], held)


def restore(
    checkpoints_dir: str | Path, parameters: Parameters, mesh: Mesh | None, held: decoder.Params
) -> tuple[int, decoder.Params]:
    """The newest good step and its trained parameters; arguments and errors as those of `load_params`.

    `held` are the frozen parameters.
    """

    def with_sharding(leaf: jax.ShapeDtypeStruct, layout: jax.sharding.Sharding) -> jax.ShapeDtypeStruct:
        return jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=layout)

    abstract = jax.tree.map(with_sharding, parameters.shapes().trained, parameters.shardings(mesh).trained)
    wanted = identity(parameters.model, parameters.ids) | frozen_lib.identity(held)
    restored = checkpoint.restore(checkpoints_dir, {"params": abstract}, wanted)
    if restored is None:
        raise InputError(f"{checkpoints_dir} holds no good checkpoint; train first")
    return restored[0], restored[1]["params"]
