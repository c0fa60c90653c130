"""How processes find each other, how missing ones are reported, and what is refused at the start."""

import json
import os
import shutil
import socket
import threading
from pathlib import Path

import pytest
from ground import ROOT, Ground, free_port

from biomechgpt_jax import config
from biomechgpt_jax.errors import ClusterError, InputError
from biomechgpt_jax.parallel import agreement, distributed, rendezvous


@pytest.fixture(autouse=True)
def no_cluster(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in list(os.environ):
        if name.startswith(("BIOMECHGPT_", "SLURM_", "OMPI_", "KUBERNETES_")):
            monkeypatch.delenv(name)
    monkeypatch.setenv("TPU_SKIP_MDS_QUERY", "1")


def test_the_place_is_given_by_hand_by_environment_or_detected(monkeypatch: pytest.MonkeyPatch) -> None:
    assert distributed.find(config.Distributed()).processes == 1
    by_hand = config.Distributed(coordinator="node1:8476", processes=4, process_id=2)
    assert distributed.find(by_hand)[:4] == ("by hand", "node1:8476", 4, 2)

    slurm = {"JOB_ID": "7", "STEP_NODELIST": "node[03-06]", "NTASKS": "4", "PROCID": "3", "LOCALID": "0"}
    for name, value in slurm.items():
        monkeypatch.setenv(f"SLURM_{name}", value)
    monkeypatch.setenv("SLURM_STEP_TASKS_PER_NODE", "1(x4)")
    found = distributed.find(config.Distributed())
    assert (found.launcher, found.processes, found.process) == ("slurm", 4, 3)
    assert found.coordinator.startswith("node03:")
    assert found.local_devices is None, "a single task per node has all devices of the node"
    monkeypatch.setenv("SLURM_STEP_TASKS_PER_NODE", "4")
    assert distributed.find(config.Distributed()).local_devices == (0,)

    for name, value in {"COORDINATOR": "other:1", "PROCESSES": "2", "PROCESS_ID": "1"}.items():
        monkeypatch.setenv(f"BIOMECHGPT_{name}", value)
    assert distributed.find(config.Distributed())[:4] == ("by hand", "other:1", 2, 1)
    assert distributed.find(by_hand)[1] == "node1:8476", "the configuration takes precedence over the environment"
    monkeypatch.setenv("BIOMECHGPT_HEARTBEAT_TIMEOUT_S", "10")
    assert distributed.settings(config.Distributed()).heartbeat_timeout_s == 10


def test_an_incomplete_place_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(InputError, match=r"distributed\.process_id must be given"):
        distributed.find(config.Distributed(coordinator="node1:8476", processes=4))
    with pytest.raises(InputError, match="give 0 to 3"):
        distributed.find(config.Distributed(coordinator="node1:8476", processes=4, process_id=4))
    with pytest.raises(InputError, match="host:port"):
        config.Distributed(coordinator="node1")
    monkeypatch.setenv("BIOMECHGPT_PROCESSES", "many")
    with pytest.raises(InputError, match="BIOMECHGPT_PROCESSES"):
        distributed.find(config.Distributed())


def _report(port: int, process: int, errors: list[Exception]) -> threading.Thread:
    def run() -> None:
        try:
            rendezvous.report(f"localhost:{port}", process, 6)
        except ClusterError as error:
            errors.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    return thread


def test_roll_call_releases_all_and_ignores_strangers() -> None:
    port, errors = free_port(), []
    threads = [_report(port, process, errors) for process in (1, 2)]
    strangers = threading.Thread(target=_stranger, args=(port,))
    strangers.start()
    rendezvous.hold(port, 3, 20)
    for thread in (*threads, strangers):
        thread.join()
    assert not errors
    socket.create_server(("", port)).close()  # the port is free for jax


def _stranger(port: int) -> None:
    for word in (b"GET / HTTP/1.1\r\n\r\n", b"biomechgpt 9 x\n", b""):
        for _ in range(100):
            try:
                with socket.create_connection(("localhost", port), timeout=1) as call:
                    call.sendall(word)
                break
            except OSError:
                continue


def test_roll_call_names_missing_and_duplicate_processes() -> None:
    port, errors = free_port(), []
    thread = _report(port, 2, errors)
    with pytest.raises(ClusterError, match=rf"process 1, 3 is missing; heard from: 2 \({socket.gethostname()}\)"):
        rendezvous.hold(port, 4, 2)
    twice = _report(port, 2, errors)
    with pytest.raises(ClusterError, match="two processes arrived as process 2"):
        rendezvous.hold(port, 4, 10)
    for caller in (thread, twice):
        caller.join()
    with pytest.raises(ClusterError, match="refused"):
        rendezvous.report(f"localhost:{port}", 1, 1)


PROGRAM = """
import dataclasses, json, os, sys, time
from pathlib import Path
from biomechgpt_jax import config
from biomechgpt_jax.errors import ClusterError, InputError
from biomechgpt_jax.parallel import agreement, distributed

shared, own = Path(sys.argv[1]), Path(sys.argv[1]) / os.environ["BIOMECHGPT_PROCESS_ID"]
own.mkdir(parents=True, exist_ok=True)
cfg = config.Experiment()
place = distributed.start(cfg.distributed)
other = place.process == 1
reports = {}

def attempt(name, function, *arguments):
    try:
        reports[name] = function(*arguments)
    except (InputError, ClusterError) as error:
        reports[name] = f"{type(error).__name__}: {error}"

agreement._NONCE_DELAY_S = 1.0
attempt("equal", agreement.check_start, shared, cfg)
longer = dataclasses.replace(cfg, train=config.Train(steps=9, batch_size=2)) if other else cfg
attempt("configuration", agreement.check_start, shared, longer)
attempt("workdir", agreement.check_start, own, cfg)
attempt("data", agreement.agree, "data", {"sequences": "abc" if other else "abd", "tokenizer": "t"}, 20)
code = agreement.code
agreement.code = lambda: code() | ({"training/loop.py": "0"} if other else {})
attempt("code", agreement.check_start, shared, cfg)
attempt("shared", distributed.share, "number", lambda: "made by 0")
if other:
    time.sleep(3)
attempt("missing", distributed.barrier, "late", 1)
print(json.dumps(reports))
"""


@pytest.mark.multiprocess
def test_processes_that_differ_are_refused_and_the_difference_is_named(ground: Ground, tmp_path: Path) -> None:
    run = ground.start(tmp_path, processes=2, command=("-c", PROGRAM, str(tmp_path / "shared")))
    assert run.wait() == [0, 0], run.log(0)[-2000:] + run.log(1)[-2000:]
    reports = [json.loads(run.output(process)) for process in (0, 1)]
    host = socket.gethostname()
    differs = f"InputError: process 1 ({host}) does not agree with process 0 ({host}) on "
    assert reports[0]["equal"] is None
    assert reports[0]["configuration"].startswith(
        f"{differs}configuration: train.batch_size is 2, not 8; train.steps is 9"
    )
    assert reports[0]["workdir"].startswith(f"{differs}the working directory: --workdir is not the one of process 0")
    assert reports[0]["data"].startswith(f"{differs}data: sequences is abc, not abd")
    assert reports[0]["code"].startswith(f"{differs}code: training/loop.py is 0, not ")
    assert reports[0]["shared"] == reports[1]["shared"] == "made by 0"
    assert f"ClusterError: barrier late: missing after 1 s: process 1 ({host})" == reports[0].pop("missing")
    reports[1].pop("missing")
    assert reports[0] == reports[1], "all processes report the same"
    assert not list((tmp_path / "shared").glob(".start-*"))


CONFIGURATION = """
import os
from biomechgpt_jax import config as c

def config():
    cohort = c.Cohort(participants=10, hours=0.02, noise="none", activities=("chair_rise", "tug"))
    tokenizer = c.Tokenizer(steps=8, width=16, depth=1)
    model = c.Model(layers=1, model_size=32, heads=2, kv_heads=2, head_size=16, hidden_size=64)
    train = c.Train(steps=int(os.environ.get("STEPS", 4)), checkpoint_every=4)
    return c.Experiment(name="tiny", cohort=cohort, tokenizer=tokenizer, model=model, train=train, text_only_steps=2)
"""


@pytest.mark.slow
@pytest.mark.multiprocess
def test_the_command_line_on_two_processes(ground: Ground, tmp_path: Path) -> None:
    (tmp_path / "tiny.py").write_text(CONFIGURATION)
    workdir = tmp_path / "run"
    command = ("-m", "biomechgpt_jax", "run", str(tmp_path / "tiny.py"), "--workdir", str(workdir), "--json")
    run = ground.start(tmp_path, processes=2, command=command)
    assert run.wait(300) == [0, 0], run.log(0)[-3000:] + run.log(1)[-3000:]
    assert len(run.output(0).splitlines()) == 1 and "digest" in json.loads(run.output(0))
    assert run.output(1) == "" and "step" not in run.log(1)
    assert "biomechgpt evaluate --workdir" in run.log(0)
    recorded = json.loads((workdir / "config.json").read_text())
    assert recorded["environment"]["processes"] == "2" and "XLA_FLAGS" in recorded["environment"]
    assert recorded["experiment"]["distributed"]["process_id"] == -1
    runs = [json.loads(line) for line in (workdir / "runs.jsonl").read_text().splitlines()]
    assert runs[0]["processes"] == 2 and runs[1]["code"] == 0

    # The same command again, with another configuration and then with other code on one of the hosts.
    refused = ground.start(tmp_path, processes=2, command=command, each={1: {"STEPS": "5"}})
    assert refused.wait(300) == [2, 2]
    assert "train.steps is 5, not 4" in refused.log(0)
    shutil.copytree(ROOT / "biomechgpt_jax", tmp_path / "other" / "biomechgpt_jax")
    with (tmp_path / "other" / "biomechgpt_jax" / "training" / "step.py").open("a") as file:
        file.write("# another version\n")
    program = "import runpy; runpy.run_module('biomechgpt_jax', run_name='__main__')"
    launcher = ("-P", "-c", program, *command[2:])
    each = {1: {"PYTHONPATH": str(tmp_path / "other")}}
    refused = ground.start(tmp_path, processes=2, command=launcher, each=each)
    assert refused.wait(300) == [2, 2]
    assert "on code: training/step.py is " in refused.log(0), refused.log(0)
    evaluate = ground.start(tmp_path, processes=2, command=(*command[:2], "evaluate", *command[3:]))
    assert evaluate.wait(300) == [2, 2]
    assert "one process" in evaluate.log(0)


def test_code_and_configuration_in_facts() -> None:
    assert "parallel/agreement.py" in agreement.code()
    facts = agreement.flatten(config.Experiment())
    assert facts["train.steps"] == "700" and not any(name.startswith("distributed") for name in facts)
