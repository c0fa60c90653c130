# ruff: noqa: E501
"""Absent devices: what is refused and how, and how a compiler's message about memory is read."""

import importlib.util

import jax
import pytest

from biomechgpt_jax.compiling import ahead_of_time
from biomechgpt_jax.errors import InputError
from biomechgpt_jax.parallel import chips

needs_libtpu = pytest.mark.skipif(
    importlib.util.find_spec("libtpu") is None, reason="libtpu is not installed: pip install 'biomechgpt-jax[tpu-aot]'"
)


@pytest.mark.parametrize(
    ("topology", "slices", "message"),
    [
        ("cpu:many", 1, "'cpu:many' is not known; give one such as v5e:4x4"),
        ("cpu:2048", 2, "'cpu:2048': jax has already started with .* of 4096 devices; use a new process"),
        ("h100:8", 1, "'h100:8' is not known; for GPUs give machines x GPUs"),
        ("h100:1x8", 2, "--num-slices 2: GPUs have no slices"),
        ("v5e:4x4", 0, "--num-slices 0: give at least 1"),
    ],
)
def test_impossible_topologies_are_refused_on_one_line(topology, slices, message):
    jax.devices()  # jax has started
    with pytest.raises(InputError, match=message) as refused:
        ahead_of_time.devices(topology, slices)
    assert "\n" not in str(refused.value)


def test_a_missing_libtpu_is_reported_with_what_to_install(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(InputError, match=r"needs libtpu; pip install 'biomechgpt-jax\[tpu-aot\]'"):
        ahead_of_time.devices("v5e:4x4")


@pytest.mark.tpu_aot
@needs_libtpu
def test_topologies_of_tpus(monkeypatch):
    for name in ahead_of_time._ALONE:
        monkeypatch.delenv(name, raising=False)
    by_name = {
        name: ahead_of_time.devices(name) for name in ("v5e:1x1", "v5e:4x4", "v5p:4x4x4", "v4:2x2x1", "tpu7x:2x2x1")
    }
    assert {name: len(devices) for name, devices in by_name.items()} == {
        "v5e:1x1": 1,
        "v5e:4x4": 16,
        "v5p:4x4x4": 64,
        "v4:2x2x1": 4,
        "tpu7x:2x2x1": 8,
    }
    peaks = {name: chips.of(devices[0].device_kind).peak for name, devices in by_name.items()}
    assert peaks["v5e:4x4"] == 197e12 and peaks["v5p:4x4x4"] == 459e12 and peaks["tpu7x:2x2x1"] == 2307e12 / 2
    slices = ahead_of_time.devices("v5e:2x2", 2)
    assert [device.slice_index for device in slices] == [0] * 4 + [1] * 4
    for name, message in {"v9:2x2": "not known .*v9", "v5e:3x5": "not known", "v5e": "not a kind and a shape"}.items():
        with pytest.raises(InputError, match=message):
            ahead_of_time.devices(name)


def test_the_compilers_message_about_memory_is_read():
    short = "RESOURCE_EXHAUSTED: Ran out of memory on HBM, the total memory required for HLO temporaries (16.40G) exceeds available HBM (15.75G)."
    parsed = ahead_of_time._does_not_fit(short)
    assert parsed.used == round(16.40 * 2**30) and parsed.capacity == round(15.75 * 2**30)
    assert parsed.largest == [(parsed.used, "temporary")]

    long = """RESOURCE_EXHAUSTED: XLA:TPU compile permanent error. Ran out of memory in memory space hbm. Used 20.08G of 15.48G hbm.

  Largest program allocations in hbm:

  1. Size: 4.00G
     Operator: op_name="jit(step)/mul" source_file="x.py" source_line=3
     Shape: f32[16,8,2048,4096]{3,2,1,0:T(8,128)}
     Unpadded size: 4.00G
     ==========================

  2. Size: 512.00M
     Shape: bf16[4,64]{1,0}
     ==========================
"""
    parsed = ahead_of_time._does_not_fit(long)
    assert (parsed.used, parsed.capacity) == (round(20.08 * 2**30), round(15.48 * 2**30))
    assert parsed.largest == [
        (4 * 2**30, "jit(step)/mul f32[16,8,2048,4096]{3,2,1,0:T(8,128)}"),
        (512 * 2**20, "bf16[4,64]{1,0}"),
    ]


def test_a_device_outside_the_table_has_no_figures():
    assert chips.of("cpu") is None
    assert chips.of("NVIDIA H100 80GB HBM3").peak == 989e12
    assert chips.of("TPU v5 lite").memory == 16 * 2**30 and chips.of("TPU v5").memory == 95 * 2**30
