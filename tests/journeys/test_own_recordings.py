"""Whole ways that a person goes with own recordings, each command as it is typed; all of them share one small run.

They stand in one file so that test processes which share the work make that run once.
"""

import json
import re
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from biomechgpt_jax.data.splits import split_of

ROOT = Path(__file__).parents[2]
LABELS = ("activity", "diagnosis", "assistive_device", "falls_history")
OLD, NEW = "What is this person doing?", "What might this person be doing?"


def labelled(mine) -> Iterator[tuple[str, str, dict[str, str]]]:
    """File, split and answers of each line of the labels."""
    for line in mine.labels.read_text().splitlines()[1:]:
        file, person, activity, diagnosis, device, falls = line.split(",")
        answers = dict(zip(LABELS, (activity, diagnosis, device, "yes" if int(falls) else "no"), strict=True))
        yield file, split_of(person), {question: answer for question, answer in answers.items() if answer}


def evaluated(mine, name: str) -> str:
    return (mine.workdir / "evaluation" / name).read_text()


# Labels of files of odd lengths become questions.


def test_every_label_becomes_a_question_and_a_file_that_loses_its_own_is_named(mine) -> None:
    counts = dict.fromkeys(("train", "validation", "test"), 0)
    for file, split, answers in labelled(mine):
        counts[split] += len(answers) if file != mine.broken else 0
    given, packed = sum(counts.values()), counts["train"] + counts["validation"]
    assert "14 of 15 files: 14 participants (10 train, 1 validation, 3 test)" in mine.imported.stdout
    assert f"{given} of {given + 4} labels can become questions" in mine.imported.stdout
    assert f"{packed} of {packed} labels became questions" in mine.ran.stderr
    assert f"{counts['test']} of {counts['test']} labels became questions" in mine.ran.stderr
    (line,) = [line for line in mine.imported.stderr.splitlines() if line.startswith("labels")]
    assert f"{mine.broken}: no label became a question ({', '.join(LABELS)}): " in line


def test_answers_are_held_against_the_labels_that_were_given(mine) -> None:
    truth = {file: answers for file, split, answers in labelled(mine) if split == "test" and file != mine.broken}
    found: dict[str, dict[str, str]] = {file: {} for file in truth}
    for row in map(json.loads, evaluated(mine, "predictions.jsonl").splitlines()):
        if row["source"] == "model" and row["question"] in LABELS:
            found[row["trial"]][row["question"]] = row["truth"]
    assert found == truth and len(truth) == 3


def test_a_recording_is_asked_about(mine, biomechgpt) -> None:
    said = biomechgpt("ask", mine.file, "How fast is this person walking?", "--workdir", mine.workdir, "--json")
    answer = json.loads(said.stdout)
    assert set(answer) >= {"question", "answer", "probability", "unit"}
    assert (answer["unit"], answer["question"]) == ("m/s", "How fast is this person walking?")
    assert biomechgpt("ask", mine.file, "Is there an impairment?", "--workdir", mine.workdir).stdout.strip()


# A run on recordings says what it is.


def test_nothing_calls_itself_synthetic(mine, biomechgpt) -> None:
    page = evaluated(mine, "report.html")
    assert "14 imported recordings of 14 participants" in page and page.count("not a medical device") == 1
    assert "Figures of 14 imported recordings of 14 participants; not a medical device." in mine.ran.stdout
    again = biomechgpt("tokenizer", "--workdir", mine.workdir, "--report")
    pages = page + (mine.workdir / "tokenizer" / "report.html").read_text()
    for words in (mine.imported.stdout, mine.imported.stderr, mine.ran.stdout, mine.ran.stderr, again.stderr, pages):
        assert not re.search("synthetic|simulated|generator|clean one", words, re.I)


def test_the_report_names_the_program_that_made_it(mine) -> None:
    made = json.loads(evaluated(mine, "metrics.json"))["made"]
    assert list(made) == ["simulate", "tokenizer", "pack", "train", "calibrate", "evaluate"]
    assert len({tuple(program.items()) for program in made.values()}) == 1
    assert f"Every stage was made by biomechgpt_jax {made['pack']['version']}" in evaluated(mine, "report.html")


