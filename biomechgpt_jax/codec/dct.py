"""The training-free control among the motion codecs: discrete cosine transform and byte pairs.

After FAST (Pertsch et al. 2025, arXiv 2501.09747): the spectra over time of blocks of movement are rounded, written
slowest first, and their symbols joined to byte pairs. Unlike FAST, the rounding has the same clinical size in every
feature, features that move most come first, and the mean of a block is coded as a difference from that of the block
before, as JPEG does. How many codes a second takes depends on what is done in it. Every frame is kept: the last block
is transformed at its own length. Shapes: T frames, C features (40), F rows of a spectrum.
"""

import functools
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from biomechgpt_jax import config
from biomechgpt_jax.biomechanics import features as features_lib
from biomechgpt_jax.biomechanics.skeleton import COORDINATE_COUNT
from biomechgpt_jax.codec import codes, stored, symbols
from biomechgpt_jax.codec.batching import features_of, movements_of
from biomechgpt_jax.codec.bpe import NOTHING, BytePairs
from biomechgpt_jax.codec.loss import units
from biomechgpt_jax.codec.scaling import fit_scaling
from biomechgpt_jax.errors import InputError

# Values are rounded towards zero from this much below a half on: a smaller step at the same rate is worth more.
_ROUND_UP = 0.35
# Errors of a mean speed or turn add up along the path: their steps are this much smaller.
_FINER_MEAN_RATE = 4.0
_SAMPLE = 300_000  # frames of movement, evenly spread, that everything is fitted to
# Steps in units, per root of a block's frames, between which the right one is looked for, and how often.
_FINEST, _COARSEST, _TRIES = 0.05, 50.0, 12
_HELD_OUT = 0.2  # of the movement, its last, tells the rate: pairs fit what they were learned from a little too well

Trials = Sequence[tuple[np.ndarray, np.ndarray]]


class DctCodec:
    """A fitted codec; the interface is that of `backends.MotionCodec`."""

    def __init__(self, cfg: config.Tokenizer, center: np.ndarray, step: np.ndarray, order: np.ndarray, model: bytes):
        """Args: per feature f32[40] center, f64[40] size of a step and i32[40] which is written when; byte pairs."""
        self.config = cfg
        self.center, self.order = np.asarray(center, np.float32), np.asarray(order, np.int32)
        self.step = np.asarray(step, np.float64)
        self._pairs = BytePairs(model, cfg.codes)
        self._arrays: dict[str, np.ndarray] = {
            "center": self.center,
            "step": self.step,
            "order": self.order,
            "pairs": np.frombuffer(model, np.uint8),
            "grammar": np.array([symbols.LARGEST, symbols.CLIP, symbols.COUNT], np.int32),
        }
        self.digest = stored.digest(cfg, self._arrays)

    @property
    def codes(self) -> int:
        """Number of codes of a layer."""
        return self.config.codes

    @property
    def layers(self) -> int:
        """Codes of a token: so many byte pairs in a row."""
        return self.config.layers

    @property
    def stride(self) -> int:
        """The codec keeps a multiple of so many frames: all of them."""
        return 1

    def encode(self, coordinates: Sequence[np.ndarray], observed: Sequence[np.ndarray]) -> list[np.ndarray]:
        """Codes i32[n_i, Q] of movements f32[T_i, 40] at 30 Hz with masks bool[40]; some tokens a second, by content.

        Values of coordinates that are not observed are never read (they may be NaN).
        """
        masks = [np.asarray(seen, bool) for seen in observed]
        spectra = [
            _quantized(spectrum, self.step, self.config.dct_frames)[:, self.order]
            for spectrum in _spectra(features_of(coordinates, masks), masks, self.center, self.config.dct_frames)
        ]
        streams = [symbols.written(spectrum, self.config.dct_frames) for spectrum in spectra]
        return [_tokens(found, self.layers) for found in self._pairs.encode(streams)]

    def decode(self, tokens: Sequence[np.ndarray], starts: Sequence[np.ndarray] | None = None) -> list[np.ndarray]:
        """Movements f32[T_i, 40] at 30 Hz of any codes i32[n_i, Q]: all 40 coordinates, whatever was masked.

        Args:
            starts: world x, z (metres) and heading (radians) of each first frame; if absent, the
                origin, facing forward.

        Raises:
            InputError: a code is not one of this codec's.
        """
        codes.check(tokens, self.codes, self.layers)
        return movements_of([self._features(found) for found in tokens], starts)

    def _features(self, tokens: np.ndarray) -> np.ndarray:
        """Features f32[T, 40] of codes i32[n, Q]."""
        block = self.config.dct_frames
        written = self._pairs.decode(np.asarray(tokens, np.int64).ravel())
        values_TC, sizes = symbols.read(written, block, COORDINATE_COUNT)
        spectra_TC = np.zeros(values_TC.shape)
        spectra_TC[:, self.order] = values_TC
        step_TC = _steps(self.step, sizes, block)
        return (self.center + _by_block(spectra_TC * step_TC, sizes, inverse=True)).astype(np.float32)

    def code_vectors(self) -> np.ndarray:
        """A description f32[Q, N, D] of each code in which codes of similar symbols are near.

        Of each symbol: how much of the code it makes up, all places counting alike, and the first ones more.
        """
        vectors_ND = np.zeros((self.codes, 2 * symbols.COUNT), np.float32)
        for code, found in enumerate(self._pairs.expansions):
            np.add.at(vectors_ND[code], found, 1.0)
            np.add.at(vectors_ND[code], symbols.COUNT + found, 0.5 ** np.arange(len(found)))
        vectors_ND[:, : symbols.COUNT] = np.log1p(vectors_ND[:, : symbols.COUNT])
        apart = np.zeros((self.layers, self.codes, self.layers, vectors_ND.shape[1]), np.float32)
        apart[np.arange(self.layers), :, np.arange(self.layers)] = vectors_ND
        return apart.reshape(self.layers, self.codes, -1)

    def save(self, directory: Path | str) -> None:
        """Write `codec.npz` and `codec.json`; the second, written last, holds the digest of the first."""
        stored.write(directory, self.config, self._arrays)

    @classmethod
    def of(cls, cfg: config.Tokenizer, arrays: stored.Arrays) -> "DctCodec":
        """The codec of what `save` wrote."""
        return cls(cfg, arrays["center"], arrays["step"], arrays["order"], arrays["pairs"].tobytes())


