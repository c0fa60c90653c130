"""First values of what is trained beside a pretrained table: at the table's own scale, neither drowns the other.

Pretrained rows often share a large vector (in SmolLM2 the mean row has a norm of 2.2, and rows of 3.2): a new row
without it would have logits far from those of text. New rows are the mean row with noise of the rows' spread about it
(Hewitt 2021, "Initializing New Word Embeddings for Pretrained Language Models"). Motion tokens begin as long as text.
"""

from typing import Any

import jax
import jax.numpy as jnp

from biomechgpt_jax.model import quantized
from biomechgpt_jax.model.decoder import Params

# Maps of the motion part whose results are added to the embedding of a motion token, besides that of the codes.
_ADDED = (("context", "out", "kernel"), ("statistics", "out", "kernel"), ("statistics", "direct", "kernel"))


def beside_table(trained: Params, frozen: Params) -> Params:
    """Random trained parameters (`decoder.init`) with rows and motion embeddings fitted to the pretrained table.

    Args:
        trained: with `rows`, and `head_rows` where the head is its own matrix.
        frozen: holds the table and the head, unless they are trained themselves.
    """
    made = dict(trained)
    for name, table, axis in (("rows", "embedding", 0), ("head_rows", "head", 1)):
        if name in trained:
            values = quantized.widen(frozen[table] if table in frozen else trained[table], jnp.float32)
            mean = values.mean(axis, keepdims=True)
            spread = jnp.sqrt(jnp.square(values - mean).mean(axis, keepdims=True))
            unit = trained[name] * trained[name].shape[1 - axis] ** 0.5  # its standard deviation is 1 / sqrt(D)
            made[name] = mean + spread * unit
    if "motion" in trained:
        values = quantized.widen(frozen["embedding"] if "embedding" in frozen else trained["embedding"], jnp.float32)
        length = jnp.sqrt(jnp.square(values).sum(1).mean())  # random embeddings of movement have a length of 1
        made["motion"] = _scaled(trained["motion"], length)
    return made


def _scaled(motion: Params, length: jax.Array) -> Params:
    def one(path: tuple[Any, ...], leaf: jax.Array) -> jax.Array:
        keys = tuple(key.key for key in path)
        return leaf * length if keys in (("kernel",), *_ADDED) else leaf

    return jax.tree_util.tree_map_with_path(one, motion)
