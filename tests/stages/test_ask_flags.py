"""What `ask` says of a file before it answers: notes of what was assumed, and refusals of what is no person's pose."""

import csv
import json
from pathlib import Path

import numpy as np
import pytest
from norm_walker import grounded_walk

from biomechgpt_jax import cli
from biomechgpt_jax.answering import predict
from biomechgpt_jax.answering.asked import prediction
from biomechgpt_jax.biomechanics.skeleton import COORDINATES
from biomechgpt_jax.questions.registry import QUESTIONS
from biomechgpt_jax.stages import ask

LEGS = [f"{name}_{side}" for side in "rl" for name in ("hip_flexion", "knee_angle", "ankle_angle")]
WHY = "the legs do not move although the body travels 5.0 m"


def _write(path: Path, swing: float, header: str = "yes", speed: float = 1.25) -> Path:
    """A file of four seconds; its legs swing by so much, in the unit of the file."""
    time = np.arange(121) / 30
    columns = {"pelvis_tx": speed * time, "pelvis_ty": 0.95 + 0 * time, "pelvis_tz": 0.01 * np.sin(time)}
    columns |= {name: swing * (1 + np.sin(2 * np.pi * time + (name[-1] == "l") * np.pi)) for name in LEGS}
    rows = ["\t".join(f"{value:.5f}" for value in row) for row in zip(time, *columns.values(), strict=True)]
    path.write_text("\n".join([f"inDegrees={header}", "endheader", "\t".join(["time", *columns]), *rows]) + "\n")
    return path


