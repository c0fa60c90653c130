"""Timed tests are measured on the movement; ordinal items follow the published limits or say why they cannot."""

import numpy as np
import pytest

from biomechgpt_jax.biomechanics import scores
from biomechgpt_jax.biomechanics.skeleton import COORDINATE_COUNT, INDEX
from biomechgpt_jax.biomechanics.trajectory import Metadata, Trajectory
from biomechgpt_jax.errors import InputError


def movement(seconds: float, rate_hz: float = 30.0, **columns) -> Trajectory:
    """Standing still but for the named coordinates, each a function of time in seconds."""
    time = np.arange(round(seconds * rate_hz)) / rate_hz
    q = np.zeros((len(time), COORDINATE_COUNT), np.float32)
    q[:, INDEX["pelvis_ty"]] = 0.95
    for name, course in columns.items():
        q[:, INDEX[name]] = course(time)
    return Trajectory(q, np.ones(COORDINATE_COUNT, bool), rate_hz, Metadata(height_m=1.7))


@pytest.mark.parametrize("speed", [0.4, 1.25])
def test_ten_metres_at_a_steady_speed(speed) -> None:
    walk = movement(11 / speed, pelvis_tz=lambda t: -speed * t)
    assert scores.ten_metre_walk(walk).value == pytest.approx(10 / speed, rel=1e-3)


def test_five_stands_last_from_the_first_lean_to_the_fifth_stand() -> None:
    def squeeze(t):
        """1 seated, 0 standing: stands begin at 1, 3, 5, 7, 9 s and last 1 s."""
        inside = (t >= 1) & (t < 10)
        share = 0.5 - 0.5 * np.cos(np.pi * np.clip(t - 1, 0, 9))
        return 1 - np.where(inside, share, (t >= 10).astype(float))

    found = scores.five_times_sit_to_stand(
        movement(
            12,
            hip_flexion_r=lambda t: 1.4 * squeeze(t),
            hip_flexion_l=lambda t: 1.4 * squeeze(t),
            knee_angle_r=lambda t: 1.5 * squeeze(t),
            knee_angle_l=lambda t: 1.5 * squeeze(t),
            lumbar_extension=lambda t: -0.5 * np.sin(np.pi * np.clip(t - 1, 0, 9)) ** 2,
        )
    )
    assert found.value == pytest.approx(9.0, abs=0.4) and len(found.phases) == 5


def test_what_is_not_in_the_movement_is_refused() -> None:
    still = movement(5)
    for test in (
        scores.timed_up_and_go,
        scores.five_times_sit_to_stand,
        scores.ten_metre_walk,
        scores.four_square_step,
        scores.single_leg_stance,
        scores.tandem_stance,
        scores.functional_reach,
    ):
        with pytest.raises(InputError):
            test(still)


def test_sppb_adds_up_or_says_what_is_missing() -> None:
    assert [p.points for p in scores.sppb(10, 10, 10, 11.1, 1.0)] == [4, 4, 4, 12]
    assert [p.points for p in scores.sppb(10, 10, 5, 16.7, 0.5)] == [3, 1, 2, 6]
    assert [p.points for p in scores.sppb(10, 4, 0, np.inf, 0.4)] == [1, 0, 1, 2]
    total = scores.sppb(chair_s=12.0)[-1]
    assert total.points is None and "walk" in total.reason


def test_items_follow_their_limits() -> None:
    leg = [scores.berg_items(single_leg_s=s)[1].points for s in (2.0, 3.0, 5.0, 10.0, 10.1)]
    assert leg == [None, 2, 3, 3, 4]
    reach = [scores.berg_items(reach_cm=cm)[2].points for cm in (4.0, 6.0, 13.0, 26.0)]
    assert reach == [None, 2, 3, 4]
    assert [scores.fga_items(tandem_steps=n)[1].points for n in (3, 4, 7, 10)] == [0, 1, 2, 3]
    assert scores.fga_items(5.0, 0.0, False)[0].points == 3 and scores.fga_items(5.0, 0.0, True)[0].points == 2
    assert "proxy" in scores.updrs_gait_proxy(1.2, 0.65, 1.7, False).name


def test_rater_noise_is_seeded_and_stays_on_the_scale() -> None:
    item = scores.berg_items(reach_cm=30.0)[2]
    drawn = [scores.rater_noise(item, np.random.default_rng(i), 0.5).points for i in range(50)]
    assert drawn == [scores.rater_noise(item, np.random.default_rng(i), 0.5).points for i in range(50)]
    assert set(drawn) == {3, 4}
