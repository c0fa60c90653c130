"""The probability of every answer that a question allows, for many questions about each of many movements at once.

The tree of answers (`trees`) is walked breadth first over the cached trunk and prompt. A pass of the decoder computes
the next nodes of all questions of a batch of trunks. A token that must follow needs no softmax, and what must follow
the last choice (the unit, the end) needs no pass at all. At each node the probabilities are renormalised among the
tokens that may follow there, so that those of all answers sum to 1: this is the distribution of what constrained
sampling would write.

A prefix that is less probable than a threshold is not continued. Its probability is spread evenly over the answers that
begin with it, so that the distribution stays true up to that prefix. Each question is pruned by itself, so an answer
depends neither on the other questions nor on how they are batched.

Shapes: R trunks, P questions of a trunk, B = R x P questions, T nodes of a pass, N columns for nodes, U tokens that may
be chosen, S columns of a trunk with its prompts, A answers, D model, I items (nodes of any question).
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
from biomechgpt_jax.model.attention import packed
from biomechgpt_jax.model.attention.cached import OwnCache
from biomechgpt_jax.model.requests import Group, Layout, Request, Settings, check, groups, lay_out
from biomechgpt_jax.model.trees import Forest, Tree, before, plant

THRESHOLD = 0.002  # prefixes below this probability are not continued
NODES = 4  # of a pass for each question of a trunk, on average: a question needs some ten in two to four passes
FEWEST_NODES = 16  # of a pass


class Distribution(NamedTuple):
    """What one question may be answered.

    Attributes:
        probabilities: f64[A], in the order in which the answers were given; their sum is 1.
        spread: the probability of the prefixes that were not continued, which is spread over the answers below them.
        nodes: how many tokens were computed for it.
    """

    probabilities: np.ndarray
    spread: float
    nodes: int


def distributions(
    params: decoder.Params,
    cfg: config.Model,
    requests: Sequence[Request],
    trees: Sequence[Sequence[Tree]],
    settings: Settings,
    threshold: float = THRESHOLD,
) -> list[list[Distribution]]:
    """The distribution over the allowed answers of every question of every request.

    Sizes are rounded up (`requests.groups`), and each combination that occurs compiles once, whatever the questions
    are.

    Args:
        params: from `decoder.init`.
        cfg: the model.
        requests: as for `generation.generate`, without constraints.
        trees: the answers that each question of each request allows; a tree may serve many questions.
        settings: of decoding.
        threshold: prefixes below this probability are not continued; 0 gives every answer its exact probability.

    Raises:
        InputError: an empty question, ids outside the vocabulary, a number of trees that is not that of the questions,
            or an answer longer than `settings.max_new`.
    """
    vocabulary = params["embedding"].shape[0]
    check(requests, settings, vocabulary)
    _check_trees(requests, trees, settings, vocabulary)
    weights, forest = decoding.prepare(params, cfg, settings.ids), plant(trees)
    found: list[list[Distribution]] = [[] for _ in requests]
    for group in groups(requests, settings):
        members = [requests[index] for index in group.members]
        allowed = [trees[index] for index in group.members]
        walk = _Walk(group, lay_out(members, group, settings.bucket), allowed, forest)
        walk.run(params, weights, cfg, threshold)
        for row, index in enumerate(group.members):
            first = row * group.questions
            found[index] = [walk.result(first + number) for number in range(len(requests[index].questions))]
    return found


def _check_trees(
    requests: Sequence[Request], trees: Sequence[Sequence[Tree]], settings: Settings, vocabulary: int
) -> None:
    for number, (request, allowed) in enumerate(zip(requests, trees, strict=True)):
        where = f"distributions: request {number}"
        if len(allowed) != len(request.questions):
            raise InputError(f"{where} has {len(request.questions)} questions and {len(allowed)} trees of answers")
        for tree in allowed:
            if tree.longest > settings.max_new:
                raise InputError(f"{where} may need {tree.longest} tokens; raise max_new above {settings.max_new}")
            if max(tree.choice.max(), tree.tokens.max(initial=0)) >= (settings.ids or vocabulary):
                raise InputError(
                    f"{where} has answers with ids outside the {settings.ids or vocabulary} of the softmax"
                )


class _Items(NamedTuple):
    """Nodes that the model has to see, in the order in which they came up.

    `path` holds the columns of the tokens that lead to each node, of which there are `depth`.
    """

    node: np.ndarray  # i64[I], in the forest
    question: np.ndarray  # i64[I], among the B of the batch
    probability: np.ndarray  # f64[I]
    depth: np.ndarray  # i64[I]
    path: np.ndarray  # i32[I, longest], -1 behind the depth

    def chosen(self, mask: np.ndarray) -> "_Items":
        return _Items(*(values[mask] for values in self))


class _Walk:
    """The walk through the trees of one batch: all its questions side by side, as arrays of nodes."""

    def __init__(self, group: Group, layout: Layout, trees: Sequence[Sequence[Tree]], forest: Forest):
        self.group, self.layout, self.forest = group, layout, forest
        # The answers of all questions lie one after another, each with a spare place where the last range ends.
        count = group.rows * group.questions
        self.trees: dict[int, Tree] = {
            row * group.questions + number: tree
            for row, allowed in enumerate(trees)
            for number, tree in enumerate(allowed)
        }
        places = [len(self.trees[index].order) + 1 if index in self.trees else 0 for index in range(count)]
        self.base, self.steps = before(places), np.zeros(sum(places))
        self.spread, self.computed = np.zeros(count), np.zeros(count, int)
        self.roots = _Items(
            np.array([forest.roots[id(tree)] for tree in self.trees.values()], int),
            np.array(list(self.trees), int),
            np.ones(len(self.trees)),
            np.zeros(len(self.trees), int),
            np.full((len(self.trees), forest.longest), -1, np.int32),
        )

    def run(self, params: decoder.Params, weights: decoding.Weights, cfg: config.Model, threshold: float) -> None:
        """Walk all trees to their ends."""
        group, layout = self.group, self.layout
        nodes = max(NODES * group.questions, FEWEST_NODES, self.forest.longest)
        column, room = 0, 4 * nodes
        prefix, logits_BU, own = _begin(
            params,
            weights,
            layout.batch,
            layout.columns_RS,
            layout.last_B,
            layout.starts_RP,
            self.forest.ids_U,
            cfg,
            room,
        )
        positions_RN = np.zeros((group.rows, room), np.int32)
        at_once = self.forest.length[self.roots.node] == 0
        waiting = _joined(
            self.roots.chosen(~at_once),
            self.expand(self.roots.chosen(at_once), np.asarray(logits_BU)[self.roots.question[at_once]], threshold),
        )
        while len(waiting.node):
            if column + nodes > room:
                own, room = _widened(own), 2 * room
                positions_RN = np.pad(positions_RN, ((0, 0), (0, room // 2)))
            slot = self.slots(waiting)
            fed = slot + self.forest.length[waiting.node] <= nodes
            items, slot = waiting.chosen(fed), slot[fed]
            batch, grown = self.lay_out_nodes(items, slot, nodes, column, positions_RN)
            logits_RTU, own = _grow(weights, prefix, own, batch, np.int32(column), self.forest.ids_U, cfg)
            rows, last = grown.question // group.questions, slot + self.forest.length[grown.node] - 1
            waiting = _joined(waiting.chosen(~fed), self.expand(grown, np.asarray(logits_RTU)[rows, last], threshold))
            column += nodes

    def slots(self, items: _Items) -> np.ndarray:
        """Where the tokens of each item begin among the new ones of its trunk, if all were computed now."""
        rows, lengths = items.question // self.group.questions, self.forest.length[items.node]
        order = np.argsort(rows, kind="stable")
        begins, first_of_row = before(lengths[order]), np.searchsorted(rows[order], rows[order])
        slot = np.empty(len(rows), int)
        slot[order] = begins - begins[first_of_row]
        return slot

    def lay_out_nodes(
        self, items: _Items, slot: np.ndarray, nodes: int, column: int, positions_RN: np.ndarray
    ) -> tuple[decoding.Nodes, _Items]:
        """The arrays of a pass over these items, and the items with the columns of their tokens in their paths."""
        rows_R, length = self.group.rows, self.forest.length[items.node]
        tokens_RT, branches_RT, segments_RT, positions_RT = np.zeros((4, rows_R, nodes), np.int32)
        follows_RTN = np.zeros((rows_R, nodes, positions_RN.shape[1]), bool)
        row_of, prompt_of = np.divmod(items.question, self.group.questions)
        path, index = items.path.copy(), np.arange(len(length))
        for step in range(int(length.max())):  # the tokens of an edge, of which there are seldom more than two
            here = index[length > step]
            row, at = row_of[here], slot[here] + step
            path[here, items.depth[here] + step] = column + at
            tokens_RT[row, at] = self.forest.tokens[self.forest.edge[items.node[here]] + step]
            branches_RT[row, at], segments_RT[row, at] = prompt_of[here] + 1, 1
            positions_RT[row, at] = self.layout.starts_RP[row, prompt_of[here]] + items.depth[here] + step
            which, place = np.nonzero(path[here] >= 0)
            follows_RTN[row[which], at[which], path[here][which, place]] = True
        positions_RN[:, column : column + nodes] = positions_RT
        np.add.at(self.computed, items.question, length)
        grown = items._replace(depth=items.depth + length, path=path)
        tokens, *rows, positions, follows = jax.device_put(
            (tokens_RT, positions_RT, segments_RT, branches_RT, positions_RN, follows_RTN)
        )
        return decoding.Nodes(tokens, packed.Rows(*rows), positions, follows), grown

    def expand(self, items: _Items, logits_IU: np.ndarray, threshold: float) -> _Items:
        """Share each item's probability out to its children; return those that the model has to see in their turn."""
        children = self.forest.children[items.node]
        whole = children == 0  # a question with a single answer
        self.settle(items.chosen(whole), items.probability[whole])
        items, logits_IU, children = items.chosen(~whole), logits_IU[~whole], children[~whole]
        if len(children) == 0:
            return items
        begins = before(children)
        parent = np.repeat(np.arange(len(children)), children)
        node = self.forest.child[items.node][parent] + np.arange(len(parent)) - begins[parent]
        scores = logits_IU[parent, self.forest.choice[node]].astype(np.float64)
        scores = np.exp(scores - np.maximum.reduceat(scores, begins)[parent])
        share = items.probability[parent] * scores / np.add.reduceat(scores, begins)[parent]
        born = _Items(node, items.question[parent], share, items.depth[parent], items.path[parent])
        ended = (self.forest.children[node] == 0) | (share < threshold)
        self.settle(born.chosen(ended), share[ended])
        return born.chosen(~ended)

    def settle(self, items: _Items, share: np.ndarray) -> None:
        """Spread the probability of each item evenly over the answers that begin with it."""
        base = self.base[items.question]
        low, high = base + self.forest.low[items.node], base + self.forest.high[items.node]
        np.add.at(self.steps, low, share / (high - low))
        np.add.at(self.steps, high, -share / (high - low))
        np.add.at(self.spread, items.question, np.where(high - low > 1, share, 0.0))

    def result(self, question: int) -> Distribution:
        """What was found out about one question."""
        tree, base = self.trees[question], self.base[question]
        probabilities = np.zeros(len(tree.order))
        probabilities[tree.order] = np.maximum(np.cumsum(self.steps[base : base + len(tree.order)]), 0.0)
        return Distribution(
            probabilities / probabilities.sum(), float(self.spread[question]), int(self.computed[question])
        )


