"""Toy rows, and a cache of compiled programs."""

import pytest
import toy_rows


@pytest.fixture(scope="session", autouse=True)
def compiled_once(tmp_path_factory: pytest.TempPathFactory):
    yield from toy_rows.compiling_once(tmp_path_factory.mktemp("compiled"))


@pytest.fixture(scope="session")
def toy(tmp_path_factory: pytest.TempPathFactory) -> toy_rows.Toy:
    return toy_rows.make(tmp_path_factory.mktemp("data"))
