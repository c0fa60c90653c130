"""The motion codec: movement to codes and back. One digest covers everything that decides what a code means.

Shapes: B batch, T frames, C features (40), S tokens, Q layers (codes of a token), N codes of a layer, K latent.
"""

import functools
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import flax.traverse_util
import jax
import jax.numpy as jnp
import numpy as np

from biomechgpt_jax import config
from biomechgpt_jax.biomechanics import features as features_lib
from biomechgpt_jax.biomechanics.skeleton import COORDINATE_COUNT
from biomechgpt_jax.codec import batching, codes, stored
from biomechgpt_jax.codec.network import networks, reach
from biomechgpt_jax.codec.scaling import Scaling

Params = Mapping[str, Any]


class Codec:
    """A trained codec. What a movement is encoded to does not depend on padding or on the rest of the batch.

    Attributes:
        config: its configuration.
        scaling: units of the network.
        params: parameters f32 {"encoder", "decoder"}.
        codebook: f32[Q, N, K] for VQ, None for FSQ.
        digest: SHA-256 hex over everything that decides what a code means.
    """

    def __init__(self, cfg: config.Tokenizer, scaling: Scaling, params: Params, codebook: np.ndarray | None = None):
        """Args: params {"encoder", "decoder"}; codebook f32[Q, N, K] for VQ, None for FSQ."""
        self.config = cfg
        self.scaling = scaling
        self.params: Params = jax.tree.map(lambda leaf: np.asarray(leaf, np.float32), dict(params))
        self.codebook = None if codebook is None else np.asarray(codebook, np.float32)
        self.digest = stored.digest(cfg, self._arrays())

    @property
    def codes(self) -> int:
        """Number of codes of a layer."""
        return self.config.codes

    @property
    def layers(self) -> int:
        """Codes of a token."""
        return self.config.layers

    @property
    def stride(self) -> int:
        """Frames per token."""
        return self.config.stride

    def encode(self, coordinates: Sequence[np.ndarray], observed: Sequence[np.ndarray]) -> list[np.ndarray]:
        """Codes i32[T_i // stride, Q] of movements f32[T_i, 40] at 30 Hz with masks bool[40].

        Values of unobserved coordinates are never read (they may be NaN), nor are frames after the last whole token.
        """
        live = [len(movement) // self.stride * self.stride for movement in coordinates]
        cut = batching.pieces(live, reach(self.config))
        parts = [coordinates[piece.movement][piece.begin : piece.end] for piece in cut]
        masks = [observed[piece.movement] for piece in cut]
        lengths = [piece.end - piece.begin for piece in cut]
        encoded = [np.zeros((0, self.layers), np.int32)] * len(cut)
        for chosen, rows, frames in batching.batches(lengths):
            q_BTC, mask_BC, lengths_B = batching.pad_batch(
                [parts[i] for i in chosen], [masks[i] for i in chosen], [lengths[i] for i in chosen], rows, frames
            )
            codes_BSQ = np.asarray(_encode(self.config, self._parts(), q_BTC, mask_BC, lengths_B))
            for row, i in enumerate(chosen):
                keep = cut[i].keep
                encoded[i] = codes_BSQ[row, keep.start // self.stride : keep.stop // self.stride]
        return _join_pieces(cut, encoded, len(live), np.zeros((0, self.layers), np.int32))

    def decode(self, tokens: Sequence[np.ndarray], starts: Sequence[np.ndarray] | None = None) -> list[np.ndarray]:
        """Movements f32[n_i * stride, 40] at 30 Hz of codes i32[n_i, Q]: all 40 coordinates, masked ones too.

        Args:
            starts: world x, z (metres) and heading (radians) of each first frame; if absent, the
                origin, facing forward.

        Raises:
            InputError: a code that this codec does not have.
        """
        codes.check(tokens, self.codes, self.layers)
        live = [len(own) * self.stride for own in tokens]
        cut = batching.pieces(live, reach(self.config))
        decoded = [np.zeros((0, COORDINATE_COUNT), np.float32)] * len(cut)
        for chosen, rows, frames in batching.batches([piece.end - piece.begin for piece in cut]):
            codes_BSQ = np.zeros((rows, frames // self.stride, self.layers), np.int32)
            lengths_B = np.zeros(rows, np.int32)
            for row, i in enumerate(chosen):
                piece = cut[i]
                part = tokens[piece.movement][piece.begin // self.stride : piece.end // self.stride]
                codes_BSQ[row, : len(part)], lengths_B[row] = part, piece.end - piece.begin
            features_BTC = np.asarray(_decode(self.config, self._parts(), codes_BSQ, lengths_B))
            for row, i in enumerate(chosen):
                decoded[i] = features_BTC[row, cut[i].keep]
        features = _join_pieces(cut, decoded, len(live), np.zeros((0, COORDINATE_COUNT), np.float32))
        return batching.movements_of(features, starts)

    def code_vectors(self) -> np.ndarray:
        """A vector f32[Q, N, D] of each code; similar codes are near each other. Embeddings are initialised from it."""
        return codes.describe(self.config, self.codebook)

    def save(self, directory: Path | str) -> None:
        """Write `codec.npz` and `codec.json`; the second, written last, holds the digest of the first."""
        stored.write(directory, self.config, self._arrays())

    @classmethod
    def load(cls, directory: Path | str) -> "Codec":
        """Read what `save` wrote.

        Raises:
            InputError: a file is missing, damaged, of another program version or does not match the digest.
        """
        with stored.refuse_damage(directory):
            return cls.from_arrays(*stored.read(directory))

    @classmethod
    def from_arrays(cls, cfg: config.Tokenizer, arrays: stored.Arrays) -> "Codec":
        """The codec of a configuration and the arrays that `save` wrote."""
        params = flax.traverse_util.unflatten_dict(
            {tuple(name.split("/")[1:]): value for name, value in arrays.items() if name.startswith("params/")}
        )
        return cls(cfg, Scaling(arrays["center"], arrays["spread"]), params, arrays.get("codebook"))

    def _parts(self) -> "_Parts":
        return _Parts(self.params, self.scaling.center, self.scaling.spread, self.codebook)

    def _arrays(self) -> dict[str, np.ndarray]:
        flat = flax.traverse_util.flatten_dict(self.params, sep="/")
        arrays = {f"params/{name}": np.asarray(value) for name, value in flat.items()}
        arrays |= {"center": self.scaling.center, "spread": self.scaling.spread}
        return arrays if self.codebook is None else arrays | {"codebook": self.codebook}


class _Parts(NamedTuple):
    """The parts of a codec that the jitted functions read."""

    params: Params
    center: np.ndarray
    spread: np.ndarray
    codebook: np.ndarray | None


@functools.partial(jax.jit, static_argnums=0)
def _encode(
    cfg: config.Tokenizer, parts: _Parts, q_BTC: jax.Array, mask_BC: jax.Array, lengths_B: jax.Array
) -> jax.Array:
    features_BTC = features_lib.features(q_BTC, length=lengths_B)
    mask_BTC = jnp.broadcast_to(mask_BC[:, None], features_BTC.shape)
    scaled_BTC = jnp.where(mask_BTC, (features_BTC - parts.center) / parts.spread, 0.0)
    encoder, _ = networks(cfg)
    z_BSK: Any = encoder.apply({"params": parts.params["encoder"]}, scaled_BTC, mask_BTC.astype(jnp.float32), lengths_B)
    return codes.index(cfg, z_BSK, parts.codebook)


@functools.partial(jax.jit, static_argnums=0)
def _decode(cfg: config.Tokenizer, parts: _Parts, codes_BSQ: jax.Array, lengths_B: jax.Array) -> jax.Array:
    """Features f32[B, T, 40]."""
    z_BSK = codes.values(cfg, codes_BSQ, parts.codebook)
    _, decoder = networks(cfg)
    scaled_BTC: Any = decoder.apply({"params": parts.params["decoder"]}, z_BSK, lengths_B)
    return scaled_BTC * parts.spread + parts.center


def _join_pieces(
    cut: Sequence[batching.Piece], parts: Sequence[np.ndarray], movements: int, empty: np.ndarray
) -> list[np.ndarray]:
    """Concatenate the kept parts of the pieces of each movement; a movement without pieces is `empty`."""
    of_movement: list[list[np.ndarray]] = [[empty] for _ in range(movements)]
    for piece, part in zip(cut, parts, strict=True):
        of_movement[piece.movement].append(part)
    return [np.concatenate(own) for own in of_movement]
