"""Shared fixtures of tests with several local processes: tiny packed rows, and programs that train on them."""

import pytest
from ground import Ground, write_rows


@pytest.fixture(scope="session")
def ground(tmp_path_factory: pytest.TempPathFactory) -> Ground:
    """A directory with the rows and the compilation cache; `ground.start(...)` trains on them."""
    root = tmp_path_factory.mktemp("ground")
    write_rows(root / "sequences")
    return Ground(root)
