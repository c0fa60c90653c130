"""The command line as a user meets it."""

import hashlib
import json
import subprocess
import sys
import time
from pathlib import Path

import pytest

from biomechgpt_jax import arguments, cli
from biomechgpt_jax.errors import InputError, RunError

ROOT = Path(__file__).parents[1]


def _run(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "biomechgpt_jax", *arguments],
        capture_output=True,
        text=True,
        cwd=ROOT,
        timeout=120,
        check=False,
    )


def test_help_needs_no_heavy_import() -> None:
    started = time.monotonic()
    said = _run("--help")
    assert said.returncode == 0
    assert "exit codes" in said.stdout
    assert time.monotonic() - started < 20, "only a hang is a failure here; speed is not a test"
    heavy = "import sys, biomechgpt_jax.cli; print({'jax', 'numpy', 'scipy', 'flax', 'tyro'} & set(sys.modules))"
    loaded = subprocess.run([sys.executable, "-c", heavy], capture_output=True, text=True, cwd=ROOT, check=True)
    assert loaded.stdout.strip() == "set()"


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ((), "the following arguments are required: verb"),
        (("simulat",), "invalid choice: 'simulat'"),
        (("inspect",), "the following arguments are required: file"),
        (("inspect", "a.mot", "--pretty"), "unrecognized arguments: --pretty"),
        (("inspect", "nowhere.mot"), "no such file"),
        (("inspect", "tests"), "is a directory"),
        (("run", "nowhere.py"), "no such configuration file"),
        (("run", "--workdir", "no/such/run"), "no configuration file is given"),
        (("run", "--train.steps", "3", "configs/sizes.py:10"), "unknown size '10'"),
        (("run", "configs/quickstart.py", "stray"), "unrecognized arguments: stray"),
        (("run", "configs/quickstart.py", "--train.step", "3"), "--train.steps"),
        (("run", "--train.steps", "many", "configs/quickstart.py"), "--train.steps takes int"),
        (("run", "configs/quickstart.py", "--train.steps", "many"), "train.steps"),
        (("run", "configs/quickstart.py", "--train.steps", "0"), "train.steps is 0"),
        (("run", "configs/quickstart.py", "--workdir", "pyproject.toml"), "is a file"),
        (("ask", "nowhere.mot", "How fast is this person walking?"), "no such file"),
        (("ask", "nowhere.mot", "What did they have for lunch?"), "not understood because of 'lunch'"),
        (("ask", "nowhere.mot"), "give either questions or --all"),
    ],
)
def test_wrong_input_is_one_line_and_code_2(arguments: tuple[str, ...], words: str) -> None:
    said = _run(*arguments)
    lines = said.stderr.strip().splitlines()
    assert said.returncode == 2, said.stderr
    assert len(lines) == 1, said.stderr
    assert lines[0].startswith("biomechgpt: ")
    assert words in lines[0]
    assert said.stdout == ""


def test_the_help_of_ask_lists_the_questions() -> None:
    said = _run("ask", "--help")
    assert said.returncode == 0 and "--all" in said.stdout and "--csv" in said.stdout
    for line in (
        "  How fast is this person walking? (m/s)",
        "  Is this movement impaired?",
        "  What is the fall risk?",
    ):
        assert line in said.stdout.splitlines()


def _inspected(tmp_path: Path, *arguments: str) -> str:
    rows = "".join(f"{frame / 100}\t{1.2 * frame / 100}\t0\t{10 + frame}\n" for frame in range(101))
    path = tmp_path / "walk.mot"
    path.write_text("inDegrees=yes\nendheader\ntime\tpelvis_tx\tpelvis_tz\thip_flexion_r\n" + rows)
    said = _run("inspect", str(path), *arguments)
    assert (said.returncode, said.stderr) == (0, "")
    return said.stdout


def test_inspect_prints_what_a_file_holds(tmp_path: Path) -> None:
    found = json.loads(_inspected(tmp_path, "--json"))
    assert found["present"] == ["pelvis_tx", "pelvis_tz", "hip_flexion_r"]
    assert len(found["missing"]) == 37
    assert found["rate_hz"] == 100
    assert found["net_speed_m_s"] == pytest.approx(1.2)
    assert set(found["flags"]) == {"few-coordinates", "frozen:pelvis_tz"}
    assert found["sha256"] == hashlib.sha256((tmp_path / "walk.mot").read_bytes()).hexdigest()
    assert "pelvis_tx, pelvis_tz, hip_flexion_r" in _inspected(tmp_path)


