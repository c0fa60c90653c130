"""What the table of accelerators gives."""

import math

import pytest

from biomechgpt_jax.parallel import chips


def test_a_device_that_is_not_known_has_no_utilisation() -> None:
    assert math.isnan(chips.utilisation(1e12, 1, "cpu"))
    assert chips.utilisation(2 * 98.9e12, 2, "NVIDIA H100 80GB HBM3") == pytest.approx(0.1)
