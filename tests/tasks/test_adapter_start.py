"""A run whose first values are those of an adapter in peft's format."""

from dataclasses import replace
from pathlib import Path

import jax
import numpy as np
import pytest
import toy_base
from toy_rows import Toy

from biomechgpt_jax import config
from biomechgpt_jax.errors import InputError
from biomechgpt_jax.parallel import mesh as meshes
from biomechgpt_jax.pretrained import peft
from biomechgpt_jax.tasks import language
from biomechgpt_jax.tasks.base import Start
from biomechgpt_jax.tasks.parameters import Frozen

MODEL = replace(toy_base.MODEL, adapter=config.Adapter(rank=2, alpha=4.0, on=("query", "down")))


def test_training_starts_from_the_adapter_and_from_random_values_elsewhere(toy: Toy, tmp_path: Path) -> None:
    peft.write(tmp_path, toy_base.trained(MODEL), MODEL, "a base")
    experiment, base = replace(toy.experiment, model=MODEL), toy_base.base(MODEL)
    mesh = meshes.make(config.Mesh(), jax.devices()[:1])

    def first(model: config.Model, start: Start) -> dict:
        given = replace(experiment, model=model)
        task = language.Language(given, toy.sequences, toy.ids, toy.code_vectors, Frozen.of(base), start)
        return task.fresh_state(mesh, task.frozen(mesh))["params"]

    ours, random = first(MODEL, Start(adapter=tmp_path)), first(MODEL, Start())
    assert jax.tree.structure(ours) == jax.tree.structure(random)
    want = toy_base.trained(MODEL)
    np.testing.assert_array_equal(ours["rows"], want["rows"])
    for side, name in (("attention", "query"), ("mlp", "down")):
        for half in ("a", "b"):
            held = ours["layers"]["block"][side][name][half]
            np.testing.assert_array_equal(held, want["layers"]["block"][side][name][half])
    np.testing.assert_array_equal(ours["motion"]["kernel"], random["motion"]["kernel"])
    assert np.abs(ours["rows"] - random["rows"]).max() > 0.1
    with pytest.raises(InputError, match=r"r is 2, and model\.adapter\.rank is 3"):
        first(replace(MODEL, adapter=config.Adapter(rank=3, alpha=4.0, on=("query", "down"))), Start(adapter=tmp_path))


def test_a_folder_is_an_adapter_by_its_file(tmp_path: Path) -> None:
    assert not peft.is_adapter("") and not peft.is_adapter(tmp_path)
    (tmp_path / peft.CONFIG_FILE).write_text("{}")
    assert peft.is_adapter(str(tmp_path))
