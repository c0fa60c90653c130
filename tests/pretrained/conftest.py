"""Folders of the real models, where their weights are to be had."""

import os
from pathlib import Path

import pytest

from biomechgpt_jax.pretrained import gguf


@pytest.fixture(scope="session")
def real_folder(request):
    """A function from a model's name to its folder; skips the test where the weights are missing.

    Folders are taken from $BIOMECHGPT_MODELS if they lie there, otherwise made once from installed packages and kept in
    pytest's cache.
    """

    def find(which: str) -> Path:
        given = Path(os.environ.get("BIOMECHGPT_MODELS", "runs")) / which
        if given.is_dir():
            return given
        kept = Path(request.config.cache.mkdir("pretrained")) / which
        if not kept.is_dir():
            if not gguf.is_installed(which):
                pytest.skip(f"no weights: {gguf.SOURCES[which].command}")
            gguf.write_folder(which, kept)
        return kept

    return find
