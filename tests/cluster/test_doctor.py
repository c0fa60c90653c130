"""What `biomechgpt doctor` reports about two processes."""

import json
from pathlib import Path

import pytest
from ground import Ground

pytestmark = pytest.mark.multiprocess

# Each process may get its own directory; the delay of network file systems is shortened.
PROGRAM = """
import os, sys
from biomechgpt_jax import cli
from biomechgpt_jax.parallel import agreement
agreement._NONCE_DELAY_S = 0.5
words = ["doctor", "--json", "--workdir", sys.argv[1 + int(os.environ["BIOMECHGPT_PROCESS_ID"])]]
sys.exit(cli.main(words))
"""


def run_doctor(ground: Ground, logs: Path, first: Path, second: Path) -> tuple[list[int], dict[str, list[str]]]:
    run = ground.start(logs, command=("-c", PROGRAM, str(first), str(second)))
    codes = run.wait(60)
    assert run.output(1) == "", "only process 0 reports"
    assert "Traceback" not in run.log(0) + run.log(1), run.log(1)[-2000:]
    report = json.loads(run.output(0))
    assert report["passed"] == (codes[0] == 0)
    return codes, {check["name"]: [check["verdict"], check["words"]] for check in report["checks"]}


def test_two_processes_with_one_directory_are_ready(ground: Ground, tmp_path: Path) -> None:
    shared = tmp_path / "a" / "shared"
    codes, checks = run_doctor(ground, tmp_path / "logs", shared, shared)
    assert codes == [0, 0], checks
    assert "of 2" in checks["coordinator"][1] and "within" in checks["clocks"][1]
    assert "over 2 devices" in checks["collective"][1]
    assert not (tmp_path / "a").exists(), "directories created for the test of writing are removed"


def test_a_failure_on_another_process_is_reported_by_the_first(ground: Ground, tmp_path: Path) -> None:
    codes, checks = run_doctor(ground, tmp_path / "logs", tmp_path / "one", tmp_path / "other")
    assert codes == [1, 1]
    verdict, words = checks["working directory"]
    assert verdict == "failed" and words.startswith("process 1 (") and "not the directory of process 0" in words

    (tmp_path / "file").write_text("")
    codes, checks = run_doctor(ground, tmp_path / "logs", tmp_path / "one", tmp_path / "file")
    assert codes == [1, 1]
    verdict, words = checks["working directory"]
    assert verdict == "failed" and words.startswith("process 1 (") and "--workdir" in words
    assert checks["collective"][0] == "ok", "the other checks still run"