# What is done again, and what is not.


def copy_of(mine, directory: Path, *without: str) -> Path:
    """A working directory like the finished one, without some of its parts."""
    return shutil.copytree(mine.workdir, directory, ignore=shutil.ignore_patterns("compiled", *without))


def done_before(stderr: str) -> list[str]:
    return [line.split()[0] for line in stderr.splitlines() if "done before" in line]


def test_what_is_done_stays_done(mine, biomechgpt) -> None:
    again = biomechgpt("run", mine.config, "--workdir", mine.workdir)
    assert done_before(again.stderr) == ["simulate", "tokenizer", "pack", "train", "calibrate", "evaluate"]


@pytest.fixture
def changed(tmp_path: Path) -> Path:
    """The program with another phrasing of one question: the place to import it from."""
    copied = shutil.copytree(ROOT / "biomechgpt_jax", tmp_path / "program" / "biomechgpt_jax")
    catalogue = copied / "questions" / "catalogue.py"
    text = catalogue.read_text()
    assert OLD in text
    catalogue.write_text(text.replace(OLD, NEW))
    return copied.parent


def test_a_changed_question_is_packed_anew_and_refused_by_a_model_that_learnt_the_old_one(
    mine, biomechgpt, changed, tmp_path
) -> None:
    workdir = copy_of(mine, tmp_path / "run")
    packed = biomechgpt("pack", "--workdir", workdir, program=changed)
    assert done_before(packed.stderr) == ["simulate"]
    digests = [json.loads((run / "tokenizer" / "vocabulary.json").read_text()) for run in (mine.workdir, workdir)]
    assert digests[0] != digests[1]
    refused = biomechgpt("train", "--workdir", workdir, program=changed, code=2)
    assert "vocabulary" in refused.stderr.splitlines()[-1]


def test_training_goes_on_with_another_validation(mine, biomechgpt, tmp_path) -> None:
    """As after a machine that went away in step 3: the checkpoint of step 2 is the last."""
    workdir = copy_of(mine, tmp_path / "run", "evaluation", "train.json")
    shutil.rmtree(max((workdir / "checkpoints").iterdir()))
    biomechgpt("train", "--workdir", workdir, "--train.validate_every", 1)
    before, after = (logged(run / "metrics.jsonl") for run in (mine.workdir, workdir))
    assert [step for step, entry in before.items() if "validation_loss" in entry] == [2, 4]
    assert [step for step, entry in after.items() if "validation_loss" in entry] == [2, 3, 4]
    assert [entry["loss"] for entry in after.values()] == [entry["loss"] for entry in before.values()]
    assert after[4]["validation_loss"] == before[4]["validation_loss"]


def logged(path: Path) -> dict[int, dict]:
    """Entries of metrics.jsonl by step; those of one step together."""
    found: dict[int, dict] = {}
    for entry in map(json.loads, path.read_text().splitlines()):
        found.setdefault(entry["step"], {}).update(entry)
    return found


# What others read: verbs, exit codes and keys. They may gain; nothing here may go.

VERBS = (
    *("run", "simulate", "tokenizer", "pack", "train", "calibrate", "evaluate"),
    *("ask", "inspect", "compile", "doctor", "import"),
)
METRICS = {
    *("test_participants", "families", "controls", "bars", "text_only_check", "codec", "wall_seconds"),
    *("labels", "made", "summary", "comparisons", "calibration"),
}
CONTROLS = {
    *("text_only", "constant", "label_prior", "speed_only", "length_only", "mean_pose"),
    *("features", "features_on_tokens", "encoder"),
}
CLOSED = {"n", "participants", "accuracy", "macro_f1", "ci95", "macro_f1_ci95"}
YES_OR_NO = CLOSED | {"auroc", "auroc_ci95", "sensitivity_at_90_specificity", "sensitivity_at_90_specificity_ci95"}
NUMBER = {"n", "participants", "mae", "r", "unit", "ci95", "r_ci95", "bias", "limits_of_agreement", "unparsed"}
WITH_INTERVALS = NUMBER | {"coverage90", "coverage90_ci95", "width90"}
CHECK = {"question", "metric", "value", "ci95", "meets"}
CODEC = {
    *("median_deg", "p95_deg", "speed_error", "code_usage", "tokens", "healthy_median_deg", "impaired_median_deg"),
    *("by_group_deg", "codes", "codes_used", "perplexity", "tokens_per_second"),
}
PREDICTION = {
    *("source", "trial", "participant", "family", "question", "kind", "phrasing", "truth", "answer", "probability"),
    *("unit", "start_s", "seconds"),
}
FILE = {"file", "sha256", "rate_hz", "seconds", "frames", "present", "missing", "flags", "net_speed_m_s"}
MOVEMENTS = {"digest", "synthetic", "trials", "participants", "hours"}
SEQUENCES = {
    *("digest", "rows", "fill", "questions", "left_out", "row_length", "families", "codec", "vocabulary", "movements"),
}
CHECKPOINTS = {"checkpoints", "bytes", "steps", "step", "identity", "written_by", "parameters"}


