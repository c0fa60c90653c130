"""Material that the tests of the tokenizer share."""

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from small_codecs import SMALL_FSQ, SMALL_RESIDUAL, SMALL_VQ, untrained

from biomechgpt_jax.tokenizer.codec import Codec


@pytest.fixture(scope="session", params=[SMALL_FSQ, SMALL_VQ, SMALL_RESIDUAL], ids=["fsq", "vq", "residual"])
def codec(request: pytest.FixtureRequest) -> Codec:
    return untrained(request.param)
