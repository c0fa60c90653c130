"""The language task on a dataset of packed rows and a configuration, without anything else."""

from dataclasses import replace

import jax
import numpy as np
import optax
import pytest
import toy_rows
from packed_trials import CODES, WORDS, Codec, timed, walking, write_rows

from biomechgpt_jax import config
from biomechgpt_jax.data import loader, movements
from biomechgpt_jax.errors import InputError
from biomechgpt_jax.model import decoder
from biomechgpt_jax.packing import sequences
from biomechgpt_jax.parallel import mesh as meshes
from biomechgpt_jax.tasks import language
from biomechgpt_jax.tasks.id_space import IdSpace


def test_packed_rows_and_a_configuration_are_all_that_training_needs(tmp_path) -> None:
    """No tokenizer, no working directory, and nothing is left behind."""
    rows = tmp_path / "rows"
    movements.write([walking(i) for i in range(12)] + [timed(i) for i in range(12, 20)], tmp_path / "movements", {})
    model = config.Model(layers=2, model_size=32, heads=2, kv_heads=1, head_size=16, hidden_size=64)
    experiment = config.Experiment(
        pack=config.Pack(row_length=512, crops_per_trial=2, questions_per_crop=3),
        model=model,
        optimizer=config.Optimizer(peak_learning_rate=1e-2, warmup_steps=2),
        train=config.Train(batch_size=2, log_every=1),
    )
    sequences.pack(tmp_path / "movements", rows, tmp_path / "text_only", Codec(), WORDS, experiment, lambda *_: None)
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")}
    assert IdSpace.of_rows(rows) == IdSpace(WORDS.size, WORDS.motion_offset, CODES, WORDS.digest)
    losses: list[float] = []
    params = language.train(experiment, rows, 6, progress=lambda _, logged: losses.append(logged.get("loss", np.nan)))
    assert losses[5] < losses[0] and params["embedding"].shape == (WORDS.motion_offset, 32)
    np.testing.assert_array_equal(loader.code_vectors(rows), Codec().code_vectors())
    assert params["motion"]["kernel"].shape == (*Codec().code_vectors().shape[::2], 32)
    assert before == {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")}


def test_rows_of_an_earlier_version_must_be_packed_again(other_rows) -> None:
    with pytest.raises(InputError, match=r"does not say how its ids are divided.*run `biomechgpt pack` again"):
        language.Language(config.Experiment(), other_rows)


@pytest.fixture
def other_rows(tmp_path):
    return write_rows(tmp_path / "rows", {"train": 4})


@pytest.fixture(scope="module")
def many(toy, tmp_path_factory) -> toy_rows.Toy:
    """The toy with 21 rows to validate on."""
    rng = np.random.default_rng(3)
    splits = {"train": [toy_rows.row(rng) for _ in range(2)], "validation": [toy_rows.row(rng) for _ in range(21)]}
    return replace(toy, sequences=toy_rows.write_rows(tmp_path_factory.mktemp("many"), splits))


def validated(toy, experiment) -> dict[str, float]:
    mesh = meshes.make(experiment.mesh)
    task = language.Language(experiment, toy.sequences, toy.ids)
    with jax.set_mesh(mesh):
        return task.make_validation(mesh)(task.fresh_state(mesh, task.frozen(mesh)), task.frozen(mesh))


def test_validation_reads_the_same_rows_whatever_the_batch(many) -> None:
    """The first ten of 21, against full logits of them."""
    found = {}
    for batch, parts in ((4, 1), (16, 1), (16, 4)):
        train = replace(many.experiment.train, batch_size=batch, accumulation=parts, validation_rows=10)
        found[batch, parts] = validated(many, replace(many.experiment, train=train))["validation_loss"]
    rows, _ = loader.open_rows(many.sequences, "validation")
    first = rows.__getitems__(list(range(10)))
    batch = {name: np.stack([row[name] for row in first]) for name in first[0]}
    task = language.Language(many.experiment, many.sequences, many.ids)
    mesh = meshes.make(many.experiment.mesh)
    params = task.fresh_state(mesh, task.frozen(mesh))["params"]
    logits = decoder.apply(params, batch, many.experiment.model)[:, :-1, : many.ids.motion_offset]
    targets, weights = batch["tokens"][:, 1:], batch["loss_weights"][:, 1:]
    losses = optax.softmax_cross_entropy_with_integer_labels(logits, np.where(weights > 0, targets, 0))
    want = float((losses * weights).sum() / weights.sum())
    np.testing.assert_allclose(list(found.values()), want, rtol=1e-5)
    every = validated(many, many.experiment)["validation_loss"]
    assert abs(every - want) > 1e-3


def test_a_dataset_without_validation_rows_is_trained_on_all_the_same(toy, tmp_path) -> None:
    rng = np.random.default_rng(3)
    rows = toy_rows.write_rows(tmp_path, {"train": [toy_rows.row(rng) for _ in range(4)]})
    assert validated(replace(toy, sequences=rows), toy.experiment) == {}


def test_a_validation_split_that_cannot_be_read_is_no_missing_one(toy, tmp_path) -> None:
    rng = np.random.default_rng(3)
    broken = [{name: array for name, array in toy_rows.row(rng).items() if name != "positions"} for _ in range(4)]
    rows = toy_rows.write_rows(tmp_path, {"train": broken, "validation": broken})
    with pytest.raises(InputError, match="lacks positions"):
        validated(replace(toy, sequences=rows), toy.experiment)
