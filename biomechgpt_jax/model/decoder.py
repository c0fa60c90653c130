"""The functional core of the decoder: parameters are a plain nested dict, everything else is a function.

A batch is a dict of `tokens`, `positions`, `segments`, `branches`, i32[B, L] (and `loss_weights`, f32[B, L],
which the model does not read). Where a motion token has several codes, `codes_1`, `codes_2` ... i32[B, L] hold the ids
of the others, -1 where there is none; their embeddings are summed. Shapes: B batch, L length, D model, V vocabulary.
"""

from collections.abc import Mapping
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from biomechgpt_jax import config
from biomechgpt_jax.errors import InputError
from biomechgpt_jax.model import layers
from biomechgpt_jax.model.attention import packed
from biomechgpt_jax.parallel import sharding

Params = dict[str, Any]
Batch = Mapping[str, jax.Array]
ROW_KEYS = ("positions", "segments", "branches")


def compute_dtype(cfg: config.Model) -> Any:
    """The dtype of activations: `auto` is float32 on CPU, which has no bf16 units, and bfloat16 elsewhere.

    What counts is the device of the active mesh, so that compiling for an absent one gives its program.
    """
    if cfg.compute_dtype == "auto":
        return jnp.float32 if sharding.platform() == "cpu" else jnp.bfloat16
    return jnp.dtype(cfg.compute_dtype)


def _boxed(key: jax.Array, cfg: config.Model, vocabulary_size: int) -> Any:
    """Parameters in boxes that carry their logical axis names."""
    module = layers.Decoder(cfg, vocabulary_size, jnp.float32)
    tokens_BT = jnp.zeros((1, 1), jnp.int32)
    # Linen makes parameters by running the model, here on one token: an active mesh has no say in that.
    with jax.sharding.use_abstract_mesh(jax.sharding.AbstractMesh((), ())):
        return module.init(key, tokens_BT, shared({name: tokens_BT for name in ROW_KEYS}, cfg))["params"]


def shared(batch: Batch, cfg: config.Model) -> layers.Shared:
    """What all layers use, once per batch: rotary tables and what the mask lets each block of queries see."""
    rows = packed.Rows(*(batch[name] for name in ROW_KEYS))
    return layers.Shared(*layers.rope_tables(rows.positions, cfg), packed.plan(rows, cfg.windows))


def _abstract_boxed(cfg: config.Model, vocabulary_size: int) -> Any:
    # The key is made inside, where nothing is computed: the active mesh may be of devices that are not there.
    return jax.eval_shape(lambda: _boxed(jax.random.key(0), cfg, vocabulary_size))


def abstract(cfg: config.Model, vocabulary_size: int) -> Params:
    """Nested dict of `jax.ShapeDtypeStruct`, without computing anything."""
    return nn.meta.unbox(_abstract_boxed(cfg, vocabulary_size))


def logical_axes(cfg: config.Model, vocabulary_size: int) -> Params:
    """Nested dict like `abstract` whose leaves are tuples of logical axis names."""

    def names(box: Any) -> tuple[str | None, ...]:
        return tuple(box.names)

    is_box = lambda x: isinstance(x, layers.Named)  # noqa: E731
    return jax.tree.map(names, _abstract_boxed(cfg, vocabulary_size), is_leaf=is_box)


def param_shardings(mesh: jax.sharding.Mesh, cfg: config.Model, vocabulary_size: int) -> Params:
    """Nested dict like `abstract` of NamedSharding.

    Raises:
        InputError: a size that the mesh does not divide (for example kv_heads by tensor).
    """
    return sharding.tree_shardings(mesh, logical_axes(cfg, vocabulary_size), abstract(cfg, vocabulary_size))


def init(key: jax.Array, cfg: config.Model, vocabulary_size: int, mesh: jax.sharding.Mesh | None = None) -> Params:
    """Fresh f32 parameters as a plain nested dict.

    With a mesh they are born sharded: no host ever holds the whole model, and the values do not depend on
    the mesh.

    Raises:
        InputError: a size that the mesh does not divide.
    """
    shardings = None if mesh is None else param_shardings(mesh, cfg, vocabulary_size)

    def make(key: jax.Array) -> Params:
        return nn.meta.unbox(_boxed(key, cfg, vocabulary_size))

    return jax.jit(make, out_shardings=shardings)(key)


def hidden(params: Params, batch: Batch, cfg: config.Model) -> jax.Array:
    """Hidden states after the final norm, [B, L, D] in the compute dtype."""
    module = layers.Decoder(cfg, params["embedding"].shape[0], compute_dtype(cfg))
    x_BLD, _ = module.apply({"params": params}, ids(batch), shared(batch, cfg))
    return x_BLD


def ids(batch: Batch) -> jax.Array:
    """Ids i32[B, L, Q] of all codes of every token; [B, L] where none has more than one."""
    further = sorted(name for name in batch if name.startswith("codes_"))
    return jnp.stack([batch[name] for name in ("tokens", *further)], axis=-1) if further else batch["tokens"]


def head(params: Params, ids: int | None = None) -> jax.Array:
    """The output matrix f32[D, V]: the embedding's transpose where the two are tied.

    Args:
        params: from `init`.
        ids: only the first so many columns: a softmax over them alone; None: all.
    """
    return params["head"][:, :ids] if "head" in params else params["embedding"][:ids].T


def logits(hidden_D: jax.Array, head_DV: jax.Array, cfg: config.Model) -> jax.Array:
    """f32[..., V] from hidden states [..., D], with the soft cap where the configuration has one (Gemma)."""
    out_V = jnp.matmul(hidden_D, head_DV.astype(hidden_D.dtype), preferred_element_type=jnp.float32)
    return cfg.logit_soft_cap * jnp.tanh(out_V / cfg.logit_soft_cap) if cfg.logit_soft_cap else out_V


def apply(params: Params, batch: Batch, cfg: config.Model) -> jax.Array:
    """Logits f32[B, L, V]; logits[:, i] are of the token that follows index i."""
    return logits(hidden(params, batch, cfg), head(params), cfg)


def with_motion_embeddings(params: Params, offset: int, code_vectors: jax.Array, key: jax.Array) -> Params:
    """Parameters whose embeddings of motion codes are a random projection of the codes' own vectors.

    Codes that mean similar poses then start as similar tokens.

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
