"""What the configuration checks its fields with."""

import math

from biomechgpt_jax.errors import InputError

CANONICAL_RATE_HZ = 30.0


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
