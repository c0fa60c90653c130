"""Inverse kinematics: markers placed by forward kinematics, and a real walk with distributed coordinates."""

from pathlib import Path

import numpy as np
import pytest
from marker_cloud import LABELS, RATE_HZ, place, walk

from biomechgpt_jax import formats
from biomechgpt_jax.biomechanics import kinematics
from biomechgpt_jax.biomechanics.fitting import inverse
from biomechgpt_jax.biomechanics.fitting.landmarks import landmark
from biomechgpt_jax.biomechanics.fitting.marker_sets import MARKER_SETS
from biomechgpt_jax.biomechanics.fitting.markers import Markers
from biomechgpt_jax.biomechanics.kinematics import FRACTIONS
from biomechgpt_jax.biomechanics.skeleton import COORDINATES, INDEX
from biomechgpt_jax.errors import InputError

DATA = Path(__file__).parents[2].parent / "shared" / "data"


def test_coordinates_and_stature_come_back_from_noisy_markers_with_gaps() -> None:
    q = walk(100)
    longer = FRACTIONS._replace(thigh=FRACTIONS.thigh * 1.05, forearm=FRACTIONS.forearm * 0.96)
    positions = place(q, 1.82, longer)
    rng = np.random.default_rng(3)
    positions += rng.normal(0, 0.004, positions.shape).astype(np.float32)
    positions[30:45, 3] = np.nan
    positions[60:64, 10] += 0.4  # a marker that jumps
    found = inverse.fit(Markers(positions, LABELS, RATE_HZ))
    assert found.trajectory.metadata.height_m == pytest.approx(1.82, abs=0.04)
    height, fractions = found.trajectory.metadata.height_m, found.fractions
    assert height * fractions.thigh == pytest.approx(1.82 * longer.thigh, abs=0.012)
    assert height * fractions.shank == pytest.approx(1.82 * longer.shank, abs=0.012)
    error = np.degrees(np.abs(found.trajectory.coordinates - q))
    told = ("pelvis", "hip_f", "hip_a", "knee", "ankle", "lumbar", "elbow")
    names = [name for name in COORDINATES[3:] if name.startswith(told)]
    worst = {name: float(np.median(error[:, INDEX[name]])) for name in names}
    assert max(worst.values()) < 2.5, worst
    assert np.nanmedian(found.marker_error_m) < 0.01
    assert np.isnan(found.marker_error_m[30:45, 3]).all()


def test_what_no_marker_tells_is_hidden() -> None:
    found = inverse.fit(Markers(place(walk(40), 1.7), LABELS, RATE_HZ))
    hidden = {name for name, seen in zip(COORDINATES, found.trajectory.observed, strict=True) if not seen}
    assert {"neck_rotation", "wrist_flex_r", "mtp_angle_l"} <= hidden
    assert not {"hip_rotation_r", "knee_angle_l", "lumbar_bending", "elbow_flex_l"} & hidden
    assert (found.trajectory.coordinates[:, ~found.trajectory.observed] == 0).all()


def test_labels_of_no_set_are_refused_with_the_known_sets() -> None:
    with pytest.raises(InputError, match="Plug-in Gait, Helen Hayes, OpenCap"):
        inverse.fit(Markers(np.zeros((10, 9, 3), np.float32), tuple("abcdefghi"), 100.0))


def test_every_label_of_every_set_is_a_landmark() -> None:
    for labels in MARKER_SETS.values():
        for name in labels.values():
            assert landmark(name).at in kinematics.SEGMENTS
            assert landmark(name).turns_with in kinematics.SEGMENTS


def test_a_real_walk_agrees_with_the_coordinates_distributed_with_it() -> None:
    folder = DATA / "opencap_subject4"
    if not folder.is_dir():
        pytest.skip(f"{folder} is not here")
    found = inverse.fit(formats.read_markers(folder / "walking1.trc"))
    known = formats.read(folder / "walking1_ik.mot").coordinates
    assert np.nanmedian(found.marker_error_m) < 0.025
    for name in COORDINATES[3:23]:
        if name.startswith(("subtalar", "mtp")):
            continue
        apart = np.degrees(found.trajectory.coordinates[:, INDEX[name]] - known[:, INDEX[name]])
        assert np.median(np.abs(apart)) < 5.0, name
        assert np.median(np.abs(apart - apart.mean())) < 5.0, name
