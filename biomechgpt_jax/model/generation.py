"""Answers out of the decoder: cached decoding of many questions about each of many movements, and scores of branches.

Log-probabilities are always those of the model itself: at temperature 1, whatever a constraint forbids included.

Shapes: R trunks, P questions of a trunk, B = R x P answers, S columns of a trunk with its prompts, W tokens of all of
them, N new tokens, L row, D model, V vocabulary, A states of an automaton.
"""

import functools
from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from biomechgpt_jax import config
from biomechgpt_jax.errors import InputError
from biomechgpt_jax.model import asking, constraints, decoder, decoding, sampling
from biomechgpt_jax.model.attention.cached import OwnCache

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


class Answer(NamedTuple):
    """New tokens i32[m], the end token included where it came, and their log-probabilities f32[m]."""

    tokens: np.ndarray
    logprobs: np.ndarray


class _State(NamedTuple):
    """The decoding loop: everything has a fixed shape, so that one bucket compiles once."""

    step: jax.Array  # tokens chosen so far
    own: tuple[OwnCache, ...]
    state_B: jax.Array
    done_B: jax.Array
    tokens_BN: jax.Array
    logprobs_BN: jax.Array


@functools.partial(jax.jit, static_argnames=("cfg", "max_new", "end_id", "rule"))
def _decode(
    weights: decoding.Weights,
    prefix: decoding.Prefix,
    last_BD: jax.Array,
    state_B: jax.Array,
    choice: sampling.Choice,
    cfg: config.Model,
    max_new: int,
    end_id: int,
    rule: sampling.Rule,
) -> tuple[jax.Array, jax.Array]:
    """Tokens i32[B, max_new] (end_id after the end) and their log-probabilities f32[B, max_new].

    A row whose state is below 0 is padding of the batch.
    """

    def choose(hidden_BD: jax.Array, state: _State) -> _State:
        logits_BV = decoder.logits(hidden_BD, weights.head_DV, cfg)
        token_B, led_B = sampling.choose(logits_BV, state.state_B, state.step, choice, rule)
        token_B = jnp.where(state.done_B, end_id, token_B)
        chosen_B = jnp.take_along_axis(logits_BV, token_B[:, None], axis=1)[:, 0]
        logprob_B = jnp.where(state.done_B, 0.0, chosen_B - jax.nn.logsumexp(logits_BV, axis=-1))
        return state._replace(
            step=state.step + 1,
            state_B=led_B,
            done_B=state.done_B | (token_B == end_id),
            tokens_BN=state.tokens_BN.at[:, state.step].set(token_B),
            logprobs_BN=state.logprobs_BN.at[:, state.step].set(logprob_B),
        )

    def unfinished(state: _State) -> jax.Array:
        return (state.step < max_new) & ~jnp.all(state.done_B)

    def advance(state: _State) -> _State:
        token_B1 = jax.lax.dynamic_slice_in_dim(state.tokens_BN, state.step - 1, 1, axis=1)
        x_B1D, own = decoding.advance(weights, cfg, prefix, state.own, token_B1, state.step - 1)
        return choose(x_B1D[:, 0], state._replace(own=own))

    rows = len(state_B)
    start = _State(
        step=jnp.zeros((), jnp.int32),
        own=decoding.empty(prefix, max_new),
        state_B=jnp.maximum(state_B, 0),
        done_B=state_B < 0,
        tokens_BN=jnp.full((rows, max_new), end_id, jnp.int32),
        logprobs_BN=jnp.zeros((rows, max_new), jnp.float32),
    )
    final = jax.lax.while_loop(unfinished, advance, choose(last_BD, start))
    return final.tokens_BN, final.logprobs_BN


