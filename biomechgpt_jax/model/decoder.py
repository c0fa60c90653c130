"""The functional core of the decoder: parameters are a plain nested dict, everything else is a function.

A batch is a dict of `tokens`, `positions`, `segments`, `branches`, i32[B, L] (and `loss_weights`, f32[B, L],
which the model does not read). If a motion token has several codes, `codes_1`, `codes_2` ... i32[B, L] hold the ids of
the codes after the first, -1 where there is none; their embeddings are summed.

Text has a table of embeddings; motion codes, whose ids lie above it, have vectors and a map of these (`motion`).

Shapes: B batch, L length, D model, H query heads, G key-value heads, K head size, V vocabulary, R rows of the table of
embeddings.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp

from biomechgpt_jax import config
from biomechgpt_jax.model import block, parameters, rope
from biomechgpt_jax.model import motion as motion_lib
from biomechgpt_jax.model.attention import packed
from biomechgpt_jax.model.attention.blockwise import SAVED
from biomechgpt_jax.parallel import sharding

Params = dict[str, Any]
Batch = Mapping[str, jax.Array]
MotionShape = tuple[int, int, int]  # Q, N, C
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


def _boxed(key: jax.Array, cfg: config.Model, rows: int, motion: MotionShape | None) -> Any:
    """Parameters in boxes that carry their logical axis names."""
    return parameters.Decoder(cfg, rows, motion).init(key)["params"]


def _abstract_boxed(cfg: config.Model, rows: int, motion: MotionShape | None) -> Any:
    # The key is created inside, where nothing is computed: the active mesh may be one of absent devices.
    return jax.eval_shape(lambda: _boxed(jax.random.key(0), cfg, rows, motion))


def abstract(cfg: config.Model, rows: int, motion: MotionShape | None = None) -> Params:
    """Nested dict of `jax.ShapeDtypeStruct`, without computing anything.

    Args:
        cfg: the model.
        rows: of the table of embeddings: one for every id, or for those below the motion codes if these have vectors.
        motion: shape (Q, N, C) of the vectors of the motion codes, whose ids start at `rows`.
    """
    return nn.meta.unbox(_abstract_boxed(cfg, rows, motion))


def logical_axes(cfg: config.Model, rows: int, motion: MotionShape | None = None) -> Params:
    """Nested dict like `abstract` whose leaves are tuples of logical axis names."""

    def names(box: Any) -> tuple[str | None, ...]:
        return tuple(box.names)

    is_box = lambda x: isinstance(x, parameters.Named)  # noqa: E731
    return jax.tree.map(names, _abstract_boxed(cfg, rows, motion), is_leaf=is_box)


def param_shardings(mesh: jax.sharding.Mesh, cfg: config.Model, rows: int, motion: MotionShape | None = None) -> Params:
    """Nested dict like `abstract` of NamedSharding.

    Raises:
        InputError: a size that the mesh does not divide (for example kv_heads by tensor).
    """
    return sharding.tree_shardings(mesh, logical_axes(cfg, rows, motion), abstract(cfg, rows, motion))


def init(
    key: jax.Array,
    cfg: config.Model,
    rows: int,
    mesh: jax.sharding.Mesh | None = None,
    motion: MotionShape | None = None,
) -> Params:
    """Fresh f32 parameters as a plain nested dict; the vectors of motion codes are 0, for the caller to set.

    With a mesh they are created sharded: no host ever holds the whole model, and the values do not depend on the mesh.

    Raises:
        InputError: a size that the mesh does not divide.
    """
    shardings = None if mesh is None else param_shardings(mesh, cfg, rows, motion)

    def make(key: jax.Array) -> Params:
        return nn.meta.unbox(_boxed(key, cfg, rows, motion))

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
    codes = ids(batch)
    x_BLD = embed(params, codes, cfg)
    if "context" in params.get("motion", {}):
        x_BLD = motion_lib.add_context(x_BLD, params["motion"]["context"], rows, cfg)
    if "statistics" in params.get("motion", {}) and codes.ndim == 3:  # text alone has no codes
        x_BLD = motion_lib.add_statistics(x_BLD, params["motion"], codes - len(params["embedding"]), rows, cfg)
    x_BLD = sharding.constrain(x_BLD, ("batch", "length", None))
    # Scanned: one compiled body whatever the depth. Layers of several kinds share it, and their kind is an input.
    kinds = jnp.asarray(cfg.kinds, jnp.int32) if len(cfg.windows) > 1 else None
    x_BLD, cache = jax.lax.scan(lambda x, inputs: layer(x, *inputs), x_BLD, (params["layers"]["block"], kinds))
    return block.rms_norm(x_BLD, params["final_norm"], cfg), cache


def embed(params: Params, ids: jax.Array, cfg: config.Model) -> jax.Array:
    """Embeddings [B, L, D] in the compute dtype.

    Args:
        params: from `init`; "embedding" and "motion" are read.
        ids: i32[B, L], or i32[B, L, Q]: a token is the sum of the embeddings of its codes, -1 for none.
        cfg: the model.
    """
    dtype = compute_dtype(cfg)
    # Gathered over fsdp first, like any weight: looking up split rows would move the activations instead.
    table_RD = sharding.constrain(params["embedding"], ("vocabulary", None))
    ids_BLQ = ids if ids.ndim == 3 else ids[..., None]
    if "motion" in params:
        first_BL = ids_BLQ[..., 0]
        is_motion_BL1 = (first_BL >= len(table_RD))[..., None]
        text_BLD = table_RD[jnp.where(is_motion_BL1[..., 0], 0, first_BL)]
        motion_BLD = motion_lib.embed(params["motion"], ids_BLQ - len(table_RD), dtype)
        x_BLD = jnp.where(is_motion_BL1, motion_BLD, text_BLD.astype(dtype))
    elif ids.ndim == 3:
        each_BLQD = jnp.where((ids_BLQ >= 0)[..., None], table_RD[jnp.maximum(ids_BLQ, 0)], 0.0)
        x_BLD = each_BLQD.sum(axis=2).astype(dtype)
    else:
        x_BLD = table_RD[ids].astype(dtype)
    return x_BLD * jnp.asarray(cfg.model_size**0.5, dtype) if cfg.scale_embeddings else x_BLD


def ids(batch: Batch) -> jax.Array:
    """Ids of all codes of every token in the order of their layers, i32[B, L, Q]; i32[B, L] if tokens have one code."""
    further = sorted((name for name in batch if name.startswith("codes_")), key=lambda name: int(name[6:]))
    return jnp.stack([batch[name] for name in ("tokens", *further)], axis=-1) if further else batch["tokens"]


def vocabulary_size(params: Params) -> int:
    """Number of ids that the parameters know."""
    layers, codes, _ = params["motion"]["vectors"].shape if "motion" in params else (0, 0, 0)
    return int(params["embedding"].shape[0] + layers * codes)


def embeddings(params: Params, ids: int | None = None) -> jax.Array:
    """The embedding f32[V, D] of every id, those of motion codes computed; of the first `ids`, as in `head`."""
    table_RD = params["embedding"]
    if "motion" in params and (ids is None or ids > len(table_RD)):
        table_RD = jnp.concatenate([table_RD, motion_lib.embeddings(params["motion"])])
    return table_RD[:ids]


def head(params: Params, ids: int | None = None) -> jax.Array:
    """The output matrix f32[D, V]: the embeddings' transpose, for text only if the two are tied.

    Args:
        params: from `init`.
        ids: only this many first columns, for a softmax over them alone; None: all.
    """
    if "head" not in params:
        return embeddings(params, ids).T
    head_DR = params["head"]
    if "motion" in params and (ids is None or ids > head_DR.shape[1]):
        head_DR = jnp.concatenate([head_DR, motion_lib.embeddings(params["motion"]).T], axis=1)
    return head_DR[:, :ids]


def logits(hidden_D: jax.Array, head_DV: jax.Array, cfg: config.Model) -> jax.Array:
    """f32[..., V] from hidden states [..., D], soft-capped if the configuration says so (Gemma)."""
    out_V = jnp.matmul(hidden_D, head_DV.astype(hidden_D.dtype), preferred_element_type=jnp.float32)
    return cfg.logit_soft_cap * jnp.tanh(out_V / cfg.logit_soft_cap) if cfg.logit_soft_cap else out_V


def apply(params: Params, batch: Batch, cfg: config.Model) -> jax.Array:
    """Logits f32[B, L, V]; logits[:, i] predict the token after index i."""
    return logits(hidden(params, batch, cfg), head(params), cfg)
