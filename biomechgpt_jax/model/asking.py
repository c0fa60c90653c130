"""Questions about movements: what may be asked, and how a batch of it is laid out for the decoder.

Shapes: R trunks, P questions of a trunk, B = R x P answers, S columns of a trunk with its prompts, W tokens of all of
them, V vocabulary, A states of an automaton.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import jax
import numpy as np

from biomechgpt_jax.errors import InputError
from biomechgpt_jax.model import constraints, decoder, sampling
from biomechgpt_jax.tokenizer.prompt import NO_CODE


@dataclass(frozen=True)
class Request:
    """A movement and the questions about it.

    Attributes:
        trunk: i32[n] or i32[n, Q] ids that all questions see (`tokenizer.prompt.trunk`); length 0 where there is none.
            Q codes of a token are summed, as in `decoder`; a text has one, and needs no second axis.
        questions: i32[m] or i32[m, Q] ids, each up to where its answer begins.
        answers: what the answer to each question may be; none given: anything, for all of them.
    """

    trunk: np.ndarray
    questions: Sequence[np.ndarray]
    answers: Sequence[constraints.Automaton] = ()


class Laid(NamedTuple):
    """A batch of requests: what the prefill of `generation` takes, and where the answers go."""

    batch: dict[str, np.ndarray]
    columns_RS: np.ndarray
    last_B: np.ndarray
    starts_RP: np.ndarray
    asked_B: np.ndarray  # bool: a question, not padding


def rounded(count: int) -> int:
    """The next power of two."""
    return 1 << max(0, count - 1).bit_length()


def length(request: Request) -> int:
    """Tokens of a trunk and all its questions."""
    return len(request.trunk) + sum(map(len, request.questions))


def lay_out(requests: Sequence[Request], rows: int, questions: int, columns: int, bucket: int) -> Laid:
    """Lay trunks, each with its prompts as branches, into one row, one after another.

    Long and short requests share a batch without padding of the short ones. The row's length is rounded up to a
    multiple of the bucket and of a sixteenth of what is needed where all requests are the longest.
    """
    total = sum(map(length, requests))
    unit = bucket * max(1, -(-rows * columns // (16 * bucket)))
    width = -(-total // unit) * unit
    parts = [np.shape(part) for request in requests for part in (request.trunk, *request.questions)]
    layers_of = max(shape[1] if len(shape) > 1 else 1 for shape in parts)
    ids = np.full((layers_of, width), NO_CODE, np.int32)
    ids[0] = 0
    places = {name: np.zeros((1, width), np.int32) for name in decoder.ROW_KEYS}
    laid = Laid(
        places,
        np.full((rows, columns), -1, np.int32),
        np.zeros(rows * questions, np.int32),
        np.zeros((rows, questions), np.int32),
        np.zeros(rows * questions, bool),
    )
    at = 0
    for row, request in enumerate(requests):
        trunk = len(request.trunk)
        laid.columns_RS[row, : length(request)] = at + np.arange(length(request))
        for branch, tokens in enumerate((request.trunk, *request.questions)):
            if len(tokens) == 0:
                continue
            cells, begin = slice(at, at + len(tokens)), trunk if branch else 0
            codes = np.reshape(tokens, (len(tokens), -1)).T
            ids[: len(codes), cells] = codes
            places["positions"][0, cells] = begin + np.arange(len(tokens))
            places["segments"][0, cells] = row + 1
            places["branches"][0, cells] = branch
            at += len(tokens)
            if branch:
                laid.last_B[row * questions + branch - 1] = at - 1
                laid.starts_RP[row, branch - 1] = begin + len(tokens)
                laid.asked_B[row * questions + branch - 1] = True
    places["tokens"] = ids[:1]
    places |= {f"codes_{layer}": ids[layer : layer + 1] for layer in range(1, layers_of)}
    return laid


def tables(requests: Sequence[Request], questions: int, rows: int, vocabulary: int) -> tuple[np.ndarray, np.ndarray]:
    """All automata of a batch as one, states i32[A, V] with A rounded up, and each answer's first state i32[B]."""
    starts_B = np.zeros(rows * questions, np.int32)
    distinct: dict[int, tuple[constraints.Automaton, int]] = {}
    states = 0
    for row, request in enumerate(requests):
        for number, automaton in enumerate(request.answers):
            if id(automaton) not in distinct:
                distinct[id(automaton)] = automaton, states
                states += len(automaton.tokens)
            starts_B[row * questions + number] = distinct[id(automaton)][1]
    if not distinct:
        return np.zeros((0, 0), np.int32), starts_B
    states_AV = np.full((rounded(states), vocabulary), constraints.NONE, np.int32)
    for automaton, first in distinct.values():
        state, at = np.nonzero(automaton.tokens >= 0)
        states_AV[first + state, automaton.tokens[state, at]] = first + automaton.states[state, at]
    return states_AV, starts_B


def check(
    vocabulary: int,
    requests: Sequence[Request],
    max_new: int,
    end_id: int,
    how: sampling.Sampling,
    key: jax.Array | None,
    bucket: int,
    batch_size: int,
    ids: int | None,
) -> None:
    """Refuse what `generate` cannot answer."""
    if max_new < 1 or bucket < 1 or batch_size < 1:
        raise InputError(f"generate: max_new {max_new}, bucket {bucket} and batch_size {batch_size} must be at least 1")
    if not 0 <= end_id < vocabulary:
        raise InputError(f"generate: end_id {end_id} lies outside the vocabulary of {vocabulary}")
    if ids is not None and not end_id < ids <= vocabulary:
        raise InputError(
            f"generate: ids is {ids}; give more than end_id {end_id}, at most the vocabulary of {vocabulary}"
        )
    if how.temperature > 0 and key is None:
        raise InputError("generate: sampling needs a key; give jax.random.key(seed)")
    for number, request in enumerate(requests):
        where = f"generate: request {number}"
        if request.answers and len(request.answers) != len(request.questions):
            raise InputError(f"{where} has {len(request.questions)} questions and {len(request.answers)} constraints")
        for automaton in request.answers:
            if automaton.longest > max_new:
                raise InputError(f"{where} may need {automaton.longest} tokens; raise max_new above {max_new}")
            if automaton.tokens.max() >= (ids or vocabulary):
                raise InputError(
                    f"{where} has a constraint with ids outside the {ids or vocabulary} that can be chosen"
                )
        for question in request.questions:
            if len(question) == 0:
                raise InputError(f"{where} has an empty question; give at least one token")
        for tokens in (request.trunk, *request.questions):
            if len(tokens) and (
                np.min(np.reshape(tokens, (len(tokens), -1))[:, 0]) < 0 or np.max(tokens) >= vocabulary
            ):
                raise InputError(
                    f"{where} holds ids outside the vocabulary of {vocabulary}; "
                    f"encode it with the model's own tokenizer"
                )
