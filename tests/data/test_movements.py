"""Trials come back from disk as they went there, without TensorFlow, whole or not at all."""

import dataclasses
import sys

import numpy as np
import pytest

from biomechgpt_jax.biomechanics.skeleton import COORDINATE_COUNT
from biomechgpt_jax.biomechanics.trajectory import Contacts, Metadata, Score, Trajectory, Trial
from biomechgpt_jax.data import movements, splits, store
from biomechgpt_jax.errors import InputError


def trial(number: int, frames: int = 50, **changes) -> Trial:
    rng = np.random.default_rng(number)
    metadata = Metadata(
        participant=f"p{number // 2:03d}",
        activity="walking",
        side="left",
        height_m=1.6 + 0.1 * rng.random(),
        mass_kg=61.7,
        age=70.3,
        sex="f",
        source="walk, long.mot",
        sha256="ab" * 32,
        flags=("jump, small", "single-stride"),
    )
    observed = rng.random(COORDINATE_COUNT) < 0.8
    contacts = Contacts(
        np.array([0.1, 0.6], np.float32),
        np.array([0, 1], np.int32),
        rng.normal(size=(2, 2)).astype(np.float32),
        np.array([0.2], np.float32),
        np.array([1], np.int32),
    )
    made = Trial(
        f"t{number:03d}",
        Trajectory(rng.normal(size=(frames, COORDINATE_COUNT)).astype(np.float32), observed, 29.97, metadata),
        diagnosis="stroke",
        device="cane",
        severity=0.2 + number // 2 / 1000 + 1e-9,
        contacts=contacts,
        defining=np.array([[0.1, 0.6]], np.float32),
        scores={"tug_time": Score(12.000000001, 0.1, 1.3), "ten_metre_walk_time": Score(8.25, 0.2, 1.1)},
        falls=float(number % 3),
    )
    return dataclasses.replace(made, **changes)


def assert_equal(one, other) -> None:
    """Equal field by field, arrays with their dtypes, NaN equal to NaN."""
    assert type(one) is type(other)
    if dataclasses.is_dataclass(one):
        for field in dataclasses.fields(one):
            assert_equal(getattr(one, field.name), getattr(other, field.name))
    elif isinstance(one, dict):
        assert list(one) == list(other)
        for key in one:
            assert_equal(one[key], other[key])
    elif isinstance(one, np.ndarray):
        assert one.dtype == other.dtype
        np.testing.assert_array_equal(one, other)
    else:
        assert one == other or (one != one and other != other)


def read_all(directory) -> dict[str, Trial]:
    return {t.trial_id: t for split in splits.SPLITS for t in movements.read(directory, split)}


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    bare = Trial("t900", Trajectory(np.zeros((3, 40), np.float32), np.ones(40, bool), 30.0, Metadata(participant="z")))
    trials = [*(trial(i, frames=20 + i) for i in range(60)), bare]
    directory = tmp_path_factory.mktemp("data") / "movements"
    digest = movements.write(trials, directory, {"seed": 3})
    return directory, trials, digest


def test_every_field_comes_back(written) -> None:
    directory, trials, _ = written
    found = read_all(directory)
    assert set(found) == {t.trial_id for t in trials}
    for one in trials:
        assert_equal(one, found[one.trial_id])


def test_participants_are_in_their_split(written) -> None:
    directory, _, _ = written
    for split in splits.SPLITS:
        trials = movements.read(directory, split)
        assert len(trials) == len(list(trials)) > 0
        assert {splits.split_of(t.participant) for t in trials} == {split}
        assert_equal(trials[len(trials) - 1], list(trials)[-1])
        assert_equal(trials[-1], trials[len(trials) - 1])
    with pytest.raises(IndexError):
        movements.read(directory, "train")[1000]


def test_the_dataset_is_a_tfds_dataset_without_tensorflow(written) -> None:
    import tensorflow_datasets as tfds

    directory, _, digest = written
    builder = tfds.builder_from_directory(str(directory))
    record = builder.as_data_source("train")[0]
    assert record["coordinates"].shape[1] == COORDINATE_COUNT
    assert list(directory.glob("*.array_record*"))
    assert "tensorflow" not in sys.modules
    facts = store.metadata(directory)
    assert facts["digest"] == digest and facts["seed"] == 3 and facts["trials"] == 61 and facts["participants"] == 31


def test_the_digest_is_that_of_the_content(written, tmp_path) -> None:
    _, trials, digest = written
    again = [trial(i, frames=20 + i) for i in range(60)]
    assert movements.write([trials[-1], *reversed(again)], tmp_path / "a", {"seed": 4}) == digest
    touched = dataclasses.replace(trials[7], device="walker")
    assert movements.write([*trials[:7], touched, *trials[8:]], tmp_path / "a", {}) != digest
    moved = dataclasses.replace(
        trials[7],
        trajectory=dataclasses.replace(trials[7].trajectory, coordinates=trials[7].trajectory.coordinates + 1e-6),
    )
    assert movements.write([*trials[:7], moved, *trials[8:]], tmp_path / "a", {}) != digest


def test_nothing_is_left_half_written(tmp_path) -> None:
    target = tmp_path / "movements"
    digest = movements.write([trial(0)], target, {})

    def breaking():
        yield trial(1)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        movements.write(breaking(), target, {})
    with pytest.raises(InputError, match="two trials are called t003"):
        movements.write([trial(3), trial(3)], target, {})
    assert [path.name for path in tmp_path.iterdir()] == ["movements"]
    assert store.metadata(target)["digest"] == digest and set(read_all(target)) == {"t000"}


def test_a_leak_and_a_missing_dataset_are_refused(tmp_path) -> None:
    people = {splits.split_of(f"q{i}"): f"q{i}" for i in range(60)}
    first, second = trial(0), trial(1)
    rename = dataclasses.replace
    named = [
        rename(t, trajectory=rename(t.trajectory, metadata=rename(t.trajectory.metadata, participant=people[split])))
        for t, split in ((first, "train"), (second, "test"))
    ]
    with pytest.raises(InputError, match="latent severity"):  # one person under two names
        movements.write(named, tmp_path / "movements", {})
    assert not list(tmp_path.iterdir())
    with pytest.raises(InputError, match="not a dataset"):
        movements.read(tmp_path / "movements", "train")


def test_a_dataset_of_an_older_version_is_refused_in_one_line(written, tmp_path, monkeypatch) -> None:
    features = {name: kind for name, kind in movements.FEATURES.items() if name != "falls"}
    whole = movements.record
    monkeypatch.setattr(movements, "record", lambda t: {k: v for k, v in whole(t).items() if k != "falls"})
    with monkeypatch.context() as older:
        older.setattr(movements, "FEATURES", features)
        movements.write([trial(0)], tmp_path / "movements", {})
    with pytest.raises(InputError, match="has no falls"):
        read_all(tmp_path / "movements")
