"""The launchers: on this machine, for SLURM and for GKE."""

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
LAUNCH = ROOT / "launch"
SHARED = ROOT.parent / "shared"


def local_cluster(workdir: Path, program: str, *options: str) -> subprocess.Popen[str]:
    """`local_cluster.py` whose `biomechgpt_jax` is a small program that stands in the way of the real one."""
    package = workdir / "fake" / "biomechgpt_jax"
    package.mkdir(parents=True)
    shutil.copytree(ROOT / "biomechgpt_jax" / "parallel", package / "parallel")
    (package / "__init__.py").write_text("")
    (package / "__main__.py").write_text(program)
    command = [sys.executable, str(LAUNCH / "local_cluster.py"), *options, "--", "train", "--workdir", str(workdir)]
    environment = os.environ | {"PYTHONPATH": str(package.parent)}
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT}
    return subprocess.Popen(command, env=environment, cwd=workdir, text=True, **pipes)  # type: ignore[call-overload]


def test_processes_know_each_other_and_a_lost_one_starts_all_again(tmp_path: Path) -> None:
    program = """
import os, pathlib, sys
place = {name: os.environ["BIOMECHGPT_" + name] for name in ("COORDINATOR", "PROCESSES", "PROCESS_ID")}
print(place["PROCESS_ID"], "of", place["PROCESSES"], "count=2" in os.environ["XLA_FLAGS"], sys.argv[1], flush=True)
mark = pathlib.Path(sys.argv[-1]) / ("seen" + place["PROCESS_ID"])
first = not mark.exists()
mark.touch()
sys.exit(134 if first else 0)
"""
    run = local_cluster(tmp_path, program, "--processes", "2", "--devices", "2")
    said = run.communicate(timeout=60)[0]
    assert run.returncode == 0, said
    assert said.count("[0] 0 of 2 True train") == 2 and said.count("[1] 1 of 2 True train") == 2
    assert "ended with 134; starting again" in said


def test_wrong_input_is_not_tried_again(tmp_path: Path) -> None:
    run = local_cluster(tmp_path, "import sys; sys.exit(2)", "--processes", "2")
    assert "again" not in run.communicate(timeout=60)[0]
    assert run.returncode == 2


def test_sigterm_reaches_every_process_and_ends_the_run(tmp_path: Path) -> None:
    program = """
import os, pathlib, signal, sys, time
def stop(*_):
    print("saved", flush=True)
    sys.exit(75)
signal.signal(signal.SIGTERM, stop)
(pathlib.Path(sys.argv[-1]) / ("ready" + os.environ["BIOMECHGPT_PROCESS_ID"])).touch()
time.sleep(60)
"""
    run = local_cluster(tmp_path, program, "--processes", "2")
    until = time.monotonic() + 30
    while len(list(tmp_path.glob("ready*"))) < 2 and time.monotonic() < until:
        time.sleep(0.05)
    run.send_signal(signal.SIGTERM)
    said = run.communicate(timeout=60)[0]
    assert run.returncode == 75 and "[0] saved" in said and "[1] saved" in said


@pytest.mark.parametrize("script", ["slurm.sbatch", "tpu_vm.sh", "quickstart.sh", "test.sh"])
def test_scripts_are_sound(script: str) -> None:
    assert subprocess.run(["bash", "-n", LAUNCH / script], check=False).returncode == 0


def test_the_jobset_is_what_its_definition_asks_for() -> None:
    definition = SHARED / "reference" / "jobset_crd.yaml"
    if not definition.is_file():
        pytest.skip("../shared/reference/jobset_crd.yaml is not here")
    yaml = pytest.importorskip("yaml")
    versions = yaml.safe_load(definition.read_text())["spec"]["versions"]
    manifest = yaml.safe_load((LAUNCH / "gke_jobset.yaml").read_text())
    name = manifest["apiVersion"].partition("/")[2]
    (schema,) = [one["schema"]["openAPIV3Schema"] for one in versions if one["name"] == name]
    assert wrong(manifest, schema, "") == []
    job = manifest["spec"]["replicatedJobs"][0]["template"]["spec"]
    assert wrong(job | {"paralelism": 4}, field(schema, "replicatedJobs"), "job") == ["job.paralelism: unknown"]


