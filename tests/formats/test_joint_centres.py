"""Joint centres and markers of other systems: arrays of HumanML3D and MediaPipe, tables of FreeMoCap and Motive."""

import random
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from marker_cloud import LABELS, RATE_HZ, place, walk

from biomechgpt_jax import formats
from biomechgpt_jax.biomechanics import kinematics
from biomechgpt_jax.biomechanics.flags import cautions
from biomechgpt_jax.errors import InputError
from biomechgpt_jax.formats import keypoints

PLACES = {"heel": "heel", "foot_index": "toe", "foot": "ball", "pinky": "hand", "index": "hand", "thumb": "hand"}


def _body(names: tuple[str, ...], frames: int = 40) -> np.ndarray:
    """Positions f64[T, J, 3] in metres of a walking body's joints; those that are no joints of ours lie at the head."""
    points = np.asarray(kinematics.points(walk(frames)), np.float64)
    columns = []
    for name in names:
        side, _, part = name.partition("_")
        ours = f"{PLACES.get(part, part)}_{side[0]}"
        middle = {"pelvis": "pelvis", "neck": "neck", "spine1": "lumbar"}.get(name, "head")
        columns.append(points[:, kinematics.POINT_INDEX.get(ours, kinematics.POINT_INDEX[middle])])
    return np.stack(columns, axis=1)


@pytest.mark.parametrize(
    ("names", "joints", "rate", "unit", "dtype"),
    [
        (keypoints.SMPL, 22, 20.0, 1.0, np.float32),
        (keypoints.SMPL, 24, 20.0, 1.0, np.float64),
        (keypoints.MEDIAPIPE, 33, 30.0, 1000.0, np.float32),
    ],
)
def test_arrays_of_positions_become_labelled_joints(
    tmp_path: Path, names: tuple[str, ...], joints: int, rate: float, unit: float, dtype: type
) -> None:
    truth = _body(names)
    stored = np.concatenate([truth, np.ones((len(truth), joints - len(names), 3))], axis=1)
    np.save(tmp_path / "a.npy", (unit * stored).astype(dtype))
    np.save(tmp_path / "b.npy", (unit * stored).astype(dtype)[None])
    for name in ("a.npy", "b.npy"):
        markers = formats.read_markers(tmp_path / name)
        assert markers.names == names and markers.rate_hz == rate
        np.testing.assert_allclose(markers.positions, truth, atol=1e-4)
        assert f"caution: the file names no frame rate: {rate:g} Hz is assumed" in markers.metadata.flags


def _pickle(path: Path) -> None:
    np.save(path, np.array([{"motion": 1}], dtype=object), allow_pickle=True)


def _cut(path: Path) -> None:
    np.save(path, _body(keypoints.SMPL))
    path.write_bytes(path.read_bytes()[:-100])


def _huge(path: Path) -> None:
    with path.open("wb") as file:
        np.lib.format.write_array_header_1_0(file, {"descr": "<f4", "fortran_order": False, "shape": (10**12, 22, 3)})
        file.write(b"\x00" * 4096)


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda p: np.save(p, np.zeros((60, 263))), "features of HumanML3D .* give new_joints"),
        (lambda p: np.save(p, np.zeros((60, 17, 3))), r"array \[60, 17, 3\]; give positions"),
        (lambda p: np.save(p, np.zeros((60, 22, 3))), "no positions in its 60 frames"),
        (lambda p: np.save(p, np.full((60, 22, 3), np.nan)), "no positions in its 60 frames"),
        (lambda p: np.save(p, np.ones((1, 22, 3))), "no positions in its 1 frames"),
        (lambda p: np.save(p, np.array(["a"])), "<U1, not numbers"),
        (_pickle, "holds objects, not numbers"),
        (_cut, "is cut off"),
        (_huge, "holds 66000000000000 numbers"),
        (lambda p: p.write_bytes(b"\x93NUMPY\x01\x00\x10\x00{'descr': oops}\n"), "not a NumPy array"),
        (lambda p: p.write_bytes(b""), "not a NumPy array"),
    ],
)
def test_other_arrays_are_refused_in_one_line(tmp_path: Path, make: Callable[[Path], object], words: str) -> None:
    make(tmp_path / "a.npy")
    with pytest.raises(InputError, match=words) as refused:
        formats.load(tmp_path / "a.npy")
    assert "\n" not in str(refused.value) and str(tmp_path / "a.npy") in str(refused.value)


def _wide(
    path: Path, truth: np.ndarray, prefix: str = "", separator: str = ",", time: np.ndarray | None = None
) -> Path:
    names = [f"{prefix}{name}_{axis}" for name in keypoints.MEDIAPIPE for axis in "xyz"]
    rows = [[f"{1000 * x:.3f}" if np.isfinite(x) else "" for x in frame.ravel()] for frame in truth]
    if time is not None:
        names = ["timestamp", *names]
        rows = [[f"{t:.6f}", *row] for t, row in zip(time, rows, strict=True)]
    mark = "," if separator != "," else "."
    text = "\n".join(
        separator.join(row).replace(".", mark) if separator != "," else ",".join(row) for row in [names, *rows]
    )
    path.write_text(text + "\n")
    return path


