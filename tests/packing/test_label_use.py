"""Labels of recorded files of odd lengths become questions: from the CSV through import and pack to the evaluation."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest
from fabricated import walk
from packed_trials import WORDS, Codec

from biomechgpt_jax import config, formats
from biomechgpt_jax.biomechanics.skeleton import COORDINATE_COUNT
from biomechgpt_jax.biomechanics.trajectory import Trajectory
from biomechgpt_jax.data import importing, movements, store
from biomechgpt_jax.data.label_use import MOST_LINES, LabelUse
from biomechgpt_jax.data.splits import split_of
from biomechgpt_jax.errors import InputError
from biomechgpt_jax.formats.opensim import write_mot
from biomechgpt_jax.packing import sequences
from biomechgpt_jax.stages import evaluate, held_out

SHARED = Path(__file__).parents[2].parent / "shared" / "data"
LENGTHS = (81, 155, 41, 42, 43, 31, 31, 37, 33, 50, 63, 97, 120, 201)  # frames at 30 Hz
REAL = (
    "opencap_subject4/walking1_ik.mot",
    "opencap_subject4/walking2_ik.mot",
    "opencap_subject4/walkingTI1_ik.mot",
    "opencap_subject4/STS1_ik.mot",
    "opencap_subject4/squats1_ik.mot",
    "opencap_subject4/DJ1_ik.mot",
    "opensim_core/crouch_gait.mot",
)
CFG = dataclasses.replace(config.Experiment(), pack=config.Pack(row_length=640))  # a piece per character is long


def made_up(number: int, frames: int) -> Trajectory:
    moved = walk(7.0, 0.7 + 0.05 * number)[:frames]
    return Trajectory(moved, np.ones(COORDINATE_COUNT, bool), 30.0)


def real(number: int, frames: int) -> Trajectory:
    """The first frames of a real recording at 30 Hz, or all of it where it is shorter."""
    from biomechgpt_jax.biomechanics import preprocess

    found = preprocess.canonical(formats.read(SHARED / REAL[number % len(REAL)]))
    return dataclasses.replace(found, coordinates=found.coordinates[number % 3 :][:frames])


def folder_of(directory: Path, make) -> Path:
    """Fourteen labelled files; a row of the table each."""
    rows = ["file,participant,activity,diagnosis,device,falls,functional_reach"]
    for number, frames in enumerate(LENGTHS):
        write_mot(directory / f"{number:02d}.mot", make(number, frames))
        rows.append(f"{number:02d}.mot,P{number},walking,stroke,cane,{number % 2},{20 + number}")
    table = directory.parent / "labels.csv"
    table.write_text("\n".join(rows) + "\n")
    return table


@pytest.mark.parametrize("make", [made_up, real])
def test_every_label_of_fourteen_files_becomes_a_question(tmp_path: Path, make, capsys) -> None:
    if make is real and not SHARED.is_dir():
        pytest.skip("real recordings are not here")
    directory = tmp_path / "in"
    directory.mkdir()
    table = folder_of(directory, make)
    said = importing.import_folder(directory, tmp_path / "movements", table, workers=1)
    assert said["labels"] == {"given": 70, "asked": 70, "lost": []}

    report = sequences.pack(
        tmp_path / "movements", tmp_path / "rows", tmp_path / "blind", Codec(), WORDS, CFG, lambda *_: None
    )
    trials = list(movements.read(tmp_path / "movements", "test"))
    tested = sum(split_of(f"P{number}") == "test" for number in range(14))
    assert len(trials) == tested > 0
    asked = held_out.questions_of(trials, CFG)
    judged = evaluate.label_use(trials, asked, CFG)
    assert report["labels"] == {"given": 5 * (14 - tested), "asked": 5 * (14 - tested), "lost": []}
    assert judged.report() == {"given": 5 * tested, "asked": 5 * tested, "lost": []}
    assert judged.words() == f"{5 * tested} of {5 * tested} labels became questions"
    assert "became a question" not in capsys.readouterr().err
    assert store.metadata(tmp_path / "rows")["labels"] == report["labels"]


def test_an_import_names_the_files_whose_labels_are_lost(tmp_path: Path, capsys) -> None:
    directory = tmp_path / "in"
    directory.mkdir()
    write_mot(directory / "long.mot", Trajectory(walk(40.0), np.ones(COORDINATE_COUNT, bool), 30.0))
    still = np.ones(COORDINATE_COUNT, bool)
    still[:3] = False
    write_mot(directory / "rootless.mot", Trajectory(walk(5.0), still, 30.0))
    (directory / "broken.mot").write_text("endheader\ntime\tpelvis_tx\n0\tnonsense\n")
    table = tmp_path / "labels.csv"
    table.write_text(
        "file,diagnosis,tug_time,ten_metre_walk_time\nlong.mot,stroke,38,\nrootless.mot,,,9.5\nbroken.mot,stroke,12,\n"
    )
    said = importing.import_folder(directory, tmp_path / "movements", table, workers=1)
    assert (said["labels"]["given"], said["labels"]["asked"]) == (5, 1)
    lines = [line for line in capsys.readouterr().err.splitlines() if line.startswith("labels")]
    assert len(lines) == 3
    assert "broken.mot: no label became a question (diagnosis, tug_time): " in lines[0]
    assert lines[1].endswith(
        "rootless.mot: no label became a question (ten_metre_walk_time): pelvis_tx or pelvis_tz is not recorded"
    )
    assert "long.mot: not every label became a question (tug_time): it lasts 40.0 s" in lines[2]


def test_an_older_dataset_of_recordings_keeps_its_labels(tmp_path: Path, monkeypatch) -> None:
    """Written before `throughout` was stored: what has no latent severity was recorded, and labelled as a whole."""
    trial = next(iter(movements.read(_imported(tmp_path), "train")))
    older = {name: kind for name, kind in movements.FEATURES.items() if name != "throughout"}
    rows = []
    for number, severity in enumerate((np.nan, 0.4)):
        row = movements.record(dataclasses.replace(trial, trial_id=str(number), severity=severity))
        rows.append((str(number), {name: row[name] for name in older}))
    store.write(tmp_path / "older", "movements", older, {"train": rows}, {})
    found = {trial.trial_id: trial.throughout for trial in movements.read(tmp_path / "older", "train")}
    assert found == {"0": True, "1": False}


def _imported(tmp_path: Path) -> Path:
    directory = tmp_path / "in"
    directory.mkdir()
    folder_of(directory, made_up)
    importing.import_folder(directory, tmp_path / "movements", None, workers=1)
    return tmp_path / "movements"


def test_recordings_that_answer_no_question_are_refused_before_anything_is_written(tmp_path: Path) -> None:
    directory = tmp_path / "in"
    directory.mkdir()
    still = np.zeros((60, COORDINATE_COUNT), np.float32)
    write_mot(directory / "still.mot", Trajectory(still, np.ones(COORDINATE_COUNT, bool), 30.0))
    table = tmp_path / "labels.csv"
    person = next(f"P{n}" for n in range(99) if split_of(f"P{n}") == "train")
    table.write_text(f"file,participant\nstill.mot,{person}\n")
    importing.import_folder(directory, tmp_path / "movements", table, workers=1)
    with pytest.raises(InputError, match=r"9 crops that answer no question.*--labels"):
        sequences.pack(
            tmp_path / "movements", tmp_path / "rows", tmp_path / "blind", Codec(), WORDS, CFG, lambda *_: None
        )
    assert not (tmp_path / "rows").exists() and not (tmp_path / "blind").exists()


def test_a_long_list_of_lost_labels_is_cut() -> None:
    use = LabelUse()
    for number in range(30):
        use.add(f"{number}.mot", ["activity"], (), lambda name: "no reason")
    assert len(use.lines()) == MOST_LINES + 1 and use.lines()[-1].endswith("and 10 more")
    assert len(use.report()["lost"]) == 30