@pytest.fixture(autouse=True)
def _stand_in(monkeypatch: pytest.MonkeyPatch) -> None:
    def answers(model, asked, codes, questions):  # type: ignore[no-untyped-def]
        return [prediction(item, (QUESTIONS[item.question].options or [1.0])[0], 0.8) for item in asked]

    def encode(crops, _):  # type: ignore[no-untyped-def]
        return [np.zeros((len(crop) // 4, 1), int) for crop in crops]

    monkeypatch.setattr(predict, "answers", answers)
    monkeypatch.setattr(ask, "load", lambda workdir, greedy, risk: ask.Answerer(None, encode, 32.0))  # type: ignore[arg-type]


def _ask(capsys: pytest.CaptureFixture[str], *arguments: object) -> tuple[int, list[str], str]:
    code = cli.main(["ask", *map(str, arguments)])
    out, err = capsys.readouterr()
    return code, out.splitlines(), err


def test_what_was_assumed_is_noted_before_the_answer(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = _write(tmp_path / "a.mot", swing=0.4)
    code, lines, _ = _ask(capsys, path, "Walking speed?")
    assert code == 0 and lines[0].startswith("note: the file says degrees") and lines[1].startswith("Walking speed?")
    one = json.loads("\n".join(_ask(capsys, path, "Walking speed?", "--json")[1]))
    several = json.loads("\n".join(_ask(capsys, path, "Walking speed?", "Cadence?", "--json")[1]))
    assert one["flags"] == several["flags"] and f"caution: {lines[0].removeprefix('note: ')}" in one["flags"]
    table = tmp_path / "answers.csv"
    assert _ask(capsys, path, "Walking speed?", "--csv", table)[0] == 0
    assert next(csv.DictReader(table.open(newline="")))["notes"] == f"file: {lines[0].removeprefix('note: ')}"


def test_a_file_of_which_nothing_was_assumed_has_no_note(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, lines, _ = _ask(capsys, _write(tmp_path / "a.mot", swing=25), "Walking speed?")
    assert code == 0 and not [line for line in lines if line.startswith("note:")]


def test_no_persons_pose_is_refused_unless_it_is_asked_for(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = _write(tmp_path / "still.mot", swing=0.02)
    code, lines, said = _ask(capsys, path, "Walking speed?")
    assert (code, lines) == (2, []) and f"{path}: {WHY}; --anyway answers all the same" in said
    code, lines, _ = _ask(capsys, path, "Walking speed?", "--anyway")
    assert code == 0 and lines[0] == f"note: {WHY}"


def test_in_a_folder_it_is_the_files_error(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    _write(tmp_path / "good.mot", swing=25)
    _write(tmp_path / "still.mot", swing=0.02)
    code, lines, _ = _ask(capsys, tmp_path, "Walking speed?", "--json")
    good, still = json.loads("\n".join(lines))["files"]
    assert code == 0 and good["answers"] and not still["answers"] and still["error"].startswith(WHY)
    assert isinstance(good["flags"], list)
    code, lines, _ = _ask(capsys, tmp_path, "Walking speed?", "--json", "--anyway")
    assert all(file["answers"] for file in json.loads("\n".join(lines))["files"])


@pytest.mark.parametrize("options", [["--static", "stand.trc"], ["--person", "Ann"]])
def test_options_of_markers_are_refused_where_there_are_none(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], options: list[str]
) -> None:
    path = _write(tmp_path / "a.mot", swing=25)
    code, _, said = _ask(capsys, path, *options, "Walking speed?")
    assert code == 2 and f"{options[0]} is for files of markers" in said
    code, _, said = _ask(capsys, tmp_path, *options, "Walking speed?")
    assert code == 2 and "are for one file" in said


def test_who_rolls_in_a_wheelchair_and_who_stands_still_are_people(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = _write(tmp_path / "rolling.mot", swing=0.5)
    text = path.read_text().splitlines()
    rows = [line.split("\t") for line in text[3:]]
    for row in rows:
        row[4:] = [str(float(value) + 88) for value in row[4:]]
    path.write_text("\n".join([*text[:3], *("\t".join(row) for row in rows)]) + "\n")
    for file in (path, _write(tmp_path / "standing.mot", swing=1.9, speed=0.0)):
        code, lines, _ = _ask(capsys, file, "Walking speed?")
        assert code == 0 and not [line for line in lines if line.startswith("note:")], lines


def _walk_of_norms(path: Path) -> Path:
    """A walk with its feet on the floor, as an OpenSim file."""
    walk = grounded_walk()
    time = np.arange(walk.frames) / walk.rate_hz
    rows = [
        "\t".join(f"{value:.6f}" for value in (at, *frame)) for at, frame in zip(time, walk.coordinates, strict=True)
    ]
    path.write_text("\n".join(["inDegrees=no", "endheader", "\t".join(["time", *COORDINATES]), *rows]) + "\n")
    return path


def test_what_is_measured_stands_beside_the_answer_as_inspect_tells_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = _walk_of_norms(tmp_path / "walk.mot")
    assert cli.main(["inspect", str(path), "--json"]) == 0
    told = json.loads(capsys.readouterr().out)["gait"]
    speed = told["walking_speed"]
    assert speed == pytest.approx(1.29, abs=0.02)
    assert f"  measured from the file: {speed:.2f} m/s" in _ask(capsys, path, "Walking speed?")[1]
    asked = ("Walking speed?", "Cadence?", "Is there an impairment?")
    answers = json.loads("\n".join(_ask(capsys, path, *asked, "--json")[1]))["answers"]
    assert [one["measured"] for one in answers] == [speed, told["cadence"], None]
    assert not [line for line in _ask(capsys, path, "Is there an impairment?")[1] if "measured" in line]


def test_nothing_is_measured_of_what_is_no_walk(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = _write(tmp_path / "a.mot", swing=20.0, speed=6.0)
    answer = json.loads("\n".join(_ask(capsys, path, "Walking speed?", "--json")[1]))
    why = "a run: nobody of this size walks at 6.0 m/s"
    assert answer["measured"] is None and answer["not_measured"] == why
    assert f"  not measured from the file: {why}" in _ask(capsys, path, "Walking speed?")[1]
    assert why not in "".join(_ask(capsys, path, "Is there an impairment?")[1])
    assert cli.main(["inspect", str(path)]) == 0
    assert f"none: {why}" in capsys.readouterr().out
