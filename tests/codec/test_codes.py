"""Several codes a token, against residual quantization by hand."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from small_codecs import SMALL_FSQ, SMALL_RESIDUAL, smooth, untrained

from biomechgpt_jax.biomechanics.skeleton import COORDINATE_COUNT
from biomechgpt_jax.codec import codes, quantizers

WHOLE = np.ones((4, 6), bool)


def _latents(size: int) -> jax.Array:
    return jax.random.normal(jax.random.key(3), (4, 6, size))


def test_each_layer_codes_what_the_ones_before_left_over() -> None:
    rng, z = np.random.default_rng(0), np.asarray(_latents(8))
    vectors = rng.normal(size=(3, 32, 8)).astype(np.float32) * np.array([1.0, 0.5, 0.25], np.float32)[:, None, None]
    found = np.asarray(codes.index(SMALL_RESIDUAL, jnp.asarray(z), vectors))
    rest = z.copy()
    for layer in range(3):
        nearest = np.linalg.norm(rest[..., None, :] - vectors[layer], axis=-1).argmin(-1)
        np.testing.assert_array_equal(found[..., layer], nearest)
        rest -= vectors[layer][nearest]
    np.testing.assert_allclose(codes.values(SMALL_RESIDUAL, found, vectors), z - rest, atol=1e-5)


def test_the_first_codebook_leaves_less_over_with_every_layer() -> None:
    z_MK = jax.random.normal(jax.random.key(0), (500, 8))
    book = codes.first_codebook(SMALL_RESIDUAL, z_MK, jax.random.key(1))
    assert book.vectors.shape == (3, 32, 8) and book.counts.shape == (3, 32)
    left = [
        float(
            jnp.square(
                z_MK - sum(book.vectors[q][codes.index(SMALL_RESIDUAL, z_MK, book.vectors)[:, q]] for q in range(n))
            ).mean()
        )
        for n in (1, 2, 3)
    ]
    assert left[0] > left[1] > left[2]


@pytest.mark.parametrize("quantizer", ["fsq", "vq"])
def test_layers_that_are_left_out_reach_neither_the_decoder_nor_the_codebook(quantizer: str) -> None:
    cfg = SMALL_RESIDUAL if quantizer == "vq" else SMALL_FSQ.__class__(levels=("16x4", "8x4x2", "4x4x4"), width=16)
    z = _latents(codes.size(cfg))
    book = codes.first_codebook(cfg, z.reshape(-1, cfg.code_size), jax.random.key(1)) if quantizer == "vq" else None
    vectors = None if book is None else book.vectors
    kept = np.array([1, 2, 3, 3])
    seen = codes.quantize(cfg, z, book, kept, WHOLE)
    index = codes.index(cfg, z, vectors)
    np.testing.assert_allclose(seen.values[2:], codes.values(cfg, index, vectors)[2:], atol=1e-5)
    if book is None:
        first = len(cfg.grid[0])
        np.testing.assert_allclose(seen.values[0, :, :first], codes.values(cfg, index, None)[0, :, :first], atol=1e-6)
        assert not seen.values[0, :, first:].any()
    else:
        np.testing.assert_allclose(seen.values[0], book.vectors[0][index[0, :, 0]], atol=1e-5)
        moved = codes.update_codebooks(cfg, book, seen, np.ones(4, int), WHOLE, jax.random.key(0))
        np.testing.assert_allclose(moved.counts[1], cfg.ema_decay * book.counts[1], rtol=1e-5)
        assert not np.allclose(moved.counts[0], cfg.ema_decay * book.counts[0])


def test_the_gradient_passes_straight_through_every_quantizer() -> None:
    for cfg in (SMALL_RESIDUAL, SMALL_FSQ):
        z = _latents(codes.size(cfg))
        book = (
            codes.first_codebook(cfg, z.reshape(-1, cfg.code_size), jax.random.key(1))
            if cfg.quantizer == "vq"
            else None
        )
        kept = np.full(4, cfg.layers)
        gradient = jax.grad(
            lambda z, cfg=cfg, book=book, kept=kept: codes.quantize(cfg, z, book, kept, WHOLE).values.sum()
        )(z)
        assert (np.asarray(gradient) > 0).all()


def test_more_layers_come_nearer_to_the_latents_after_training_the_codebook() -> None:
    """The moving averages of all layers shrink what is left over, as k-means would."""
    cfg = SMALL_RESIDUAL
    z = _latents(cfg.code_size)
    book = codes.first_codebook(cfg, z.reshape(-1, cfg.code_size)[:3], jax.random.key(1))
    kept = np.full(4, cfg.layers)

    def left(book: quantizers.Codebook) -> float:
        return float(jnp.square(z - codes.values(cfg, codes.index(cfg, z, book.vectors), book.vectors)).mean())

    before = left(book)
    for step in range(40):
        seen = codes.quantize(cfg, z, book, kept, WHOLE)
        book = codes.update_codebooks(cfg, book, seen, kept, WHOLE, jax.random.key(step))
    assert left(book) < 0.5 * before


def test_a_residual_codec_gives_layers_of_codes_and_takes_them_back() -> None:
    codec = untrained(SMALL_RESIDUAL)
    movement = smooth(83, 0)
    tokens = codec.encode([movement], [np.ones(COORDINATE_COUNT, bool)])[0]
    assert tokens.shape == (20, 3) and (tokens.max(0) > 0).any()
    assert codec.decode([tokens])[0].shape == (80, COORDINATE_COUNT)
