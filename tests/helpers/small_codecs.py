"""A small untrained codec and smooth random movement."""

import functools

import numpy as np

from biomechgpt_jax import config
from biomechgpt_jax.biomechanics.skeleton import COORDINATE_COUNT
from biomechgpt_jax.codec.codec import Codec
from biomechgpt_jax.codec.network import initial_parameters
from biomechgpt_jax.codec.scaling import Scaling


def smooth(frames: int, seed: int) -> np.ndarray:
    """Slow sines of two sources, mixed into 40 coordinates that walk forward: f32[frames, 40]."""
    rng, mixing = np.random.default_rng(seed), np.random.default_rng(99).normal(0, 0.2, (4, COORDINATE_COUNT))
    time = np.arange(frames)[:, None] / 30
    phase = 2 * np.pi * (np.array([0.5, 0.9]) * time + rng.uniform(0, 1, 2))
    q = (np.concatenate([np.sin(phase), np.cos(phase)], axis=1) @ mixing).astype(np.float32)
    q[:, 0] += 1.1 * time[:, 0]
    return q


@functools.cache
def untrained(cfg: config.Tokenizer, seed: int = 0) -> Codec:
    rng = np.random.default_rng(seed)
    codebook = None
    if cfg.quantizer == "vq":
        codebook = rng.normal(size=(cfg.layers, cfg.codebook_size, cfg.code_size))
    center = rng.normal(0, 0.1, COORDINATE_COUNT).astype(np.float32)
    scaling = Scaling(center, np.full(COORDINATE_COUNT, 0.2, np.float32))
    return Codec(cfg, scaling, initial_parameters(cfg, seed), codebook)


SMALL_FSQ = config.Tokenizer(levels=("8x5x5x5",), width=16, depth=2)
SMALL_RESIDUAL = config.Tokenizer(quantizer="vq", codebook_size=32, code_size=8, codebooks=3, width=16, depth=1)
SMALL_VQ = config.Tokenizer(quantizer="vq", codebook_size=64, code_size=8, width=16, depth=1)
