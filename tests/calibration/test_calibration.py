"""Temperatures, conformal sets and intervals, and abstention, on answers whose truth is drawn from known chances."""

import json
import math

import numpy as np
import pytest

from biomechgpt_jax.answering.numbers import Distribution, summarise
from biomechgpt_jax.calibration import applied, conformal, stored, temperature
from biomechgpt_jax.errors import InputError
from biomechgpt_jax.evaluation import sureness

OPTIONS = ("healthy", "stroke", "parkinson", "amputee")


def row(participant, question, truth, trial="t", **more):
    kind = "closed" if "options" in more else "number"
    options = more.get("options", {})
    answer = max(options, key=options.get) if options else more.get("answer")
    fixed = {"trial": trial, "participant": participant, "family": question, "question": question, "kind": kind}
    said = {"phrasing": "?", "truth": truth, "answer": answer, "probability": options.get(answer), "unit": ""}
    return {**fixed, **said, "start_s": 0.0, "seconds": 8.0, **more}


def overconfident(rng, people, sharpness, options=OPTIONS, answers=1):
    """Truths drawn from softmax(logits), answers that claim softmax(sharpness * logits)."""
    rows = []
    for person in range(people):
        for trial in range(answers):
            logits = rng.normal(0, 1.5, len(options))
            chances = np.exp(logits) / np.exp(logits).sum()
            claimed = np.exp(sharpness * logits) / np.exp(sharpness * logits).sum()
            truth = str(rng.choice(options, p=chances))
            said = dict(zip(options, claimed.tolist(), strict=True))
            rows.append(row(f"p{person}", "diagnosis", truth, f"t{trial}", options=said))
    return rows


def test_the_temperature_of_answers_that_are_too_sure_is_found():
    rows = overconfident(np.random.default_rng(0), 1500, 2.5)
    found, bias = temperature.fit(rows)
    assert found == pytest.approx(2.5, rel=0.1) and bias == 0.0
    cooled = [{**one, "options": temperature.scale(one["options"], found, bias)} for one in rows]
    cooled = [{**one, "probability": one["options"][one["answer"]]} for one in cooled]
    assert sureness.error(rows) > 0.1
    assert abs(sureness.error(cooled) - sureness.expected_error(cooled, 0)) < 0.01


def test_a_bias_of_yes_is_found_and_only_there():
    rng = np.random.default_rng(1)
    rows = []
    for person in range(3000):
        logit = rng.normal(0, 2)
        truth = "yes" if rng.random() < 1 / (1 + math.exp(-logit + 0.5)) else "no"
        yes = 1 / (1 + math.exp(-logit))
        rows.append(row(f"p{person}", "impairment", truth, options={"yes": yes, "no": 1 - yes}))
    scale, bias = temperature.fit(rows)
    assert scale == pytest.approx(1.0, abs=0.1) and bias == pytest.approx(-0.5, abs=0.1)
    assert temperature.scale({"yes": 0.5, "no": 0.5}, 1.0, -1.0)["yes"] == pytest.approx(1 / (1 + math.e))


def test_a_person_counts_once_however_many_answers_they_have():
    """One person of a thousand confident errors must not outweigh a hundred people who are right."""
    right = [row(f"p{i}", "diagnosis", "stroke", options={"stroke": 0.9, "healthy": 0.1}) for i in range(100)]
    wrong = [row("many", "diagnosis", "healthy", f"t{i}", options=right[0]["options"]) for i in range(1000)]
    assert temperature.fit(right + wrong)[0] == pytest.approx(temperature.fit([*right, wrong[0]])[0], rel=1e-4)


def test_a_question_that_is_always_right_keeps_a_finite_temperature():
    rows = [row(f"p{i}", "activity", "stroke", options={"stroke": 0.99, "healthy": 0.01}) for i in range(60)]
    assert 0.4 < temperature.fit(rows)[0] < 1.0


def test_sets_hold_the_truth_of_nine_people_in_ten():
    held, size = [], []
    for seed in range(60):
        rng = np.random.default_rng(seed)
        rows = overconfident(rng, 120, 2.0)
        fitted = stored.fit(rows[:60], "x")
        after = [applied.apply(fitted, one) for one in rows[60:]]
        held += [one["truth"] in one["set"] for one in after]
        size += [len(one["set"]) for one in after]
    assert 0.88 < np.mean(held) < 0.93
    assert 1.0 < np.mean(size) < 3.0


def speeds(rng, people, claimed_sd):
    """Truths about 1.0 with a standard deviation of 0.1, and answers that claim another; written with one decimal."""
    values = np.round(np.arange(0.0, 2.01, 0.1), 1)
    rows = []
    for person in range(people):
        middle = rng.normal(1.0, 0.25)
        chances = np.exp(-0.5 * ((values - middle) / claimed_sd) ** 2)
        said = summarise(Distribution(values, chances / chances.sum()), 1, "m/s")
        rows.append(row(f"p{person}", "speed", middle + rng.normal(0, 0.1), **said))
    return rows


