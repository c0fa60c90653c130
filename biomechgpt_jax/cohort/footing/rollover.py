"""How a foot rolls over the floor in walking: when the heel comes off and when the forefoot lets go."""

from dataclasses import replace

import numpy as np

from biomechgpt_jax.biomechanics.trajectory import LEFT, RIGHT
from biomechgpt_jax.cohort.footing.schedule import BALL, HEEL, Bout, FootContact, smooth_step
from biomechgpt_jax.cohort.people.styles import Style

# Shares of the stance before toe off. The heel comes off at a third of the cycle, as the ankle of the norms implies;
# before toe off the forefoot rolls over the tips of the toes, so that the metatarsal heads leave the floor a little
# early.
HEEL_OFF, HEEL_FREE = 0.55, 0.32
FOREFOOT_OFF = 0.08
FOREFOOT_FREE_S = 0.03
_LONGEST_S = 1.6
_LONG_AGO = 100.0


def roll_over(contact: FootContact, steps: Bout, time: np.ndarray, style: Style) -> FootContact:
    """The same contacts, with each foot released as it rolls over.

    A foot that cannot push off, such as a prosthesis, bends instead of the ankle: its heel is released earlier.

    Args:
        time: times of the frames in seconds [T].

    Returns:
        A new schedule, which never holds a foot longer.
    """
    weight = contact.weight.copy()
    for foot, leg in ((RIGHT, style.right), (LEFT, style.left)):
        early = HEEL_OFF + leg.keel
        free = min(HEEL_FREE + leg.keel, early - 0.1)
        for strike, lift in steps.stances(foot):
            if lift > _LONG_AGO:
                continue
            span = min(lift - max(strike, time[0] - 1.0), _LONGEST_S)
            own = (time >= strike - 0.1) & (time <= lift + 0.1)
            heel = 1 - smooth_step(time[own], lift - early * span, lift - free * span)
            ball = 1 - smooth_step(time[own], lift - (FOREFOOT_OFF + 0.3 * leg.keel) * span, lift + FOREFOOT_FREE_S)
            weight[own, foot, HEEL] *= heel
            weight[own, foot, BALL] *= ball
    return replace(contact, weight=weight.astype(np.float32))
