"""The best time of a step, checked by arithmetic, and the text of a report."""

import dataclasses

import pytest

from biomechgpt_jax import config
from biomechgpt_jax.compiling import report as compile
from biomechgpt_jax.compiling import roofline
from biomechgpt_jax.compiling import table as compile_table
from biomechgpt_jax.compiling.collectives import Collective
from biomechgpt_jax.compiling.hlo import Array
from biomechgpt_jax.parallel import chips

CHIP = chips.Chip(peak=100.0, memory=1000, bandwidth=10.0, ici=5.0, dcn=1.0)


def collective(kind: str, groups: tuple[tuple[int, ...], ...], dims: int) -> Collective:
    return Collective(kind, "c", "", (Array("s8", (dims,), 0),), len(groups[0]), groups, 1, True)


def test_the_slowest_unit_determines_the_time():
    near = collective("all-gather", ((0, 1), (2, 3)), 20)  # sends 20 bytes within a slice
    far = collective("all-reduce", ((0, 2), (1, 3)), 3)  # sends 3 bytes between slices
    estimate = roofline.estimate(CHIP, 600.0, 200.0, 70.0, [near, far], slice_of=[0, 0, 1, 1])
    assert (estimate.compute_s, estimate.memory_s, estimate.network_s, estimate.slices_s) == (8.0, 7.0, 4.0, 3.0)
    assert (estimate.overlapped_s, estimate.serial_s, estimate.limit) == (8.0, 22.0, "compute")
    assert (estimate.mfu, estimate.mfu_serial) == (6 / 8, 6 / 22)  # what is recomputed is no use
    assert (estimate.intensity, estimate.ridge) == (800 / 70, 10.0)
    assert roofline.estimate(CHIP._replace(dcn=None), 1.0, 0.0, 1.0, [], [0]) is None


def test_remat_adds_a_forward_pass_and_windows_cut_attention():
    def of(**model):
        return config.Experiment(
            model=config.Model(layers=2, model_size=8, heads=2, kv_heads=1, head_size=4, hidden_size=16, **model),
            train=config.Train(batch_size=3),
            pack=config.Pack(row_length=64),
        )

    matrices, tokens, ids = 2 * (8 * 4 * 2 * 3 + 3 * 8 * 16), 3 * 64, 10
    pairs = 3 * 64 * 65 / 2
    layers = 6 * matrices * tokens + 12 * 2 * 2 * 4 * pairs
    assert roofline.step_flops(of(remat="full"), [ids]) == layers + 6 * 8 * ids * tokens
    assert roofline.recomputed(of(remat="full")) == pytest.approx(layers / 3)
    assert roofline.recomputed(of(remat="dots")) == 0
    assert roofline.step_flops(of(), [ids, 7, 7]) == roofline.step_flops(of(), [ids]) + 6 * 8 * 2 * 7 * tokens
    windowed = roofline.step_flops(of(window=16), [ids])
    seen = 3 * sum(min(i + 1, 16) for i in range(64))
    hidden = 12 * 2 * 2 * 4 * (pairs - seen)
    assert windowed == roofline.step_flops(of(), [ids]) - hidden
    every_other = roofline.step_flops(of(window=16, global_every=2), [ids])
    assert every_other == roofline.step_flops(of(), [ids]) - hidden / 2


REPORT = compile.Report(
    topology="v5e:2x2",
    slices=2,
    device_kind="TPU v5 lite",
    devices=8,
    mesh={"replica": 2, "data": 1, "fsdp": 4, "sequence": 1, "tensor": 1},
    rows=16,
    row_length=128,
    vocabulary=256,
    compute_dtype="bfloat16",
    parameters=1234567,
    flops=1e12,
    memory=compile.Memory(2**30, 2**31, 2**30, 0, 3 * 2**30, 2**34, (("temporary", 2**31),)),
    collectives={"all-gather": {"places": 1, "runs": 4, "operand_bytes": 2048, "sent_bytes": 3 * 2048.0}},
    crossing=("all-reduce",),
    stack_gathers=(),
    largest_gather=2048,
    memory_traffic=2.0**33,
    kernels=("splash_mha_fwd",),
    flags={},
    estimate=None,
    compile_s=12.0,
)


def test_a_report_uses_suitable_units():
    text = compile_table.text(REPORT)
    assert "mesh replica 2 x fsdp 4" in text and "model of 1,234,567 parameters" in text
    assert "temporary   2.00 GiB" in text and "available   16.00 GiB" in text
    assert "operands   2.00 KiB, sends   6.00 KiB" in text and "between slices: all-reduce" in text
    assert text.splitlines()[-1] == "fits"


def test_a_report_on_a_step_that_does_not_fit_names_the_largest_terms():
    memory = compile.Memory(None, None, None, None, None, 2**34, (("temporary", 5 * 2**33), ("parameters", 2**29)))
    text = compile_table.text(dataclasses.replace(REPORT, memory=memory, collectives=None, memory_traffic=None))
    assert memory.fits is False and "peak        more than available" in text
    assert text.index("DOES NOT FIT") < text.index("40.00 GiB  temporary") < text.index("512.00 MiB  parameters")
    over = dataclasses.replace(REPORT.memory, available=2**31)
    assert over.fits is False and dataclasses.replace(over, available=None).fits is None
