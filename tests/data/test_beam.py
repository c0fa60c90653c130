"""The Beam pipeline writes what one process writes, however many workers share it."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest

from biomechgpt_jax import cli, config, pipeline
from biomechgpt_jax.biomechanics.trajectory import Trial
from biomechgpt_jax.cohort import simulate
from biomechgpt_jax.data import movements, splits, store
from biomechgpt_jax.errors import InputError
from biomechgpt_jax.stages.simulate import IN_MEMORY_HOURS

# Two groups of people, and more than one round for each.
COHORT = config.Cohort(participants=18, hours=0.09, activities=("squat",))


@pytest.fixture(scope="module")
def in_memory(tmp_path_factory) -> tuple[list[Trial], str, Path]:
    trials = list(simulate.simulate(COHORT))
    directory = tmp_path_factory.mktemp("memory") / "movements"
    return trials, movements.write(trials, directory, {"seed": 0}), directory


@pytest.fixture(scope="module")
def beam():
    pytest.importorskip("apache_beam", reason="the extra `beam` is not installed")
    from biomechgpt_jax.data import beam

    return beam


def test_every_participant_reaches_its_share_and_stops_there(in_memory) -> None:
    trials, share = in_memory[0], simulate.share_s(COHORT)
    assert {t.trial_id.rpartition("_")[2] for t in trials} >= {"0", "1"}
    for person in {t.participant for t in trials}:
        seconds = [t.trajectory.seconds for t in trials if t.participant == person]
        assert sum(seconds) >= share
        assert len(seconds) == 1 or sum(seconds[:-1]) < share


def test_a_group_alone_performs_what_it_performs_in_the_cohort(in_memory) -> None:
    of_group = {t.trial_id: t for t in simulate.group_rounds(COHORT, simulate.GROUP)}
    last = {t.trial_id: t for t in in_memory[0] if int(t.participant[-4:]) >= simulate.GROUP}
    assert of_group.keys() == last.keys()
    for name, trial in of_group.items():
        np.testing.assert_array_equal(trial.trajectory.coordinates, last[name].trajectory.coordinates)


@pytest.mark.beam
@pytest.mark.parametrize("workers", [1, 2])
def test_workers_write_the_trials_of_one_process(in_memory, beam, tmp_path, workers) -> None:
    _, digest, alone = in_memory
    directory = tmp_path / "movements"
    options = [f"--direct_num_workers={workers}", "--direct_running_mode=multi_threading"]
    assert beam.write(COHORT, directory, {"seed": 0}, options) == digest
    assert store.metadata(directory) == store.metadata(alone)
    for split in splits.SPLITS:
        ours, theirs = movements.read(directory, split), movements.read(alone, split)
        assert [t.trial_id for t in ours] == [t.trial_id for t in theirs]
        for one, other in zip(ours, theirs, strict=True):
            assert splits.split_of(one.participant) == split
            np.testing.assert_array_equal(one.trajectory.coordinates, other.trajectory.coordinates)
            assert dict(one.scores) == dict(other.scores) and one.diagnosis == other.diagnosis
    assert [path.name for path in tmp_path.iterdir()] == ["movements"]


@pytest.mark.beam
def test_another_seed_is_another_dataset(in_memory, beam, tmp_path) -> None:
    small = dataclasses.replace(COHORT, participants=2, hours=1e-3)
    assert beam.write(small, tmp_path / "a", {}) != beam.write(dataclasses.replace(small, seed=1), tmp_path / "b", {})


@pytest.mark.beam
@pytest.mark.parametrize(
    ("options", "says"),
    [
        (["--runner=NoSuch"], "NoSuch"),
        (["--nonsense=1"], "--nonsense"),
        (["--direct_num_workers=two"], "direct_num_workers"),
    ],
)
def test_what_beam_does_not_know_is_refused(beam, tmp_path, options, says) -> None:
    with pytest.raises(InputError, match=says):
        beam.write(COHORT, tmp_path / "movements", {}, options)
    assert not list(tmp_path.iterdir())


def test_command_line_passes_options_on(monkeypatch, tmp_path, capsys) -> None:
    seen = {}
    monkeypatch.setattr(pipeline, "run", lambda *args, beam, **more: seen.update(beam=beam) or {})
    configs = Path(__file__).parents[2] / "configs" / "cohort_1000h.py"
    words = ["simulate", str(configs), "--workdir", str(tmp_path)]
    assert cli.main([*words, "--runner", "DirectRunner", "--", "--direct_num_workers=2"]) == 0
    assert seen["beam"] == ["--runner=DirectRunner", "--direct_num_workers=2"]
    assert cli.main([*words, "--", "--direct_num_workers=2"]) == 2
    assert "--runner" in capsys.readouterr().err


def test_a_cohort_too_long_for_memory_names_the_way_out(tmp_path) -> None:
    experiment = config.Experiment(cohort=config.Cohort(participants=1, hours=IN_MEMORY_HOURS + 1))
    with pytest.raises(InputError, match="--runner"):
        pipeline.run(experiment, tmp_path, "simulate", show=False)
