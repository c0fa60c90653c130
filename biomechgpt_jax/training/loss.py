"""Cross-entropy in chunks of tokens inside each device's shard: the full logits never exist.

Answers are a small share of the tokens, so each device sorts its weighted tokens to the front and computes only the
chunks that hold one. Shapes stay static, only the trip count varies, and no token is ever dropped. Under
differentiation a chunk's gradient is computed together with its loss, so that the logits are neither stored nor
computed twice. The same pass also sums the losses by group (answers of one family, motion ...).

The head may be two matrices: one that is not trained, for the first ids, and one that is. The first has no gradient,
which would be as large as itself.

Shapes: B batch, L length, D model, V vocabulary, N tokens of one shard, C tokens of one chunk, G groups.
"""

import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.sharding import Mesh
from jax.sharding import PartitionSpec as P

from biomechgpt_jax.parallel.sharding import RULES

TOKEN_AXES = RULES["batch"] + RULES["length"]  # the mesh axes over which tokens are spread
CHUNK_IDS = 8192  # with more ids than this a chunk has fewer tokens, so that it takes no more memory

_Heads = tuple[jax.Array, ...]  # [D, V] each; the last one is trained
_Carry = tuple[jax.Array, jax.Array, jax.Array, jax.Array]


class Sums(NamedTuple):
    """Sums over the tokens of the GLOBAL batch, the same on every device. Those of its parts add up.

    Attributes:
        objective: f32[], sum of weight * (cross-entropy in nats + z-loss), which training minimises.
        weight: f32[], sum of the weights.
        losses_G: f32[G], sums of weight * cross-entropy, by group.
        weights_G: f32[G], sums of the weights, by group.
    """

    objective: Any
    weight: Any
    losses_G: Any
    weights_G: Any


class Settings(NamedTuple):
    """What is fixed at compilation (hashable).

    Attributes:
        chunk: tokens whose logits exist at a time on a device; fewer if V is over `CHUNK_IDS`.
        soft_cap: logits become soft_cap * tanh(logits / soft_cap) (Gemma 2, 2024); 0 is off.
        z_loss: factor of the squared log of the softmax's normaliser, which is added to a token's loss and keeps logits
            from drifting (PaLM, Chowdhery et al. 2022, who use 1e-4); 0 is off.
        groups: number of groups G.
        mesh: the mesh; None for a single device.
    """

    chunk: int
    soft_cap: float = 0.0
    z_loss: float = 0.0
    groups: int = 1
    mesh: Mesh | None = None


class _Result(NamedTuple):
    """The sums and, under differentiation, the gradients of the objective."""

    sums: Any  # Sums
    hidden_gradient: Any  # [B, L, D], or [] if not differentiated
    head_gradient: Any  # f32[D, V] of the trained head, or [] if not differentiated


def cross_entropy(
    hidden: jax.Array,
    head: jax.Array,
    targets: jax.Array,
    weights: jax.Array,
    settings: Settings,
    groups: jax.Array | None = None,
    fixed: jax.Array | None = None,
) -> Sums:
    """Sum the weighted cross-entropy over the GLOBAL batch.

    The objective is differentiable in `hidden` and `head`, and never in `fixed`.

    Args:
        hidden: [B, L, D] final hidden states in the compute dtype, rows over (replica, data, fsdp) and
            positions over sequence.
        head: f32[D, V], V possibly over tensor.
        targets: i32[B, L], the token that each hidden state is to predict.
        weights: f32[B, L]; tokens of weight 0 are left out.
        settings: see `Settings`.
        groups: i32[B, L], the group that a token's loss is counted in; None counts all in the first.
        fixed: [D, F], the columns of the ids 0 .. F - 1; those of `head` are for the ids from F on.
    """
    if settings.mesh is not None and settings.mesh.size == 1:
        settings = settings._replace(mesh=None)
    groups = jnp.zeros_like(targets) if groups is None else groups
    return _cross_entropy(hidden, head, fixed, targets, weights, groups, settings)


