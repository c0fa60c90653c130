"""What `inspect` says of a recording: whatever is missing comes with its reason."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest
from norm_walker import RATE_HZ, grounded_walk

from biomechgpt_jax.biomechanics.flags import IMPOSSIBLE
from biomechgpt_jax.biomechanics.skeleton import COORDINATE_COUNT, COORDINATES, INDEX
from biomechgpt_jax.biomechanics.trajectory import Trajectory, replace
from biomechgpt_jax.data import importing
from biomechgpt_jax.formats.opensim import write_mot
from biomechgpt_jax.formats.recording import Recording
from biomechgpt_jax.reports import recording


@pytest.fixture(scope="module")
def walk() -> Trajectory:
    return grounded_walk()


def _without(walk: Trajectory, *names: str, flags: tuple[str, ...] = ()) -> Trajectory:
    observed = walk.observed & ~np.isin(COORDINATES, names)
    return replace(walk, observed=observed, metadata=dataclasses.replace(walk.metadata, flags=flags))


def test_a_walk_has_gait_and_nothing_is_missing(walk: Trajectory) -> None:
    facts = recording.describe(walk)
    assert facts["gait"]["walking_speed"] == pytest.approx(1.3, abs=0.1) and facts["gait"]["strides"] >= 3
    assert facts["missing"] == [] and facts["missing_because"] == {}


@pytest.mark.parametrize(
    ("hidden", "flags", "why"),
    [
        (("pelvis_tx",), (), "the path of the pelvis is not recorded"),
        (("ankle_angle_l",), (), "ankle_angle_l is not seen"),
        (("ankle_angle_l", "knee_angle_r"), (), "knee_angle_r, ankle_angle_l are not seen"),
        ((), (f"{IMPOSSIBLE}RKNE and LKNE are exchanged",), "RKNE and LKNE are exchanged"),
    ],
)
def test_without_gait_the_reason_is_given(
    walk: Trajectory, hidden: tuple[str, ...], flags: tuple[str, ...], why: str
) -> None:
    assert recording.describe(_without(walk, *hidden, flags=flags))["gait"] == f"none: {why}"


def test_who_stands_still_takes_no_step(walk: Trajectory) -> None:
    still = replace(walk, coordinates=np.repeat(walk.coordinates[:1], walk.frames, axis=0))
    assert recording.describe(still)["gait"] == "none: no foot strikes the floor twice"


def test_a_coordinate_that_is_missing_says_why(walk: Trajectory) -> None:
    raised = ("unseen-100%-of-the-time:ankle_angle_l", "unseen-67%-of-the-time:arm_flex_r", "empty:neck_extension")
    hidden = _without(walk, "ankle_angle_l", "arm_flex_r", "neck_extension", "mtp_angle_r", flags=raised)
    assert recording.describe(Recording(hidden, markers_used=("RKNE",)))["missing_because"] == {
        "ankle_angle_l": "its markers are never seen",
        "mtp_angle_r": "no markers show it",
        "arm_flex_r": "its markers are unseen 67 % of the time",
        "neck_extension": "its column is empty",
    }
    assert recording.describe(hidden)["missing_because"]["mtp_angle_r"] == "the file does not hold it"


def test_what_preprocessing_gives_up_is_not_present(walk: Trajectory) -> None:
    gaps = walk.coordinates.copy()
    gaps[::2, INDEX["arm_flex_r"]] = np.nan
    gaps[100:300, INDEX["elbow_flex_l"]] = np.nan
    facts = recording.describe(replace(walk, coordinates=gaps))
    assert "elbow_flex_l" in facts["missing"] and "elbow_flex_l" not in facts["present"]
    assert facts["missing_because"]["elbow_flex_l"] == "it is unknown for too much of the time"


def test_a_gap_at_the_end_of_a_limb_cuts_no_walk_in_two(walk: Trajectory) -> None:
    gaps = walk.coordinates.copy()
    gaps[200:240, INDEX["pro_sup_l"]] = np.nan
    gaps[40:66, INDEX["subtalar_angle_r"]] = np.nan
    facts = recording.describe(replace(walk, coordinates=gaps))
    assert facts["gait"]["strides"] == recording.describe(walk)["gait"]["strides"]
    assert facts["missing"] == ["subtalar_angle_r", "pro_sup_l"]
    gaps[200:240, INDEX["knee_angle_l"]] = np.nan
    cut = recording.describe(replace(walk, coordinates=gaps))
    assert "knee_angle_l" in cut["present"] and cut["gait"]["strides"] < facts["gait"]["strides"]


def test_what_cannot_be_used_names_the_coordinate_that_spoils_it() -> None:
    q = np.zeros((200, COORDINATE_COUNT), np.float32)
    q[:, INDEX["knee_angle_r"]] = np.where(np.arange(200) % 50 == 0, 0.1, np.nan)
    only = Trajectory(q, np.isin(COORDINATES, ("knee_angle_r",)), RATE_HZ)
    facts = recording.describe(only)
    assert facts["gait"] == "none: the recording cannot be used"
    assert facts["usable"].startswith("no: ") and "knee_angle_r is missing in 98 % of the frames" in facts["usable"]


def test_the_speed_is_that_of_the_stretch_that_can_be_used(walk: Trajectory) -> None:
    gap = walk.coordinates.copy()
    later = np.concatenate([gap[:100], np.full((200, COORDINATE_COUNT), np.nan), gap[100:]]).astype(np.float32)
    assert recording.describe(replace(walk, coordinates=later))["net_speed_m_s"] == pytest.approx(1.3, abs=0.1)


def test_no_truth_of_gait_is_learnt_from_a_pose_that_is_no_persons(
    walk: Trajectory, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from biomechgpt_jax.biomechanics.fitting import pose_checks

    write_mot(tmp_path / "a.mot", walk)

    def imported() -> importing.Trial:
        outcomes: list[importing.Outcome] = []
        importing.read_folder(tmp_path, {}, 1, outcomes.append, anyway=True)
        assert outcomes[0].trial is not None
        return outcomes[0].trial

    assert len(imported().contacts.strike_time) > 3
    monkeypatch.setattr(pose_checks, "of_movement", lambda _: (f"{IMPOSSIBLE}made for this test",))
    trial = imported()
    assert len(trial.contacts.strike_time) == 0
    assert f"{IMPOSSIBLE}made for this test" in trial.trajectory.metadata.flags