@pytest.mark.parametrize("claimed_sd", [0.04, 0.1, 0.3])
def test_intervals_hold_nine_in_ten_whatever_the_model_claims(claimed_sd):
    held = []
    for seed in range(60):
        rows = speeds(np.random.default_rng(seed), 120, claimed_sd)
        fitted = stored.fit(rows[:60], "x")
        for one in rows[60:]:
            low, high = applied.apply(fitted, one)["interval"]
            held.append(low - 1e-9 <= round(one["truth"], 1) <= high + 1e-9)
    assert 0.88 < np.mean(held) < 0.94


def test_too_few_people_fit_no_set_and_no_interval():
    rng = np.random.default_rng(0)
    few = conformal.FEWEST_PEOPLE - 1
    fitted = stored.fit(overconfident(rng, few, 2.0) + speeds(rng, few, 0.1), "x")
    closed, number = overconfident(rng, 1, 2.0)[0], speeds(rng, 1, 0.1)[0]
    assert "set" not in applied.apply(fitted, closed)
    assert applied.apply(fitted, number) == number


def test_a_question_that_was_not_fitted_is_left_as_it_is():
    one = overconfident(np.random.default_rng(0), 1, 2.0)[0]
    assert applied.apply(stored.UNCALIBRATED, one) == one
    assert applied.doubt(stored.UNCALIBRATED, {**one, "probability": 0.1}) == ""


def test_abstains_where_an_answer_is_likelier_wrong_or_tells_nothing():
    rng = np.random.default_rng(3)
    fitted = stored.fit(overconfident(rng, 60, 1.0) + speeds(rng, 60, 0.1), "x")
    sure = row("q", "diagnosis", "", options={"stroke": 0.97, "healthy": 0.01, "parkinson": 0.01, "amputee": 0.01})
    torn = row("q", "diagnosis", "", options={"stroke": 0.3, "healthy": 0.25, "parkinson": 0.25, "amputee": 0.2})
    assert applied.doubt(fitted, applied.apply(fitted, sure)) == ""
    assert "wrong in" in applied.doubt(fitted, applied.apply(fitted, torn))
    assert applied.doubt(fitted, applied.apply(fitted, torn), risk=0.95) == ""
    told, vague = speeds(rng, 1, 0.1)[0], speeds(rng, 1, 2.0)[0]
    assert applied.doubt(fitted, applied.apply(fitted, told)) == ""
    assert "people in general" in applied.doubt(fitted, applied.apply(fitted, vague))


def test_the_file_comes_back_and_a_damaged_one_is_refused(tmp_path):
    rng = np.random.default_rng(0)
    few = speeds(rng, 3, 0.1)
    fitted = stored.fit(overconfident(rng, 60, 2.0) + few, "the training")
    path = tmp_path / "calibration.json"
    stored.write(path, fitted)
    again = stored.read(path)
    assert again.training == "the training" and again.questions["diagnosis"] == fitted.questions["diagnosis"]
    assert math.isnan(again.questions["speed"].reach) and again.questions["speed"].people == 3
    whole = json.loads(path.read_text())
    for damage in (
        lambda value: value.pop("kind"),
        lambda value: value["questions"]["diagnosis"].update(temperature=0),
        lambda value: value["questions"]["diagnosis"].update(temperature="hot"),
        lambda value: value["questions"]["diagnosis"].update(colour=1),
        lambda value: value.update(questions=[1]),
    ):
        value = json.loads(json.dumps(whole))
        damage(value)
        path.write_text(json.dumps(value))
        with pytest.raises(InputError, match="run `biomechgpt calibrate` again"):
            stored.read(path)
    path.write_text("{")
    with pytest.raises(InputError, match="damaged"):
        stored.read(path)


def test_the_chance_error_of_people_with_one_truth_is_drawn_by_person():
    """Answers about one person come true together, so that fewer people leave more to chance."""
    rng = np.random.default_rng(0)
    single = overconfident(rng, 200, 1.0)
    repeated = [{**one, "trial": f"t{copy}"} for one in single for copy in range(5)]
    alone, together = sureness.expected_error(single, 0), sureness.expected_error(repeated, 0)
    assert together == pytest.approx(alone, rel=0.15)
    mixed = [{**one, "truth": one["truth"] if int(one["trial"][1:]) else "x"} for one in repeated]
    assert sureness.expected_error(mixed, 0) < 0.7 * alone


def test_accuracy_rises_with_what_is_left_unanswered():
    rows = overconfident(np.random.default_rng(0), 2000, 1.0)
    found = sureness.accuracy_answered(rows)
    assert found["1"] < found["0.8"] < found["0.5"]


def test_numbers_lend_each_other_what_few_people_tell():
    rng = np.random.default_rng(0)
    narrow = [{**one, "question": "narrow"} for one in speeds(rng, 30, 0.04)]
    wide = [{**one, "question": "wide"} for one in speeds(rng, 30, 0.4)]
    alone = [stored.fit(rows, "x").questions[name].reach for name, rows in (("narrow", narrow), ("wide", wide))]
    both = stored.fit(narrow + wide, "x").questions
    assert alone[1] < both["wide"].reach < both["narrow"].reach < alone[0]
