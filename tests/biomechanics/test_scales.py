"""Points of clinical scales follow the published limits, or come with the reason why they cannot be given."""

import numpy as np
import pytest

from biomechgpt_jax.biomechanics import scores
from biomechgpt_jax.biomechanics.scores.scales import sppb_balance, sppb_chair, sppb_walk


# The tables of the Short Physical Performance Battery, at their limits and just beside them.
@pytest.mark.parametrize(("seconds", "points"), [(11.1, 4), (11.2, 3), (13.6, 3), (13.7, 2), (16.6, 2), (16.7, 1),
                                                 (60.0, 1), (60.1, 0), (np.inf, 0)])  # fmt: skip
def test_sppb_chair(seconds, points) -> None:
    assert sppb_chair(seconds) == points


@pytest.mark.parametrize(("seconds", "points"), [(4.81, 4), (4.82, 3), (6.20, 3), (6.21, 2), (8.70, 2), (8.71, 1)])
def test_sppb_walk(seconds, points) -> None:
    """Seconds over four metres."""
    assert sppb_walk(4.0 / seconds) == points


@pytest.mark.parametrize(
    ("held", "points"),
    [((9, 10, 10), 0), ((10, 9.9, 10), 1), ((10, 10, 2.9), 2), ((10, 10, 3), 3), ((10, 10, 9.9), 3), ((10, 10, 10), 4)],
)
def test_sppb_balance(held, points) -> None:
    assert sppb_balance(*held) == points


def test_sppb_adds_up_or_says_what_is_missing() -> None:
    assert [p.points for p in scores.sppb(10, 10, 10, 11.1, 1.0)] == [4, 4, 4, 12]
    assert [p.points for p in scores.sppb(10, 10, 5, 16.7, 0.5)] == [3, 1, 2, 6]
    assert [p.points for p in scores.sppb(10, 4, 0, np.inf, 0.4)] == [1, 0, 1, 2]
    total = scores.sppb(chair_s=12.0)[-1]
    assert total.points is None and "walk" in total.reason


def points_of(items) -> dict[str, int | None]:
    return {item.name: item.points for item in items}


def test_berg_and_fga_follow_their_limits_and_give_a_reason_for_the_rest() -> None:
    leg = [points_of(scores.berg_items(single_leg_s=s))["berg single-leg stance"] for s in (2.0, 3.0, 5.0, 10.0, 10.1)]
    assert leg == [None, 2, 3, 3, 4]
    reach = [points_of(scores.berg_items(reach_cm=cm))["berg reaching forward"] for cm in (5.0, 5.1, 12.1, 25.1)]
    assert reach == [None, 2, 3, 4]
    assert [points_of(scores.berg_items(tandem_s=s))["berg tandem stance"] for s in (29.0, 30.0)] == [None, 4]
    assert [points_of(scores.fga_items(tandem_steps=n))["fga narrow base"] for n in (3, 4, 7, 10)] == [0, 1, 2, 3]
    level = [(5.4, 0, False), (5.5, 0, False), (5.4, 0, True), (5.4, 15.3, False), (7.0, 0, False), (6.0, 38.1, False)]
    assert [scores.fga_items(*walk)[0].points for walk in level] == [3, 2, 2, 2, 1, 0]
    berg, fga = scores.berg_items(), scores.fga_items()
    assert len(berg) == 14 and len(fga) == 10
    assert all(item.points is None and item.reason for item in (*berg, *fga))


def test_the_proxy_is_called_a_proxy_and_follows_speed_step_and_swing() -> None:
    well = scores.updrs_gait_proxy(1.3, 0.68, 1.7, False, np.radians(30))
    assert "proxy" in well.name and well.points == 0
    assert scores.updrs_gait_proxy(1.3, 0.68, 1.7, False, np.radians(5)).points == 1
    assert scores.updrs_gait_proxy(0.6, 0.35, 1.7, False).points == 2
    assert scores.updrs_gait_proxy(1.3, 0.68, 1.7, True).points == 3
