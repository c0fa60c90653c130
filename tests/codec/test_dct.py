"""The control codec: its transform, its symbols, its byte pairs, its files, and a small run with it."""

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest
import scipy.fft
from small_codecs import SMALL_FSQ, smooth, untrained

from biomechgpt_jax import config, pipeline
from biomechgpt_jax.biomechanics.features import RATES, start_pose
from biomechgpt_jax.biomechanics.skeleton import COORDINATE_COUNT, NECK_AND_WRISTS, observed_without
from biomechgpt_jax.codec import backends, dct, symbols
from biomechgpt_jax.codec.batching import features_of
from biomechgpt_jax.codec.bpe import NOTHING, BytePairs
from biomechgpt_jax.codec.codec import Codec
from biomechgpt_jax.codec.dct import DctCodec
from biomechgpt_jax.codec.loss import units
from biomechgpt_jax.codec.stored import ARRAYS_FILE
from biomechgpt_jax.errors import InputError

ALL = np.ones(COORDINATE_COUNT, bool)
CFG = config.Tokenizer(quantizer="dct", codebook_size=256, dct_frames=60, dct_rate=30.0)
PAIRS = dataclasses.replace(CFG, codebooks=3)
TRIALS = [(smooth(200 + 40 * seed, seed), ALL) for seed in range(8)]


@pytest.fixture(scope="module", params=[CFG, PAIRS], ids=["one code", "three codes"])
def fitted(request: pytest.FixtureRequest) -> DctCodec:
    return dct.fit(request.param, TRIALS, lambda step, losses: None)


def _rounded(movement: np.ndarray, step: np.ndarray, center: np.ndarray, block: int) -> np.ndarray:
    """Features f64[T, 40] after rounding the spectrum of each block, written plainly."""
    centered = features_of([movement], [ALL])[0].astype(np.float64) - center
    parts, begin = [], 0
    while begin < len(centered):
        left = len(centered) - begin
        size = block if left >= 1.5 * block else left
        size_of_step = np.repeat(step[None], size, axis=0)
        size_of_step[0] *= np.sqrt(size / block)
        size_of_step[0, RATES] /= 4
        ratio = scipy.fft.dct(centered[begin : begin + size], axis=0, norm="ortho") / size_of_step
        whole = np.sign(ratio) * np.floor(np.abs(ratio) + 0.35)
        parts.append(scipy.fft.idct(whole * size_of_step, axis=0, norm="ortho"))
        begin += size
    return np.concatenate(parts) + center


@pytest.mark.parametrize("frames", [1, 2, 7, 30, 120, 179])
def test_the_transform_is_scipy_s(frames: int) -> None:
    values = np.random.default_rng(frames).normal(size=(frames, 3))
    matrix = dct.cosines(frames)
    np.testing.assert_allclose(matrix @ values, scipy.fft.dct(values, axis=0, norm="ortho"), atol=1e-12)
    np.testing.assert_allclose(matrix.T @ matrix, np.eye(frames), atol=1e-12)


@pytest.mark.parametrize("frames", [1, 14, 15, 16, 44, 45, 46, 89, 90, 400])
@pytest.mark.parametrize("size", [0.0, 1.0, 30.0, 3000.0])
def test_symbols_give_back_every_spectrum(frames: int, size: float) -> None:
    rng = np.random.default_rng(frames)
    values = np.rint(size * rng.normal(size=(frames, 40)) * (rng.random((frames, 40)) < 0.2)).astype(np.int64)
    values = np.clip(values, -symbols.CLIP, symbols.CLIP)
    stream = symbols.encode(values, 30)
    assert 0 <= stream.min() <= stream.max() < symbols.COUNT and stream[-1] == symbols.END
    back, sizes = symbols.decode(stream, 30, 40)
    np.testing.assert_array_equal(back, values)
    np.testing.assert_array_equal(sizes, symbols.lengths(frames, 30))


@pytest.mark.parametrize("frames", [0, 1, 59, 60, 89, 90, 91, 1000])
def test_blocks_share_out_all_frames(frames: int) -> None:
    sizes = symbols.lengths(frames, 60)
    assert sizes.sum() == frames and (sizes[:-1] == 60).all()
    assert not frames or 1 <= sizes[-1] < 90
    assert frames < 30 or sizes[-1] >= 30


