"""Markers that are not seen: gaps and hidden coordinates, never a neutral pose passed off as observed."""

from pathlib import Path

import numpy as np
import pytest
from marker_cloud import LABELS, RATE_HZ, hide, place, walk, write_trc

from biomechgpt_jax import formats
from biomechgpt_jax.biomechanics import gait, preprocess
from biomechgpt_jax.biomechanics.fitting import inverse
from biomechgpt_jax.biomechanics.fitting.markers import Markers
from biomechgpt_jax.biomechanics.skeleton import COORDINATES, INDEX
from biomechgpt_jax.biomechanics.trajectory import Trajectory
from biomechgpt_jax.config import CANONICAL_RATE_HZ
from biomechgpt_jax.data import importing
from biomechgpt_jax.errors import InputError
from biomechgpt_jax.reports import recording

DATA = Path(__file__).parents[2].parent / "shared" / "data"
FRAMES = 150
ANKLE = INDEX["ankle_angle_r"]
FOOT = ("RHEE", "RTOE")
LEFT_LEG = ("LTHI", "LKNE", "LTIB", "LANK", "LHEE", "LTOE")
LEFT_LEG_COORDINATES = {name for name in COORDINATES if name.endswith("_l")} & set(COORDINATES[:20])
ARMS = tuple(f"{side}{name}" for side in "RL" for name in ("UPA", "ELB", "FRM", "WRA", "WRB"))


def _fit(positions: np.ndarray) -> Trajectory:
    return inverse.fit(Markers(positions, LABELS, RATE_HZ)).trajectory


def _apart_deg(found: Trajectory, name: str, first: int = 0) -> np.ndarray:
    """How far a coordinate at 30 Hz is from the truth, whose frame `first` is the first frame of it; degrees f[M]."""
    time = first / RATE_HZ + np.arange(found.frames) / CANONICAL_RATE_HZ
    truth = walk(FRAMES)[:, INDEX[name]]
    return np.degrees(np.abs(found.coordinates[:, INDEX[name]] - np.interp(time, np.arange(FRAMES) / RATE_HZ, truth)))


def _hidden(trajectory: Trajectory) -> set[str]:
    return {name for name, seen in zip(COORDINATES, trajectory.observed, strict=True) if not seen}


@pytest.fixture(scope="module")
def whole() -> Trajectory:
    """Fitted to all markers."""
    return _fit(place(walk(FRAMES)))


def test_all_markers_leave_no_gap_and_no_flag(whole: Trajectory) -> None:
    assert np.isfinite(whole.coordinates).all()
    assert whole.metadata.flags == ()


def test_a_foot_unseen_for_a_moment_is_a_gap_that_is_filled(whole: Trajectory) -> None:
    found = _fit(hide(place(walk(FRAMES)), FOOT, 70, 78))
    assert set(np.argwhere(np.isnan(found.coordinates))[:, 0]) == set(range(70, 78))
    gaps = {COORDINATES[i] for i in np.flatnonzero(np.isnan(found.coordinates).any(axis=0))}
    assert gaps == {"ankle_angle_r", "subtalar_angle_r"}
    assert "unseen-6%-of-the-time:ankle_angle_r" in found.metadata.flags
    filled = preprocess.canonical(found)
    assert filled.observed[ANKLE] and "gap" in filled.metadata.flags and "trimmed" not in filled.metadata.flags
    assert _apart_deg(filled, "ankle_angle_r").max() < 3
    # The frames next to the gap are as they are without it: nothing of the neutral pose gets into them.
    known = np.isfinite(found.coordinates)
    apart = np.degrees(np.abs(found.coordinates - whole.coordinates))[:, 3:]
    assert apart[known[:, 3:]].max() < 1


def test_a_foot_unseen_for_longer_than_a_gap_is_cut_out() -> None:
    found = _fit(hide(place(walk(FRAMES)), FOOT, 60, 75))
    prepared = preprocess.prepare([found])[0]
    assert prepared.used == slice(75, 150)
    assert prepared.trajectory.observed[ANKLE] and "trimmed" in prepared.trajectory.metadata.flags
    assert _apart_deg(prepared.trajectory, "ankle_angle_r", 75).max() < 3


