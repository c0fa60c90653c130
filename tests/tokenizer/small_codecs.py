"""A small untrained codec and smooth random movement."""

import functools

import jax
import numpy as np

from biomechgpt_jax import config
from biomechgpt_jax.biomechanics.skeleton import COORDINATE_COUNT
from biomechgpt_jax.tokenizer.codec import Codec, networks
from biomechgpt_jax.tokenizer.scaling import Scaling


def smooth(frames: int, seed: int) -> np.ndarray:
    """Random sums of slow sines, f32[frames, 40], walking forward."""
    rng = np.random.default_rng(seed)
    time = np.arange(frames)[:, None] / 30
    q = sum(0.2 * np.sin(2 * np.pi * (f * time + rng.uniform(0, 1, COORDINATE_COUNT))) for f in (0.3, 0.9, 1.7))
    q = np.asarray(q + rng.normal(0, 0.2, COORDINATE_COUNT), np.float32)
    q[:, 0] += 1.1 * time[:, 0]
    return q


@functools.cache
def untrained(cfg: config.Tokenizer, seed: int = 0) -> Codec:
    encoder, decoder = networks(cfg)
    size = len(cfg.levels) if cfg.quantizer == "fsq" else cfg.code_size
    keys = jax.random.split(jax.random.key(seed), 3)
    x, lengths = np.zeros((1, 16, COORDINATE_COUNT), np.float32), np.array([16])
    params = {
        "encoder": jax.jit(encoder.init)(keys[0], x, x, lengths)["params"],
        "decoder": jax.jit(decoder.init)(keys[1], np.zeros((1, 16 // cfg.stride, size), np.float32), lengths)["params"],
    }
    codebook = None
    if cfg.quantizer == "vq":
        codebook = np.asarray(jax.random.normal(keys[2], (cfg.codebook_size, cfg.code_size)))
    rng = np.random.default_rng(seed)
    center = rng.normal(0, 0.1, COORDINATE_COUNT).astype(np.float32)
    return Codec(cfg, Scaling(center, np.full(COORDINATE_COUNT, 0.2, np.float32)), params, codebook)


SMALL_FSQ = config.Tokenizer(width=16, depth=2)
SMALL_VQ = config.Tokenizer(quantizer="vq", codebook_size=64, code_size=8, width=16, depth=1)
