"""A folder of files, good and bad, becomes a dataset."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from biomechgpt_jax import arguments
from biomechgpt_jax.biomechanics import flags
from biomechgpt_jax.data import importing, labels, movements, splits, store
from biomechgpt_jax.errors import InputError

ROOT = Path(__file__).parents[2]


def _motion(path: Path, speed: float = 1.2, seconds: float = 2.0) -> None:
    frames = np.arange(int(seconds * 100) + 1) / 100
    rows = "".join(f"{t:.2f}\t{speed * t:.4f}\t0\t{20 * np.sin(6 * t):.4f}\n" for t in frames)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("inDegrees=yes\nendheader\ntime\tpelvis_tx\tpelvis_tz\thip_flexion_r\n" + rows)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    _motion(tmp_path / "in" / "ada" / "a.mot")
    _motion(tmp_path / "in" / "ada" / "b.mot", 0.8)
    _motion(tmp_path / "in" / "bob" / "c.mot", 1.5)
    _motion(tmp_path / "in" / "bob" / "blink.mot", seconds=0.2)
    _motion(tmp_path / "in" / ".cache" / "hidden.mot")
    (tmp_path / "in" / "broken.mot").write_text("endheader\ntime\tpelvis_tx\n0\tnonsense\n")
    return tmp_path / "in"


def _all_trials(where: Path) -> dict[str, movements.Trial]:
    return {trial.trial_id: trial for split in splits.SPLITS for trial in movements.read(where, split)}


def test_bad_files_are_reported_and_the_others_read(folder: Path, tmp_path: Path) -> None:
    said = importing.import_folder(folder, tmp_path / "out", None, workers=2)
    assert {f["file"]: f["read"] for f in said["files"]} == {
        "ada/a.mot": True,
        "ada/b.mot": True,
        "bob/blink.mot": False,
        "bob/c.mot": True,
        "broken.mot": False,
    }
    assert "0.2" in next(f["reason"] for f in said["files"] if f["file"] == "bob/blink.mot")
    trials = _all_trials(tmp_path / "out")
    assert {t.participant for t in trials.values()} == {"ada", "bob"}
    trial = trials["bob/c.mot"]
    moved = trial.trajectory.coordinates[-1, 0] - trial.trajectory.coordinates[0, 0]
    assert moved / ((trial.trajectory.frames - 1) / 30.0) == pytest.approx(1.5, abs=0.02)
    assert trial.trajectory.rate_hz == 30.0
    facts = store.metadata(tmp_path / "out")
    assert facts["synthetic"] is False
    assert facts["splits"] == {
        split: [splits.split_of(p) for p in ("ada", "bob")].count(split) for split in splits.SPLITS
    }


def test_a_pose_that_is_no_persons_is_left_out_unless_it_is_wanted_anyway(folder: Path, tmp_path: Path) -> None:
    """Legs that hang still while the body travels."""
    still = folder / "bob" / "still.mot"
    legs = [f"{name}_{side}" for side in "rl" for name in ("hip_flexion", "knee_angle", "ankle_angle")]
    rows = "".join(f"{t / 100}\t{t / 60}\t0" + 6 * "\t5" + "\n" for t in range(200))
    still.write_text("inDegrees=yes\nendheader\n" + "\t".join(["time", "pelvis_tx", "pelvis_tz", *legs]) + "\n" + rows)
    said = importing.import_folder(folder, tmp_path / "out", None, workers=1)
    (found,) = [one for one in said["files"] if one["file"] == "bob/still.mot"]
    assert not found["read"]
    assert found["reason"] == "the legs do not move although the body travels 3.3 m; --anyway imports it all the same"
    assert "bob/still.mot" not in _all_trials(tmp_path / "out")
    options, _ = arguments.parse(["import", str(folder), "--out", str(tmp_path / "all"), "--anyway"])
    importing.import_folder(folder, tmp_path / "all", None, workers=1, anyway=options.anyway)
    kept = _all_trials(tmp_path / "all")["bob/still.mot"]
    assert flags.impossible(kept.trajectory.metadata.flags) and not len(kept.contacts.strike_time)


def test_an_import_without_test_participants_says_what_to_do(folder: Path, tmp_path: Path, capsys) -> None:
    table = tmp_path / "labels.csv"
    alone = next(f"P{n}" for n in range(99) if splits.split_of(f"P{n}") == "train")
    table.write_text("file,participant\n" + "".join(f"{f},{alone}\n" for f in ("ada/a.mot", "ada/b.mot", "bob/c.mot")))
    said = importing.import_folder(folder, tmp_path / "out", table, workers=1)
    (line,) = [line for line in capsys.readouterr().err.splitlines() if "split" in line]
    assert line.startswith("nobody is in the test split, and evaluate needs somebody there; import recordings of more")
    assert "1 participants (1 train, 0 validation, 0 test)" in importing.summary(said, tmp_path / "out")


def test_labels_reach_their_trials(folder: Path, tmp_path: Path) -> None:
    table = tmp_path / "labels.csv"
    table.write_text(
        "file,participant,activity,diagnosis,age,tug_time\n"
        "ada/a.mot,P1,walking,Parkinson disease,71,14.5\nbob/c.mot,P2,walking,,,\n"
    )
    importing.import_folder(folder, tmp_path / "out", table, workers=1)
    trial = _all_trials(tmp_path / "out")["ada/a.mot"]
    assert (trial.participant, trial.diagnosis, trial.trajectory.metadata.age) == ("P1", "Parkinson disease", 71.0)
    assert trial.scores["tug_time"].value == 14.5
    assert _all_trials(tmp_path / "out")["ada/b.mot"].participant == "ada"


def test_the_result_of_a_test_is_not_asked_of_a_fragment(folder: Path, tmp_path: Path, capsys) -> None:
    for name, before in (("cut", 500), ("whole", 980)):  # frames before the pelvis jumps by 4 m, of 1001
        file = folder / "ada" / f"{name}.mot"
        _motion(file, seconds=10.0)
        head, rows = file.read_text().splitlines()[:3], file.read_text().splitlines()[3:]
        cells = [row.split("\t") for row in rows]
        moved = [[time, f"{float(tx) + 4 * (at >= before):.4f}", *rest] for at, (time, tx, *rest) in enumerate(cells)]
        file.write_text("\n".join([*head, *("\t".join(row) for row in moved)]) + "\n")
    table = tmp_path / "labels.csv"
    table.write_text("file,activity,tug_time\nada/cut.mot,walking,10\nada/whole.mot,walking,10\n")
    said = importing.import_folder(folder, tmp_path / "out", table, workers=1)
    trials = _all_trials(tmp_path / "out")
    assert "fragment" in trials["ada/cut.mot"].trajectory.metadata.flags
    assert not trials["ada/cut.mot"].scores and trials["ada/whole.mot"].scores["tug_time"].value == 10
    (lost,) = said["labels"]["lost"]
    assert (lost["file"], lost["questions"]) == ("ada/cut.mot", ["tug_time"])
    assert lost["reason"].startswith("only 5.0 s of it can be used") and lost["reason"] in capsys.readouterr().err


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("participant\nP1\n", "no column file"),
        ("file,particpant\na.mot,P1\n", "did you mean 'participant'"),
        ("file,diagnosis\na.mot,parkinson\n", "did you mean 'Parkinson disease'"),
        ("file,age\na.mot,old\n", "age is 'old'"),
        ("file,tug_time\na.mot,-3\n", "tug_time is '-3'"),
        ("file\na.mot\na.mot\n", "comes twice"),
        ("file,age\na.mot,3,4\n", "more cells"),
        ("file\nnowhere.mot\n", "nowhere.mot, which is not a motion file"),
    ],
)
def test_wrong_labels_are_refused_before_anything_is_read(folder: Path, tmp_path: Path, text: str, words: str) -> None:
    table = tmp_path / "labels.csv"
    table.write_text(text)
    with pytest.raises(InputError, match=words):
        importing.import_folder(folder, tmp_path / "out", table, workers=1)
    assert not (tmp_path / "out").exists()


def test_nothing_that_is_not_a_dataset_is_overwritten(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="not a dataset"):
        importing.import_folder(folder, tmp_path, None, workers=1)
    assert (folder / "ada" / "a.mot").exists()


def test_a_reader_that_dies_costs_one_file(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    jobs = [(folder, name, labels.Labels(), None) for name in ("ada/a.mot", "kill", "bob/c.mot")]
    monkeypatch.setattr(importing, "_read_one", _die_on_kill)
    outcomes = list(importing._in_parallel(jobs, 2))
    assert [(o.file, "died" in o.reason) for o in outcomes] == [
        ("ada/a.mot", False),
        ("kill", True),
        ("bob/c.mot", False),
    ]


def _die_on_kill(job: importing._Job) -> importing.Outcome:
    import os

    if job[1] == "kill":
        os._exit(11)
    return importing.Outcome(job[1], None, "not read here")


def test_the_verb_prints_json_and_refuses_an_empty_folder(folder: Path, tmp_path: Path) -> None:
    def run(*words: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "biomechgpt_jax", "import", *words]
        return subprocess.run(command, capture_output=True, text=True, cwd=ROOT, timeout=120, check=False)

    said = run(str(folder), "--out", str(tmp_path / "out"), "--json", "--workers", "1")
    assert said.returncode == 0, said.stderr
    assert json.loads(said.stdout)["dataset"]["trials"] == 3
    assert "left out  broken.mot" in said.stderr
    (tmp_path / "empty").mkdir()
    refused = run(str(tmp_path / "empty"), "--out", str(tmp_path / "out2"))
    assert (refused.returncode, len(refused.stderr.splitlines())) == (2, 1)
