"""What the configuration checks its fields with."""

import dataclasses
import math
from typing import Any

from biomechgpt_jax.errors import InputError

CANONICAL_RATE_HZ = 30.0
_LATER = "later"


def later(default: Any) -> Any:
    """A field that a version added after runs were made without it, and whose default is what they did."""
    return dataclasses.field(default=default, metadata={_LATER: True})


def described(part: Any) -> dict[str, Any]:
    """A part of an experiment as an input of a stage or of a run's identity, a nested dict.

    Fields that came `later` are left out while they have their defaults, so that what earlier versions made stays good.
    """
    values = dataclasses.asdict(part)
    for field in dataclasses.fields(part):
        if field.metadata.get(_LATER) and getattr(part, field.name) == field.default:
            del values[field.name]
    return values


def require(condition: bool, message: str) -> None:
    """Refuse a configuration with a message that says which field to change, and how."""
    if not condition:
        raise InputError(message)


def is_positive(word: str) -> bool:
    """Whether a word is a positive, finite number."""
    try:
        return 0 < float(word) < math.inf
    except ValueError:
        return False