def test_a_foot_unseen_for_two_of_three_seconds_is_hidden_and_the_rest_kept() -> None:
    found = _fit(hide(place(walk(FRAMES)), FOOT, 20, 120))
    assert {"ankle_angle_r", "subtalar_angle_r"} <= _hidden(found)
    assert (found.coordinates[:, ANKLE] == 0).all()
    assert "unseen-67%-of-the-time:ankle_angle_r" in found.metadata.flags
    prepared = preprocess.prepare([found])[0]
    assert prepared.used == slice(0, FRAMES) and prepared.trajectory.observed[INDEX["ankle_angle_l"]]
    assert _apart_deg(prepared.trajectory, "knee_angle_r").max() < 3


def test_a_foot_unseen_for_a_third_of_the_time_is_given_up_by_preprocessing() -> None:
    found = _fit(hide(place(walk(FRAMES)), FOOT, 50, 100))
    assert found.observed[ANKLE]
    canonical = preprocess.canonical(found)
    assert not canonical.observed[ANKLE] and canonical.frames == 90
    assert "lost:ankle_angle_r" in canonical.metadata.flags


def test_a_limb_that_is_never_seen_is_hidden_and_does_not_spoil_the_rest() -> None:
    found = _fit(hide(place(walk(FRAMES)), LEFT_LEG))
    assert _hidden(found) >= LEFT_LEG_COORDINATES
    assert not _hidden(found) & {"hip_rotation_r", "ankle_angle_r", "lumbar_bending", "elbow_flex_l"}
    flags = [flag for flag in found.metadata.flags if flag.startswith("unseen-100%-of-the-time:")]
    assert {flag.split(":")[1] for flag in flags} == LEFT_LEG_COORDINATES - {"mtp_angle_l"}  # no marker on the toes
    canonical = preprocess.canonical(found)
    assert canonical.frames == 90 and np.isfinite(canonical.coordinates).all()
    assert _apart_deg(canonical, "knee_angle_r").max() < 3


def test_arms_that_are_never_seen_are_hidden() -> None:
    found = _fit(hide(place(walk(FRAMES)), ARMS))
    assert _hidden(found) >= {name for name in COORDINATES if name.startswith(("arm_", "elbow_", "pro_sup"))}
    assert not _hidden(found) & {"lumbar_extension", "lumbar_bending", "lumbar_rotation", "hip_flexion_l"}
    assert np.isfinite(found.coordinates).all()


def test_markers_that_flicker_cost_no_frame(whole: Trajectory) -> None:
    positions, rng = place(walk(FRAMES)), np.random.default_rng(1)
    for marker in range(len(LABELS)):
        for first in rng.integers(1, FRAMES - 4, 8):
            positions[first : first + rng.integers(1, 4), marker] = np.nan
    found = _fit(positions)
    assert len(np.unique(np.isfinite(positions[..., 0]), axis=0)) > 100
    assert found.observed.tolist() == whole.observed.tolist()
    prepared = preprocess.prepare([found])[0]
    assert prepared.used.stop - prepared.used.start > 0.9 * FRAMES
    for name in ("hip_flexion_r", "knee_angle_l", "ankle_angle_r", "lumbar_rotation", "elbow_flex_l"):
        assert _apart_deg(prepared.trajectory, name, prepared.used.start).max() < 5, name


@pytest.mark.parametrize(
    ("unseen", "gaps"),
    [
        (("RHEE",), set()),  # one point of the foot and the ankle's marker still show both angles
        (("RTIB", "RANK", "RHEE", "RTOE"), {"knee_angle_r", "ankle_angle_r", "subtalar_angle_r"}),
        (("LWRA",), set()),  # the other marker of the wrist, forearm and hand still show its turn
        (("LWRA", "LWRB", "LFRM"), {"elbow_flex_l", "pro_sup_l"}),  # LUPA and LELB show the upper arm's turn
        (("T10", "STRN"), set()),
    ],
)
def test_what_is_a_gap_follows_from_the_markers_that_are_left(unseen: tuple[str, ...], gaps: set[str]) -> None:
    found = _fit(hide(place(walk(64)), unseen, 30, 34))
    assert {COORDINATES[i] for i in np.flatnonzero(np.isnan(found.coordinates[30:34]).any(axis=0))} == gaps
    assert np.isfinite(np.delete(found.coordinates, range(30, 34), axis=0)).all()