def _joined(first: _Items, second: _Items) -> _Items:
    return _Items(*(np.concatenate(pair) for pair in zip(first, second, strict=True)))


@functools.partial(jax.jit, static_argnames=("cfg", "room"))
def _begin(
    params: decoder.Params,
    weights: decoding.Weights,
    batch: decoder.Batch,
    columns_RS: jax.Array,
    last_B: jax.Array,
    starts_RP: jax.Array,
    ids_U: jax.Array,
    cfg: config.Model,
    room: int,
) -> tuple[decoding.Prefix, jax.Array, tuple[OwnCache, ...]]:
    """Trunks with their prompts, logits f32[B, U] of what may follow each prompt, and caches with room for nodes."""
    prefix, last_BD = decoding.prefill(params, batch, columns_RS, last_B, starts_RP, cfg)
    own = decoding.empty(prefix, starts_RP.shape[0], room)
    return prefix, decoder.logits(last_BD, weights.head_DV[:, ids_U], cfg), own


@functools.partial(jax.jit, static_argnames="cfg", donate_argnames="own")
def _grow(
    weights: decoding.Weights,
    prefix: decoding.Prefix,
    own: tuple[OwnCache, ...],
    nodes: decoding.Nodes,
    column: jax.Array,
    ids_U: jax.Array,
    cfg: config.Model,
) -> tuple[jax.Array, tuple[OwnCache, ...]]:
    """The logits f32[R, T, U] of what may follow each new node, and the caches with the nodes."""
    x_RTD, own = decoding.advance_trees(weights, cfg, prefix, own, nodes, column)
    return decoder.logits(x_RTD, weights.head_DV[:, ids_U], cfg), own


@jax.jit
def _widened(own: tuple[OwnCache, ...]) -> tuple[OwnCache, ...]:
    """Caches with room for twice as many nodes."""
    double = lambda x, axis: jnp.concatenate([x, jnp.zeros_like(x)], axis)  # noqa: E731
    return tuple(OwnCache(double(layer.keys, 3), double(layer.values, 2)) for layer in own)
