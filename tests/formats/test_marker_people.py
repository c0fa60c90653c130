"""Files of markers read whole: who is in them, which markers were used, and a static trial beside them."""

from pathlib import Path

import numpy as np
import pytest
from marker_cloud import LABELS, RATE_HZ, place, walk, write_trc

from biomechgpt_jax import formats
from biomechgpt_jax.biomechanics import flags
from biomechgpt_jax.biomechanics.fitting.markers import Markers
from biomechgpt_jax.biomechanics.skeleton import INDEX
from biomechgpt_jax.errors import InputError
from biomechgpt_jax.formats import recording

FRAMES = 60
DATA = Path(__file__).parents[2].parent / "shared" / "data"


def _two(path: Path, lacking: tuple[str, ...] = ()) -> None:
    """Ann, 1.75 m, and Ben, 1.5 m and two metres beside her; he lacks some markers."""
    ann, ben = place(walk(FRAMES)), place(walk(FRAMES), 1.5) + np.float32([0.0, 0.0, 2.0])
    keep = [i for i, label in enumerate(LABELS) if label not in lacking]
    names = (*(f"Ann:{label}" for label in LABELS), *(f"Ben:{LABELS[i]}" for i in keep))
    write_trc(path, np.concatenate([ann, ben[:, keep]], axis=1), names)


def test_of_two_people_the_fuller_is_read_and_the_other_named(tmp_path: Path) -> None:
    _two(tmp_path / "a.trc", ("RANK", "RHEE", "RTOE"))
    read = formats.record(tmp_path / "a.trc")
    assert read.trajectory.metadata.height_m == pytest.approx(1.75, abs=0.05)
    assert any("Ann is read; left out: Ben" in text for text in flags.cautions(read.trajectory.metadata.flags))
    ben = formats.record(tmp_path / "a.trc", person="ben")
    assert ben.trajectory.metadata.height_m == pytest.approx(1.5, abs=0.05)
    assert "RANK" not in ben.markers_used
    assert not ben.trajectory.observed[INDEX["ankle_angle_r"]]  # it is not filled from Ann


def test_of_two_whole_people_one_must_be_named(tmp_path: Path) -> None:
    _two(tmp_path / "a.trc")
    with pytest.raises(InputError, match=r"a\.trc: holds 2 whole people, Ann and Ben; choose one with --person"):
        formats.record(tmp_path / "a.trc")
    with pytest.raises(InputError, match="nobody named 'Carl'; it holds Ann, Ben"):
        formats.record(tmp_path / "a.trc", person="Carl")


def test_a_recording_says_which_markers_were_used_and_which_fit_worst(tmp_path: Path) -> None:
    positions = place(walk(FRAMES))
    positions[:, LABELS.index("RFRM")] += np.float32([0.1, 0.1, 0.1])
    chair = np.zeros((FRAMES, 1, 3), np.float32) + np.float32([3.0, 0.4, 1.0])
    write_trc(tmp_path / "a.trc", np.concatenate([positions, chair], axis=1), (*LABELS, "CHAIR"))
    facts = formats.record(tmp_path / "a.trc").marker_facts()
    assert facts["marker_set"] == "Plug-in Gait"
    assert set(facts["markers_used"]) == set(LABELS) and facts["markers_not_used"] == ["CHAIR"]
    assert len(facts["worst_markers_cm"]) == 3 and all(error < 20 for error in facts["worst_markers_cm"].values())


@pytest.mark.parametrize("label", ["RASI", "RKNE"])
def test_a_marker_far_from_the_body_is_left_out_and_named(label: str) -> None:
    """The others of its segments tell where these are: a hip was 11 degrees off."""
    read = recording.of_markers(_astray(label))
    (said,) = flags.cautions(read.trajectory.metadata.flags)
    assert said.startswith(f"left out, far from their places on the body: {label} ")
    assert label in read.markers_unused and max(read.marker_error_cm.values()) < 2.0
    assert not flags.impossible(read.trajectory.metadata.flags)
    legs = [INDEX[f"{name}_{side}"] for name in ("hip_flexion", "knee_angle") for side in "rl"]
    off = np.abs(read.trajectory.coordinates[:, legs] - walk(30)[:, legs])
    assert np.degrees(np.median(off, axis=0)).max() < 5.0


