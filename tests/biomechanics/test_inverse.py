"""Inverse kinematics: markers placed by forward kinematics, and a real walk with distributed coordinates."""

from pathlib import Path

import jax
import numpy as np
import pytest

from biomechgpt_jax import formats
from biomechgpt_jax.biomechanics import inverse, kinematics
from biomechgpt_jax.biomechanics.kinematics import FRACTIONS, Fractions
from biomechgpt_jax.biomechanics.marker_sets import MARKER_SETS, NOMINAL_HEIGHT_M, landmark, match
from biomechgpt_jax.biomechanics.markers import Markers
from biomechgpt_jax.biomechanics.skeleton import COORDINATE_COUNT, COORDINATES, INDEX
from biomechgpt_jax.errors import InputError

DATA = Path(__file__).parents[2].parent / "shared" / "data"
_LABELS = (
    *(f"{s}{n}" for s in "RL" for n in ("ASI", "PSI", "THI", "KNE", "TIB", "ANK", "HEE", "TOE")),
    *("C7", "T10", "CLAV", "STRN"),
    *(f"{s}{n}" for s in "RL" for n in ("SHO", "UPA", "ELB", "FRM", "WRA", "WRB")),
)


def _walk(frames: int) -> np.ndarray:
    """A movement like walking that turns by 120 degrees."""
    time = np.arange(frames) / 50.0
    q = np.zeros((frames, COORDINATE_COUNT), np.float32)
    wave = np.sin(2 * np.pi * 0.9 * time)
    q[:, INDEX["pelvis_tx"]], q[:, INDEX["pelvis_ty"]] = 1.2 * time, 0.95
    q[:, INDEX["pelvis_rotation"]] = 2.1 * time / time[-1]
    q[:, INDEX["pelvis_tilt"]], q[:, INDEX["pelvis_list"]] = -0.05, 0.06 * wave
    for side, sign in (("r", 1.0), ("l", -1.0)):
        q[:, INDEX[f"hip_flexion_{side}"]] = 0.15 + 0.4 * sign * wave
        q[:, INDEX[f"hip_adduction_{side}"]] = 0.08 * wave
        q[:, INDEX[f"knee_angle_{side}"]] = 0.5 - 0.4 * np.cos(2 * np.pi * 0.9 * time + sign)
        q[:, INDEX[f"ankle_angle_{side}"]] = 0.2 * np.cos(2 * np.pi * 0.9 * time + sign)
        q[:, INDEX[f"arm_flex_{side}"]] = -0.3 * sign * wave
        q[:, INDEX[f"elbow_flex_{side}"]] = 0.6 + 0.2 * wave
    q[:, INDEX["lumbar_rotation"]] = 0.1 * wave
    return q


def _markers(q: np.ndarray, height: float, fractions: Fractions) -> np.ndarray:
    _, chosen = match(_LABELS)
    body = jax.device_get(kinematics.segments(q, height, fractions))
    placed = []
    for i in range(len(_LABELS)):
        mark = landmark(chosen[i])
        x, y, z = (height / NOMINAL_HEIGHT_M * value for value in mark.offset_m)
        frame = body[mark.turns_with].frame
        placed.append(body[mark.at].origin + frame[0] * x + frame[1] * y + frame[2] * z)
    return np.stack(placed, axis=1).astype(np.float32)


def test_coordinates_and_stature_come_back_from_noisy_markers_with_gaps() -> None:
    q = _walk(100)
    longer = FRACTIONS._replace(thigh=FRACTIONS.thigh * 1.05, forearm=FRACTIONS.forearm * 0.96)
    positions = _markers(q, 1.82, longer)
    rng = np.random.default_rng(3)
    positions += rng.normal(0, 0.004, positions.shape).astype(np.float32)
    positions[30:45, 3] = np.nan
    positions[60:64, 10] += 0.4  # a marker that jumps
    found = inverse.fit(Markers(positions, _LABELS, 50.0))
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
    found = inverse.fit(Markers(_markers(_walk(40), 1.7, FRACTIONS), _LABELS, 50.0))
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
