"""`biomechgpt ask` as a user meets it: what is printed, what is refused, and what goes into a table.

The model is a stand-in whose answers are known; everything else is the program's own.
"""

import csv
import json
from pathlib import Path

import numpy as np
import pytest

from biomechgpt_jax import cli, formats
from biomechgpt_jax.answering import predict
from biomechgpt_jax.answering.asked import prediction
from biomechgpt_jax.biomechanics.skeleton import COORDINATES
from biomechgpt_jax.data import normals
from biomechgpt_jax.questions.registry import QUESTIONS
from biomechgpt_jax.stages import ask

LONGEST_S = 32.0  # what the stand-in sees at once
SAID = {"activity": "walking", "impairment": "no", "diagnosis": "healthy", "falls_history": "no", "walking_speed": 1.2}
SHARE = 0.83  # the probability of an answer
OPENCAP = Path(__file__).parents[3] / "shared" / "data" / "opencap_subject4"


def write_walk(path: Path, seconds: float = 8.0, without: tuple[str, ...] = ()) -> Path:
    """A file of somebody who walks at 1.2 m/s."""
    time = np.arange(round(seconds * 30)) / 30
    swing = {name: 20 * np.sin(2 * np.pi * time + (np.pi if name.endswith("_l") else 0)) for name in COORDINATES[6:20]}
    columns = {"pelvis_tx": 1.2 * time, "pelvis_ty": 0.95 + 0 * time, "pelvis_tz": 0.01 * np.sin(time)} | swing
    columns = {name: values for name, values in columns.items() if name not in without}
    rows = ["\t".join(f"{value:.5f}" for value in row) for row in zip(time, *columns.values(), strict=True)]
    path.write_text("\n".join(["inDegrees=yes", "endheader", "\t".join(["time", *columns]), *rows]) + "\n")
    return path