def _tidy(path: Path, truth: np.ndarray, time: np.ndarray) -> Path:
    lines = ["frame,timestamp,timestamp_by_camera,model,keypoint,x,y,z,reprojection_error"]
    for frame, (t, points) in enumerate(zip(time, truth, strict=True)):
        for name, point in zip(keypoints.MEDIAPIPE, points, strict=True):
            x, y, z = (f"{1000 * value:.3f}" for value in point)
            lines.append(f"{frame},{t:.0f},{{'a': 1}},mediapipe.body,body_{name},{x},{y},{z},0.4")
        lines.append(f"{frame},{t:.0f},{{'a': 1}},mediapipe.right_hand,right_hand_wrist,1,2,3,0.4")
    path.write_text("\n".join(lines) + "\n")
    return path


@pytest.mark.parametrize(("prefix", "separator"), [("", ","), ("body_", ","), ("", ";"), ("", "\t")])
def test_tables_of_freemocap_are_read(tmp_path: Path, prefix: str, separator: str) -> None:
    truth = _body(keypoints.MEDIAPIPE)
    truth[3, 5] = np.nan
    markers = formats.read_markers(_wide(tmp_path / "a.csv", truth, prefix, separator))
    assert markers.names == keypoints.MEDIAPIPE and markers.rate_hz == 30.0
    assert "caution: the file names no frame rate: 30 Hz is assumed" in markers.metadata.flags
    np.testing.assert_allclose(markers.positions, truth, atol=1e-4)


@pytest.mark.parametrize("unit_s", [1.0, 1e-3, 1e-9])
def test_the_times_of_freemocap_give_the_rate_whatever_they_count(tmp_path: Path, unit_s: float) -> None:
    truth = _body(keypoints.MEDIAPIPE)
    time = 1e9 + np.arange(len(truth)) / 25 / unit_s
    markers = formats.read_markers(_wide(tmp_path / "a.csv", truth, time=time))
    assert markers.rate_hz == pytest.approx(25.0) and not markers.metadata.flags
    np.testing.assert_allclose(markers.positions, truth, atol=1e-4)


def test_a_row_for_each_joint_and_frame_is_read_without_the_hands(tmp_path: Path) -> None:
    truth = _body(keypoints.MEDIAPIPE)
    markers = formats.read_markers(_tidy(tmp_path / "a.csv", truth, np.arange(len(truth)) * 40e6))
    assert markers.names == keypoints.MEDIAPIPE and markers.rate_hz == pytest.approx(25.0)
    np.testing.assert_allclose(markers.positions, truth, atol=1e-4)


