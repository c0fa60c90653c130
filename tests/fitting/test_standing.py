"""Which way is up and in which unit, by the body: every axis, foreign objects, sitting, and headers that lie."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest
from marker_cloud import LABELS, RATE_HZ, place, walk, write_trc

from biomechgpt_jax import formats
from biomechgpt_jax.biomechanics.fitting.markers import METRES, Markers
from biomechgpt_jax.biomechanics.fitting.standing import upright
from biomechgpt_jax.biomechanics.flags import cautions
from biomechgpt_jax.biomechanics.skeleton import INDEX
from biomechgpt_jax.errors import InputError

# Proper rotations by the axis that is up after them: where x, y and z of the upright body go.
_ROTATIONS = {
    "+X": np.array([[0, 1, 0], [0, 0, 1], [1, 0, 0]]),
    "-X": np.array([[0, -1, 0], [0, 0, 1], [-1, 0, 0]]),
    "+Y": np.eye(3),
    "-Y": np.diag([1, -1, -1]),
    "+Z": np.array([[1, 0, 0], [0, 0, -1], [0, 1, 0]]),
    "-Z": np.array([[1, 0, 0], [0, 0, 1], [0, -1, 0]]),
}
_OBJECTS = {"Chair1": (0.5, 0.8, 4.2), "Chair2": (0.9, 0.8, 4.2), "Cone": (3.0, 0.1, -4.2), "Wall": (1.0, 2.4, 9.0)}


def _walk(**changes: object) -> Markers:
    return dataclasses.replace(Markers(place(walk(50)), LABELS, RATE_HZ), **changes)  # type: ignore[arg-type]


def _sitting() -> np.ndarray:
    q = np.zeros((50, 40), np.float32)
    q[:, INDEX["pelvis_ty"]] = 0.5
    for side in "rl":
        q[:, [INDEX[f"hip_flexion_{side}"], INDEX[f"knee_angle_{side}"]]] = np.radians(90)
    return place(q)


def _heights(markers: Markers) -> np.ndarray:
    return markers.positions[..., 1]


@pytest.mark.parametrize("up", list(_ROTATIONS))
@pytest.mark.parametrize("said", ["", "+Y", "+Z"])
def test_the_body_stands_whatever_axis_is_up_and_whatever_the_file_says(up: str, said: str) -> None:
    right, turn = _walk(), _ROTATIONS[up]
    assert np.linalg.det(turn) == pytest.approx(1)
    found = upright(_walk(positions=(right.positions @ turn.T).astype(np.float32), vertical=said))
    np.testing.assert_allclose(_heights(found), _heights(right), atol=1e-5)
    # The same body but for its heading: a mirrored one could not be turned onto it.
    a, b = (np.delete(m.positions[10] - m.positions[10].mean(axis=0), 1, axis=1) for m in (right, found))
    turn = b.T @ a
    angle = np.arctan2(turn[0, 1] - turn[1, 0], turn[0, 0] + turn[1, 1])
    cos, sin = np.cos(angle), np.sin(angle)
    np.testing.assert_allclose(b @ np.array([[cos, sin], [-sin, cos]]), a, atol=1e-4)
    told = f"the file says {said} is up, the body stands along {up}: the body is followed"
    assert cautions(found.metadata.flags) == ((told,) if said not in ("", up) else ())


@pytest.mark.parametrize("up", ["+Y", "+Z", "+X"])
def test_chairs_cones_and_walls_turn_nothing(up: str) -> None:
    things = np.tile(np.array(list(_OBJECTS.values()), np.float32), (50, 1, 1))
    positions = np.concatenate([_walk().positions, things], axis=1) @ _ROTATIONS[up].T
    found = upright(_walk(positions=positions.astype(np.float32), names=(*LABELS, *_OBJECTS)))
    np.testing.assert_allclose(_heights(found)[:, : len(LABELS)], _heights(_walk()), atol=1e-5)
    assert found.metadata.flags == ()


@pytest.mark.parametrize("up", ["+Y", "+Z", "-X"])
@pytest.mark.parametrize("trunk", [True, False])
def test_who_sits_all_the_time_is_told_by_the_trunk_and_guessed_without_it(up: str, trunk: bool) -> None:
    names = [i for i, name in enumerate(LABELS) if trunk or name not in ("C7", "T10", "CLAV", "STRN", "RSHO", "LSHO")]
    sits = _sitting()[:, names]
    turned = (sits @ _ROTATIONS[up].T).astype(np.float32)
    markers = Markers(turned, tuple(LABELS[i] for i in names), RATE_HZ, vertical="" if trunk else up)
    found = upright(markers)
    np.testing.assert_allclose(_heights(found), sits[..., 1], atol=1e-5)
    assert not cautions(found.metadata.flags)
    if not trunk:
        guessed = upright(dataclasses.replace(markers, vertical=""))
        assert "which axis is up is guessed" in cautions(guessed.metadata.flags)[0]


@pytest.mark.parametrize("said", ["mm", "cm", "m"])
@pytest.mark.parametrize("true", ["mm", "cm", "m"])
@pytest.mark.parametrize("ankles", [True, False])
def test_a_unit_that_gives_no_persons_size_is_not_believed(said: str, true: str, ankles: bool) -> None:
    right = _walk()
    positions = right.positions * METRES[said] / METRES[true]
    if not ankles:
        positions[:, [LABELS.index("RANK"), LABELS.index("LANK")]] = np.nan
    found = upright(_walk(positions=positions, unit=said))
    known = np.isfinite(found.positions)
    np.testing.assert_allclose(found.positions[known], right.positions[known], rtol=1e-4, atol=1e-4)
    names = {"mm": "millimetres", "cm": "centimetres", "m": "metres"}
    told = cautions(found.metadata.flags)
    assert (said == true) == (not told)
    assert all(f"the file says {said}" in text and f"read as {names[true]}" in text for text in told)


def test_a_child_and_a_giant_are_no_error_of_the_unit() -> None:
    for height_m in (0.6, 1.1, 2.2):
        found = upright(Markers(place(walk(50), height_m), LABELS, RATE_HZ, unit="mm"))
        assert found.metadata.flags == ()


def test_what_is_far_from_everything_is_unseen_and_all_of_it_is_refused() -> None:
    positions = place(walk(50))
    positions[3, 5] = 5e4
    assert np.isnan(upright(_walk(positions=positions)).positions[3, 5]).all()
    with pytest.raises(InputError, match="no marker lies within"):
        upright(_walk(positions=positions * 0 + 5e4, names=tuple(f"M{i}" for i in range(len(LABELS)))))


def test_a_file_whose_unit_and_axis_lie_is_read_as_the_true_one(tmp_path: Path) -> None:
    write_trc(tmp_path / "a.trc", place(walk(50)))
    write_trc(tmp_path / "b.trc", (place(walk(50)) @ _ROTATIONS["+X"].T).astype(np.float32))
    text = (tmp_path / "b.trc").read_text().replace("\tmm", "\tm")
    (tmp_path / "b.trc").write_text(text)
    plain, found = (formats.read_markers(tmp_path / name) for name in ("a.trc", "b.trc"))
    np.testing.assert_allclose(_heights(found), _heights(plain), atol=1e-4)
    assert found.names == LABELS and len(cautions(found.metadata.flags)) == 1
