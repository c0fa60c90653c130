"""The whole evaluation of an untrained model: three files that agree with each other."""

import dataclasses
import json

import fabricated
import jax
import numpy as np
import pytest
from toy_language import CFG, QUESTIONS, WORDS

from biomechgpt_jax import config, provenance
from biomechgpt_jax.answering import predict
from biomechgpt_jax.biomechanics.skeleton import COORDINATE_COUNT
from biomechgpt_jax.biomechanics.trajectory import Metadata, Trajectory, Trial
from biomechgpt_jax.errors import InputError
from biomechgpt_jax.model import decoder
from biomechgpt_jax.packing import crops
from biomechgpt_jax.reports.origin import Origin
from biomechgpt_jax.stages import evaluate as run
from biomechgpt_jax.stages import held_out

OBSERVED = np.ones(COORDINATE_COUNT, bool)
ORIGIN = Origin("toy", True, "none", 35, 69)
EXPERIMENT = dataclasses.replace(
    config.Experiment(name="toy"), evaluation=config.Evaluation(bootstrap=50, encoder_steps=2)
)


class Codec:
    codes = 60

    def encode(self, coordinates, observed):
        return [np.arange(len(c) // 4, dtype=np.int32)[:, None] % 60 for c in coordinates]

    def decode(self, tokens, starts=None):
        return [np.zeros((4 * len(t), COORDINATE_COUNT), np.float32) for t in tokens]


def trials(first, count):
    made = []
    for i in range(first, first + count):
        known = Metadata(participant=f"p{i // 2:03d}", activity="walking", height_m=1.7)
        moved = Trajectory(fabricated.walk(2.0, 0.6 + 0.4 * (i % 3)), OBSERVED, 30.0, known)
        made.append(Trial(f"t{i:03d}", moved, diagnosis=("healthy", "stroke", "ataxia")[i % 3]))
    return made


@pytest.fixture
def inputs(monkeypatch):
    def answerable(trial, crop, cfg):
        sick = trial.diagnosis != "healthy"
        speed = 0.6 + 0.4 * (int(trial.trial_id[1:]) % 3)
        return {"diagnosis": trial.diagnosis, "impairment": "yes" if sick else "no", "speed": speed}

    def evaluation(trial, cfg):
        return [crops.Crop(4, trial.trajectory.frames, False, OBSERVED)]

    for module in (run, held_out):
        monkeypatch.setattr(module, "QUESTIONS", QUESTIONS)
    monkeypatch.setattr(run.crops, "answerable", answerable)
    monkeypatch.setattr(run.crops, "evaluation", evaluation)
    params = decoder.init(jax.random.key(0), CFG, WORDS.size)
    model = predict.LanguageModel(params, CFG, WORDS, batch_size=8)
    split = {"train": trials(0, 60), "validation": [], "test": trials(60, 9)}
    return run.Inputs(split, model, model, Codec(), {}, {"train": 1.5}, ORIGIN, {"pack": {"version": "0"}})


def test_an_evaluation_writes_three_files_that_agree(inputs, tmp_path):
    shown = []
    found = run.evaluate(EXPERIMENT, inputs, tmp_path, lambda *what: shown.append(what))
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "metrics.json",
        "predictions.jsonl",
        "report.html",
    ]
    metrics = json.loads((tmp_path / "metrics.json").read_text())
    assert metrics == json.loads(json.dumps(found))
    assert metrics["test_participants"] == 5
    assert {"text_only", "constant", "label_prior", "speed_only", "length_only", "mean_pose"} <= set(
        metrics["controls"]
    )
    assert {"features", "features_on_tokens", "encoder"} <= set(metrics["controls"])
    assert set(metrics["summary"]) == {"model", "features", "features_on_tokens", "encoder"}
    judged = {(row["control"], row["figure"]): row for row in metrics["comparisons"]}
    gap = judged["features", "diagnosis"]
    both = [metrics["summary"][source]["diagnosis"]["value"] for source in ("model", "features")]
    assert gap["difference"] == pytest.approx(both[0] - both[1])
    assert "Against plain features" in (tmp_path / "report.html").read_text()
    assert metrics["families"]["diagnosis"]["n"] == 9 and metrics["families"]["gait"]["speed"]["n"] == 9
    assert metrics["made"]["pack"] == {"version": "0"} and metrics["made"]["evaluate"] == provenance.program()
    assert metrics["wall_seconds"]["train"] == 1.5 and metrics["wall_seconds"]["evaluate"] > 0

    rows = [json.loads(line) for line in (tmp_path / "predictions.jsonl").read_text().splitlines()]
    said = [row for row in rows if row["source"] == "model" and row["question"] == "diagnosis"]
    right = np.mean([row["truth"] == row["answer"] for row in said])
    assert metrics["families"]["diagnosis"]["accuracy"] == pytest.approx(right)
    assert {row["participant"] for row in rows} == {f"p{i:03d}" for i in range(30, 35)}
    # Every crop starts after four frames of its trial.
    assert all(row["start_s"] == pytest.approx(4 / 30) for row in rows)
    assert "NaN" not in (tmp_path / "predictions.jsonl").read_text()
    assert shown[-1] == ("report", 1, 1)

    # Speed is in the movement for a control that measures it.
    assert (
        metrics["controls"]["speed_only"]["gait"]["speed"]["mae"]
        < metrics["controls"]["constant"]["gait"]["speed"]["mae"]
    )


def test_recordings_without_a_diagnosis_are_drawn_and_the_codec_is_measured_on_them(inputs, tmp_path, monkeypatch):
    monkeypatch.setattr(run.crops, "answerable", lambda trial, crop, cfg: {"speed": float(trial.trial_id[1:]) % 3})
    recorded = dataclasses.replace(inputs, origin=Origin("mine", False, "", 35, 69))
    found = run.evaluate(EXPERIMENT, recorded, tmp_path, lambda *what: None)
    assert np.isfinite(found["codec"]["median_deg"]) and found["codec"]["healthy_median_deg"] is None
    text = (tmp_path / "report.html").read_text()
    assert "Movement: diagnosis unknown" in text and text.count("<canvas") == EXPERIMENT.evaluation.stick_figures
    assert "synthetic" not in text.lower()


def test_bars_are_judged_where_the_experiment_says_so(inputs, tmp_path):
    nothing = run.evaluate(EXPERIMENT, inputs, tmp_path, lambda *what: None)
    assert nothing["bars"] == [] and "not reached" not in (tmp_path / "report.html").read_text()
    asked = dataclasses.replace(
        EXPERIMENT, evaluation=config.Evaluation(bootstrap=50, encoder_steps=0, bars="quickstart")
    )
    found = run.evaluate(asked, inputs, tmp_path, lambda *what: None)
    assert not next(row for row in found["bars"] if row["question"] == "activity")["meets"]
    assert "not reached" in (tmp_path / "report.html").read_text()


def test_nobody_held_out_is_refused(inputs, tmp_path, monkeypatch):
    nobody = dataclasses.replace(inputs, trials={**inputs.trials, "test": []})
    with pytest.raises(InputError, match="nobody is in the test split; simulate more participants"):
        run.evaluate(EXPERIMENT, nobody, tmp_path, lambda *what: None)
    recorded = dataclasses.replace(nobody, origin=Origin("mine", False, "", 3, 9))
    with pytest.raises(InputError, match="import recordings of more participants: 20 %") as refused:
        run.evaluate(EXPERIMENT, recorded, tmp_path, lambda *what: None)
    assert "simulate" not in str(refused.value)
    monkeypatch.setattr(run.crops, "answerable", lambda *what: {})
    recorded = dataclasses.replace(inputs, origin=Origin("mine", False, "", 3, 9))
    with pytest.raises(InputError, match="import them again with --labels"):
        run.evaluate(EXPERIMENT, recorded, tmp_path, lambda *what: None)
    assert list(tmp_path.iterdir()) == []