@pytest.fixture
def said(monkeypatch) -> dict[str, str | float | None]:
    """Answers of the stand-in by question; a test may change them. `calls` of it are counted."""
    table: dict[str, str | float | None] = dict(SAID)

    def answers(model, asked, codes, questions):
        calls.append(asked)
        found = []
        for item in asked:
            options = QUESTIONS[item.question].options
            found.append(prediction(item, answer := table.get(item.question, options[0] if options else 1.0), SHARE))
            if options:
                rest = (1 - SHARE) / (len(options) - 1)
                found[-1]["options"] = {option: SHARE if option == answer else rest for option in options}
        return found

    def load(workdir, greedy=False, risk=0.5):
        loaded.append((workdir, greedy))
        return ask.Answerer(None, lambda crops, _: [np.zeros((len(crop) // 4, 1), int) for crop in crops], LONGEST_S)

    for record in (calls, loaded):
        record.clear()
    monkeypatch.setattr(predict, "answers", answers)
    monkeypatch.setattr(ask, "load", load)
    return table


calls: list[list] = []
loaded: list[tuple[Path, bool]] = []


@pytest.fixture
def walk(tmp_path) -> Path:
    return write_walk(tmp_path / "walk.mot")


def run(capsys, *arguments: object) -> tuple[int, str, list[str]]:
    """Exit code, standard output, and lines of standard error, of one `biomechgpt ask`."""
    code = cli.main(["ask", *map(str, arguments)])
    out, err = capsys.readouterr()
    return code, out, [line for line in err.splitlines() if line.startswith("biomechgpt: ")]


@pytest.mark.parametrize(
    ("text", "printed"),
    [
        ("Is this movement impaired?", ["Impaired? no  (probability 0.83)"]),
        ("How fast does the patient walk?", ["Walking speed? 1.20 m/s  (probability 0.83)"]),
        (
            "Is this person healthy?",
            [
                "Impaired? no  (probability 0.83)",
                '  "Is this person healthy?" yes: impairment is unlikely (probability 0.17)',
            ],
        ),
        (
            "Has she never fallen?",
            [
                "Fallen in the past year? no  (probability 0.83)",
                '  "Has she never fallen?" yes: a fall in the past year is unlikely (probability 0.17)',
            ],
        ),
        (
            "Is the gait normal or abnormal?",
            [
                "Impaired? no  (probability 0.83)",
                '  "Is the gait normal or abnormal?" impairment is unlikely (probability 0.17)',
            ],
        ),
        (
            "Is the gait symmetric?",
            [
                "Step time asymmetry? 1 %  (probability 0.83)",
                '  "Is the gait symmetric?" 0 % is perfectly symmetric',
            ],
        ),
    ],
)
def test_the_question_that_was_understood_stands_beside_the_answer(text, printed, said, walk, capsys) -> None:
    code, out, errors = run(capsys, walk, text)
    assert (code, out.splitlines(), errors) == (0, printed, [])


def test_an_impaired_person_is_not_called_healthy(said, walk, capsys) -> None:
    said["impairment"] = "yes"
    _, out, _ = run(capsys, walk, "Is this person healthy?")
    assert out.splitlines() == [
        "Impaired? yes  (probability 0.83)",
        '  "Is this person healthy?" no: impairment is likely (probability 0.83)',
    ]


def test_an_unreadable_number_is_reported_as_no_number(said, walk, capsys) -> None:
    said["walking_speed"] = None
    assert run(capsys, walk, "Gait speed?")[1] == "Walking speed? no answer that is a number  (probability 0.83)\n"


def test_numbers_are_decoded_greedily_where_the_user_says_so(said, walk, capsys) -> None:
    run(capsys, walk, "Walking speed?")
    run(capsys, walk, "Walking speed?", "--greedy")
    run(capsys, walk.parent, "Walking speed?", "--greedy")
    assert [greedy for _, greedy in loaded] == [False, True, True]


def test_json_of_one_question_keeps_its_keys(said, walk, capsys) -> None:
    code, out, _ = run(capsys, walk, "Is this person healthy?", "--json")
    found = json.loads(out)
    assert code == 0
    contract = {"question": "Is this movement impaired?", "answer": "no", "probability": SHARE, "unit": ""}
    added = {
        "name": "impairment",
        "asked": "Is this person healthy?",
        "understood": "Impaired?",
        "polarity": "reversed",
        "answer_as_asked": "yes",
        "explanation": "impairment is unlikely",
        "text": "no",
    }
    assert found.pop("options") == pytest.approx({"yes": 0.17, "no": 0.83})
    silent = {"caution": "", "measured": None, "not_measured": "", "abstains": False, "doubt": ""}
    assert found == contract | added | silent | {"flags": found["flags"]}


def test_a_trained_phrasing_is_put_to_the_model_as_it_stands(said, walk, capsys) -> None:
    assert json.loads(run(capsys, walk, "Gait speed?", "--json")[1])["question"] == "Gait speed?"
    assert (
        json.loads(run(capsys, walk, "gait velocity?", "--json")[1])["question"]
        == QUESTIONS["walking_speed"].templates[0]
    )


def test_several_questions_share_one_model_one_file_and_one_call(said, walk, capsys) -> None:
    texts = ["Is this person healthy?", "What is the cadence?", "Walking speed?", "Is this person unimpaired?"]
    code, out, _ = run(capsys, walk, *texts, "--json")
    found = json.loads(out)["answers"]
    assert code == 0 and len(calls) == len(loaded) == 1
    assert [one["asked"] for one in found] == texts
    assert [one["name"] for one in found] == ["impairment", "cadence", "walking_speed", "impairment"]
    assert [one["answer_as_asked"] for one in found] == ["yes", 1.0, 1.2, "yes"]
    _, out, _ = run(capsys, walk, *texts)
    assert [line.split("?")[0] for line in out.splitlines() if not line.startswith(" ")] == [
        *("Impaired", "Cadence", "Walking speed", "Impaired")
    ]


def names_of(out: str) -> tuple[list[str], dict[str, str]]:
    """Names of the answers, and the reason by the name of what was left out, of `--all --json`."""
    found = json.loads(out)
    return [one["name"] for one in found["answers"]], {one["question"]: one["reason"] for one in found["left_out"]}


def test_all_asks_what_the_movement_supports_and_says_what_it_leaves_out(said, walk, capsys) -> None:
    code, out, _ = run(capsys, walk, "--all", "--json")
    names, left_out = names_of(out)
    assert code == 0 and len(calls) == 1
    assert {"activity", "impairment", "assistive_device", "walking_speed", "ten_metre_walk_time"} <= set(names)
    assert set(names) | set(left_out) == set(QUESTIONS) and not set(names) & set(left_out)
    assert left_out["tug_time"] == left_out["fall_risk"] == "the movement is taken for walking (probability 0.83)"
    _, out, _ = run(capsys, walk, "--all")
    assert "left out: TUG time, Five times sit to stand time, " in out and out.count("left out") == 1


def test_all_asks_of_a_test_its_time_and_of_a_chair_rise_no_steps(said, walk, capsys) -> None:
    said["activity"] = "timed up and go"
    names, _ = names_of(run(capsys, walk, "--all", "--json")[1])
    assert {"tug_time", "fall_risk", "step_length"} <= set(names)
    assert not {"five_times_sit_to_stand_time", "ten_metre_walk_time"} & set(names)
    said["activity"] = "five times sit to stand"
    names, _ = names_of(run(capsys, walk, "--all", "--json")[1])
    assert {"five_times_sit_to_stand_time", "fall_risk", "diagnosis"} <= set(names)
    assert not {"tug_time", "step_length", "assistive_device"} & set(names)


def test_a_test_that_the_movement_does_not_show_is_answered_with_a_caution(said, walk, tmp_path, capsys) -> None:
    _, out, _ = run(capsys, walk, "Fall risk?")
    assert out.splitlines() == [
        "Fall risk? low  (probability 0.83)",
        "  the movement is taken for walking (probability 0.83), which does not show this",
    ]
    run(capsys, walk, "Fall risk?", "Walking speed?", "--csv", tmp_path / "table.csv")
    row = next(csv.DictReader((tmp_path / "table.csv").open(newline="")))
    assert (
        row["fall_risk"] == "low" and row["notes"] == "fall_risk: the movement is taken for walking (probability 0.83)"
    )
    said["activity"] = "timed up and go"
    assert run(capsys, walk, "Fall risk?")[1] == "Fall risk? low  (probability 0.83)\n"


def test_the_ten_metre_time_is_not_answered_from_a_few_steps(said, tmp_path, capsys) -> None:
    short = write_walk(tmp_path / "short.mot", seconds=3)
    names, left_out = names_of(run(capsys, short, "--all", "--json")[1])
    assert "walking_speed" in names and "only 3.6 m are walked" in left_out["ten_metre_walk_time"]


def test_what_a_file_does_not_show_is_refused_or_left_out(said, tmp_path, capsys) -> None:
    file = write_walk(tmp_path / "rootless.mot", without=("pelvis_tx", "pelvis_tz"))
    names, left_out = names_of(run(capsys, file, "--all", "--json")[1])
    assert "cadence" in names and "no pelvis_tx or pelvis_tz" in left_out["walking_speed"]
    code, out, errors = run(capsys, file, "Walking speed?")
    assert (code, out, len(errors)) == (2, "", 1)
    assert str(file) in errors[0] and "Walking speed? cannot be answered" in errors[0] and "pelvis_tx" in errors[0]


def test_one_question_that_cannot_be_answered_does_not_silence_the_others(said, tmp_path, capsys) -> None:
    file = write_walk(tmp_path / "rootless.mot", without=("pelvis_tx", "pelvis_tz"))
    texts = ("Gait velocity?", "Is this person healthy?", "Cadence?")
    code, out, errors = run(capsys, file, *texts)
    assert code == 0 and [line.split("?")[0] for line in out.splitlines()[::2]] == ["Impaired", "Cadence"]
    assert len(errors) == 1 and "rootless.mot: Walking speed? cannot be answered: " in errors[0]
    code, out, errors = run(capsys, file, *texts, "--json")
    names, left_out = names_of(out)
    assert (code, len(errors)) == (0, 1) and names == ["impairment", "cadence"]
    assert list(left_out) == ["walking_speed"] and "pelvis_tx" in left_out["walking_speed"]
    code, out, errors = run(capsys, tmp_path, *texts)
    assert code == 0 and "left out" not in out and "Walking speed? cannot be answered" in errors[0]


def test_a_test_longer_than_the_model_sees_is_not_answered_from_its_parts(said, walk, capsys, monkeypatch) -> None:
    monkeypatch.setitem(globals(), "LONGEST_S", 5.0)
    code, out, errors = run(capsys, walk, "How long did the TUG take?", "Fall risk?")
    assert (code, out, len(errors)) == (2, "", 1) and "TUG time?, Fall risk? cannot be answered" in errors[0]
    assert "8.0 s" in errors[0] and "5.0 s" in errors[0] and "cut the file to the test" in errors[0]
    assert run(capsys, walk, "Walking speed?", "Is this person healthy?")[0] == 0
    assert [round(item.seconds) for item in calls[-1]] == [4, 4, 4, 4], "two windows for each of two questions"
    names, left_out = names_of(run(capsys, walk, "--all", "--json")[1])
    assert "walking_speed" in names and "judged as a whole" in left_out["ten_metre_walk_time"]
    assert left_out["tug_time"] == "the movement is taken for walking (probability 0.83)"


def test_a_test_is_not_told_from_what_gaps_and_jumps_leave_of_a_file(said, walk, capsys) -> None:
    lines = walk.read_text().splitlines()
    rows = [line.split("\t") for line in lines[3:]]
    for row in rows[150:]:
        row[1] = str(float(row[1]) + 4)  # the pelvis jumps by four metres after five of eight seconds
    walk.write_text("\n".join([*lines[:3], *("\t".join(row) for row in rows)]) + "\n")
    code, out, errors = run(capsys, walk, "TUG time?", "Walking speed?")
    assert code == 0 and out.startswith("Walking speed? 1.20 m/s") and len(errors) == 1
    assert "TUG time? cannot be answered: only 5.0 s of the file can be used" in errors[0]


def folder_of(tmp_path: Path) -> Path:
    folder = tmp_path / "recordings"
    (folder / "day two").mkdir(parents=True)
    write_walk(folder / "a.mot")
    (folder / "broken.mot").write_text("no motion at all\n")
    write_walk(folder / "day two" / "b.mot", seconds=3)
    return folder


def test_a_folder_gives_one_row_per_file(said, tmp_path, capsys) -> None:
    table = tmp_path / "answers.csv"
    code, out, errors = run(capsys, folder_of(tmp_path), "--all", "--csv", table)
    assert code == 0 and len(loaded) == 1 and len(calls) == 2
    assert out == f"2 of 3 files answered, in {table}\n"
    assert len(errors) == 1 and errors[0].startswith("biomechgpt: broken.mot: ")
    rows = list(csv.DictReader(table.open(newline="")))
    assert [row["file"] for row in rows] == ["a.mot", "broken.mot", "day two/b.mot"]
    assert rows[0]["walking_speed (m/s)"] == "1.2" and rows[0]["walking_speed probability"] == "0.83"
    assert rows[0]["impairment"] == "no" and rows[0]["tug_time (s)"] == "" and "taken for walking" in rows[0]["notes"]
    assert rows[2]["ten_metre_walk_time (s)"] == "" and "ten_metre_walk_time: only 3.6 m" in rows[2]["notes"]
    assert rows[0]["error"] == rows[2]["error"] == "" and rows[1]["error"] and not rows[1]["impairment"]
    assert "broken.mot" not in rows[1]["error"], "the row names the file"
    numeric = sum(question.kind == "number" for question in QUESTIONS.values())
    assert len(rows[0]) == 1 + 2 * len(QUESTIONS) + 2 * numeric + 2
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".")] == []


def test_a_folder_can_be_asked_some_questions(said, tmp_path, capsys) -> None:
    folder, table = folder_of(tmp_path), tmp_path / "answers.csv"
    write_walk(folder / "rootless.mot", without=("pelvis_tx", "pelvis_tz"))
    code, out, _ = run(capsys, folder, "Is this person healthy?", "Walking speed?", "--csv", table, "--json")
    assert code == 0
    files = {entry["file"]: entry for entry in json.loads(out)["files"]}
    assert [one["answer"] for one in files["a.mot"]["answers"]] == ["no", 1.2]
    assert files["broken.mot"]["answers"] == [] and files["broken.mot"]["error"]
    assert [one["name"] for one in files["rootless.mot"]["answers"]] == ["impairment"]
    assert [one["question"] for one in files["rootless.mot"]["left_out"]] == ["walking_speed"]
    speed = "walking_speed (m/s),walking_speed probability,walking_speed low,walking_speed high"
    assert table.read_text().splitlines()[0] == f"file,impairment,impairment probability,{speed},notes,error"
    _, out, _ = run(capsys, folder, "Walking speed?")
    assert out.splitlines()[:2] == ["a.mot", "  Walking speed? 1.20 m/s  (probability 0.83)"]


def test_a_reader_that_breaks_does_not_end_a_folder(said, tmp_path, capsys, monkeypatch) -> None:
    read = formats.record
    monkeypatch.setattr(formats, "record", lambda file, **_: 1 / 0 if file.name == "a.mot" else read(file))
    code, out, errors = run(capsys, folder_of(tmp_path), "Walking speed?")
    assert code == 0 and "day two/b.mot" in out
    assert errors[0] == "biomechgpt: a.mot: reading failed: ZeroDivisionError: division by zero"


def test_a_folder_without_an_answer_ends_with_2_and_its_reasons(said, tmp_path, capsys) -> None:
    folder, table = tmp_path / "bad", tmp_path / "answers.csv"
    folder.mkdir()
    (folder / "broken.mot").write_text("no motion at all\n")
    code, _, errors = run(capsys, folder, "--all", "--csv", table)
    assert code == 2 and len(errors) == 2
    assert errors[0].startswith("biomechgpt: broken.mot: ") and "none of its 1 files" in errors[1]
    assert next(csv.DictReader(table.open(newline="")))["error"]


def test_a_table_of_one_file(said, walk, tmp_path, capsys) -> None:
    table = tmp_path / "answers.csv"
    assert run(capsys, walk, "Walking speed?", "--csv", table)[0] == 0
    assert table.read_text().splitlines()[1] == "walk.mot,1.2,0.83,,,,"


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["walk.mot"], "give either questions or --all"),
        (["walk.mot", "Walking speed?", "--all"], "give either questions or --all"),
        (["walk.mot", "Walking speed?", "--csv", "nowhere/answers.csv"], "--csv nowhere/answers.csv"),
        (["walk.mot", "Walking speed?", "--csv", "empty"], "--csv empty"),
        (["walk.mot", "Walking speed?", "What is the swing phase?"], "'swing'"),
        (["nowhere.mot", "Walking speed?"], "no such file"),
        (["empty", "--all"], "holds no motion file"),
        (["empty", "What is the swing phase?"], "'swing'"),
        (["short.mot", "Walking speed?"], "less than one motion token"),
    ],
)
def test_wrong_input_is_one_line_and_leaves_nothing(arguments, words, said, tmp_path, capsys, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    write_walk(Path("walk.mot"))
    write_walk(Path("short.mot"), seconds=0.1)
    Path("empty").mkdir()
    before = sorted(tmp_path.rglob("*"))
    code, out, errors = run(capsys, *arguments)
    assert (code, out, len(errors)) == (2, "", 1) and words in errors[0]
    assert sorted(tmp_path.rglob("*")) == before


def test_nothing_trained_is_said_once(walk, tmp_path, capsys) -> None:
    for path in (walk, walk.parent):
        code, out, errors = run(capsys, path, "--all", "--workdir", tmp_path / "no run")
        assert (code, out, len(errors)) == (2, "", 1) and "holds no experiment" in errors[0]


@pytest.mark.skipif(not OPENCAP.is_dir(), reason="the public sample files are not beside the project")
def test_recordings_of_a_laboratory_are_asked_like_any_other(said, tmp_path, capsys) -> None:
    table = tmp_path / "answers.csv"
    (tmp_path / "files").mkdir()
    (tmp_path / "files" / "walking1_ik.mot").symlink_to(OPENCAP / "walking1_ik.mot")
    code, out, _ = run(capsys, tmp_path / "files", "--all", "--csv", table)
    (row,) = csv.DictReader(table.open(newline=""))
    assert code == 0 and out.startswith("1 of 1 files answered")
    assert row["walking_speed (m/s)"] == "1.2" and row["impairment"] == "no" and row["error"] == ""
    assert "are walked" in row["notes"], "a walk of two metres shows no time for ten"


def test_impairment_is_counted_from_a_laboratorys_healthy_people(said, walk, tmp_path, capsys, monkeypatch) -> None:
    """The stand-in takes everybody for impaired; six healthy people recorded alike say that this means nothing."""
    said["impairment"] = "yes"
    reference = normals.Reference(np.zeros(40), 0.01 * np.eye(40))
    monkeypatch.setattr(normals, "references", lambda _: {"walking": reference})
    for number in range(6):
        (tmp_path / f"healthy/p{number}").mkdir(parents=True)
        write_walk(tmp_path / f"healthy/p{number}/walk.mot")
    assert run(capsys, walk, "Impaired?")[1].startswith("Impaired? yes")
    assert cli.main(["ask", str(walk), "Impaired?", "--normals", str(tmp_path / "healthy")]) == 0
    answered, (first, second) = (text.splitlines() for text in capsys.readouterr())
    assert answered[0].startswith("Impaired? no") and first.startswith("normals: 6 people, 6 recordings; taken out")
    assert second.startswith("impairment: counted from a probability of 0.8")
