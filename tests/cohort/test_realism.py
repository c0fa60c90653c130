"""Measures of realism against movement whose waveforms and direction are known."""

import numpy as np
import pytest

from biomechgpt_jax.biomechanics.skeleton import COORDINATE_COUNT, INDEX
from biomechgpt_jax.biomechanics.trajectory import LEFT, RIGHT, Contacts, Trajectory
from biomechgpt_jax.cohort import realism, waveforms
from biomechgpt_jax.cohort.simulate import _turned

SPEED, STRIDE_S, RATE_HZ = 0.43, 1.1, 100.0


def walk(extra_deg: dict[str, float] | None = None, heading: float = 0.0) -> tuple[Trajectory, Contacts]:
    """Two and a half seconds of the norm's own right-leg waveforms, walked in some direction."""
    time = np.arange(int(4.4 * RATE_HZ)) / RATE_HZ
    q = np.zeros((len(time), COORDINATE_COUNT))
    phase = time / STRIDE_S

    def put(name: str, curve: str, sign: float = 1.0, offset: float = 0.0) -> None:
        q[:, INDEX[name]] = np.radians(sign * waveforms.curve(curve, SPEED, phase) + offset)

    put("pelvis_tilt", "pelvic_tilt", -1, realism.PELVIC_PLANE_DEG)
    put("pelvis_list", "pelvic_obliquity", -1)
    put("pelvis_rotation", "pelvic_rotation")
    put("hip_flexion_r", "hip_flexion", 1, -realism.PELVIC_PLANE_DEG)
    put("hip_adduction_r", "hip_adduction")
    put("hip_rotation_r", "hip_rotation")
    put("knee_angle_r", "knee_flexion")
    put("ankle_angle_r", "ankle_dorsiflexion")
    put("lumbar_bending", "trunk_obliquity", -1)
    put("lumbar_rotation", "trunk_rotation")
    for name, value in (extra_deg or {}).items():
        q[:, INDEX[name]] += np.radians(value)
    q[:, INDEX["pelvis_tx"]] = 1.3 * time
    strikes = np.arange(0, 4.4, STRIDE_S, dtype=np.float32)
    contacts = Contacts(strikes, np.full(len(strikes), RIGHT, np.int32), np.zeros((len(strikes), 2), np.float32))
    turned = _turned(q, heading, np.zeros(2))
    return Trajectory(turned.astype(np.float32), np.ones(COORDINATE_COUNT, bool), RATE_HZ), contacts


@pytest.mark.parametrize("heading", [0.0, np.pi / 2, np.pi, -2.0])
def test_the_norm_itself_is_at_no_distance_from_the_norm(heading: float) -> None:
    curves = realism.person_curves(*walk(heading=heading))
    np.testing.assert_allclose(curves, realism.norm_curves(SPEED), atol=0.3)


def test_distance_and_spread_are_those_put_in() -> None:
    rng = np.random.default_rng(0)
    sd = waveforms.SUBJECT_SD["knee_flexion"]
    offsets = rng.normal(0, 0.5 * sd, 40)
    offsets += 2.0 * sd - offsets.mean()
    curves = np.stack([realism.person_curves(*walk({"knee_angle_r": offset})) for offset in offsets])
    apart, wide = realism.against_norms(curves, [SPEED] * len(curves))
    knee = realism.JOINTS.index("knee_flexion")
    assert apart[knee] == pytest.approx(2.0, abs=0.02)
    assert wide[knee] == pytest.approx(offsets.std(ddof=1) / sd, abs=0.01)
    others = [i for i in range(len(realism.JOINTS)) if i != knee]
    assert apart[others].max() < 0.1 and wide[others].max() < 0.01


def test_ranges_of_the_norm_are_the_published_ones() -> None:
    found = realism.ranges(realism.stride_curves(*walk(), RIGHT))
    # Schwartz 2008, free speed: knee 4.0..59.1, hip -5.8..36.7, ankle -19.8..11.8 degrees
    assert found["knee_swing_peak"] == pytest.approx(59.1, abs=1)
    assert found["hip_range"] == pytest.approx(42.5, abs=1)
    assert found["ankle_range"] == pytest.approx(31.6, abs=1.5)
    assert realism.ranges(realism.stride_curves(*walk(), LEFT)) == {}


def test_features_of_a_window_do_not_tell_the_heading_and_see_jitter() -> None:
    still, turned = (realism.window_features(walk(heading=heading)[0]) for heading in (0.0, 2.5))
    np.testing.assert_allclose(still[:, :3], turned[:, :3], atol=0.05)
    trajectory, _ = walk()
    shaken = trajectory.coordinates.copy()
    shaken[:, INDEX["knee_angle_r"]] += 0.02 * np.sin(2 * np.pi * 8 * np.arange(len(shaken)) / RATE_HZ)
    knee = realism.COMPARED.index("knee_angle_r")
    seen = realism.window_features(Trajectory(shaken, trajectory.observed, RATE_HZ))
    assert (seen[:, realism.FEATURE_KINDS.index("spectrum"), knee] > still[:, 3, knee] + 1).all()
