"""Absent devices, and programs compiled for them.

Compiling for a TPU needs the package libtpu (but no TPU), for a GPU jax's CUDA plugin; `cpu:8` is this machine's CPU
split into eight devices. The process must run on the CPU (JAX_PLATFORMS=cpu), because a library that finds the real
device would claim it.
"""

import contextlib
import importlib.util
import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import jax
from jax.experimental import topologies

from biomechgpt_jax.errors import InputError

# By default libtpu queries the cloud's metadata server, logs what it does not find, and admits one process at a time.
_ALONE = {
    "ALLOW_MULTIPLE_LIBTPU_LOAD": "1",
    "TPU_SKIP_MDS_QUERY": "1",
    "TPU_ACCELERATOR_TYPE": "v5litepod-16",
    "TPU_WORKER_HOSTNAMES": "localhost",
    "TPU_WORKER_ID": "0",
    "TPU_STDERR_LOG_LEVEL": "3",
    "TPU_MIN_LOG_LEVEL": "3",
    "TF_CPP_MIN_LOG_LEVEL": "3",
}
_EXAMPLES = "give one such as v5e:4x4, v5p:4x4x4, v6e:8x8, h100:1x8 or cpu:8"
# Properties that the CUDA compiler needs of an absent GPU, as its driver reports them (H100 SXM, 80 GB).
_H100 = """
gpu_device_info {
  cuda_compute_capability { major: 9 }
  core_count: 132 fpus_per_core: 128 clock_rate_ghz: 1.98
  threads_per_warp: 32 threads_per_block_limit: 1024 threads_per_core_limit: 2048
  registers_per_block_limit: 65536 registers_per_core_limit: 65536
  shared_memory_per_block: 49152 shared_memory_per_block_optin: 232448 shared_memory_per_core: 233472
  block_dim_limit_x: 2147483647 block_dim_limit_y: 65535 block_dim_limit_z: 65535
  device_memory_size: 84929347584 memory_bandwidth: 3352320000000 l2_cache_size: 52428800
}
platform_name: "CUDA"
device_description_str: "NVIDIA H100 80GB HBM3"
runtime_version { major: 12 minor: 9 }
dnn_version_info { major: 9 minor: 8 }
"""
_UNITS = {"": 1, "K": 2**10, "M": 2**20, "G": 2**30, "T": 2**40}


@dataclass
class DoesNotFit(Exception):
    """The program does not fit into the device's memory.

    Attributes:
        used: bytes that the program would need; None if the compiler did not say.
        capacity: bytes that a program may use; None if the compiler did not say.
        largest: (bytes, description) of the largest allocations.
        message: first line of the compiler's message.
    """

    used: int | None
    capacity: int | None
    largest: list[tuple[int, str]]
    message: str

    def __str__(self) -> str:
        return self.message


def devices(topology: str, slices: int = 1) -> list[jax.Device]:
    """Devices to compile for; nothing can run on them, except those of `cpu:N`.

    Args:
        topology: kind and shape, such as "v5e:4x4" or "v5p:4x4x4" (TPU), "h100:1x8" (machines x GPUs) or
            "cpu:8".
        slices: number of slices of this topology, joined by the data centre's network; CPUs only simulate slices, and
            GPUs have none.

    Raises:
        InputError: the topology is unknown, or a package is missing.
    """
    kind, _, shape = topology.partition(":")
    if slices < 1:
        raise InputError(f"--num-slices {slices}: give at least 1")
    if kind == "cpu":
        return _processors(topology, shape, slices)
    if kind == "h100":
        return _gpus(topology, shape, slices)
    if importlib.util.find_spec("libtpu") is None:
        raise InputError(
            f"topology '{topology}': compiling for a TPU needs libtpu; pip install 'biomechgpt-jax[tpu-aot]'"
        )
    if not re.fullmatch(r"\d+(x\d+)*", shape):
        raise InputError(f"topology '{topology}' is not a kind and a shape; {_EXAMPLES}")
    for name, value in _ALONE.items():
        os.environ.setdefault(name, value)
    options: dict[str, Any] = {"num_slices": slices} if slices > 1 else {}
    if kind == "v4":
        options["chip_config_name"] = "megacore"  # both cores of a chip as one device, as real machines show them
    if set(shape.split("x")) == {"1"}:
        options["chips_per_host_bounds"] = [1, 1, 1]  # the default is four per host
    try:
        found = topologies.get_topology_desc(topology, platform="tpu", **options).devices
    except (jax.errors.JaxRuntimeError, NotImplementedError) as error:
        reason = re.sub(r"^[A-Z_]+: ", "", str(error).splitlines()[0]).rstrip(".")
        raise InputError(f"topology '{topology}' is not known ({reason}); {_EXAMPLES}") from error
    return list(found)


