"""Clinical tests measured on a trajectory by their published rules."""

from biomechgpt_jax.biomechanics.scores.balance import functional_reach, single_leg_stance, tandem_stance
from biomechgpt_jax.biomechanics.scores.scales import berg_items, fga_items, rater_noise, sppb, updrs_gait_proxy
from biomechgpt_jax.biomechanics.scores.timed import (
    five_times_sit_to_stand,
    four_square_step,
    ten_metre_walk,
    timed_up_and_go,
)

__all__ = [
    "berg_items",
    "fga_items",
    "five_times_sit_to_stand",
    "four_square_step",
    "functional_reach",
    "rater_noise",
    "single_leg_stance",
    "sppb",
    "tandem_stance",
    "ten_metre_walk",
    "timed_up_and_go",
    "updrs_gait_proxy",
]
