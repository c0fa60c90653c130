"""The working directory of an experiment: its paths, its configuration, and the markers of finished stages."""

import dataclasses
import hashlib
import json
from pathlib import Path
from typing import Any

from biomechgpt_jax import config, provenance
from biomechgpt_jax.errors import InputError
from biomechgpt_jax.files import write_json, write_text
from biomechgpt_jax.parallel import agreement, distributed

STAGES = ("simulate", "tokenizer", "pack", "train", "calibrate", "evaluate")
TEXT_ONLY = "text_only"


@dataclasses.dataclass(frozen=True)
class Workdir:
    """The paths of an experiment."""

    root: Path

    @property
    def movements(self) -> Path:
        return self.root / "movements"

    @property
    def tokenizer(self) -> Path:
        return self.root / "tokenizer"

    @property
    def sequences(self) -> Path:
        return self.root / "sequences"

    @property
    def sequences_text_only(self) -> Path:
        return self.root / "sequences_text_only"

    @property
    def checkpoints(self) -> Path:
        return self.root / "checkpoints"

    @property
    def checkpoints_text_only(self) -> Path:
        return self.root / "checkpoints_text_only"

    @property
    def checkpoints_codec(self) -> Path:
        return self.tokenizer / "checkpoints"

    @property
    def metrics_codec(self) -> Path:
        return self.tokenizer / "metrics.jsonl"

    @property
    def metrics(self) -> Path:
        return self.root / "metrics.jsonl"

    @property
    def metrics_text_only(self) -> Path:
        return self.root / "metrics_text_only.jsonl"

    @property
    def calibration(self) -> Path:
        return self.root / "calibration.json"

    @property
    def evaluation(self) -> Path:
        return self.root / "evaluation"

    def evaluation_of(self, people: Path) -> Path:
        """Where an evaluation on other people lies: named after their dataset, or the run that holds it."""
        resolved = people.resolve()
        return self.root / f"evaluation_{resolved.parent.name if resolved.name == 'movements' else resolved.name}"

    @property
    def codec_report(self) -> Path:
        return self.tokenizer / "report.html"

    @property
    def codec_fidelity(self) -> Path:
        return self.tokenizer / "fidelity.json"

    def marker(self, stage: str) -> Path:
        return self.root / "stages" / f"{stage}.json"


def digest(value: Any) -> str:
    """SHA-256 hex of a JSON value."""
    return hashlib.sha256(json.dumps(value, sort_keys=True, default=str).encode()).hexdigest()


def read_marker(work: Workdir, stage: str) -> dict[str, Any]:
    """The marker that a stage wrote when it was done; empty if it is not done."""
    try:
        return json.loads(work.marker(stage).read_text())
    except (OSError, ValueError):
        return {}


def write_marker(work: Workdir, stage: str, inputs: str, seconds: float, outcome: dict[str, Any]) -> None:
    """Write the outcome of a stage, with the digest of its inputs and the program that made it."""
    marker = {"inputs": inputs, "seconds": seconds, "outcome": outcome} | provenance.program()
    work.marker(stage).parent.mkdir(exist_ok=True)
    write_json(work.marker(stage), marker)


def programs(work: Workdir) -> dict[str, dict[str, str]]:
    """Version and revision of the program that made each finished stage; empty where they were not recorded."""
    markers = {stage: read_marker(work, stage) for stage in STAGES}
    return {
        stage: {name: marker[name] for name in ("version", "git_revision") if name in marker}
        for stage, marker in markers.items()
        if marker
    }


def open_workdir(cfg: config.Experiment, root: Path) -> Workdir:
    """Create the working directory, check that all processes agree on it, and write config.json.

    Raises:
        InputError: the directory cannot be written, or the processes do not agree.
    """
    if root.exists() and not root.is_dir():
        raise InputError(f"--workdir {root} is a file; give a directory")
    try:
        if distributed.first():
            root.mkdir(parents=True, exist_ok=True)
        agreement.check_start(root, cfg)
        if distributed.first():
            description = {
                "experiment": dataclasses.asdict(dataclasses.replace(cfg, distributed=config.Distributed())),
                **provenance.program(),
                "environment": distributed.environment(),
            }
            # Not `files.write_json`, which cannot write infinity: `load_experiment` must read back the same numbers.
            write_text(root / "config.json", json.dumps(description, indent=1) + "\n")
    except OSError as error:
        raise InputError(f"--workdir {root}: {error.strerror}; give a directory that can be written") from error
    return Workdir(root)


def load_experiment(workdir: Path) -> config.Experiment:
    """Load the experiment that made a working directory.

    Raises:
        InputError: config.json is missing or damaged, or another version wrote it.
    """
    path = workdir / "config.json"
    try:
        stored = json.loads(path.read_text())["experiment"]
    except (OSError, ValueError, KeyError) as error:
        raise InputError(
            f"{path} is missing or damaged: {workdir} holds no experiment; run `biomechgpt run` or give --workdir"
        ) from error
    nested = {field.name: field for field in dataclasses.fields(config.Experiment)}
    values: dict[str, Any] = {}
    for name, value in stored.items():
        if name not in nested:
            raise InputError(f"{path}: unknown key '{name}': made by another version; run `biomechgpt run` again")
        kind = nested[name].type
        values[name] = _dataclass(kind, value, path) if isinstance(value, dict) else value
    return config.Experiment(**values)


def _dataclass(kind: Any, value: dict[str, Any], path: Path) -> Any:
    """A dataclass from the dict that `dataclasses.asdict` and JSON made of it, those inside it included."""
    types = {field.name: field.type for field in dataclasses.fields(kind)}

    def of(key: str, entry: Any) -> Any:
        if isinstance(entry, dict) and dataclasses.is_dataclass(types.get(key)):
            return _dataclass(types[key], entry, path)
        return tuple(entry) if isinstance(entry, list) else entry

    try:
        return kind(**{key: of(key, entry) for key, entry in value.items()})
    except TypeError as error:
        raise InputError(f"{path}: {error}: made by another version; run `biomechgpt run` again") from error
