"""Every participant is in exactly one split, always the same."""

import dataclasses
from collections import Counter

import numpy as np
import pytest

from biomechgpt_jax.biomechanics.skeleton import COORDINATE_COUNT
from biomechgpt_jax.biomechanics.trajectory import Metadata, Trajectory, Trial
from biomechgpt_jax.data import splits
from biomechgpt_jax.errors import InputError


def trial(participant: str, severity: float = float("nan"), value: float | None = None) -> Trial:
    value = value if value is not None else float(sum(map(ord, participant)))
    moved = np.full((4, COORDINATE_COUNT), value, np.float32)
    everything = np.ones(COORDINATE_COUNT, bool)
    trajectory = Trajectory(moved, everything, 30.0, Metadata(participant=participant))
    return Trial(f"{participant}_walk", trajectory, severity=severity)


def test_the_split_depends_on_the_id_alone() -> None:
    # Fixed for good: a change would mix the participants of existing datasets.
    assert [splits.split_of(f"p{i}") for i in range(6)] == [splits.split_of(f"p{i}") for i in range(6)]
    counts = Counter(splits.split_of(f"person {i}") for i in range(4000))
    assert set(counts) == set(splits.SPLITS)
    assert counts["train"] / 4000 == pytest.approx(0.75, abs=0.03)
    assert counts["validation"] / 4000 == pytest.approx(0.05, abs=0.015)
    assert counts["test"] / 4000 == pytest.approx(0.20, abs=0.03)


def test_a_clean_dataset_passes() -> None:
    """`check` returns without a complaint: it raises where it finds a leak."""
    healthy = [trial(f"h{i}", 0.0) for i in range(4)]  # all healthy people have severity 0
    clean = {"train": [trial("a", 0.3), trial("a", 0.3), healthy[0]], "test": [trial("b", 0.4), healthy[1]]}
    splits.check(clean)
    with pytest.raises(InputError):
        splits.check(clean | {"validation": [trial("a", 0.9)]})


@pytest.mark.parametrize(
    ("first", "second", "what"),
    [
        (trial("a", value=1.0), trial("a", value=2.0), "participant"),
        (trial("a", 0.37), trial("b", 0.37), "latent severity"),
        (trial("a", value=3.0), trial("b", value=3.0), "recording"),
    ],
)
def test_a_leak_is_refused(first, second, what) -> None:
    splits.check({"train": [first, second]})
    with pytest.raises(InputError, match=f"leak: .*same {what}; give"):
        splits.check({"train": [first], "test": [second]})


def test_a_trial_without_a_participant_is_refused() -> None:
    with pytest.raises(InputError, match="names no participant"):
        splits.check({"train": [dataclasses.replace(trial(""))]})
