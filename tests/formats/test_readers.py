"""Every kind of file that is said to be readable has its reader, and damaged copies of it are tried."""

import importlib.util
import sys
from pathlib import Path

import pytest

from biomechgpt_jax import formats

BENCHMARK = Path(__file__).parents[2] / "benchmarks" / "formats.py"


@pytest.mark.parametrize("ending", [ending for ending in formats.READABLE if ending != ".csv"])
def test_every_ending_has_its_reader(ending: str, tmp_path: Path) -> None:
    assert callable(formats._reader(tmp_path / f"file{ending.upper()}"))


def test_damaged_copies_of_every_kind_are_tried(monkeypatch: pytest.MonkeyPatch) -> None:
    """A sample of a kind without a share would end the benchmark."""
    monkeypatch.syspath_prepend(str(BENCHMARK.parent))
    spec = importlib.util.spec_from_file_location("shares_of_kinds", BENCHMARK)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, spec.name, module)
    spec.loader.exec_module(module)
    assert set(module.SHARES) == set(formats.READABLE)
    assert len(list(module.jobs({ending: [b""] for ending in formats.READABLE}, 1000))) == 1000
