"""Which implementation of attention runs: by the configuration, the device, and what each implementation supports."""

import functools
import logging
from typing import Literal

import jax
import jax.numpy as jnp

from biomechgpt_jax.errors import InputError

Path = Literal["auto", "reference", "blockwise", "splash", "cudnn"]

SPLASH_LANES = 128  # splash: the number of tokens of a row must be a multiple of this

_KERNEL_OF_PLATFORM: dict[str, Path] = {"tpu": "splash", "gpu": "cudnn", "cuda": "cudnn"}


def choose(path: Path, platform: str, q: jax.Array, k: jax.Array, soft_cap: float, sharded_sequence: bool) -> Path:
    """Choose the implementation.

    Args:
        path: as configured; "auto" takes the library kernel of the platform if it supports these inputs, and blockwise
            otherwise, with the reason logged once.
        platform: of the devices, such as "tpu".
        q, k: BTHK and BTGK of one device.
        soft_cap: bound of the scores; 0: none.
        sharded_sequence: whether a device holds only a part of each row.

    Raises:
        InputError: the configured path does not support these inputs.
    """
    wanted = _KERNEL_OF_PLATFORM.get(platform, "blockwise") if path == "auto" else path
    reason = _why_unsupported(wanted, q, k, soft_cap, sharded_sequence)
    if not reason:
        return wanted
    if path == "auto":
        _log(wanted, reason)
        return "blockwise"
    raise InputError(f"model.attention is {path}: {reason}; set it to auto or blockwise")


def _why_unsupported(path: Path, q: jax.Array, k: jax.Array, soft_cap: float, sharded_sequence: bool) -> str:
    """Why an implementation does not support these inputs; empty if it does."""
    length, size = q.shape[1], q.shape[3]
    if path == "splash":
        if sharded_sequence:
            return "it needs whole rows, and mesh.sequence divides them"
        if length % SPLASH_LANES:
            return f"it takes rows of a multiple of {SPLASH_LANES} tokens, and these have {length}"
    if path == "cudnn":
        if not _has_cudnn():
            return "this jax has no cuDNN; pip install 'jax[cuda12]'"
        if soft_cap:
            return "cuDNN cannot soft-cap the scores"
        if q.dtype not in (jnp.bfloat16, jnp.float16):
            return f"cuDNN takes bfloat16 or float16, and this is {q.dtype}"
        if size % 8 or size > 128:
            return f"cuDNN takes heads of a multiple of 8 up to 128, and these have {size}"
        if length % 2 or k.shape[1] % 2:
            return f"cuDNN takes rows of an even number of tokens, and these have {length}"
    return ""


def _has_cudnn() -> bool:
    """Whether this jax comes with cuDNN (jax has no public API for this)."""
    from jax._src.lib import cuda_versions

    return cuda_versions is not None


@functools.cache
def _log(path: str, reason: str) -> None:
    logging.getLogger(__name__).warning("attention: blockwise instead of %s: %s", path, reason)
