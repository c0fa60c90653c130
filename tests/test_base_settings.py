"""Settings of a pretrained base: what is refused, what config.json gives back, and what older runs do not notice."""

import dataclasses
import json
from dataclasses import replace
from pathlib import Path

import jax.numpy as jnp
import numpy as np
import pytest

from biomechgpt_jax import config, overrides, pipeline, workdir
from biomechgpt_jax.errors import InputError
from biomechgpt_jax.parallel import mesh as meshes
from biomechgpt_jax.tasks import trained
from biomechgpt_jax.tasks.id_space import IdSpace
from biomechgpt_jax.training import identities, optimizer
from biomechgpt_jax.training import step as steps_lib

BASE = {"text_rows": 512, "model_size": 64, "head_size": 64, "hidden_size": 128}
NEW = {"pretrained", "random_weights", "text_rows", "base", "table", "double_scales", "freeze", "train_text_rows"}


@pytest.mark.parametrize(
    ("fields", "refusal"),
    [
        ({"base": "nf4"}, "model.base nf4 needs a pretrained model; give --model.pretrained DIR"),
        ({"adapter": config.Adapter(rank=4)}, "model.adapter.rank 4 needs a pretrained model"),
        ({"pretrained": "x", "base": "int8", "freeze": "nothing"}, "model.base int8 needs a frozen base"),
        ({"pretrained": "x", "table": "bfloat16", "random_weights": True}, "model.table bfloat16 needs pretrained"),
        ({**BASE, "double_scales": True}, "model.double_scales is for model.base nf4, and this is float32"),
        ({**BASE, "table": "bfloat16", "train_text_rows": True}, "model.train_text_rows trains the table"),
        ({**BASE, "base": "nf4", "hidden_size": 96}, "do not divide model.hidden_size 96; give model.base int8"),
        ({"text_rows": -1}, "model.text_rows is -1; give 0 or more"),
    ],
)
def test_settings_that_contradict_one_another_are_refused(fields: dict, refusal: str) -> None:
    with pytest.raises(InputError, match=refusal):
        config.Model(**fields)


@pytest.mark.parametrize(
    ("fields", "refusal"),
    [
        ({"rank": -1}, "model.adapter.rank is -1"),
        ({"alpha": 0.0}, "model.adapter.alpha is 0.0"),
        ({"dropout": 1.0}, "model.adapter.dropout is 1.0"),
        ({"on": ("query", "q_proj")}, 'model.adapter.on has "q_proj"; give some of query, key'),
        ({"on": ("query", "query")}, "names a matrix twice"),
        ({"rank": 2, "on": ()}, "model.adapter.on is empty, and model.adapter.rank is 2"),
    ],
)
def test_settings_of_an_adapter_that_mean_nothing_are_refused(fields: dict, refusal: str) -> None:
    with pytest.raises(InputError, match=refusal):
        config.Adapter(**fields)


def test_other_new_fields_are_checked_as_well() -> None:
    for make, refusal in (
        (lambda: config.Optimizer(row_rate=0.0), "optimizer.row_rate is 0.0"),
        (lambda: config.Optimizer(adapter_rate=-1.0), "optimizer.adapter_rate is -1.0"),
    ):
        with pytest.raises(InputError, match=refusal):
            make()


def test_the_scale_of_an_adapter() -> None:
    assert config.Adapter(rank=8, alpha=16.0).scale == 2.0
    assert config.Adapter(rank=16, alpha=16.0, rank_stabilised=True).scale == 4.0


def test_config_json_gives_back_the_adapter(tmp_path: Path) -> None:
    words = ["--model.text_rows", "512", "--model.adapter.rank", "4", "--model.adapter.on", "query", "down"]
    made = overrides.apply(config.Experiment(), words)
    assert made.model.adapter == config.Adapter(rank=4, on=("query", "down"))
    (tmp_path / "config.json").write_text(json.dumps({"experiment": dataclasses.asdict(made)}))
    assert workdir.load_experiment(tmp_path) == made
    damaged = dataclasses.asdict(made)
    damaged["model"]["adapter"]["rnk"] = 3
    (tmp_path / "config.json").write_text(json.dumps({"experiment": damaged}))
    with pytest.raises(InputError, match=r"rnk.*made by another version"):
        workdir.load_experiment(tmp_path)


def test_new_fields_at_their_defaults_are_in_no_identity_and_in_no_marker() -> None:
    plain, ids = config.Experiment(), IdSpace(128, 64, 40, "toy")
    model = trained.identity(plain.model, ids)["model"]
    assert not (NEW | {"adapter"}) & model.keys() and {"layers", "motion_statistics"} <= model.keys()
    assert not {"adapter_rate", "row_rate"} & optimizer.described(plain.optimizer, 10).keys()
    marked = json.dumps([pipeline._inputs_of(plain, stage) for stage in workdir.STAGES])
    assert not [name for name in (*NEW, "chat_template", "row_rate") if f'"{name}"' in marked]
    given = replace(plain.model, pretrained="/anywhere", base="nf4", **BASE, adapter=config.Adapter(rank=4))
    described = trained.identity(given, ids)["model"]
    assert described["adapter"]["rank"] == 4 and described["base"] == "nf4" and "pretrained" not in described


def test_a_setting_that_goes_back_to_its_default_is_a_difference() -> None:
    before = {"optimizer": optimizer.described(config.Optimizer(row_rate=5.0), 10), "dataset": {"digest": "x"}}
    now = {"optimizer": optimizer.described(config.Optimizer(), 10)}
    assert identities.compare(before, now) == ["optimizer.row_rate: 5.0 in the checkpoint, absent now"]
    assert identities.compare(before, {"dataset": {"digest": "x"}}) == []


def test_parts_of_a_batch_are_told_their_numbers() -> None:
    mesh = meshes.make(config.Mesh())
    batch = {"tokens": jnp.arange(8).reshape(4, 2)}

    def compute(scale, part, index):
        return scale * index, jnp.sum(part["tokens"]) * (1 + index)

    assert steps_lib.accumulate(compute, 10, batch, 1, mesh) == (0, 28)
    first, second = steps_lib.accumulate(compute, 10, batch, 4, mesh)
    np.testing.assert_array_equal(first, 10 * (0 + 1 + 2 + 3))
    np.testing.assert_array_equal(second, 1 * 1 + 5 * 2 + 9 * 3 + 13 * 4)
