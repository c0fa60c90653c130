"""The common ground of tests with several local processes: tiny packed rows, and programs that train on them."""

import pytest
from ground import Ground, write_rows


@pytest.fixture(scope="session")
def ground(tmp_path_factory: pytest.TempPathFactory) -> Ground:
    """Where the rows and what was compiled lie; `ground.start(...)` trains on them."""
    root = tmp_path_factory.mktemp("ground")
    write_rows(root / "sequences")
    return Ground(root)