def test_byte_pairs_give_back_every_stream_and_end_with_a_block() -> None:
    rng = np.random.default_rng(0)
    streams = [np.append(np.minimum(rng.geometric(0.5, 400), 9), 10) for _ in range(20)]
    pairs = BytePairs.train(streams, 11, 10, 128)
    unseen = [rng.integers(0, 11, 300), np.zeros(0, np.int64), np.array([10, 10, 0])]
    for stream, codes in zip(streams + unseen, pairs.encode(streams + unseen), strict=True):
        np.testing.assert_array_equal(pairs.decode(codes), stream)
    assert all(10 not in found[:-1] for found in pairs.expansions)
    assert sum(map(len, pairs.encode(streams))) < 0.5 * sum(map(len, streams))
    assert len(pairs.expansions) == 128 and len(pairs.expansions[NOTHING]) == 0
    assert BytePairs.train(streams, 11, 10, 128).model == pairs.model


@pytest.mark.parametrize("frames", [1, 36, 89, 90, 200, 331])
def test_decoding_is_the_rounded_spectrum_and_every_frame(fitted: DctCodec, frames: int) -> None:
    movement = smooth(frames, 77)
    tokens = fitted.encode([movement], [ALL])[0]
    assert tokens.shape == (len(tokens), fitted.layers) and tokens.dtype == np.int32
    back = fitted.decode([tokens], [np.asarray(start_pose(movement))])[0]
    assert back.shape == movement.shape
    wanted = _rounded(movement, fitted.step, fitted.center, CFG.dct_frames)
    if frames > 1:
        np.testing.assert_allclose(features_of([back], [ALL])[0][:-1], wanted[:-1], atol=2e-3)
    np.testing.assert_allclose(back[:, 6:], wanted[:, 6:], atol=1e-5)


def test_what_is_decoded_does_not_depend_on_the_batch(fitted: DctCodec) -> None:
    movements = [smooth(length, length) for length in (43, 0, 300, 1)]
    together = fitted.encode(movements, [ALL] * 4)
    assert len(together[1]) == 0
    decoded = fitted.decode(together)
    for movement, tokens, back in zip(movements, together, decoded, strict=True):
        np.testing.assert_array_equal(fitted.encode([movement], [ALL])[0], tokens)
        np.testing.assert_allclose(fitted.decode([tokens])[0], back, atol=1e-5)
        assert len(back) == len(movement)


def test_any_codes_decode(fitted: DctCodec) -> None:
    rng = np.random.default_rng(0)
    tokens = [rng.integers(0, fitted.codes, (n, fitted.layers)).astype(np.int32) for n in (0, 1, 2, 5, 50, 300)]
    tokens += [np.full((4, fitted.layers), code, np.int32) for code in range(fitted.codes)]
    for movement in fitted.decode(tokens):
        assert movement.shape[1] == COORDINATE_COUNT and np.isfinite(movement).all()
    with pytest.raises(InputError, match=r"outside 0\.\.255"):
        fitted.decode([np.full((1, fitted.layers), 256, np.int32)])
    with pytest.raises(InputError, match="codes a token"):
        fitted.decode([np.zeros((1, fitted.layers + 1), np.int32)])


def test_unobserved_values_are_never_read(fitted: DctCodec) -> None:
    movement, mask = smooth(150, 1), observed_without(NECK_AND_WRISTS)
    missing = np.where(mask, movement, np.nan)
    tokens = fitted.encode([missing], [mask])[0]
    np.testing.assert_array_equal(tokens, fitted.encode([movement], [mask])[0])
    back = fitted.decode([tokens])[0]
    np.testing.assert_allclose(back[:, ~mask], np.broadcast_to(fitted.center[~mask], back[:, ~mask].shape), atol=1e-6)
    with_nan = [(np.where(mask, one, np.nan), mask) for one, _ in TRIALS]
    assert np.isfinite(dct.fit(CFG, with_nan, lambda step, losses: None).step).all()


def test_the_rate_is_kept_and_used(fitted: DctCodec) -> None:
    tokens = fitted.encode([movement for movement, _ in TRIALS], [ALL] * len(TRIALS))
    rate = 30.0 * sum(map(len, tokens)) / sum(len(movement) for movement, _ in TRIALS)
    assert 0.5 * CFG.dct_rate < rate <= CFG.dct_rate
    coarser = dct.fit(dataclasses.replace(fitted.config, dct_rate=15.0), TRIALS, lambda step, losses: None)
    assert (coarser.step > fitted.step).all()
    with pytest.raises(InputError, match="dct_rate"):
        dct.fit(dataclasses.replace(CFG, dct_rate=0.01), TRIALS, lambda step, losses: None)
    with pytest.raises(InputError, match="no frame"):
        dct.fit(CFG, [], lambda step, losses: None)


