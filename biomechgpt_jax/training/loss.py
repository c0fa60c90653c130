"""Cross-entropy in chunks of tokens inside each device's shard: the full logits never exist.

Answers are a small share of the tokens, so each device puts its weighted tokens first and runs over as many
chunks as hold one; shapes stay static, only the trip count varies, and no token is ever dropped. Where a
gradient is asked for, a chunk's gradient is computed together with its loss, so that the logits are neither
stored nor computed twice.

Shapes: B batch, L length, D model, V vocabulary, N tokens of one shard, C tokens of one chunk.
"""

import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.sharding import Mesh
from jax.sharding import PartitionSpec as P

from biomechgpt_jax.parallel.sharding import RULES

TOKEN_AXES = RULES["batch"] + RULES["length"]  # the mesh axes over which tokens are spread


_Carry = tuple[jax.Array, jax.Array, jax.Array]


class _Static(NamedTuple):
    """What is fixed at compilation (hashable)."""

    chunk: int
    soft_cap: float
    mesh: Mesh | None


class _Sums(NamedTuple):
    """Sums over tokens and, where asked for, the gradients of the first."""

    weighted_loss: Any  # f32[]
    weight: Any  # f32[]
    hidden_gradient: Any  # [B, L, D], or [] where not asked for
    head_gradient: Any  # f32[D, V], or []


def cross_entropy(
    hidden: jax.Array,
    head: jax.Array,
    targets: jax.Array,
    weights: jax.Array,
    chunk: int,
    mesh: Mesh | None = None,
    soft_cap: float = 0.0,
) -> tuple[jax.Array, jax.Array]:
    """Weighted cross-entropy summed over the GLOBAL batch.

    Differentiable in `hidden` and `head`; both results are the same on every device.

    Args:
        hidden: [B, L, D] final hidden states in the compute dtype, rows over (replica, data, fsdp) and
            positions over sequence.
        head: f32[D, V], V possibly over tensor.
        targets: i32[B, L], the token that each hidden state is to predict.
        weights: f32[B, L]; 0: not asked.
        chunk: tokens whose logits exist at a time on a device.
        mesh: the mesh; None: one device.
        soft_cap: logits become soft_cap * tanh(logits / soft_cap) (Gemma 2, 2024); 0: off.

    Returns:
        (sum of weight * loss in nats, sum of weights), f32 scalars.
    """
    static = _Static(chunk, soft_cap, None if mesh is None or mesh.size == 1 else mesh)
    return _cross_entropy(hidden, head, targets, weights, static)


def mean(weighted_loss: jax.Array, weight: jax.Array) -> jax.Array:
    """sum(w * ce) / sum(w), and 0 (with a zero gradient) where sum(w) is 0."""
    return jnp.where(weight > 0, weighted_loss / jnp.where(weight > 0, weight, 1.0), 0.0)


@functools.partial(jax.custom_vjp, nondiff_argnums=(4,))
def _cross_entropy(hidden, head, targets, weights, static):  # type: ignore[no-untyped-def]
    sums = _sums(hidden, head, targets, weights, static, differentiate=False)
    return sums.weighted_loss, sums.weight


def _forward(hidden, head, targets, weights, static):  # type: ignore[no-untyped-def]
    sums = _sums(hidden, head, targets, weights, static, differentiate=True)
    return (sums.weighted_loss, sums.weight), (sums.hidden_gradient, sums.head_gradient, head)


def _backward(static, residuals, cotangents):  # type: ignore[no-untyped-def]
    del static
    hidden_gradient, head_gradient, head = residuals
    scale, _ = cotangents  # the sum of weights depends on neither input
    hidden_gradient = hidden_gradient * scale.astype(hidden_gradient.dtype)
    return hidden_gradient, (head_gradient * scale).astype(head.dtype), None, None


_cross_entropy.defvjp(_forward, _backward)


def _sums(
    hidden: jax.Array,
    head: jax.Array,
    targets: jax.Array,
    weights: jax.Array,
    static: _Static,
    *,
    differentiate: bool,
) -> _Sums:
    shard = functools.partial(
        _shard_sums, chunk=static.chunk, soft_cap=static.soft_cap, differentiate=differentiate, axes=()
    )
    if static.mesh is None:
        return shard(hidden, head, targets, weights)
    tokens = P(RULES["batch"], RULES["length"])
    return jax.shard_map(  # the tensor axis stays with the compiler: V may lie across it
        functools.partial(shard, axes=TOKEN_AXES),
        mesh=static.mesh,
        axis_names=set(TOKEN_AXES),
        in_specs=(P(*tokens, None), P(), tokens, tokens),
        out_specs=_Sums(P(), P(), P(*tokens, None) if differentiate else P(), P()),
        check_vma=False,
    )(hidden, head, targets, weights)


