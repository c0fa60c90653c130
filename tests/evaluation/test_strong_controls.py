"""The strong controls read what is there, on either side and in any direction, and nothing that was not observed."""

import dataclasses

import fabricated
import numpy as np
import pytest

from biomechgpt_jax import config
from biomechgpt_jax.answering.asked import Asked, prediction
from biomechgpt_jax.biomechanics.skeleton import COORDINATE_COUNT, INDEX, MIRROR_PERMUTATION, mirror
from biomechgpt_jax.biomechanics.trajectory import Metadata, Trajectory, Trial
from biomechgpt_jax.errors import InputError
from biomechgpt_jax.evaluation import baselines, comparison, encoder, metrics, plain_features
from biomechgpt_jax.packing import crops

OBSERVED = np.ones(COORDINATE_COUNT, bool)


def turned(movement: np.ndarray, angle: float) -> np.ndarray:
    """The same movement in another direction: the pelvis' rotation comes last, about the vertical of an upright one."""
    made = movement.copy()
    x, z = movement[:, INDEX["pelvis_tx"]], movement[:, INDEX["pelvis_tz"]]
    made[:, INDEX["pelvis_tx"]] = np.cos(angle) * x + np.sin(angle) * z
    made[:, INDEX["pelvis_tz"]] = np.cos(angle) * z - np.sin(angle) * x
    made[:, INDEX["pelvis_rotation"]] += angle
    return made


def walks(count: int, seconds: float = 4.0) -> list[np.ndarray]:
    rng = np.random.default_rng(0)
    made = [fabricated.walk(seconds, 0.5 + 0.1 * (i % 8)) for i in range(count)]
    return [m + rng.normal(0, 0.01, m.shape).astype(np.float32) for m in made]


def test_plain_features_do_not_depend_on_side_heading_or_company():
    (movement,) = walks(1)
    movement[:, [INDEX["pelvis_tilt"], INDEX["pelvis_list"]]] = 0.0
    own = plain_features.describe([movement], [OBSERVED])
    assert np.isfinite(own).all() and own.shape[1] > 200
    for other in (mirror(movement), turned(movement, 1.3)):
        np.testing.assert_allclose(plain_features.describe([other], [OBSERVED]), own, rtol=0.02, atol=0.02)
    among = plain_features.describe([*walks(5, 7.0), movement, *walks(3, 2.0)], [OBSERVED] * 9)
    np.testing.assert_allclose(among[5], own[0], rtol=1e-3, atol=1e-3)


def test_plain_features_say_nothing_of_what_was_not_observed_or_hardly_lasts():
    (movement,) = walks(1)
    hidden = OBSERVED.copy()
    hidden[[INDEX[name] for name in ("wrist_flex_r", "pelvis_tx", "pelvis_ty", "knee_angle_r", "knee_angle_l")]] = False
    masked = plain_features.describe([movement], [hidden])
    changed = movement.copy()
    changed[:, ~hidden] = np.nan
    np.testing.assert_array_equal(masked, plain_features.describe([changed], [hidden]))
    # Whatever another movement of the hidden coordinates would change is NaN.
    other = movement.copy()
    other[:, ~hidden] = other[::-1, ~hidden] * np.linspace(0.5, 3.0, len(other), dtype=np.float32)[:, None]
    own, moved = (plain_features.describe([shown], [OBSERVED]) for shown in (movement, other))
    differs = ~np.isclose(own, moved, rtol=1e-3, atol=1e-3) & np.isfinite(own)
    differs[:, -3:] = False  # how long any angle moves, which the others still show
    assert (np.isnan(masked) >= differs).all() and differs.sum() > 30 and np.isfinite(masked).sum() > 200
    assert np.isnan(plain_features.describe([movement[:8]], [OBSERVED])).all()


def test_plain_features_hold_speed_and_cadence():
    def walk(hz: float, speed: float) -> np.ndarray:
        seconds = np.arange(240) / 30.0
        made = np.zeros((240, COORDINATE_COUNT), np.float32)
        made[:, INDEX["pelvis_tx"]] = speed * seconds
        made[:, INDEX["hip_flexion_r"]] = 0.4 * np.sin(2 * np.pi * hz * seconds)
        made[:, INDEX["hip_flexion_l"]] = -made[:, INDEX["hip_flexion_r"]]
        return made

    known = [(0.7, 0.5), (0.9, 1.4), (1.1, 0.8)]
    table = plain_features.describe([walk(*each) for each in known], [OBSERVED] * 3)
    for wanted in (np.array([hz for hz, _ in known]), np.array([speed for _, speed in known])):
        assert np.abs(table - wanted[:, None]).max(axis=0).min() < 0.02


def trial(i: int) -> Trial:
    """People who bend one knee more, whose speed tells nothing; the left one as often as the right."""
    rng = np.random.default_rng(i)
    sick = bool(rng.random() < 0.5)
    movement = fabricated.walk(float(rng.uniform(3.0, 6.0)), float(rng.uniform(0.5, 1.3)))
    knee = INDEX["knee_angle_r"] if i % 2 else INDEX["knee_angle_l"]
    movement[:, knee] += 0.3 * sick
    movement += rng.normal(0, 0.02, movement.shape).astype(np.float32)
    known = Metadata(participant=f"p{i:03d}", activity="walking", height_m=1.7)
    return Trial(f"t{i:03d}", Trajectory(movement, OBSERVED, 30.0, known), diagnosis="stroke" if sick else "healthy")


