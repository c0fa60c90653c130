"""Measures of realism, applied to movement whose waveforms and direction are known."""

from pathlib import Path

import numpy as np
import pytest
import realism_measures as measures

from biomechgpt_jax.biomechanics.gait.indices import PELVIC_PLANE_DEG
from biomechgpt_jax.biomechanics.skeleton import COORDINATE_COUNT, INDEX
from biomechgpt_jax.biomechanics.trajectory import LEFT, RIGHT, Contacts, Trajectory
from biomechgpt_jax.cohort.people import personal, waveforms
from biomechgpt_jax.cohort.simulate import _rotate_and_shift
from biomechgpt_jax.questions.understanding import Understood

SPEED, STRIDE_S, RATE_HZ = 0.43, 1.1, 100.0


def walk(extra_deg: dict[str, float] | None = None, heading: float = 0.0) -> tuple[Trajectory, Contacts]:
    """4.4 seconds of walking with the norm's own right-leg waveforms in the given direction."""
    time = np.arange(int(4.4 * RATE_HZ)) / RATE_HZ
    q = np.zeros((len(time), COORDINATE_COUNT))
    phase = time / STRIDE_S

    def put(name: str, curve: str, sign: float = 1.0, offset: float = 0.0) -> None:
        q[:, INDEX[name]] = np.radians(sign * waveforms.curve(curve, SPEED, phase) + offset)

    put("pelvis_tilt", "pelvic_tilt", -1, PELVIC_PLANE_DEG)
    put("pelvis_list", "pelvic_obliquity", -1)
    put("pelvis_rotation", "pelvic_rotation")
    put("hip_flexion_r", "hip_flexion", 1, -PELVIC_PLANE_DEG)
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
    q = _rotate_and_shift(q, heading, np.zeros(2))
    return Trajectory(q.astype(np.float32), np.ones(COORDINATE_COUNT, bool), RATE_HZ), contacts


@pytest.mark.parametrize("heading", [0.0, np.pi / 2, np.pi, -2.0])
def test_the_norm_has_no_distance_from_itself(heading: float) -> None:
    curves = measures.person_curves(*walk(heading=heading))
    np.testing.assert_allclose(curves, measures.norm_curves(SPEED), atol=0.3)


def test_distance_and_spread_are_recovered() -> None:
    rng = np.random.default_rng(0)
    sd = waveforms.SUBJECT_SD["knee_flexion"]
    offsets = rng.normal(0, 0.5 * sd, 40)
    offsets += 2.0 * sd - offsets.mean()
    curves = np.stack([measures.person_curves(*walk({"knee_angle_r": offset})) for offset in offsets])
    apart, wide = measures.compare_with_norms(curves, [SPEED] * len(curves))
    knee = measures.JOINTS.index("knee_flexion")
    assert apart[knee] == pytest.approx(2.0, abs=0.02)
    assert wide[knee] == pytest.approx(offsets.std(ddof=1) / sd, abs=0.01)
    others = [i for i in range(len(measures.JOINTS)) if i != knee]
    assert apart[others].max() < 0.1 and wide[others].max() < 0.01


def test_ranges_of_the_norm_are_the_published_ones() -> None:
    ranges = measures.ranges(measures.stride_curves(*walk(), RIGHT))
    # Schwartz 2008, free speed: knee 4.0..59.1, hip -5.8..36.7, ankle -19.8..11.8 degrees
    assert ranges["knee_swing_peak"] == pytest.approx(59.1, abs=1)
    assert ranges["hip_range"] == pytest.approx(42.5, abs=1)
    assert ranges["ankle_range"] == pytest.approx(31.6, abs=1.5)
    assert measures.ranges(measures.stride_curves(*walk(), LEFT)) == {}


def test_window_features_ignore_the_heading_and_show_jitter() -> None:
    still, rotated = (measures.window_features(walk(heading=heading)[0]) for heading in (0.0, 2.5))
    np.testing.assert_allclose(still[:, :3], rotated[:, :3], atol=0.05)
    trajectory, _ = walk()
    shaken = trajectory.coordinates.copy()
    shaken[:, INDEX["knee_angle_r"]] += 0.02 * np.sin(2 * np.pi * 8 * np.arange(len(shaken)) / RATE_HZ)
    knee = measures.COMPARED.index("knee_angle_r")
    jittery = measures.window_features(Trajectory(shaken, trajectory.observed, RATE_HZ))
    assert (jittery[:, measures.FEATURE_KINDS.index("spectrum"), knee] > still[:, 3, knee] + 1).all()


def test_people_differ_as_much_as_the_norms_say() -> None:
    drawn = [personal.draw(np.random.default_rng(i)) for i in range(800)]
    hip = np.array([[person.posture["hip_flexion_r"], person.posture["hip_flexion_l"]] for person in drawn])
    knee = np.array([person.posture["knee_angle_r"] for person in drawn])
    ankle = np.array([person.posture["ankle_angle_r"] for person in drawn])
    tilt = np.array([person.posture["pelvis_tilt"] for person in drawn])
    sd = waveforms.SUBJECT_SD
    assert tilt.std() == pytest.approx(sd["pelvic_tilt"], rel=0.1)
    assert hip[:, 0].std() == pytest.approx(sd["hip_flexion"], rel=0.1)
    assert ankle.std() == pytest.approx(sd["ankle_dorsiflexion"], rel=0.2)
    # A flat foot stays flat whatever the posture, and a person's two hips are alike.
    np.testing.assert_allclose(tilt + hip[:, 0] - knee + ankle, 0, atol=1e-9)
    assert 0.7 < np.corrcoef(hip.T)[0, 1] < 0.98


def test_row_six_asks_a_model_about_real_files(monkeypatch: pytest.MonkeyPatch) -> None:
    data = Path(__file__).parents[2].parent / "shared" / "data"
    if not data.is_dir():
        pytest.skip("the public sample files are not beside the project")
    import realism as benchmark

    from biomechgpt_jax.answering.answers import Answers
    from biomechgpt_jax.errors import InputError
    from biomechgpt_jax.stages import ask

    def answer(answerer: str, trajectory: Trajectory, wanted: list[Understood]) -> Answers:
        assert answerer == "model of run" and trajectory.rate_hz == 30
        (name,) = (understood.question.name for understood in wanted)
        if name == "cadence":
            raise InputError("refused")
        return Answers([{"answer": "walking" if name == "activity" else 1.2}])

    monkeypatch.setattr(ask, "load", lambda workdir: f"model of {workdir}")
    monkeypatch.setattr(ask, "answer", answer)
    two = ("opencap_subject4/walkingTO1_ik.mot", "opencap_subject4/static1_ik.mot")
    monkeypatch.setattr(benchmark, "ACTIVITY_OF", {name: benchmark.ACTIVITY_OF[name] for name in two})
    by_name = {key.rpartition(": ")[2]: figure for key, figure in benchmark.answers(Path("run"), data).items()}
    assert by_name["activity"].value == 0.5
    assert by_name["walking_speed"].value is not None and by_name["walking_speed"].value < 0.5
    assert by_name["cadence"].value is None
    assert all(figure.value is None for figure in benchmark.answers(None, data).values())
