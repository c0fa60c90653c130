"""A movement drawn on one page."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from biomechgpt_jax.biomechanics.skeleton import COORDINATE_COUNT, HORIZONTAL_ROOT, INDEX, observed_without
from biomechgpt_jax.biomechanics.trajectory import Trajectory
from biomechgpt_jax.errors import InputError
from biomechgpt_jax.reports import portrait


def _swing(observed: np.ndarray) -> Trajectory:
    coordinates = np.zeros((60, COORDINATE_COUNT), np.float32)
    coordinates[:, INDEX["hip_flexion_r"]] = 0.5 * np.sin(np.arange(60) / 6)
    coordinates[:, INDEX["pelvis_ty"]] = 0.95
    return Trajectory(coordinates, observed, 30.0)


@pytest.mark.parametrize("hidden", [(), HORIZONTAL_ROOT, ("arm_flex_r", "arm_flex_l")])
def test_a_picture_is_drawn_whatever_is_hidden(tmp_path: Path, hidden: tuple[str, ...]) -> None:
    portrait.save(_swing(observed_without(hidden)), tmp_path / "p.png")
    with Image.open(tmp_path / "p.png") as picture:
        ink = np.asarray(picture.convert("L")) < 128
    assert ink.mean() > 0.002
    assert list(tmp_path.iterdir()) == [tmp_path / "p.png"]


def test_a_movement_with_gaps_is_drawn(tmp_path: Path) -> None:
    swing = _swing(np.ones(COORDINATE_COUNT, bool))
    swing.coordinates[20:30, INDEX["ankle_angle_r"]] = np.nan
    swing.coordinates[:3, [INDEX[name] for name in HORIZONTAL_ROOT]] = np.nan
    portrait.save(swing, tmp_path / "p.png")
    assert (tmp_path / "p.png").stat().st_size > 10_000


def test_an_ending_that_is_not_a_picture_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="ends in"):
        portrait.save(_swing(np.ones(COORDINATE_COUNT, bool)), tmp_path / "p.mot")
