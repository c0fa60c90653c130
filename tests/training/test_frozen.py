"""The wall between trained and frozen parameters, and a low-rank adapter over 8-bit weights trained across it."""

import contextlib
import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from biomechgpt_jax import config
from biomechgpt_jax.errors import InputError
from biomechgpt_jax.training import frozen, loop, manifest, optimizer
from biomechgpt_jax.training import step as steps_lib


def tree():
    random = np.random.default_rng(0)
    return {
        "a": {"kernel": random.normal(size=(40, 30)).astype(np.float32), "scale": np.ones(30, np.float32)},
        "b": {"packed": random.integers(0, 256, (16, 8), np.uint8)},
        "c": jnp.asarray(random.normal(size=(5, 6, 7)), jnp.bfloat16),
        "d": np.float32(3.0),
    }


def test_splitting_and_merging_are_inverse_and_keep_every_kind_of_leaf() -> None:
    whole = {"a": {"x": 1, "y": ("heads", None)}, "b": {"z": {"w": 2}}, "c": 3}
    trained, held = frozen.split(whole, {"a": {"y": 0}, "b": {"z": {"w": 0}}})
    assert trained == {"a": {"x": 1}, "c": 3} and held == {"a": {"y": ("heads", None)}, "b": {"z": {"w": 2}}}
    assert frozen.merge(trained, held) == whole
    assert frozen.split(whole, {}) == (whole, {})
    with pytest.raises(KeyError, match="lacks: q"):
        frozen.split(whole, {"a": {"q": 0}})
    with pytest.raises(KeyError, match="'y' is both trained and frozen"):
        frozen.merge(whole, held)


def test_any_change_changes_the_digest() -> None:
    whole = frozen.digest(tree())
    assert frozen.digest(jax.device_put(tree())) == whole
    seen = {whole}
    random = np.random.default_rng(1)
    for path in (("a", "kernel"), ("a", "scale"), ("b", "packed")):
        for _ in range(5):
            other = tree()
            array = other[path[0]][path[1]]
            bytes_of = array.reshape(-1).view(np.uint8)
            bytes_of[random.integers(bytes_of.size)] ^= 1 << random.integers(8)
            seen.add(frozen.digest(other))
    swapped, turned, renamed = tree(), tree(), tree()
    swapped["a"]["kernel"][[3, 4]] = swapped["a"]["kernel"][[4, 3]]
    turned["a"]["kernel"] = turned["a"]["kernel"].T
    renamed["e"] = renamed.pop("d")
    wide = tree() | {"c": tree()["c"].astype(jnp.float32)}
    zero = tree() | {"d": np.float32(-3.0)}
    seen |= {frozen.digest(one) for one in (swapped, turned, renamed, wide, zero)}
    assert len(seen) == 1 + 15 + 5 and all(len(digest) == 64 for digest in seen)
    assert frozen.identity({}) == frozen.identity({"a": {}}) == {}


class Adapter:
    """Linear regression y = x (W + A B) with W stored in 8 bits and a scale, both frozen."""

    counted = ("rows",)
    remedy = "lower the learning rate"
    cfg = config.Optimizer(peak_learning_rate=0.05, warmup_steps=1, weight_decay=0.0)

    def __init__(self, seed: int) -> None:
        random = np.random.default_rng(seed)
        self.base = {"kernel": random.integers(-127, 128, (8, 6), np.int8), "scale": np.float32(0.01)}
        self.change = np.random.default_rng(9).normal(size=(8, 1)) @ np.ones((1, 6))

    def identity(self, steps):
        return {"adapter": {"rank": 2, "steps": steps}}

    def frozen(self, mesh):
        return jax.device_put(self.base, steps_lib.replicated(mesh))

    def abstract_state(self, mesh):
        shapes = {"a": jax.ShapeDtypeStruct((8, 2), jnp.float32), "b": jax.ShapeDtypeStruct((2, 6), jnp.float32)}
        layout = jax.tree.map(lambda _: steps_lib.replicated(mesh), shapes)
        return steps_lib.abstract_state(shapes, layout, optimizer.make(self.cfg), mesh)

    def fresh_state(self, mesh, frozen):
        params = {"a": 0.1 * jax.random.normal(jax.random.key(0), (8, 2)), "b": jnp.zeros((2, 6))}
        params = jax.device_put(params, steps_lib.replicated(mesh))
        return steps_lib.fresh_state(params, optimizer.make(self.cfg), self.abstract_state(mesh))

    def make_step(self, mesh, steps):
        transform, rate = optimizer.make(self.cfg), optimizer.schedule(self.cfg, steps)

        def step(state, frozen, batch):
            def loss(params):
                kernel = frozen["kernel"].astype(jnp.float32) * frozen["scale"] + params["a"] @ params["b"]
                return jnp.mean(jnp.square(batch["x"] @ kernel - batch["y"]))

            value, gradients = jax.value_and_grad(loss)(state["params"])
            state, metrics = steps_lib.advance(state, value, gradients, transform, rate(state["step"]), 1e9)
            return state, metrics | {"rows": jnp.int32(len(batch["x"]))}

        return jax.jit(step, donate_argnums=0)

    @contextlib.contextmanager
    def batches(self, mesh, start, stop):
        def one(step):
            x = np.random.default_rng(step).normal(size=(32, 8)).astype(np.float32)
            kernel = self.base["kernel"] * self.base["scale"] + self.change
            return jax.device_put({"x": x, "y": (x @ kernel).astype(np.float32)}, steps_lib.replicated(mesh))

        yield (one(step) for step in range(start, stop))

    def make_validation(self, mesh):
        return lambda state, frozen: {"size": float(jnp.abs(frozen["kernel"]).sum())}


def adapt(task, directory, steps=60, progress=lambda step, logged: None):
    policy = config.Loop(log_every=1, checkpoint_every=20)
    return loop.train(task, policy, config.Mesh(), steps, loop.Places(directory / "c", directory / "m.jsonl"), progress)


def test_an_adapter_learns_over_8_bit_weights_and_is_refused_over_others(tmp_path) -> None:
    entries: list[dict[str, float]] = []
    task = Adapter(0)
    state, held = adapt(task, tmp_path, progress=lambda step, logged: entries.append(logged))
    losses = [entry["loss"] for entry in entries if "loss" in entry]
    assert losses[-1] < 0.05 * losses[0]
    assert np.array_equal(held["kernel"], task.base["kernel"])
    np.testing.assert_allclose(state["params"]["a"] @ state["params"]["b"], task.change, atol=0.3)
    arrays = json.loads((tmp_path / "c" / "step_00000060" / manifest.METADATA).read_text())["arrays"]
    assert {name for name in arrays if name.startswith("params/")} == {"params/a", "params/b"}
    assert not any("int8" in shape or "kernel" in name for name, shape in arrays.items())
    with pytest.raises(InputError, match=r"frozen.digest: \w{64} in the checkpoint, \w{64} now"):
        adapt(Adapter(1), tmp_path)
