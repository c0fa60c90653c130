"""The training-free control among the motion codecs: discrete cosine transform and byte pairs.

After FAST (Pertsch et al. 2025, arXiv 2501.09747): blocks of movement are transformed over time, their spectra are
rounded and written as symbols, slowest components first, and the symbols are merged by byte-pair encoding. Unlike in
FAST, the rounding step has the same clinical size in every feature, the features that move most come first, and the
mean of a block is coded as a difference from that of the block before, as in JPEG. The number of codes per second
depends on the movement. Every frame is kept: the last block is transformed at its own length. Shapes: T frames, C
features (40), F rows of a spectrum.
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

# Size of the vector that describes a code.
VECTOR_SIZE = 2 * symbols.COUNT
# Added before values are rounded down: less than a half, because a smaller step at the same rate is worth more.
_ROUND_UP = 0.35
# Errors of a mean speed or turning rate accumulate along the path, so their steps are smaller by this factor.
_FINER_MEAN_RATE = 4.0
_SAMPLE = 300_000  # frames of movement, evenly spread, that everything is fitted to
# Range of the search for the step, in units per square root of a block's frames, and its number of iterations.
_FINEST, _COARSEST, _TRIES = 0.05, 50.0, 12
# The last part of the movement measures the rate: byte pairs fit the streams they were learned from a little too well.
_HELD_OUT = 0.2

Trials = Sequence[tuple[np.ndarray, np.ndarray]]


class DctCodec:
    """A fitted codec with the interface `backends.MotionCodec`."""

    def __init__(self, cfg: config.Tokenizer, center: np.ndarray, step: np.ndarray, order: np.ndarray, model: bytes):
        """A codec of its parts.

        Args:
            center: f32[40] of each feature.
            step: f64[40] rounding step of each feature.
            order: i32[40] features in the order in which they are written.
            model: the serialised byte pairs.
        """
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
        """Codes of a token: this many successive byte pairs."""
        return self.config.layers

    @property
    def stride(self) -> int:
        """The codec keeps a multiple of this many frames; at 1 it keeps every frame."""
        return 1

    def encode(self, coordinates: Sequence[np.ndarray], observed: Sequence[np.ndarray]) -> list[np.ndarray]:
        """Codes i32[n_i, Q] of movements f32[T_i, 40] at 30 Hz with masks bool[40]; n_i depends on the movement.

        Values of unobserved coordinates are never read (they may be NaN).
        """
        masks = [np.asarray(seen, bool) for seen in observed]
        spectra = [
            _quantize(spectrum, self.step, self.config.dct_frames)[:, self.order]
            for spectrum in _spectra(features_of(coordinates, masks), masks, self.center, self.config.dct_frames)
        ]
        streams = [symbols.encode(spectrum, self.config.dct_frames) for spectrum in spectra]
        return [_to_tokens(codes_m, self.layers) for codes_m in self._pairs.encode(streams)]

    def decode(self, tokens: Sequence[np.ndarray], starts: Sequence[np.ndarray] | None = None) -> list[np.ndarray]:
        """Movements f32[T_i, 40] at 30 Hz of any codes i32[n_i, Q]: all 40 coordinates, masked ones too.

        Args:
            starts: world x, z (metres) and heading (radians) of each first frame; if absent, the
                origin, facing forward.

        Raises:
            InputError: a code that this codec does not have.
        """
        codes.check(tokens, self.codes, self.layers)
        return movements_of([self._features(own) for own in tokens], starts)

    def _features(self, tokens: np.ndarray) -> np.ndarray:
        """Features f32[T, 40] of codes i32[n, Q]."""
        block = self.config.dct_frames
        stream = self._pairs.decode(np.asarray(tokens, np.int64).ravel())
        values_TC, sizes = symbols.decode(stream, block, COORDINATE_COUNT)
        spectra_TC = np.zeros(values_TC.shape)
        spectra_TC[:, self.order] = values_TC
        step_TC = _steps(self.step, sizes, block)
        return (self.center + _transform_blocks(spectra_TC * step_TC, sizes, inverse=True)).astype(np.float32)

    def code_vectors(self) -> np.ndarray:
        """A vector f32[Q, N, D] of each code; codes of similar symbols are near each other.

        For each symbol it holds how often the symbol occurs in the code, once with every place counting the same (on a
        log scale) and once with earlier places counting more.
        """
        vectors_ND = np.zeros((self.codes, VECTOR_SIZE), np.float32)
        for code, own in enumerate(self._pairs.expansions):
            np.add.at(vectors_ND[code], own, 1.0)
            np.add.at(vectors_ND[code], symbols.COUNT + own, 0.5 ** np.arange(len(own)))
        vectors_ND[:, : symbols.COUNT] = np.log1p(vectors_ND[:, : symbols.COUNT])
        return np.broadcast_to(vectors_ND, (self.layers, *vectors_ND.shape))

    def save(self, directory: Path | str) -> None:
        """Write `codec.npz` and `codec.json`; the second, written last, holds the digest of the first."""
        stored.write(directory, self.config, self._arrays)

    @classmethod
    def from_arrays(cls, cfg: config.Tokenizer, arrays: stored.Arrays) -> "DctCodec":
        """The codec of a configuration and the arrays that `save` wrote."""
        return cls(cfg, arrays["center"], arrays["step"], arrays["order"], arrays["pairs"].tobytes())


def fit(cfg: config.Tokenizer, trials: Trials, progress: Callable[[int, dict[str, float]], None]) -> DctCodec:
    """Fit a codec: the smallest steps at which TRAINING movement takes at most `dct_rate` tokens a second on average.

    Args:
        trials: (coordinates f32[T_i, 40] at 30 Hz, observed bool[40]) of training participants only.
        progress: called with a number of steps up to cfg.steps and the root mean square error in units of
            `loss.units` ("loss"), tokens a second ("rate") and the size of a step in units ("step").

    Raises:
        InputError: there is no movement, or it does not fit into so few tokens.
    """
    every = max(1, -(-sum(len(movement) for movement, _ in trials) // _SAMPLE))
    movements = [movement for movement, _ in trials[::every]]
    masks = [np.asarray(seen, bool) for _, seen in trials[::every]]
    features = features_of(movements, masks)
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
                f"tokenizer.dct_rate is {cfg.dct_rate}; this movement takes {rate:.2g} tokens a second at the coarsest "
                "step: give a higher rate"
            )
        else:
            low = step
    streams, order_C = _streams(cfg, spectra, cfg.dct_step or high)
    pairs = BytePairs.train(streams, symbols.COUNT, symbols.END, cfg.codes)
    return DctCodec(cfg, center, _sizes(cfg.dct_step or high), order_C, pairs.model)


def _sizes(step: float) -> np.ndarray:
    """Steps f64[40] of the features for a step in units of `loss.units`."""
    return step * units().astype(np.float64)


def _streams(cfg: config.Tokenizer, spectra: Sequence[np.ndarray], step: float) -> tuple[list[np.ndarray], np.ndarray]:
    """Symbols i64[n_i] of spectra at a step in units, and the features i64[40] ordered by how much they move."""
    values = [_quantize(spectrum, _sizes(step), cfg.dct_frames) for spectrum in spectra]
    used_C = sum((np.count_nonzero(one, axis=0) for one in values), np.zeros(COORDINATE_COUNT, int))
    order_C = np.argsort(-used_C, kind="stable")
    return [symbols.encode(one[:, order_C], cfg.dct_frames) for one in values], order_C


def _rate(cfg: config.Tokenizer, spectra: Sequence[np.ndarray], held_out: int, step: float) -> float:
    """Tokens a second at a step in units: of all movements or of those held out from the pairs, whichever is more."""
    streams, _ = _streams(cfg, spectra, step)
    pairs = BytePairs.train(streams[: len(streams) - held_out], symbols.COUNT, symbols.END, cfg.codes)
    tokens = np.array([len(_to_tokens(codes_m, cfg.layers)) for codes_m in pairs.encode(streams)])
    seconds = np.array([len(one) for one in spectra]) / config.CANONICAL_RATE_HZ
    parts = (0, len(streams) - held_out) if held_out else (0,)
    return float(max(tokens[first:].sum() / seconds[first:].sum() for first in parts))


def _error(cfg: config.Tokenizer, spectra: Sequence[np.ndarray], step: float) -> float:
    """Root mean square error of rounding at a step, in units (by Parseval, the same for spectra and features)."""
    square = 0.0
    for spectrum_TC in spectra:
        value_TC = _quantize(spectrum_TC, _sizes(step), cfg.dct_frames)
        step_TC = _steps(_sizes(step), symbols.lengths(len(spectrum_TC), cfg.dct_frames), cfg.dct_frames)
        square += float((((spectrum_TC - value_TC * step_TC) / units()) ** 2).sum())
    return float(np.sqrt(square / sum(map(len, spectra)) / COORDINATE_COUNT))


def _to_tokens(codes_m: np.ndarray, layers: int) -> np.ndarray:
    """Codes i32[m] as tokens i32[n, Q], the last one filled up with codes that mean nothing."""
    return np.pad(codes_m, (0, -len(codes_m) % layers), constant_values=NOTHING).reshape(-1, layers)


def _spectra(
    features: Sequence[np.ndarray], observed: Sequence[np.ndarray], center: np.ndarray, block: int
) -> list[np.ndarray]:
    """Spectra f64[T_i, 40] of centered features f32[T_i, 40], block after block; zero where not observed."""
    spectra = []
    for raw, seen in zip(features, observed, strict=True):
        centered_TC = np.where(features_lib.feature_mask(seen), raw.astype(np.float64) - center, 0.0)
        spectra.append(_transform_blocks(centered_TC, symbols.lengths(len(raw), block), inverse=False))
    return spectra


def _transform_blocks(values_TC: np.ndarray, sizes: np.ndarray, inverse: bool) -> np.ndarray:
    """DCT-II, or its inverse, of each block of sizes[i] frames, i64[n]; runs of blocks of one size go together."""
    parts, begin = [], 0
    edges = np.flatnonzero(np.diff(sizes)) + 1
    for run in np.split(sizes, edges):
        if len(run):
            end = begin + int(run.sum())
            matrix_FT = cosines(int(run[0]))
            blocks_nTC = values_TC[begin:end].reshape(len(run), int(run[0]), -1)
            parts.append(np.matmul(matrix_FT.T if inverse else matrix_FT, blocks_nTC).reshape(end - begin, -1))
            begin = end
    return np.concatenate(parts) if parts else np.zeros_like(values_TC)


@functools.lru_cache(maxsize=256)
def cosines(frames: int) -> np.ndarray:
    """The orthonormal DCT-II matrix f64[F, T], F = T = frames (Ahmed, Natarajan and Rao 1974)."""
    row_F1, time = np.arange(frames)[:, None], np.arange(frames)
    matrix_FT = np.sqrt(2.0 / frames) * np.cos(np.pi * (2 * time + 1) * row_F1 / (2 * frames))
    matrix_FT[0] = np.sqrt(1.0 / frames)
    return matrix_FT


def _steps(step_C: np.ndarray, sizes: np.ndarray, block: int) -> np.ndarray:
    """The step f64[T, 40] of each value of the spectra of blocks of sizes[i] frames, i64[n].

    The mean of a block has the same step whatever the length of the block, so that it can be coded as a difference.
    """
    step_TC = np.repeat(step_C[None], int(sizes.sum()), axis=0)
    first = np.cumsum(sizes) - sizes
    step_TC[first] *= np.sqrt(sizes / block)[:, None]
    step_TC[first[:, None], features_lib.RATES] /= _FINER_MEAN_RATE
    return step_TC


def _quantize(spectra_TC: np.ndarray, step_C: np.ndarray, block: int) -> np.ndarray:
    """Spectra in whole steps i64[T, 40]."""
    ratio_TC = spectra_TC / _steps(step_C, symbols.lengths(len(spectra_TC), block), block)
    whole_TC = np.sign(ratio_TC) * np.floor(np.abs(ratio_TC) + _ROUND_UP)
    return np.clip(whole_TC, -symbols.CLIP, symbols.CLIP).astype(np.int64)
