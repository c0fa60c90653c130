"""What the journeys share: a person's commands, a folder of labelled recordings, and one small run on them."""

import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import numpy as np
import pytest
from fabricated import walk

from biomechgpt_jax.biomechanics.skeleton import COORDINATE_COUNT, INDEX, NECK_AND_WRISTS
from biomechgpt_jax.biomechanics.trajectory import Trajectory
from biomechgpt_jax.data.splits import split_of
from biomechgpt_jax.formats.opensim import write_mot

ROOT = Path(__file__).parents[2]
# Frames at 30 Hz of one file each: no whole number of tokens of four frames.
LENGTHS = (81, 155, 41, 37, 81, 155, 41, 37, 81, 155, 41, 37, 81, 155)
BROKEN = "visit1/broken.mot"
DIAGNOSES = ("healthy", "stroke", "Parkinson disease", "")
CONFIG = """
from biomechgpt_jax import config as c


def config():
    return c.Experiment(
        name="mine",
        tokenizer=c.Tokenizer(steps=4, width=16, depth=1, levels=("8x5",), text_pieces=330),
        pack=c.Pack(crops_per_trial=2),
        model=c.Model(layers=1, model_size=32, heads=2, kv_heads=1, head_size=16, hidden_size=64),
        train=c.Train(steps=4, batch_size=4, log_every=1, checkpoint_every=2),
        text_only_steps=1,
        evaluation=c.Evaluation(bootstrap=20, stick_figures=1, encoder_steps=2),
    )
"""

Command = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture(scope="session")
def environment(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Of every command: compiled quickly, and found by the next."""
    quick = "--xla_backend_optimization_level=0 --xla_llvm_disable_expensive_passes=true"
    compiled = str(tmp_path_factory.mktemp("compiled"))
    return os.environ | {"JAX_PLATFORMS": "cpu", "XLA_FLAGS": quick, "JAX_COMPILATION_CACHE_DIR": compiled}


@pytest.fixture(scope="session")
def biomechgpt(environment: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> Command:
    """Type a command of the program that lies in `program`, with standard output to `out`; it must end with `code`."""
    elsewhere = tmp_path_factory.mktemp("elsewhere")

    def run(
        *words: object, code: int = 0, program: Path = ROOT, out: int | IO[str] = subprocess.PIPE
    ) -> subprocess.CompletedProcess[str]:
        done = subprocess.run(
            [sys.executable, "-m", "biomechgpt_jax", *map(str, words)],
            stdout=out,
            stderr=subprocess.PIPE,
            text=True,
            cwd=elsewhere,
            env=environment | {"PYTHONPATH": str(program)},
            timeout=300,
            check=False,
        )
        assert done.returncode == code, f"{' '.join(map(str, words))}: {done.returncode}\n{done.stdout}\n{done.stderr}"
        return done

    return run


@pytest.fixture(scope="session")
def example(environment: dict[str, str]) -> Callable[..., str]:
    """Run a script of `examples/`, which must succeed, and return what it prints.

    One that simulates is compiled as usual: without the compiler's passes it would take minutes.
    """

    def run(script: str, *words: object, simulates: bool = False) -> str:
        flags = {"XLA_FLAGS": ""} if simulates else {}
        command = [sys.executable, str(ROOT / "examples" / script), *map(str, words)]
        done = subprocess.run(
            command, capture_output=True, text=True, env=environment | flags | {"PYTHONPATH": str(ROOT)}, timeout=300
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    return run


@dataclass(frozen=True)
class Journey:
    """A person's folder and what the commands printed.

    Attributes:
        labels: table of the labels, four a file, or three where the diagnosis is not known.
        file: one of the recordings.
        broken: path, as in the table, of one that cannot be read.
        config: the configuration file.
        workdir: of the finished run.
        imported, ran: what `import` and `run` printed.
    """

    labels: Path
    file: Path
    broken: str
    config: Path
    workdir: Path
    imported: subprocess.CompletedProcess[str]
    ran: subprocess.CompletedProcess[str]


def people(count: int) -> list[str]:
    """Ids of so many participants, three of them in the test split and one in the validation split."""
    wanted = {"test": 3, "validation": 1, "train": max(count - 4, 0)}
    chosen = []
    for number in range(1_000):
        split = split_of(f"P{number}")
        if wanted[split]:
            wanted[split] -= 1
            chosen.append(f"P{number}")
    return chosen


def record(directory: Path) -> Path:
    """Write recordings of walks as an IK tool does, and the table of their labels; returns the table."""
    observed = np.ones(COORDINATE_COUNT, bool)
    observed[[INDEX[name] for name in NECK_AND_WRISTS]] = False
    rows = ["file,participant,activity,diagnosis,device,falls"]
    for number, (frames, person) in enumerate(zip(LENGTHS, people(len(LENGTHS)), strict=True)):
        moved = walk(7.0, 0.7 + 0.05 * number)[number : number + frames]
        folder = directory / f"visit{number % 2}"
        folder.mkdir(parents=True, exist_ok=True)
        write_mot(folder / f"{number:02d}.mot", Trajectory(moved, observed, 30.0))
        diagnosis = DIAGNOSES[number % len(DIAGNOSES)]
        rows.append(f"visit{number % 2}/{number:02d}.mot,{person},walking,{diagnosis},none,{number % 3}")
    (directory / BROKEN).write_text("endheader\ntime\tpelvis_tx\n0\tnonsense\n")
    rows.append(f"{BROKEN},{people(1)[0]},walking,stroke,none,0")
    table = directory.parent / "labels.csv"
    table.write_text("\n".join(rows) + "\n")
    return table


@pytest.fixture(scope="session")
def mine(tmp_path_factory: pytest.TempPathFactory, biomechgpt: Command) -> Journey:
    """Own recordings with labels, imported and run to the report."""
    root = tmp_path_factory.mktemp("mine")
    recordings, workdir, config = root / "recordings", root / "run", root / "mine.py"
    labels = record(recordings)
    config.write_text(CONFIG)
    imported = biomechgpt("import", recordings, "--out", workdir / "movements", "--labels", labels, "--workers", 1)
    ran = biomechgpt("run", config, "--workdir", workdir)
    return Journey(labels, recordings / "visit1" / "13.mot", BROKEN, config, workdir, imported, ran)
