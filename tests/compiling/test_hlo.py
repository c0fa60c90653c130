"""HLO text: trip counts of loops, and the memory traffic of a program."""

import jax
import jax.numpy as jnp
import pytest

from biomechgpt_jax.compiling import hlo, traffic

# The form that a TPU's compiler writes: no trip counts, a bound carried in the state, constants behind copies.
LOOPS = """HloModule jit_step, is_scheduled=true

%turn (state: (s32[], f32[8,128], s32[])) -> (s32[], f32[8,128], s32[]) {
  %state = (s32[]{:T(128)}, f32[8,128]{1,0:T(8,128)}, /*index=2*/s32[]{:T(128)}) parameter(0)
  %i = s32[]{:T(128)} get-tuple-element(%state), index=0
  %x = f32[8,128]{1,0:T(8,128)} get-tuple-element(%state), index=1
  %limit = s32[]{:T(128)} get-tuple-element(%state), index=2
  %two = s32[] constant(2)
  %next = s32[]{:T(128)} add(%i, %two), metadata={op_name="jit(step)/while/body/add"}
  %doubled = f32[8,128]{1,0:T(8,128)S(1)} add(%x, %x)
  ROOT %out = (s32[], f32[8,128]{1,0:T(8,128)}, s32[]) tuple(%next, %doubled, /*index=2*/%limit)
}

%again (state.1: (s32[], f32[8,128], s32[])) -> pred[] {
  %state.1 = (s32[], f32[8,128], s32[]) parameter(0)
  %i.1 = s32[] get-tuple-element(%state.1), index=0
  %limit.1 = s32[] get-tuple-element(%state.1), index=2
  ROOT %less = pred[]{:T(512)} compare(%i.1, %limit.1), direction=DIRECTION
}

ENTRY %main (x: f32[8,128], n: s32[]) -> f32[8,128] {
  %x.2 = f32[8,128]{1,0:T(8,128)} parameter(0)
  %n = s32[] parameter(1)
  %one = s32[] constant(1)
  %copied = s32[]{:T(128)} copy(%one)
  %seven = s32[] constant(7)
  %start = (s32[], f32[8,128], s32[]) tuple(%copied, %x.2, %LIMIT)
  %loop = (s32[], f32[8,128]{1,0:T(8,128)}, s32[]) while(%start), condition=%again, body=%turn
  ROOT %y = f32[8,128]{1,0:T(8,128)} get-tuple-element(%loop), index=1
}
"""


def loops(limit="seven", direction="LT"):
    return hlo.parse(LOOPS.replace("LIMIT", limit).replace("DIRECTION", direction))


@pytest.mark.parametrize(("direction", "trips"), [("LT", 3), ("LE", 4), ("NE", 3)])
def test_a_loop_without_a_written_count_is_counted_by_its_induction_variable(direction, trips):
    module = loops(direction=direction)  # 1, 3, 5 and, if the bound is inclusive, 7
    visits = {visit.computation: visit for visit in hlo.visits(module)}
    assert visits["turn"].trips == trips and visits["turn"].known


def test_a_loop_whose_bound_depends_on_the_data_is_not_counted_as_known():
    names = []

    def assumed_trips(name):
        names.append(name)
        return 11

    visit = {visit.computation: visit for visit in hlo.visits(loops(limit="n"), assumed_trips)}["turn"]
    assert visit.trips == 11 and not visit.known
    assert names == ["jit(step)/while/body/add"]


def test_values_in_another_memory_do_not_count_as_traffic():
    # An iteration reads x twice from main memory (two operands) and writes to S(1): 8 KiB; the scalars are 12 bytes.
    module = loops()
    entry = 2 * 4  # the copied scalar, read and written
    assert traffic.main_memory_bytes(module) == 3 * (2 * 4096 + 12) + entry


def test_shapes_and_attributes_are_read():
    instruction = loops().computations["turn"]["out"]
    assert instruction.opcode == "tuple" and instruction.root
    assert instruction.operands == ("next", "doubled", "limit")
    assert [array.dims for array in instruction.arrays] == [(), (8, 128), ()]
    doubled = loops().computations["turn"]["doubled"].arrays[0]
    assert (doubled.dtype, doubled.bytes, doubled.space) == ("f32", 4096, 1)
    sizes = {"bf16[3,5]": 30, "pred[7]": 7, "s4[5]": 3, "f8e4m3fn[6]": 6, "c64[2]": 16, "u64[]": 8, "token[]": 0}
    for text, size in sizes.items():
        assert hlo.arrays(text)[0].bytes == size, text


def test_text_without_an_entry_is_refused():
    with pytest.raises(ValueError, match="no entry computation"):
        hlo.parse("%f (x: f32[]) -> f32[] {\n}\n")


def test_nested_scans_are_counted_in_a_compiled_program():
    def inner(x, _):
        return jnp.sin(x) @ x, None

    def outer(x, _):
        return jax.lax.scan(inner, x, length=5)[0], None

    def program(x):
        return jax.lax.scan(outer, x, length=3)[0]

    text = jax.jit(program).lower(jnp.zeros((64, 64))).compile().as_text()
    visits = hlo.visits(hlo.parse(text))
    assert {visit.trips for visit in visits} == {1, 3, 15}
    assert all(visit.known for visit in visits)


def test_memory_traffic_of_a_scan_counts_the_slices_it_takes():
    """Layers taken one by one from a stack are read once each; the stack is not read once per layer."""

    def layer(x, w):
        return jnp.tanh(x @ w), None

    def program(x, stack):
        return jax.lax.scan(layer, x, stack)[0]

    layers, size, rows = 16, 256, 8
    arguments = (jnp.zeros((rows, size)), jnp.zeros((layers, size, size)))
    text = jax.jit(program).lower(*arguments).compile().as_text()
    moved = traffic.main_memory_bytes(hlo.parse(text))
    weights = layers * size * size * 4
    assert weights <= moved <= 4 * weights  # the slice may be written and read again before the product
