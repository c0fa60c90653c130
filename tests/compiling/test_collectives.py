# ruff: noqa: E501
"""Collectives: which devices take part, operand and sent bytes, and which ones hide behind other names."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from biomechgpt_jax.compiling import collectives, hlo


@pytest.mark.parametrize(
    ("text", "groups"),
    [
        ("{{0,1},{2,3}}", ((0, 1), (2, 3))),
        ("{{0,1,2,3,4,5,6,7}}", ((0, 1, 2, 3, 4, 5, 6, 7),)),
        ("{}", ((0, 1, 2, 3, 4, 5, 6, 7),)),
        ("[2,4]<=[8]", ((0, 1, 2, 3), (4, 5, 6, 7))),
        ("[4,2]<=[2,4]T(1,0)", ((0, 4), (1, 5), (2, 6), (3, 7))),
        ("[4,2]<=[2,2,2]T(2,0,1)", ((0, 2), (4, 6), (1, 3), (5, 7))),
        ("mesh['a'=2,'b'=4] {'b'}", ((0, 1, 2, 3), (4, 5, 6, 7))),
        ("mesh['a'=2,'b'=4] {'a'}", ((0, 4), (1, 5), (2, 6), (3, 7))),
        ("mesh['a'=8,'b'=1] {'a','b'}", ((0, 1, 2, 3, 4, 5, 6, 7),)),
        ("mesh['a'=2,'b'=4] {'b':(2)2}", ((0, 1), (2, 3), (4, 5), (6, 7))),
        ("mesh['a'=2,'b'=4] {'b':(1)2}", ((0, 2), (1, 3), (4, 6), (5, 7))),
        ("mesh['a'=2,'b'=4], device_ids=([4,2]T(1,0)) {'b'}", ((0, 2, 4, 6), (1, 3, 5, 7))),
        ("mesh['a'=2,'b'=2], device_ids=(0,2,1,3) {'b'}", ((0, 2), (1, 3))),
    ],
)
def test_replica_groups_in_every_form(text, groups):
    found = collectives.replica_groups(f", channel_id=3, replica_groups={text}, dimensions={{0}}", 8)
    assert found == groups


def test_replica_groups_in_another_form_are_refused():
    with pytest.raises(ValueError, match=r"unknown form.*replica_groups=<<"):
        collectives.replica_groups("replica_groups=<<0,1>>", 8)


# Collectives as compilers for TPUs write them: a chain that carries one all-gather, a reduce-scatter inside a fusion,
# an asynchronous pair, a permute, and an all-reduce between slices as messages through the host.
HIDDEN = """HloModule jit_step, is_scheduled=true

%start (param_0: bf16[64,512]) -> (bf16[64,512], bf16[256,512], u32[]) {
  %param_0 = bf16[64,512]{1,0} parameter(0)
  %all-gather.1 = bf16[256,512]{1,0} all-gather(%param_0), channel_id=67, replica_groups={{0,1,2,3}}, dimensions={0}, use_global_device_ids=true, frontend_attributes={chain_id="3"}
  ROOT %custom-call.61 = (bf16[64,512]{1,0}, bf16[256,512]{1,0}, u32[]) custom-call(%all-gather.1), custom_call_target="AsyncCollectiveStart"
}

%link (param_0.1: bf16[64,512], param_1.1: bf16[256,512], param_2.1: u32[]) -> (bf16[64,512], bf16[256,512], u32[]) {
  %param_0.1 = bf16[64,512]{1,0} parameter(0)
  %param_1.1 = bf16[256,512]{1,0} parameter(1)
  %param_2.1 = u32[] parameter(2)
  %all-gather.2 = bf16[256,512]{1,0} all-gather(%param_0.1), channel_id=67, replica_groups={{0,1,2,3}}, dimensions={0}, use_global_device_ids=true, frontend_attributes={chain_id="3"}
  ROOT %tuple.1 = (bf16[64,512]{1,0}, bf16[256,512]{1,0}, u32[]) tuple(%param_0.1, %all-gather.2, %param_2.1)
}

%place (param_0.2: bf16[256,512], param_1.2: bf16[64,512], param_2.2: s32[]) -> bf16[256,512] {
  %param_0.2 = bf16[256,512]{1,0} parameter(0)
  %param_1.2 = bf16[64,512]{1,0} parameter(1)
  %param_2.2 = s32[] parameter(2)
  ROOT %put = bf16[256,512]{1,0} dynamic-update-slice(%param_0.2, %param_1.2, %param_2.2, %param_2.2)
}