def field(schema: dict[str, Any], name: str) -> dict[str, Any]:
    """The definition of the specification of a job."""
    job = schema["properties"]["spec"]["properties"][name]["items"]["properties"]["template"]
    return job["properties"]["spec"]


KINDS: dict[str, Any] = {"object": dict, "array": list, "string": str, "integer": int, "boolean": bool}


def wrong(value: Any, schema: dict[str, Any], where: str) -> list[str]:
    """Where a value departs from an OpenAPI v3 schema: types, required and unknown fields, enumerations."""
    if schema.get("x-kubernetes-int-or-string"):
        return [] if isinstance(value, int | str) else [f"{where}: neither number nor string"]
    kind = schema.get("type")
    if kind and not isinstance(value, KINDS[kind]):
        return [f"{where}: not {kind}"]
    if "enum" in schema and value not in schema["enum"]:
        return [f"{where}: {value} is none of {schema['enum']}"]
    found: list[str] = []
    if isinstance(value, list):
        return [one for number, part in enumerate(value) for one in wrong(part, schema["items"], f"{where}[{number}]")]
    if isinstance(value, dict):
        known = schema.get("properties", {})
        found += [f"{where}.{name}: missing" for name in schema.get("required", ()) if name not in value]
        for name, part in value.items():
            if name in known:
                found += wrong(part, known[name], f"{where}.{name}")
            elif isinstance(schema.get("additionalProperties"), dict):
                found += wrong(part, schema["additionalProperties"], f"{where}.{name}")
            elif known and not schema.get("x-kubernetes-preserve-unknown-fields"):
                found.append(f"{where}.{name}: unknown")
    return found


@pytest.mark.slow
def test_slurm_requeues_a_run_that_was_stopped_after_saving(tmp_path: Path) -> None:
    """A real SLURM; the run is a small program that saves when it is told to stop, and is done the second time."""
    tool = SHARED / "tools" / "slurm_local.sh"
    if not (shutil.which("sbatch") and shutil.which("slurmctld") and tool.is_file()):
        pytest.skip("needs Debian's slurm-wlm and munge, root and ../shared/tools/slurm_local.sh")
    program = tmp_path / "run.py"
    program.write_text(
        f"""
import pathlib, signal, sys, time
mark = pathlib.Path({str(tmp_path)!r})
if (mark / "saved").exists():
    (mark / "done").touch()
    sys.exit(0)
def stop(*_):
    (mark / "saved").touch()
    sys.exit(75)
signal.signal(signal.SIGTERM, stop)
(mark / "ready").touch()
time.sleep(300)
"""
    )
    said = subprocess.run(["bash", tool, "start", tmp_path / "slurm"], capture_output=True, text=True, check=True)
    environment = os.environ | {"SLURM_CONF": said.stdout.strip().rpartition("=")[2]}
    environment |= {
        "BIOMECHGPT_WORKDIR": str(tmp_path),
        "BIOMECHGPT_PYTHON": sys.executable,
        "BIOMECHGPT_COMMAND": f"{sys.executable} {program}",
    }
    try:
        submit = ["sbatch", "--parsable", "--nodes=1", f"--output={tmp_path}/log", str(LAUNCH / "slurm.sbatch")]
        job = subprocess.run(submit, env=environment, cwd=ROOT, capture_output=True, text=True, check=True)
        wait_for(tmp_path / "ready", 60)
        cancel = ["scancel", "--batch", "--signal=TERM", job.stdout.strip()]
        subprocess.run(cancel, env=environment, check=True)
        wait_for(tmp_path / "done", 240)  # SLURM waits a while before it starts a requeued job
        log = (tmp_path / "log").read_text()
        assert "the run ended with 75" in log and "requeued" in log
    finally:
        subprocess.run(["bash", tool, "stop", tmp_path / "slurm"], check=False)


def wait_for(path: Path, seconds: float) -> None:
    """Until a file is there."""
    until = time.monotonic() + seconds
    while not path.exists():
        assert time.monotonic() < until, f"{path.name} did not come"
        time.sleep(0.2)
