"""The jitted step: what it optimises, and the guard on the device."""

import functools
from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from biomechgpt_jax import config
from biomechgpt_jax.data import loader
from biomechgpt_jax.model import decoder
from biomechgpt_jax.parallel import mesh as meshes
from biomechgpt_jax.parallel import sharding
from biomechgpt_jax.training import language, optimizer
from biomechgpt_jax.training import step as steps_lib

STEPS = 11  # as in test_loop: compiled once


@pytest.fixture(scope="module")
def prepared(toy):
    mesh = meshes.make(toy.experiment.mesh)
    layout = functools.partial(sharding.batch_sharding, mesh)
    rows = loader.open_loader(toy.sequences, "train", toy.experiment.train.batch_size, 0, layout)
    jitted = language.make_step(toy.experiment, toy.vocabulary.size, mesh, STEPS)

    def step(state, batch):
        with jax.set_mesh(mesh):
            return jitted(state, batch)

    def fresh():
        return language.init_state(jax.random.key(0), toy.experiment, toy.vocabulary.size, mesh)

    return mesh, rows, step, fresh


def copied(tree):
    return jax.tree.map(lambda x: np.array(x, copy=True), tree)


def all_equal(a, b) -> bool:
    return all(np.array_equal(x, y) for x, y in zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True))


def test_one_step_is_adamw_on_the_plain_loss(prepared, toy) -> None:
    """Against full logits, optax's loss and optax.adamw with the documented mask."""
    _, rows, step, fresh = prepared
    cfg, batch = toy.experiment.optimizer, rows.device_batch(0)
    state = fresh()

    def plain(params):
        logits = decoder.apply(params, batch, toy.experiment.model)[:, :-1]
        ce = optax.softmax_cross_entropy_with_integer_labels(logits, batch["tokens"][:, 1:])
        weights = batch["loss_weights"][:, 1:]
        return jnp.sum(ce * weights) / jnp.sum(weights)

    value, gradients = jax.jit(jax.value_and_grad(plain))(state["params"])
    rate = optimizer.schedule(cfg, STEPS)(0)
    reference = optax.chain(
        optax.clip_by_global_norm(cfg.clip_norm),
        optax.adamw(rate, cfg.b1, cfg.b2, weight_decay=cfg.weight_decay, mask=optimizer.decayed),
    )

    @jax.jit
    def updated(gradients, params):
        updates, _ = reference.update(gradients, reference.init(params), params)
        return optax.apply_updates(params, updates)

    expected = copied(updated(gradients, state["params"]))

    state, metrics = step(state, batch)
    np.testing.assert_allclose(metrics["loss"], value, rtol=1e-5)
    np.testing.assert_allclose(metrics["grad_norm"], optax.tree.norm(gradients), rtol=1e-4)
    assert metrics["answer_tokens"] == batch["loss_weights"].sum()
    assert metrics["nonpadding_tokens"] == np.count_nonzero(batch["segments"])
    # Adam's first step is the gradient's sign: compare where the gradient is not rounding noise.
    for got, want, gradient in zip(*map(jax.tree.leaves, (state["params"], expected, gradients)), strict=True):
        firm = np.abs(gradient) > 1e-5
        np.testing.assert_allclose(np.asarray(got)[firm], want[firm], atol=1e-2 * float(rate))


def test_nan_leaves_everything_but_the_step_as_it_was(prepared) -> None:
    _, rows, step, fresh = prepared
    state, _ = step(fresh(), rows.device_batch(0))
    before = copied({"params": state["params"], "opt_state": state["opt_state"]})
    poisoned = {**rows.device_batch(1)}
    poisoned["loss_weights"] = poisoned["loss_weights"] * jnp.nan
    state, metrics = step(state, poisoned)
    assert int(metrics["skipped"]) == 1 and int(state["guard"]["skipped"]) == 1 and int(state["step"]) == 2
    assert all_equal(before, {"params": state["params"], "opt_state": state["opt_state"]})
    state, metrics = step(state, rows.device_batch(2))
    assert int(metrics["skipped"]) == 0 and int(metrics["skipped_total"]) == 1 and np.isfinite(metrics["loss"])
    assert not all_equal(before["params"], state["params"])


