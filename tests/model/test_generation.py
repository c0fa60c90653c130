"""Cached decoding equals decoding without a cache, whatever the padding and whatever else is asked about a movement;
branch scores equal full softmax."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from compilations import compilations

from biomechgpt_jax import config
from biomechgpt_jax.errors import InputError
from biomechgpt_jax.model import block, constraints, decoder, generation
from biomechgpt_jax.model.requests import Group, Request, Settings, transitions

VOCABULARY = 64
CFG = config.Model(layers=2, model_size=32, heads=4, kv_heads=2, head_size=8, hidden_size=64, compute_dtype="float32")
END = 3
FAST = {"xla_backend_optimization_level": 0}  # compile quickly; the arithmetic is the same
apply = jax.jit(decoder.apply, static_argnames="cfg", compiler_options=FAST)


@pytest.fixture(scope="module")
def params():
    # Large weights make the argmax vary from token to token.
    random = np.random.default_rng(4)
    shapes = decoder.abstract(CFG, VOCABULARY)
    return jax.tree.map(lambda leaf: 0.45 * random.standard_normal(leaf.shape).astype(np.float32), shapes)


def prompts(count: int, seed: int = 0) -> list[np.ndarray]:
    random = np.random.default_rng(seed)
    return [random.integers(4, VOCABULARY, random.integers(1, 40)).astype(np.int32) for _ in range(count)]


def only(ids: list[int]) -> constraints.Automaton:
    """Any sequence of these ids."""
    return constraints.Automaton(np.array([ids], np.int32), np.zeros((1, len(ids)), np.int32))


def continued(params, cfg, prompts, max_new, answer=None, **settings) -> list[generation.Answer]:
    """Answers to prompts that share nothing: requests without a trunk."""
    answers = () if answer is None else (answer,)
    requests = [Request(prompt[:0], (prompt,), answers) for prompt in prompts]
    found = generation.generate(params, cfg, requests, Settings(max_new, END, **settings))
    return [one for (one,) in found]


def uncached(params, cfg, prompt, max_new, allowed=None):
    """Decode by running the whole sequence again for every token (in a row of fixed length)."""
    tokens, logprobs, width = list(prompt), [], 64
    for _ in range(max_new):
        index = np.arange(width)[None]
        batch = {"tokens": np.zeros((1, width), np.int32), "positions": index.astype(np.int32)}
        batch["tokens"][0, : len(tokens)] = tokens
        batch |= {
            "segments": (index < len(tokens)).astype(np.int32),
            "branches": np.zeros((1, width), np.int32),
        }
        logits = np.asarray(apply(params, batch, cfg))[0, len(tokens) - 1].astype(float)
        choice = int(np.argmax(logits if allowed is None else np.where(allowed, logits, -np.inf)))
        logprobs.append(logits[choice] - np.log(np.exp(logits - logits.max()).sum()) - logits.max())
        tokens.append(choice)
        if choice == END:
            break
    return np.array(tokens[len(prompt) :]), np.array(logprobs)


@pytest.mark.parametrize("window", [0, 5])
def test_cached_equals_uncached(params, window):
    cfg = dataclasses.replace(CFG, window=window)
    asked = prompts(5)
    for prompt, (tokens, logprobs) in zip(asked, continued(params, cfg, asked, 10, bucket=24), strict=True):
        want_tokens, want_logprobs = uncached(params, cfg, prompt, 10)
        np.testing.assert_array_equal(tokens, want_tokens)
        np.testing.assert_allclose(logprobs, want_logprobs, atol=1e-4)


def test_a_change_of_the_product_with_a_weight_reaches_training_and_decoding_alike(params, monkeypatch):
    """An adapter or a quantised weight has to be written once, in `block.project`."""
    strength = dict(zip(("query", "key", "value", "output", "gate", "up", "down"), 0.1 * np.arange(1, 8), strict=True))
    plain, asked, used = block.project, prompts(3), set()
    before = continued(params, CFG, asked, 6)

    def adapted(x, weights, name, contracted=1, **others):
        used.add(name)
        y = plain(x, weights, name, contracted)
        return y + strength[name] * jnp.tanh(y)

    monkeypatch.setattr(block, "project", adapted)
    cfg = dataclasses.replace(CFG, norm_epsilon=2e-5)  # traced by no other test
    after = continued(params, cfg, asked, 6)
    assert used == set(strength)
    for prompt, (tokens, logprobs) in zip(asked, after, strict=True):
        want_tokens, want_logprobs = uncached(params, cfg, prompt, 6)
        np.testing.assert_array_equal(tokens, want_tokens)
        np.testing.assert_allclose(logprobs, want_logprobs, atol=1e-4)
    assert any(old.tokens.tolist() != new.tokens.tolist() for old, new in zip(before, after, strict=True))


def test_decoding_stops_at_the_end_token_and_obeys_the_mask(params):
    allowed = np.zeros(VOCABULARY, bool)
    allowed[[END, 10, 11, 12]] = True
    asked = prompts(12, seed=5)
    answers = continued(params, CFG, asked, 8, only([END, 10, 11, 12]))
    for prompt, (tokens, logprobs) in zip(asked, answers, strict=True):
        want_tokens, want_logprobs = uncached(params, CFG, prompt, 8, allowed)
        np.testing.assert_array_equal(tokens, want_tokens)
        np.testing.assert_allclose(logprobs, want_logprobs, atol=1e-4)
    assert any(END in tokens for tokens, _ in answers) and any(len(tokens) == 8 for tokens, _ in answers)


def test_neither_bucket_nor_batch_changes_an_answer(params):
    asked = prompts(7, seed=2)
    base = continued(params, CFG, asked, 6, bucket=40, batch_size=1)
    for bucket, batch in ((64, 8), (20, 4)):
        other = continued(params, CFG, asked, 6, bucket=bucket, batch_size=batch)
        for (tokens, logprobs), (want_tokens, want_logprobs) in zip(other, base, strict=True):
            np.testing.assert_array_equal(tokens, want_tokens)
            np.testing.assert_allclose(logprobs, want_logprobs, atol=1e-4)


def test_a_bucket_compiles_once(params):
    def prompts_of_a_bucket(seed: int) -> list[np.ndarray]:
        return [np.resize(prompt, 17 + i % 16) for i, prompt in enumerate(prompts(8, seed))]

    cfg = dataclasses.replace(CFG, norm_epsilon=2e-6)  # compiled by no other test
    with compilations() as first:
        continued(params, cfg, prompts_of_a_bucket(0), 4, bucket=32, batch_size=8)
    with compilations() as others:
        for seed in (1, 2):
            continued(params, cfg, prompts_of_a_bucket(seed), 4, bucket=32, batch_size=8)
    assert first and not others


def requests(seed: int, counts: tuple[int, ...] = (3, 1, 4, 2)) -> list[Request]:
    """Movements of 5 to 20 tokens with so many questions of 2 to 8 tokens about each."""
    random = np.random.default_rng(seed)
    some = lambda low, high: random.integers(4, VOCABULARY, random.integers(low, high)).astype(np.int32)  # noqa: E731
    return [Request(some(5, 21), tuple(some(2, 9) for _ in range(count))) for count in counts]


GEMMA = dataclasses.replace(
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


@pytest.mark.parametrize("cfg", [CFG, dataclasses.replace(CFG, qk_norm=False, window=7), GEMMA])
def test_questions_that_share_a_trunk_are_answered_as_if_each_were_asked_alone(cfg):
    params = decoder.init(jax.random.key(1), cfg, VOCABULARY)
    params = jax.tree.map(lambda leaf: leaf + 0.1 * np.sin(np.arange(leaf.size)).reshape(leaf.shape), params)
    asked = requests(0)
    together = generation.generate(params, cfg, asked, Settings(6, END, bucket=32))
    assert [len(answers) for answers in together] == [3, 1, 4, 2]
    for request, answers in zip(asked, together, strict=True):
        for question, (tokens, logprobs) in zip(request.questions, answers, strict=True):
            prompt = np.concatenate([request.trunk, question])
            want_tokens, want_logprobs = uncached(params, cfg, prompt, 6)
            np.testing.assert_array_equal(tokens, want_tokens)
            np.testing.assert_allclose(logprobs, want_logprobs, atol=1e-5)


def test_other_questions_compile_nothing(params):
    def ask(seed):
        random = np.random.default_rng(seed)
        answers = [constraints.one_of(random.integers(4, 60, (count, 3)).tolist(), END) for count in (3, 4, 4 + seed)]
        several = [
            dataclasses.replace(request, answers=[answers[i % 3] for i in range(len(request.questions))])
            for request in requests(seed, (3, 4, 3, 3))
        ]
        generation.generate(params, CFG, several, Settings(4, END, bucket=128))

    ask(0)
    with compilations() as others:
        for seed in range(1, 4):
            ask(seed)
    assert not others


def test_an_answer_is_one_of_its_options(params):
    random = np.random.default_rng(8)
    answers = [constraints.one_of(random.integers(4, 60, (5, count)).tolist(), END) for count in (1, 2, 3)]
    asked = [dataclasses.replace(request, answers=answers) for request in requests(4, (3, 3))]
    for request, found in zip(asked, generation.generate(params, CFG, asked, Settings(4, END)), strict=True):
        for question, automaton, (tokens, logprobs) in zip(request.questions, answers, found, strict=True):
            state = 0
            for token in tokens:
                state = automaton.states[state][list(automaton.tokens[state]).index(token)]
            assert tokens[-1] == END
            prompt = np.concatenate([request.trunk, question])
            width, n = 64, len(prompt) + len(tokens)
            index = np.arange(width, dtype=np.int32)[None]
            batch = {"tokens": np.zeros_like(index), "positions": index}
            batch["tokens"][0, :n] = [*prompt, *tokens]
            batch |= {"segments": (index < n).astype(np.int32), "branches": 0 * index}
            batch["loss_weights"] = ((index >= len(prompt)) & (index < n)).astype(np.float32)
            scores = np.asarray(generation.branch_logprobs(params, batch, CFG))[0, len(prompt) : n]
            np.testing.assert_allclose(logprobs, scores, atol=1e-4)
    with pytest.raises(InputError, match="may need 4 tokens"):
        generation.generate(params, CFG, asked, Settings(3, END))


def test_bad_requests_are_refused(params):
    one = np.array([1])
    with pytest.raises(InputError, match="request 1 has an empty question"):
        continued(params, CFG, [one, one[:0]], 4)
    with pytest.raises(InputError, match="outside the vocabulary"):
        continued(params, CFG, [np.array([VOCABULARY])], 4)
    with pytest.raises(InputError, match="ids outside the 10 that can be chosen"):
        continued(params, CFG, [one], 4, only([10]), ids=10)
    with pytest.raises(InputError, match="ids is 3"):
        continued(params, CFG, [one], 4, ids=END)
    with pytest.raises(InputError, match="1 questions and 2 constraints"):
        generation.generate(params, CFG, [Request(one, [one], [only([END])] * 2)], Settings(4, END))
    with pytest.raises(InputError, match="must be at least 1"):
        Settings(0, END)
    assert continued(params, CFG, [], 4) == []
    assert generation.generate(params, CFG, [Request(one, [])], Settings(4, END)) == [[]]


def test_over_the_first_ids_alone_the_rest_might_as_well_be_at_minus_infinity(params):
    ids, asked = 40, prompts(4)
    plain = continued(params, CFG, asked, 8, only(list(range(ids))))
    for prompt, (tokens, logprobs), (other, _) in zip(
        asked, continued(params, CFG, asked, 8, ids=ids), plain, strict=True
    ):
        np.testing.assert_array_equal(tokens, other)
        row = np.concatenate([prompt, tokens])[None].astype(np.int32)
        index = np.arange(row.shape[1])[None].astype(np.int32)
        batch = {"tokens": row, "positions": index, "segments": 0 * index + 1, "branches": 0 * index}
        logits = np.asarray(decoder.apply(params, batch, CFG)).astype(float)[0, len(prompt) - 1 : -1, :ids]
        want = (logits - np.log(np.exp(logits).sum(-1, keepdims=True)))[np.arange(len(tokens)), tokens]
        np.testing.assert_allclose(logprobs, want, atol=1e-4)
        batch["loss_weights"] = (index >= len(prompt)).astype(np.float32)
        scores = np.asarray(generation.branch_logprobs(params, batch, CFG, ids))[0, len(prompt) :]
        np.testing.assert_allclose(scores, want, atol=1e-4)


def test_branch_scores_equal_a_full_softmax(params, monkeypatch):
    random = np.random.default_rng(0)
    length = 50
    index = np.arange(length)[None].repeat(3, 0).astype(np.int32)
    batch = {
        "tokens": random.integers(0, VOCABULARY, (3, length)).astype(np.int32),
        "positions": np.where(index < 20, index, 20 + (index - 20) % 10),
        "segments": np.ones_like(index),
        "branches": np.where(index < 20, 0, 1 + (index - 20) // 10),
        "loss_weights": ((index >= 20) & ((index - 20) % 10 > 6)).astype(np.float32),
    }
    logits = np.asarray(apply(params, batch, CFG)).astype(float)
    logprobs = logits - np.log(np.exp(logits).sum(-1, keepdims=True))
    want = np.zeros((3, length))
    for row, column in zip(*np.nonzero(batch["loss_weights"]), strict=True):
        want[row, column] = logprobs[row, column - 1, batch["tokens"][row, column]]
    for tokens in (4096, 30, 1):  # one chunk, chunks that do not divide the row, one column at a time
        monkeypatch.setattr(generation, "LOGITS_TOKENS", tokens)
        generation.branch_logprobs.clear_cache()
        np.testing.assert_allclose(generation.branch_logprobs(params, batch, CFG), want, atol=1e-4)


def test_a_token_of_several_codes_is_the_sum_of_their_embeddings(params):
    """An id whose embedding is the sum stands for the codes; its own logit is the one that differs."""
    codes, stand_in = np.array([[11, 20, 41], [12, 25, -1]], np.int32), [60, 61]
    table = np.array(params["embedding"])
    for one, row in zip(stand_in, codes, strict=True):
        table[one] = table[row[row >= 0]].sum(0)
    head = {"head": params["embedding"].T} if "head" not in params else {}
    cfg = dataclasses.replace(CFG, tied_embeddings=False)
    summed, plain = {**params, **head}, {**params, **head, "embedding": table}
    text = np.array([7, 8, 9], np.int32)
    several = np.array([*codes, [7, -1, -1], [8, -1, -1], [9, -1, -1]], np.int32)
    one = np.array([*stand_in, *text], np.int32)

    index = np.arange(5, dtype=np.int32)[None]
    rest = {"positions": index, "segments": np.ones_like(index), "branches": np.zeros_like(index)}
    batch = {"tokens": several[None, :, 0], "codes_1": several[None, :, 1], "codes_2": several[None, :, 2]} | rest
    found, wanted = apply(summed, batch, cfg), apply(plain, {"tokens": one[None]} | rest, cfg)
    np.testing.assert_allclose(found, wanted, atol=2e-4)
    text_alone = only(list(range(min(stand_in))))
    first = continued(summed, cfg, [several, several[1:]], 6, text_alone, bucket=24)
    second = continued(plain, cfg, [one, one[1:]], 6, text_alone, bucket=24)
    for (tokens, logprobs), (other, scores) in zip(first, second, strict=True):
        np.testing.assert_array_equal(tokens, other)
        np.testing.assert_allclose(logprobs, scores, atol=1e-3)


def test_the_table_of_transitions_is_over_the_ids_that_occur_and_not_over_the_vocabulary():
    far = 262_143
    numbers, letters = only([7, far, END]), constraints.one_of([[far, 5], [9]], END)
    asked = Request(np.zeros(0, np.int32), [np.array([4])] * 2, [numbers, letters])
    table = transitions([asked], Group((0,), 1, 2, 8), fewest_states=8)
    assert table.ids_U.tolist() == [END, 5, 7, 9, far] + [0] * 59 and table.states_AU.shape == (8, 64)
    first, second = table.starts_B
    allowed = lambda state: dict(zip(table.ids_U[:5].tolist(), table.states_AU[state, :5].tolist(), strict=True))  # noqa: E731
    assert allowed(first) == {END: first, 5: -1, 7: first, 9: -1, far: first}
    after = allowed(second)
    assert {token for token, state in after.items() if state >= 0} == {9, far}
    assert {token for token, state in allowed(after[far]).items() if state >= 0} == {5}
    assert (table.states_AU[:, 5:] < 0).all() and (table.states_AU[4:] < 0).all()
