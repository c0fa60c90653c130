"""Damaged folders of weights: each is refused in one line, nothing is executed, and nothing is left behind."""

from pathlib import Path

import folder_mutations as mutations
import pytest
import small_folders


@pytest.fixture(scope="module")
def whole(tmp_path_factory) -> Path:
    root = tmp_path_factory.mktemp("whole")
    for family in small_folders.FAMILIES:
        small_folders.write_folder(root / family, family)
    return root


def test_whole_folders_are_no_damage(whole, tmp_path) -> None:
    """The check itself: it tells a folder that is imported from one that is refused."""
    for family in small_folders.FAMILIES:
        assert mutations.fault(whole / family).startswith("ended with 0")


@pytest.mark.parametrize("start", range(0, 150, 50))
def test_every_damage_is_refused_in_one_line(whole, tmp_path, start) -> None:
    assert len(mutations.DAMAGES) <= 50  # so that each stands in the first part
    faults = {}
    for number in range(start, start + 50):
        directory = tmp_path / str(number)
        name = mutations.damaged(number, whole, directory)
        if found := mutations.fault(directory):
            faults[f"{number}, {name}"] = found
    assert not faults