def _motive(path: Path, separator: str = ",", unit: str = "Millimeters", skip: slice | None = None) -> np.ndarray:
    """Write a take with LABELS of one person, an unlabelled marker, a rigid body and its marker; returns positions."""
    truth = place(walk(50)).astype(np.float64)
    scale = {"Millimeters": 1000.0, "Centimeters": 100.0, "Meters": 1.0}[unit]
    types = [*["Rigid Body"] * 7, *["Rigid Body Marker"] * 3, *["Marker"] * 3 * (len(LABELS) + 1)]
    names = [
        *["Box"] * 7,
        *["Box:Marker1"] * 3,
        *(f"Ann:{name}" for name in LABELS for _ in "XYZ"),
        *["Unlabeled 1034"] * 3,
    ]
    kinds = [*["Rotation"] * 4, *["Position"] * (len(names) - 4)]
    axes = [*"XYZW", *"XYZ" * (len(names) // 3 - 1)]
    facts = ["Format Version", "1.23", "Take Name", "walk 1", "Capture Frame Rate", "100.000000"]
    facts += ["Export Frame Rate", f"{RATE_HZ:.6f}", "Length Units", unit, "Coordinate Space", "Global"]
    others = np.full((len(truth), 10), 0.5)
    body = np.concatenate([others, scale * truth.reshape(len(truth), -1), np.zeros((len(truth), 3))], axis=1)
    rows = [facts, [], ["", "Type", *types], ["", "Name", *names], ["", "ID", *["9F"] * len(names)]]
    rows += [["", "", *kinds], ["Frame", "Time (Seconds)", *axes]]
    rows += [[str(i), f"{i / RATE_HZ:.6f}", *(f"{x:.6f}" for x in row)] for i, row in enumerate(body)]
    rows[12][2 + 10 : 2 + 13] = ["", "", ""]  # the first marker in frame 5
    if skip is not None:
        del rows[7 + skip.start : 7 + skip.stop]
    if separator == ";":
        rows = [[cell.replace(".", ",") for cell in row] for row in rows]
    path.write_text("\n".join(separator.join(row) for row in rows) + "\n", encoding="utf-8-sig")
    return truth


@pytest.mark.parametrize(
    ("separator", "unit"), [(",", "Millimeters"), (",", "Meters"), (";", "Centimeters"), ("\t", "Millimeters")]
)
def test_labelled_markers_of_motive_are_read(tmp_path: Path, separator: str, unit: str) -> None:
    truth = _motive(tmp_path / "a.csv", separator, unit)
    markers = formats.read_markers(tmp_path / "a.csv")
    assert markers.names == LABELS and markers.rate_hz == RATE_HZ and markers.metadata.flags == ()
    assert np.isnan(markers.positions[5, 0]).all()
    markers.positions[5, 0] = truth[5, 0]
    np.testing.assert_allclose(markers.positions, truth, atol=1e-4)


def test_rows_that_motive_lost_are_unseen_frames(tmp_path: Path) -> None:
    truth = _motive(tmp_path / "a.csv", skip=slice(10, 30))
    markers = formats.read_markers(tmp_path / "a.csv")
    assert markers.frames == 50 and np.isnan(markers.positions[10:30]).all()
    np.testing.assert_allclose(markers.positions[30:], truth[30:], atol=1e-4)
    assert markers.metadata.flags == ("caution: 0.40 s are missing after data row 10",)


@pytest.mark.parametrize("kind", ["motive", "wide"])
def test_short_rows_and_a_last_one_that_is_cut_off_are_told(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "a.csv"
    if kind == "motive":
        _motive(path)
    else:
        _wide(path, _body(keypoints.MEDIAPIPE, 50), time=np.arange(50) / 25)
    lines = path.read_text(encoding="utf-8-sig").strip().splitlines()
    lines[-3], lines[-1] = ",".join(lines[-3].split(",")[:-5]), lines[-1][:12]
    path.write_text("\n".join(lines))
    found = formats.load(path)
    assert isinstance(found, formats.Markers) and found.frames == 49
    assert cautions(found.metadata.flags) == (
        "the last row is cut off, and is left out",
        "1 of 49 rows have fewer cells than there are columns: what they lack is unseen",
    )
    assert not np.isfinite(found.positions[47, -1]).any() and np.isfinite(found.positions[46:, :-2]).all()


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("Marker,Marker", "Bone,Bone", "no positions of labelled markers"),
        ("Ann:", "Unlabeled ", "no positions of labelled markers .* Marker, Rigid Body"),
        ("Millimeters", "Furlongs", "units of 'furlongs'"),
        ("Frame,Time", "Row,Time", "no row of axes"),
        ("0.500000", "half", "row 7: a cell is not a number"),
    ],
)
def test_damaged_takes_are_refused(tmp_path: Path, old: str, new: str, words: str) -> None:
    _motive(tmp_path / "a.csv")
    text = (tmp_path / "a.csv").read_text(encoding="utf-8-sig")
    assert old in text
    (tmp_path / "a.csv").write_text(text.replace(old, new))
    with pytest.raises(InputError, match=words):
        formats.load(tmp_path / "a.csv")


def test_other_tables_are_no_movement(tmp_path: Path) -> None:
    (tmp_path / "labels.csv").write_text("file,participant\na.mot,P1\n")
    (tmp_path / "empty.csv").write_text("")
    assert not formats.is_motion(tmp_path / "labels.csv") and not formats.is_motion(tmp_path / "empty.csv")
    with pytest.raises(InputError, match="a table of something else"):
        formats.read(tmp_path / "labels.csv")
    _motive(tmp_path / "take.csv")
    assert formats.is_motion(tmp_path / "take.csv") and formats.is_motion(tmp_path / "a.MOT")


def test_a_folder_of_takes_and_labels_lists_the_takes(tmp_path: Path) -> None:
    from biomechgpt_jax.data import importing

    _motive(tmp_path / "take.csv")
    (tmp_path / "labels.csv").write_text("file;age\ntake.csv;63\n")
    assert importing.files_in(tmp_path) == [tmp_path / "take.csv"]


@pytest.mark.parametrize("kind", ["motive", "wide", "tidy"])
def test_words_of_a_table_replaced_at_random_never_break_the_reader(tmp_path: Path, kind: str) -> None:
    path, truth = tmp_path / "a.csv", _body(keypoints.MEDIAPIPE, 8)
    if kind == "motive":
        _motive(path)
    elif kind == "wide":
        _wide(path, truth, time=np.arange(8) / 25)
    else:
        _tidy(path, truth, np.arange(8) * 40e6)
    cells, outcomes = path.read_text().split(","), []
    for seed in range(60):
        rng, damaged = random.Random(seed), list(cells)
        for _ in range(3):
            at = rng.randrange(len(cells) if seed % 2 else 60)
            damaged[at] = rng.choice(("nan", "inf", "-1e300", "", "99999999999", "1,5", "x", "\n", '"'))
        path.write_text(",".join(damaged))
        try:
            markers = formats.load(path)
            outcomes.append("read")
            assert isinstance(markers, formats.Markers) and np.isfinite(markers.positions).any()
        except InputError as error:
            outcomes.append(str(error))
    assert "read" in outcomes and not any("\n" in outcome for outcome in outcomes)
    assert len(set(outcomes)) > 3
