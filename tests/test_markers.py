"""When a stage is done, what makes it run again, and which program it names; the stages themselves are stand-ins."""

import dataclasses
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from biomechgpt_jax import __version__, config, pipeline, provenance
from biomechgpt_jax import workdir as workdirs
from biomechgpt_jax.questions import registry, truth

ROOT = Path(__file__).parents[1]


@pytest.fixture
def ran(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Run the pipeline with stages that only say their names; returns the names."""
    names: list[str] = []

    def body(stage: str):
        def run(cfg, work, progress):
            names.append(stage)
            return {"digest": stage}

        return run

    monkeypatch.setattr(pipeline, "_load_body", body)
    monkeypatch.setattr(pipeline, "_is_intact", lambda *_: True)

    def run(cfg: config.Experiment | None = None) -> list[str]:
        names.clear()
        pipeline.run(cfg or config.Experiment(), tmp_path, show=False)
        return list(names)

    return run


def test_a_changed_question_makes_the_tokenizer_and_all_after_it_run_again(ran, monkeypatch) -> None:
    assert ran() == list(workdirs.STAGES)
    assert ran() == []
    first = registry.ALL[0]
    changed = dataclasses.replace(first, templates=(*first.templates, "What might this be?"))
    monkeypatch.setattr(registry, "ALL", (changed, *registry.ALL[1:]))
    assert ran() == ["tokenizer", "pack", "train", "calibrate", "evaluate"]
    assert ran() == []


@pytest.mark.parametrize("rule", ["FALL_RISK_CUT_OFFS", "NO_GAIT", "NEEDS_HORIZONTAL_ROOT"])
def test_a_changed_rule_of_truth_makes_pack_and_all_after_it_run_again(ran, monkeypatch, rule) -> None:
    ran()
    if rule == "FALL_RISK_CUT_OFFS":
        tug = dataclasses.replace(truth.FALL_RISK_CUT_OFFS["tug_time"], high_from=14.0)
        monkeypatch.setitem(truth.FALL_RISK_CUT_OFFS, "tug_time", tug)
    else:
        monkeypatch.setattr(truth, rule, getattr(truth, rule) | {"cadence"})
    assert ran() == ["pack", "train", "calibrate", "evaluate"]


def test_a_marker_names_the_program_that_made_its_stage(ran, tmp_path, monkeypatch) -> None:
    ran()
    monkeypatch.setattr(provenance, "git_revision", lambda: "f" * 40)
    ran(dataclasses.replace(config.Experiment(), train=config.Train(steps=5)))
    made = workdirs.programs(workdirs.Workdir(tmp_path))
    assert {stage: program["version"] for stage, program in made.items()} == dict.fromkeys(workdirs.STAGES, __version__)
    anew = [stage for stage, program in made.items() if program["git_revision"] == "f" * 40]
    assert anew == ["train", "calibrate", "evaluate"]
    marker = json.loads((tmp_path / "stages" / "pack.json").read_text())
    assert {"inputs", "seconds", "outcome", "version", "git_revision"} <= set(marker)
    old = tmp_path / "stages" / "pack.json"
    old.write_text(json.dumps({name: marker[name] for name in ("inputs", "seconds", "outcome")}))
    assert workdirs.programs(workdirs.Workdir(tmp_path))["pack"] == {}


def test_the_revision_is_that_of_the_program_and_marks_changes(tmp_path: Path) -> None:
    def git(*words: str) -> str:
        settings = ("-c", "user.name=somebody", "-c", "user.email=somebody@example.org")
        done = subprocess.run(["git", *settings, *words], cwd=tmp_path, capture_output=True, text=True, check=True)
        return done.stdout.strip()

    def revision() -> str:
        words = "from biomechgpt_jax import provenance; print(provenance.git_revision())"
        command = [sys.executable, "-c", words]
        environment = os.environ | {"PYTHONPATH": str(tmp_path), "PYTHONDONTWRITEBYTECODE": "1"}
        done = subprocess.run(command, env=environment, cwd=tmp_path, capture_output=True, text=True, check=True)
        return done.stdout.strip()

    package = tmp_path / "biomechgpt_jax"
    package.mkdir()
    for name in ("__init__.py", "provenance.py"):
        shutil.copy(ROOT / "biomechgpt_jax" / name, package / name)
    assert revision() == ""
    git("init", "-q")
    git("commit", "-q", "--allow-empty", "-m", "of somebody else")
    assert revision() == "", "the repository that it is installed in is not its own"
    git("add", ".")
    git("commit", "-q", "-m", "its own")
    assert revision() == git("rev-parse", "HEAD")
    (package / "__init__.py").write_text('__version__ = "changed"\n')
    assert revision() == git("rev-parse", "HEAD") + "+"
