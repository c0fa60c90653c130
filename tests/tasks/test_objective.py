"""The objective against full logits: weights by modality, ids of each softmax, several codes of a token, families."""

import functools
from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from toy_rows import CODES, OFFSET, L, V

from biomechgpt_jax.data import loader
from biomechgpt_jax.model import decoder
from biomechgpt_jax.parallel import mesh as meshes
from biomechgpt_jax.parallel import sharding
from biomechgpt_jax.tasks.id_space import IdSpace
from biomechgpt_jax.tasks.objective import Objective
from biomechgpt_jax.training import loss

EVERY_ID = IdSpace(V, V)  # as if all were text


@pytest.fixture(scope="module")
def prepared(toy):
    """The mesh, a batch of toy rows and the parameters of a fresh model."""
    mesh = meshes.make(toy.experiment.mesh)
    layout = functools.partial(sharding.batch_sharding, mesh)
    rows = loader.open_loader(toy.sequences, "train", toy.experiment.train.batch_size, 0, layout)
    return mesh, rows.device_batch(0), decoder.init(jax.random.key(0), toy.experiment.model, V, mesh)


def objective(toy, ids, **train):
    return Objective(replace(toy.experiment.train, loss_chunk=16, **train), toy.experiment.model, ids)


def test_a_softmax_over_text_ids_is_the_plain_one_with_motion_at_minus_infinity(prepared, toy) -> None:
    mesh, batch, params = prepared

    def mean(params, ids):
        sums = objective(toy, ids).sums(params, batch, mesh)
        return loss.mean(sums.objective, sums.weight)

    def plain(params):
        logits = decoder.apply(params, batch, toy.experiment.model)[:, :-1]
        logits = jnp.where(jnp.arange(V) < OFFSET, logits, -jnp.inf)
        ce = optax.softmax_cross_entropy_with_integer_labels(logits, batch["tokens"][:, 1:])
        weights = batch["loss_weights"][:, 1:]
        return jnp.sum(jnp.where(weights > 0, ce * weights, 0.0)) / jnp.sum(weights)

    with jax.set_mesh(mesh):
        value, gradients = jax.jit(jax.value_and_grad(mean), static_argnums=1)(params, toy.ids)
        want, want_gradients = jax.jit(jax.value_and_grad(plain))(params)
    np.testing.assert_allclose(value, want, rtol=1e-5)
    for got, wanted in zip(jax.tree.leaves(gradients), jax.tree.leaves(want_gradients), strict=True):
        np.testing.assert_allclose(got, wanted, atol=1e-5)
    assert value < jax.jit(mean, static_argnums=1)(params, EVERY_ID) - 0.1

    motion = {**batch, "loss_weights": jnp.ones_like(batch["loss_weights"])}
    assert jnp.isnan(jax.jit(lambda: objective(toy, toy.ids).sums(params, motion, mesh).objective)())


