"""`benchmarks/field.py`: variants are drawn again by number, files are what they say, verdicts follow the rule."""

import random
from pathlib import Path

import field
import field_coordinates
import field_mutations
import numpy as np
import pytest
from field_changes import Change
from field_sources import Document, Sheet, Skeleton, Source, Table, copy

from biomechgpt_jax import formats
from biomechgpt_jax.biomechanics.flags import CAUTION, IMPOSSIBLE
from biomechgpt_jax.biomechanics.skeleton import COORDINATES

_LABELS = ["LASI", "RASI", "LPSI", "RPSI", "LKNE", "RKNE", "LANK", "RANK", "LHEE", "RHEE", "LTOE", "RTOE"]
_TIME = np.arange(120) / 60


def _sheet() -> Sheet:
    heights = np.repeat([1.0, 1.0, 0.5, 0.08, 0.04, 0.03], 2)
    places = np.array([[0.1 * (i // 2), height, 0.3 * (i % 2)] for i, height in enumerate(heights)])
    positions = places + np.stack([1.2 * _TIME, 0 * _TIME, 0 * _TIME], axis=1)[:, None]
    return Sheet(list(_LABELS), positions, 60.0, "+Y", "+Y", 60.0, np.arange(len(_TIME)))


def _table() -> Table:
    columns = ["pelvis_tx", "pelvis_ty", "pelvis_tz", "hip_flexion_r", "knee_angle_r", "hip_flexion_l", "knee_angle_l"]
    waves = 0.4 * np.sin(np.outer(6 * _TIME, np.ones(4)) + np.arange(4)) + 0.5
    values = np.c_[1.2 * _TIME, 0.9 + 0.02 * np.sin(9 * _TIME), 0 * _TIME, waves]
    return Table("Coordinates", columns, values, _TIME.copy(), False, False)


def _skeleton() -> Skeleton:
    hierarchy = ["HIERARCHY", "ROOT Hips", "{", "OFFSET 0 0 0"]
    hierarchy += ["CHANNELS 6 Xposition Yposition Zposition Zrotation Yrotation Xrotation"]
    for side, at in (("Left", 0.1), ("Right", -0.1)):
        for name, offset in (("UpLeg", f"{at} 0 0"), ("Leg", "0 -0.4 0"), ("Foot", "0 -0.4 0")):
            hierarchy += [f"JOINT {side}{name}", "{", f"OFFSET {offset}", "CHANNELS 3 Zrotation Yrotation Xrotation"]
        hierarchy += ["End Site", "{", "OFFSET 0 0 0.1", "}", "}", "}", "}"]
    frames = 5 * np.sin(np.outer(6 * _TIME, np.ones(24)) + np.arange(24))
    frames[:, :3] = np.c_[0 * _TIME, 0.9 + 0 * _TIME, 1.2 * _TIME]
    return Skeleton([*hierarchy, "}"], frames, 1 / 60)


@pytest.fixture(scope="module")
def documents() -> dict[Source, Document]:
    return {Source("a.trc", "+Y", ("LASI", "RASI")): _sheet(), Source("b.mot"): _table(), Source("c.bvh"): _skeleton()}


def test_a_variant_is_drawn_again_by_its_number(documents: dict[Source, Document], tmp_path: Path) -> None:
    originals = {source: copy(document) for source, document in documents.items()}
    names = set()
    for number in range(80):
        one, two = (field.draw(documents, 3, number) for _ in range(2))
        assert one.names == two.names and one.change.kind == two.change.kind
        names.update(one.names)
        if one.document.ending.lower() != ".c3d":
            one.document.write(tmp_path / "one")
            two.document.write(tmp_path / "two")
            assert (tmp_path / "one").read_bytes() == (tmp_path / "two").read_bytes()
    assert len(names) > 20
    for source, document in documents.items():
        document.write(tmp_path / "now")
        originals[source].write(tmp_path / "before")
        assert (tmp_path / "now").read_bytes() == (tmp_path / "before").read_bytes(), "drawing changes no source"


def test_markers_are_the_same_in_both_formats(tmp_path: Path) -> None:
    pytest.importorskip("ezc3d")
    sheet = _sheet()
    sheet.positions[10:20, 3] = np.nan
    for sheet.ending in (".trc", ".c3d"):
        sheet.write(tmp_path / f"walk{sheet.ending}")
    one, two = (formats.read_markers(tmp_path / f"walk{ending}") for ending in (".trc", ".c3d"))
    assert one.names == two.names == tuple(_LABELS)
    np.testing.assert_allclose(one.positions, two.positions, atol=1e-5)
    np.testing.assert_allclose(one.positions, sheet.positions, atol=1e-5)


@pytest.mark.parametrize("ending", [".mot", ".bvh"])
def test_coordinates_are_read_as_they_were_made(documents: dict[Source, Document], tmp_path: Path, ending: str) -> None:
    document = next(document for document in documents.values() if document.ending == ending)
    document.write(tmp_path / f"walk{ending}")
    read = formats.read(tmp_path / f"walk{ending}")
    reading = field.Reading(coordinates=read.coordinates, observed=read.observed, rate_hz=read.rate_hz)
    assert field.speed(reading) == pytest.approx(1.2, abs=0.01)


@pytest.mark.parametrize(
    ("label", "other"), [("LKNE", "RKNE"), ("HEEL", ""), ("KNEr", "KNEl"), ("r.ASIS", "L.ASIS"), ("C7", "")]
)
def test_the_label_of_the_other_side(label: str, other: str) -> None:
    labels = ["LKNE", "RKNE", "HEEL", "KNEr", "KNEl", "L.ASIS", "r.ASIS", "C7"]
    assert field_mutations.mirrored(label, labels) == other


def test_a_rotation_keeps_distances_and_names_the_axis_that_is_up() -> None:
    for number in range(20):
        sheet = _sheet()
        apart = np.linalg.norm(sheet.positions[:, :1] - sheet.positions, axis=2)
        field_mutations.turn(sheet, random.Random(number))
        np.testing.assert_allclose(np.linalg.norm(sheet.positions[:, :1] - sheet.positions, axis=2), apart)
        over = sheet.upwards * (sheet.positions[:, 0] - sheet.positions[:, 10])[:, sheet.height_axis]
        np.testing.assert_allclose(over, 0.97)


def _reading(speed: float = 1.2, knee_deg: float = 20.0, flags: tuple[str, ...] = ()) -> field.Reading:
    coordinates = np.zeros((60, len(COORDINATES)))
    coordinates[:, COORDINATES.index("pelvis_tx")] = speed * np.arange(60) / 60
    coordinates[:, COORDINATES.index("knee_angle_r")] = np.radians(knee_deg)
    return field.Reading(coordinates=coordinates, observed=np.ones(len(COORDINATES), bool), rate_hz=60.0, flags=flags)


_REFUSED = field.Reading(refused="the unit is wrong")
_SAID = (f"{CAUTION}the unit is guessed",)
_GRAVE = (f"{IMPOSSIBLE}left and right are exchanged",)


@pytest.mark.parametrize(
    ("change", "got", "verdict"),
    [
        (Change(), _reading(), field.RIGHT),
        (Change(), _reading(flags=_SAID), field.RIGHT),
        (Change(), _reading(flags=_GRAVE), field.FALSE_REFUSAL),
        (Change(), _REFUSED, field.FALSE_REFUSAL),
        (Change(), _reading(1.3), field.SILENT),
        (Change(), _reading(knee_deg=22), field.SILENT),
        (Change(), _reading(1.3, flags=_SAID), field.ILL_TOLD),
        (Change(), field.Reading(failed="IndexError"), field.FAILED),
        (Change("told", "unit"), _reading(flags=_SAID), field.RIGHT),
        (Change("told", "unit"), _reading(), field.ILL_TOLD),
        (Change("lie", "unit"), _REFUSED, field.RIGHT),
        (Change("lie", "axis"), _REFUSED, field.ILL_TOLD),
        (Change("lie", "unit"), _reading(0.0012), field.SILENT),
        (Change("damage"), _reading(), field.SILENT),
        (Change("damage"), _reading(1.3, flags=_GRAVE), field.RIGHT),
        (Change("ambiguous", "--person"), _reading(), field.SILENT),
        (Change(masked=("ankle_angle_l",)), _reading(), field.SILENT),
    ],
)
def test_verdicts(change: Change, got: field.Reading, verdict: str) -> None:
    assert field.judge(change, _reading(), got)[0] == verdict


def test_a_source_that_is_read_wrongly_is_told(documents: dict[Source, Document]) -> None:
    source, table = next((s, d) for s, d in documents.items() if isinstance(d, Table))
    lines = field.check(source, table, _reading(0.6, 60.0))
    assert len(lines) == 2 and "1.200" in lines[0] and "0.90" in lines[1]
    assert field.check(source, table, _REFUSED) == ["b.mot: the unit is wrong"]


def test_every_mutation_of_coordinates_applies(documents: dict[Source, Document]) -> None:
    for source, document in documents.items():
        mutations = {Table: field_coordinates.OF_TABLES, Skeleton: field_coordinates.OF_SKELETONS}.get(
            type(document), ()
        )
        for mutation in mutations:
            assert mutation(copy(document), random.Random(source.path)) is not None
