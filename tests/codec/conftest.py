"""Material that the tests of the codec share."""

import pytest
from small_codecs import SMALL_FSQ, SMALL_RESIDUAL, SMALL_VQ, untrained

from biomechgpt_jax.codec.codec import Codec


@pytest.fixture(scope="session", params=[SMALL_FSQ, SMALL_VQ, SMALL_RESIDUAL], ids=["fsq", "vq", "residual"])
def codec(request: pytest.FixtureRequest) -> Codec:
    return untrained(request.param)
