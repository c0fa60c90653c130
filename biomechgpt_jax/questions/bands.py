"""Bands of numbers with a clinical meaning, which `ask` gives a probability.

Cut-offs differ between populations and authors; each stands here with its source.
"""

import math
from dataclasses import dataclass

from biomechgpt_jax.questions.truth import FALL_RISK_CUT_OFFS, FallRiskCutOff


@dataclass(frozen=True)
class Band:
    """The numbers from `low` to below `high`, in the unit of the question.

    Attributes:
        words: the band in words, such as "below 0.8 m/s".
        meaning: what it is taken to mean.
        source: of the cut-off.
    """

    words: str
    meaning: str
    low: float
    high: float
    source: str


def _of_fall_risk(cut: FallRiskCutOff) -> Band:
    words = f"{'at least' if cut.high_includes_limit else 'above'} {cut.high_from:.1f} s"
    low = cut.high_from if cut.high_includes_limit else math.nextafter(cut.high_from, math.inf)
    return Band(words, "a high risk of falling", low, math.inf, cut.source)


# By the question's name.
BANDS: dict[str, tuple[Band, ...]] = {
    "walking_speed": (
        Band(
            "below 0.8 m/s",
            "limited walking in the community",
            -math.inf,
            0.8,
            "Perry et al. 1995, Stroke 26:982, people after stroke [memory]",
        ),
    ),
    **{name: (_of_fall_risk(cut),) for name, cut in FALL_RISK_CUT_OFFS.items()},
}
