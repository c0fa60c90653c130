"""No stack of all layers exists in another type than it is held in: memory and text of the compiled step."""

import functools
import re
from dataclasses import replace

import jax
import pytest
import toy_base

from biomechgpt_jax import config
from biomechgpt_jax.compiling.report import abstract_batch
from biomechgpt_jax.model import decoder, parameters
from biomechgpt_jax.parallel import mesh as meshes
from biomechgpt_jax.tasks import language
from biomechgpt_jax.tasks.id_space import IdSpace
from biomechgpt_jax.tasks.parameters import Frozen, Parameters

LAYERS, SIZE, HIDDEN = 12, 256, 768
MODEL = replace(toy_base.MODEL, layers=LAYERS, model_size=SIZE, hidden_size=HIDDEN, remat="full", attention="reference")
MATRIX = 4 * SIZE * HIDDEN  # bytes of one of the larger matrices of a layer in f32


@functools.cache
def compiled(base: str, double: bool = False) -> tuple[int, str]:
    """(bytes of temporaries, text) of a step on two rows of 32."""
    experiment = config.Experiment(
        model=replace(MODEL, base=base, double_scales=double),
        train=config.Train(batch_size=2),
        pack=config.Pack(row_length=64),
        tokenizer=config.Tokenizer(levels=("8x5",)),
    )
    ids, model = IdSpace(128, toy_base.ROWS, toy_base.CODES), experiment.model
    mesh = meshes.make(config.Mesh(), jax.devices()[:1])
    frozen = Frozen(parameters.base_of(decoder.abstract(model, toy_base.ROWS), model))
    whole = Parameters(model, ids, frozen)
    step = language.make_step(experiment, ids, mesh, 10, frozen=frozen)
    with jax.set_mesh(mesh):
        state, held = language.abstract_state(experiment, whole, mesh), whole.abstract_frozen(mesh)
        program = step.lower(state, held, abstract_batch(experiment, mesh)).compile()
    return program.memory_analysis().temp_size_in_bytes, program.as_text()


@pytest.mark.parametrize(("base", "double"), [("bfloat16", False), ("int8", False), ("nf4", True)])
def test_a_base_that_is_held_in_less_takes_no_more_beside_it(base: str, double: bool) -> None:
    plain, _ = compiled("float32")
    temporary, text = compiled(base, double)
    assert temporary <= 1.1 * plain + MATRIX < plain + LAYERS * MATRIX / 2  # one of them is widened, never all
    assert not re.findall(rf"(?:f32|bf16)\[{LAYERS},(?:{SIZE},{HIDDEN}|{HIDDEN},{SIZE})\]", text)
