"""What the folder of pretrained weights decides in an experiment."""

import dataclasses

import pytest
import small_folders

from biomechgpt_jax import config
from biomechgpt_jax.errors import InputError
from biomechgpt_jax.pretrained.resolving import DECIDED, resolve

PACK = config.Pack(row_length=128)


def experiment(path, **model) -> config.Experiment:
    return config.Experiment(model=config.Model(pretrained=str(path), **model), pack=PACK)


@pytest.fixture
def folder(tmp_path):
    small_folders.write_folder(tmp_path / "weights", "gemma3_text")
    return tmp_path / "weights"


def test_sizes_come_from_the_folder_and_the_rest_stays(folder, monkeypatch) -> None:
    monkeypatch.chdir(folder.parent)
    got = resolve(experiment("weights", base="int8", remat="full")).model
    want = dataclasses.replace(
        small_folders.FAMILIES["gemma3_text"],
        **{"pretrained": str(folder), "text_rows": small_folders.ROWS, "base": "int8", "remat": "full"},
    )
    assert got == want
    again = config.Experiment(model=got, pack=PACK)
    assert resolve(again) == again  # nothing is left to decide


def test_every_field_is_decided_or_the_users() -> None:
    users = {"motion_context", "motion_statistics", "attention", "remat", "compute_dtype", "pretrained"}
    users |= {"random_weights", "base", "table", "double_scales", "freeze", "train_text_rows", "adapter"}
    assert {field.name for field in dataclasses.fields(config.Model)} == users | set(DECIDED)


@pytest.mark.parametrize(
    ("model", "words"), [({"layers": 16}, "model.layers is 16, and .* has 2"), ({"text_rows": 41}, "text_rows is 41")]
)
def test_a_field_that_the_folder_contradicts_is_refused(folder, model, words) -> None:
    with pytest.raises(InputError, match=words):
        resolve(experiment(folder, **model))


def test_rows_longer_than_the_positions_are_refused(folder) -> None:
    long = dataclasses.replace(experiment(folder), pack=config.Pack(row_length=1024))
    with pytest.raises(InputError, match=r"row_length is 1024, and .* was made for 512"):
        resolve(long)


def test_nothing_to_resolve() -> None:
    plain = config.Experiment()
    assert resolve(plain) is plain
