"""The answers that a question allows, as a tree of choices, so that a model can weigh all of them at once.

A node is a prefix of answers after which several tokens may follow, or a whole answer. Tokens that must follow (the
decimal point after "1", the unit after the last digit) lie on the edges between nodes and are no choices.

Shapes: N nodes, A answers, M tokens on all edges, U tokens that may be chosen anywhere.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from biomechgpt_jax.errors import InputError

CHOICES = 64  # the number of tokens that may be chosen is rounded up to a multiple of this: few sizes compile


@dataclass(frozen=True, eq=False)
class Tree:
    """Nodes in breadth-first order: node 0 is the root, and the children of a node follow one another.

    Attributes:
        choice: i32[N], the token by which each node is chosen at its parent; the root has none.
        edge: i64[N], where the tokens of each node's edge begin in `tokens`: the chosen one and those that must follow
            up to the next choice. The root's are those that begin every answer. A whole answer needs none.
        length: i32[N], number of these tokens.
        child: i32[N], each node's first child.
        children: i32[N], number of children; 0 for a whole answer.
        low, high: i32[N]: the answers that begin with a node are `order[low:high]`.
        order: i32[A], indices of the answers in the order of their tokens.
        tokens: i32[M].
        longest: tokens of the longest answer, the end token included.
    """

    choice: np.ndarray
    edge: np.ndarray
    length: np.ndarray
    child: np.ndarray
    children: np.ndarray
    low: np.ndarray
    high: np.ndarray
    order: np.ndarray
    tokens: np.ndarray
    longest: int


def tree_of(answers: Sequence[Sequence[int]], end_id: int) -> Tree:
    """The tree of these answers, each of which the end token follows.

    Args:
        answers: ids of each answer, without the end token.
        end_id: the token that ends an answer.

    Raises:
        InputError: there is no answer, an empty or a repeated one, or one that holds the end token.
    """
    if not answers:
        raise InputError("answers: there is none; give at least one")
    for number, answer in enumerate(answers):
        if len(answer) == 0 or end_id in answer:
            raise InputError(f"answers: answer {number} is empty or holds the end token {end_id}")
    order = sorted(range(len(answers)), key=lambda number: (*answers[number], end_id))
    longest = max(map(len, answers)) + 1
    sorted_AL = np.full((len(answers), longest), -1, np.int32)
    for row, number in enumerate(order):
        sorted_AL[row, : len(answers[number]) + 1] = (*answers[number], end_id)
    # Answers that share a prefix lie side by side: a node is a range of rows whose first tokens are the same.
    ranges, depths, choices = [(0, len(answers))], [0], [-1]  # of every node
    edges, firsts = [], []
    for node, (low, high) in enumerate(ranges):  # grows while it is read
        begin = end = depths[node]
        if high - low > 1:
            differing = np.flatnonzero(sorted_AL[low, begin:] != sorted_AL[high - 1, begin:])
            if len(differing) == 0:
                raise InputError(f"answers: answer {order[low]} is given twice")
            end = begin + int(differing[0])
        edges.append(sorted_AL[low, begin:end])
        firsts.append(len(ranges))
        if high - low == 1:
            continue
        column = sorted_AL[low:high, end]
        cuts = [low, *(low + 1 + np.flatnonzero(np.diff(column))).tolist(), high]
        for first, last in zip(cuts[:-1], cuts[1:], strict=True):
            ranges.append((first, last))
            depths.append(end)
            choices.append(int(sorted_AL[first, end]))
    lengths = [len(edge) for edge in edges]
    child = np.array([*firsts, len(ranges)], np.int32)
    low, high = np.array(ranges, np.int32).T
    return Tree(
        choice=np.array(choices, np.int32),
        edge=before(lengths),
        length=np.array(lengths, np.int32),
        child=child[:-1],
        children=np.diff(child),
        low=low,
        high=high,
        order=np.array(order, np.int32),
        tokens=np.concatenate(edges).astype(np.int32),
        longest=longest,
    )


class Forest(NamedTuple):
    """The nodes of distinct trees, one tree after another; the fields are those of `Tree`.

    `low` and `high` count the answers of a node's own tree, `choice` is an index into `ids_U`, and `roots` holds the
    root of each tree by its identity.
    """

    choice: np.ndarray
    edge: np.ndarray
    length: np.ndarray
    child: np.ndarray
    children: np.ndarray
    low: np.ndarray
    high: np.ndarray
    tokens: np.ndarray
    ids_U: np.ndarray
    roots: dict[int, int]
    longest: int


def plant(trees: Sequence[Sequence[Tree]]) -> Forest:
    """The forest of all these trees; U is rounded up to a multiple of `CHOICES`."""
    distinct = list({id(tree): tree for allowed in trees for tree in allowed}.values())
    nodes = [len(tree.choice) for tree in distinct]
    first_node, first_token = before(nodes), before([len(tree.tokens) for tree in distinct])

    def join(name: str, shifts: np.ndarray | None = None) -> np.ndarray:
        joined = np.concatenate([np.zeros(0, int), *(getattr(tree, name) for tree in distinct)])
        return joined if shifts is None else joined + np.repeat(shifts, nodes)

    choices, choice = np.unique(join("choice"), return_inverse=True)
    ids_U = np.zeros(-(-len(choices) // CHOICES) * CHOICES, np.int32)
    ids_U[: len(choices)] = np.maximum(choices, 0)  # the roots' -1 is nobody's choice
    return Forest(
        choice=choice,
        edge=join("edge", first_token),
        length=join("length"),
        child=join("child", first_node),
        children=join("children"),
        low=join("low"),
        high=join("high"),
        tokens=join("tokens"),
        ids_U=ids_U,
        roots={id(tree): int(first) for tree, first in zip(distinct, first_node, strict=True)},
        longest=max((tree.longest for tree in distinct), default=0),
    )


def before(counts: Sequence[int] | np.ndarray) -> np.ndarray:
    """The sum of the counts before each."""
    return np.cumsum(counts, dtype=int) - np.asarray(counts, int)