def mean(total: jax.Array, weight: jax.Array) -> jax.Array:
    """sum(w * loss) / sum(w), and 0 (with a zero gradient) where sum(w) is 0."""
    return jnp.where(weight == 0, 0.0, total / jnp.where(weight == 0, 1.0, weight))


@functools.partial(jax.custom_vjp, nondiff_argnums=(6,))
def _cross_entropy(hidden, head, fixed, targets, weights, groups, settings):  # type: ignore[no-untyped-def]
    return _compute(hidden, _both(fixed, head), targets, weights, groups, settings, differentiate=False).sums


def _forward(hidden, head, fixed, targets, weights, groups, settings):  # type: ignore[no-untyped-def]
    result = _compute(hidden, _both(fixed, head), targets, weights, groups, settings, differentiate=True)
    return result.sums, (result.hidden_gradient, result.head_gradient, head)


def _backward(settings, residuals, cotangents):  # type: ignore[no-untyped-def]
    del settings
    hidden_gradient, head_gradient, head = residuals
    scale = cotangents.objective  # weights depend on neither input, and the sums by group are not differentiated
    hidden_gradient = hidden_gradient * scale.astype(hidden_gradient.dtype)
    return hidden_gradient, (head_gradient * scale).astype(head.dtype), None, None, None, None


def _both(fixed: jax.Array | None, head: jax.Array) -> _Heads:
    return (head,) if fixed is None else (fixed, head)


_cross_entropy.defvjp(_forward, _backward)


def _compute(
    hidden: jax.Array,
    heads: _Heads,
    targets: jax.Array,
    weights: jax.Array,
    groups: jax.Array,
    settings: Settings,
    *,
    differentiate: bool,
) -> _Result:
    shard = functools.partial(_shard, settings=settings, differentiate=differentiate, axes=())
    if settings.mesh is None:
        return shard(hidden, heads, targets, weights, groups)
    tokens = P(RULES["batch"], RULES["length"])
    return jax.shard_map(  # the tensor axis stays with the compiler: V may lie across it
        functools.partial(shard, axes=TOKEN_AXES),
        mesh=settings.mesh,
        axis_names=set(TOKEN_AXES),
        in_specs=(P(*tokens, None), P(), tokens, tokens, tokens),
        out_specs=_Result(Sums(P(), P(), P(), P()), P(*tokens, None) if differentiate else P(), P()),
        check_vma=False,
    )(hidden, heads, targets, weights, groups)


