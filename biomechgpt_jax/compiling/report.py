"""The language model's training step, compiled for absent devices: whether it fits, its traffic, and its best speed.

The step is the one that `language` trains with, on abstract arrays. Memory is the compiler's figure; operations are
counted analytically (the compiler counts the body of a loop once); collectives and memory traffic are read from the
compiled program with the trip counts of its loops.
"""

import dataclasses
import math
import os
import time
from dataclasses import dataclass
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from biomechgpt_jax import config
from biomechgpt_jax.codec import backends
from biomechgpt_jax.compiling import ahead_of_time, collectives, hlo, roofline, traffic
from biomechgpt_jax.errors import InputError
from biomechgpt_jax.model import decoder
from biomechgpt_jax.model import flops as flops_lib
from biomechgpt_jax.model.attention import mask
from biomechgpt_jax.model.parameters import base_of
from biomechgpt_jax.packing.rows import array_names
from biomechgpt_jax.parallel import chips, sharding
from biomechgpt_jax.parallel import mesh as mesh_lib
from biomechgpt_jax.tasks import language
from biomechgpt_jax.tasks.id_space import IdSpace
from biomechgpt_jax.tasks.objective import Objective
from biomechgpt_jax.tasks.parameters import Frozen, Parameters
from biomechgpt_jax.tokenizer.vocabulary import Layout

LARGEST = 8  # number of memory terms that are listed


@dataclass(frozen=True)
class Memory:
    """Bytes on one device.

    Attributes:
        arguments: the state and the batch.
        temporary: values that live only within the step.
        output: the state after the step, most of which replaces the arguments in place.
        code: the program.
        peak: sum of all of them at the worst moment; None if the compiler gave up.
        available: memory of the device; None for a device that is not in the table.
        terms: (description, bytes) of the largest terms, in order.
    """

    arguments: int | None
    temporary: int | None
    output: int | None
    code: int | None
    peak: int | None
    available: int | None
    terms: tuple[tuple[str, int], ...]

    @property
    def fits(self) -> bool | None:
        """Whether the step fits; None if that is unknown."""
        if self.peak is None:
            return False
        return None if self.available is None else self.peak <= self.available


@dataclass(frozen=True)
class Report:
    """What is known about a step before it has run.

    Attributes:
        topology, slices, device_kind, devices: what the step is compiled for.
        mesh: sizes of the axes.
        rows, row_length, vocabulary: shape of the global batch, and number of ids.
        compute_dtype: data type of the activations.
        parameters: number of parameters of the model.
        flops: operations of a step on one device, as counted for utilisation.
        memory: memory on one device.
        collectives: totals per kind on one device (see `collectives.by_kind`); None if the step does not fit.
        crossing: kinds of the collectives that cross from one slice to another.
        stack_gathers: names of all-gathers of the weights of all layers at once.
        largest_gather: bytes of the largest result of an all-gather.
        memory_traffic: bytes read and written in the main memory of one device.
        kernels: names of the hand-written kernels in the program, such as those of attention.
        flags: flags for the compiler from the environment (XLA_FLAGS, LIBTPU_INIT_ARGS).
        estimate: how long a step takes at best; None for a device that is not in the table.
        compile_s: seconds of lowering and compiling.
    """

    topology: str
    slices: int
    device_kind: str
    devices: int
    mesh: dict[str, int]
    rows: int
    row_length: int
    vocabulary: int
    compute_dtype: str
    parameters: int
    flops: float
    memory: Memory
    collectives: dict[str, dict[str, float]] | None
    crossing: tuple[str, ...]
    stack_gathers: tuple[str, ...]
    largest_gather: int
    memory_traffic: float | None
    kernels: tuple[str, ...]
    flags: dict[str, str]
    estimate: roofline.Estimate | None
    compile_s: float


