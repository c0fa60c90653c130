"""Plug-in-Gait angles of real files against the inverse kinematics of the same markers."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest

from biomechgpt_jax import formats
from biomechgpt_jax.biomechanics import preprocess
from biomechgpt_jax.biomechanics.fitting import inverse
from biomechgpt_jax.biomechanics.fitting.markers import Markers
from biomechgpt_jax.biomechanics.skeleton import INDEX
from biomechgpt_jax.errors import InputError
from biomechgpt_jax.formats import plugin_gait

RATE_HZ = 100.0
SHARED = Path(__file__).parents[3] / "shared" / "data"


def _swinging_legs(frames: int) -> Markers:
    """Angles of both legs and no marker that could be fitted."""
    wave = 20 + 15 * np.sin(np.arange(frames) / 15)
    names = (f"{side}{joint}Angles" for side in "RL" for joint in ("Hip", "Knee", "Ankle"))
    angles = {name: np.repeat(wave[:, None], 3, axis=1).astype(np.float32) for name in names}
    return Markers(np.zeros((frames, 1, 3), np.float32), ("M1",), RATE_HZ, angles=angles)


def test_angles_that_are_missing_for_a_while_are_gaps_and_not_straight_lines() -> None:
    markers = _swinging_legs(200)
    markers.angles["RAnkleAngles"][60:100] = np.nan
    markers.angles["LAnkleAngles"][20:180] = np.nan
    found = plugin_gait.trajectory(markers)
    right, left = INDEX["ankle_angle_r"], INDEX["ankle_angle_l"]
    assert np.flatnonzero(np.isnan(found.coordinates[:, right])).tolist() == list(range(60, 100))
    assert found.observed[right] and not found.observed[left] and (found.coordinates[:, left] == 0).all()
    assert {"unseen-20%-of-the-time:ankle_angle_r", "unseen-80%-of-the-time:ankle_angle_l"} <= set(found.metadata.flags)
    canonical = preprocess.canonical(found)
    assert canonical.frames == 30 and canonical.observed[right], "the longer side of the gap"


@pytest.mark.skipif(not SHARED.is_dir(), reason="the folder of real files is not beside the checkout")
class TestRealFile:
    @pytest.fixture(scope="class")
    def markers(self) -> Markers:
        pytest.importorskip("ezc3d")
        return formats.read_markers(SHARED / "biomechzoo_children" / "HC031A06.c3d")

    def test_angles_follow_the_fitted_ones(self, markers: Markers) -> None:
        from_angles, fitted = plugin_gait.trajectory(markers), inverse.fit(markers).trajectory
        assert from_angles.frames == fitted.frames and "plug-in-gait-angles" in from_angles.metadata.flags
        for joint, close_deg in (("hip_flexion", 3), ("hip_adduction", 3), ("knee_angle", 3), ("ankle_angle", 3)):
            for side in "rl":
                column = INDEX[f"{joint}_{side}"]
                a, b = (np.degrees(movement.coordinates[:, column]) for movement in (from_angles, fitted))
                assert np.corrcoef(a, b)[0, 1] > 0.9
                assert np.median(np.abs(a - a.mean() - b + b.mean())) < close_deg
        heading = np.degrees(
            from_angles.coordinates[:, INDEX["pelvis_rotation"]] - fitted.coordinates[:, INDEX["pelvis_rotation"]]
        )
        assert np.median(np.abs((heading + 180) % 360 - 180)) < 6
        horizontal = [INDEX["pelvis_tx"], INDEX["pelvis_tz"]]
        paths = [movement.coordinates[:, horizontal] for movement in (from_angles, fitted)]
        assert np.median(np.linalg.norm(paths[0] - paths[1], axis=1)) < 0.08

    def test_angles_alone_are_read_without_a_path(self, markers: Markers) -> None:
        bare = dataclasses.replace(markers, names=tuple(f"M{i}" for i in range(len(markers.names))))
        from_angles = plugin_gait.trajectory(bare)
        assert from_angles.observed[INDEX["knee_angle_r"]] and from_angles.observed[INDEX["pelvis_tilt"]]
        assert not from_angles.observed[[INDEX["pelvis_tx"], INDEX["pelvis_rotation"]]].any()
        assert np.isfinite(from_angles.coordinates).all()

    def test_angles_that_are_never_complete_are_refused(self, markers: Markers) -> None:
        empty = {name: np.full_like(values, np.nan) for name, values in markers.angles.items()}
        with pytest.raises(InputError, match="no two frames"):
            plugin_gait.trajectory(dataclasses.replace(markers, angles=empty))


def test_a_refusal_of_the_angles_names_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a.c3d"
    path.touch()
    names = [f"{side}{joint}Angles" for side in "RL" for joint in ("Hip", "Knee", "Ankle")]
    unseen = {name: np.full((5, 3), np.nan, np.float32) for name in names}
    markers = Markers(np.zeros((5, 1, 3), np.float32), ("M0",), 100.0, angles=unseen)
    monkeypatch.setattr(formats, "load", lambda _: markers)
    with pytest.raises(InputError, match="no two frames") as refusal:
        formats.read(path)
    assert str(refusal.value).startswith(f"{path}: ")