def _processors(topology: str, shape: str, slices: int) -> list[jax.Device]:
    if not shape.isdecimal() or int(shape) < 1:
        raise InputError(f"topology '{topology}' is not known; {_EXAMPLES}")
    count = int(shape) * slices
    with contextlib.suppress(RuntimeError):  # jax has started
        jax.config.update("jax_num_cpu_devices", count)
    found = jax.devices("cpu")
    if len(found) < count:
        raise InputError(
            f"topology '{topology}': jax has already started with {len(found)} of {count} devices; use a new process"
        )
    return found[:count]


def _gpus(topology: str, shape: str, slices: int) -> list[jax.Device]:
    if not re.fullmatch(r"\d+x\d+", shape):
        raise InputError(f"topology '{topology}' is not known; for GPUs give machines x GPUs, such as h100:2x8")
    if slices > 1:
        raise InputError(f"--num-slices {slices}: GPUs have no slices; give more machines, such as h100:2x8")
    try:
        found = topologies.get_topology_desc(platform="cuda", topology=f"1x{shape}", target_config=_H100).devices
    except (RuntimeError, NotImplementedError, AssertionError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise InputError(
            f"topology '{topology}': compiling for a GPU needs jax's CUDA plugin, pip install 'jax[cuda12]' ({reason})"
        ) from error
    return list(found)


def slices_by_device(found: Sequence[jax.Device], slices: int) -> dict[jax.Device, int]:
    """The slice of each device, which is the reach of its fast network; for GPUs it is the machine.

    CPU devices have no slices and are divided among them in order.
    """
    each = len(found) // slices

    def slice_index(index: int, device: jax.Device) -> int:
        if device.platform == "cpu":
            return index // each
        return device.process_index if device.platform == "gpu" else getattr(device, "slice_index", None) or 0

    return {device: slice_index(index, device) for index, device in enumerate(found)}


def compile_program(lowered: jax.stages.Lowered) -> jax.stages.Compiled:
    """Compile a lowered program.

    Raises:
        DoesNotFit: the device's memory is too small.
    """
    try:
        return lowered.compile()
    except jax.errors.JaxRuntimeError as error:
        if "RESOURCE_EXHAUSTED" not in str(error):
            raise
        raise _does_not_fit(str(error)) from error


def _does_not_fit(message: str) -> DoesNotFit:
    """Parse the message of a compiler; values that it does not state are None."""
    program = re.search(r"Used ([\d.]+)([KMGT]?) of ([\d.]+)([KMGT]?)", message)
    temporary = re.search(r"temporaries \(([\d.]+)([KMGT]?)\) exceeds available HBM \(([\d.]+)([KMGT]?)\)", message)
    sizes = program or temporary
    used, capacity = (_bytes(*sizes.groups()[:2]), _bytes(*sizes.groups()[2:])) if sizes else (None, None)
    allocations = re.findall(r"Size: ([\d.]+)([KMGT]?)\n(?:\s+Operator: (.*)\n)?\s+Shape: (\S+)", message)
    largest = [
        (_bytes(size, unit), f"{_operation(operator)} {shape}".strip()) for size, unit, operator, shape in allocations
    ]
    if temporary and used:
        largest = [(used, "temporary"), *largest]
    return DoesNotFit(used, capacity, largest, message.splitlines()[0])


def _bytes(number: str, unit: str) -> int:
    return round(float(number) * _UNITS[unit])


def _operation(operator: str) -> str:
    """The traced operation's name, without the source line that follows it."""
    name = re.search(r'op_name="([^"]*)"', operator)
    return name.group(1) if name else ""
