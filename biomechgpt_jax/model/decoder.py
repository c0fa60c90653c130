"""The functional core of the decoder: parameters are a plain nested dict, everything else is a function.

A batch is a dict of `tokens`, `positions`, `segments`, `branches`, i32[B, L] (and `loss_weights`, f32[B, L],
which the model does not read). If a motion token has several codes, `codes_1`, `codes_2` ... i32[B, L] hold the ids of
the codes after the first, -1 where there is none; their embeddings are summed.

Shapes: B batch, L length, D model, H query heads, G key-value heads, K head size, V vocabulary.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp

from biomechgpt_jax import config
from biomechgpt_jax.errors import InputError
from biomechgpt_jax.model import block, parameters, rope
from biomechgpt_jax.model.attention import packed
from biomechgpt_jax.model.attention.blockwise import SAVED
from biomechgpt_jax.parallel import sharding

Params = dict[str, Any]
Batch = Mapping[str, jax.Array]
ROW_KEYS = ("positions", "segments", "branches")
REMAT_POLICIES = {  # what a layer keeps for its backward pass; the rest is computed again
    "dots": jax.checkpoint_policies.save_only_these_names(block.PROJECTION, SAVED),
    "full": jax.checkpoint_policies.nothing_saveable,
}


class Cache(NamedTuple):
    """Rotated keys and values of a batch in every layer, [layers, B, L, G, K] each."""

    keys: jax.Array
    values: jax.Array


def compute_dtype(cfg: config.Model) -> Any:
    """The dtype of activations: `auto` is float32 on CPU, which has no bf16 units, and bfloat16 elsewhere.

    The device is that of the active mesh, so that compiling for an absent one gives its program.
    """
    if cfg.compute_dtype == "auto":
        return jnp.float32 if sharding.platform() == "cpu" else jnp.bfloat16
    return jnp.dtype(cfg.compute_dtype)


def _boxed(key: jax.Array, cfg: config.Model, vocabulary_size: int) -> Any:
    """Parameters in boxes that carry their logical axis names."""
    return parameters.Decoder(cfg, vocabulary_size).init(key)["params"]


def _abstract_boxed(cfg: config.Model, vocabulary_size: int) -> Any:
    # The key is created inside, where nothing is computed: the active mesh may be one of absent devices.
    return jax.eval_shape(lambda: _boxed(jax.random.key(0), cfg, vocabulary_size))


def abstract(cfg: config.Model, vocabulary_size: int) -> Params:
    """Nested dict of `jax.ShapeDtypeStruct`, without computing anything."""
    return nn.meta.unbox(_abstract_boxed(cfg, vocabulary_size))


def logical_axes(cfg: config.Model, vocabulary_size: int) -> Params:
    """Nested dict like `abstract` whose leaves are tuples of logical axis names."""

    def names(box: Any) -> tuple[str | None, ...]:
        return tuple(box.names)

    is_box = lambda x: isinstance(x, parameters.Named)  # noqa: E731
    return jax.tree.map(names, _abstract_boxed(cfg, vocabulary_size), is_leaf=is_box)


def param_shardings(mesh: jax.sharding.Mesh, cfg: config.Model, vocabulary_size: int) -> Params:
    """Nested dict like `abstract` of NamedSharding.

    Raises:
        InputError: a size that the mesh does not divide (for example kv_heads by tensor).
    """
    return sharding.tree_shardings(mesh, logical_axes(cfg, vocabulary_size), abstract(cfg, vocabulary_size))


def init(key: jax.Array, cfg: config.Model, vocabulary_size: int, mesh: jax.sharding.Mesh | None = None) -> Params:
    """Fresh f32 parameters as a plain nested dict.

    With a mesh they are created sharded: no host ever holds the whole model, and the values do not depend on the mesh.

    Raises:
        InputError: a size that the mesh does not divide.
    """
    shardings = None if mesh is None else param_shardings(mesh, cfg, vocabulary_size)

    def make(key: jax.Array) -> Params:
        return nn.meta.unbox(_boxed(key, cfg, vocabulary_size))

    return jax.jit(make, out_shardings=shardings)(key)


def hidden(params: Params, batch: Batch, cfg: config.Model) -> jax.Array:
    """Hidden states after the final norm, [B, L, D] in the compute dtype."""
    return _run(params, batch, cfg, keep_cache=False)[0]


def hidden_and_cache(params: Params, batch: Batch, cfg: config.Model) -> tuple[jax.Array, Cache]:
    """`hidden`, and the keys and values from which decoding continues."""
    x_BLD, cache = _run(params, batch, cfg, keep_cache=True)
    return x_BLD, cache


def _run(params: Params, batch: Batch, cfg: config.Model, keep_cache: bool) -> tuple[jax.Array, Any]:
    """Everything but the head: hidden states, and the `Cache` of all layers if it is to be kept."""
    rows = packed.Rows(*(batch[name] for name in ROW_KEYS))
    rotations, plan = rope.tables(rows.positions, cfg), packed.plan(rows, cfg.windows)
    scoring = packed.Scoring(cfg.windows, cfg.score_scale, cfg.attention_soft_cap)

    def layer(x_BLD: jax.Array, weights: block.Weights, kind: jax.Array | None) -> tuple[jax.Array, Cache | None]:
        index = 0 if kind is None else kind

        def attend(q_BLHK: jax.Array, k_BLGK: jax.Array, v_BLGK: jax.Array) -> tuple[jax.Array, Cache | None]:
            o_BLHK = packed.attend(q_BLHK, k_BLGK, v_BLGK, plan, scoring, index, cfg.attention)
            return o_BLHK, Cache(k_BLGK, v_BLGK) if keep_cache else None

        return block.block(x_BLD, weights, cfg, rotations.of_kind(index), attend)

    if cfg.remat != "none":
        layer = jax.checkpoint(layer, policy=REMAT_POLICIES[cfg.remat], prevent_cse=False)
    x_BLD = sharding.constrain(embed(params["embedding"], ids(batch), cfg), ("batch", "length", None))
    # Scanned: one compiled body whatever the depth. Layers of several kinds share it, and their kind is an input.
    kinds = jnp.asarray(cfg.kinds, jnp.int32) if len(cfg.windows) > 1 else None
    x_BLD, cache = jax.lax.scan(lambda x, inputs: layer(x, *inputs), x_BLD, (params["layers"]["block"], kinds))
    return block.rms_norm(x_BLD, params["final_norm"], cfg), cache


def embed(embedding_VD: jax.Array, ids: jax.Array, cfg: config.Model) -> jax.Array:
    """Embeddings [B, L, D] in the compute dtype.

    Args:
        embedding_VD: the table, f32.
        ids: i32[B, L], or i32[B, L, Q]: a token is the sum of the embeddings of its codes, -1 for none.
        cfg: the model.
    """
    dtype = compute_dtype(cfg)
    # Gathered over fsdp first, like any weight: looking up split rows would move the activations instead.
    table_VD = sharding.constrain(embedding_VD, ("vocabulary", None))
    if ids.ndim == 3:
        each_BLQD = jnp.where((ids >= 0)[..., None], table_VD[jnp.maximum(ids, 0)], 0.0)
        x_BLD = each_BLQD.sum(axis=2).astype(dtype)
    else:
        x_BLD = table_VD[ids].astype(dtype)
    return x_BLD * jnp.asarray(cfg.model_size**0.5, dtype) if cfg.scale_embeddings else x_BLD


def ids(batch: Batch) -> jax.Array:
    """Ids of all codes of every token, i32[B, L, Q]; i32[B, L] if tokens have one code."""
    further = sorted(name for name in batch if name.startswith("codes_"))
    return jnp.stack([batch[name] for name in ("tokens", *further)], axis=-1) if further else batch["tokens"]


def head(params: Params, ids: int | None = None) -> jax.Array:
    """The output matrix f32[D, V]: the embedding's transpose if the two are tied.

    Args:
        params: from `init`.
        ids: only this many first columns, for a softmax over them alone; None: all.
    """
    return params["head"][:, :ids] if "head" in params else params["embedding"][:ids].T


def logits(hidden_D: jax.Array, head_DV: jax.Array, cfg: config.Model) -> jax.Array:
    """f32[..., V] from hidden states [..., D], soft-capped if the configuration says so (Gemma)."""
    out_V = jnp.matmul(hidden_D, head_DV.astype(hidden_D.dtype), preferred_element_type=jnp.float32)
    return cfg.logit_soft_cap * jnp.tanh(out_V / cfg.logit_soft_cap) if cfg.logit_soft_cap else out_V


def apply(params: Params, batch: Batch, cfg: config.Model) -> jax.Array:
    """Logits f32[B, L, V]; logits[:, i] predict the token after index i."""
    return logits(hidden(params, batch, cfg), head(params), cfg)


def with_motion_embeddings(params: Params, offset: int, code_vectors: jax.Array, key: jax.Array) -> Params:
    """Parameters in which the embeddings of motion codes are a random projection of the codes' own vectors.

    Codes of similar poses then start as similar tokens.

    Args:
        params: from `init`.
        offset: id of motion code 0 (`Vocabulary.motion_offset`).
        code_vectors: f32[Q, N, K], one smooth description per code of each layer (`Codec.code_vectors`).

    Raises:
        InputError: the codes do not fit into the vocabulary.
    """
    table_VD = jnp.asarray(params["embedding"])
    vocabulary, size = table_VD.shape
    vectors_NK = jnp.asarray(code_vectors, jnp.float32).reshape(-1, code_vectors.shape[-1])
    codes, width = vectors_NK.shape
    if offset < 0 or offset + codes > vocabulary:
        raise InputError(
            f"{codes} motion codes from id {offset} do not fit a vocabulary of {vocabulary}; "
            f"build the model with the tokenizer's vocabulary size"
        )
    vectors_NK = (vectors_NK - vectors_NK.mean(0)) / (vectors_NK.std(0) + 1e-6)
    rows_ND = vectors_NK @ jax.random.normal(key, (width, size))
    rows_ND = rows_ND * (size**-0.5 / jnp.std(rows_ND))  # the scale of the other embeddings
    return {**params, "embedding": table_VD.at[offset : offset + codes].set(rows_ND)}
