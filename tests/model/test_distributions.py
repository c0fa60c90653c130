"""The distribution over all allowed answers against every answer scored by itself, without a cache or a tree."""

import dataclasses

import jax
import numpy as np
import pytest
from compilations import compilations

from biomechgpt_jax import config
from biomechgpt_jax.errors import InputError
from biomechgpt_jax.model import decoder
from biomechgpt_jax.model.distributions import Distribution, distributions
from biomechgpt_jax.model.requests import Request, Settings
from biomechgpt_jax.model.trees import tree_of

VOCABULARY, END, TEXT = 64, 3, 40  # ids from TEXT on are motion
CFG = config.Model(layers=2, model_size=32, heads=4, kv_heads=2, head_size=8, hidden_size=64, compute_dtype="float32")
WINDOWED = dataclasses.replace(
    CFG,
    layers=3,
    window=6,
    global_every=2,
    local_rope_theta=100.0,
    post_norms=True,
    unit_norms=True,
    scale_embeddings=True,
    attention_soft_cap=20.0,
    logit_soft_cap=10.0,
    query_size=12.0,
    activation="gelu",
)
apply = jax.jit(decoder.apply, static_argnames="cfg", compiler_options={"xla_backend_optimization_level": 0})


def written(text: str) -> list[int]:
    """A token for every character."""
    return [4 + "0123456789. m".index(character) for character in text]


NUMBERS = [written(f"{number / 10:.1f} m") for number in range(5, 131)]
ANSWERS = {
    "numbers": NUMBERS,
    "whole": [written(str(number)) for number in range(0, 13)],  # "1" is an answer, and begins others
    "below one": [written(f"0.{number} m") for number in range(3, 8)],  # all begin with "0."
    "one": [written("1 m")],
}
TREES = {name: tree_of(answers, END) for name, answers in ANSWERS.items()}
KINDS = [["numbers", "whole", "one"], ["below one"], ["numbers", "below one", "whole", "numbers"]]


def parameters(cfg: config.Model, seed: int = 4) -> decoder.Params:
    """Weights so large that the answers differ in probability."""
    random = np.random.default_rng(seed)
    params = decoder.init(jax.random.key(1), cfg, VOCABULARY)
    return jax.tree.map(lambda leaf: leaf + 0.25 * random.standard_normal(leaf.shape).astype(np.float32), params)


def requests(seed: int = 0, codes: int = 1) -> list[Request]:
    """Movements of 5 to 20 tokens, with questions of 2 to 8 tokens about each."""
    random = np.random.default_rng(seed)

    def movement() -> np.ndarray:
        ids = random.integers(TEXT, VOCABULARY, (random.integers(5, 21), codes)).astype(np.int32)
        ids[2, 1:] = -1
        return ids

    some = lambda: random.integers(4, TEXT, random.integers(2, 9)).astype(np.int32)  # noqa: E731
    return [Request(movement(), tuple(some() for _ in kinds)) for kinds in KINDS]


def found(params: decoder.Params, cfg: config.Model, asked: list[Request], threshold: float, **settings: int):
    trees = [[TREES[kind] for kind in kinds] for kinds in KINDS]
    return distributions(params, cfg, asked, trees, Settings(8, END, TEXT, **{"bucket": 32} | settings), threshold)


def enumerated(params: decoder.Params, cfg: config.Model, trunk: np.ndarray, question: np.ndarray, kind: str):
    """The probability of every answer, each of them a sequence of its own, f64[A]."""
    answers, width = [(*answer, END) for answer in ANSWERS[kind]], 48
    prompt = np.concatenate([trunk, np.pad(question[:, None], ((0, 0), (0, trunk.shape[1] - 1)), constant_values=-1)])
    ids = np.zeros((len(NUMBERS), width, trunk.shape[1]), np.int32)  # of one shape whatever is asked
    ids[:, :, 1:] = -1
    ids[:, : len(prompt)] = prompt
    for row, answer in enumerate(answers):
        ids[row, len(prompt) : len(prompt) + len(answer), 0] = answer
    index = np.broadcast_to(np.arange(width, dtype=np.int32), ids.shape[:2])
    batch = {"tokens": ids[..., 0], "positions": index, "segments": np.ones_like(index), "branches": 0 * index}
    batch |= {f"codes_{layer}": ids[..., layer] for layer in range(1, ids.shape[2])}
    logits = np.asarray(apply(params, batch, cfg=cfg), np.float64)[:, len(prompt) - 1 :]
    probabilities = np.ones(len(answers))
    for row, answer in enumerate(answers):
        for step, token in enumerate(answer):
            allowed = sorted({other[step] for other in answers if other[:step] == answer[:step]})
            scores = np.exp(logits[row, step, allowed] - logits[row, step, allowed].max())
            probabilities[row] *= scores[allowed.index(token)] / scores.sum()
    assert probabilities.sum() == pytest.approx(1)
    return probabilities


