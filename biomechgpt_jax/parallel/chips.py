"""Peak performance of accelerators: the table on which estimates and utilisation are based.

All figures are for one DEVICE as jax counts them (TPU v2, v3 and 7x and the MI250X show two per chip or card) and the
best case of a data sheet:
  * peak: dense bfloat16 operations per second, without sparsity;
  * memory and bandwidth: size and bandwidth of the device's main memory;
  * ici: bytes per second that a device can send to its neighbours over all links of its fast network at once, in one
    direction (half of the bidirectional figure): TPU interconnect, NVLink;
  * dcn: bytes per second that it can send further, to another slice or machine.

Sources: TPU v5e, v5p, v6e and 7x from Google's TPU documentation (cloud.google.com/tpu/docs/v5e, v5p, v6e and tpu7x,
2026; v5e's dcn from its 2 x 100 Gbit/s per host of 8 chips). The rest [memory]: the same documentation for older TPUs,
NVIDIA's and AMD's data sheets, and 400 Gbit/s of network for each H100 and later (200 for an A100).
"""

from typing import NamedTuple

GIB = 2**30


class Chip(NamedTuple):
    """One device; None marks figures that the table lacks."""

    peak: float
    memory: int | None = None
    bandwidth: float | None = None
    ici: float | None = None
    dcn: float | None = None


# Chips by the start of jax's `device_kind`; the first match is used.
CHIPS = {
    "TPU v2": Chip(22.5e12),
    "TPU v3": Chip(61.5e12, 16 * GIB, 450e9),
    "TPU v4 lite": Chip(138e12),
    "TPU v4": Chip(275e12, 32 * GIB, 1228e9, 300e9, 6.25e9),
    "TPU v5 lite": Chip(197e12, 16 * GIB, 819e9, 200e9, 3.125e9),
    "TPU v5e": Chip(197e12, 16 * GIB, 819e9, 200e9, 3.125e9),
    "TPU v5": Chip(459e12, 95 * GIB, 2765e9, 600e9, 6.25e9),
    "TPU v6": Chip(918e12, 32 * GIB, 1638e9, 400e9, 12.5e9),
    "TPU7x": Chip(1153.5e12, 96 * GIB, 3690e9, 300e9, 6.25e9),
    "NVIDIA A100": Chip(312e12, 80 * GIB, 2039e9, 300e9, 25e9),
    "NVIDIA A10G": Chip(70e12),
    "NVIDIA L40S": Chip(362e12, 48 * GIB, 864e9),
    "NVIDIA L4": Chip(121e12, 24 * GIB, 300e9),
    "NVIDIA H100 PCIe": Chip(756e12, 80 * GIB, 2000e9),
    "NVIDIA H100 NVL": Chip(835e12, 94 * GIB, 3900e9),
    "NVIDIA H100": Chip(989e12, 80 * GIB, 3350e9, 450e9, 50e9),
    "NVIDIA H200": Chip(989e12, 141 * GIB, 4800e9, 450e9, 50e9),
    "NVIDIA GH200": Chip(989e12, 96 * GIB, 4000e9, 450e9, 50e9),
    "NVIDIA B200": Chip(2250e12, 180 * GIB, 8000e9, 900e9, 50e9),
    "NVIDIA GB200": Chip(2500e12, 186 * GIB, 8000e9, 900e9, 50e9),
    "AMD Instinct MI250X": Chip(191.5e12),
    "AMD Instinct MI300X": Chip(1307e12, 192 * GIB, 5300e9, 448e9, 50e9),
}


def of(device_kind: str) -> Chip | None:
    """The device's entry; None if there is none, as for CPUs: figures are never made up."""
    return next((chip for name, chip in CHIPS.items() if device_kind.startswith(name)), None)


def utilisation(flops_per_second: float, devices: int, device_kind: str) -> float:
    """Model FLOPs utilisation, 0 to 1; NaN (null in the log) on a device that is not in the table."""
    chip = of(device_kind)
    return float("nan") if chip is None else flops_per_second / (chip.peak * devices)
