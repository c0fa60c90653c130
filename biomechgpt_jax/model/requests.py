"""Requests to the decoder, movements with questions about them: their checks, and their layout as padded batches.

Shapes: R trunks, P questions of a trunk, B = R x P answers, S columns of a trunk with its prompts, W tokens of all of
them, A states of an automaton, U ids that may be chosen anywhere.
"""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from biomechgpt_jax.errors import InputError
from biomechgpt_jax.model import constraints, decoder, trees
from biomechgpt_jax.tokenizer.prompt import NO_CODE


@dataclass(frozen=True)
class Request:
    """A movement and the questions about it.

    Attributes:
        trunk: i32[n] or i32[n, Q] ids that all questions see (`tokenizer.prompt.trunk`); of length 0 if there is no
            movement. The Q codes of a token are summed, as in `decoder`; a text has one, and needs no second axis.
        questions: i32[m] or i32[m, Q] ids each, up to where its answer begins.
        answers: what the answer to each question may be; empty: any tokens, for all of them.
    """

    trunk: np.ndarray
    questions: Sequence[np.ndarray]
    answers: Sequence[constraints.Automaton] = ()

    @property
    def length(self) -> int:
        """Tokens of the trunk and all questions."""
        return len(self.trunk) + sum(map(len, self.questions))


@dataclass(frozen=True)
class Settings:
    """How answers are decoded.

    Attributes:
        max_new: the most new tokens of an answer.
        end_id: the token that ends an answer.
        ids: the softmax runs over this many first ids alone, and only they are chosen from; None: over all.
        bucket: multiple to which trunks with their prompts are padded.
        batch_size: answers decoded together; more if one trunk has more questions.
        fewest_questions: every trunk has room for at least so many questions, ...
        fewest_states: ... and the table of a batch's automata for so many states: fewer need not compile another size.
    """

    max_new: int
    end_id: int
    ids: int | None = None
    bucket: int = 64
    batch_size: int = 32
    fewest_questions: int = 1
    fewest_states: int = 64

    def __post_init__(self) -> None:
        if self.max_new < 1 or self.bucket < 1 or self.batch_size < 1:
            raise InputError(
                f"generate: max_new {self.max_new}, bucket {self.bucket} and batch_size {self.batch_size} "
                f"must be at least 1"
            )


class Group(NamedTuple):
    """A batch: requests that are decoded together, and the sizes they are padded to."""

    members: tuple[int, ...]  # indices of the requests
    rows: int  # R, padded
    questions: int  # P, padded
    columns: int  # S, padded


class Layout(NamedTuple):
    """A batch as arrays: what `decoding.prefill` takes, and which answers are padding."""

    batch: dict[str, np.ndarray]
    columns_RS: np.ndarray
    last_B: np.ndarray
    starts_RP: np.ndarray
    is_question_B: np.ndarray  # bool; False for padding


def next_power_of_two(count: int) -> int:
    """The smallest power of two that is at least `count`."""
    return 1 << max(0, count - 1).bit_length()


def check(requests: Sequence[Request], settings: Settings, vocabulary: int) -> None:
    """Refuse what `generation.generate` cannot answer.

    Args:
        requests: the movements with their questions.
        settings: of decoding.
        vocabulary: number of ids of the model.

    Raises:
        InputError: ids outside the vocabulary, an empty question, or a constraint that does not fit.
    """
    end_id, ids = settings.end_id, settings.ids
    if not 0 <= end_id < vocabulary:
        raise InputError(f"generate: end_id {end_id} lies outside the vocabulary of {vocabulary}")
    if ids is not None and not end_id < ids <= vocabulary:
        raise InputError(
            f"generate: ids is {ids}; give more than end_id {end_id}, at most the vocabulary of {vocabulary}"
        )
    for number, request in enumerate(requests):
        where = f"generate: request {number}"
        if request.answers and len(request.answers) != len(request.questions):
            raise InputError(f"{where} has {len(request.questions)} questions and {len(request.answers)} constraints")
        for automaton in request.answers:
            if automaton.longest > settings.max_new:
                raise InputError(f"{where} may need {automaton.longest} tokens; raise max_new above {settings.max_new}")
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


