"""The record of a run survives interruptions."""

import json
import sys
from types import ModuleType

import pytest

from biomechgpt_jax.errors import InputError
from biomechgpt_jax.training import goodput, metrics


def test_lines_past_the_restored_step_are_cut_away(tmp_path) -> None:
    path = tmp_path / "run" / "metrics.jsonl"
    with metrics.MetricsLog(path, 0) as log:
        for step in (10, 20, 30):
            log.write(step, {"loss": float(step)})
        log.write(30, {"validation_loss": float("nan")})
    with path.open("a") as file:
        file.write('{"step": 40, "lo')  # killed while writing
    first = metrics.read(path)
    assert [e["step"] for e in first] == [10, 20, 30, 30] and first[-1]["validation_loss"] is None

    with metrics.MetricsLog(path, 20) as log:
        assert log.wall_seconds >= first[1]["wall_seconds"]
        log.write(30, {"loss": 31.0})
    assert [(e["step"], e["loss"]) for e in metrics.read(path)] == [(10, 10.0), (20, 20.0), (30, 31.0)]
    assert all(json.loads(line) for line in path.read_text().splitlines())

    with metrics.MetricsLog(path, 0):
        pass
    assert metrics.read(path) == []


def test_rates(monkeypatch) -> None:
    clock = iter([100.0, 102.0, 103.0, 110.0, 110.5])
    monkeypatch.setattr(metrics.time, "monotonic", lambda: next(clock))
    meter = metrics.Meter()
    meter.add({"answers": 5, "tokens": 900})  # at 100 s: the step that compiled does not count
    assert meter.read() == {}
    meter.add({"answers": 10, "tokens": 800})
    meter.add({"answers": 10, "tokens": 800})
    assert meter.read() == {"answers_per_second": 10.0, "tokens_per_second": 800.0}  # 2 s
    meter.pause()  # at 103 s
    meter.pause()  # at 110 s: a validation
    meter.add({"answers": 10, "tokens": 1000})
    assert meter.read()["tokens_per_second"] == 2000.0


def test_seconds_by_kind(monkeypatch) -> None:
    clock = iter([0.0, 10.0, 12.0, 15.0, 21.0, 30.0])
    monkeypatch.setattr(goodput.time, "monotonic", lambda: next(clock))
    watch = goodput.Stopwatch()
    assert watch.to("step") == 10.0  # of the start
    with watch.spent("validation"):  # from 12 to 15 s
        pass
    assert watch.to("input_wait") == 6.0
    watch.add({"lost": 5.0, "step": 2.0})
    summary = watch.read()  # at 30 s
    seconds = {"start": 10.0, "compile": 0.0, "input_wait": 9.0, "step": 10.0, "checkpoint": 0.0, "validation": 3.0}
    assert summary == {f"{kind}_seconds": value for kind, value in (seconds | {"lost": 5.0}).items()} | {
        "goodput": 0.2703
    }


def test_work_that_a_restart_repeats_is_lost_every_time() -> None:
    kept = [{"step": 4, "wall_seconds": 10.0, "step_seconds": 8.0}, {"step": 4, "wall_seconds": 11.0}]
    cut = [{"step": 5, "wall_seconds": 13.0, "lost_seconds": 0.0}, {"step": 6, "wall_seconds": 15.0}]
    first = goodput.earlier(kept, cut)
    assert first["lost"] == 4.0 and first["step"] == 8.0
    again = [{"step": 5, "wall_seconds": 12.0, "lost_seconds": first["lost"]}]
    assert goodput.earlier(kept, again)["lost"] == 5.0
    assert goodput.earlier([], [])["lost"] == 0.0


def test_weights_and_biases_gets_the_same(tmp_path, monkeypatch) -> None:
    calls: list[tuple[str, object]] = []

    class Run:
        def log(self, values, step):
            calls.append((f"log {step}", values))

        def finish(self):
            calls.append(("finish", None))

    package = ModuleType("wandb")
    package.init = lambda **given: calls.append(("init", given)) or Run()  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "wandb", package)
    for step in (1, 2):
        with metrics.MetricsLog(tmp_path / "metrics.jsonl", step - 1, "gait") as log:
            log.write(step, {"loss": 2.0, "mfu": float("nan")})
    assert [name for name, _ in calls] == ["init", "log 1", "finish", "init", "log 2", "finish"]
    assert calls[0][1] == calls[3][1] and calls[0][1]["project"] == "gait"  # the same run goes on
    assert calls[1][1] == {"loss": 2.0}


def test_missing_weights_and_biases_is_reported(monkeypatch) -> None:
    monkeypatch.setattr(metrics.importlib.util, "find_spec", lambda name: None)
    metrics.check_project("")
    with pytest.raises(InputError, match=r"train.wandb.*pip install"):
        metrics.check_project("gait")


def test_without_a_path_nothing_is_written() -> None:
    with metrics.MetricsLog(None, 0) as log:
        entry = log.write(3, {"loss": 1.5, "norm": float("inf")})
        log.sync()
    assert (entry["step"], entry["loss"], entry["norm"]) == (3, 1.5, None)