def test_gait_and_inspection_do_not_take_gaps_for_values() -> None:
    found = _fit(hide(hide(place(walk(FRAMES)), FOOT, 60, 75), ("RASI", "LASI", "RPSI", "LPSI"), 0, 5))
    with pytest.raises(InputError, match=r"ankle_angle_r.* missing in some frames"):
        gait.analyse(found)
    with pytest.raises(InputError, match="missing in some frames"):
        gait.detect_contacts(found)
    facts = recording.describe(found, "walking")
    assert facts["net_speed_m_s"] == pytest.approx(1.2, abs=0.05)
    assert {"trimmed", "unseen-10%-of-the-time:ankle_angle_r"} <= set(facts["flags"])


def test_a_marker_file_with_a_gap_is_imported_without_it(tmp_path: Path) -> None:
    write_trc(tmp_path / "walk.trc", hide(place(walk(FRAMES)), FOOT, 60, 75))
    outcomes: list[importing.Outcome] = []
    importing.read_folder(tmp_path, {}, 1, outcomes.append)
    trial = outcomes[0].trial
    assert trial is not None, outcomes[0].reason
    assert np.isfinite(trial.trajectory.coordinates).all() and trial.trajectory.observed[ANKLE]
    assert _apart_deg(trial.trajectory, "ankle_angle_r", 75).max() < 3
    assert "unseen-10%-of-the-time:ankle_angle_r" in outcomes[0].line()


@pytest.mark.skipif(not DATA.is_dir(), reason="the folder of real files is not beside the checkout")
class TestRealFiles:
    FOOT = ("r_calc", "r_toe", "r_5meta")

    @pytest.fixture(scope="class")
    def markers(self) -> Markers:
        return formats.read_markers(DATA / "opencap_subject4" / "walking1.trc")

    def _without_foot(self, markers: Markers, first: int, end: int) -> Trajectory:
        lower = [name.lower().removesuffix("_study") for name in markers.names]
        positions = markers.positions.copy()
        positions[first:end, [i for i, name in enumerate(lower) if name in self.FOOT]] = np.nan
        return inverse.fit(Markers(positions, markers.names, markers.rate_hz, markers.metadata)).trajectory

    @pytest.mark.parametrize(("first", "end"), [(50, 66), (50, 80)])
    def test_the_ankle_is_filled_or_cut_out_but_never_neutral(self, markers: Markers, first: int, end: int) -> None:
        known = inverse.fit(markers).trajectory.coordinates[:, ANKLE]
        found = self._without_foot(markers, first, end)
        assert np.isnan(found.coordinates[first:end, ANKLE]).all()
        prepared = preprocess.prepare([found])[0]
        assert prepared.trajectory.observed[ANKLE]
        native = preprocess.at_own_rate(found, prepared)
        apart = np.degrees(np.abs(native.coordinates[:, ANKLE] - known[prepared.used]))
        assert apart.max() < 3
        assert {"gap", "trimmed"} & set(prepared.trajectory.metadata.flags)

    def test_a_foot_that_is_listed_and_never_seen_is_hidden_and_gets_no_gait_scores(self) -> None:
        found = formats.read(DATA / "field" / "left_foot_missing.trc")
        assert {"ankle_angle_l", "subtalar_angle_l"} <= _hidden(found)
        assert "ankle_angle_r" not in _hidden(found) and "knee_angle_l" not in _hidden(found)
        facts = recording.describe(found)
        assert "unseen-100%-of-the-time:ankle_angle_l" in facts["flags"]
        assert facts["gait"] == "none: ankle_angle_l is not seen"
        assert facts["missing_because"]["ankle_angle_l"] == "its markers are never seen"
        assert "ankle_angle_l" in facts["missing"] and "ankle_angle_l" not in facts["present"]
