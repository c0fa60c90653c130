"""Checkpoints: whole or not there."""

import json
import shutil

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from biomechgpt_jax.errors import InputError, RunError
from biomechgpt_jax.training import checkpoint, manifest

IDENTITY = {"model": {"layers": 2, "sizes": (1, 2)}, "train": {"seed": 0, "batch_size": 8}}


def state(value: float):
    return {"params": {"w": jnp.full((64, 32), value), "b": jnp.float32(value)}, "step": jnp.int32(value)}


def abstract():
    sharding = jax.sharding.SingleDeviceSharding(jax.devices()[0])
    return jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=sharding), state(0))


def saved(directory, steps=(1, 2), keep_last=3):
    checkpoints = checkpoint.Checkpoints(directory, IDENTITY, keep_last)
    for step in steps:
        checkpoints.save(step, state(step))
    checkpoints.close()
    return directory


def restored(directory):
    result = checkpoint.Checkpoints(directory, IDENTITY, 3).restore(abstract())
    return None if result is None else (result[0], float(result[1]["params"]["w"][3, 4]))


def newest(directory):
    return directory / "step_00000002"


@pytest.fixture(scope="module")
def pristine(tmp_path_factory):
    return saved(tmp_path_factory.mktemp("pristine") / "checkpoints")


@pytest.fixture
def directory(pristine, tmp_path):
    return shutil.copytree(pristine, tmp_path / "checkpoints")


def test_round_trip_and_nothing_there(directory, tmp_path) -> None:
    assert restored(directory) == (2, 2.0)
    assert restored(tmp_path / "absent") is None


def test_donated_state_does_not_change_what_is_saved(tmp_path) -> None:
    """The save is asynchronous: steps that reuse the buffers meanwhile must not reach the file."""
    checkpoints = checkpoint.Checkpoints(tmp_path, IDENTITY, 1)
    advance = jax.jit(lambda s: jax.tree.map(lambda x: x * 2 + 1, s), donate_argnums=0)
    current = {"w": jnp.arange(2_000_000, dtype=jnp.float32)}
    shapes = jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=x.sharding), current)
    checkpoints.save(1, current)
    for _ in range(20):
        current = advance(current)
    checkpoints.close()
    result = checkpoint.restore(tmp_path, shapes, IDENTITY)
    assert result is not None and np.array_equal(result[1]["w"], np.arange(2_000_000, dtype=np.float32))


def test_every_kind_of_damage_is_found(pristine, directory, caplog) -> None:
    """A flipped bit anywhere, a truncated, missing or extra file: the step before is used."""
    rng = np.random.default_rng(0)
    files = sorted(p.relative_to(pristine) for p in newest(pristine).rglob("*") if p.is_file())
    for name in files:
        target = directory / name
        original = target.read_bytes()
        for bit in rng.integers(0, 8 * len(original), 2) if original else []:
            flipped = bytearray(original)
            flipped[bit // 8] ^= 1 << (bit % 8)
            target.write_bytes(flipped)
            with pytest.raises(manifest.Damaged):
                manifest.verify(newest(directory))
        if name.name != manifest.MANIFEST:
            target.write_bytes(original[:-1]) if original else target.write_bytes(b"x")
            with pytest.raises(manifest.Damaged):
                manifest.verify(newest(directory))
            target.unlink()
            with pytest.raises(manifest.Damaged):
                manifest.verify(newest(directory))
        target.write_bytes(original)
    manifest.verify(newest(directory))
    (newest(directory) / "extra").write_text("x")
    with pytest.raises(manifest.Damaged):
        manifest.verify(newest(directory))

    assert checkpoint.restore(directory, abstract(), IDENTITY)[0] == 1  # a reader leaves it as it is
    assert newest(directory).exists()
    assert restored(directory) == (1, 1.0)
    assert not newest(directory).exists() and (directory / "damaged-step_00000002").exists()
    assert "damaged" in caplog.text


def test_uncommitted_step_is_skipped_and_overwritten(directory) -> None:
    (newest(directory) / manifest.MANIFEST).unlink()
    assert restored(directory) == (1, 1.0)
    saved(directory, steps=(2,))
    assert restored(directory) == (2, 2.0)


def test_retention(tmp_path) -> None:
    saved(tmp_path, steps=(1, 2, 3, 4), keep_last=2)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["step_00000003", "step_00000004"]


def test_differences_are_refused_with_both_values(directory) -> None:
    other = json.loads(json.dumps(IDENTITY))
    other["train"]["seed"], other["model"]["layers"] = 5, 3
    with pytest.raises(InputError) as refusal:
        checkpoint.restore(directory, abstract(), other)
    message = str(refusal.value)
    assert "train.seed: 0 in the checkpoint, 5 now" in message and "model.layers: 2" in message
    assert "batch_size" not in message and "\n" not in message
    assert checkpoint.restore(directory, abstract(), {"model": IDENTITY["model"]}) is not None


def test_a_part_of_the_state_can_be_read(directory) -> None:
    result = checkpoint.restore(directory, {"params": abstract()["params"]}, IDENTITY)
    assert result is not None and set(result[1]) == {"params"} and float(result[1]["params"]["b"]) == 2.0


def test_failed_save_is_raised_by_the_next_check(tmp_path, monkeypatch, capfd) -> None:
    def full(*_):
        raise OSError(28, "No space left on device")

    checkpoints = checkpoint.Checkpoints(tmp_path, IDENTITY, 2)
    checkpoints.save(1, state(1))
    checkpoints.wait()
    monkeypatch.setattr(manifest, "write", full)
    checkpoints.check(2)
    checkpoints.save(2, state(2))
    checkpoints._commit.join()
    with pytest.raises(RunError, match=r"No space left on device.*run the same command again") as refusal:
        checkpoints.check(3)
    assert "\n" not in str(refusal.value)
    checkpoints.close()  # said once
    assert sorted(path.name for path in tmp_path.iterdir()) == ["step_00000001"]  # the space is free again
    assert restored(tmp_path) == (1, 1.0)