def generate(
    params: decoder.Params,
    cfg: config.Model,
    requests: Sequence[asking.Request],
    max_new: int,
    end_id: int,
    how: sampling.Sampling = sampling.GREEDY,
    key: jax.Array | None = None,
    seeds: Sequence[Sequence[int]] | None = None,
    bucket: int = 64,
    batch_size: int = 32,
    ids: int | None = None,
) -> list[list[Answer]]:
    """Answer every question of every request, with a KV cache.

    The keys and values of a trunk are computed once for all its questions. An answer depends neither on the other
    questions nor on how they are batched. Sizes are rounded up (columns to multiples of `bucket`, trunks, questions and
    states of automata to powers of two): each combination that occurs compiles once, whatever the questions are.

    Args:
        params: from `decoder.init`.
        cfg: the model.
        requests: positions count from 0 at the trunk's first token; each question goes on from the trunk's end.
        max_new: at most this many new tokens.
        end_id: the token that ends an answer.
        how: tokens are chosen; the most probable ones where not said otherwise.
        key: for sampling. Each answer has a key of its own, folded from its seed.
        seeds: one number for each question of each request; its running number where not given.
        bucket: multiple to which trunks with their prompts are padded.
        batch_size: answers decoded together; more if one trunk has more questions.
        ids: the softmax runs over the first so many ids alone, and only they are chosen from; None: over all.

    Returns:
        For each request, for each question, its new tokens and their log-probabilities.

    Raises:
        InputError: an empty question, ids outside the vocabulary, sampling without a key, or a constraint whose
            longest answer is longer than max_new.
    """
    vocabulary = params["embedding"].shape[0]
    asking.check(vocabulary, requests, max_new, end_id, how, key, bucket, batch_size, ids)
    if seeds is None:
        numbers = iter(range(sum(len(request.questions) for request in requests)))
        seeds = [[next(numbers) for _ in request.questions] for request in requests]
    weights = decoding.prepare(params, cfg, ids)
    key = jax.random.key(0) if key is None else key

    def sizes(index: int) -> tuple[bool, int, int]:
        """Of a request: whether its answers are constrained, questions and columns, rounded up."""
        request = requests[index]
        return (
            bool(request.answers),
            asking.rounded(len(request.questions)),
            -(-asking.length(request) // bucket) * bucket,
        )

    waiting = sorted((index for index in range(len(requests)) if requests[index].questions), key=sizes)
    found: list[list[Answer]] = [[] for _ in requests]
    while waiting:
        constrained, questions, _ = sizes(waiting[0])
        rows = max(1, batch_size // questions)
        alike = [index for index in waiting[:rows] if sizes(index)[:2] == (constrained, questions)]
        waiting = waiting[len(alike) :]
        rows = min(rows, asking.rounded(len(alike)))
        members = [requests[index] for index in alike]
        laid = asking.lay_out(members, rows, questions, max(sizes(index)[2] for index in alike), bucket)
        states_AV, starts_B = asking.tables(members, questions, rows, ids or vocabulary)
        seeds_B = np.zeros(rows * questions, np.uint32)
        for row, index in enumerate(alike):
            seeds_B[row * questions :][: len(seeds[index])] = seeds[index]
        choice = sampling.Choice(
            jnp.asarray(states_AV),
            jax.vmap(jax.random.fold_in, (None, 0))(key, seeds_B),
            jnp.float32(how.temperature),
            jnp.float32(how.top_p),
        )
        prefix, last_BD = decoding.prefill(params, laid.batch, laid.columns_RS, laid.last_B, laid.starts_RP, cfg)
        state_B = np.where(laid.asked_B, starts_B, -1)
        decoded = _decode(weights, prefix, last_BD, state_B, choice, cfg, max_new, end_id, how.rule)
        tokens_BN, logprobs_BN = jax.device_get(decoded)
        for row, index in enumerate(alike):
            for answer in range(row * questions, row * questions + len(requests[index].questions)):
                ends = np.flatnonzero(tokens_BN[answer] == end_id)
                count = int(ends[0]) + 1 if len(ends) else max_new
                found[index].append(Answer(tokens_BN[answer, :count], logprobs_BN[answer, :count]))
    return found


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
) -> list[Answer]:
    """Continue every prompt with its most probable tokens: `generate` for prompts that share nothing.

    Args:
        prompts: i32[n_i] or i32[n_i, Q] ids, trunk and question in one sequence with positions from 0, where text has
            `NO_CODE` in its further columns; the same Q for all.
        allowed: bool[V], the tokens that may be chosen (let it hold `end_id`); None: all.

    Raises:
        InputError: as `generate`, or a mask that allows nothing.
    """
    answers: tuple[constraints.Automaton, ...] = ()
    if allowed is not None:
        if np.shape(allowed) != (params["embedding"].shape[0],):
            raise InputError(f"greedy: allowed is {np.shape(allowed)}; give one bool for each id of the vocabulary")
        answers = (constraints.tokens(np.flatnonzero(allowed[:ids])),)
    empty = [np.asarray(prompt)[:0] for prompt in prompts]
    requests = [asking.Request(trunk, (prompt,), answers) for trunk, prompt in zip(empty, prompts, strict=True)]
    found = generate(params, cfg, requests, max_new, end_id, bucket=bucket, batch_size=batch_size, ids=ids)
    return [answer for (answer,) in found]
