"""Toy rows, a disk that can be filled, and a cache of compiled programs."""

import subprocess
from pathlib import Path

import numpy as np
import pytest
import toy_rows

from biomechgpt_jax.data import store


@pytest.fixture(scope="session", autouse=True)
def compiled_once(tmp_path_factory: pytest.TempPathFactory):
    yield from toy_rows.compiling_once(tmp_path_factory.mktemp("compiled"))


@pytest.fixture(scope="session")
def toy(tmp_path_factory: pytest.TempPathFactory) -> toy_rows.Toy:
    return toy_rows.make(tmp_path_factory.mktemp("data"))


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
    rows = [(f"{i}", toy_rows.row(rng)) for i in range(8)]
    features = {name: (value.shape, value.dtype) for name, value in rows[0][1].items()}
    store.write(tmp_path / "others", "other_rows", features, {"train": rows}, {})
    return tmp_path / "others"