def compare(asked: list[Request], results: list[list[Distribution]]):
    """Each question's request, kind and distribution."""
    for request, kinds, distributed in zip(asked, KINDS, results, strict=True):
        yield from ((request.trunk, *one) for one in zip(request.questions, kinds, distributed, strict=True))


@pytest.mark.parametrize(("cfg", "codes"), [(CFG, 1), (WINDOWED, 1), (CFG, 3)])
def test_without_pruning_every_answer_has_the_probability_that_it_has_alone(cfg: config.Model, codes: int) -> None:
    params, asked = parameters(cfg), requests(codes=codes)
    for trunk, question, kind, one in compare(asked, found(params, cfg, asked, threshold=0)):
        want = enumerated(params, cfg, trunk, question, kind)
        np.testing.assert_allclose(one.probabilities, want, atol=1e-4)
        assert one.spread == 0


def test_pruning_moves_no_more_than_it_reports_and_only_below_the_prefixes_it_does_not_continue() -> None:
    params, asked = parameters(CFG), requests(1)
    exact, pruned = found(params, CFG, asked, threshold=0), found(params, CFG, asked, threshold=0.1)
    moved = []
    for (*_, kind, want), (*_, one) in zip(compare(asked, exact), compare(asked, pruned), strict=True):
        difference = one.probabilities - want.probabilities
        moved.append(0.5 * np.abs(difference).sum())
        assert one.probabilities.sum() == pytest.approx(1) and moved[-1] <= one.spread + 1e-5
        assert one.nodes <= want.nodes
        for first in {answer[0] for answer in ANSWERS[kind]}:
            below = np.array([answer[0] == first for answer in ANSWERS[kind]])
            assert abs(difference[below].sum()) < 1e-5, "a first token keeps its probability"
    assert max(moved) > 0.01, "the threshold prunes something"
    assert sum(one.nodes for rows in pruned for one in rows) < sum(one.nodes for rows in exact for one in rows) / 2


def test_a_distribution_depends_neither_on_the_other_questions_nor_on_the_batch() -> None:
    params, asked = parameters(CFG), requests(2)
    together = found(params, CFG, asked, threshold=0.05)
    for settings in ({"batch_size": 1}, {"batch_size": 4}, {"fewest_questions": 8}):
        for (*_, one), (*_, other) in zip(
            compare(asked, together), compare(asked, found(params, CFG, asked, 0.05, **settings)), strict=True
        ):
            np.testing.assert_allclose(one.probabilities, other.probabilities, atol=1e-5)
            assert one.nodes == other.nodes
    for request, kinds, distributed in zip(asked, KINDS, together, strict=True):
        for question, kind, one in zip(request.questions, kinds, distributed, strict=True):
            alone = Request(request.trunk, (question,))
            [[other]] = distributions(params, CFG, [alone], [[TREES[kind]]], Settings(8, END, TEXT, 32), 0.05)
            np.testing.assert_allclose(one.probabilities, other.probabilities, atol=1e-5)


def test_other_questions_compile_nothing() -> None:
    models = [parameters(CFG, seed) for seed in range(3)]
    found(models[0], CFG, requests(3), threshold=0.05, bucket=128)
    with compilations() as others:
        for seed, params in enumerate(models):
            found(params, CFG, requests(seed), threshold=0.05, bucket=128)
    assert not others


def test_bad_requests_are_refused() -> None:
    params, one, few = parameters(CFG), np.array([[TEXT]], np.int32), Settings(8, END, TEXT)
    request = Request(one, [np.array([5], np.int32)])
    with pytest.raises(InputError, match="request 0 has 1 questions and 2 trees"):
        distributions(params, CFG, [request], [[TREES["whole"]] * 2], few)
    with pytest.raises(InputError, match="may need 4 tokens; raise max_new above 2"):
        distributions(params, CFG, [request], [[TREES["one"]]], dataclasses.replace(few, max_new=2))
    with pytest.raises(InputError, match="answers with ids outside the 40"):
        distributions(params, CFG, [request], [[tree_of([[TEXT], [5]], END)]], few)
    with pytest.raises(InputError, match="outside the vocabulary"):
        distributions(params, CFG, [Request(one + 99, request.questions)], [[TREES["one"]]], few)
    assert distributions(params, CFG, [], [], few) == []
    assert distributions(params, CFG, [Request(one, [])], [[]], few) == [[]]