def test_spike_is_skipped_once_the_norm_has_settled() -> None:
    guard = {"norm_mean": jnp.float32(0), "accepted": jnp.int32(0), "skipped": jnp.int32(0)}
    judge = jax.jit(steps_lib._judge)
    for _ in range(steps_lib.NORM_SETTLED):
        good, guard = judge(guard, jnp.float32(1), jnp.float32(2), 5.0)
        assert good
    np.testing.assert_allclose(guard["norm_mean"], 2.0, rtol=1e-6)
    good, after = judge(guard, jnp.float32(1), jnp.float32(11), 5.0)
    assert not good and after["norm_mean"] == guard["norm_mean"] and after["skipped"] == 1
    good, _ = judge(guard, jnp.float32(1), jnp.float32(9), 5.0)
    assert good
    good, _ = judge(guard, jnp.float32(jnp.inf), jnp.float32(2), 5.0)
    assert not good


def test_no_answers_in_a_batch_moves_nothing_by_gradient(prepared) -> None:
    _, rows, step, fresh = prepared
    batch = {**rows.device_batch(0)}
    batch["loss_weights"] = batch["loss_weights"] * 0
    _, metrics = step(fresh(), batch)
    assert metrics["loss"] == 0 and metrics["grad_norm"] == 0 and metrics["skipped"] == 0


@pytest.mark.parametrize("kind", ["cosine", "linear"])
def test_schedule(kind) -> None:
    cfg = config.Optimizer(peak_learning_rate=1.0, final_fraction=0.1, warmup_steps=10, schedule=kind, clip_norm=1.0)
    rate = optimizer.schedule(cfg, 110)
    assert 0 < rate(0) < 0.1 and np.all(np.diff([float(rate(i)) for i in range(11)]) > 0)
    np.testing.assert_allclose(rate(10), 1.0)
    np.testing.assert_allclose(rate(60), 0.55, rtol=1e-5)
    np.testing.assert_allclose(rate(110), 0.1, rtol=1e-5)
    assert optimizer.schedule(replace(cfg, warmup_steps=500), 20)(10) == 1.0  # at most half of a short run


def test_norms_and_embeddings_do_not_decay(toy) -> None:
    mask = optimizer.decayed(decoder.abstract(toy.experiment.model, toy.vocabulary.size))
    flags = {jax.tree_util.keystr(path): flag for path, flag in jax.tree_util.tree_leaves_with_path(mask)}
    assert all(flag == ("kernel" in name) for name, flag in flags.items()) and any(flags.values())


def test_a_softmax_over_text_ids_is_the_plain_one_with_motion_at_minus_infinity(prepared, toy) -> None:
    mesh, rows, _, fresh = prepared
    batch, params, ids = rows.device_batch(0), fresh()["params"], toy.vocabulary.motion_offset

    def ours(params):
        return jnp.divide(*language.loss_sums(params, batch, toy.experiment.model, 16, mesh, ids))

    def plain(params):
        logits = decoder.apply(params, batch, toy.experiment.model)[:, :-1]
        logits = jnp.where(jnp.arange(toy.vocabulary.size) < ids, logits, -jnp.inf)
        ce = optax.softmax_cross_entropy_with_integer_labels(logits, batch["tokens"][:, 1:])
        weights = batch["loss_weights"][:, 1:]
        return jnp.sum(jnp.where(weights > 0, ce * weights, 0.0)) / jnp.sum(weights)

    with jax.set_mesh(mesh):
        value, gradients = jax.jit(jax.value_and_grad(ours))(params)
        want, want_gradients = jax.jit(jax.value_and_grad(plain))(params)
    np.testing.assert_allclose(value, want, rtol=1e-5)
    for got, wanted in zip(jax.tree.leaves(gradients), jax.tree.leaves(want_gradients), strict=True):
        np.testing.assert_allclose(got, wanted, atol=1e-5)
    assert value < jnp.divide(*language.loss_sums(params, batch, toy.experiment.model, 16, mesh)) - 0.1

    motion = {**batch, "loss_weights": jnp.ones_like(batch["loss_weights"])}
    assert jnp.isnan(language.loss_sums(params, motion, toy.experiment.model, 16, mesh, ids)[0])
