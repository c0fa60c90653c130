"""`launch/test.sh --extended` promises that no marked test is skipped: --no-skips keeps that promise."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

TESTS = Path(__file__).parents[1]


@pytest.mark.parametrize(
    ("source", "code"),
    [
        ('@pytest.mark.parity\ndef test_it():\n    pytest.skip("torch is missing")\n', 1),
        ('@pytest.mark.tpu_aot\n@pytest.mark.skipif(True, reason="no libtpu")\ndef test_it():\n    assert True\n', 1),
        ('pytest.importorskip("no_such_package")\ndef test_it():\n    assert True\n', 1),
        ('def test_it():\n    pytest.skip("sample files are not beside the checkout")\n', 0),
        ("@pytest.mark.parity\ndef test_it():\n    assert True\n", 0),
    ],
    ids=["in the test", "by a mark", "whole file", "unmarked", "not skipped"],
)
def test_a_marked_test_that_is_skipped_fails_the_run(source: str, code: int, tmp_path: Path) -> None:
    shutil.copy(TESTS / "conftest.py", tmp_path)
    shutil.copy(TESTS.parent / "pyproject.toml", tmp_path)
    (tmp_path / "test_one.py").write_text(f"import pytest\n\n{source}")
    (tmp_path / "test_other.py").write_text("def test_other():\n    assert True\n")
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-q",
        "-p",
        "no:cacheprovider",
        "--rootdir",
        str(tmp_path),
        str(tmp_path),
    ]
    assert subprocess.run(command, cwd=tmp_path, capture_output=True).returncode == 0
    strict = subprocess.run([*command, "--no-skips"], cwd=tmp_path, capture_output=True, text=True)
    assert strict.returncode == code, strict.stdout
    assert ("--no-skips allows none" in strict.stdout) == bool(code)
