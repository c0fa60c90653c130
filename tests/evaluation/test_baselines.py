"""Controls beat the constant answer where their feature carries a signal, and only there."""

import numpy as np
import pytest

from biomechgpt_jax.answering.asked import Asked
from biomechgpt_jax.biomechanics.skeleton import COORDINATE_COUNT, INDEX
from biomechgpt_jax.evaluation import baselines, metrics

OBSERVED = np.ones(COORDINATE_COUNT, bool)


def crops(first, count, signal, seed):
    """Questions about people who walk at their own speed; with a signal, the slow ones are impaired."""
    generator = np.random.default_rng(seed)
    rows = []
    for i in range(count):
        impaired = generator.random() < 0.5
        walked = generator.uniform(0.4, 0.8) if impaired and signal else generator.uniform(0.8, 1.4)
        frames = int(generator.integers(60, 200))
        coordinates = generator.normal(0, 0.01, (frames, COORDINATE_COUNT)).astype(np.float32)
        heading = generator.uniform(0, 2 * np.pi)
        seconds = np.arange(frames) / 30.0
        coordinates[:, INDEX["pelvis_tx"]] += walked * seconds * np.cos(heading)
        coordinates[:, INDEX["pelvis_tz"]] += walked * seconds * np.sin(heading)
        common = dict(
            trial=f"t{first + i}",
            participant=f"p{(first + i) // 2}",
            coordinates=coordinates,
            observed=OBSERVED,
            rate_hz=30.0,
            start_s=0.0,
            phrasing="?",
        )
        rows.append(
            Asked(
                **common,
                family="impairment",
                question="impairment",
                kind="closed",
                unit="",
                truth="yes" if impaired else "no",
            )
        )
        rows.append(
            Asked(
                **common,
                family="gait",
                question="walking_speed",
                kind="number",
                unit="m/s",
                truth=float(walked),
            )
        )
    return rows


def test_speed_is_that_of_the_path_and_noise_does_not_lengthen_it():
    rows = crops(0, 20, True, 5)
    for row in rows[1::2]:
        net, along = baselines.speed(row.coordinates, row.observed, row.rate_hz)
        assert net == pytest.approx(row.truth, abs=0.03)
        assert along == pytest.approx(row.truth, abs=0.1)
    hidden = OBSERVED.copy()
    hidden[INDEX["pelvis_tx"]] = False
    assert np.isnan(baselines.speed(rows[0].coordinates, hidden, 30.0)).all()


@pytest.mark.parametrize("signal", [True, False])
def test_speed_only_finds_a_signal_that_is_there_and_none_that_is_not(signal):
    train, test = crops(0, 300, signal, 1), crops(1000, 200, signal, 2)
    by_speed = baselines.answers("speed_only", train, test, 0)
    constant = baselines.answers("constant", train, test, 0)
    auroc = metrics.measure([row for row in by_speed if row["family"] == "impairment"], "auroc", 500, 0)
    gain = metrics.compare(by_speed[::2], constant[::2], "accuracy", 500, 0)
    if signal:
        assert auroc.interval[0] > 0.9 and gain.interval[0] > 0.2
    else:
        assert auroc.interval[0] < 0.5 < auroc.interval[1] + 0.05 and gain.interval[0] < 0.05
    error = metrics.compare(by_speed[1::2], constant[1::2], "mae", 500, 0)
    assert error.interval[1] < 0  # speed itself is always there


def test_length_only_and_mean_pose_do_not_see_speed():
    train, test = crops(0, 300, True, 1), crops(1000, 200, True, 2)
    found = metrics.summarise(baselines.answers("length_only", train, test, 0), 300, 0)
    assert found["impairment"]["auroc"] == pytest.approx(0.5, abs=0.12)


def test_mean_pose_sees_a_posture_and_ignores_what_was_not_observed():
    train, test = crops(0, 200, False, 1), crops(1000, 100, False, 2)
    for row in train + test:
        if row.truth == "yes":
            row.coordinates[:, INDEX["lumbar_extension"]] = -0.5
    seen = metrics.summarise(baselines.answers("mean_pose", train, test, 0), 0, 0)
    assert seen["impairment"]["auroc"] > 0.95
    hidden = OBSERVED.copy()
    hidden[INDEX["lumbar_extension"]] = False
    masked = [Asked(**{**row.__dict__, "observed": hidden}) for row in train + test]
    blind = metrics.summarise(baselines.answers("mean_pose", masked[: len(train)], masked[len(train) :], 0), 0, 0)
    assert blind["impairment"]["auroc"] < 0.8


def test_constant_and_label_prior_hold_the_distribution_of_train():
    train, test = crops(0, 300, True, 1), crops(1000, 200, True, 2)
    truth = [row.truth for row in train if row.question == "impairment"]
    share = {label: truth.count(label) / len(truth) for label in ("yes", "no")}
    constant = baselines.answers("constant", train, test, 0)
    assert {row["answer"] for row in constant[::2]} == {max(share, key=share.get)}
    median = np.median([row.truth for row in train if row.question == "walking_speed"])
    assert {row["answer"] for row in constant[1::2]} == {median}
    drawn = baselines.answers("label_prior", train, test, 0)
    assert drawn[0]["options"] == pytest.approx(share)
    said = np.mean([row["answer"] == "yes" for row in drawn[::2]])
    assert said == pytest.approx(share["yes"], abs=0.12)
    assert drawn == baselines.answers("label_prior", train, test, 0)
    assert [row["trial"] for row in drawn] == [row.trial for row in test]


def test_the_tree_answers_only_the_diagnosis_and_questions_unseen_in_train_are_left_out():
    train, test = crops(0, 60, True, 1), crops(1000, 20, True, 2)
    assert baselines.answers("mean_pose_tree", train, test, 0) == []
    only_speed = [row for row in train if row.question == "walking_speed"]
    assert {row["question"] for row in baselines.answers("constant", only_speed, test, 0)} == {"walking_speed"}
