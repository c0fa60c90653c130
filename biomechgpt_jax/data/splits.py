"""Splits by participant: a hash of the participant's identity decides, once and for all."""

import hashlib
from collections.abc import Iterable

from biomechgpt_jax.errors import InputError

SPLITS = ("train", "validation", "test")
# Upper ends of the shares of [0, 1): 75 % train, 5 % validation, 20 % test.
_ENDS = {"train": 0.75, "validation": 0.80, "test": 1.0}


def split_of(participant: str) -> str:
    """The split that a participant is in."""
    draw = int.from_bytes(hashlib.sha256(participant.encode()).digest()[:8], "big") / 2**64
    return next(split for split, end in _ENDS.items() if draw < end)


def check(members: Iterable[tuple[str, str]]) -> None:
    """Refuse a dataset in which a participant is in two splits.

    Args:
        members: (participant, split) of every record.

    Raises:
        InputError: a participant is in two splits.
    """
    seen: dict[str, str] = {}
    for participant, split in members:
        if seen.setdefault(participant, split) != split:
            raise InputError(
                f"participant {participant} is in the splits {seen[participant]} and {split}; "
                "split by participant and write the dataset again"
            )
