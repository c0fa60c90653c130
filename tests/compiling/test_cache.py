"""What `ask` and `inspect` compile and import: the second process finds every program of the first."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import fabricated_run
import pytest

from biomechgpt_jax.compiling import cache

ROOT = Path(__file__).parents[2]
# Runs the command line, and counts what jax finds in its cache from the moment when the verb has named one.
COUNTED = """
import collections, json, sys
from biomechgpt_jax import cli
from biomechgpt_jax.compiling import cache

events, keep = collections.Counter(), cache.keep

def counted(*given):
    keep(*given)
    assert "jax" not in sys.modules, "too late: jax has read its environment"
    from jax import monitoring
    monitoring.register_event_listener(lambda name, **_: events.update([name.rpartition("/")[2]]))

cache.keep = counted
code = cli.main(sys.argv[1:])
print(json.dumps({"code": code, "events": events, "modules": sorted(sys.modules)}))
"""
# What trains, draws or reads data sets, each slow to import.
SLOW = {"tensorflow", "tensorflow_datasets", "grain", "optax", "sklearn", "matplotlib", "tensorboardX", "pandas"}
NOT_ASKED = {*SLOW, "scipy", "jax.experimental.pallas"}
NOT_INSPECTED = {*SLOW, "flax", "orbax", "sentencepiece"}


def _run(arguments: list[str], own_cache: Path) -> dict[str, Any]:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("JAX_")}
    environment |= {"JAX_PLATFORMS": "cpu", "XDG_CACHE_HOME": str(own_cache)}
    said = subprocess.run(
        [sys.executable, "-c", COUNTED, *arguments], capture_output=True, text=True, cwd=ROOT, env=environment
    )
    assert said.returncode == 0, said.stderr
    found: dict[str, Any] = json.loads(said.stdout.splitlines()[-1])
    assert found["code"] == 0, said.stderr
    return found


def _second(first: list[str], second: list[str], own_cache: Path) -> set[str]:
    """Run two processes, of which the first compiles and the second must not; the modules that the second imports."""
    before, after = _run(first, own_cache), _run(second, own_cache)
    assert before["events"]["cache_misses"] > 0
    assert "cache_misses" not in after["events"], "the second process compiled a program"
    assert after["events"]["cache_hits"] == after["events"]["compile_requests_use_cache"]
    return set(after["modules"])


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("run")
    fabricated_run.write(root)
    fabricated_run.write_walk(root / "walk.mot")
    return root


def test_other_questions_in_a_second_process_compile_nothing_and_import_nothing_that_trains(run: Path) -> None:
    ask, where, own = ["ask", str(run / "walk.mot")], ["--workdir", str(run), "--json"], run / "own"
    first = ["How fast is this person walking?", "Is there an impairment?"]
    second = ["What is this person doing?", "What is the cadence?", "How wide are the steps?", "How long is a stride?"]
    modules = _second([*ask, *first, *where], [*ask, *second, *where], own)
    assert not NOT_ASKED & modules
    assert list((run / "compiled").glob("*-cache")), "the programs of a run lie with it"
    assert not own.exists()


def test_a_second_inspection_compiles_nothing(run: Path, tmp_path: Path) -> None:
    inspect = ["inspect", str(run / "walk.mot"), "--json"]
    assert not NOT_INSPECTED & _second(inspect, inspect, tmp_path)
    assert list((tmp_path / "biomechgpt" / "compiled").glob("*-cache"))


NAMED = ("JAX_COMPILATION_CACHE_DIR", "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS")


@pytest.fixture
def unset(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """An environment that names no cache but the user's own, and is as before after the test."""
    for name in NAMED:
        monkeypatch.setenv(name, "")  # so that it is restored
        monkeypatch.delenv(name)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "own"))


def _chosen() -> str | None:
    return os.environ.get("JAX_COMPILATION_CACHE_DIR")


@pytest.mark.usefixtures("unset")
def test_programs_lie_with_the_run_and_else_with_the_user(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cache.keep(tmp_path / "run")
    assert _chosen() == str(tmp_path / "run" / "compiled")
    monkeypatch.delenv("JAX_COMPILATION_CACHE_DIR")
    cache.keep()
    assert _chosen() == str(tmp_path / "own" / "biomechgpt" / "compiled")
    assert not any(tmp_path.iterdir()), "nothing is made before jax has something to keep"


@pytest.mark.usefixtures("unset")
def test_what_cannot_be_written_is_not_chosen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "run").write_text("a file")
    cache.keep(tmp_path / "run")
    assert _chosen() == str(tmp_path / "own" / "biomechgpt" / "compiled")
    monkeypatch.delenv("JAX_COMPILATION_CACHE_DIR")
    (tmp_path / "own").write_text("a file")
    cache.keep(tmp_path / "run")
    assert _chosen() is None


@pytest.mark.usefixtures("unset")
def test_the_users_choice_goes_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in NAMED:
        monkeypatch.setenv(name, "theirs")
    cache.keep(tmp_path)
    assert [os.environ[name] for name in NAMED] == ["theirs", "theirs"]
