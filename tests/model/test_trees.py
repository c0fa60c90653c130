"""The tree of answers against the list that it was made of."""

import numpy as np
import pytest

from biomechgpt_jax.errors import InputError
from biomechgpt_jax.model.trees import Tree, tree_of

END = 0


def answers_of(tree: Tree) -> dict[int, tuple[int, ...]]:
    """The tokens on the way to every leaf, by the number of its answer; the way ends with the last choice."""
    found, paths = {}, [(0, ())]
    while paths:
        node, before = paths.pop()
        edge = tuple(tree.tokens[tree.edge[node] : tree.edge[node] + tree.length[node]].tolist())
        if tree.children[node] == 0:
            assert tree.high[node] == tree.low[node] + 1 and not edge
            choice = (int(tree.choice[node]),) if node else ()
            found[int(tree.order[tree.low[node]])] = (*before, *choice)
            continue
        assert not node or edge[0] == tree.choice[node], "an edge begins with the chosen token"
        children = range(tree.child[node], tree.child[node] + tree.children[node])
        assert len({int(tree.choice[child]) for child in children}) == len(children) > 1, "a node is a choice"
        assert [tree.low[child] for child in children] == [
            tree.low[node],
            *(tree.high[child] for child in list(children)[:-1]),
        ]
        paths += [(child, (*before, *edge)) for child in children]
    return found


def test_every_answer_is_a_leaf_and_the_shortest_prefix_that_tells_it_from_the_others() -> None:
    random = np.random.default_rng(0)
    for count in (1, 2, 7, 60):
        answers = sorted({tuple(random.integers(1, 4, random.integers(1, 6)).tolist()) for _ in range(count)})
        random.shuffle(answers)
        found = answers_of(tree_of(answers, END))
        assert sorted(found) == list(range(len(answers)))
        for number, prefix in found.items():
            whole = (*answers[number], END)
            assert whole[: len(prefix)] == prefix
            alike = [other for other in answers if (*other, END)[: len(prefix)] == prefix]
            assert alike == [answers[number]]


def test_the_numbers_of_a_range_have_few_choices() -> None:
    texts = [f"{number / 100:.2f} m/s" for number in range(5, 351)]
    tree = tree_of([list(text.encode()) for text in texts], END)
    assert tree.longest == len("3.50 m/s") + 1
    # The metres, the tenths of each, the hundredths of each tenth: no choice at the point or in the unit.
    assert int((tree.children > 0).sum()) == 1 + 4 + 35
    assert tree.length[1:5].tolist() == [2, 2, 2, 2] and tree.length[tree.children == 0].max() == 0


def test_impossible_answers_are_refused() -> None:
    for answers, words in (([], "there is none"), ([[1], []], "answer 1 is empty"), ([[1, END]], "the end token")):
        with pytest.raises(InputError, match=words):
            tree_of(answers, END)
    with pytest.raises(InputError, match="answer 0 is given twice"):
        tree_of([[1], [2], [1]], END)
