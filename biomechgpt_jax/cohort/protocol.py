"""What a participant performs, in which order."""

from collections.abc import Callable

import numpy as np

from biomechgpt_jax.cohort.impairments import Style
from biomechgpt_jax.cohort.locomotion import tandem, timed_up_and_go, walk
from biomechgpt_jax.cohort.participants import Participant
from biomechgpt_jax.cohort.performance import Performance
from biomechgpt_jax.cohort.standing import balance, squat
from biomechgpt_jax.cohort.transfers import chair_rise

Build = Callable[[Participant, Style, np.random.Generator], Performance]

# What every participant performs, in this order, until the cohort is long enough. The first nine are one session.
PROTOCOL: tuple[tuple[str, Build], ...] = (
    ("walk_free", lambda p, s, r: walk(p, s, r, "free")),
    ("tug", timed_up_and_go),
    ("chair_rise", chair_rise),
    ("balance", balance),
    ("squat", squat),
    ("tandem", tandem),
    ("walk_slow", lambda p, s, r: walk(p, s, r, "slow")),
    ("walk_fast", lambda p, s, r: walk(p, s, r, "fast")),
)
WITH_DEVICE = frozenset({"walk_free", "walk_slow", "walk_fast", "tug"})
