"""Metrics against scikit-learn, SciPy and numbers worked out by hand; intervals are over participants."""

import json

import numpy as np
import pytest
from scipy import stats
from sklearn.metrics import accuracy_score, f1_score, roc_auc_score, roc_curve

from biomechgpt_jax import files
from biomechgpt_jax.evaluation import bootstrap, metrics, sureness


def closed(participant, truth, answer, options=None, question="diagnosis", trial="t", family=None):
    options = options or {}
    return {
        "trial": trial,
        "participant": participant,
        "family": family or question,
        "question": question,
        "kind": "closed",
        "phrasing": "?",
        "truth": truth,
        "answer": answer,
        "probability": options.get(answer),
        "options": options,
        "unit": "",
        "start_s": 0.0,
        "seconds": 4.0,
    }


def number(participant, truth, answer, question="walking_speed", trial="t"):
    row = closed(participant, truth, answer, question=question, trial=trial, family="gait")
    del row["options"]
    return row | {"kind": "number", "unit": "m/s"}


@pytest.fixture
def yes_no():
    generator = np.random.default_rng(1)
    rows = []
    for i in range(300):
        sick = generator.random() < 0.6
        score = float(np.round(np.clip(generator.normal(0.65 if sick else 0.4, 0.2), 0, 1), 1))  # rounded: ties
        answer = "yes" if score > 0.5 else "no"
        options = {"yes": score, "no": 1 - score}
        rows.append(closed(f"p{i % 40}", "yes" if sick else "no", answer, options, "impairment", f"t{i}"))
    return rows


def sensitivity(sick, score):
    """The largest share of the sick above a threshold that at most one in ten of the healthy exceeds."""
    alarms, caught, _ = roc_curve(sick, score, drop_intermediate=False)
    return caught[alarms <= 0.1 + 1e-9].max()


def test_closed_metrics_equal_scikit_learn(yes_no):
    found = metrics.summarise(yes_no, 200, 0)["impairment"]
    truth = [row["truth"] for row in yes_no]
    answer = [row["answer"] for row in yes_no]
    score = [row["options"]["yes"] for row in yes_no]
    assert found["n"] == 300 and found["participants"] == 40
    assert found["accuracy"] == pytest.approx(accuracy_score(truth, answer))
    assert found["macro_f1"] == pytest.approx(f1_score(truth, answer, average="macro"))
    assert found["auroc"] == pytest.approx(roc_auc_score([t == "yes" for t in truth], score))
    assert found["sensitivity_at_90_specificity"] == pytest.approx(sensitivity([t == "yes" for t in truth], score))
    names = ("macro_f1", "auroc", "sensitivity_at_90_specificity")
    for key, interval in (("accuracy", "ci95"), *((name, f"{name}_ci95") for name in names)):
        low, high = found[interval]
        assert low < found[key] < high


@pytest.mark.parametrize("name", ["accuracy", "macro_f1", "auroc", "sensitivity_at_90_specificity"])
def test_a_resample_is_the_metric_of_the_drawn_rows(yes_no, name):
    metric, participants = metrics.build(yes_no, name)
    counts = bootstrap.draws(participants, 5, 3)
    group, _ = bootstrap.groups([row["participant"] for row in yes_no])
    for drawn, value in zip(counts, metric(counts), strict=True):
        rows = [row for row, g in zip(yes_no, group, strict=True) for _ in range(int(drawn[g]))]
        truth, answer = [r["truth"] for r in rows], [r["answer"] for r in rows]
        expected = {
            "accuracy": lambda t=truth, a=answer: accuracy_score(t, a),
            "macro_f1": lambda t=truth, a=answer: f1_score(t, a, average="macro"),
            "auroc": lambda t=truth, r=rows: roc_auc_score([x == "yes" for x in t], [x["options"]["yes"] for x in r]),
            "sensitivity_at_90_specificity": lambda t=truth, r=rows: sensitivity(
                [x == "yes" for x in t], [x["options"]["yes"] for x in r]
            ),
        }[name]()
        assert value == pytest.approx(expected)


def test_macro_f1_of_many_classes_and_of_an_answer_that_is_none():
    truth = ["stroke", "stroke", "healthy", "healthy", "ataxia"]
    answer = ["stroke", None, "healthy", "stroke", "healthy"]
    rows = [closed(f"p{i}", t, a, trial=f"t{i}") for i, (t, a) in enumerate(zip(truth, answer, strict=True))]
    found = metrics.summarise(rows, 0, 0)["diagnosis"]
    # By hand: stroke 2*1/(2+2), healthy 2*1/(2+2), ataxia 0.
    assert found["macro_f1"] == pytest.approx((0.5 + 0.5 + 0.0) / 3)
    assert found["accuracy"] == pytest.approx(0.4)
    labels, table = metrics.confusion(rows, order=["healthy", "stroke", "ataxia"])
    assert labels == ["healthy", "stroke", "ataxia", "no answer"]
    assert table.tolist() == [[1, 1, 0, 0], [0, 1, 0, 1], [1, 0, 0, 0]]


def test_number_metrics_equal_scipy_and_unparsed_answers_are_reported():
    generator = np.random.default_rng(2)
    truth = generator.uniform(0.4, 1.6, 120)
    answer = truth + generator.normal(0.05, 0.1, 120)
    rows = [number(f"p{i % 30}", t, a, trial=f"t{i}") for i, (t, a) in enumerate(zip(truth, answer, strict=True))]
    rows.append(number("p1", 1.0, None, trial="t999"))
    found = metrics.summarise(rows, 300, 0)["gait"]["walking_speed"]
    error = answer - truth
    assert (found["n"], found["unparsed"], found["unit"]) == (121, 1, "m/s")
    assert found["mae"] == pytest.approx(np.abs(error).mean())
    assert found["r"] == pytest.approx(stats.pearsonr(truth, answer).statistic)
    assert found["bias"] == pytest.approx(error.mean())
    spread = 1.96 * stats.tstd(error)
    assert found["limits_of_agreement"] == pytest.approx([error.mean() - spread, error.mean() + spread])
    assert found["ci95"][0] < found["mae"] < found["ci95"][1]
    assert found["r_ci95"][0] < found["r"] < found["r_ci95"][1] <= 1.0