def groups(requests: Sequence[Request], settings: Settings) -> list[Group]:
    """Batches of similar requests, which hold every request that has questions.

    Numbers of trunks and questions are rounded up to powers of two, columns to multiples of `settings.bucket`, so that
    few sizes occur. Constrained answers are not mixed with free ones.
    """

    def kind(index: int) -> tuple[bool, int]:
        questions = max(len(requests[index].questions), settings.fewest_questions)
        return bool(requests[index].answers), next_power_of_two(questions)

    def columns(index: int) -> int:
        return -(-requests[index].length // settings.bucket) * settings.bucket

    with_questions = [index for index, request in enumerate(requests) if request.questions]
    made = []
    ordered = sorted(with_questions, key=lambda index: (kind(index), columns(index)))
    for (_, questions), of_kind in itertools.groupby(ordered, key=kind):
        alike, most = tuple(of_kind), max(1, settings.batch_size // questions)
        for first in range(0, len(alike), most):
            members = alike[first : first + most]
            rows = min(most, next_power_of_two(len(members)))
            made.append(Group(members, rows, questions, max(map(columns, members))))
    return made


def lay_out(requests: Sequence[Request], group: Group, bucket: int) -> Layout:
    """Lay the trunks of a batch, each with its prompts as branches, into one row, one after another.

    Long and short requests share a batch without padding of the short ones. The row's length is rounded up to a
    multiple of the bucket and of a sixteenth of what a batch of the longest requests would need.

    Args:
        requests: the members of the batch.
        group: its sizes.
        bucket: as in `Settings`.
    """
    rows, questions, columns = group.rows, group.questions, group.columns
    unit = bucket * max(1, -(-rows * columns // (16 * bucket)))
    width = -(-sum(request.length for request in requests) // unit) * unit
    parts = [np.shape(part) for request in requests for part in (request.trunk, *request.questions)]
    layers = max(shape[1] if len(shape) > 1 else 1 for shape in parts)
    ids = np.full((layers, width), NO_CODE, np.int32)
    ids[0] = 0
    batch = {name: np.zeros((1, width), np.int32) for name in decoder.ROW_KEYS}
    layout = Layout(
        batch,
        np.full((rows, columns), -1, np.int32),
        np.zeros(rows * questions, np.int32),
        np.zeros((rows, questions), np.int32),
        np.zeros(rows * questions, bool),
    )
    at = 0
    for row, request in enumerate(requests):
        trunk = len(request.trunk)
        layout.columns_RS[row, : request.length] = at + np.arange(request.length)
        for branch, tokens in enumerate((request.trunk, *request.questions)):
            if len(tokens) == 0:
                continue
            cells, begin = slice(at, at + len(tokens)), trunk if branch else 0
            codes = np.reshape(tokens, (len(tokens), -1)).T
            ids[: len(codes), cells] = codes
            batch["positions"][0, cells] = begin + np.arange(len(tokens))
            batch["segments"][0, cells] = row + 1
            batch["branches"][0, cells] = branch
            at += len(tokens)
            if branch:
                answer = row * questions + branch - 1
                layout.last_B[answer] = at - 1
                layout.starts_RP[row, branch - 1] = begin + len(tokens)
                layout.is_question_B[answer] = True
    batch["tokens"] = ids[:1]
    batch |= {f"codes_{layer}": ids[layer : layer + 1] for layer in range(1, layers)}
    return layout


class Transitions(NamedTuple):
    """The automata of a batch as one table over the U ids that occur in any of them.

    Attributes:
        ids_U: i32[U], ascending, rounded up with zeros.
        states_AU: i32[A, U], the state after each of them, below 0 where it may not follow; A is rounded up. [0, 0] if
            answers are free.
        starts_B: i32[B], the first state of each answer.
    """

    ids_U: np.ndarray
    states_AU: np.ndarray
    starts_B: np.ndarray


def transitions(requests: Sequence[Request], group: Group, fewest_states: int = 1) -> Transitions:
    """The automata of a batch as one table.

    Args:
        requests: the members of the batch.
        group: its sizes.
        fewest_states: as in `Settings`.
    """
    starts_B = np.zeros(group.rows * group.questions, np.int32)
    distinct: dict[int, tuple[constraints.Automaton, int]] = {}
    count = 0
    for row, request in enumerate(requests):
        for number, automaton in enumerate(request.answers):
            if id(automaton) not in distinct:
                distinct[id(automaton)] = automaton, count
                count += len(automaton.tokens)
            starts_B[row * group.questions + number] = distinct[id(automaton)][1]
    if not distinct:
        return Transitions(np.zeros(0, np.int32), np.zeros((0, 0), np.int32), starts_B)
    occurring = np.unique(np.concatenate([automaton.tokens.ravel() for automaton, _ in distinct.values()]))
    occurring = occurring[occurring >= 0]
    ids_U = np.zeros(-(-len(occurring) // trees.CHOICES) * trees.CHOICES, np.int32)
    ids_U[: len(occurring)] = occurring
    # Dense over these, because decoding reads one row at a time: cheaper than to search the few that may follow.
    states_AU = np.full((next_power_of_two(max(count, fewest_states)), len(ids_U)), constraints.NONE, np.int32)
    for automaton, first in distinct.values():
        state, column = np.nonzero(automaton.tokens >= 0)
        place = np.searchsorted(occurring, automaton.tokens[state, column])
        states_AU[first + state, place] = first + automaton.states[state, column]
    return Transitions(ids_U, states_AU, starts_B)
