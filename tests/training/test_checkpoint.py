"""Checkpoints are complete or absent."""

import json
import pickle
import shutil

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from biomechgpt_jax.errors import InputError, RunError
from biomechgpt_jax.training import checkpoint, manifest

IDENTITY = {"model": {"layers": 2, "sizes": (1, 2)}, "train": {"seed": 0, "batch_size": 8}}


def noise(seed: int):
    """A state of 0.6 MB that no compression makes smaller."""
    return {"w": jax.random.bits(jax.random.key(seed), (150_000,), jnp.uint32)}


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


def test_a_hundred_flipped_bits_are_found(directory) -> None:
    rng = np.random.default_rng(1)
    files = sorted(path for path in newest(directory).rglob("*") if path.is_file() and path.stat().st_size)
    sizes = np.array([path.stat().st_size for path in files])
    for place in rng.integers(0, 8 * sizes.sum(), 100):
        which = int(np.searchsorted(np.cumsum(sizes), place // 8, side="right"))
        original = files[which].read_bytes()
        flipped = bytearray(original)
        flipped[rng.integers(len(flipped))] ^= 1 << (place % 8)
        files[which].write_bytes(flipped)
        with pytest.raises(manifest.Damaged):
            manifest.verify(newest(directory))
        files[which].write_bytes(original)
    manifest.verify(newest(directory))


def test_shares_of_the_files_are_disjoint_complete_and_even() -> None:
    sizes = {f"d/{i}": size for i, size in enumerate([900, 500, 400, 300, 0, 0, 7])}
    shares = [manifest.share(sizes, process, 3) for process in range(3)]
    assert sorted(name for part in shares for name in part) == sorted(sizes)
    assert max(sum(sizes[name] for name in part) for part in shares) <= 907


def test_uncommitted_step_is_skipped_and_overwritten(directory) -> None:
    (newest(directory) / manifest.MANIFEST).unlink()
    assert restored(directory) == (1, 1.0)
    saved(directory, steps=(2,))
    assert restored(directory) == (2, 2.0)


def test_retention(tmp_path) -> None:
    saved(tmp_path, steps=(1, 2, 3, 4), keep_last=2)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["step_00000003", "step_00000004"]


def test_every_nth_step_is_kept(tmp_path) -> None:
    checkpoints = checkpoint.Checkpoints(tmp_path, IDENTITY, keep_last=1, keep_every=4)
    for step in range(2, 13, 2):
        checkpoints.save(step, state(step))
    checkpoints.close()
    assert [manifest.step_of(path) for path in manifest.steps(tmp_path)] == [12, 8, 4]


def test_old_steps_that_cannot_be_deleted_do_not_spoil_the_new_one(tmp_path, monkeypatch, caplog) -> None:
    def stuck(path, ignore_errors=False):
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(checkpoint.shutil, "rmtree", stuck)
    saved(tmp_path, steps=(1, 2), keep_last=1)
    assert "cannot be deleted: Permission denied" in caplog.text
    assert restored(tmp_path) == (2, 2.0)


def test_nothing_is_unpickled(directory, monkeypatch) -> None:
    def refuse(*_, **__):
        raise AssertionError("a checkpoint was unpickled")

    for name in ("load", "loads", "Unpickler"):
        monkeypatch.setattr(pickle, name, refuse)
    assert restored(directory) == (2, 2.0)


def test_the_newest_verified_step_is_never_deleted(directory) -> None:
    """A run goes on from step 1, because 2 is damaged, and is cut off in its next save: 1 is still there."""
    (newest(directory) / "extra").write_text("x")
    assert restored(directory) == (1, 1.0)
    checkpoints = checkpoint.Checkpoints(directory, IDENTITY, keep_last=1)
    checkpoints.save(2, state(2))
    checkpoints.close()
    assert [manifest.step_of(path) for path in manifest.steps(directory)] == [2]
    (directory / "step_00000003").mkdir()  # as a killed run leaves it
    assert restored(directory) == (2, 2.0)
    assert not (directory / "step_00000003").exists()


def test_state_of_another_shape_is_refused_with_both(directory) -> None:
    asked = abstract()
    asked["params"]["w"] = jax.ShapeDtypeStruct((64, 33), jnp.int32, sharding=asked["params"]["w"].sharding)
    with pytest.raises(InputError, match=r"params/w: int32\[64,32\] in the checkpoint, int32\[64,33\] now"):
        checkpoint.restore(directory, asked, IDENTITY)


def test_whole_but_unreadable_is_said_in_one_line_and_nothing_is_quarantined(directory, monkeypatch) -> None:
    def broken(*_, **__):
        raise ValueError("no such layout\nin this version")

    monkeypatch.setattr(checkpoint.ocp.Checkpointer, "restore", broken)
    with pytest.raises(RunError, match="step_00000002 is whole but cannot be read: ValueError: no such layout in"):
        restored(directory)
    assert newest(directory).exists()


def test_differences_are_refused_with_both_values(directory) -> None:
    other = json.loads(json.dumps(IDENTITY))
    other["train"]["seed"], other["model"]["layers"] = 5, 3
    with pytest.raises(InputError) as refusal:
        checkpoint.restore(directory, abstract(), other)
    message = str(refusal.value)
    assert "train.seed: 0 in the checkpoint, 5 now" in message and "model.layers: 2" in message
    assert "batch_size" not in message and "\n" not in message
    assert checkpoint.restore(directory, abstract(), {"model": IDENTITY["model"]}) is not None


def test_total_steps_may_change_until_the_decay_begins(tmp_path) -> None:
    def of(steps: int, until: int) -> dict:
        return IDENTITY | {"optimizer": {"peak": 0.1, "steps": steps, "stable_until": until}}

    checkpoints = checkpoint.Checkpoints(tmp_path, of(10, 8), 1)
    checkpoints.save(6, state(6))
    checkpoints.close()
    assert checkpoint.restore(tmp_path, abstract(), of(20, 16))[0] == 6
    with pytest.raises(InputError, match=r"optimizer.steps: 10 in the checkpoint, 7 now"):
        checkpoint.restore(tmp_path, abstract(), of(7, 5))  # this one would have decayed at step 6
    with pytest.raises(InputError, match=r"optimizer.peak: 0.1 in the checkpoint, 0.2 now"):
        checkpoint.restore(tmp_path, abstract(), IDENTITY | {"optimizer": of(20, 16)["optimizer"] | {"peak": 0.2}})


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


def test_a_full_disk_is_reported_at_the_next_step_and_the_last_checkpoint_is_intact(disk, capfd) -> None:
    shapes = jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=x.sharding), noise(0))
    checkpoints = checkpoint.Checkpoints(disk.path / "checkpoints", IDENTITY, 2)
    assert checkpoints.restore(shapes) is None
    checkpoints.save(1, noise(1))
    checkpoints.check(2)
    checkpoints.save(2, noise(2))
    checkpoints._commit.join()
    with pytest.raises(RunError, match=r"checkpoints could not be written \(No space left on device\); earlier"):
        checkpoints.check(3)
    checkpoints.close()
    assert "Traceback" not in capfd.readouterr().err
    found = checkpoint.Checkpoints(disk.path / "checkpoints", IDENTITY, 2).restore(shapes)
    assert found is not None and found[0] == 1 and np.array_equal(found[1]["w"], noise(1)["w"])


def test_read_only_directory(disk) -> None:
    """From the start: the input is wrong. In the middle of a run: it ends, and what was saved stays."""
    saved(disk.path / "checkpoints", steps=(1,))
    running = checkpoint.Checkpoints(disk.path / "checkpoints", IDENTITY, 2)
    assert running.restore(abstract())[0] == 1
    disk.remount("ro")
    with pytest.raises(RunError, match=r"\(Read-only file system\); earlier ones are intact"):
        running.save(2, state(2))
    running.close()
    assert checkpoint.restore(disk.path / "checkpoints", abstract(), IDENTITY)[0] == 1  # a reader needs no more
    with pytest.raises(InputError, match="checkpoints: Read-only file system; give a --workdir that can be written"):
        restored(disk.path / "checkpoints")