def _shard(
    hidden_BLD: jax.Array,
    heads: _Heads,
    targets_BL: jax.Array,
    weights_BL: jax.Array,
    groups_BL: jax.Array,
    *,
    settings: Settings,
    differentiate: bool,
    axes: tuple[str, ...],
) -> _Result:
    """Sum over one device's tokens, then over `axes` of the mesh."""
    size, sizes = hidden_BLD.shape[-1], [head_DV.shape[1] for head_DV in heads]
    vocabulary = sum(sizes)
    hidden_ND = hidden_BLD.reshape(-1, size)
    targets_N, weights_N = targets_BL.reshape(-1), weights_BL.reshape(-1).astype(jnp.float32)
    grouped_NG = (groups_BL.reshape(-1)[:, None] == jnp.arange(settings.groups)).astype(jnp.float32)
    tokens = weights_N.shape[0]
    chunk = min(settings.chunk, max(1, settings.chunk * CHUNK_IDS // vocabulary), tokens)
    chunks = -(-tokens // chunk)

    # Weighted tokens first; the padding of the last chunk points at token 0 with weight 0.
    order_N = jnp.argsort(weights_N == 0, stable=True)
    padding = chunks * chunk - tokens
    order_M = jnp.pad(order_N, (0, padding))
    weights_M = jnp.pad(weights_N[order_N], (0, padding))
    needed = -(-jnp.count_nonzero(weights_N) // chunk)
    if axes:
        # Every device runs the same number of chunks, so that collectives over tensor stay in step.
        needed = jax.lax.pmax(needed, axes)

    heads_compute = [head_DV.astype(hidden_BLD.dtype) for head_DV in heads]
    firsts = [sum(sizes[:part]) for part in range(len(sizes))]  # the first id of each head

    def body(i: jax.Array, carry: _Carry) -> _Carry:
        objective, losses_G, gradient_MD, head_gradient_DV = carry
        index_C = jax.lax.dynamic_slice_in_dim(order_M, i * chunk, chunk)
        weight_C = jax.lax.dynamic_slice_in_dim(weights_M, i * chunk, chunk)
        # The hidden state of a token without weight may be NaN and must not reach the sums.
        hidden_CD = jnp.where(weight_C[:, None] == 0, 0, hidden_ND[index_C])
        target_C = targets_N[index_C]
        logits = [jnp.matmul(hidden_CD, head, preferred_element_type=jnp.float32) for head in heads_compute]
        if settings.soft_cap:
            logits = [settings.soft_cap * jnp.tanh(logits_CV / settings.soft_cap) for logits_CV in logits]
        is_target = [  # not a gather: V may be sharded
            (target_C - first if first else target_C)[:, None] == jnp.arange(ids)
            for first, ids in zip(firsts, sizes, strict=True)
        ]
        normaliser_C = functools.reduce(jnp.logaddexp, [jax.nn.logsumexp(logits_CV, axis=-1) for logits_CV in logits])
        parts = zip(is_target, logits, strict=True)
        own = [jnp.sum(jnp.where(chosen_CV, logits_CV, 0.0), axis=-1) for chosen_CV, logits_CV in parts]
        loss_C = normaliser_C - functools.reduce(jnp.add, own)
        losses_G += (weight_C * loss_C) @ grouped_NG[index_C]
        objective += jnp.sum(weight_C * (loss_C + settings.z_loss * jnp.square(normaliser_C)))
        if differentiate:
            gradients = []
            for head_DV, logits_CV, is_target_CV in zip(heads_compute, logits, is_target, strict=True):
                softmax_CV = jnp.exp(logits_CV - normaliser_C[:, None])
                if settings.z_loss:
                    softmax_CV *= 1.0 + 2.0 * settings.z_loss * normaliser_C[:, None]
                gradient_CV = (softmax_CV - is_target_CV) * weight_C[:, None]
                if settings.soft_cap:
                    gradient_CV *= 1.0 - jnp.square(logits_CV / settings.soft_cap)
                gradient_CV = gradient_CV.astype(hidden_CD.dtype)
                gradients.append(jnp.matmul(gradient_CV, head_DV.T))
            gradient_CD = functools.reduce(jnp.add, gradients)
            gradient_MD = jax.lax.dynamic_update_slice_in_dim(gradient_MD, gradient_CD, i * chunk, 0)
            head_gradient_DV += jnp.matmul(hidden_CD.T, gradient_CV, preferred_element_type=jnp.float32)
        return objective, losses_G, gradient_MD, head_gradient_DV

    zero = jnp.zeros((), jnp.float32)
    start = (
        zero,
        jnp.zeros(settings.groups, jnp.float32),
        jnp.zeros((chunks * chunk, size), hidden_BLD.dtype) if differentiate else zero,
        jnp.zeros((size, sizes[-1]), jnp.float32) if differentiate else zero,
    )
    objective, losses_G, gradient_MD, head_gradient_DV = jax.lax.fori_loop(0, needed, body, start)
    sums = Sums(objective, jnp.sum(weights_N), losses_G, weights_N @ grouped_NG)
    if axes:
        sums, head_gradient_DV = jax.lax.psum((sums, head_gradient_DV), axes)
    if differentiate:
        back_N = jnp.argsort(order_N)  # the inverse permutation
        gradient_MD = gradient_MD[:tokens][back_N].reshape(hidden_BLD.shape)
    return _Result(sums, gradient_MD, head_gradient_DV)
