"""What the decoder promises: branches are private, order and remat do not matter, parameters are plain."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from biomechgpt_jax import config
from biomechgpt_jax.model import decoder, motion, quantized
from biomechgpt_jax.model.attention import packed

VOCABULARY = 96
LENGTH = 72
FAST = {"xla_backend_optimization_level": 0}  # compile quickly; the arithmetic is the same
apply = jax.jit(decoder.apply, static_argnames="cfg", compiler_options=FAST)
BASE = config.Model(layers=2, model_size=32, heads=4, kv_heads=2, head_size=8, hidden_size=64, compute_dtype="float32")
FAMILIES = {
    "llama": dataclasses.replace(BASE, qk_norm=False, tied_embeddings=False),
    "qwen": BASE,
    "gemma": dataclasses.replace(
        BASE,
        activation="gelu",
        scale_embeddings=True,
        post_norms=True,
        unit_norms=True,
        window=6,
        global_every=2,
        rope_scaling="linear",
        local_rope_theta=100.0,
        attention_soft_cap=3.0,
        logit_soft_cap=5.0,
    ),
}


def random_params(cfg: config.Model, seed: int = 0) -> dict:
    """Parameters of the right shapes from NumPy, without compiling an initialiser."""
    random = np.random.default_rng(seed)

    def draw(leaf):
        if leaf.ndim <= 2 and leaf.shape[-1] != VOCABULARY and leaf.shape[0] != VOCABULARY:  # norm scales
            return (1 + 0.1 * random.standard_normal(leaf.shape)).astype(np.float32)
        return (random.standard_normal(leaf.shape) * cfg.model_size**-0.5).astype(np.float32)

    return jax.tree.map(draw, decoder.abstract(cfg, VOCABULARY))


def row(parts: list[tuple[int, int, np.ndarray, int]], length: int = LENGTH) -> dict[str, np.ndarray]:
    """A packed row from (segment, branch, tokens, first position)."""
    batch = {name: np.zeros((1, length), np.int32) for name in ("tokens", "positions", "segments", "branches")}
    at = 0
    for segment, branch, tokens, first in parts:
        where = slice(at, at + len(tokens))
        batch["tokens"][0, where] = tokens
        batch["positions"][0, where] = first + np.arange(len(tokens))
        batch["segments"][0, where], batch["branches"][0, where] = segment, branch
        at += len(tokens)
    return batch


@pytest.fixture(params=list(FAMILIES), scope="module")
def model(request):
    cfg = FAMILIES[request.param]
    return cfg, random_params(cfg)


def test_a_branch_answers_as_if_asked_alone(model):
    cfg, params = model
    random = np.random.default_rng(0)
    trunks = [random.integers(0, VOCABULARY, n) for n in (17, 9)]
    questions = [[random.integers(0, VOCABULARY, n) for n in sizes] for sizes in ((5, 8, 3), (4, 6))]
    parts = []
    for segment, (trunk, asked) in enumerate(zip(trunks, questions, strict=True), start=1):
        parts.append((segment, 0, trunk, 0))
        parts += [(segment, branch, tokens, len(trunk)) for branch, tokens in enumerate(asked, start=1)]
    packed = np.asarray(apply(params, row(parts), cfg))[0]

    at = 0
    for segment, branch, tokens, first in parts:
        if branch:
            trunk = trunks[segment - 1]
            end = len(trunk) + len(tokens)
            alone = apply(params, row([(1, 0, trunk, 0), (1, 1, tokens, first)]), cfg)[0, :end]
            np.testing.assert_allclose(packed[at : at + len(tokens)], alone[len(trunk) :], atol=1e-5)
            # ... and an ordinary causal sequence is the same thing again.
            plain = apply(params, row([(1, 0, np.concatenate([trunk, tokens]), 0)]), cfg)[0, :end]
            np.testing.assert_allclose(alone, plain, atol=1e-5)
        at += len(tokens)


def test_a_branch_does_not_feel_the_others_but_feels_the_trunk(model):
    cfg, params = model
    trunk, first, second = np.arange(12), np.arange(20, 25), np.arange(30, 36)

    def logits(trunk, first):
        parts = [(1, 0, trunk, 0), (1, 1, first, len(trunk)), (1, 2, second, len(trunk))]
        return np.asarray(apply(params, row(parts), cfg))[0, 17:23]

    before = logits(trunk, first)
    np.testing.assert_array_equal(before, logits(trunk, first[::-1]))
    assert np.abs(before - logits(np.append(trunk[:-1], 50), first)).max() > 1e-3


def test_a_window_bounds_the_reach_by_position():
    cfg = dataclasses.replace(BASE, layers=1, window=4)
    params = random_params(cfg)
    tokens = np.arange(20)
    changed = np.where(tokens == 5, 70, tokens)
    before, after = (np.asarray(apply(params, row([(1, 0, t, 0)], 20), cfg))[0] for t in (tokens, changed))
    moved = np.abs(before - after).max(-1) > 1e-6
    assert moved[5:9].all()
    assert not moved[:5].any() and not moved[9:].any()


def test_remat_changes_no_gradient():
    batch = row([(1, 0, np.arange(30), 0), (1, 1, np.arange(40, 50), 30)], 48)

    def grads(remat):
        cfg = dataclasses.replace(FAMILIES["gemma"], remat=remat)
        params = random_params(cfg)
        loss = lambda p: jnp.sum(jnp.sin(decoder.apply(p, batch, cfg)))  # noqa: E731
        return jax.jit(jax.grad(loss), compiler_options=FAST)(params)

    expected = grads("none")
    for remat in ("dots", "full"):
        ratio = jax.tree.map(lambda a, b: float(jnp.linalg.norm(a - b) / jnp.linalg.norm(b)), grads(remat), expected)
        assert max(jax.tree.leaves(ratio)) <= 1e-5


@pytest.mark.parametrize("outputs", [(3, 2), (40,)])  # narrower and wider than the input: both orders of the product
def test_the_projection_has_the_gradient_of_a_tensor_product(outputs):
    x = jax.random.normal(jax.random.key(0), (2, 5, 4, 6))
    kernel = jax.random.normal(jax.random.key(1), (4, 6, *outputs))
    weight = jax.random.normal(jax.random.key(2), (2, 5, *outputs))
    got = jax.grad(lambda x, k: jnp.sum(weight * quantized.dense(x, k, 2)), argnums=(0, 1))(x, kernel)
    want = jax.grad(lambda x, k: jnp.sum(weight * jnp.tensordot(x, k, 2)), argnums=(0, 1))(x, kernel)
    for a, b in zip(got, want, strict=True):
        np.testing.assert_allclose(a, b, atol=1e-5)


def test_the_soft_cap_bounds_the_logits():
    cfg = FAMILIES["gemma"]
    params = random_params(cfg)
    params = {**params, "embedding": params["embedding"] * 100}
    assert np.abs(apply(params, row([(1, 0, np.arange(9), 0)]), cfg)).max() <= 5.0


@pytest.mark.parametrize("cfg", [FAMILIES["llama"], FAMILIES["qwen"]], ids=["untied", "tied"])
def test_parameters_are_a_plain_dict_with_named_axes(cfg):
    params = decoder.init(jax.random.key(0), cfg, VOCABULARY)
    shapes = decoder.abstract(cfg, VOCABULARY)
    axes = decoder.logical_axes(cfg, VOCABULARY)
    assert jax.tree.map(jnp.shape, params) == jax.tree.map(lambda s: s.shape, shapes)
    assert all(leaf.dtype == jnp.float32 for leaf in jax.tree.leaves(params))
    jax.tree.map(lambda leaf, names: len(leaf.shape) == len(names) or pytest.fail(f"{names}"), shapes, axes)
    assert ("head" in params) is not cfg.tied_embeddings
    assert decoder.head(params).shape == (cfg.model_size, VOCABULARY)


def test_names_and_layouts_of_parameters_are_those_of_old_checkpoints():
    cfg = FAMILIES["gemma"]
    flat = jax.tree_util.tree_leaves_with_path(decoder.abstract(cfg, VOCABULARY))
    layouts = {"/".join(key.key for key in path): leaf.shape for path, leaf in flat}
    assert layouts == {
        "embedding": (96, 32),
        "final_norm/scale": (32,),
        "layers/block/attention/key/kernel": (2, 32, 2, 8),
        "layers/block/attention/key_norm/scale": (2, 8),
        "layers/block/attention/output/kernel": (2, 4, 8, 32),
        "layers/block/attention/query/kernel": (2, 32, 4, 8),
        "layers/block/attention/query_norm/scale": (2, 8),
        "layers/block/attention/value/kernel": (2, 32, 2, 8),
        "layers/block/attention_norm/scale": (2, 32),
        "layers/block/attention_post_norm/scale": (2, 32),
        "layers/block/mlp/down/kernel": (2, 64, 32),
        "layers/block/mlp/gate/kernel": (2, 32, 64),
        "layers/block/mlp/up/kernel": (2, 32, 64),
        "layers/block/mlp_norm/scale": (2, 32),
        "layers/block/mlp_post_norm/scale": (2, 32),
    }
    untied = decoder.abstract(FAMILIES["llama"], VOCABULARY)
    assert untied["head"].shape == (32, 96) and "query_norm" not in untied["layers"]["block"]["attention"]


def test_a_seed_gives_the_initial_values_that_it_always_gave():
    """So that a run can be repeated with a later version of the program."""
    params = decoder.init(jax.random.key(3), config.Model(), 256)
    layer = params["layers"]["block"]
    np.testing.assert_allclose(params["embedding"][0, :3], [-0.02083341, -0.03173607, 0.00181424], atol=1e-7)
    np.testing.assert_allclose(
        layer["attention"]["query"]["kernel"][0, 0, 0, :3], [0.03664416, -0.00071808, -0.03581901], atol=1e-7
    )
    np.testing.assert_allclose(
        layer["mlp"]["down"]["kernel"][0, 0, :3], [-0.01095645, 0.00372693, -0.06082192], atol=1e-7
    )
    assert (np.asarray(params["final_norm"]["scale"]) == 1).all()


LAYERS, ROWS = 12, 40  # of codes: more than ten, whose names do not sort as numbers do; of the table for text
MOTION = (LAYERS, 10, 5)  # layers of codes, codes of a layer, size of a vector


def with_motion(cfg: config.Model, rng: np.random.Generator) -> decoder.Params:
    """Parameters whose motion codes have vectors, all of them random."""
    return jax.tree.map(
        lambda leaf: jnp.asarray(0.3 * rng.normal(size=leaf.shape), jnp.float32), decoder.abstract(cfg, ROWS, MOTION)
    )


def moved(rng: np.random.Generator, trunks: list[int], text: int) -> dict[str, np.ndarray]:
    """One row of trunks of so many motion tokens, each with a branch of so many text tokens."""
    tokens, positions, segments, branches = [], [], [], []
    for segment, trunk in enumerate(trunks, 1):
        codes = ROWS + rng.integers(0, MOTION[1], (trunk, LAYERS)) + MOTION[1] * np.arange(LAYERS)
        words = np.full((text, LAYERS), -1)
        words[:, 0] = rng.integers(0, ROWS, text)
        tokens.append(np.concatenate([codes, words]))
        positions.append(np.arange(trunk + text))
        segments.append(np.full(trunk + text, segment))
        branches.append((np.arange(trunk + text) >= trunk).astype(int))
    ids = np.concatenate(tokens).astype(np.int32)
    batch = {"tokens": ids[:, 0]} | {f"codes_{layer}": ids[:, layer] for layer in range(1, LAYERS)}
    for name, parts in (("positions", positions), ("segments", segments), ("branches", branches)):
        batch[name] = np.concatenate(parts).astype(np.int32)
    return {name: array[None] for name, array in batch.items()}


@pytest.mark.parametrize("tied", [True, False])
def test_motion_codes_are_embedded_by_a_linear_map_of_their_vectors(tied) -> None:
    """A table with a row for every code, worked out here, gives the same logits, those of the codes included."""
    cfg = dataclasses.replace(BASE, tied_embeddings=tied, motion_context=0)
    rng = np.random.default_rng(5)
    params = with_motion(cfg, rng)
    vectors, kernel = (np.asarray(params["motion"][name], float) for name in ("vectors", "kernel"))
    embedded = np.concatenate([vectors[layer] @ kernel[layer] for layer in range(LAYERS)])
    plain = {name: leaf for name, leaf in params.items() if name != "motion"}
    plain["embedding"] = jnp.concatenate([params["embedding"], jnp.asarray(embedded, jnp.float32)])
    if not tied:
        plain["head"] = jnp.concatenate([params["head"], jnp.asarray(embedded.T, jnp.float32)], axis=1)
    assert decoder.vocabulary_size(params) == 160 == decoder.vocabulary_size(plain)

    batch = moved(rng, [6], 4)
    got, want = decoder.apply(params, batch, cfg), decoder.apply(plain, batch, cfg)
    assert got.shape == (1, 10, 160)
    np.testing.assert_allclose(got, want, atol=5e-5)
    alone = {name: array for name, array in batch.items() if not name.startswith("codes")}  # the first code alone
    np.testing.assert_allclose(decoder.apply(params, alone, cfg), decoder.apply(plain, alone, cfg), atol=5e-5)
    np.testing.assert_allclose(decoder.head(params, ROWS), decoder.head(plain, ROWS))


def test_context_is_causal_and_stays_within_its_trunk() -> None:
    cfg = dataclasses.replace(BASE, motion_context=3)
    params = with_motion(cfg, np.random.default_rng(6))
    batch = moved(np.random.default_rng(7), [6, 5], 3)

    def states(batch: dict[str, np.ndarray]) -> np.ndarray:
        rows = packed.Rows(*(batch[name] for name in ("positions", "segments", "branches")))
        x_BLD = decoder.embed(params, decoder.ids(batch), cfg)
        return np.asarray(motion.add_context(x_BLD, params["motion"]["context"], rows, cfg)[0] - x_BLD[0])

    before = states(batch)
    assert (np.abs(before).max(axis=1) > 0).tolist() == [True] * 6 + [False] * 3 + [True] * 5 + [False] * 3
    changed = {name: array.copy() for name, array in batch.items()}
    changed["codes_11"][0, 4] = ROWS + 110 + (changed["codes_11"][0, 4] - ROWS - 110 + 1) % 10
    differs = np.abs(states(changed) - before).max(axis=1) > 0
    assert np.flatnonzero(differs).tolist() == [4, 5]  # itself and the one after it, but no branch and no other trunk
    second = {name: array[:, 9:] for name, array in batch.items()}  # the same trunk alone in a row
    np.testing.assert_allclose(states(second), before[9:], atol=1e-6)


def test_norms_around_one_change_nothing_in_the_context() -> None:
    """A scale that is counted from 1 (Gemma) is 0 where there is none."""
    cfg = dataclasses.replace(BASE, motion_context=3)
    params = with_motion(cfg, np.random.default_rng(6))
    batch = moved(np.random.default_rng(7), [6, 5], 3)
    rows = packed.Rows(*(batch[name] for name in ("positions", "segments", "branches")))
    x_BLD = decoder.embed(params, decoder.ids(batch), cfg)
    one, other = (
        motion.add_context(x_BLD, params["motion"]["context"], rows, dataclasses.replace(cfg, unit_norms=unit))
        for unit in (False, True)
    )
    np.testing.assert_allclose(one, other, atol=1e-6)


def test_statistics_are_those_of_a_trunk_up_to_each_token() -> None:
    cfg = dataclasses.replace(BASE, motion_context=0, motion_statistics=8)
    params = with_motion(cfg, np.random.default_rng(8))
    batch = moved(np.random.default_rng(9), [6, 5], 3)
    batch["tokens"][0, [0, 9]] = 1  # a trunk begins with a token without codes
    for layer in range(1, LAYERS):
        batch[f"codes_{layer}"][0, [0, 9]] = -1
    rows = packed.Rows(*(jnp.asarray(batch[name]) for name in ("positions", "segments", "branches")))
    values = motion.look_up(params["motion"]["vectors"], decoder.ids(batch) - ROWS).reshape(1, 17, -1)
    mean, spread = (np.asarray(part[0]) for part in motion.running_statistics(values, rows))
    for start, stop in ((0, 5), (9, 13)):
        own = np.asarray(values[0, start + 1 : stop + 1])
        np.testing.assert_allclose(mean[stop], own.mean(axis=0), atol=1e-6)
        np.testing.assert_allclose(spread[stop], np.sqrt(own.var(axis=0) + 0.01), atol=1e-5)

    def states(batch: dict[str, np.ndarray]) -> np.ndarray:
        x_BLD = decoder.embed(params, decoder.ids(batch), cfg)
        codes = decoder.ids(batch) - ROWS
        return np.asarray(motion.add_statistics(x_BLD, params["motion"], codes, rows, cfg)[0] - x_BLD[0])

    before = states(batch)
    assert (np.abs(before).max(axis=1) > 0).tolist() == [
        *[False, *[True] * 5, *[False] * 3],
        False,
        *[True] * 4,
        *[False] * 3,
    ]
    changed = {name: array.copy() for name, array in batch.items()}
    changed["codes_11"][0, 3] = ROWS + 110 + (changed["codes_11"][0, 3] - ROWS - 110 + 1) % 10
    differs = np.abs(states(changed) - before).max(axis=1) > 1e-4  # differences of sums are rounded
    assert np.flatnonzero(differs).tolist() == [3, 4, 5]  # itself and what follows in its trunk


def test_codes_whose_vectors_are_near_are_near_as_tokens_before_training() -> None:
    params = decoder.init(jax.random.key(1), BASE, ROWS, motion=(1, 50, 2))
    angle = np.linspace(0, np.pi, 50)
    codes = np.stack([np.cos(angle), np.sin(2 * angle)], axis=1)
    rows = np.asarray(motion.embeddings({**params["motion"], "vectors": jnp.asarray(codes[None], jnp.float32)}))
    near = np.linalg.norm(rows[1:] - rows[:-1], axis=1).mean()
    far = np.linalg.norm(rows[25:] - rows[:25], axis=1).mean()
    assert near < 0.2 * far
    assert 0.5 < rows.std() / np.std(params["embedding"]) < 2
