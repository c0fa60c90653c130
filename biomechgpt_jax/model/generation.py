"""Answers out of the decoder: cached greedy decoding of ragged prompts, and scores of given branches.

Shapes: B batch, T prompt, S cache, L row, D model, V vocabulary.
"""

import functools
from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from biomechgpt_jax import config
from biomechgpt_jax.errors import InputError
from biomechgpt_jax.model import attention, decoder, layers

LOGITS_TOKENS = 4096  # rows of logits that exist at one time in branch_logprobs


@functools.partial(jax.jit, static_argnames=("cfg", "ids"))
def branch_logprobs(
    params: decoder.Params, batch: decoder.Batch, cfg: config.Model, ids: int | None = None
) -> jax.Array:
    """Log-probability of tokens[:, i] as predicted from index i - 1, f32[B, L]; 0 where loss_weights is 0.

    With the options of a question as branches of one trunk, the sum over a branch scores its option. Logits
    exist for a bounded number of tokens at a time.

    Args:
        params: from `decoder.init`.
        batch: tokens, positions, segments, branches i32[B, L] and loss_weights f32[B, L].
        cfg: the model (static).
        ids: the softmax runs over the first so many ids alone (static); None: over all. Every weighted token must be
            one of them.
    """
    x_BLD = decoder.hidden(params, batch, cfg)
    head_DV = decoder.head(params, ids)
    rows, length = batch["tokens"].shape
    chunk = max(1, min(length, LOGITS_TOKENS // rows))
    spare = -length % chunk
    targets_BL = jnp.pad(batch["tokens"][:, 1:], ((0, 0), (0, spare + 1)))
    x_BLD = jnp.pad(x_BLD, ((0, 0), (0, spare), (0, 0)))

    def score(start: jax.Array) -> jax.Array:
        part_BCD = jax.lax.dynamic_slice_in_dim(x_BLD, start, chunk, axis=1)
        target_BC = jax.lax.dynamic_slice_in_dim(targets_BL, start, chunk, axis=1)
        logits_BCV = decoder.logits(part_BCD, head_DV, cfg)
        chosen_BC = jnp.take_along_axis(logits_BCV, target_BC[..., None], axis=-1)[..., 0]
        return chosen_BC - jax.nn.logsumexp(logits_BCV, axis=-1)

    scores_NBC = jax.lax.map(score, jnp.arange(0, length + spare, chunk))
    scores_BL = jnp.moveaxis(scores_NBC, 0, 1).reshape(rows, -1)[:, : length - 1]
    scores_BL = jnp.pad(scores_BL, ((0, 0), (1, 0)))
    return jnp.where(batch["loss_weights"] > 0, scores_BL, 0.0)


class _State(NamedTuple):
    """The decoding loop: everything has a fixed shape, so that one bucket compiles once."""

    step: jax.Array
    cache: layers.Cache  # [layers, B, S, G, K]; prompts in columns 0..T, new tokens from column T
    logits_BV: jax.Array  # of the next token
    done_B: jax.Array
    tokens_BN: jax.Array
    logprobs_BN: jax.Array


@functools.partial(jax.jit, static_argnames=("cfg", "max_new", "end_id", "ids"))
def _decode(
    params: decoder.Params,
    prompts_BT: jax.Array,
    lengths_B: jax.Array,
    allowed_V: jax.Array,
    cfg: config.Model,
    max_new: int,
    end_id: int,
    ids: int | None,
) -> tuple[jax.Array, jax.Array]:
    """Tokens i32[B, max_new] (end_id after the end) and their log-probabilities f32[B, max_new].

    A row of length 0 is padding of the batch.
    """
    rows, width = prompts_BT.shape[:2]
    module = layers.Decoder(cfg, params["embedding"].shape[0], decoder.compute_dtype(cfg), return_cache=True)
    head_DV = decoder.head(params, ids)

    # Prefill. New tokens share one column per step whatever the prompt's length; positions tell them apart.
    column_S = jnp.arange(width + max_new)
    positions_BS = jnp.where(column_S < width, column_S, lengths_B[:, None] + column_S - width)
    prompt_BT = column_S[:width] < lengths_B[:, None]
    zeros_BT = jnp.zeros((rows, width), jnp.int32)
    batch = {
        "positions": positions_BS[:, :width],
        "segments": prompt_BT.astype(jnp.int32),
        "branches": zeros_BT,
    }
    x_BTD, cache = module.apply({"params": params}, prompts_BT, decoder.shared(batch, cfg))
    last_BD = jnp.take_along_axis(x_BTD, jnp.maximum(lengths_B - 1, 0)[:, None, None], axis=1)[:, 0]
    cache = jax.tree.map(lambda x: jnp.pad(x, ((0, 0), (0, 0), (0, max_new), (0, 0), (0, 0))), cache)

    def unfinished(state: _State) -> jax.Array:
        return (state.step < max_new) & ~jnp.all(state.done_B)

    def advance(state: _State) -> _State:
        masked_BV = jnp.where(allowed_V, state.logits_BV, -jnp.inf)
        token_B = jnp.where(state.done_B, end_id, jnp.argmax(masked_BV, axis=-1)).astype(jnp.int32)
        chosen_B = jnp.take_along_axis(state.logits_BV, token_B[:, None], axis=1)[:, 0]
        logprob_B = jnp.where(state.done_B, 0.0, chosen_B - jax.nn.logsumexp(state.logits_BV, axis=-1))

        position_B1 = (lengths_B + state.step)[:, None]
        filled_BS = jnp.pad(prompt_BT, ((0, 0), (0, max_new))) | ((column_S >= width) & (column_S < width + state.step))
        one_B1 = jnp.ones_like(position_B1)
        token = attention.Rows(position_B1, one_B1, 0 * one_B1)
        cached = attention.Rows(positions_BS, filled_BS.astype(jnp.int32), 0 * positions_BS)
        keys = attention.Rows(*(jnp.concatenate(pair, axis=1) for pair in zip(cached, token, strict=True)))
        common = decoder.shared_with_cache(token, keys, cfg)
        x_BTD, new = module.apply({"params": params}, token_B[:, None], common, state.cache)
        column = width + state.step
        return _State(
            step=state.step + 1,
            cache=jax.tree.map(lambda old, x: jax.lax.dynamic_update_slice_in_dim(old, x, column, 2), state.cache, new),
            logits_BV=decoder.logits(x_BTD[:, 0], head_DV, cfg),
            done_B=state.done_B | (token_B == end_id),
            tokens_BN=state.tokens_BN.at[:, state.step].set(token_B),
            logprobs_BN=state.logprobs_BN.at[:, state.step].set(logprob_B),
        )

    start = _State(
        step=jnp.zeros((), jnp.int32),
        cache=cache,
        logits_BV=decoder.logits(last_BD, head_DV, cfg),
        done_B=lengths_B == 0,
        tokens_BN=jnp.full((rows, max_new), end_id, jnp.int32),
        logprobs_BN=jnp.zeros((rows, max_new), jnp.float32),
    )
    final = jax.lax.while_loop(unfinished, advance, start)
    return final.tokens_BN, final.logprobs_BN


def greedy(
    params: decoder.Params,
    cfg: config.Model,
    prompts: Sequence[np.ndarray],
    max_new: int,
    end_id: int,
    bucket: int = 64,
    batch_size: int = 32,
    allowed: np.ndarray | None = None,
    ids: int | None = None,
) -> list[tuple[np.ndarray, np.ndarray]]:
    """Continue every prompt with its most probable tokens, with a KV cache.

    Prompts are sorted into buckets of length (multiples of `bucket`) and batches (powers of two up to
    `batch_size`); each pair of sizes compiles once. Neither changes a result.

    Args:
        params: from `decoder.init`.
        cfg: the model.
        prompts: i32[n_i] or i32[n_i, Q] ids as `data.packing.after` lays them, trunk and question in one sequence,
            positions from 0; the same Q for all.
        max_new: at most this many new tokens.
        end_id: the token that ends an answer.
        bucket: multiple to which prompts are padded.
        batch_size: prompts decoded together.
        allowed: bool[V], the tokens that may be chosen (let it hold `end_id`); None: all.
        ids: the softmax runs over the first so many ids alone, and only they are chosen from; None: over all.

    Returns:
        For each prompt its new tokens i32[m], the end token included where it came, and their
        log-probabilities f32[m] under the model without the constraint of `allowed`.

    Raises:
        InputError: an empty prompt, ids outside the vocabulary, or a mask that allows nothing.
    """
    vocabulary = params["embedding"].shape[0]
    if max_new < 1 or bucket < 1 or batch_size < 1:
        raise InputError(f"greedy: max_new {max_new}, bucket {bucket} and batch_size {batch_size} must be at least 1")
    if not 0 <= end_id < vocabulary:
        raise InputError(f"greedy: end_id {end_id} lies outside the vocabulary of {vocabulary}")
    for index, prompt in enumerate(prompts):
        if len(prompt) == 0:
            raise InputError(f"greedy: prompt {index} is empty; give at least one token")
        if np.min(np.reshape(prompt, (len(prompt), -1))[:, 0]) < 0 or np.max(prompt) >= vocabulary:
            raise InputError(
                f"greedy: prompt {index} holds ids outside the vocabulary of {vocabulary}; "
                f"encode it with the model's own tokenizer"
            )
    mask = np.ones(vocabulary, bool) if allowed is None else np.asarray(allowed, bool)
    if ids is not None and not end_id < ids <= vocabulary:
        raise InputError(
            f"greedy: ids is {ids}; give more than end_id {end_id}, at most the vocabulary of {vocabulary}"
        )
    if mask.shape != (vocabulary,) or not mask[:ids].any():
        raise InputError(f"greedy: allowed must be bool[{vocabulary}] with at least one token; it is {mask.shape}")

    by_width: dict[int, list[int]] = {}
    for index, prompt in enumerate(prompts):
        by_width.setdefault(-(-len(prompt) // bucket) * bucket, []).append(index)
    answers: dict[int, tuple[np.ndarray, np.ndarray]] = {}
    for width, members in sorted(by_width.items()):
        for first in range(0, len(members), batch_size):
            chosen = members[first : first + batch_size]
            rows = min(batch_size, 1 << (len(chosen) - 1).bit_length())
            layers_of = np.shape(prompts[chosen[0]])[1:]
            padded, lengths = np.zeros((rows, width, *layers_of), np.int32), np.zeros(rows, np.int32)
            for row, index in enumerate(chosen):
                lengths[row] = len(prompts[index])
                padded[row, : lengths[row]] = prompts[index]
            tokens, logprobs = jax.device_get(_decode(params, padded, lengths, mask[:ids], cfg, max_new, end_id, ids))
            for row, index in enumerate(chosen):
                ends = np.flatnonzero(tokens[row] == end_id)
                count = int(ends[0]) + 1 if len(ends) else max_new
                answers[index] = (tokens[row, :count], logprobs[row, :count])
    return [answers[index] for index in range(len(prompts))]
