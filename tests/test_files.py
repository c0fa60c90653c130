"""A file is whole or not there, an error names it and leaves nothing behind, and JSON holds no NaN."""

import ast
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from biomechgpt_jax.files import clean, to_json, write_atomically, write_json, write_text

PACKAGE = Path(__file__).parents[1] / "biomechgpt_jax"


def test_a_file_appears_whole_and_takes_the_place_of_another(tmp_path: Path) -> None:
    path = tmp_path / "figures.json"
    write_text(path, "höher\n")
    assert path.read_bytes() == "höher\n".encode()
    with write_atomically(path) as file:
        file.write(b"half of")
        file.flush()
        assert path.read_bytes() == "höher\n".encode()
    assert path.read_bytes() == b"half of"
    assert os.listdir(tmp_path) == ["figures.json"]


@pytest.mark.parametrize("error", [ValueError("in the middle"), KeyboardInterrupt(), OSError(28, "No space left")])
def test_an_error_in_the_middle_leaves_what_was_there(tmp_path: Path, error: BaseException) -> None:
    path = tmp_path / "figures.json"
    write_text(path, "before")

    def write() -> None:
        with write_atomically(path) as file:
            file.write(b"after")
            raise error

    with pytest.raises(type(error)) as raised:
        write()
    assert path.read_text() == "before" and os.listdir(tmp_path) == ["figures.json"]
    if isinstance(raised.value, OSError):
        assert raised.value.filename == str(path)  # what the command line names


def test_errors_name_the_file_that_was_asked_for(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    (tmp_path / "folder").mkdir()
    for path in (tmp_path / "file" / "a.json", tmp_path / "missing" / "a.json", tmp_path / "folder"):
        with pytest.raises(OSError) as raised:
            write_text(path, "text")
        assert raised.value.filename == str(path) and raised.value.filename2 is None
    other = str(tmp_path / "another")
    with pytest.raises(FileNotFoundError) as missing, write_atomically(tmp_path / "a.json"):
        Path(other).read_text()  # an error of another file keeps its name
    assert missing.value.filename == other
    assert sorted(os.listdir(tmp_path)) == ["file", "folder"]


def test_a_process_that_is_killed_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "figures.json"
    write_text(path, "before")
    program = (
        "import os, signal, sys; from pathlib import Path; from biomechgpt_jax.files import write_atomically\n"
        "with write_atomically(Path(sys.argv[1])) as file:\n"
        "    file.write(b'after'); file.flush(); os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    ended = subprocess.run([sys.executable, "-c", program, str(path)], cwd=PACKAGE.parent)
    assert ended.returncode == -9 and path.read_text() == "before"


def test_json_holds_no_nan(tmp_path: Path) -> None:
    value = {
        "a": [float("nan"), 1.5, True, None],
        2: (float("-inf"), np.float32("inf"), np.float64(0.1), np.int64(3)),
        "rows": np.array([[1.0, np.nan]]),
        "path": Path("x"),
    }
    expected = {"a": [None, 1.5, True, None], "2": [None, None, 0.1, 3], "rows": [[1.0, None]], "path": "x"}
    assert clean(value) == expected and json.loads(to_json(value)) == expected and "\n" not in to_json(value)
    write_json(tmp_path / "value.json", value)
    text = (tmp_path / "value.json").read_text()
    assert json.loads(text) == expected and text.endswith("}\n")


def test_files_are_renamed_into_place_by_one_function_alone() -> None:
    """A second way to write a file by rename would have errors and leftovers of its own."""
    # Others rename directories, or test the file system itself.
    known = {"files.py", "data/store.py", "training/manifest.py", "parallel/doctor.py"}
    known |= {"pretrained/gguf.py", "stages/export.py"}
    found = set()
    for path in PACKAGE.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
                renames = node.func.attr == "rename" or (node.func.attr == "replace" and len(node.args) == 1)
                if renames and not node.keywords:
                    found.add(str(path.relative_to(PACKAGE)))
    assert found == known
