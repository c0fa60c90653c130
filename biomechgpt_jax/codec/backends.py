"""The back ends of the motion codec behind one interface: FSQ, VQ, residual VQ, and DCT with byte pairs."""

from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

import numpy as np

from biomechgpt_jax import config
from biomechgpt_jax.codec import codes, dct, stored
from biomechgpt_jax.codec.codec import Codec


class MotionCodec(Protocol):
    """The interface of every back end; `codec.Codec` documents its members.

    The number of tokens of a movement is the length of its array of codes.
    """

    config: config.Tokenizer
    digest: str

    @property
    def codes(self) -> int: ...
    @property
    def layers(self) -> int: ...
    @property
    def stride(self) -> int: ...
    def encode(self, coordinates: Sequence[np.ndarray], observed: Sequence[np.ndarray]) -> list[np.ndarray]: ...
    def decode(self, tokens: Sequence[np.ndarray], starts: Sequence[np.ndarray] | None = None) -> list[np.ndarray]: ...
    def code_vectors(self) -> np.ndarray: ...
    def save(self, directory: Path | str) -> None: ...


def load(directory: Path | str) -> MotionCodec:
    """Read the codec that `save` wrote; its configuration says which back end it is.

    Raises:
        InputError: a file is missing, damaged, of another program version or does not match the digest.
    """
    with stored.refuse_damage(directory):
        cfg, arrays = stored.read(directory)
        back_end = dct.DctCodec if cfg.quantizer == "dct" else Codec
        return back_end.from_arrays(cfg, arrays)


def vector_size(cfg: config.Tokenizer) -> int:
    """Size of a code's vector in `code_vectors`, which the configuration alone decides."""
    return dct.VECTOR_SIZE if cfg.quantizer == "dct" else codes.vector_size(cfg)