def truths(item: Trial) -> dict[str, str | float]:
    travelled = np.linalg.norm(np.diff(item.trajectory.coordinates[[0, -1]][:, :2], axis=0))
    return {
        "impairment": "no" if item.diagnosis == "healthy" else "yes",
        "walking_speed": float(travelled / item.trajectory.seconds),
    }


def questions(trials: list[Trial]) -> list[Asked]:
    made = []
    for item in trials:
        for name, truth in truths(item).items():
            closed = isinstance(truth, str)
            made.append(
                Asked(
                    trial=item.trial_id,
                    participant=item.participant,
                    coordinates=item.trajectory.coordinates,
                    observed=OBSERVED,
                    rate_hz=30.0,
                    start_s=0.0,
                    family=name if closed else "gait",
                    question=name,
                    kind="closed" if closed else "number",
                    unit="" if closed else "m/s",
                    phrasing="?",
                    truth=truth,
                )
            )
    return made


@pytest.fixture(scope="module")
def people() -> tuple[list[Trial], list[Trial]]:
    return [trial(i) for i in range(160)], [trial(i) for i in range(500, 560)]


def test_features_read_what_a_weak_control_does_not(people):
    train, test = map(questions, people)
    strong = metrics.summarise(baselines.answers("features", train, test, 0), 0, 0)
    weak = metrics.summarise(baselines.answers("speed_only", train, test, 0), 0, 0)
    assert strong["impairment"]["auroc"] > 0.95 > 0.7 > weak["impairment"]["auroc"]
    assert strong["gait"]["walking_speed"]["r"] > 0.97


def test_the_encoder_learns_from_movement_and_answers_every_question(people, monkeypatch):
    monkeypatch.setattr(crops, "answerable", lambda item, crop, cfg: truths(item))
    cfg = dataclasses.replace(config.Experiment(name="toy"), evaluation=config.Evaluation(encoder_steps=60))
    train, test = map(questions, people)
    made = encoder.answers(people[0], train, [*test, dataclasses.replace(test[0], question="cadence")], cfg)
    assert [(row["trial"], row["question"]) for row in made] == [(item.trial, item.question) for item in test]
    found = metrics.summarise(made, 0, 0)
    assert found["impairment"]["auroc"] > 0.95 and found["gait"]["walking_speed"]["r"] > 0.9
    assert all(sum(row["options"].values()) == pytest.approx(1) for row in made if row["kind"] == "closed")


def test_an_encoder_answers_a_crop_as_its_mirror_image_and_alone_as_in_company(people, monkeypatch):
    monkeypatch.setattr(crops, "answerable", lambda item, crop, cfg: truths(item))
    train = questions(people[0])
    cfg = dataclasses.replace(config.Experiment(name="toy"), evaluation=config.Evaluation(encoder_steps=1))
    made = encoder.train(people[0], train, cfg)
    movements = walks(30, 3.0)
    hidden = OBSERVED.copy()
    hidden[INDEX["elbow_flex_r"]] = False
    every = made.outputs(movements, [hidden] * 30)
    np.testing.assert_allclose(made.outputs(movements[7:8], [hidden])[0], every[7], atol=2e-5)
    other = made.outputs([mirror(movements[7])], [hidden[MIRROR_PERMUTATION]])
    np.testing.assert_allclose(other[0], every[7], atol=2e-4)


def test_an_encoder_refuses_trials_of_which_nothing_is_known(people, monkeypatch):
    monkeypatch.setattr(crops, "answerable", lambda item, crop, cfg: {})
    with pytest.raises(InputError, match="do they have labels"):
        encoder.train(people[0], questions(people[0]), config.Experiment(name="toy"))


def test_differences_are_paired_by_participant_over_all_questions_of_a_family(people):
    test = [item for item in questions([trial(i) for i in range(300)]) if item.kind == "number"]
    other = [dataclasses.replace(item, question="stride_length", truth=2 * float(item.truth)) for item in test]
    rng = np.random.default_rng(0)

    def answered(noise: float) -> list:
        return [prediction(item, float(item.truth) + noise * rng.normal(), None) for item in [*test, *other]]

    good, bad = answered(0.05), answered(0.8)
    gap = comparison.compare(good, bad, "gait", 200, 0)
    own = [comparison.measure(rows, "gait", 0, 0).value for rows in (good, bad)]
    by_hand = [
        np.mean([metrics.measure(rows[:300], "r", 0, 0).value, metrics.measure(rows[300:], "r", 0, 0).value])
        for rows in (good, bad)
    ]
    assert own == pytest.approx(by_hand) and gap.value == pytest.approx(own[0] - own[1])
    assert 0 < gap.interval[0] < gap.value < gap.interval[1]
    said = comparison.describe(comparison.compare_with_controls({"model": bad, "features": good}, 200, 0))
    assert len(said) == 1 and "it loses in mean r of gait parameters" in said[0]
