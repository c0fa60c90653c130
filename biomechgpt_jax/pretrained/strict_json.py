"""JSON of files that come from elsewhere: what two readers might take differently is refused."""

import json
from collections import Counter
from pathlib import Path
from typing import Any, NoReturn

from biomechgpt_jax.errors import InputError

_SHOWN = 120  # characters of a foreign value in a message


def loads(text: bytes, where: str) -> dict[str, Any]:
    """A JSON object.

    Args:
        text: UTF-8.
        where: the file, for messages.

    Raises:
        InputError: no JSON, no object, a key given twice, NaN or an infinity, or nested too deep to be read.
    """
    try:
        value = json.loads(text.decode(), object_pairs_hook=_object, parse_constant=_constant)
    except (ValueError, RecursionError) as error:  # a number of thousands of digits is a ValueError too
        reason = "nested too deep" if isinstance(error, RecursionError) else shown(str(error), quoted=False)
        raise InputError(f"{where} is no JSON that can be read ({reason}); fetch the file again") from error
    if not isinstance(value, dict):
        raise InputError(f"{where} holds {type(value).__name__}, not a JSON object; fetch the file again")
    return value


def read(path: Path, largest: int) -> dict[str, Any]:
    """The JSON object in a file of at most `largest` bytes; errors as those of `loads`."""
    try:
        with path.open("rb") as file:
            text = file.read(largest + 1)
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror}; give a folder that has it") from error
    if len(text) > largest:
        raise InputError(f"{path} is larger than {largest} bytes; it is not the file that its name promises")
    return loads(text, str(path))


def shown(value: Any, quoted: bool = True) -> str:
    """A foreign value as a message may hold it: one line of bounded length, and no character that cannot be printed."""
    words = repr(value) if quoted else repr(str(value))[1:-1]
    return words if len(words) <= _SHOWN else f"{words[:_SHOWN]}..."


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    made = dict(pairs)
    if len(made) < len(pairs):
        counts = Counter(key for key, _ in pairs)
        raise ValueError(f"key {shown(max(counts, key=counts.__getitem__))} stands twice in one object")
    return made


def _constant(word: str) -> NoReturn:
    raise ValueError(f"{word} is no number in JSON")
