"""Chunked cross-entropy against optax on full logits."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from biomechgpt_jax.training import loss

B, L, D, V = 4, 24, 16, 40


def arrays(seed: int, share: float) -> tuple[jax.Array, ...]:
    rng = np.random.default_rng(seed)
    weights = np.where(rng.random((B, L)) < share, rng.uniform(0.5, 2.0, (B, L)), 0.0)
    return (
        jnp.asarray(rng.normal(size=(B, L, D)), jnp.float32),
        jnp.asarray(rng.normal(size=(D, V)), jnp.float32),
        jnp.asarray(rng.integers(0, V, (B, L)), jnp.int32),
        jnp.asarray(weights, jnp.float32),
    )


def mean_loss(hidden, head, targets, weights, chunk, soft_cap=0.0, z_loss=0.0) -> jax.Array:
    sums = loss.cross_entropy(hidden, head, targets, weights, loss.Settings(chunk, soft_cap, z_loss))
    return loss.mean(sums.objective, sums.weight)


def plain(hidden, head, targets, weights, soft_cap):
    logits = hidden @ head
    if soft_cap:
        logits = soft_cap * jnp.tanh(logits / soft_cap)
    ce = optax.softmax_cross_entropy_with_integer_labels(logits, targets)
    return jnp.sum(ce * weights), jnp.sum(weights)


@pytest.mark.parametrize(
    ("chunk", "share", "soft_cap"),
    [(7, 0.1, 0.0), (32, 1.0, 0.0), (4096, 0.1, 3.0), (7, 1.0, 3.0), (32, 0.0, 0.0)],
)
def test_value_and_gradients_equal_optax_on_full_logits(chunk: int, share: float, soft_cap: float) -> None:
    hidden, head, targets, weights = arrays(0, share)

    def ours(hidden, head):
        return mean_loss(hidden, head, targets, weights, chunk, soft_cap)

    def reference(hidden, head):
        total, weight = plain(hidden, head, targets, weights, soft_cap)
        return total / jnp.maximum(weight, 1e-9)

    value, gradients = jax.jit(jax.value_and_grad(ours, (0, 1)))(hidden, head)
    expected, expected_gradients = jax.value_and_grad(reference, (0, 1))(hidden, head)
    np.testing.assert_allclose(value, expected, rtol=1e-5, atol=1e-6)
    for got, want in zip(gradients, expected_gradients, strict=True):
        np.testing.assert_allclose(got, want, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize(("chunk", "soft_cap"), [(7, 0.0), (4096, 3.0)])
def test_z_loss_adds_the_squared_normaliser(chunk: int, soft_cap: float) -> None:
    hidden, head, targets, weights = arrays(3, 0.5)

    def ours(hidden, head):
        return mean_loss(hidden, head, targets, weights, chunk, soft_cap, 0.1)

    def reference(hidden, head):
        total, weight = plain(hidden, head, targets, weights, soft_cap)
        logits = hidden @ head
        logits = soft_cap * jnp.tanh(logits / soft_cap) if soft_cap else logits
        return (total + 0.1 * jnp.sum(weights * jax.nn.logsumexp(logits, axis=-1) ** 2)) / weight

    value, gradients = jax.value_and_grad(ours, (0, 1))(hidden, head)
    expected, expected_gradients = jax.value_and_grad(reference, (0, 1))(hidden, head)
    np.testing.assert_allclose(value, expected, rtol=1e-5)
    for got, want in zip(gradients, expected_gradients, strict=True):
        np.testing.assert_allclose(got, want, rtol=1e-4, atol=1e-6)


def test_sums_by_group_come_from_the_same_pass() -> None:
    hidden, head, targets, weights = arrays(4, 0.5)
    groups = jnp.asarray(np.random.default_rng(0).integers(0, 3, (B, L)), jnp.int32)
    sums = loss.cross_entropy(hidden, head, targets, weights, loss.Settings(7, z_loss=0.1, groups=4), groups)
    for group in range(4):
        total, weight = plain(hidden, head, targets, weights * (groups == group), 0.0)
        np.testing.assert_allclose(sums.losses_G[group], total, rtol=1e-5)
        np.testing.assert_allclose(sums.weights_G[group], weight, rtol=1e-6)
    assert sums.losses_G.sum() < sums.objective  # which has the z-loss too


def test_no_weight_gives_zero_and_unweighted_nonsense_does_not_leak() -> None:
    hidden, head, targets, weights = arrays(1, 0.0)
    hidden = hidden.at[0, 0].set(jnp.nan)  # an unweighted position

    def mean(hidden, weights):
        return mean_loss(hidden, head, targets, weights, 8)

    value, gradient = jax.value_and_grad(mean)(hidden, weights)
    assert value == 0 and not np.any(np.asarray(gradient))
    value, gradient = jax.value_and_grad(mean)(hidden, weights.at[1, 3].set(1.0))
    assert np.isfinite(value) and np.all(np.isfinite(gradient)) and np.any(np.asarray(gradient))


def test_bfloat16_activations_agree_within_their_precision() -> None:
    hidden, head, targets, weights = arrays(2, 0.3)
    narrow = hidden.astype(jnp.bfloat16)

    def ours(hidden, head):
        return mean_loss(hidden, head, targets, weights, 16)

    value, (hidden_gradient, head_gradient) = jax.value_and_grad(ours, (0, 1))(narrow, head)
    expected, wanted = jax.value_and_grad(ours, (0, 1))(hidden, head)
    assert hidden_gradient.dtype == jnp.bfloat16 and head_gradient.dtype == jnp.float32
    np.testing.assert_allclose(value, expected, rtol=2e-2)
    for got, want in zip((hidden_gradient, head_gradient), wanted, strict=True):
        assert np.linalg.norm(got - want) < 3e-2 * np.linalg.norm(want)


def test_full_logits_never_exist() -> None:
    """The compiler's temporary memory does not hold tokens x vocabulary."""
    tokens, vocabulary, chunk = 4096, 8192, 64
    shapes = (
        jax.ShapeDtypeStruct((1, tokens, D), jnp.float32),
        jax.ShapeDtypeStruct((D, vocabulary), jnp.float32),
        jax.ShapeDtypeStruct((1, tokens), jnp.int32),
        jax.ShapeDtypeStruct((1, tokens), jnp.float32),
    )

    def mean(hidden, head, targets, weights):
        return mean_loss(hidden, head, targets, weights, chunk)

    compiled = jax.jit(jax.grad(mean, (0, 1))).lower(*shapes).compile()
    assert compiled.memory_analysis().temp_size_in_bytes < tokens * vocabulary * 4 / 8
