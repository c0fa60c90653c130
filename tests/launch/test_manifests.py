"""Files for other systems: the JobSet against its published schema, the scripts against bash."""

import re
import subprocess
from pathlib import Path
from typing import Any

import pytest

from biomechgpt_jax.training import restarts

ROOT = Path(__file__).parents[2]
CRD = ROOT.parent / "shared" / "reference" / "jobset_crd.yaml"
TYPES = {"object": dict, "array": list, "string": str, "integer": int, "boolean": bool, "number": (int, float)}


def faults(value: Any, schema: dict[str, Any], where: str = "") -> list[str]:
    """Wrong types, missing and unknown fields, and values outside an enumeration or not matching a pattern."""
    if schema.get("x-kubernetes-int-or-string"):
        return [] if type(value) in (int, str) else [f"{where}: neither integer nor string"]
    kind = schema.get("type")
    if kind and (not isinstance(value, TYPES[kind]) or (isinstance(value, bool) and kind != "boolean")):
        return [f"{where}: {type(value).__name__} where {kind} is expected"]
    if "enum" in schema and value not in schema["enum"]:
        return [f"{where}: {value} is not one of {schema['enum']}"]
    if isinstance(value, str) and "pattern" in schema and not re.search(schema["pattern"], value):
        return [f"{where}: {value} does not match {schema['pattern']}"]
    wrong = []
    if isinstance(value, dict):
        known, further = schema.get("properties", {}), schema.get("additionalProperties")
        open_ = further is not None or not known or schema.get("x-kubernetes-preserve-unknown-fields")
        wrong += [f"{where}.{name}: missing" for name in schema.get("required", []) if name not in value]
        for name, inner in value.items():
            if name in known:
                wrong += faults(inner, known[name], f"{where}.{name}")
            elif isinstance(further, dict):
                wrong += faults(inner, further, f"{where}.{name}")
            elif not open_:
                wrong.append(f"{where}.{name}: unknown")
    if isinstance(value, list):
        for index, inner in enumerate(value):
            wrong += faults(inner, schema.get("items", {}), f"{where}[{index}]")
    return wrong


def load(path: Path) -> Any:
    return pytest.importorskip("yaml", reason="PyYAML is not installed").safe_load(path.read_text())


def test_the_jobset_agrees_with_the_published_schema() -> None:
    if not CRD.exists():
        pytest.skip("the schema of JobSet is not beside the repository")
    job = load(ROOT / "launch/gke_jobset.yaml")
    versions = load(CRD)["spec"]["versions"]
    (version,) = (version for version in versions if job["apiVersion"].endswith(version["name"]))
    schema = version["schema"]["openAPIV3Schema"]
    assert faults(job, schema) == []
    # The check itself detects faults.
    job["spec"]["failurePolicy"]["rules"][0]["action"] = "Restart"
    job["spec"]["replicatedJobs"][0]["template"]["spec"]["paralelism"] = 4
    del job["spec"]["replicatedJobs"][0]["name"]
    job["spec"]["suspend"] = "no"
    assert len(faults(job, schema)) == 4


def test_the_jobset_follows_the_policy() -> None:
    spec = load(ROOT / "launch/gke_jobset.yaml")["spec"]
    template = spec["replicatedJobs"][0]["template"]["spec"]
    assert template["parallelism"] == template["completions"]
    rules = template["podFailurePolicy"]["rules"]
    codes = [code for rule in rules for code in rule.get("onExitCodes", {}).get("values", [])]
    assert codes == [restarts.WRONG_INPUT, restarts.PREEMPTED]

    def action(message: str) -> str:
        for rule in spec["failurePolicy"]["rules"]:
            patterns = rule.get("onJobFailureMessagePatterns", [])
            if not patterns or any(re.search(pattern, message) for pattern in patterns):
                return str(rule["action"])
        raise AssertionError(message)

    failed = "Container train for pod default/run-hosts-0-0 failed with exit code {} matching FailJob rule at index 0"
    assert action(failed.format(restarts.WRONG_INPUT)) == "FailJobSet"
    assert action(failed.format(restarts.PREEMPTED)) == "RestartJobSetAndIgnoreMaxRestarts"
    assert action("Job has reached the specified backoff limit") == "RestartJobSet"


@pytest.mark.parametrize("script", sorted((ROOT / "launch").glob("*.s*")), ids=lambda path: path.name)
def test_scripts_are_valid_bash(script: Path) -> None:
    checked = subprocess.run(["bash", "-n", script], capture_output=True, text=True)
    assert checked.returncode == 0, checked.stderr


@pytest.mark.parametrize(("platform", "variable"), [("gpu", "XLA_FLAGS"), ("tpu", "LIBTPU_INIT_ARGS")])
def test_the_users_flags_come_last(platform: str, variable: str) -> None:
    script = f"source launch/platform_flags.sh; {variable}=--mine=1; platform_flags {platform}; echo ${variable}"
    run = subprocess.run(["bash", "-euc", script], cwd=ROOT, capture_output=True, text=True, check=True)
    flags = run.stdout.split()
    assert len(flags) > 1 and flags[-1] == "--mine=1" and len(set(flags)) == len(flags)