def _shard_sums(
    hidden_BLD: jax.Array,
    head_DV: jax.Array,
    targets_BL: jax.Array,
    weights_BL: jax.Array,
    *,
    chunk: int,
    soft_cap: float,
    differentiate: bool,
    axes: tuple[str, ...],
) -> _Sums:
    """The sums over one device's tokens, then over `axes` of the mesh."""
    size, vocabulary = head_DV.shape
    hidden_ND = hidden_BLD.reshape(-1, size)
    targets_N, weights_N = targets_BL.reshape(-1), weights_BL.reshape(-1).astype(jnp.float32)
    tokens = weights_N.shape[0]
    chunk = min(chunk, tokens)
    chunks = -(-tokens // chunk)

    # Weighted tokens first; the padding of the last chunk points at token 0 with weight 0.
    order_N = jnp.argsort(weights_N == 0, stable=True)
    padding = chunks * chunk - tokens
    order_M = jnp.pad(order_N, (0, padding))
    weights_M = jnp.pad(weights_N[order_N], (0, padding))
    needed = -(-jnp.count_nonzero(weights_N) // chunk)
    if axes:
        # Every device makes as many turns, so that collectives over tensor stay in step.
        needed = jax.lax.pmax(needed, axes)

    head_compute_DV = head_DV.astype(hidden_BLD.dtype)

    def body(i: jax.Array, carry: _Carry) -> _Carry:
        total, gradient_MD, head_gradient_DV = carry
        index_C = jax.lax.dynamic_slice_in_dim(order_M, i * chunk, chunk)
        weight_C = jax.lax.dynamic_slice_in_dim(weights_M, i * chunk, chunk)
        # What a token that is not asked holds, be it NaN, must not reach the sums.
        hidden_CD = jnp.where(weight_C[:, None] == 0, 0, hidden_ND[index_C])
        target_C = targets_N[index_C]
        logits_CV = jnp.matmul(hidden_CD, head_compute_DV, preferred_element_type=jnp.float32)
        if soft_cap:
            logits_CV = soft_cap * jnp.tanh(logits_CV / soft_cap)
        is_target_CV = target_C[:, None] == jnp.arange(vocabulary)  # not a gather: V may be sharded
        normaliser_C = jax.nn.logsumexp(logits_CV, axis=-1)
        loss_C = normaliser_C - jnp.sum(jnp.where(is_target_CV, logits_CV, 0.0), axis=-1)
        total += jnp.sum(weight_C * loss_C)
        if differentiate:
            gradient_CV = (jnp.exp(logits_CV - normaliser_C[:, None]) - is_target_CV) * weight_C[:, None]
            if soft_cap:
                gradient_CV *= 1.0 - jnp.square(logits_CV / soft_cap)
            gradient_CV = gradient_CV.astype(hidden_CD.dtype)
            gradient_CD = jnp.matmul(gradient_CV, head_compute_DV.T)
            gradient_MD = jax.lax.dynamic_update_slice_in_dim(gradient_MD, gradient_CD, i * chunk, 0)
            head_gradient_DV += jnp.matmul(hidden_CD.T, gradient_CV, preferred_element_type=jnp.float32)
        return total, gradient_MD, head_gradient_DV

    zero = jnp.zeros((), jnp.float32)
    start = (
        zero,
        jnp.zeros((chunks * chunk, size), hidden_BLD.dtype) if differentiate else zero,
        jnp.zeros((size, vocabulary), jnp.float32) if differentiate else zero,
    )
    total, gradient_MD, head_gradient_DV = jax.lax.fori_loop(0, needed, body, start)
    weight = jnp.sum(weights_N)
    if axes:
        total, weight, head_gradient_DV = jax.lax.psum((total, weight, head_gradient_DV), axes)
    if differentiate:
        back_N = jnp.argsort(order_N)  # the inverse permutation
        gradient_MD = gradient_MD[:tokens][back_N].reshape(hidden_BLD.shape)
    return _Sums(total, weight, gradient_MD, head_gradient_DV)