def test_words_after_a_verb_are_told_apart() -> None:
    split = arguments.split(
        ["run", "--train.steps", "5", "--workdir", "w", "c.py", "--tokenizer.levels", "8x5", "5x8", "--json"]
    )
    assert split == (
        ["run", "--workdir", "w", "c.py", "--json"],
        ["--train.steps", "5", "--tokenizer.levels", "8x5", "5x8"],
    )
    assert arguments.split(["ask", "a.mot", "Why?"]) == (["ask", "a.mot", "Why?"], [])


@pytest.mark.parametrize(
    "words",
    [
        ["a.mot", "Cadence?", "Gait speed?", "--workdir", "w", "--json"],
        ["a.mot", "--workdir", "w", "Cadence?", "--json", "Gait speed?"],
        ["--json", "--workdir", "w", "a.mot", "Cadence?", "Gait speed?"],
        ["a.mot", "--workdir=w", "Cadence?", "Gait speed?", "--json"],
    ],
)
def test_questions_and_options_of_ask_may_stand_in_any_order(words: list[str]) -> None:
    options, _ = arguments.parse(["ask", *words])
    assert (options.file, options.question) == ("a.mot", ["Cadence?", "Gait speed?"])
    assert (options.workdir, options.json) == ("w", True)


def test_an_option_of_ask_without_its_value_is_refused() -> None:
    with pytest.raises(InputError, match="--workdir"):
        arguments.parse(["ask", "a.mot", "Cadence?", "--workdir"])


TINY = """
from biomechgpt_jax import config as c

def config():
    return c.Experiment(
        name="tiny",
        cohort=c.Cohort(participants=10, hours=0.02, seed=1, noise="none", activities=("chair_rise", "tug")),
        tokenizer=c.Tokenizer(steps=20, width=16, depth=1),
        evaluation=c.Evaluation(bootstrap=20, encoder_steps=2),
    )
"""


def test_tokenizer_report_is_made_also_when_the_stage_is_done(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("JAX_PLATFORMS", "cpu")
    (tmp_path / "tiny.py").write_text(TINY)
    stage = ("tokenizer", str(tmp_path / "tiny.py"), "--workdir", str(tmp_path / "run"))
    tokenizer = tmp_path / "run" / "tokenizer"

    said = _run(*stage)
    assert said.returncode == 0, said.stderr
    quick = json.loads((tokenizer / "fidelity.json").read_text())
    assert not (tokenizer / "report.html").exists()

    said = _run(*stage, "--report", "--json")
    assert said.returncode == 0, said.stderr
    assert said.stderr.count("done before") == 2
    found = json.loads((tokenizer / "fidelity.json").read_text())
    assert json.loads(said.stdout)["fidelity"] == found
    # The trials of validation participants are so few that the stage measured all of them.
    shared = [name for name in quick if not name.startswith(("healthy", "impaired", "by_group"))]
    assert {name: found[name] for name in shared} == pytest.approx({name: quick[name] for name in shared}, rel=1e-3)
    text = (tokenizer / "report.html").read_text()
    assert found["digest"] in text and "without measurement noise" in text and "noisy input" not in text

    said = _run(*stage, "--tokenizer.seed", "1")
    assert said.returncode == 0, said.stderr
    assert not (tokenizer / "report.html").exists(), "it would tell of another codec"


def test_report_is_of_the_tokenizer_alone() -> None:
    said = _run("train", "configs/quickstart.py", "--report")
    assert said.returncode == 2 and "--report" in said.stderr


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (OSError(28, "No space left on device", "runs/metrics.jsonl"), "runs/metrics.jsonl: No space left on device"),
        (RunError("a checkpoint could not be written"), "a checkpoint could not be written"),
    ],
)
def test_a_run_that_cannot_go_on_is_said_on_one_line(error, line, monkeypatch, capsys) -> None:
    def stop(*_):
        raise error

    monkeypatch.setattr(cli, "_stage", stop)
    assert cli.main(["train"]) == 1
    said = capsys.readouterr().err
    assert said.startswith(f"biomechgpt: {line}") and said.count("\n") == 1
