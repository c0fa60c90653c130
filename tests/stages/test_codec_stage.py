"""The tokenizer stage stops at SIGTERM, resumes, and produces what an undisturbed one produces."""

import dataclasses
import json
import os
import signal
import threading
import time
from pathlib import Path

import pytest

from biomechgpt_jax import config, pipeline
from biomechgpt_jax.biomechanics.trajectory import Trial, replace
from biomechgpt_jax.cohort.simulate import simulate
from biomechgpt_jax.data import movements
from biomechgpt_jax.data.splits import split_of
from biomechgpt_jax.errors import InputError
from biomechgpt_jax.stages.tokenizer import report_codec
from biomechgpt_jax.training import metrics

STEPS = 120
TOY = config.Experiment(
    cohort=config.Cohort(participants=10, hours=0.01, activities=("walk_free",)),
    tokenizer=config.Tokenizer(steps=STEPS, width=16, depth=1, window_frames=32, batch_size=8),
    train=config.Train(log_every=1, checkpoint_every=50),
)


def stop_after(path: Path, steps: int) -> None:
    """Send SIGTERM to this process once so many steps are logged."""
    until = time.monotonic() + 300
    while len(metrics.read(path)) < steps and time.monotonic() < until:
        time.sleep(0.01)
    os.kill(os.getpid(), signal.SIGTERM)


def test_a_stopped_stage_resumes_and_makes_the_same_tokenizer(tmp_path: Path) -> None:
    whole, stopped = tmp_path / "whole", tmp_path / "stopped"
    wanted = pipeline.run(TOY, whole, "tokenizer", show=False)
    assert [entry["step"] for entry in metrics.read(whole / "tokenizer" / "metrics.jsonl")] == list(range(1, STEPS + 1))
    assert not (whole / "tokenizer" / "checkpoints").exists()

    pipeline.run(TOY, stopped, "simulate", show=False)
    log = stopped / "tokenizer" / "metrics.jsonl"
    watcher = threading.Thread(target=stop_after, args=(log, 5))
    watcher.start()
    with pytest.raises(SystemExit) as ended:
        pipeline.run(TOY, stopped, "tokenizer", show=False)
    watcher.join()
    assert ended.value.code == 75
    saved = [path.name for path in (stopped / "tokenizer" / "checkpoints").iterdir()]
    assert len(saved) == 1 and not (stopped / "stages" / "tokenizer.json").exists()

    assert pipeline.run(TOY, stopped, "tokenizer", show=False)["digest"] == wanted["digest"]
    assert [entry["step"] for entry in metrics.read(log)] == list(range(1, STEPS + 1))
    assert not (stopped / "tokenizer" / "checkpoints").exists()


def in_slow_motion(trial: Trial) -> Trial:
    """The trial with each frame shown twice: another movement of the same person."""
    doubled = trial.trajectory.coordinates.repeat(2, axis=0)
    return dataclasses.replace(trial, trajectory=replace(trial.trajectory, coordinates=doubled), clean=doubled)


def test_the_test_split_does_not_affect_the_reported_codec_figures(tmp_path: Path) -> None:
    # Of these ten, participants 3 and 8 are in the validation split and participant 1 in the test split.
    cohort = config.Cohort(participants=10, hours=0.01, seed=1, activities=("walk_free",))
    cfg = dataclasses.replace(TOY, cohort=cohort, tokenizer=dataclasses.replace(TOY.tokenizer, steps=10))
    trials = list(simulate(cohort, lambda trials, hours: None))
    assert {split_of(trial.participant) for trial in trials} == {"train", "validation", "test"}
    said, reported = {}, {}
    for changed in ("nobody", "test", "validation"):
        work = tmp_path / changed
        altered = [in_slow_motion(trial) if split_of(trial.participant) == changed else trial for trial in trials]
        movements.write(altered, work / "movements", {"synthetic": False})
        said[changed] = json.dumps(pipeline.run(cfg, work, "tokenizer", show=False)["fidelity"])  # NaN is its own equal
        reported[changed] = report_codec(cfg, work, show=False)
    assert said["test"] == said["nobody"] and reported["test"] == reported["nobody"]
    assert said["validation"] != said["nobody"] and reported["validation"] != reported["nobody"]


def test_other_people_can_be_measured_but_none_that_the_codec_was_trained_on(tmp_path: Path) -> None:
    cfg = dataclasses.replace(TOY, tokenizer=dataclasses.replace(TOY.tokenizer, steps=10))
    pipeline.run(cfg, tmp_path / "run", "tokenizer", show=False)
    others = dataclasses.replace(cfg, cohort=dataclasses.replace(cfg.cohort, participants=4, hours=0.001, seed=1000))
    pipeline.run(others, tmp_path / "others", "simulate", show=False)
    found = report_codec(cfg, tmp_path / "run", tmp_path / "others" / "movements", show=False)
    assert found["data"]["participants"] == 4
    assert json.loads((tmp_path / "run" / "tokenizer" / "fidelity.json").read_text()) == found
    with pytest.raises(InputError, match="training split"):
        report_codec(cfg, tmp_path / "run", tmp_path / "run" / "movements", show=False)
