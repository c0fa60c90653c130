"""The tokenizer stage stops at SIGTERM, resumes, and leaves what an undisturbed one leaves."""

import os
import signal
import threading
import time
from pathlib import Path

import pytest

from biomechgpt_jax import config, pipeline
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