def several_codes(batch):
    """The toy rows with a second code on every motion token but the first."""
    trunk = (batch["segments"] == 1) & (batch["branches"] == 0) & (batch["positions"] > 0)
    second = OFFSET + CODES // 2 + batch["tokens"] % (CODES // 2)
    first = jnp.where(trunk, OFFSET + batch["tokens"] % (CODES // 2), batch["tokens"])
    return {**batch, "tokens": first, "codes_1": jnp.where(trunk, second, -1)}


def test_pretraining_weighs_modalities_and_predicts_all_codes_of_a_token(prepared, toy) -> None:
    """Against full logits: the first code's softmax is over text and its layer, the second's over its layer."""
    mesh, batch, params = prepared
    batch, half = several_codes(batch), CODES // 2
    everything = objective(toy, IdSpace(V, OFFSET, half), answer_weight=2.0, question_weight=0.5, motion_weight=0.25)

    def mean(params):
        sums = everything.sums(params, batch, mesh)
        return loss.mean(sums.objective, sums.weight), sums

    index = np.arange(1, L)
    weights = np.select([index < 20, (index > 20) & (index < 24), (index >= 24) & (index < 28)], [0.25, 0.5, 2.0], 0.0)

    def plain(params):
        logits = decoder.apply(params, batch, toy.experiment.model)[:, :-1]
        own = logits[..., : OFFSET + half]
        softmax_ce = optax.softmax_cross_entropy_with_integer_labels
        ce = softmax_ce(own, batch["tokens"][:, 1:])
        second = batch["codes_1"][:, 1:] - OFFSET - half
        layer = softmax_ce(logits[..., OFFSET + half : OFFSET + 2 * half], jnp.maximum(second, 0))
        ce += jnp.where(second >= 0, layer, 0.0)
        return jnp.sum(ce * weights) / (len(ce) * weights.sum()), ce

    (value, sums), gradients = jax.jit(jax.value_and_grad(mean, has_aux=True))(params)
    (want, ce), want_gradients = jax.jit(jax.value_and_grad(plain, has_aux=True))(params)
    np.testing.assert_allclose(value, want, rtol=1e-5)
    for got, wanted in zip(jax.tree.leaves(gradients), jax.tree.leaves(want_gradients), strict=True):
        np.testing.assert_allclose(got, wanted, atol=1e-5)
    named = everything.named_losses(sums.losses_G, sums.weights_G)
    for name, weight in (("loss_answer", 2.0), ("loss_question", 0.5), ("loss_motion", 0.25)):
        np.testing.assert_allclose(named[name], np.asarray(ce)[:, weights == weight].mean(), rtol=1e-5)


def test_layers_of_codes_are_taken_by_number_not_by_name(prepared, toy) -> None:
    """Twelve layers of three codes: codes_10 comes after codes_9."""
    mesh, batch, params = prepared
    layers = 12
    trunk = (batch["segments"] == 1) & (batch["branches"] == 0) & (batch["positions"] > 0)
    batch = {**batch, "tokens": jnp.where(trunk, OFFSET + batch["tokens"] % 3, batch["tokens"])}
    for layer in range(1, layers):
        batch[f"codes_{layer}"] = jnp.where(trunk, OFFSET + 3 * layer + (batch["tokens"] + layer) % 3, -1)
    train = replace(toy.experiment.train, answer_weight=0.0, motion_weight=1.0)
    motion = Objective(train, toy.experiment.model, IdSpace(V, OFFSET, 3))
    sums = jax.jit(lambda params: motion.sums(params, batch, mesh))(params)
    logits = decoder.apply(params, batch, toy.experiment.model)[:, :-1]
    softmax_ce = optax.softmax_cross_entropy_with_integer_labels
    own = logits[..., : OFFSET + 3]  # text and the first layer
    want = jnp.sum(jnp.where(trunk[:, 1:], softmax_ce(own, batch["tokens"][:, 1:]), 0.0))
    for layer in range(1, layers):
        first = OFFSET + 3 * layer
        codes = jnp.maximum(batch[f"codes_{layer}"][:, 1:] - first, 0)
        want += jnp.sum(jnp.where(trunk[:, 1:], softmax_ce(logits[..., first : first + 3], codes), 0.0))
    np.testing.assert_allclose(jnp.sum(sums.losses_G), want, rtol=1e-5)


def test_the_loss_is_reported_per_family(prepared, toy) -> None:
    mesh, batch, params = prepared
    batch = {**batch, "families": jnp.where(batch["branches"] > 0, jnp.array([2, 2, 1, 2])[:, None], 0)}
    answers = Objective(toy.experiment.train, toy.experiment.model, toy.ids, ("balance", "gait", "strength"))
    sums = jax.jit(lambda params: answers.sums(params, batch, mesh))(params)
    named = answers.named_losses(sums.losses_G, sums.weights_G)
    assert named.keys() == {"loss_family_balance", "loss_family_gait", "loss_family_strength"}
    assert jnp.isnan(named["loss_family_strength"])
    balance, gait = named["loss_family_balance"], named["loss_family_gait"]
    np.testing.assert_allclose((balance + 3 * gait) / 4, sums.objective / sums.weight, rtol=1e-5)
