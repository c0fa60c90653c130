"""Where healthy lies is told by healthy people's own answers, cautiously where they are few."""

import numpy as np
import pytest

from biomechgpt_jax.answering import normal_range


def test_many_healthy_people_set_their_own_threshold() -> None:
    """A tenth of people like them lies above it."""
    rng = np.random.default_rng(0)
    limit = normal_range.threshold([[value] for value in rng.normal(2.0, 1.5, 400)])
    assert np.mean(rng.normal(2.0, 1.5, 20_000) > limit) == pytest.approx(0.10, abs=0.02)


def test_few_people_move_it_a_little() -> None:
    one, many = normal_range.threshold([[3.0]]), normal_range.threshold([[3.0]] * 50)
    assert 0.0 < one < 0.5 * many


def test_nobody_and_people_who_are_answered_healthy_leave_it_where_it_is() -> None:
    assert normal_range.threshold([]) == 0.0
    assert normal_range.threshold([[-4.0], [-3.0], [-5.0]]) == 0.0


def test_a_persons_recordings_count_once() -> None:
    assert normal_range.threshold([[0.0, 4.0] * 20, [1.0]]) == pytest.approx(normal_range.threshold([[2.0], [1.0]]))


def test_the_order_of_answers_stays() -> None:
    limit = 1.2
    before = [{"no": 1 - p, "yes": p} for p in (0.1, 0.5, 0.77, 0.99)]
    after = [normal_range.shift(options, limit) for options in before]
    assert [options["yes"] > 0.5 for options in after] == [False, False, True, True]
    assert all(sum(options.values()) == pytest.approx(1.0) for options in after)
    assert normal_range.logit(after[0]) == pytest.approx(normal_range.logit(before[0]) - limit)


def test_what_is_said_of_a_threshold_is_true_of_it() -> None:
    assert normal_range.words(0.0, 30).endswith("0.50 as without normals; 30 healthy people call for no more")
    assert normal_range.words(0.0, 1).endswith("0.50 as without normals; 1 healthy person calls for no more")
    assert "of 0.73, so that about one in 10 healthy people" in normal_range.words(1.0, 12)
