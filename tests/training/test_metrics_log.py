"""The record of a run survives interruptions."""

import json

from biomechgpt_jax.training import metrics


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


def test_without_a_path_nothing_is_written() -> None:
    with metrics.MetricsLog(None, 0) as log:
        entry = log.write(3, {"loss": 1.5, "norm": float("inf")})
        log.sync()
    assert (entry["step"], entry["loss"], entry["norm"]) == (3, 1.5, None)