def report(experiment: config.Experiment, topology: str, slices: int = 1) -> Report:
    """Compile the training step of an experiment and report what it needs.

    Args:
        experiment: model, optimizer, train, mesh, tokenizer and pack are read. A `mesh.replica` of 1 becomes the number
            of slices.
        topology, slices: as in `ahead_of_time.devices`.

    Raises:
        InputError: the topology is unknown, or the mesh does not fit it.
    """
    devices = ahead_of_time.devices(topology, slices)
    if experiment.mesh.replica == 1 and slices > 1:
        experiment = dataclasses.replace(experiment, mesh=dataclasses.replace(experiment.mesh, replica=slices))
    mesh, model = mesh_lib.make(experiment.mesh, devices), experiment.model
    codec = experiment.tokenizer
    layout = Layout(model.text_rows or codec.text_pieces, codec.codes, codec.layers)
    ids = IdSpace(layout.size, layout.motion_offset, layout.codes)
    vectors = jax.ShapeDtypeStruct((codec.layers, codec.codes, backends.vector_size(codec)), jnp.float32)
    base = base_of(decoder.abstract(model, ids.motion_offset, vectors.shape), model)
    frozen = Frozen(base | {"motion": {"vectors": vectors}})
    parameters = Parameters(model, ids, frozen)
    state, held = language.abstract_state(experiment, parameters, mesh), parameters.abstract_frozen(mesh)
    batch = abstract_batch(experiment, mesh)

    started = time.monotonic()
    step = language.make_step(experiment, ids, mesh, experiment.train.steps, frozen=frozen)
    lowered, dtype = _lower(step, state, held, batch, experiment, mesh)
    chip = chips.of(devices[0].device_kind)
    text, memory = _compile(lowered, chip.memory if chip else None, _state_terms(state, held, batch))
    compile_s = time.monotonic() - started

    in_slice = ahead_of_time.slices_by_device(devices, slices)
    slice_of = [in_slice[device] for device in mesh.devices.flat]
    program = None if text is None else _read(text, len(devices), slices, _assumed_trips(experiment, mesh))
    found = program.collectives if program else []
    stacks = collectives.whole_stacks(found, model.layers, _largest(model))
    softmaxes = Objective(experiment.train, model, ids).softmax_sizes(codec.layers)
    weights = flops_lib.weights(model, state["params"])
    flops = roofline.step_flops(experiment, softmaxes, weights if base else None) / len(devices)
    again = roofline.recomputed(experiment) / len(devices)
    return Report(
        topology=topology,
        slices=slices,
        device_kind=devices[0].device_kind,
        devices=len(devices),
        mesh={axis: mesh.shape[axis] for axis in mesh_lib.AXES},
        rows=experiment.train.batch_size,
        row_length=experiment.pack.row_length,
        vocabulary=ids.size,
        compute_dtype=dtype,
        parameters=_count(model, ids.motion_offset, vectors),
        flops=flops,
        memory=memory,
        collectives=collectives.by_kind(found) if program else None,
        crossing=tuple(sorted({one.kind for one in found if one.crosses(slice_of)})),
        stack_gathers=tuple(f"{one.name} ({one.operation})" for one in stacks),
        largest_gather=max((one.result_bytes for one in found if one.kind == "all-gather"), default=0),
        memory_traffic=program.traffic if program else None,
        kernels=program.kernels if program else (),
        flags={name: os.environ[name] for name in ("XLA_FLAGS", "LIBTPU_INIT_ARGS") if os.environ.get(name)},
        estimate=roofline.estimate(chip, flops, again, program.traffic, found, slice_of) if program and chip else None,
        compile_s=compile_s,
    )


class _Program(NamedTuple):
    """What is read from a compiled program."""

    collectives: list[collectives.Collective]
    traffic: float
    kernels: tuple[str, ...]


def _lower(
    step: Any, state: Any, frozen: Any, batch: Any, experiment: config.Experiment, mesh: jax.sharding.Mesh
) -> tuple[jax.stages.Lowered, str]:
    """Lower the step for the compiler; returns it with the name of its compute dtype."""
    try:
        with jax.set_mesh(mesh):
            return step.lower(state, frozen, batch), jnp.dtype(decoder.compute_dtype(experiment.model)).name
    except RuntimeError as error:
        if "cuDNN not found" not in str(error):
            raise
        raise InputError(
            "attention with cuDNN needs cuDNN; pip install 'jax[cuda12]', or give --model.attention blockwise"
        ) from error


def _compile(
    lowered: jax.stages.Lowered, available: int | None, terms: list[tuple[str, int]]
) -> tuple[str | None, Memory]:
    """Compile the step; returns the program's text, None if it does not fit, and its memory."""
    try:
        program = ahead_of_time.compile_program(lowered)
    except ahead_of_time.DoesNotFit as error:
        named = sorted([*terms, *((what, size) for size, what in error.largest)], key=lambda term: -term[1])
        return None, Memory(None, None, None, None, None, error.capacity or available, tuple(named[:LARGEST]))
    return program.as_text(), _memory(program.memory_analysis(), available, terms)


