"""Plug-in-Gait angles of real files against the inverse kinematics of the same markers."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest

from biomechgpt_jax import formats
from biomechgpt_jax.biomechanics import inverse
from biomechgpt_jax.biomechanics.markers import Markers
from biomechgpt_jax.biomechanics.skeleton import INDEX
from biomechgpt_jax.errors import InputError
from biomechgpt_jax.formats import plugin_gait

SHARED = Path(__file__).parents[3] / "shared" / "data"


@pytest.mark.skipif(not SHARED.is_dir(), reason="the folder of real files is not beside the checkout")
class TestRealFile:
    @pytest.fixture(scope="class")
    def markers(self) -> Markers:
        pytest.importorskip("ezc3d")
        return formats.read_markers(SHARED / "biomechzoo_children" / "HC031A06.c3d")

    def test_angles_go_as_the_fitted_ones(self, markers: Markers) -> None:
        told, fitted = plugin_gait.trajectory(markers), inverse.fit(markers).trajectory
        assert told.frames == fitted.frames and "plug-in-gait-angles" in told.metadata.flags
        for joint, close_deg in (("hip_flexion", 3), ("hip_adduction", 3), ("knee_angle", 3), ("ankle_angle", 3)):
            for side in "rl":
                column = INDEX[f"{joint}_{side}"]
                a, b = (np.degrees(one.coordinates[:, column]) for one in (told, fitted))
                assert np.corrcoef(a, b)[0, 1] > 0.9
                assert np.median(np.abs(a - a.mean() - b + b.mean())) < close_deg
        heading = np.degrees(
            told.coordinates[:, INDEX["pelvis_rotation"]] - fitted.coordinates[:, INDEX["pelvis_rotation"]]
        )
        assert np.median(np.abs((heading + 180) % 360 - 180)) < 6
        paths = [one.coordinates[:, [INDEX["pelvis_tx"], INDEX["pelvis_tz"]]] for one in (told, fitted)]
        assert np.median(np.linalg.norm(paths[0] - paths[1], axis=1)) < 0.08

    def test_angles_alone_are_read_without_a_path(self, markers: Markers) -> None:
        bare = dataclasses.replace(markers, names=tuple(f"M{i}" for i in range(len(markers.names))))
        told = plugin_gait.trajectory(bare)
        assert told.observed[INDEX["knee_angle_r"]] and told.observed[INDEX["pelvis_tilt"]]
        assert not told.observed[[INDEX["pelvis_tx"], INDEX["pelvis_rotation"]]].any()
        assert np.isfinite(told.coordinates).all()

    def test_angles_that_are_never_complete_are_refused(self, markers: Markers) -> None:
        empty = {name: np.full_like(values, np.nan) for name, values in markers.angles.items()}
        with pytest.raises(InputError, match="no two frames"):
            plugin_gait.trajectory(dataclasses.replace(markers, angles=empty))
