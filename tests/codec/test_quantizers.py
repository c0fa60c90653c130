"""Quantizers against hand computation."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from biomechgpt_jax.codec import quantizers as lib

LEVELS = (8, 5, 4, 3)


def test_fsq_codes_and_values_are_a_bijection() -> None:
    codes = np.arange(np.prod(LEVELS))
    values = np.asarray(lib.fsq_value(codes, LEVELS))
    assert len(np.unique(values.round(6), axis=0)) == len(codes)
    for size, column in zip(LEVELS, values.T, strict=True):
        assert len(np.unique(column)) == size and column.min() == -1
    # A latent at the centre of a level gives that level back.
    half = np.asarray(LEVELS) // 2
    size = np.asarray(LEVELS, np.float64)
    offset, width = np.where(size % 2 == 0, 0.5, 0.0), (size - 1) * 1.001 / 2
    latents = np.arctanh((values * half + offset) / width) - np.arctanh(offset / width)
    np.testing.assert_array_equal(lib.fsq_index(jnp.asarray(latents, jnp.float32), LEVELS), codes)
    np.testing.assert_allclose(lib.fsq_quantize(jnp.asarray(latents, jnp.float32), LEVELS), values, atol=1e-6)


def test_fsq_index_names_the_value_it_quantizes_to() -> None:
    z = 3 * jax.random.normal(jax.random.key(0), (200, len(LEVELS)))
    np.testing.assert_allclose(lib.fsq_value(lib.fsq_index(z, LEVELS), LEVELS), lib.fsq_quantize(z, LEVELS), atol=1e-6)


def test_fsq_passes_the_gradient_of_its_bound_through() -> None:
    z = jnp.array([0.3, -0.2, 0.1, 0.9])
    through = jax.jacobian(lib.fsq_quantize)(z, LEVELS)
    bound = jax.jacobian(lambda z: lib.fsq_bound(z, LEVELS) / (np.asarray(LEVELS) // 2))(z)
    np.testing.assert_allclose(through, bound, atol=1e-6)
    assert (np.diag(through) > 0).all()


def test_vq_takes_the_nearest_code() -> None:
    rng = np.random.default_rng(0)
    z, codes = rng.normal(size=(50, 6)).astype(np.float32), rng.normal(size=(9, 6)).astype(np.float32)
    nearest = np.linalg.norm(z[:, None] - codes, axis=-1).argmin(1)
    np.testing.assert_array_equal(lib.vq_index(z, codes), nearest)


def test_vq_moves_codes_by_a_moving_average() -> None:
    codebook = lib.codebook_from(jnp.array([[0.0, 0.0], [10.0, 10.0]]), jnp.ones(2))
    z = jnp.array([[1.0, 0.0], [3.0, 2.0], [9.0, 8.0], [50.0, 50.0]])
    counted = jnp.array([True, True, True, False])  # the last is padding
    index = lib.vq_index(z, codebook.vectors)
    moved = lib.vq_update(codebook, z, index, counted, 0.9, 0.0, jax.random.key(0))
    # Code 0: count 0.9 + 0.1 * 2, sum 0.1 * [4, 2]. Code 1: count 0.9 + 0.1, sum 0.9 * [10, 10] + 0.1 * [9, 8].
    np.testing.assert_allclose(moved.counts, [1.1, 1.0], rtol=1e-5)
    np.testing.assert_allclose(moved.sums, [[0.4, 0.2], [9.9, 9.8]], rtol=1e-5)
    np.testing.assert_allclose(moved.vectors, [[0.4 / 1.1, 0.2 / 1.1], [9.9, 9.8]], rtol=1e-3)


def test_a_dead_code_restarts_at_a_latent_of_the_batch() -> None:
    codebook = lib.Codebook(jnp.array([[0.0], [99.0]]), jnp.array([1.0, 0.01]), jnp.array([[0.0], [0.99]]))
    z = jnp.array([[0.5], [0.6], [7.0]])
    moved = lib.vq_update(
        codebook, z, jnp.zeros(3, jnp.int32), jnp.array([True, True, False]), 0.9, 0.03, jax.random.key(1)
    )
    assert float(moved.vectors[1, 0]) in (pytest.approx(0.5), pytest.approx(0.6))
    assert float(moved.counts[1]) == 1.0