def fit(cfg: config.Tokenizer, trials: Trials, progress: Callable[[int, dict[str, float]], None]) -> DctCodec:
    """Fit a codec: the smallest steps at which the tokens of TRAINING movement keep to `dct_rate` on average.

    Args:
        trials: (coordinates f32[T_i, 40] at 30 Hz, observed bool[40]) of training participants only.
        progress: called with a number of steps up to cfg.steps and the root mean square error in units of
            `loss.units` ("loss"), tokens a second ("rate") and the size of a step in units ("step").

    Raises:
        InputError: there is no movement, or it cannot be told in so few tokens.
    """
    every = max(1, -(-sum(len(movement) for movement, _ in trials) // _SAMPLE))
    shown = [movement for movement, _ in trials[::every]]
    masks = [np.asarray(seen, bool) for _, seen in trials[::every]]
    features = features_of(shown, masks)
    center = fit_scaling(features, [features_lib.feature_mask(seen) for seen in masks]).center
    spectra = [one for one in _spectra(features, masks, center, cfg.dct_frames) if len(one)]
    held_out = max(1, round(_HELD_OUT * len(spectra))) if len(spectra) > 1 else 0
    root = float(np.sqrt(cfg.dct_frames))
    low, high = _FINEST * root, _COARSEST * root
    for number in range(1, _TRIES + 1):
        step = cfg.dct_step or (high if number == 1 else float(np.sqrt(low * high)))
        rate = _rate(cfg, spectra, held_out, step)
        progress(number * cfg.steps // _TRIES, {"loss": _error(cfg, spectra, step), "rate": rate, "step": step})
        if cfg.dct_step:
            break
        if rate <= cfg.dct_rate:
            high = step
        elif number == 1:
            raise InputError(
                f"tokenizer.dct_rate is {cfg.dct_rate}; this movement takes {rate:.2g} told at its coarsest"
            )
        else:
            low = step
    streams, order_C = _streams(cfg, spectra, cfg.dct_step or high)
    pairs = BytePairs.train(streams, symbols.COUNT, symbols.END, cfg.codes)
    return DctCodec(cfg, center, _sizes(cfg.dct_step or high), order_C, pairs.model)


def _sizes(step: float) -> np.ndarray:
    """Sizes f64[40] of a step in units."""
    return step * units().astype(np.float64)


def _streams(cfg: config.Tokenizer, spectra: Sequence[np.ndarray], step: float) -> tuple[list[np.ndarray], np.ndarray]:
    """Symbols i64[n_i] of spectra at a step in units, and the order i64[40] of the features, the busiest first."""
    values = [_quantized(spectrum, _sizes(step), cfg.dct_frames) for spectrum in spectra]
    used_C = sum((np.count_nonzero(one, axis=0) for one in values), np.zeros(COORDINATE_COUNT, int))
    order_C = np.argsort(-used_C, kind="stable")
    return [symbols.written(one[:, order_C], cfg.dct_frames) for one in values], order_C


def _rate(cfg: config.Tokenizer, spectra: Sequence[np.ndarray], held_out: int, step: float) -> float:
    """Tokens a second at a step in units, with pairs of the rest: of all movements or the last few, what is more."""
    streams, _ = _streams(cfg, spectra, step)
    pairs = BytePairs.train(streams[: len(streams) - held_out], symbols.COUNT, symbols.END, cfg.codes)
    tokens = np.array([len(_tokens(found, cfg.layers)) for found in pairs.encode(streams)])
    seconds = np.array([len(one) for one in spectra]) / config.CANONICAL_RATE_HZ
    parts = (0, len(streams) - held_out) if held_out else (0,)
    return float(max(tokens[first:].sum() / seconds[first:].sum() for first in parts))


def _error(cfg: config.Tokenizer, spectra: Sequence[np.ndarray], step: float) -> float:
    """Root mean square error in units of rounding at a step in units (Parseval: of spectra as of features)."""
    square = 0.0
    for spectrum_TC in spectra:
        value_TC = _quantized(spectrum_TC, _sizes(step), cfg.dct_frames)
        step_TC = _steps(_sizes(step), symbols.lengths(len(spectrum_TC), cfg.dct_frames), cfg.dct_frames)
        square += float((((spectrum_TC - value_TC * step_TC) / units()) ** 2).sum())
    return float(np.sqrt(square / sum(map(len, spectra)) / COORDINATE_COUNT))


def _tokens(found: np.ndarray, layers: int) -> np.ndarray:
    """Codes i32[m] as tokens i32[n, Q], the last filled up with codes that mean nothing."""
    return np.pad(found, (0, -len(found) % layers), constant_values=NOTHING).reshape(-1, layers)


def _spectra(
    features: Sequence[np.ndarray], observed: Sequence[np.ndarray], center: np.ndarray, block: int
) -> list[np.ndarray]:
    """Spectra f64[T_i, 40] of centered features f32[T_i, 40], block after block; zero where not observed."""
    found = []
    for raw, seen in zip(features, observed, strict=True):
        centered_TC = np.where(features_lib.feature_mask(seen), raw.astype(np.float64) - center, 0.0)
        found.append(_by_block(centered_TC, symbols.lengths(len(raw), block), inverse=False))
    return found


def _by_block(values_TC: np.ndarray, sizes: np.ndarray, inverse: bool) -> np.ndarray:
    """DCT-II of each block of so many frames i64[n], or its inverse; runs of blocks of one size go together."""
    found, begin = [], 0
    edges = np.flatnonzero(np.diff(sizes)) + 1
    for run in np.split(sizes, edges):
        if len(run):
            end = begin + int(run.sum())
            matrix_FT = cosines(int(run[0]))
            blocks_nTC = values_TC[begin:end].reshape(len(run), int(run[0]), -1)
            found.append(np.matmul(matrix_FT.T if inverse else matrix_FT, blocks_nTC).reshape(end - begin, -1))
            begin = end
    return np.concatenate(found) if found else np.zeros_like(values_TC)


@functools.lru_cache(maxsize=256)
def cosines(frames: int) -> np.ndarray:
    """The orthonormal DCT-II matrix f64[F, T] of so many frames (Ahmed, Natarajan and Rao 1974)."""
    row_F1, time = np.arange(frames)[:, None], np.arange(frames)
    matrix_FT = np.sqrt(2.0 / frames) * np.cos(np.pi * (2 * time + 1) * row_F1 / (2 * frames))
    matrix_FT[0] = np.sqrt(1.0 / frames)
    return matrix_FT


def _steps(step_C: np.ndarray, sizes: np.ndarray, block: int) -> np.ndarray:
    """The step f64[T, 40] of each value of the spectra of blocks of so many frames i64[n].

    The mean of a block has the same step whatever its length, so that it can be told from the block before.
    """
    step_TC = np.repeat(step_C[None], int(sizes.sum()), axis=0)
    first = np.cumsum(sizes) - sizes
    step_TC[first] *= np.sqrt(sizes / block)[:, None]
    step_TC[first[:, None], features_lib.RATES] /= _FINER_MEAN_RATE
    return step_TC


def _quantized(spectra_TC: np.ndarray, step_C: np.ndarray, block: int) -> np.ndarray:
    """Spectra as whole steps i64[T, 40]."""
    ratio_TC = spectra_TC / _steps(step_C, symbols.lengths(len(spectra_TC), block), block)
    whole_TC = np.sign(ratio_TC) * np.floor(np.abs(ratio_TC) + _ROUND_UP)
    return np.clip(whole_TC, -symbols.CLIP, symbols.CLIP).astype(np.int64)