def _read(text: str, devices: int, slices: int, assumed_trips: hlo.AssumedTrips) -> _Program:
    """Read collectives, memory traffic and kernels from a program."""
    module = hlo.parse(text)
    per_slice = "_xla_megascale_target" in text  # the program of one slice, which reaches the others through its host
    found = collectives.find(module, devices // slices if per_slice else devices, assumed_trips)
    return _Program(found, traffic.main_memory_bytes(module, assumed_trips), hlo.kernels(module))


def _count(model: config.Model, rows: int, vectors: jax.ShapeDtypeStruct) -> int:
    """Number of parameters of the model, those of a base as if it were held in f32; the codes' vectors are none."""
    plain = dataclasses.replace(model, base="float32", table="float32", double_scales=False)
    every = decoder.abstract(plain, rows, vectors.shape)
    return sum(math.prod(leaf.shape) for leaf in jax.tree.leaves(every)) - math.prod(vectors.shape)


def abstract_batch(experiment: config.Experiment, mesh: jax.sharding.Mesh) -> dict[str, jax.ShapeDtypeStruct]:
    """The shapes, types and layout of a global batch of packed rows.

    Raises:
        InputError: the mesh does not divide the rows or their length.
    """
    shape = (experiment.train.batch_size, experiment.pack.row_length)
    layout = sharding.batch_sharding(mesh, shape)

    def one(name: str) -> jax.ShapeDtypeStruct:
        return jax.ShapeDtypeStruct(shape, jnp.float32 if name == "loss_weights" else jnp.int32, sharding=layout)

    return {name: one(name) for name in array_names(experiment.tokenizer.layers)}


def _largest(model: config.Model) -> int:
    """Number of elements of the largest matrix of a layer."""
    return model.model_size * max(model.heads * model.head_size, model.hidden_size)


def _assumed_trips(experiment: config.Experiment, mesh: jax.sharding.Mesh) -> hlo.AssumedTrips:
    """Trip counts of the loops that depend on the data, for full rows of one trial whose tokens all have a loss.

    Those are the blocks of keys that a block of queries sees, on average half of them, and the chunks of the
    cross-entropy on one device.
    """
    length = experiment.pack.row_length
    spread = math.prod(mesh.shape[axis] for axis in (*sharding.RULES["batch"], *sharding.RULES["length"]))
    tokens = experiment.train.batch_size * length // spread
    chunks = -(-tokens // min(tokens, experiment.train.loss_chunk))
    blocks = (-(-length // mask.block_size(length)) + 1) / 2
    return lambda name: blocks if "attention" in name else chunks


def _state_terms(state: Any, frozen: Any, batch: Any) -> list[tuple[str, int]]:
    """(description, bytes on one device) of the arguments, the largest first."""

    def size(tree: Any) -> int:
        return sum(
            math.prod(leaf.sharding.shard_shape(leaf.shape)) * leaf.dtype.itemsize for leaf in jax.tree.leaves(tree)
        )

    names = {"params": "parameters", "opt_state": "optimizer state"}
    entries = {names.get(name, name): entry for name, entry in state.items()} | {"frozen parameters": frozen}
    if "layers" in frozen:  # a base: what it takes, and what is trained beside it
        params = entries.pop("parameters")
        kinds = {"layers": "adapters", "rows": "new rows", "head_rows": "new rows"}
        for name, part in params.items():
            kind = kinds.get(name, name)
            entries[kind] = [*entries.get(kind, []), part]
        entries["frozen parameters"] = {"motion": frozen["motion"]}
        entries["base layers"] = [frozen["layers"], frozen["final_norm"]]
        entries["base tables"] = [frozen[name] for name in ("embedding", "head") if name in frozen]
    terms = [(name, size(entry)) for name, entry in (entries | {"batch": batch}).items()]
    return sorted((term for term in terms if term[1]), key=lambda term: -term[1])


def _memory(analysis: Any, available: int | None, terms: list[tuple[str, int]]) -> Memory:
    """The memory according to the compiler's analysis."""
    arguments, temporary = analysis.argument_size_in_bytes, analysis.temp_size_in_bytes
    output, code = analysis.output_size_in_bytes, analysis.generated_code_size_in_bytes
    new = output - analysis.alias_size_in_bytes
    named = sorted([*terms, ("temporary", temporary), ("program", code), ("new output", new)], key=lambda t: -t[1])
    return Memory(
        arguments=arguments,
        temporary=temporary,
        output=output,
        code=code,
        peak=arguments + temporary + new + code,
        available=available,
        terms=tuple(term for term in named if term[1] > 0)[:LARGEST],
    )
