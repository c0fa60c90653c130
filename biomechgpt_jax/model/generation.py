"""Answers from the decoder: cached decoding of many questions about each of many movements, and scores of branches.

Decoding is greedy, within what a constraint allows. Log-probabilities are always those of the model itself: what a
constraint forbids keeps its share.

Shapes: B answers, N new tokens, L length of a row, D model, V vocabulary, A states of an automaton, U ids that may be
chosen anywhere.
"""

import functools
from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from biomechgpt_jax import config
from biomechgpt_jax.errors import InputError
from biomechgpt_jax.model import decoder, decoding
from biomechgpt_jax.model.attention.cached import OwnCache
from biomechgpt_jax.model.requests import Request, Settings, check, groups, lay_out, transitions

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
        ids: the softmax runs over this many first ids alone (static); None: over all. Every weighted token must be
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


class Answer(NamedTuple):
    """New tokens i32[m], the end token included if it came, and their log-probabilities f32[m]."""

    tokens: np.ndarray
    logprobs: np.ndarray


def generate(
    params: decoder.Params, cfg: config.Model, requests: Sequence[Request], settings: Settings
) -> list[list[Answer]]:
    """Answer every question of every request with the most probable tokens, one after the other, with a KV cache.

    The keys and values of a trunk are computed once for all its questions. An answer depends neither on the other
    questions nor on how they are batched. Sizes are rounded up (`requests.groups`, `requests.transitions`), and each
    combination that occurs compiles once, whatever the questions are.

    Args:
        params: from `decoder.init`.
        cfg: the model.
        requests: positions count from 0 at the trunk's first token; each question continues from the trunk's end.
        settings: of decoding.

    Returns:
        For each request, for each question, its new tokens and their log-probabilities.

    Raises:
        InputError: an empty question, ids outside the vocabulary, or a constraint whose longest answer is longer than
            `settings.max_new`.
    """
    vocabulary = decoder.vocabulary_size(params)
    check(requests, settings, vocabulary)
    if {"context", "statistics"} & set(params.get("motion", {})) and (settings.ids or vocabulary) > decoder.table_size(
        params
    ):
        raise InputError(
            "generate: a model with model.motion_context or model.motion_statistics reads movement and cannot write "
            "it; give Settings.ids, or train with both 0"
        )
    weights = decoding.prepare(params, cfg, settings.ids)
    answers: list[list[Answer]] = [[] for _ in requests]
    for group in groups(requests, settings):
        members = [requests[index] for index in group.members]
        layout = lay_out(members, group, settings.bucket)
        table = transitions(members, group, settings.fewest_states)
        prefix, last_BD = decoding.prefill(
            params, layout.batch, layout.columns_RS, layout.last_B, layout.starts_RP, cfg
        )
        state_B = np.where(layout.is_question_B, table.starts_B, -1)
        tokens_BN, logprobs_BN = jax.device_get(
            decode(
                weights,
                prefix,
                last_BD,
                state_B,
                (table.ids_U, table.states_AU),
                cfg,
                settings.max_new,
                settings.end_id,
            )
        )
        lengths_B = np.minimum(np.cumprod(tokens_BN != settings.end_id, axis=1).sum(1) + 1, settings.max_new)
        for row, index in enumerate(group.members):
            first = row * group.questions
            answers[index] = [
                Answer(tokens_BN[answer, : lengths_B[answer]], logprobs_BN[answer, : lengths_B[answer]])
                for answer in range(first, first + len(requests[index].questions))
            ]
    return answers


class _State(NamedTuple):
    """The decoding loop: everything has a fixed shape, so that one size compiles once."""

    step: jax.Array  # tokens chosen so far
    own: tuple[OwnCache, ...]
    state_B: jax.Array
    done_B: jax.Array
    tokens_BN: jax.Array
    logprobs_BN: jax.Array


@functools.partial(jax.jit, static_argnames=("cfg", "max_new", "end_id"))
def decode(
    weights: decoding.Weights,
    prefix: decoding.Prefix,
    last_BD: jax.Array,
    state_B: jax.Array,
    allowed: tuple[jax.Array, jax.Array],
    cfg: config.Model,
    max_new: int,
    end_id: int,
) -> tuple[jax.Array, jax.Array]:
    """Decode the answers of one batch, all of them a token at a time.

    Args:
        weights: from `decoding.prepare`.
        prefix: from `decoding.prefill`.
        last_BD: the hidden state of the last token of every prompt, from there too.
        state_B: the first state of each answer's automaton; below 0 for padding.
        allowed: `ids_U` and `states_AU` of `requests.transitions`.
        cfg: the model.
        max_new: the most new tokens.
        end_id: the token that ends an answer.

    Returns:
        Tokens i32[B, max_new], `end_id` after the end, and their log-probabilities f32[B, max_new].
    """

    def append(hidden_BD: jax.Array, state: _State) -> _State:
        logits_BV = decoder.logits(hidden_BD, weights.head_DV, cfg)
        token_B, state_B = _choose(logits_BV, state.state_B, *allowed)
        token_B = jnp.where(state.done_B, end_id, token_B)
        chosen_B = jnp.take_along_axis(logits_BV, token_B[:, None], axis=1)[:, 0]
        logprob_B = jnp.where(state.done_B, 0.0, chosen_B - jax.nn.logsumexp(logits_BV, axis=-1))
        return state._replace(
            step=state.step + 1,
            state_B=state_B,
            done_B=state.done_B | (token_B == end_id),
            tokens_BN=state.tokens_BN.at[:, state.step].set(token_B),
            logprobs_BN=state.logprobs_BN.at[:, state.step].set(logprob_B),
        )

    def unfinished(state: _State) -> jax.Array:
        return (state.step < max_new) & ~jnp.all(state.done_B)

    def advance(state: _State) -> _State:
        token_B1 = jax.lax.dynamic_slice_in_dim(state.tokens_BN, state.step - 1, 1, axis=1)
        x_B1D, own = decoding.advance(weights, cfg, prefix, state.own, token_B1, state.step - 1)
        return append(x_B1D[:, 0], state._replace(own=own))

    rows = len(state_B)
    start = _State(
        step=jnp.zeros((), jnp.int32),
        own=decoding.empty(prefix, rows, max_new),
        state_B=jnp.maximum(state_B, 0),
        done_B=state_B < 0,
        tokens_BN=jnp.full((rows, max_new), end_id, jnp.int32),
        logprobs_BN=jnp.zeros((rows, max_new), jnp.float32),
    )
    final = jax.lax.while_loop(unfinished, advance, append(last_BD, start))
    return final.tokens_BN, final.logprobs_BN


def _choose(
    logits_BV: jax.Array, state_B: jax.Array, ids_U: jax.Array, states_AU: jax.Array
) -> tuple[jax.Array, jax.Array]:
    """The most probable token that may follow each state, i32[B], and the state after it."""
    if states_AU.size == 0:
        return jnp.argmax(logits_BV, axis=-1).astype(jnp.int32), state_B
    after_BU = states_AU[state_B]
    place_B = jnp.argmax(jnp.where(after_BU >= 0, logits_BV[:, ids_U], -jnp.inf), axis=-1)
    return ids_U[place_B], jnp.take_along_axis(after_BU, place_B[:, None], axis=1)[:, 0]
