"""The loop end to end on toy rows: learning, stopping, resuming, refusing."""

import os
import shutil
import signal
from dataclasses import replace
from pathlib import Path

import jax
import numpy as np
import pytest
from toy_rows import Killed, equal, lines

from biomechgpt_jax.errors import InputError, RunError
from biomechgpt_jax.tasks import language, trained
from biomechgpt_jax.tasks.parameters import NOTHING
from biomechgpt_jax.training import goodput, loop, manifest, metrics

STEPS = 11


def run(toy, workdir: Path, experiment=None, steps=STEPS, progress=lambda step, values: None):
    return language.train(
        experiment or toy.experiment,
        toy.sequences,
        steps,
        loop.Places(workdir / "checkpoints", workdir / "metrics.jsonl"),
        progress,
        toy.ids,
        toy.code_vectors,
    )


def vectors(toy):
    return NOTHING.with_code_vectors(toy.code_vectors)


@pytest.fixture(scope="module")
def undisturbed(toy, tmp_path_factory):
    workdir = tmp_path_factory.mktemp("undisturbed")
    return workdir, run(toy, workdir)


def test_undisturbed_run(toy, undisturbed) -> None:
    workdir, params = undisturbed
    entries = metrics.read(workdir / "metrics.jsonl")
    training = [e for e in entries if "loss" in e]
    assert [e["step"] for e in training] == list(range(1, STEPS + 1))
    assert [e["step"] for e in entries if "validation_loss" in e] == [4, 8, STEPS]
    assert training[-1]["loss"] < training[0]["loss"]
    assert {"answer_tokens_per_second", "tokens_per_second", "nonpadding_tokens_per_second"} <= training[-1].keys()
    assert {"grad_norm", "learning_rate", "skipped", "wall_seconds"} <= training[-1].keys()
    assert training[-1]["mfu"] is None and training[-1]["padded_mfu"] is None  # a processor's peak is not known
    assert training[-1]["padded_flops_per_second"] > training[-1]["flops_per_second"] > 0
    assert training[-1]["host_memory_gib"] > 0.1 and training[-1]["device_memory_gib"] is None
    spent = {kind: training[-1][f"{kind}_seconds"] for kind in goodput.KINDS}
    assert spent["compile"] > 0 and spent["step"] > 0 and spent["checkpoint"] > 0 and spent["lost"] == 0
    assert training[-1]["goodput"] == pytest.approx(spent["step"] / sum(spent.values()), abs=1e-3)
    assert list((workdir / "tensorboard").rglob("events*"))
    # Complete: it returns at once, with the same parameters, and without touching the record.
    before = (workdir / "metrics.jsonl").read_bytes()
    assert equal(run(toy, workdir), params) and (workdir / "metrics.jsonl").read_bytes() == before
    assert equal(
        trained.load_params(workdir / "checkpoints", toy.experiment.model, toy.ids, frozen=vectors(toy)), params
    )


def test_resumed_run_equals_an_undisturbed_one_bit_for_bit(toy, undisturbed, tmp_path) -> None:
    def progress(step, values):
        if step == 7:
            raise Killed

    with pytest.raises(Killed):
        run(toy, tmp_path, progress=progress)
    repeated = metrics.read(tmp_path / "metrics.jsonl")
    params = run(toy, tmp_path)
    assert equal(params, undisturbed[1])
    assert lines(tmp_path) == lines(undisturbed[0])
    # What was done after the checkpoint of step 4 was lost.
    lost = repeated[-1]["wall_seconds"] - max(e["wall_seconds"] for e in repeated if e["step"] <= 4)
    lost_seconds = [e["lost_seconds"] for e in metrics.read(tmp_path / "metrics.jsonl") if "lost_seconds" in e]
    assert lost_seconds[-1] == pytest.approx(lost, abs=2e-3)


def test_sigterm_saves_and_exits_with_75(toy, undisturbed, tmp_path) -> None:
    def progress(step, values):
        if step == 5:
            os.kill(os.getpid(), signal.SIGTERM)

    with pytest.raises(SystemExit) as stopped:
        run(toy, tmp_path, progress=progress)
    assert stopped.value.code == 75
    assert (tmp_path / "checkpoints" / "step_00000006").exists()  # metrics come one step late
    assert equal(run(toy, tmp_path), undisturbed[1])
    assert lines(tmp_path) == lines(undisturbed[0])


def test_sigterm_in_the_last_save_is_not_lost(toy, undisturbed, tmp_path) -> None:
    """A stage that follows must not begin; the run is done when it is started again."""

    def progress(step, values):
        if "validation_loss" in values and step == STEPS:
            os.kill(os.getpid(), signal.SIGTERM)

    with pytest.raises(SystemExit) as stopped:
        run(toy, tmp_path, progress=progress)
    assert stopped.value.code == 75
    assert equal(run(toy, tmp_path), undisturbed[1])


def test_processes_ask_about_a_stop_by_a_number_that_only_grows(monkeypatch) -> None:
    """jax stops at the next number after those asked: one that starts anew with each stage would pass it by."""
    asked = []
    monkeypatch.setattr(loop.jax, "process_count", lambda: 2)
    monkeypatch.setattr(loop.multihost_utils, "reached_preemption_sync_point", asked.append)
    for _ in range(2):
        with loop.Preemption() as preemption:
            for _ in range(3):
                preemption.requested()
    assert asked == list(range(asked[0], asked[0] + 6))


