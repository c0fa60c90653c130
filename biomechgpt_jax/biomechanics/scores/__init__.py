"""Clinical tests, measured on a trajectory by their published rules."""

from biomechgpt_jax.biomechanics.scores.assess import Refusal, assess, in_words
from biomechgpt_jax.biomechanics.scores.balance import held_stance, single_leg_stance, tandem_stance
from biomechgpt_jax.biomechanics.scores.body import Phase, Result
from biomechgpt_jax.biomechanics.scores.reach import box_and_block, functional_reach
from biomechgpt_jax.biomechanics.scores.scales import (
    Points,
    berg_items,
    fga_items,
    rater_noise,
    sppb,
    stopwatch,
    updrs_gait_proxy,
)
from biomechgpt_jax.biomechanics.scores.squares import four_square_step
from biomechgpt_jax.biomechanics.scores.timed import five_times_sit_to_stand, sit_to_stand, timed_up_and_go
from biomechgpt_jax.biomechanics.scores.walks import full_turns, level_walk, tandem_steps, ten_metre_walk

__all__ = [
    "Phase",
    "Points",
    "Refusal",
    "Result",
    "assess",
    "berg_items",
    "box_and_block",
    "fga_items",
    "five_times_sit_to_stand",
    "four_square_step",
    "full_turns",
    "functional_reach",
    "held_stance",
    "in_words",
    "level_walk",
    "rater_noise",
    "single_leg_stance",
    "sit_to_stand",
    "sppb",
    "stopwatch",
    "tandem_stance",
    "tandem_steps",
    "ten_metre_walk",
    "timed_up_and_go",
    "updrs_gait_proxy",
]
