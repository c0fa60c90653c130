"""The protocol: which activities a participant performs, in which order."""

import difflib
from collections.abc import Callable

import numpy as np

from biomechgpt_jax.cohort.activities.arms import box_and_block, finger_to_nose, functional_reach
from biomechgpt_jax.cohort.activities.balance import single_leg_stance, tandem_stance
from biomechgpt_jax.cohort.activities.locomotion import (
    timed_up_and_go,
    walk,
    walk_backward,
    walk_curved,
    walk_heel_to_toe,
    walk_on_treadmill,
)
from biomechgpt_jax.cohort.activities.squares import four_square_step
from biomechgpt_jax.cohort.activities.stairs import stairs
from biomechgpt_jax.cohort.activities.standing import balance, heel_raise, squat
from biomechgpt_jax.cohort.activities.transfers import chair_rise, sit_to_stand
from biomechgpt_jax.cohort.footing.performance import Performance
from biomechgpt_jax.cohort.people.participants import Participant
from biomechgpt_jax.cohort.people.styles import Style
from biomechgpt_jax.errors import InputError

Build = Callable[[Participant, Style, np.random.Generator], Performance]

# What every participant performs, in this order, until the cohort is long enough. A trial's randomness depends on its
# key, so neither the order nor the other activities affect it.
PROTOCOL: tuple[tuple[str, Build], ...] = (
    ("walk_free", lambda p, s, r: walk(p, s, r, "free")),
    ("tug", timed_up_and_go),
    ("chair_rise", chair_rise),
    ("balance_open", lambda p, s, r: balance(p, s, r, "open")),
    ("squat", squat),
    ("tandem", walk_heel_to_toe),
    ("walk_slow", lambda p, s, r: walk(p, s, r, "slow")),
    ("walk_fast", lambda p, s, r: walk(p, s, r, "fast")),
    ("balance_closed", lambda p, s, r: balance(p, s, r, "closed")),
    ("sit_to_stand", sit_to_stand),
    ("heel_raise", heel_raise),
    ("tandem_stance", tandem_stance),
    ("single_leg_stance", single_leg_stance),
    ("functional_reach", functional_reach),
    ("finger_to_nose", finger_to_nose),
    ("box_and_block", box_and_block),
    ("walk_dual_task", lambda p, s, r: walk(p, s, r, "dual task")),
    ("walk_curved", walk_curved),
    ("walk_treadmill", walk_on_treadmill),
    ("backward", walk_backward),
    ("stairs_up", lambda p, s, r: stairs(p, s, r, True)),
    ("stairs_down", lambda p, s, r: stairs(p, s, r, False)),
    ("four_square", four_square_step),
)
WITH_DEVICE = frozenset({"walk_free", "walk_slow", "walk_fast", "walk_dual_task", "walk_curved", "tug"})


def select(keys: tuple[str, ...]) -> tuple[tuple[str, Build], ...]:
    """The whole protocol, or the named part of it in the protocol's order.

    Args:
        keys: keys of `PROTOCOL`; empty selects all of it.

    Raises:
        InputError: a key is not in the protocol.
    """
    known = [key for key, _ in PROTOCOL]
    for key in keys:
        if key not in known:
            near = difflib.get_close_matches(key, known, 1, 0.0)[0]
            raise InputError(f"cohort.activities: no activity is called {key!r}; did you mean {near!r}?")
    return tuple(item for item in PROTOCOL if not keys or item[0] in keys)