def test_damaged_newest_checkpoint_costs_only_time(toy, undisturbed, tmp_path) -> None:
    def progress(step, values):
        if step == 10:
            raise Killed

    with pytest.raises(Killed):
        run(toy, tmp_path, progress=progress)
    largest = max((tmp_path / "checkpoints" / "step_00000008").rglob("d/*"), key=lambda p: p.stat().st_size)
    flipped = bytearray(largest.read_bytes())
    flipped[len(flipped) // 2] ^= 1
    largest.write_bytes(flipped)
    assert equal(run(toy, tmp_path), undisturbed[1])
    assert lines(tmp_path) == lines(undisturbed[0])
    assert (tmp_path / "checkpoints" / "damaged-step_00000008").exists()


@pytest.mark.parametrize(
    ("change", "named"),
    [
        (lambda e: replace(e, train=replace(e.train, seed=3)), "train.seed: 0 in the checkpoint, 3 now"),
        (lambda e: replace(e, train=replace(e.train, batch_size=2)), "train.batch_size: 4"),
        (lambda e: replace(e, model=replace(e.model, layers=3)), "model.layers: 2"),
        (lambda e: replace(e, optimizer=replace(e.optimizer, b2=0.9)), "optimizer.b2"),
    ],
)
def test_a_resume_with_other_settings_is_refused(toy, undisturbed, change, named) -> None:
    with pytest.raises(InputError, match=named):
        run(toy, undisturbed[0], change(toy.experiment))
    if "model" in named:
        with pytest.raises(InputError, match=named):
            trained.load_params(
                undisturbed[0] / "checkpoints", change(toy.experiment).model, toy.ids, frozen=vectors(toy)
            )


def test_a_resume_with_another_tokenizer_or_other_data_is_refused(toy, undisturbed, other_sequences) -> None:
    others = {
        "vocabulary.digest: toy in the checkpoint, other now": replace(toy, ids=replace(toy.ids, digest="other")),
        "dataset.digest": replace(toy, sequences=other_sequences),
    }
    for named, other in others.items():
        with pytest.raises(InputError, match=named):
            run(other, undisturbed[0])


def test_full_disk_ends_a_run_on_one_line(toy, disk) -> None:
    """The disk of a run fills up after its first checkpoint; with more space it goes on from there."""

    def die(step, values):
        if step == 7:
            raise Killed

    disk.remount("size=9m")
    with pytest.raises(Killed):
        run(toy, disk.path, progress=die)
    disk.remount(f"size={shutil.disk_usage(disk.path).used + 50_000}")
    with pytest.raises(RunError, match="No space left on device") as ended:
        run(toy, disk.path)
    assert "\n" not in str(ended.value)
    saved = [step for step in manifest.steps(disk.path / "checkpoints") if manifest.committed(step)]
    assert [step.name for step in saved] == ["step_00000004"]
    manifest.verify(saved[0])
    disk.remount("size=9m")
    reached: list[int] = []
    run(toy, disk.path, progress=lambda step, _: reached.append(step))
    assert reached[0] == 5


def test_logging_and_checkpoint_policy_may_change(toy, undisturbed) -> None:
    train = replace(toy.experiment.train, log_every=5, checkpoint_every=3, keep_last=1)
    assert equal(run(toy, undisturbed[0], replace(toy.experiment, train=train)), undisturbed[1])


def test_held_out_loss_has_its_own_interval(toy, tmp_path) -> None:
    """And nothing is compiled after the first epoch, which six steps of four rows end: 22 rows."""
    compiled: list[int] = []
    reached = 0

    def progress(step, values):
        nonlocal reached
        reached = step

    def listen(event, duration, **_):
        if event.endswith("backend_compile_duration"):
            compiled.append(reached)

    jax.monitoring.register_event_duration_secs_listener(listen)
    try:
        train = replace(toy.experiment.train, validate_every=3, checkpoint_every=100)
        run(toy, tmp_path, replace(toy.experiment, train=train), progress=progress)
    finally:
        jax.monitoring.unregister_event_duration_listener(listen)
    validated = [e["step"] for e in metrics.read(tmp_path / "metrics.jsonl") if "validation_loss" in e]
    assert validated == [3, 6, 9, STEPS]
    assert compiled and max(compiled) < 6


def test_steps_are_traced_on_request(toy, tmp_path) -> None:
    train = replace(toy.experiment.train, profile_from=3, profile_steps=2)
    run(toy, tmp_path, replace(toy.experiment, train=train))
    assert list((tmp_path / "profile").rglob("*.xplane.pb"))


def test_too_many_skipped_steps_stop_the_run(toy, tmp_path) -> None:
    broken = replace(toy, code_vectors=np.full_like(toy.code_vectors, np.nan))
    train = replace(toy.experiment.train, skip_limit=2)
    with pytest.raises(loop.Diverged, match="skip_limit"):
        run(broken, tmp_path, replace(toy.experiment, train=train))
    assert [e["loss"] for e in lines(tmp_path)] == [None, None]
