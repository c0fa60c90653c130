"""Labels of an import that name a static trial, or a person among several; names of people are not stored."""

from pathlib import Path

import numpy as np
import pytest
from marker_cloud import LABELS, place, walk, write_trc

from biomechgpt_jax.data import importing, labels
from biomechgpt_jax.errors import InputError
from biomechgpt_jax.questions.registry import QUESTIONS

FRAMES = 60
_KNEES = ("RKNE", "LKNE")


def _write_static(folder: Path) -> None:
    """A movement without knees, and a quiet standing trial with them, both with clusters."""
    names = (*LABELS, *(f"{s}{n}" for s in "RL" for n in ("THI2", "THI3", "TIB2", "TIB3")))
    standing = np.repeat(walk(FRAMES)[:1], 30, axis=0)
    for name, q, keep in (
        ("walk.trc", walk(FRAMES), [i for i, label in enumerate(names) if label not in _KNEES]),
        ("cal/static.trc", standing, list(range(len(names)))),
    ):
        positions = place(q, labels=names)
        spread = np.random.default_rng(5).normal(0, 0.02, (1, len(names), 3))  # the table puts a cluster on one point
        spread[:, : len(LABELS)] = 0.0
        (folder / name).parent.mkdir(exist_ok=True)
        write_trc(folder / name, (positions + spread)[:, keep], tuple(names[i] for i in keep))


def _read(folder: Path, table: str) -> dict[str, importing.Outcome]:
    (folder / "labels.csv").write_text(table)
    outcomes = importing.read_folder(folder, labels.read(folder / "labels.csv"), 1, lambda outcome: None)
    return {outcome.file: outcome for outcome in outcomes}


def test_a_static_trial_named_in_the_labels_defines_the_knees_and_is_no_movement(tmp_path: Path) -> None:
    _write_static(tmp_path)
    alone = _read(tmp_path, "file,participant\nwalk.trc,P1\n")
    assert alone["walk.trc"].trial is None and "--static" in alone["walk.trc"].reason
    found = _read(tmp_path, "file,participant,static\nwalk.trc,P1,.\\cal\\static.trc\n")
    assert list(found) == ["walk.trc"]
    assert found["walk.trc"].trial is not None, found["walk.trc"].reason
    assert found["walk.trc"].trial.trajectory.metadata.participant == "P1"


def test_a_static_trial_with_labels_of_its_own_is_a_movement_too(tmp_path: Path) -> None:
    _write_static(tmp_path)
    table = "file,static,activity\nwalk.trc,cal/static.trc,\ncal/static.trc,,quiet standing\n"
    activity = next(word for word in QUESTIONS["activity"].options if "stand" in word)
    assert set(_read(tmp_path, table.replace("quiet standing", activity))) == {"walk.trc", "cal/static.trc"}


def test_a_static_trial_that_is_not_there_is_refused(tmp_path: Path) -> None:
    _write_static(tmp_path)
    with pytest.raises(InputError, match=r"name cal/statics\.trc as a static trial.*correct the column static"):
        _read(tmp_path, "file,static\nwalk.trc,cal/statics.trc\n")


def test_a_person_is_chosen_by_the_labels_and_named_in_no_flag(tmp_path: Path) -> None:
    one, other = place(walk(FRAMES)), place(walk(FRAMES), 1.5) + np.float32([0.0, 0.0, 2.0])
    lacking = [i for i, label in enumerate(LABELS) if not label.startswith(("RHEE", "RTOE", "RANK"))]
    names = (*(f"Ann:{label}" for label in LABELS), *(f"Ben:{LABELS[i]}" for i in lacking))
    write_trc(tmp_path / "two.trc", np.concatenate([one, other[:, lacking]], axis=1), names)
    for table, height_m in (("file\ntwo.trc\n", 1.75), ("file,person\ntwo.trc,Ben\n", 1.5)):
        outcome = _read(tmp_path, table)["two.trc"]
        assert outcome.trial is not None, outcome.reason
        assert outcome.trial.trajectory.metadata.height_m == pytest.approx(height_m, abs=0.05)
        assert "several people in the file" in outcome.line()
        assert "Ann" not in outcome.line() and "Ben" not in outcome.line()
