"""The command line as a user meets it."""

import subprocess
import sys
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


def _run(*arguments: str) -> subprocess.CompletedProcess[str]:
    code = "import sys; from biomechgpt_jax.cli import main; sys.exit(main())"
    return subprocess.run(
        [sys.executable, "-c", code, *arguments], capture_output=True, text=True, cwd=ROOT, timeout=120, check=False
    )


def test_help_needs_no_heavy_import() -> None:
    started = time.monotonic()
    said = _run("--help")
    assert said.returncode == 0
    assert "exit codes" in said.stdout
    assert time.monotonic() - started < 20, "only a hang is a failure here; speed is not a test"
    loaded = subprocess.run(
        [
            sys.executable,
            "-c",
            "import sys, biomechgpt_jax.cli; print([m for m in ('jax', 'numpy', 'flax') if m in sys.modules])",
        ],
        capture_output=True,
        text=True,
        cwd=ROOT,
        check=True,
    )
    assert loaded.stdout.strip() == "[]"


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("inspect", "nowhere.mot"), "no such file"),
        (("inspect", "tests"), "is a directory"),
        (("run", "nowhere.py"), "no such configuration file"),
        (("run", "configs/quickstart.py", "--train.step", "3"), "--train.steps"),
        (("run", "configs/quickstart.py", "--train.steps", "many"), "train.steps"),
        (("run", "configs/quickstart.py", "--train.steps", "0"), "train.steps is 0"),
        (("run", "configs/quickstart.py", "--workdir", "pyproject.toml"), "is a file"),
        (("ask", "nowhere.mot", "How fast is this person walking?"), "no such file"),
        (("ask", "nowhere.mot", "What did they have for lunch?"), "not understood"),
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
