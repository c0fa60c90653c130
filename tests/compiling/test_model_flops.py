"""Model FLOPs of the whole training step against the products in the program that the compiler made of it."""

import functools
import math
import re
from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import toy_base

from biomechgpt_jax import config
from biomechgpt_jax.compiling import hlo
from biomechgpt_jax.model import decoder, flops
from biomechgpt_jax.parallel import mesh as meshes
from biomechgpt_jax.tasks import language
from biomechgpt_jax.tasks.id_space import IdSpace
from biomechgpt_jax.tasks.parameters import NOTHING, Frozen, Parameters

ROWS, LENGTH = 2, 128
MODEL = config.Model(
    layers=2, model_size=64, heads=4, kv_heads=2, head_size=16, hidden_size=96, remat="none", attention="reference"
)
IDS = IdSpace(size=512, motion_offset=100, codes=100)
WITH_MOVEMENT = config.Train(batch_size=ROWS, motion_weight=1.0, loss_chunk=ROWS * LENGTH)


def multiplied(module: hlo.Module) -> float:
    """Operations of all matrix products of a program, those of a loop as often as it turns."""
    return sum(
        visit.trips * product(computation, instruction)
        for visit in hlo.visits(module)
        for computation in [module.computations[visit.computation]]
        for instruction in computation.values()
        if instruction.opcode == "dot"
    )


def product(computation: hlo.Computation, dot: hlo.Instruction) -> float:
    """A product and a sum for every element of the result and every contracted element of the left operand."""
    listed = re.search(r"lhs_contracting_dims=\{([\d,]*)\}", dot.attributes)
    left = computation[dot.operands[0]].arrays[0].dims
    contracted = [left[int(axis)] for axis in listed.group(1).split(",") if axis]
    return 2.0 * dot.arrays[0].elements * math.prod(contracted)


def batch(codes: int, trunk: int = LENGTH) -> dict[str, jax.Array]:
    """Rows of one trial each: a trunk of motion with so many codes a token, and answers after it."""
    random, index = np.random.default_rng(0), np.arange(LENGTH)
    motion = np.broadcast_to(index < trunk, (ROWS, LENGTH))
    drawn = random.integers(0, IDS.codes, (codes, ROWS, LENGTH))
    arrays = {
        "tokens": np.where(motion, IDS.motion_offset + drawn[0], drawn[0]),
        "positions": np.broadcast_to(index, motion.shape),
        "segments": np.ones_like(drawn[0]),
        "branches": ~motion,
    } | {f"codes_{i}": np.where(motion, IDS.motion_offset + IDS.codes * i + drawn[i], -1) for i in range(1, codes)}
    return {name: jnp.asarray(array, jnp.int32) for name, array in arrays.items()} | {
        "loss_weights": jnp.asarray(~motion, jnp.float32)
    }


def counted(
    train: config.Train,
    rows: dict[str, jax.Array],
    frozen: Frozen = NOTHING,
    model: config.Model = MODEL,
    ids: IdSpace = IDS,
) -> tuple[float, float]:
    """(operations in the compiled step, operations that the step logs with attention as dense as it was computed)."""
    experiment, mesh = config.Experiment(model=model, train=train), meshes.make(config.Mesh(), jax.devices()[:1])
    parameters = Parameters(model, ids, frozen)
    with jax.set_mesh(mesh):
        state = language.init_state(jax.random.key(0), experiment, parameters, mesh)
        held = parameters.load_frozen(mesh)
        step = language.make_step(experiment, ids, mesh, 10, frozen=frozen).lower(state, held, rows).compile()
        hidden = model.layers * ROWS * LENGTH**2 - flops.visible_pairs(rows, model)
        _, metrics = step(state, held, rows)
    logged = float(metrics["flops"]) + 12 * model.heads * model.head_size * float(hidden)
    return multiplied(hlo.parse(step.as_text())), logged


@functools.cache
def with_movement(codes: int) -> tuple[float, float]:
    """`counted` where movement is trained, in one chunk of all tokens."""
    return counted(WITH_MOVEMENT, batch(codes))


def test_answers_alone_take_a_softmax_over_text() -> None:
    answers = LENGTH // 4
    train = config.Train(batch_size=ROWS, loss_chunk=ROWS * answers)  # one chunk, which holds the answers alone
    compiled, logged = counted(train, batch(3, LENGTH - answers))
    assert logged == pytest.approx(compiled, rel=0.02)


@pytest.mark.parametrize("codes", [1, 4])
def test_every_code_of_a_token_takes_a_softmax_where_movement_is_trained(codes: int) -> None:
    compiled, logged = with_movement(codes)
    assert logged == pytest.approx(compiled, rel=0.02)


@pytest.mark.parametrize("part", ["mlp", "embedding"])
def test_the_gradients_of_frozen_weights_are_neither_computed_nor_counted(part: str) -> None:
    """The embedding is the head as well."""
    params = decoder.init(jax.random.key(1), MODEL, IDS.size)
    mlp = {"layers": {"block": {"mlp": params["layers"]["block"]["mlp"]}}}
    frozen = Frozen.of(mlp if part == "mlp" else {"embedding": params["embedding"]})
    compiled, logged = counted(WITH_MOVEMENT, batch(1), frozen)
    assert logged == pytest.approx(compiled, rel=0.02)
    weights = MODEL.layers * 3 * 64 * 96 if part == "mlp" else 64 * (IDS.motion_offset + IDS.codes)
    assert compiled == pytest.approx(with_movement(1)[0] - 2 * ROWS * LENGTH * weights, rel=1e-6)


def test_adapters_and_added_rows_are_trained_over_a_frozen_base() -> None:
    """The columns of the frozen table have no gradient; the matrices of the base are widened, which is no product."""
    model = replace(toy_base.MODEL, remat="none", attention="reference", base="int8")
    ids = IdSpace(size=512, motion_offset=toy_base.ROWS, codes=toy_base.CODES)
    rows = batch(1, LENGTH)
    rows["tokens"] = rows["tokens"] % toy_base.ROWS  # text alone
    rows["loss_weights"] = jnp.ones_like(rows["loss_weights"])
    train = config.Train(batch_size=ROWS, loss_chunk=ROWS * LENGTH)
    compiled, logged = counted(train, rows, Frozen.of(toy_base.base(model)), model, ids)
    assert logged == pytest.approx(compiled, rel=0.02)
    weights = flops.weights(model, toy_base.trained(model))
    assert weights.fixed_ids == toy_base.TEXT_ROWS and weights.frozen == flops.matrices(model)
    d, f, q, k = 64, 128, 2 * 64, 64  # the ranks are 2
    assert weights.trained == 2 * 2 * ((d + q) + 2 * (d + k) + (q + d) + 2 * (d + f) + (f + d))
