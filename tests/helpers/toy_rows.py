"""A toy dataset of packed rows and a toy experiment, small enough for a training in a second."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import jax
import numpy as np

from biomechgpt_jax import config
from biomechgpt_jax.tasks.id_space import IdSpace
from biomechgpt_jax.training import metrics

L, V, OFFSET, CODES = 32, 128, 64, 40
SETTINGS = ("jax_compilation_cache_dir", "jax_persistent_cache_min_compile_time_secs")


@dataclass(frozen=True)
class Toy:
    """Where the rows lie, and what trains on them."""

    sequences: Path
    experiment: config.Experiment
    ids: IdSpace
    code_vectors: np.ndarray


class Killed(Exception):
    """Raised where a process would be killed."""


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


def write_rows(directory: Path, splits: dict[str, list[dict[str, np.ndarray]]]) -> Path:
    """A TFDS dataset of rows that is not of this program's making: ArrayRecord, and no facts beside it."""
    import tensorflow_datasets as tfds

    class ToySequences(tfds.core.GeneratorBasedBuilder, skip_registration=True):
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


def make(directory: Path) -> Toy:
    """22 rows to train on, 6 to validate on, and a decoder of two layers."""
    rng = np.random.default_rng(0)
    splits = {"train": [row(rng) for _ in range(22)], "validation": [row(rng) for _ in range(6)]}
    sequences = write_rows(directory, splits)
    experiment = config.Experiment(
        model=config.Model(layers=2, model_size=32, heads=2, kv_heads=1, head_size=16, hidden_size=64),
        optimizer=config.Optimizer(warmup_steps=3, peak_learning_rate=1e-2),
        train=config.Train(batch_size=4, log_every=1, checkpoint_every=4, loss_chunk=16),
        mesh=config.Mesh(),
    )
    ids = IdSpace(size=V, motion_offset=OFFSET, codes=CODES, digest="toy")
    return Toy(sequences, experiment, ids, rng.normal(size=(1, CODES, 6)).astype(np.float32))


def compiling_once(directory: Path) -> Iterator[None]:
    """For a fixture: runs of one experiment share what was compiled, as on a machine that is used twice."""
    before = {name: getattr(jax.config, name) for name in SETTINGS}
    for name, value in zip(SETTINGS, (str(directory), 0.5), strict=True):
        jax.config.update(name, value)
    yield
    for name, value in before.items():
        jax.config.update(name, value)


def lines(workdir: Path) -> list[dict[str, float]]:
    """The metrics without what depends on the clock."""
    entries = metrics.read(workdir / "metrics.jsonl")
    return [{k: v for k, v in entry.items() if not metrics.timed(k)} for entry in entries]


def equal(a, b) -> bool:
    """Whether two trees hold the same numbers, bit for bit."""
    return all(np.array_equal(x, y) for x, y in zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True))
