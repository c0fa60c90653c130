"""What the motion codec keeps of held-out movement."""

from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np

from biomechgpt_jax.biomechanics.skeleton import COORDINATES

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
    """Error of observed joint angles after encoding and decoding, and the use of the codes.

    Args:
        coordinates: movements f32[T_i, 40] at 30 Hz, of participants the codec was not trained on.
        observed: bool[40] of each.
        healthy: whether each comes from a healthy participant.

    Returns:
        median_deg, mean_deg, healthy_median_deg, impaired_median_deg, by_group_deg (medians), codes,
        codes_used, perplexity (exp of the entropy of the codes, in codes) and tokens_per_second. Empty
        without a movement.
    """
    if not coordinates:
        return {}
    tokens = codec.encode(list(coordinates), list(observed))
    decoded = codec.decode(tokens)
    groups = {name: [] for name in _GROUPS}  # type: dict[str, list[np.ndarray]]
    sides: dict[bool, list[np.ndarray]] = {True: [], False: []}
    for true, mask, back, well in zip(coordinates, observed, decoded, healthy, strict=True):
        error = np.degrees(np.abs(back - true[: len(back)]))
        for name, prefixes in _GROUPS.items():
            columns = [i for i, c in enumerate(COORDINATES) if c.startswith(prefixes) and mask[i]]
            groups[name].append(error[:, columns].ravel())
            sides[bool(well)].append(error[:, columns].ravel())
    everything = np.concatenate(sides[True] + sides[False])
    share = np.bincount(np.concatenate(tokens), minlength=codec.codes) / max(sum(map(len, tokens)), 1)
    used = share[share > 0]
    seconds = sum(map(len, coordinates)) / 30.0

    def median(parts: list[np.ndarray]) -> float:
        joined = np.concatenate(parts) if parts else np.zeros(0)
        return float(np.median(joined)) if len(joined) else float("nan")

    return {
        "median_deg": median([everything]),
        "mean_deg": float(everything.mean()) if len(everything) else float("nan"),
        "healthy_median_deg": median(sides[True]),
        "impaired_median_deg": median(sides[False]),
        "by_group_deg": {name: median(parts) for name, parts in groups.items() if sum(map(len, parts))},
        "codes": codec.codes,
        "codes_used": len(used),
        "perplexity": float(np.exp(-np.sum(used * np.log(used)))),
        "tokens_per_second": sum(map(len, tokens)) / seconds,
    }