def test_keys_of_an_evaluation(mine) -> None:
    found = json.loads(evaluated(mine, "metrics.json"))
    assert set(found) >= METRICS and set(found["controls"]) >= CONTROLS and set(found["codec"]) >= CODEC
    assert set(found["wall_seconds"]) >= {"simulate", "tokenizer", "pack", "train", "calibrate", "evaluate"}
    families = found["families"]
    assert set(families) >= {"activity", "diagnosis", "impairment", "assistive_device", "outcome_scores", "gait"}
    assert set(families["activity"]) >= CLOSED and set(families["impairment"]) >= YES_OR_NO
    assert set(families["outcome_scores"]["falls_history"]) >= YES_OR_NO
    assert families["gait"] and all(set(summary) >= WITH_INTERVALS for summary in families["gait"].values())
    assert found["text_only_check"] and all(set(row) >= CHECK for row in found["text_only_check"])
    assert all(set(json.loads(line)) >= PREDICTION for line in evaluated(mine, "predictions.jsonl").splitlines())


@pytest.mark.parametrize(
    ("what", "keys"),
    [("", FILE), ("movements", MOVEMENTS), ("sequences", SEQUENCES), ("checkpoints", CHECKPOINTS)],
)
def test_keys_of_inspect(mine, biomechgpt, what, keys) -> None:
    place = mine.workdir / what if what else mine.file
    assert set(json.loads(biomechgpt("inspect", place, "--json").stdout)) >= keys


def test_verbs_and_exit_codes(mine, biomechgpt) -> None:
    usage = biomechgpt("--help").stdout
    assert all(re.search(rf"\n +{verb} +\S", usage) for verb in VERBS)
    refused = biomechgpt("ask", mine.file.with_name("nowhere.mot"), "Is there an impairment?", code=2)
    assert refused.stdout == "" and len(refused.stderr.strip().splitlines()) == 1
    with open("/dev/full", "w") as full:  # what cannot be finished ends with 1, such as output to a full disk
        assert "make space" in biomechgpt("inspect", mine.file, "--json", code=1, out=full).stderr


# The examples, as their own words say that they are run.


def test_example_from_python(mine, example) -> None:
    said = example("from_python.py", mine.file, "--workdir", mine.workdir).splitlines()
    assert "155 frames of 33 observed coordinates" in said[0] and "tokens of 1 codes" in said[1]
    assert len(said) == 5 and all("(probability " in line for line in said[2:])


def test_example_own_recordings(mine, example) -> None:
    """On the finished run of the journey, whose stages are not run again."""
    folder = mine.file.parents[1]
    words = ("--labels", mine.labels, "--workdir", mine.workdir, "--config", mine.config)
    said = example("own_recordings.py", folder, *words)
    table = (mine.workdir / "answers.csv").read_text().splitlines()
    assert "14 of 15 files answered" in said and len(table) == 1 + 15


def test_example_of_a_new_question(example) -> None:
    said = example("add_a_question.py", simulates=True).splitlines()
    assert len(said) > 3 and all(line.endswith(" deg") for line in said[:-1]) and said[-1].startswith("as a branch: [")
