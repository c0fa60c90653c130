"""A toy dataset of packed rows and a toy experiment, small enough for a training in a second."""

import subprocess
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace

import jax
import numpy as np
import pytest

from biomechgpt_jax import config
from biomechgpt_jax.data import store

L, V, OFFSET, CODES = 32, 128, 64, 40


@dataclass(frozen=True)
class Toy:
    """Where the rows lie, and what trains on them."""

    sequences: Path
    experiment: config.Experiment
    vocabulary: SimpleNamespace
    code_vectors: np.ndarray


def row(rng: np.random.Generator) -> dict[str, np.ndarray]:
    """One trunk of 20 motion tokens, one branch of 8 whose answer repeats the trunk's first code, padding."""
    trunk = rng.integers(OFFSET, OFFSET + CODES, 20)
    branch = np.concatenate([[1, 2, 3, 4], np.full(4, trunk[1] - OFFSET)])
    tokens, index = np.concatenate([trunk, branch, np.zeros(4, int)]), np.arange(L)
    return {
        "tokens": tokens.astype(np.int32),
        "positions": np.where(index < 28, index, 0).astype(np.int32),
        "segments": (index < 28).astype(np.int32),
        "branches": ((index >= 20) & (index < 28)).astype(np.int32),
        "loss_weights": ((index >= 24) & (index < 28)).astype(np.float32),
    }


@pytest.fixture(scope="session", autouse=True)
def compiled_once(tmp_path_factory: pytest.TempPathFactory):
    """Runs of one experiment share what was compiled, as they would on a machine that is used twice."""
    settings = {
        "jax_compilation_cache_dir": str(tmp_path_factory.mktemp("compiled")),
        "jax_persistent_cache_min_compile_time_secs": 0.5,
    }
    before = {name: getattr(jax.config, name) for name in settings}
    for name, value in settings.items():
        jax.config.update(name, value)
    yield
    for name, value in before.items():
        jax.config.update(name, value)


def write_rows(directory: Path, splits: dict[str, list[dict[str, np.ndarray]]]) -> Path:
    """A TFDS dataset as the `pack` stage writes it: ArrayRecord, tensors as bytes, no TensorFlow."""
    import tensorflow_datasets as tfds

    class ToySequences(tfds.core.GeneratorBasedBuilder):
        VERSION = tfds.core.Version("1.0.0")
        pkg_dir_path = Path(__file__).parent

        def _info(self):
            tensors = {
                key: tfds.features.Tensor(shape=value.shape, dtype=value.dtype, encoding="bytes")
                for key, value in splits["train"][0].items()
            }
            return tfds.core.DatasetInfo(builder=self, features=tfds.features.FeaturesDict(tensors))

        def _split_generators(self, dl_manager):
            return {name: self._generate_examples(name) for name in splits}

        def _generate_examples(self, name):
            yield from enumerate(splits[name])

    builder = ToySequences(data_dir=str(directory), file_format="array_record")
    builder.download_and_prepare()
    return Path(builder.data_dir)


class Disk:
    """A file system of its own, in memory; `remount` changes its options."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def remount(self, options: str) -> None:
        subprocess.run(["mount", "-o", f"remount,{options}", str(self.path)], check=True)


@pytest.fixture
def disk(tmp_path: Path):
    """A disk of one megabyte; skips where this user may not mount one."""
    path = tmp_path / "disk"
    path.mkdir()
    done = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(path)], capture_output=True)
    if done.returncode:
        pytest.skip(f"no tmpfs can be mounted here: {done.stderr.decode().strip()}")
    yield Disk(path)
    subprocess.run(["umount", "-l", str(path)], check=True)


@pytest.fixture
def other_sequences(tmp_path: Path) -> Path:
    """Packed rows that are not those of the toy."""
    rng = np.random.default_rng(5)
    rows = [(f"{i}", row(rng)) for i in range(8)]
    features = {name: (value.shape, value.dtype) for name, value in rows[0][1].items()}
    store.write(tmp_path / "others", "other_rows", features, {"train": rows}, {})
    return tmp_path / "others"


@pytest.fixture(scope="session")
def toy(tmp_path_factory: pytest.TempPathFactory) -> Toy:
    rng = np.random.default_rng(0)
    splits = {"train": [row(rng) for _ in range(22)], "validation": [row(rng) for _ in range(6)]}
    sequences = write_rows(tmp_path_factory.mktemp("data"), splits)
    experiment = config.Experiment(
        model=config.Model(layers=2, model_size=32, heads=2, kv_heads=1, head_size=16, hidden_size=64),
        optimizer=config.Optimizer(warmup_steps=3, peak_learning_rate=1e-2),
        train=config.Train(batch_size=4, log_every=1, checkpoint_every=4, loss_chunk=16),
        mesh=config.Mesh(),
    )
    vocabulary = SimpleNamespace(size=V, motion_offset=OFFSET, digest="toy", codes=CODES)
    vectors = rng.normal(size=(CODES, 6)).astype(np.float32)
    return Toy(sequences, experiment, vocabulary, vectors)
