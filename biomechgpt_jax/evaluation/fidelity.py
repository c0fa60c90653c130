"""What the motion codec keeps of held-out movement."""

from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np

from biomechgpt_jax.biomechanics.skeleton import COORDINATES
from biomechgpt_jax.config import CANONICAL_RATE_HZ

# Angles by the joint a reader would name. The pelvis is left out: its heading is integrated, not coded.
_GROUPS = {
    "hip": ("hip_",),
    "knee": ("knee_",),
    "ankle and foot": ("ankle_", "subtalar_", "mtp_"),
    "lumbar spine": ("lumbar_",),
    "neck": ("neck_",),
    "shoulder": ("arm_",),
    "elbow and forearm": ("elbow_", "pro_sup"),
    "wrist": ("wrist_",),
}
_MOVING_DEG = 1.0


class CodecLike(Protocol):
    """What is asked of the codec."""

    @property
    def codes(self) -> int: ...
    def encode(self, coordinates: list[np.ndarray], observed: list[np.ndarray]) -> list[np.ndarray]: ...
    def decode(self, tokens: list[np.ndarray]) -> list[np.ndarray]: ...


def measure(
    codec: CodecLike,
    coordinates: Sequence[np.ndarray],
    observed: Sequence[np.ndarray],
    healthy: Sequence[bool],
) -> dict[str, Any]:
    """Error of joint angles after encoding and decoding, and the use of the codes.

    The error of a coordinate of a movement is the median over its frames; means are over the coordinates that
    were observed and moved (standard deviation above 1 degree), as in `tokenizer.fidelity`.

    Args:
        coordinates: movements f32[T_i, 40] at 30 Hz, of participants the codec was not trained on.
        observed: bool[40] of each.
        healthy: whether each comes from a healthy participant.

    Returns:
        median_deg, healthy_median_deg, impaired_median_deg, by_group_deg, p95_deg (the same with the 95th
        percentile), codes, codes_used and perplexity (exp of the entropy, in codes), these of a token's first code, and
        tokens_per_second. Empty without a movement.
    """
    if not coordinates:
        return {}
    tokens = codec.encode(list(coordinates), list(observed))
    decoded = codec.decode(tokens)
    by_group: dict[str, list[float]] = {name: [] for name in _GROUPS}
    by_health: dict[bool, list[float]] = {True: [], False: []}
    tails: list[float] = []
    for true, mask, back, well in zip(coordinates, observed, decoded, healthy, strict=True):
        error = np.degrees(np.abs(back - true[: len(back)]))
        moved = mask & (np.degrees(np.where(mask, true, 0.0).std(axis=0)) > _MOVING_DEG)
        for name, prefixes in _GROUPS.items():
            columns = [i for i, c in enumerate(COORDINATES) if c.startswith(prefixes) and moved[i]]
            medians = np.median(error[:, columns], axis=0).tolist()
            by_group[name] += medians
            by_health[bool(well)] += medians
            tails += np.percentile(error[:, columns], 95, axis=0).tolist()
    first = np.concatenate(tokens)[:, 0]
    share = np.bincount(first, minlength=codec.codes) / max(len(first), 1)
    used = share[share > 0]
    return {
        "median_deg": _mean(by_health[True] + by_health[False]),
        "p95_deg": _mean(tails),
        "healthy_median_deg": _mean(by_health[True]),
        "impaired_median_deg": _mean(by_health[False]),
        "by_group_deg": {name: _mean(values) for name, values in by_group.items() if values},
        "codes": codec.codes,
        "codes_used": len(used),
        "perplexity": float(np.exp(-np.sum(used * np.log(used)))),
        "tokens_per_second": sum(map(len, tokens)) / (sum(map(len, coordinates)) / CANONICAL_RATE_HZ),
    }


def _mean(values: Sequence[float]) -> float:
    return float(np.mean(values)) if len(values) else float("nan")
