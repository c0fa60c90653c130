"""How grave a flag of a recording is: what makes the pose no person's, and what a user must know before an answer.

Flags are texts in `Metadata.flags`. Those of these two kinds are sentences behind a prefix; every other flag is a short
name, such as "trimmed", for those who look at the recording itself.
"""

from collections.abc import Iterable

IMPOSSIBLE = "no person's pose: "
CAUTION = "caution: "


def impossible(flags: Iterable[str]) -> tuple[str, ...]:
    """Why the recording cannot be a person's movement, without the prefix; empty if it can."""
    return _without(IMPOSSIBLE, flags)


def cautions(flags: Iterable[str]) -> tuple[str, ...]:
    """What was assumed or left out when the file was read, without the prefix."""
    return _without(CAUTION, flags)


def _without(prefix: str, flags: Iterable[str]) -> tuple[str, ...]:
    return tuple(flag.removeprefix(prefix) for flag in flags if flag.startswith(prefix))