def test_a_given_step_is_the_step() -> None:
    seen = []
    codec = dct.fit(dataclasses.replace(CFG, dct_step=4.0), TRIALS, lambda step, losses: seen.append(losses))
    np.testing.assert_allclose(codec.step, 4.0 * units(), rtol=1e-6)
    assert len(seen) == 1 and 0 < seen[0]["loss"] < 4.0 and seen[0]["rate"] > 0


def test_fitting_is_deterministic_and_digested(fitted: DctCodec) -> None:
    again = dct.fit(fitted.config, TRIALS, lambda step, losses: None)
    assert again.digest == fitted.digest
    longer = dataclasses.replace(fitted.config, steps=7)
    assert dct.fit(longer, TRIALS, lambda step, losses: None).digest == fitted.digest
    arrays = {name: getattr(fitted, name) for name in ("center", "step", "order")}
    model = fitted._pairs.model
    others = [DctCodec(fitted.config, **(arrays | {name: arrays[name][::-1]}), model=model) for name in arrays]
    others += [DctCodec(dataclasses.replace(fitted.config, dct_frames=61), **arrays, model=model)]
    others += [dct.fit(fitted.config, TRIALS[:3], lambda step, losses: None)]
    assert len({one.digest for one in (fitted, *others)}) == 6


def test_save_and_load_give_the_same_tokens(fitted: DctCodec, tmp_path: Path) -> None:
    fitted.save(tmp_path)
    loaded = backends.load(tmp_path)
    assert isinstance(loaded, DctCodec) and loaded.digest == fitted.digest and loaded.config == fitted.config
    movement = smooth(200, 2)
    tokens = fitted.encode([movement], [ALL])
    np.testing.assert_array_equal(loaded.encode([movement], [ALL])[0], tokens[0])
    np.testing.assert_array_equal(loaded.decode(tokens)[0], fitted.decode(tokens)[0])
    whole = (tmp_path / ARRAYS_FILE).read_bytes()
    for damaged in (whole[: len(whole) // 2], b"", whole[:3000] + bytes(64) + whole[3064:]):
        (tmp_path / ARRAYS_FILE).write_bytes(damaged)
        with pytest.raises(InputError, match=r"damaged|digest") as raised:
            backends.load(tmp_path)
        assert "\n" not in str(raised.value)


def test_one_door_opens_every_back_end(tmp_path: Path) -> None:
    untrained(SMALL_FSQ).save(tmp_path)
    loaded = backends.load(tmp_path)
    assert isinstance(loaded, Codec) and loaded.digest == untrained(SMALL_FSQ).digest
    with pytest.raises(InputError, match="no motion codec"):
        backends.load(tmp_path / "nowhere")


def test_code_vectors_place_similar_codes_near(fitted: DctCodec) -> None:
    vectors = fitted.code_vectors()
    assert vectors.shape[:2] == (fitted.layers, fitted.codes) and np.isfinite(vectors).all()
    found = fitted._pairs.expansions
    filled = [code for code in range(fitted.codes) if len(found[code])]
    assert all(len(np.unique(layer[filled].round(4), axis=0)) > 0.95 * len(filled) for layer in vectors)
    assert vectors.shape[2] == backends.vector_size(CFG)
    longest = max(filled, key=lambda code: len(found[code]))
    part = next(code for code in filled if np.array_equal(found[code], found[longest][: len(found[code])]))
    other = next(code for code in filled if not set(found[code]) & set(found[longest]))
    apart = [np.linalg.norm(vectors[0, longest] - vectors[0, code]) for code in (part, other)]
    assert apart[0] < apart[1]


@pytest.mark.parametrize("wrong", [{"dct_frames": 1}, {"dct_rate": 0.0}, {"dct_step": -1.0}, {"codebook_size": 20}])
def test_settings_that_cannot_be_are_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(InputError, match=next(iter(wrong))):
        dataclasses.replace(CFG, **wrong)


def test_a_small_run_packs_with_it(tmp_path: Path) -> None:
    cfg = config.Experiment(
        cohort=config.Cohort(participants=14, hours=0.01, seed=1),
        tokenizer=dataclasses.replace(PAIRS, dct_rate=10.0),
        pack=config.Pack(crops_per_trial=1),
    )
    report = pipeline.run(cfg, tmp_path, "pack", show=False)
    assert report["rows"]["train"] > 0 and report["fill"]["train"] > 0.5
    fidelity = json.loads((tmp_path / "tokenizer" / "fidelity.json").read_text())
    assert 0 < fidelity["median_deg"] < 10