%all-reduce-scatter.4 (input_0: f32[256,128]) -> f32[64,128] {
  %input_0 = f32[256,128]{1,0} parameter(0)
  %all-reduce.9 = f32[256,128]{1,0} all-reduce(%input_0), channel_id=1, replica_groups={{0,1,2,3}}, to_apply=%add
  %zero = s32[] constant(0)
  ROOT %part = f32[64,128]{1,0} dynamic-slice(%all-reduce.9, %zero, %zero), dynamic_slice_sizes={64,128}
}

ENTRY %main (p: bf16[64,512], g: f32[256,128]) -> f32[64,128] {
  %p = bf16[64,512]{1,0} parameter(0)
  %g = f32[256,128]{1,0} parameter(1)
  %fusion.1 = (bf16[64,512]{1,0}, bf16[256,512]{1,0}, u32[]) fusion(%p), kind=kCustom, calls=%start
  %e0 = bf16[64,512]{1,0} get-tuple-element(%fusion.1), index=0
  %e1 = bf16[256,512]{1,0} get-tuple-element(%fusion.1), index=1
  %e2 = u32[] get-tuple-element(%fusion.1), index=2
  %fusion.2 = (bf16[64,512]{1,0}, bf16[256,512]{1,0}, u32[]) fusion(%e0, %e1, %e2), kind=kCustom, calls=%link
  %fusion.3 = f32[64,128]{1,0} fusion(%g), kind=kCustom, calls=%all-reduce-scatter.4
  %all-reduce-start.1 = f32[256,128]{1,0} all-reduce-start(%g), replica_groups=[1,4]<=[4], to_apply=%add
  %all-reduce-done.1 = f32[256,128]{1,0} all-reduce-done(%all-reduce-start.1)
  %collective-permute-start.1 = (f32[256,128]{1,0}, f32[256,128]{1,0}, u32[], u32[]) collective-permute-start(%g), source_target_pairs={{0,1},{1,2},{2,3},{3,0}}
  %collective-permute-done.1 = f32[256,128]{1,0} collective-permute-done(%collective-permute-start.1)
  %none = bf16[] constant(0)
  %zeros = bf16[256,512]{1,0} broadcast(%none), dimensions={}
  %my = s32[] constant(64)
  %among = bf16[256,512]{1,0} dynamic-update-slice(%zeros, %p, %my, %my)
  %copied = bf16[256,512]{1,0} copy(%among)
  %gathered = bf16[256,512]{1,0} all-reduce(%copied), replica_groups=mesh['axis_0'=4,'axis_1'=1] {'axis_0'}, to_apply=%add
  %placed = bf16[256,512]{1,0} fusion(%zeros, %p, %my), kind=kLoop, calls=%place
  %gathered.2 = (bf16[256,512]{1,0}, bf16[256,512]{1,0}) all-reduce(%placed, %among), replica_groups={{0,1,2,3}}, to_apply=%add
  %after-all.1 = token[] after-all()
  %send.1 = (f32[256,128]{1,0}, u32[], token[]) send(%g, %after-all.1), channel_id=4, is_host_transfer=true, frontend_attributes={_xla_host_transfer_handler_name="xla_megascale_runtime",_xla_host_transfer_rendezvous="all-reduce.34_0",_xla_megascale_target="{1,2}x{0:3}",_xla_megascale_transfer_type="ALL_REDUCE"}
  %send-done.1 = token[] send-done(%send.1), channel_id=4, is_host_transfer=true
  %recv.1 = (f32[256,128]{1,0}, u32[], token[]) recv(%after-all.1), channel_id=3, is_host_transfer=true, frontend_attributes={_xla_megascale_target="{1,2}x{0:3}",_xla_megascale_transfer_type="ALL_REDUCE"}
  ROOT %alone = f32[64,128]{1,0} all-reduce(%fusion.3), replica_groups={{0},{1},{2},{3}}, to_apply=%add
}
"""


def test_hidden_collectives_are_counted_once_and_as_what_they_are():
    found = collectives.find(hlo.parse(HIDDEN), partitions=4)
    seen = {item.name: (item.kind, item.operand_bytes, item.sent, item.between_slices) for item in found}
    shard, array = 64 * 512 * 2, 256 * 128 * 4
    assert seen == {
        "all-gather.1": ("all-gather", shard, 3 * shard, False),
        "all-reduce.9": ("reduce-scatter", array, 3 / 4 * array, False),
        "all-reduce-start.1": ("all-reduce", array, 2 * 3 / 4 * array, False),
        "collective-permute-start.1": ("collective-permute", array, array, False),
        "gathered": ("all-gather", shard, 2 * 3 * shard, False),
        "gathered.2": ("all-gather", 2 * shard, 2 * 3 * 2 * shard, False),
        "send.1": ("all-reduce", array, array, True),  # two slices: 2 * 1/2
    }
    results = {item.name: item.result_bytes for item in found}
    assert results["all-gather.1"] == 4 * shard and results["all-reduce.9"] == array / 4
    totals = collectives.by_kind(found)
    assert totals["all-reduce between slices"] == {"places": 1, "runs": 1, "operand_bytes": array, "sent_bytes": array}
    crossing = [item.name for item in found if item.crosses([0, 0, 0, 0])]
    assert crossing == ["send.1"]
    assert {item.name for item in found if item.crosses([0, 0, 1, 1])} == set(seen)


def test_a_gather_of_all_layers_is_distinguished_from_one_of_a_layer():
    def gather(dims, devices=4):
        array = hlo.Array("bf16", dims, 0)
        return collectives.Collective("all-gather", "g", "", (array,), devices, (), 1, True)

    stack = gather((16, 256, 2048))  # 16 layers of [1024, 2048]
    layer, split_layers, norms = gather((1, 256, 2048)), gather((4, 1024, 2048)), gather((16, 1, 256))
    found = collectives.whole_stacks([stack, layer, split_layers, norms], layers=16, largest_matrix=1024 * 2048)
    assert found == [stack, split_layers]


PROGRAM = """
import json, jax, jax.numpy as jnp
from functools import partial
from jax.sharding import PartitionSpec as P
from biomechgpt_jax.compiling import collectives, hlo
grid = jax.make_mesh((2, 4), ("replica", "fsdp"), axis_types=(jax.sharding.AxisType.Auto,) * 2)

