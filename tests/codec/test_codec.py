"""The codec: independence of padding and batch, files, digest."""

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest
from small_codecs import SMALL_FSQ, smooth, untrained

from biomechgpt_jax.biomechanics.skeleton import COORDINATE_COUNT, NECK_AND_WRISTS, observed_without
from biomechgpt_jax.codec import backends, batching, network
from biomechgpt_jax.codec.codec import Codec
from biomechgpt_jax.codec.scaling import Scaling
from biomechgpt_jax.codec.stored import ARRAYS_FILE, DESCRIPTION_FILE
from biomechgpt_jax.errors import InputError

ALL = np.ones(COORDINATE_COUNT, bool)


def test_tokens_do_not_depend_on_the_batch_or_on_padding(codec: Codec, monkeypatch: pytest.MonkeyPatch) -> None:
    lengths = [43, 64, 65, 131, 40, 300, 7, 3]
    movements = [smooth(length, seed) for seed, length in enumerate(lengths)]
    masks = [ALL if i % 2 else observed_without(NECK_AND_WRISTS) for i in range(len(lengths))]
    together = codec.encode(movements, masks)
    assert [len(tokens) for tokens in together] == [length // 4 for length in lengths]
    assert len(np.unique(np.concatenate(together))) > 5
    for tokens, movement, mask in zip(together, movements, masks, strict=True):
        np.testing.assert_array_equal(codec.encode([movement], [mask])[0], tokens)
    monkeypatch.setattr(batching, "_LENGTHS", (512,))
    for tokens, padded in zip(together, codec.encode(movements, masks), strict=True):
        np.testing.assert_array_equal(padded, tokens)


def test_decoding_does_not_depend_on_the_batch(codec: Codec) -> None:
    rng = np.random.default_rng(0)
    tokens = [rng.integers(0, codec.codes, (n, codec.layers)).astype(np.int32) for n in (5, 16, 17, 0)]
    starts = [np.array([1.0, -2.0, 0.5], np.float32)] * len(tokens)
    together = codec.decode(tokens, starts)
    for codes, movement in zip(tokens, together, strict=True):
        assert movement.shape == (4 * len(codes), COORDINATE_COUNT) and np.isfinite(movement).all()
        np.testing.assert_allclose(codec.decode([codes], starts[:1])[0], movement, atol=1e-4)
    np.testing.assert_allclose(together[0][0, :2], [1.0, -2.0], atol=1e-5)


def test_a_long_movement_in_overlapping_pieces_is_as_at_once(codec: Codec, monkeypatch: pytest.MonkeyPatch) -> None:
    movements = [smooth(900, 0), smooth(150, 1), smooth(257, 2)]
    masks, starts = [ALL] * 3, [np.array([1.0, -2.0, 0.5], np.float32)] * 3
    tokens = codec.encode(movements, masks)
    decoded = codec.decode(tokens, starts)
    monkeypatch.setattr(batching, "_LENGTHS", (64, 256))
    assert len(batching.pieces([900], network.reach(codec.config))) > 4
    for piecewise, whole in zip(codec.encode(movements, masks), tokens, strict=True):
        np.testing.assert_array_equal(piecewise, whole)
    for piecewise, whole in zip(codec.decode(tokens, starts), decoded, strict=True):
        np.testing.assert_allclose(piecewise, whole, atol=1e-4)


def test_the_end_of_a_movement_shorter_than_a_token_is_not_read(codec: Codec) -> None:
    movement = smooth(67, 0)
    np.testing.assert_array_equal(codec.encode([movement], [ALL])[0], codec.encode([movement[:64]], [ALL])[0])


def test_unobserved_values_are_never_read(codec: Codec) -> None:
    movement, mask = smooth(60, 1), observed_without(NECK_AND_WRISTS)
    missing = np.where(mask, movement, np.nan)
    np.testing.assert_array_equal(codec.encode([missing], [mask])[0], codec.encode([movement], [mask])[0])


def test_save_and_load_give_the_same_tokens(codec: Codec, tmp_path: Path) -> None:
    codec.save(tmp_path)
    loaded = Codec.load(tmp_path)
    assert loaded.digest == codec.digest and loaded.config == codec.config
    movement = smooth(200, 2)
    tokens = codec.encode([movement], [ALL])
    np.testing.assert_array_equal(loaded.encode([movement], [ALL])[0], tokens[0])
    np.testing.assert_array_equal(loaded.decode(tokens)[0], codec.decode(tokens)[0])
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted([ARRAYS_FILE, DESCRIPTION_FILE])


def test_the_digest_changes_with_scaling_network_and_parameters() -> None:
    codec = untrained(SMALL_FSQ)
    spread = codec.scaling.spread.copy()
    spread[9] *= 1.0001
    rescaled = Codec(codec.config, Scaling(codec.scaling.center, spread), codec.params)
    other_levels = untrained(dataclasses.replace(SMALL_FSQ, levels=("7x5x5x5",)))
    digests = {codec.digest, rescaled.digest, untrained(SMALL_FSQ, seed=1).digest, other_levels.digest}
    assert len(digests) == 4
    assert untrained(SMALL_FSQ).digest == codec.digest
    longer = dataclasses.replace(SMALL_FSQ, steps=7)  # how long it was trained changes no token
    assert Codec(longer, codec.scaling, codec.params).digest == codec.digest


def test_a_damaged_file_is_refused(tmp_path: Path) -> None:
    untrained(SMALL_FSQ).save(tmp_path)
    whole = (tmp_path / ARRAYS_FILE).read_bytes()
    for damaged in (whole[: len(whole) // 2], b"", whole[:5000] + bytes(64) + whole[5064:]):
        (tmp_path / ARRAYS_FILE).write_bytes(damaged)
        with pytest.raises(InputError, match=r"damaged|digest") as raised:
            Codec.load(tmp_path)
        assert "\n" not in str(raised.value)
    (tmp_path / ARRAYS_FILE).unlink()
    with pytest.raises(InputError, match="no motion codec"):
        Codec.load(tmp_path)


def test_another_codec_s_arrays_are_refused_with_both_digests(tmp_path: Path) -> None:
    first, second = untrained(SMALL_FSQ), untrained(SMALL_FSQ, seed=1)
    first.save(tmp_path)
    description = (tmp_path / DESCRIPTION_FILE).read_text()
    second.save(tmp_path)
    (tmp_path / DESCRIPTION_FILE).write_text(description)
    with pytest.raises(InputError) as raised:
        Codec.load(tmp_path)
    assert first.digest in str(raised.value) and second.digest in str(raised.value)
    (tmp_path / DESCRIPTION_FILE).write_text(json.dumps({"digest": first.digest}))
    with pytest.raises(InputError, match="damaged"):
        Codec.load(tmp_path)


def test_codes_of_another_codec_are_refused() -> None:
    with pytest.raises(InputError, match=r"outside 0\.\.999"):
        untrained(SMALL_FSQ).decode([np.array([[1000]], np.int32)])


def test_code_vectors_tell_codes_apart_and_place_neighbours_near(codec: Codec) -> None:
    every = codec.code_vectors()
    assert every.shape[:2] == (codec.layers, codec.codes)
    assert all(len(np.unique(layer.round(5), axis=0)) == codec.codes for layer in every)
    assert every.shape[2] == backends.vector_size(codec.config)
    vectors = every[0]
    if codec.config.quantizer == "fsq":
        steps = np.linalg.norm(vectors[1:8] - vectors[0], axis=1)  # the first level goes from 0 to 7
        assert (np.diff(steps) > 0).all()
