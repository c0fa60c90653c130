"""The configuration of an experiment that starts from a folder of pretrained weights, with what the folder decides."""

import dataclasses
from pathlib import Path
from typing import Any

from biomechgpt_jax import config
from biomechgpt_jax.errors import InputError
from biomechgpt_jax.pretrained import description

# Fields of `config.Model` that config.json decides.
DECIDED = (
    *("layers", "model_size", "heads", "kv_heads", "head_size", "hidden_size", "activation", "qk_norm", "post_norms"),
    *("unit_norms", "tied_embeddings", "scale_embeddings", "query_size", "rope_theta", "rope_scaling", "rope_factor"),
    *("rope_low", "rope_high", "rope_length", "window", "global_every", "local_rope_theta", "attention_soft_cap"),
    *("logit_soft_cap", "norm_epsilon", "text_rows"),
)


def resolve(experiment: config.Experiment) -> config.Experiment:
    """The experiment with the sizes of its pretrained model and the folder's absolute path; itself without one.

    A field that stands at its default counts as not given.

    Raises:
        InputError: the folder cannot be used (see `description.opened`), a field was given and the folder says
            otherwise, or rows are longer than the model's positions.
    """
    model = experiment.model
    if not model.pretrained:
        return experiment
    path = Path(model.pretrained)
    found, described, _ = description.opened(path)
    theirs = dataclasses.replace(described.model, text_rows=described.rows)
    usual = config.Model()
    decided: dict[str, Any] = {}
    for name in DECIDED:
        given, wanted = getattr(model, name), getattr(theirs, name)
        if given not in (getattr(usual, name), wanted):
            raise InputError(f"model.{name} is {given}, and {path} has {wanted}; leave it out")
        decided[name] = wanted
    if experiment.pack.row_length > described.positions:
        raise InputError(
            f"pack.row_length is {experiment.pack.row_length}, and {path} was made for {described.positions}; "
            "give no more"
        )
    resolved = dataclasses.replace(model, pretrained=str(found.path), **decided)
    return dataclasses.replace(experiment, model=resolved)
