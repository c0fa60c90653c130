"""The functional core of the decoder: parameters are a plain nested dict, everything else is a function.

A batch is a dict of `tokens`, `positions`, `segments`, `branches`, i32[B, L] (and `loss_weights`, f32[B, L],
which the model does not read). If a motion token has several codes, `codes_1`, `codes_2` ... i32[B, L] hold the ids of
the codes after the first, -1 where there is none; their embeddings are summed.

Text has a table of embeddings; motion codes, whose ids lie above it, have vectors and a map of these (`motion`). The
table of a pretrained model is one matrix, which may be frozen, and the rows that are added to it are another.

Shapes: B batch, L length, D model, H query heads, G key-value heads, K head size, V vocabulary, R rows of the table of
embeddings.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp

from biomechgpt_jax import config
from biomechgpt_jax.errors import InputError
from biomechgpt_jax.model import block, parameters, quantized, rope
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


class Heads(NamedTuple):
    """The output matrix in two: columns of the first ids that are not trained, and the others.

    Attributes:
        fixed_DV: None if there are none.
        trained_DV: f32.
    """

    fixed_DV: jax.Array | None
    trained_DV: jax.Array

    def columns(self, first: int, size: int) -> "Heads":
        """Those of the ids first .. first + size - 1."""
        fixed = 0 if self.fixed_DV is None else self.fixed_DV.shape[1]
        end = first + size
        trained_DV = jax.lax.slice_in_dim(self.trained_DV, max(first - fixed, 0), max(end - fixed, 0), axis=1)
        if self.fixed_DV is None or first >= fixed:
            return Heads(None, trained_DV)
        return Heads(jax.lax.slice_in_dim(self.fixed_DV, first, min(end, fixed), axis=1), trained_DV)


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
    try:
        return sharding.tree_shardings(mesh, logical_axes(cfg, rows, motion), abstract(cfg, rows, motion))
    except InputError as error:
        if "/absmax:" in str(error):
            raise InputError(f"{error}, or give --model.double_scales True, whose scales are not divided") from error
        raise


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


def hidden(params: Params, batch: Batch, cfg: config.Model, key: jax.Array | None = None) -> jax.Array:
    """Hidden states after the final norm, [B, L, D] in the compute dtype; `key` is that of the dropout of adapters."""
    return _run(params, batch, cfg, keep_cache=False, key=key)[0]


def hidden_and_cache(params: Params, batch: Batch, cfg: config.Model) -> tuple[jax.Array, Cache]:
    """`hidden`, and the keys and values from which decoding continues."""
    x_BLD, cache = _run(params, batch, cfg, keep_cache=True)
    return x_BLD, cache


def _run(
    params: Params, batch: Batch, cfg: config.Model, keep_cache: bool, key: jax.Array | None = None
) -> tuple[jax.Array, Any]:
    """Everything but the head: hidden states, and the `Cache` of all layers if it is to be kept."""
    rows = packed.Rows(*(batch[name] for name in ROW_KEYS))
    rotations, plan = rope.tables(rows.positions, cfg), packed.plan(rows, cfg.windows)
    scoring = packed.Scoring(cfg.windows, cfg.score_scale, cfg.attention_soft_cap)

    def layer(
        x_BLD: jax.Array, weights: block.Weights, kind: jax.Array | None, key: jax.Array | None
    ) -> tuple[jax.Array, Cache | None]:
        index = 0 if kind is None else kind

        def attend(q_BLHK: jax.Array, k_BLGK: jax.Array, v_BLGK: jax.Array) -> tuple[jax.Array, Cache | None]:
            o_BLHK = packed.attend(q_BLHK, k_BLGK, v_BLGK, plan, scoring, index, cfg.attention)
            return o_BLHK, Cache(k_BLGK, v_BLGK) if keep_cache else None

        return block.block(x_BLD, weights, cfg, rotations.of_kind(index), attend, key)

    if cfg.remat != "none":
        layer = jax.checkpoint(layer, policy=REMAT_POLICIES[cfg.remat], prevent_cse=False)
    codes = ids(batch)
    x_BLD = embed(params, codes, cfg)
    if "context" in params.get("motion", {}):
        x_BLD = motion_lib.add_context(x_BLD, params["motion"]["context"], rows, cfg)
    if "statistics" in params.get("motion", {}) and codes.ndim == 3:  # text alone has no codes
        x_BLD = motion_lib.add_statistics(x_BLD, params["motion"], codes - table_size(params), rows, cfg)
    x_BLD = sharding.constrain(x_BLD, ("batch", "length", None))
    # Scanned: one compiled body whatever the depth. Layers of several kinds share it, and their kind is an input.
    kinds = jnp.asarray(cfg.kinds, jnp.int32) if len(cfg.windows) > 1 else None
    keys = None if key is None or not cfg.adapter.dropout else jax.random.split(key, cfg.layers)
    layers = (params["layers"]["block"], kinds, keys)
    x_BLD, cache = jax.lax.scan(lambda x, inputs: layer(x, *inputs), x_BLD, layers)
    return block.rms_norm(x_BLD, params["final_norm"], cfg), cache


def embed(params: Params, ids: jax.Array, cfg: config.Model) -> jax.Array:
    """Embeddings [B, L, D] in the compute dtype.

    Args:
        params: from `init`; "embedding", "rows" and "motion" are read.
        ids: i32[B, L], or i32[B, L, Q]: a token is the sum of the embeddings of its codes, -1 for none.
        cfg: the model.
    """
    dtype = compute_dtype(cfg)
    ids_BLQ = ids if ids.ndim == 3 else ids[..., None]
    if "motion" in params:
        offset, first_BL = table_size(params), ids_BLQ[..., 0]
        is_motion_BL1 = (first_BL >= offset)[..., None]
        text_BLD = _look_up(params, jnp.where(is_motion_BL1[..., 0], 0, first_BL))
        motion_BLD = motion_lib.embed(params["motion"], ids_BLQ - offset, dtype)
        x_BLD = jnp.where(is_motion_BL1, motion_BLD, text_BLD.astype(dtype))
    elif ids.ndim == 3:
        each_BLQD = jnp.where((ids_BLQ >= 0)[..., None], _look_up(params, jnp.maximum(ids_BLQ, 0)), 0.0)
        x_BLD = each_BLQD.sum(axis=2).astype(dtype)
    else:
        x_BLD = _look_up(params, ids).astype(dtype)
    return x_BLD * jnp.asarray(cfg.model_size**0.5, dtype) if cfg.scale_embeddings else x_BLD


def _look_up(params: Params, ids: jax.Array) -> jax.Array:
    """Rows f32[..., D] of the table of embeddings."""
    # Gathered over fsdp first, like any weight: looking up split rows would move the activations instead.
    table_RD = sharding.constrain(params["embedding"], ("vocabulary", None))
    if "rows" not in params:
        return quantized.widen(table_RD[ids], jnp.float32)
    added_RD = sharding.constrain(params["rows"], ("rows", None))
    known = len(table_RD)
    own = quantized.widen(table_RD[jnp.where(ids < known, ids, 0)], jnp.float32)
    return jnp.where((ids < known)[..., None], own, added_RD[jnp.maximum(ids - known, 0)])


def ids(batch: Batch) -> jax.Array:
    """Ids of all codes of every token in the order of their layers, i32[B, L, Q]; i32[B, L] if tokens have one code."""
    further = sorted((name for name in batch if name.startswith("codes_")), key=lambda name: int(name[6:]))
    return jnp.stack([batch[name] for name in ("tokens", *further)], axis=-1) if further else batch["tokens"]


def table_size(params: Params) -> int:
    """Number of ids that have rows of the table of embeddings, which is the id of the first motion code."""
    return len(params["embedding"]) + len(params.get("rows", ()))


def vocabulary_size(params: Params) -> int:
    """Number of ids that the parameters know."""
    layers, codes, _ = params["motion"]["vectors"].shape if "motion" in params else (0, 0, 0)
    return int(table_size(params) + layers * codes)


def embeddings(params: Params, ids: int | None = None) -> jax.Array:
    """The embedding f32[V, D] of every id, those of motion codes computed; of the first `ids`, as in `head`."""
    table_RD = quantized.widen(params["embedding"], jnp.float32)
    if "rows" in params:
        table_RD = jnp.concatenate([table_RD, params["rows"]])
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
    head_DR = quantized.widen(params["head"], jnp.float32)
    if "head_rows" in params:
        head_DR = jnp.concatenate([head_DR, params["head_rows"]], axis=1)
    if "motion" in params and (ids is None or ids > head_DR.shape[1]):
        head_DR = jnp.concatenate([head_DR, motion_lib.embeddings(params["motion"]).T], axis=1)
    return head_DR[:, :ids]


def heads(params: Params, cfg: config.Model) -> Heads:
    """The output matrix for training. The columns of a frozen table are apart: they have no gradient."""
    if not cfg.table_is_frozen:
        return Heads(None, head(params))
    if "head" in params:
        fixed_DV, added_DV = params["head"], params["head_rows"]
    else:
        fixed_DV, added_DV = params["embedding"].T, params["rows"].T
    if "motion" in params:
        added_DV = jnp.concatenate([added_DV, motion_lib.embeddings(params["motion"]).T], axis=1)
    return Heads(quantized.widen(fixed_DV, compute_dtype(cfg)), added_DV)


def logits(hidden_D: jax.Array, head_DV: jax.Array, cfg: config.Model) -> jax.Array:
    """f32[..., V] from hidden states [..., D], soft-capped if the configuration says so (Gemma)."""
    out_V = jnp.matmul(hidden_D, head_DV.astype(hidden_D.dtype), preferred_element_type=jnp.float32)
    return cfg.logit_soft_cap * jnp.tanh(out_V / cfg.logit_soft_cap) if cfg.logit_soft_cap else out_V


def apply(params: Params, batch: Batch, cfg: config.Model) -> jax.Array:
    """Logits f32[B, L, V]; logits[:, i] predict the token after index i."""
    return logits(hidden(params, batch, cfg), head(params), cfg)
