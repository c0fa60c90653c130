"""Where healthy lies for a laboratory: the threshold of the impairment question by its own healthy recordings.

Healthy strangers' recordings differ from those a model was trained on in more than constant offsets, and the model
takes some of that for impairment. Its logits of healthy people recorded in the same way say how much.
"""

from collections.abc import Mapping, Sequence

import numpy as np

# Share of healthy people who may be called impaired, and how many SD above the mean of a normal variable that is.
FALSE_ALARMS, _ABOVE = 0.10, 1.2816
# What is assumed before anybody is seen counts as so many people, whose threshold is 0 (a probability of one half) and
# whose logits have this SD.
_PRIOR_PEOPLE, _PRIOR_SD = 2.0, 1.0


def logit(options: Mapping[str, float]) -> float:
    """The logit of "yes" from the probabilities of a yes-or-no question."""
    return float(np.log(max(options["yes"], 1e-9)) - np.log(max(options["no"], 1e-9)))


def threshold(logits: Sequence[Sequence[float]]) -> float:
    """The logit that a share FALSE_ALARMS of healthy people would reach, never below 0.

    Args:
        logits: of each healthy person's recordings; their mean counts. Nobody: 0.
    """
    people = np.array([np.mean(one) for one in logits])
    count = len(people)
    if not count:
        return 0.0
    squares = ((people - people.mean()) ** 2).sum() + _PRIOR_PEOPLE * _PRIOR_SD**2
    spread = np.sqrt(squares / (count - 1 + _PRIOR_PEOPLE))
    return max(0.0, float(count / (count + _PRIOR_PEOPLE) * (people.mean() + _ABOVE * spread)))


def words(threshold: float, people: int) -> str:
    """What a threshold means, on one line."""
    normals, call = ("1 healthy person", "calls") if people == 1 else (f"{people} healthy people", "call")
    if not threshold:
        return f"impairment: counted from a probability of 0.50 as without normals; {normals} {call} for no more"
    chance = 1 / (1 + np.exp(-threshold))
    return (
        f"impairment: counted from a probability of {chance:.2f}, so that about one in {1 / FALSE_ALARMS:.0f} healthy "
        f"people recorded like your {normals} would be called impaired"
    )


def shift(options: Mapping[str, float], threshold: float) -> dict[str, float]:
    """Probabilities of a yes-or-no question whose logit is counted from a threshold."""
    yes = float(1 / (1 + np.exp(threshold - logit(options))))
    return {name: yes if name == "yes" else 1 - yes for name in options}
