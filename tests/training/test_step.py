"""The jitted step: what it optimises, and the guard on the device."""

import functools
from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from biomechgpt_jax.data import loader
from biomechgpt_jax.errors import InputError
from biomechgpt_jax.model import decoder
from biomechgpt_jax.parallel import mesh as meshes
from biomechgpt_jax.parallel import sharding
from biomechgpt_jax.tasks import language
from biomechgpt_jax.tasks.id_space import IdSpace
from biomechgpt_jax.tasks.objective import Objective
from biomechgpt_jax.tasks.parameters import Parameters
from biomechgpt_jax.training import loss, optimizer
from biomechgpt_jax.training import step as steps_lib

STEPS = 11  # as in test_loop: compiled once
L, V, OFFSET, CODES = 32, 128, 64, 40  # of the toy rows
EVERY_ID = IdSpace(V, V)  # as if all were text


@pytest.fixture(scope="module")
def prepared(toy):
    mesh = meshes.make(toy.experiment.mesh)
    layout = functools.partial(sharding.batch_sharding, mesh)
    rows = loader.open_loader(toy.sequences, "train", toy.experiment.train.batch_size, 0, layout)
    jitted = language.make_step(toy.experiment, EVERY_ID, mesh, STEPS)

    def step(state, batch):
        with jax.set_mesh(mesh):
            return jitted(state, {}, batch)

    def fresh():
        return language.init_state(jax.random.key(0), toy.experiment, Parameters(toy.experiment.model, EVERY_ID), mesh)

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
    judge = jax.jit(steps_lib.judge)
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


def test_norms_and_embeddings_do_not_decay(toy) -> None:
    mask = optimizer.decayed(decoder.abstract(toy.experiment.model, V))
    flags = {jax.tree_util.keystr(path): flag for path, flag in jax.tree_util.tree_leaves_with_path(mask)}
    assert all(flag == ("kernel" in name) for name, flag in flags.items()) and any(flags.values())


def test_accumulation_equals_one_large_batch(prepared, toy) -> None:
    """Parts of very unequal weight, one of them none: a mean of means would be far off."""
    mesh, rows, _, fresh = prepared
    batch = {**rows.device_batch(0)}
    scale = jnp.array([0.0, 1.0, 7.0, 0.3])[:, None]
    batch["loss_weights"] = batch["loss_weights"] * scale * jax.random.uniform(jax.random.key(0), (4, L))
    found, params = [], fresh()["params"]
    for parts in (1, 4):
        train = replace(toy.experiment.train, accumulation=parts, z_loss=1e-2)
        answers = Objective(train, toy.experiment.model, toy.ids)
        weight = jnp.sum(answers.weigh(batch)[0])

        def share(params, part, index, answers=answers, weight=weight):
            return loss.mean(answers.sums(params, part, mesh).objective, weight)

        differentiate = jax.value_and_grad(share)
        with jax.set_mesh(mesh):
            found.append(
                jax.jit(lambda p, f=differentiate, n=parts: steps_lib.accumulate(f, p, batch, n, mesh))(params)
            )
    (want, wanted), (value, gradients) = found
    np.testing.assert_allclose(value, want, rtol=1e-6)
    for got, gradient in zip(jax.tree.leaves(gradients), jax.tree.leaves(wanted), strict=True):
        assert np.linalg.norm(got - gradient) <= 1e-6 * np.linalg.norm(gradient)


def test_a_batch_that_cannot_be_split_over_the_devices_is_refused(prepared) -> None:
    mesh, rows, _, _ = prepared
    with pytest.raises(InputError, match=r"train.accumulation 3"):
        steps_lib.microbatches(rows.device_batch(0), 3, mesh)


def test_muon_makes_each_matrix_of_each_layer_orthogonal(toy) -> None:
    """Against the definition: U V' of the singular value decomposition, times 0.2 sqrt(max(in, out))."""
    cfg = replace(toy.experiment.optimizer, kind="muon", weight_decay=0.0, clip_norm=1e9)
    transform = optimizer.make(cfg, decoder.logical_axes(toy.experiment.model, V))
    shapes = decoder.abstract(toy.experiment.model, V)
    random = np.random.default_rng(0)
    gradients = jax.tree.map(lambda leaf: jnp.asarray(random.normal(size=leaf.shape), jnp.float32), shapes)
    updates, _ = jax.jit(transform.update)(gradients, transform.init(gradients), gradients)
    adam = optax.scale_by_adam(cfg.b1, cfg.b2)
    wanted, _ = adam.update(gradients, adam.init(gradients))
    block, plain = updates["layers"]["block"], wanted["layers"]["block"]
    np.testing.assert_allclose(updates["embedding"], wanted["embedding"], rtol=1e-5)
    np.testing.assert_allclose(block["mlp_norm"]["scale"], plain["mlp_norm"]["scale"], rtol=1e-5)
    d, f, h = toy.experiment.model.model_size, toy.experiment.model.hidden_size, 2 * 16
    sizes = {("attention", "query"): (d, h), ("attention", "output"): (h, d), ("mlp", "down"): (f, d)}
    for (part, name), size in sizes.items():
        for layer, gradient in zip(
            block[part][name]["kernel"], gradients["layers"]["block"][part][name]["kernel"], strict=True
        ):
            got = np.asarray(layer).reshape(size) / (0.2 * max(size) ** 0.5)
            left, _, right = np.linalg.svd(np.asarray(gradient).reshape(size), full_matrices=False)
            np.testing.assert_allclose(np.linalg.svd(got)[1], 1.0, atol=0.4)  # five steps of the iteration
            assert np.sum(got * (left @ right)) > 0.9 * np.linalg.norm(got) * np.linalg.norm(left @ right)


def test_a_muon_step_trains_and_its_state_can_be_laid_out(prepared, toy) -> None:
    mesh, rows, _, _ = prepared
    experiment = replace(toy.experiment, optimizer=replace(toy.experiment.optimizer, kind="muon"))
    parameters = Parameters(experiment.model, EVERY_ID)
    state = language.init_state(jax.random.key(0), experiment, parameters, mesh)
    layout = language.abstract_state(experiment, parameters, mesh)
    described = jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=leaf.sharding), state)
    assert described == layout
    jitted = language.make_step(experiment, toy.ids, mesh, STEPS)
    losses = []
    with jax.set_mesh(mesh):
        for _ in range(6):
            state, metrics = jitted(state, {}, rows.device_batch(0))
            losses.append(float(metrics["loss"]))
    assert losses[-1] < losses[0] - 0.5