def test_the_coverage_of_intervals_by_hand():
    known = {"interval": [1.0, 1.2], "decimals": 1}
    rows = [number("a", truth, 1.1) | known for truth in (0.951, 1.0, 1.249, 1.26)]  # "1.0", "1.0", "1.2" and "1.3"
    rows += [number("b", truth, 1.1) | known | {"interval": [0.5, 1.5]} for truth in (0.4, 1.0)]
    found = metrics.summarise(rows, 200, 0)["gait"]["walking_speed"]
    assert found["coverage90"] == pytest.approx(4 / 6) and found["width90"] == pytest.approx((4 * 0.2 + 2 * 1.0) / 6)
    assert found["coverage90_ci95"] == pytest.approx([0.5, 0.75]), "either person alone is an end of the interval"
    without = metrics.summarise([number("a", 1.0, 1.0), number("b", 2.0, 1.0)], 200, 0)["gait"]["walking_speed"]
    assert not {"coverage90", "width90"} & set(without)


def test_the_interval_of_an_accuracy_agrees_with_its_standard_error():
    """One row a participant: the percentile interval is close to p +- 1.96 sqrt(p (1 - p) / n)."""
    rows = [closed(f"p{i:03d}", "a", "a" if i < 320 else "b") for i in range(400)]
    low, high = metrics.summarise(rows, 4000, 0)["diagnosis"]["ci95"]
    half = 1.96 * np.sqrt(0.8 * 0.2 / 400)
    assert (low, high) == pytest.approx((0.8 - half, 0.8 + half), abs=0.006)


def test_the_interval_is_by_participant_and_repeating_a_participants_trials_does_not_shrink_it():
    few = [closed(f"p{i}", "a", "a" if i % 2 else "b", trial=f"t{i}") for i in range(20)]
    many = [{**row, "trial": f"{row['trial']}/{k}"} for row in few for k in range(50)]
    once = metrics.summarise(few, 1000, 0)["diagnosis"]
    repeated = metrics.summarise(many, 1000, 0)["diagnosis"]
    assert repeated["accuracy"] == once["accuracy"]
    assert repeated["ci95"] == pytest.approx(once["ci95"])
    assert once["ci95"][1] - once["ci95"][0] > 0.3  # with 1000 independent rows it would be 0.06


def test_intervals_of_a_difference_are_paired():
    """Two models that fail on the same people differ by exactly nothing, however wide each interval is."""
    mine = [closed(f"p{i}", "a", "a" if i % 2 else "b", trial=f"t{i}") for i in range(30)]
    theirs = list(reversed(mine))
    same = metrics.compare(mine, theirs, "accuracy", 500, 0)
    assert same.value == 0.0 and same.interval == (0.0, 0.0)
    worse = [{**row, "answer": "b"} for row in theirs]
    gap = metrics.compare(mine, worse, "accuracy", 500, 0)
    assert gap.value == pytest.approx(0.5) and gap.interval[0] > 0.2


def test_a_known_calibration():
    rows = [closed("p", "yes", "yes" if i < 7 else "no", {"yes": 0.7, "no": 0.7}) for i in range(10)]
    probability, correct, count = sureness.curve(rows)
    assert probability == pytest.approx([0.7]) and correct == pytest.approx([0.7]) and count.tolist() == [10]
    assert sureness.error(rows) == pytest.approx(0.0)


def test_what_is_undefined_is_null_on_disk(tmp_path):
    rows = [number("p1", 1.0, 1.1), number("p2", 1.2, 1.1), number("p3", 1.2, None)]
    rows += [number("p1", 1.0, None, "cadence")]
    rows += [closed("p1", "yes", "yes", {"yes": 1.0, "no": 0.0}, "impairment")]
    families = metrics.summarise(rows, 50, 0)
    files.write_json(tmp_path / "metrics.json", {"families": families, "x": np.float32("inf")})
    text = (tmp_path / "metrics.json").read_text()
    assert "NaN" not in text and "Infinity" not in text
    found = json.loads(text)["families"]
    assert found["gait"]["walking_speed"]["r"] is None  # the answers do not vary
    assert found["gait"]["cadence"] == {
        "n": 1,
        "participants": 1,
        "mae": None,
        "r": None,
        "unit": "m/s",
        "ci95": None,
        "r_ci95": None,
        "bias": None,
        "limits_of_agreement": [None, None],
        "unparsed": 1,
    }
    assert found["impairment"]["auroc"] is None  # nobody is healthy
    assert [path.name for path in tmp_path.iterdir()] == ["metrics.json"]


def test_a_thousand_resamples_of_four_thousand_answers_take_seconds(yes_no):
    import time

    generator = np.random.default_rng(0)
    rows = [row for row in yes_no]
    labels = ["a", "b", "c", "d", "e", "f", "g"]
    for i in range(3700):
        rows.append(number(f"p{i % 80}", generator.random(), generator.random(), f"q{i % 8}", f"t{i}"))
        if i < 700:
            rows.append(closed(f"p{i % 80}", generator.choice(labels), generator.choice(labels), trial=f"t{i}"))
    start = time.process_time()
    metrics.summarise(rows, 1000, 0)
    assert time.process_time() - start < 5.0