def test_a_body_whose_knees_are_both_far_away_is_nobodys() -> None:
    read = recording.of_markers(_astray("RKNE", "LKNE"))
    assert any("RKNE" in said and "LKNE" in said for said in flags.impossible(read.trajectory.metadata.flags))


def _astray(*labels: str) -> Markers:
    positions = place(walk(30))
    positions[:, [LABELS.index(label) for label in labels]] += np.array([0.3, 0.2, 0.6], np.float32)
    return Markers(positions, LABELS, RATE_HZ)


def test_a_static_trial_may_name_the_person_otherwise(tmp_path: Path) -> None:
    names = (*LABELS, *(f"{s}{n}" for s in "RL" for n in ("THI2", "THI3", "TIB2", "TIB3")))
    spread = np.random.default_rng(5).normal(0, 0.02, (1, len(names), 3))
    spread[:, : len(LABELS)] = 0.0
    standing = np.repeat(walk(FRAMES)[:1], 30, axis=0)
    write_trc(tmp_path / "static.trc", place(standing, labels=names) + spread, tuple(f"Ann_cal:{n}" for n in names))
    keep = [i for i, label in enumerate(names) if label not in ("RKNE", "LKNE")]
    moved = (place(walk(FRAMES), labels=names) + spread)[:, keep]
    write_trc(tmp_path / "walk.trc", moved, tuple(f"Ann:{names[i]}" for i in keep))
    with pytest.raises(InputError, match=r"walk\.trc: lacks both knees.*--static FILE"):
        formats.record(tmp_path / "walk.trc", person="Ann")
    read = formats.record(tmp_path / "walk.trc", static=tmp_path / "static.trc", person="Ann")
    assert "RKNE" not in read.markers_used and "RTHI2" in read.markers_used
    assert np.median(list(read.marker_error_cm.values())) < 1.0


@pytest.mark.skipif(not DATA.is_dir(), reason="the folder of real files is not beside the checkout")
class TestRealFiles:
    @pytest.mark.parametrize(
        ("name", "marker_set", "used"),
        [
            ("field/ior_qualisys.trc", "IOR", 17),
            ("field/pose2sim_halpe26.trc", "HALPE_26, BODY_25 or COCO", 22),
            ("field/btk_Gait.c3d", "Helen Hayes, short names", 22),
            ("btkdata/561xxa01_anonym.C3D", "Davis", 20),
            ("addbiomechanics/JA1Gait35.c3d", "CGM2", 42),
        ],
    )
    def test_a_marker_set_is_recognised_and_fits(self, name: str, marker_set: str, used: int) -> None:
        if name.lower().endswith(".c3d"):
            pytest.importorskip("ezc3d")
            pytest.importorskip("c3d")
        read = formats.record(DATA / name)
        assert (read.marker_set, len(read.markers_used)) == (marker_set, used)
        assert np.median(list(read.marker_error_cm.values())) < 1.5
        assert not flags.impossible(read.trajectory.metadata.flags)

    @pytest.mark.parametrize(
        "name",
        ["field/subject01_walk1.trc", "field/osim_dataWithNaNsWithSpaces.trc", "opensim_core/walk_free_01.trc"],
    )
    def test_clusters_without_knees_ask_for_the_static_trial(self, name: str) -> None:
        with pytest.raises(InputError, match=r"lacks both knees.*static trial: give that with --static"):
            formats.record(DATA / name)

    def test_axes_of_bones_are_no_markers(self) -> None:
        pytest.importorskip("ezc3d")
        read = formats.record(DATA / "field" / "pig_full_with_bones.c3d")
        assert not {"RCLA", "LCLA", "PELO"} & set(read.markers_used)
        assert {"RSHO", "LSHO", "RTOE"} <= set(read.markers_used)