def find(body, *arguments, specs):
    program = jax.jit(jax.shard_map(body, mesh=grid, in_specs=specs, out_specs=P("fsdp"), check_vma=False))
    return collectives.find(hlo.parse(program.lower(*arguments).compile().as_text()), 8)

def summary(found):
    return [[c.kind, c.operand_bytes, c.devices, c.trips, c.sent, c.crosses([0] * 4 + [1] * 4)] for c in found]

def looped(x):
    def turn(carry, _):
        whole = jax.lax.all_gather(carry, "fsdp", tiled=True)
        return jnp.sin(carry + whole[: carry.shape[0]]), None
    return jax.lax.scan(turn, x, length=6)[0]

x = jnp.zeros((512, 16))
compile_and_find = partial(find, specs=(P("fsdp"),))
print(json.dumps({
    "gather in a loop": summary(compile_and_find(looped, x)),
    "sum over fsdp": summary(compile_and_find(lambda x: jax.lax.psum(x, "fsdp"), x)),
    "sum over replica": summary(compile_and_find(lambda x: jax.lax.psum(x, "replica"), x)),
    "scatter": summary(compile_and_find(lambda x: jax.lax.psum_scatter(x, "fsdp", tiled=True), x)),
    "exchange": summary(compile_and_find(lambda x: jax.lax.all_to_all(x, "fsdp", 0, 0, tiled=True), x)),
    "shift": summary(compile_and_find(lambda x: jax.lax.ppermute(x, "replica", [(0, 1), (1, 0)]), x)),
}))
"""


@pytest.mark.multidevice
def test_bytes_of_compiled_programs_agree_with_arithmetic():
    flags = {"XLA_FLAGS": "--xla_force_host_platform_device_count=8", "JAX_PLATFORMS": "cpu"}
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM],
        env={**os.environ, **flags, "PYTHONPATH": str(Path(__file__).parents[2])},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout.splitlines()[-1])
    shard = 512 * 16 * 4 // 4  # bytes
    assert found == {
        "gather in a loop": [["all-gather", shard, 4, 6, 6 * 3 * shard, False]],
        "sum over fsdp": [["all-reduce", shard, 4, 1, 2 * 3 / 4 * shard, False]],
        "sum over replica": [["all-reduce", shard, 2, 1, shard, True]],
        "scatter": [["reduce-scatter", shard, 4, 1, 3 / 4 * shard, False]],
        "exchange": [["all-to-all", shard, 4, 1, 3 / 4 * shard, False]],
        "shift": [["collective-permute", shard, 2, 1, shard, True]],
    }
